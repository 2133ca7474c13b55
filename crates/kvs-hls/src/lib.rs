//! Sans-I/O reader and writer of the HLS that Kinesis Video Streams serves.
//!
//! - [`playlist`] reads master and media playlists; [`Link`] is a URL that shows its session token to nobody.
//! - [`mp4`] reads and writes initialisation and media segments of fragmented MP4, and writes whole files.
//! - [`ts`] reads and writes MPEG-TS segments.
//! - [`player`] says what to fetch next.
//!
//! Nothing here reads a socket, a file or a clock, and no bytes that a stranger sends can make it panic, loop or grow
//! beyond its [`Limits`].
//!
//! # Media time
//!
//! A media segment is one fragment of the stream: its blocks of video, in their order. The playlist's
//! EXT-X-PROGRAM-DATE-TIME dates the segment's *first sample in decoding order* (RFC 8216, 4.3.2.6), which is the
//! key frame that the fragment begins with. [`AccessUnit::relative_ms`] is what a frame's presentation time is after
//! that of this sample; it is negative for a leading picture of an open GOP. So the time of a frame is
//!
//! `program_date_time_ms + relative_ms = producer timestamp of the fragment + relative timecode of the block`,
//!
//! as through GetMedia, whatever the origin and scale of the segment's own clock. A writer whose first block has a
//! timecode other than 0 has to date the segment by that block's time.

mod error;
mod limits;
mod link;
pub mod mp4;
pub mod player;
pub mod playlist;
mod timing;
mod track;
pub mod ts;

pub use error::Error;
pub use limits::Limits;
pub use link::Link;
pub use track::{AccessUnit, VideoTrack};
