//! a camera -> bytes: GetMedia and HLS of Kinesis Video Streams, and where to read on after a break.

mod connection_budget;
mod cursor;
mod error;
mod fetch;
mod hls;
mod hls_session;
mod kvs;
mod lag;
mod pace;
mod probe;
mod stall;
mod stream;

pub use connection_budget::ConnectionBudget;
pub use cursor::{Cursor, Failed, StartAt};
pub use error::SourceError;
pub use hls::{HlsItem, HlsMedia, HlsSource};
pub use kvs::{GetMediaSource, Kvs, Media};
pub use lag::LagClock;
pub use pace::{Pace, Verdict};
pub use stall::StallWatch;
pub use stream::{Opened, StreamSource};
