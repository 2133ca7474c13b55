//! Keeps events and checkpoints on disk until every sink has them: the outbox and what follows the deliveries.

mod backlog;
mod clients;
mod dead_letter;
mod delivery_progress;
mod event_outbox;
mod journal;
pub(crate) mod outbox_record;
mod packing;
pub(crate) mod positions;
pub(crate) mod probe;
mod share;
mod spec;
mod start;
mod status;
mod undelivered;

pub(crate) use backlog::Backlog;
pub use clients::Clients;
pub(crate) use clients::has_own_s3;
pub use event_outbox::{CameraCommit, EventOutbox, NewRecord, OfferError, OutboxSpec, ResumeError};
pub(crate) use journal::{Journal, Limits, aged};
pub(crate) use outbox_record::OutboxRecord;
pub use packing::{FrameEvents, FrameRecords, MAX_FRAME_BYTES, MAX_PICTURED};
pub use positions::Takeover;
pub use probe::probes;
pub use spec::{DdbSpec, PublishSpec, Route, S3Spec, SnapshotRoute, Sse, StateSpec};
pub use start::{DamagedOutbox, StartError, destinations};
pub use status::{SinkState, SinkStatus};
pub use undelivered::UndeliveredRecords;

use std::time::Duration;

use crate::base::Backoff;

/// Returns the pauses between attempts of a sink: at most 100 ms before the second, never more than 10 s.
pub(crate) fn retry_backoff() -> Backoff {
    Backoff::new(Duration::from_millis(100), Duration::from_secs(10))
}
