//! Sans-I/O reader and writer of the HLS of Kinesis Video Streams (KVS).
//!
//! - [`playlist`] reads master and media playlists; [`Link`] is a URL whose session token is never displayed.
//! - [`mp4`] reads and writes initialisation and media segments of fragmented MP4, and writes complete files.
//! - [`ts`] reads and writes MPEG-TS segments.
//! - [`player`] decides what to fetch next.
//!
//! The crate reads no socket, file or clock. No input can make it panic, loop, or use more memory than its
//! [`HlsLimits`].
//!
//! # Media time
//!
//! A media segment is one fragment of the stream: its video blocks in their order. The playlist's
//! EXT-X-PROGRAM-DATE-TIME dates the segment's *first sample in decoding order* (RFC 8216, 4.3.2.6), which is
//! the keyframe at the start of the fragment. [`AccessUnit::relative_ms`] is a frame's presentation time
//! minus that of this sample; it is negative for a leading picture of an open GOP. So the time of a frame is
//!
//! `program_date_time_ms + relative_ms = fragment's producer timestamp + block's relative timestamp`,
//!
//! the same as by GetMedia, whatever the origin and scale of the segment's own clock. A writer whose first
//! block has a relative timestamp other than 0 must date the segment by that block's time.

mod error;
mod limits;
mod link;
pub mod mp4;
pub mod player;
pub mod playlist;
mod timing;
mod track;
pub mod ts;

pub use error::HlsError;
pub use limits::HlsLimits;
pub use link::Link;
pub use track::{AccessUnit, HlsTrack};
