//! The stage `publish`: keeps events and checkpoints on disk until every sink has them.
//!
//! `packing` makes records of a frame's events, `event_outbox` commits them with the camera's checkpoint, `backlog` is one sink's
//! queue, and `sink` the interface that the sinks of the module [`sinks`](crate::sinks) implement. `delivery_progress` follows how far
//! each camera is delivered; `positions` writes that to a table and gives way to a process that took a camera over. Where workers share
//! the cameras, `shared` takes the place of `positions`.

mod adoption;
mod backlog;
mod camera_gate;
mod clients;
mod dead_letter;
mod delivery_progress;
mod event_outbox;
mod journal;
mod new_record;
mod outbox_error;
mod outbox_record;
mod owned_epochs;
mod owner_commit;
mod packing;
mod picture_warnings;
mod positions;
pub(crate) mod probe;
mod probes;
mod repicture;
mod retry;
mod route;
mod shared;
mod shared_cameras;
mod sink;
mod spec;
mod start;
mod start_error;
mod status;
mod unpictured;

pub use crate::status::{SinkState, SinkStatus};
pub use adoption::ResumeRules;
pub(crate) use backlog::Backlog;
pub use clients::Clients;
pub use event_outbox::EventOutbox;
pub(crate) use journal::{Journal, JournalLimits, aged};
pub use new_record::{CameraCommit, NewRecord};
pub use outbox_error::{OfferError, ResumeError};
#[cfg(test)]
pub(crate) use outbox_record::RecordHeader;
pub(crate) use outbox_record::{OutboxRecord, event_id_of};
pub use owner_commit::OwnerCommitRequest;
pub use packing::{FrameEvents, FrameRecords, MAX_FRAME_BYTES, MAX_PICTURED};
pub use positions::Takeover;
pub(crate) use positions::{
    ItemAttributes, MAX_ITEM_BYTES, StoredAhead, StoredItemState, positions_resource, table_client,
};
pub use probes::probes;
pub(crate) use retry::retry_backoff;
pub use route::Route;
pub use shared::SharedDelivery;
#[cfg(test)]
pub(crate) use sink::OnlySink;
pub use sink::SinkSet;
pub(crate) use sink::{Sink, SinkRegistry, SinkRun};
pub use spec::{OutboxSpec, StateSpec};
pub use start::DamagedOutbox;
pub use start_error::StartError;
pub use status::UndeliveredRecords;
