//! Sans-I/O reader and writer of the Matroska dialect of Kinesis Video Streams (KVS).
//!
//! [`push`](FragmentReader::push) takes bytes in pieces of any size, and [`next`](FragmentReader::next)
//! returns each event when its last byte is there. The crate reads no socket, file or clock. No input can
//! make it panic, loop, or use more memory than its [`MkvLimits`].
//!
//! - [`FragmentReader`] reads the output of GetMedia and GetMediaForFragmentList: fragments with their AWS
//!   tags.
//! - [`MkvReader`] reads any live Matroska, PutMedia included: documents, clusters, blocks, tags.
//! - [`writer`] writes the streams that both read.
//!
//! ```
//! use kvs_mkv::{FragmentEvent, FragmentReader, MkvLimits, Tag, writer};
//!
//! let mut body = Vec::new();
//! writer::document_header(&mut body);
//! writer::tracks(&mut body, &[writer::video_track(1, "V_MPEG4/ISO/AVC", b"", 640, 360)]);
//! writer::tags(&mut body, &[
//!     Tag::new("AWS_KINESISVIDEO_FRAGMENT_NUMBER", "91343852333181432392682062607743920146159169392"),
//!     Tag::new("AWS_KINESISVIDEO_SERVER_TIMESTAMP", "1511852109.126"),
//!     Tag::new("AWS_KINESISVIDEO_PRODUCER_TIMESTAMP", "1511852108.513"),
//! ]);
//! writer::cluster_start(&mut body, 0);
//! writer::simple_block(&mut body, 1, 0, true, b"a picture");
//! writer::tags(&mut body, &[Tag::new("AWS_KINESISVIDEO_MILLIS_BEHIND_NOW", "0")]);
//!
//! let mut reader = FragmentReader::new(MkvLimits::default());
//! reader.push(&body);
//! let Some(FragmentEvent::Start(start)) = reader.next()? else { unreachable!() };
//! assert_eq!(start.server_ms, Some(1_511_852_109_126));
//! let Some(FragmentEvent::Block(frame)) = reader.next()? else { unreachable!() };
//! assert_eq!(&frame.block.data[..], b"a picture");
//! let Some(FragmentEvent::End(end)) = reader.next()? else { unreachable!() };
//! assert!(end.complete);
//! # Ok::<(), kvs_mkv::MkvError>(())
//! ```

mod aws_tags;
mod block;
mod ebml;
mod element_id;
mod error;
mod fragment;
mod limits;
mod reader;
mod tags;
mod track;
pub mod writer;

pub use block::{Block, BlockKind};
pub use element_id::ElementId;
pub use error::MkvError;
pub use fragment::{
    FragmentBlock, FragmentEvent, FragmentReader, FragmentStart, FragmentSummary, StreamError,
};
pub use limits::MkvLimits;
pub use reader::{MkvEvent, MkvReader};
pub use tags::Tag;
pub use track::{TrackEntry, TrackKind};
