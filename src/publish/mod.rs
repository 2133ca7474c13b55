//! events -> the world: the outbox, and the sinks that empty it.
//!
//! `outbox` takes in what moves together, `packing` makes it of a frame's events, `parcel` is an event as it is kept, `backlog` a sink's end. A sink is `local`,
//! `kinesis` (with `waiting` for the order by camera), or an `each` over `s3` or `dynamodb`. `settlement` follows how
//! far each camera is delivered; `positions`, over `position_table`, writes that down and gives way to a process that took a
//! camera over, to which `surrender` leaves what waits.

mod backlog;
mod clients;
mod dead_letter;
mod dynamodb;
mod each;
mod fault;
mod journal;
mod kinesis;
mod local;
mod outbox;
mod packing;
mod parcel;
mod place;
mod position_table;
mod positions;
mod probe;
mod remains;
mod s3;
mod settlement;
mod share;
mod snapshot;
mod snapshot_folder;
mod spec;
mod start;
mod status;
mod surrender;
mod waiting;

pub(crate) use crate::aws::has_own_s3;
pub use crate::status::{SinkState, SinkStatus};
pub use clients::Clients;
pub(crate) use journal::aged;
pub(crate) use local::{EVENTS_FILE, EVENTS_FILES};
pub use outbox::{Commit, OfferError, Outbox, OutboxSpec, Packed, ResumeError};
pub use packing::{MAX_FRAME_BYTES, MAX_PICTURED, PackedEvents, PendingEvents};
pub use positions::Takeover;
pub use probe::probes;
pub use remains::Remains;
pub use spec::{DdbSpec, PublishSpec, Route, S3Spec, SnapshotRoute, Sse, StateSpec};
pub use start::{DamagedOutbox, StartError, destinations};

use std::time::Duration;

use crate::base::Backoff;

/// Between attempts of a sink: at most 100 ms before the second, never more than 10 s.
fn retry_backoff() -> Backoff {
    Backoff::new(Duration::from_millis(100), Duration::from_secs(10))
}
