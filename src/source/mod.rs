//! a camera -> bytes: GetMedia of Kinesis Video Streams, and where to read on after a break.

mod cursor;
mod error;
mod kvs;
mod pace;
mod probe;
mod stall;

pub use cursor::{Cursor, Failed, StartAt};
pub use error::SourceError;
pub use kvs::{Kvs, Media, StreamSource};
pub use pace::{Pace, Verdict};
pub use stall::StallWatch;
