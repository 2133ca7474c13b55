//! Sans-I/O reader and writer of the Matroska that Kinesis Video Streams speaks.
//!
//! Bytes go in by `push`, in pieces of any size; `next` gives what is whole. Nothing here reads a socket, a
//! file or a clock, and no bytes that a stranger sends can make it panic, loop or grow beyond its [`Limits`].
//!
//! - [`FragmentReader`] reads GetMedia and GetMediaForFragmentList: fragments with their AWS tags.
//! - [`Reader`] reads any live Matroska, PutMedia included: documents, clusters, blocks, tags.
//! - [`writer`] writes what both read.
//!
//! ```
//! use kvs_mkv::{Event, FragmentReader, Limits, Tag, writer};
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
//! let mut reader = FragmentReader::new(Limits::default());
//! reader.push(&body);
//! let Some(Event::Start(start)) = reader.next()? else { unreachable!() };
//! assert_eq!(start.server_ms, Some(1_511_852_109_126));
//! let Some(Event::Block(frame)) = reader.next()? else { unreachable!() };
//! assert_eq!(&frame.block.data[..], b"a picture");
//! let Some(Event::End(end)) = reader.next()? else { unreachable!() };
//! assert!(end.complete);
//! # Ok::<(), kvs_mkv::Error>(())
//! ```

mod aws;
mod block;
mod ebml;
mod error;
mod fragment;
mod limits;
mod reader;
mod tags;
mod track;
pub mod writer;

pub use block::{Block, BlockKind};
pub use ebml::Id;
pub use error::Error;
pub use fragment::{Event, FragmentBlock, FragmentEnd, FragmentReader, FragmentStart, StreamError};
pub use limits::Limits;
pub use reader::{Item, Reader};
pub use tags::Tag;
pub use track::{Track, TrackKind};
