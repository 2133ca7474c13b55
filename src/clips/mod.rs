//! Clips: MP4 files of stored footage, remuxed and not transcoded, for the page and for the sink that stores them.
//!
//! A clip has the video of one span of media time: [`ClipMaker`] lists the span's fragments and reads their media
//! (`source::Archive`), `ClipCutter` picks the access units, and [`Mp4Clip`] holds the file. Audio is left out. Only one fragment at
//! a time is in memory: the access units go to a file on disk, and the head of the MP4 is written when their sizes are known.
//!
//! - A clip begins with the last keyframe before its span, since nothing can be decoded from a place between keyframes, and ends with
//!   the last picture of the span.
//! - Where the camera sent nothing, the last picture stands for as long as the gap lasts: time in the clip is media time. A gap at
//!   either end shortens the clip.
//! - Footage that was sent twice is in the clip once.
//! - The same stored fragments give the same bytes, and so the same ETag. [`ClipLibrary`] keeps the files that are in use, so that the
//!   range requests of a player read one file.

mod cutter;
mod error;
mod file;
mod library;
mod maker;
mod order;
mod span;
mod times;

pub use error::ClipFailure;
pub use file::Mp4Clip;
pub use library::{ClipCamera, ClipLibrary, FindIncident, IncidentSightings};
pub use maker::ClipMaker;
pub(crate) use order::{CLIPS_FOLDER, ClipObject, ClipOrder, is_clip_of};
pub use order::{ClipBucket, ClipRoute, ClipSettings};
pub use span::{ClipRules, ClipSpan};
pub use times::ClipTimes;
pub(crate) use times::TIMES_BYTES;
