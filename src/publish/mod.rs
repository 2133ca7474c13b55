//! events -> the world: the commit at a fragment's end, and the sinks.

mod backoff;
mod dead_letter;
mod journal;
mod ledger;
mod local;
mod outbox;
pub mod picture;
mod place;
mod record;
mod spec;
mod status;

pub use ledger::{Checkpoint, FragmentCommit, Ledger, MemoryLedger};
pub use outbox::{Accepted, OfferError, Outbox, OutboxSpec, PendingEvent, Remains, StartError};
pub use spec::{PublishSpec, Route, S3Spec, SnapshotFormat, SnapshotRoute, SnapshotSpec, Sse};
pub use status::{SinkState, SinkStatus};
