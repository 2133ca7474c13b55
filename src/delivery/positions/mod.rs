//! Ownership of cameras, and their delivered positions, in a DynamoDB table that outlives this host.
//!
//! An item per camera: key `camera_id`; `position` (the last delivered fragment: see `delivery_progress`), `checkpoint` (the state to
//! resume with, packed), `epoch`, `rev`, `owner` (the outbox's id), `host`, `updated_at` (ms since the epoch, for people); `ahead`
//! and `ahead_rev` while records wait for a sink.
//!
//! **Write-ahead.** Before a commit with events is taken in, its state and all records that sinks have yet to accept are in the item
//! (`ahead`). A process that resumes from the item delivers these records first and continues from that state, so the loss of a host
//! gives no event a second id, also in live mode. Where the table does not answer within a second, or the records are more than an
//! item is to hold, the event is published without: an alert counts more than its id after the loss of a host.
//!
//! **Claim.** The process that starts a camera last owns it: its claim raises `epoch`. So a new task of a rolling deployment
//! replaces the old one, even a healthy one. A camera that this process owns already (its configuration changed) is not
//! claimed again, and one that was taken over is not claimed until this process is restarted: two processes never take a
//! camera from one another in turns.
//!
//! **Late claim.** Where the table does not answer, a camera with a checkpoint in this outbox starts without a claim. When the
//! table answers, another process may own the camera: if the item's position is beyond the one that this process started from,
//! the other process has worked since, and this one is replaced. Otherwise nothing in the table is newer than this outbox, and
//! the camera is claimed. Without the answer to a claim nothing of the item is known, so no clock and no count could decide
//! better; either way exactly one owner is left.
//!
//! **Takeover.** Every write of a replaced owner is refused. Then the camera stops here, and records that wait for a sink are left
//! to the new owner (`surrender`).

mod ahead;
mod claim;
mod ownership;
mod probe;
mod round;
mod stored_state;
mod surrender;
mod table;
mod write_ahead;

pub(super) use ahead::AheadRecord;
pub(crate) use ahead::StoredAhead;
pub use ownership::Takeover;
pub(super) use ownership::{CLAIMS_AT_ONCE, ClaimError, Positions, Resumption};
pub(super) use probe::probes;
pub(crate) use stored_state::{ItemAttributes, StoredItemState};
pub(super) use table::PositionTable;
pub(crate) use table::{MAX_ITEM_BYTES, resource as positions_resource, table_client};
