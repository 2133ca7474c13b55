//! Local actions for cameras.

use crate::item::{CameraResumeState, PendingRecord};
use crate::owner::CommitRejection;

/// A local action for one camera.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CameraAction {
    /// Run the camera from this state, which may be newer than that of [`CameraAction::Warm`]. Its records carry the epoch.
    Start {
        /// The epoch of the ownership.
        epoch: u64,
        /// The state to resume from.
        state: CameraResumeState,
    },
    /// Prepare to run the camera: load its models, read from this state's position, decode nothing yet. Report
    /// [`crate::WorkerInput::Warmed`] once [`CameraAction::Start`] could follow without a gap.
    Warm {
        /// The state of the present owner.
        state: CameraResumeState,
    },
    /// Give up the preparation.
    Cool,
    /// Stop after the current frame, commit it, then report [`crate::WorkerInput::Stopped`]. A camera on hold has nothing to commit.
    Stop,
    /// Decide no further frame; the stream may be closed. [`CameraAction::Resume`] ends it.
    Hold,
    /// Decide again, after `Hold` or `Stop`.
    Resume,
    /// Send these records to the required sinks, in order, then report [`crate::WorkerInput::Sent`].
    Send {
        /// The epoch of the ownership.
        epoch: u64,
        /// The records.
        records: Vec<PendingRecord>,
        /// `false` if a record's write is not acknowledged.
        is_fenced: bool,
    },
    /// The commit was not taken.
    Rejected(CommitRejection),
    /// Stop at once and drop all work: the camera has another owner.
    Abort,
    /// The camera was handed over or freed: forget it.
    Released,
}
