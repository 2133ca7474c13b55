//! Sharing of cameras by many workers: membership, lead, placement, hand-over, and the fenced write-ahead, without I/O.
//!
//! ```text
//!              beat, rows         +---------+  plan   +----------------+
//!   members <------------------>  | Worker  | ------> | cameras' duties|  Owner: write-ahead, then send
//!   table      lead, expel, plan  | (leader |         | run, warm,     | <----------------------------> item of
//!                                 |  plans) |         | release        |    conditional writes          the camera
//!                                 +---------+         +----------------+
//! ```
//!
//! Everything is a step function: inputs and the time of one monotonic clock go in, calls on a table and local actions come out.
//! No socket, file, clock, thread or random source is in here, so that models and simulations run the very code that production
//! runs.
//!
//! # Who must do what
//!
//! - The table applies each conditional call atomically, as [`apply`] and [`MemoryTable`] do.
//! - The shell makes the calls and answers each of them once, sends records in order, and wakes the step function in time. See
//!   [`Worker`] and [`Owner`].
//! - A single process uses [`Owner`] alone, with a fixed [`WorkerId`]:
//!
//! ```
//! use sharing::{CameraItem, CameraKey, Owner, OwnerInput, OwnerOutput, OwnerSettings, WhenTableIsAway, WorkerId, apply};
//!
//! let (camera, worker) = (CameraKey::new("door"), WorkerId::new("this-host"));
//! // Read the camera's item, and claim it by a conditional call; `apply` stands for the table.
//! let there = CameraItem::default();
//! let item = apply(&there, &there.claim_for(&worker))?;
//! let settings = OwnerSettings { camera, worker, spec: "hash".into(), when_away: WhenTableIsAway::Publish };
//! let mut owner = Owner::new(settings, &item, 0);
//! // Make the calls that come out, answer each of them once, and wake the owner in time.
//! // The item lacks the hash of the settings.
//! assert!(matches!(owner.step(0, OwnerInput::Wake)[..], [OwnerOutput::Write(_)]));
//! # Ok::<(), sharing::ItemRefusal>(())
//! ```
//!
//! # Guarantees
//!
//! The fence is the camera's item ([`CameraItem`]), and no lock, lease or clock:
//!
//! 1. one event has one id, whichever worker dies when;
//! 2. an event of a stored state is in the sink or in the item's pending records;
//! 3. records of a camera appear in the sink in the order of their numbers, repeats left out;
//! 4. a worker that was replaced sends nothing new after its successor has.
//!
//! They hold whatever members, lead, plan and placement do: those only decide which worker *should* have a camera, and a mistake
//! costs a hand-over. [`WhenTableIsAway::Publish`] gives 1, 3 and 4 up in two cases: an owner dies while the table is away, or it is
//! cut off from a table that the others reach. Its records of that time are marked as not fenced.
//!
//! All times are milliseconds of the monotonic clock of one process. Clocks of two processes are never compared.

mod balance;
mod call_timer;
mod hand_over;
mod ids;
mod item;
mod lead;
pub mod limits;
mod members;
mod membership;
#[cfg(test)]
mod models;
mod owner;
mod placement;
mod plan;
mod rules;
mod table;
mod worker;

pub use balance::CameraMove;
pub use hand_over::CameraAction;
pub use ids::{CameraKey, WorkerId};
pub use item::{
    CameraItem, CameraResumeState, ItemCall, ItemGrant, ItemRefusal, OwnerAfter, OwnerWrite, PendingRecord,
    apply,
};
pub use members::{ConfigRow, ConfigVersion, LeaderRow, MemberPhase, MemberRow, PoolMembers};
pub use owner::{
    CommitRejection, Owner, OwnerCommit, OwnerEnd, OwnerInput, OwnerOutput, OwnerSettings, WhenTableIsAway,
};
pub use placement::{CameraDemand, CameraPlacement, PlacementBoard, ResourceAmounts, WorkerRoom};
pub use plan::{PoolCamera, PoolConfig, PoolFigures};
pub use table::{CameraLoads, MemoryTable, PlanEntry, PlanRow, PlanTask, TableAnswer, TableCall};
pub use worker::{Worker, WorkerEnd, WorkerInput, WorkerLoad, WorkerOutput, WorkerSettings};
