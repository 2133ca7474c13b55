//! events -> the world: the commit at a fragment's end, and the sinks.

mod clients;
mod dead_letter;
mod drop_oldest;
mod fault;
mod journal;
mod kinesis;
mod ledger;
mod local;
mod outbox;
pub mod picture;
mod place;
mod record;
mod s3;
mod snapshot;
mod snapshot_folder;
mod spec;
mod start;
mod status;
mod waiting;

pub use clients::Clients;
pub(crate) use journal::aged;
pub use ledger::{Checkpoint, FragmentCommit, Ledger, MemoryLedger};
pub(crate) use local::{EVENTS_FILE, EVENTS_FILES};
pub use outbox::{Accepted, OfferError, Outbox, OutboxSpec, PendingEvent, Remains};
pub use spec::{PublishSpec, Route, S3Spec, SnapshotFormat, SnapshotRoute, SnapshotSpec, Sse};
pub use start::StartError;
pub use status::{SinkState, SinkStatus};

use std::time::Duration;

use crate::base::Backoff;

/// Between attempts of a sink: at most 100 ms before the second, never more than 10 s.
fn retry_backoff() -> Backoff {
    Backoff::new(Duration::from_millis(100), Duration::from_secs(10))
}
