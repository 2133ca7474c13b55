//! Ownership of cameras, and their delivered positions, in a DynamoDB table that outlives this host.
//!
//! An item per camera: key `camera_id`; `position` (the last delivered fragment: see `delivery_progress`), `checkpoint` (the state to
//! resume with, packed), `epoch`, `rev`, `owner` (the outbox's id), `host`, `updated_at` (ms since the epoch, for people).
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

mod ownership;
mod probe;
mod surrender;
mod table;

pub use ownership::Takeover;
pub(super) use ownership::{CLAIMS_AT_ONCE, ClaimError, Positions};
pub(super) use probe::probes;
pub(super) use table::PositionTable;
