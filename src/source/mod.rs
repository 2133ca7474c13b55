//! The source stage: reads the bytes of a camera's stream from Kinesis Video Streams, by GetMedia or by HLS.
//!
//! [`Archive`] reads stored footage by time instead.
//!
//! It also holds what decides about a connection: the place where the next one starts ([`ReadCursor`]), the
//! silence after which one is dead ([`StallWatch`]), the rate of connections ([`ConnectionBudget`]), and how far
//! the footage is behind the live edge ([`LagClock`], [`PaceMonitor`]).

mod archive;
mod archive_clients;
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

pub use archive::{
    Archive, ArchiveError, ArchiveMedia, ArchivedFragment, MAX_FRAGMENT_MS, MAX_FRAGMENTS_PER_CALL,
    MAX_LISTED_FRAGMENTS,
};
pub use connection_budget::ConnectionBudget;
pub use cursor::{FailureOutcome, ReadCursor, StartAt};
pub use error::SourceError;
pub use hls::{HlsConnection, HlsItem, HlsSource};
pub use kvs::{GetMediaConnection, GetMediaSource, Kvs};
pub use lag::LagClock;
pub use pace::{PaceMonitor, StreamPace};
pub use stall::StallWatch;
pub use stream::{StreamConnection, StreamSource};
