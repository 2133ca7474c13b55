//! Access for the models.

use super::CameraDuties;
use super::duty::{CameraDuty, StopStage};
use crate::ids::CameraKey;

impl CameraDuties {
    /// Replaces times by constants, so that a model's states stay few: calls are due at 1; see [`Owner`] for the rest.
    pub(crate) fn settle(&mut self) {
        for duty in self.duties.values_mut() {
            match duty {
                CameraDuty::Reading { retry_at_ms } => *retry_at_ms = retry_at_ms.map(|_| 1),
                CameraDuty::Warm(duty) => {
                    (duty.since_ms, duty.call_due_ms) = (0, duty.call_due_ms.map(|_| 1));
                }
                CameraDuty::Running(duty) => {
                    duty.read_due_ms = duty.read_due_ms.map(|_| 1);
                    duty.owner.settle();
                }
            }
        }
    }

    /// Returns `true` if this worker runs the camera under this epoch and nothing is about to end that.
    pub(crate) fn is_running(&self, camera: &CameraKey, epoch: u64) -> bool {
        matches!(self.duties.get(camera), Some(CameraDuty::Running(duty))
            if duty.owner.epoch() == epoch && duty.stop == StopStage::Running)
    }
}
