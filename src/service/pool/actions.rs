//! Carries out the actions of owners: start, stop, send.

use std::sync::Arc;

use ::sharing::{CameraAction, CameraKey, CameraResumeState, WorkerInput};

use super::task::PoolTask;
use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::media::CameraId;
use crate::service::cameras::SharedStart;
use crate::telemetry::sharing::{CameraGained, CameraLost, StateUnreadable};

impl PoolTask {
    pub(super) fn act_for(&mut self, key: &CameraKey, action: CameraAction) {
        let camera = CameraId::new(key.as_str());
        match action {
            CameraAction::Start { epoch, state } => self.start(key, &camera, epoch, &state),
            CameraAction::Warm { state } => self.warm(key, &camera, &state),
            CameraAction::Cool => self.fleet.cool(&camera),
            CameraAction::Stop => self.stop(key, &camera),
            CameraAction::Hold => self.delivery.set_held(&camera, true),
            CameraAction::Resume => self.resume(key, &camera),
            CameraAction::Send { epoch, records, is_fenced } => {
                let (delivery, key) = (Arc::clone(&self.delivery), key.clone());
                self.later(async move {
                    let up_to = delivery.send(&camera, epoch, records, is_fenced).await?;
                    Some(WorkerInput::Sent { camera: key, epoch, up_to })
                });
            }
            // Only the answer to a commit is rejected, which `take_request` takes.
            CameraAction::Rejected(_) => {}
            CameraAction::Abort => self.end(&camera, "another worker has it"),
            CameraAction::Released => self.end(&camera, "handed over"),
        }
    }

    fn later(&self, work: impl Future<Output = Option<WorkerInput>> + Send + 'static) {
        self.work.push(Box::pin(work));
    }

    fn start(&mut self, key: &CameraKey, camera: &CameraId, epoch: u64, state: &CameraResumeState) {
        let Some(configured) = self.config.camera(key).cloned() else { return };
        let checkpoint = match read(state) {
            Ok(checkpoint) => checkpoint,
            Err(error) => {
                StateUnreadable { camera, error: &error }.emit();
                return self.fleet.show_down(&configured.spec, &error);
            }
        };
        CameraGained { camera, epoch }.emit();
        let route = Arc::new(configured.spec.route.clone());
        self.delivery.start(camera, epoch, route, checkpoint.clone());
        self.fleet.start_shared(configured.spec, configured.models, SharedStart { epoch, checkpoint });
    }

    /// Starts to read the camera, and reports when footage arrives. The models of all cameras are loaded already.
    fn warm(&mut self, key: &CameraKey, camera: &CameraId, state: &CameraResumeState) {
        let Some(configured) = self.config.camera(key) else { return };
        let checkpoint = match read(state) {
            Ok(checkpoint) => checkpoint,
            Err(error) => return StateUnreadable { camera, error: &error }.emit(),
        };
        let Some(warmed) = self.fleet.warm(&configured.spec, checkpoint) else { return };
        let input = WorkerInput::Warmed { camera: key.clone() };
        self.later(async move {
            warmed.await;
            Some(input)
        });
    }

    /// Ends the camera after the current frame, and reports it when it has ended.
    fn stop(&mut self, key: &CameraKey, camera: &CameraId) {
        self.delivery.set_stopping(camera, true);
        let (running, stopped) =
            (self.fleet.halt(key.as_str()), WorkerInput::Stopped { camera: key.clone() });
        self.later(async move {
            if let Some(running) = running {
                // An error means that its task panicked, and has ended.
                let _ended = running.await;
            }
            Some(stopped)
        });
    }

    /// Lets a camera decide again; one that has ended is started where it ended.
    fn resume(&mut self, key: &CameraKey, camera: &CameraId) {
        self.delivery.set_held(camera, false);
        self.delivery.set_stopping(camera, false);
        if self.fleet.has(key.as_str()) {
            return;
        }
        let Some((configured, epoch)) = self.config.camera(key).cloned().zip(self.delivery.epoch(camera))
        else {
            return;
        };
        let checkpoint = self.delivery.checkpoint(camera);
        self.fleet.start_shared(configured.spec, configured.models, SharedStart { epoch, checkpoint });
    }

    fn end(&mut self, camera: &CameraId, why: &'static str) {
        self.delivery.end(camera);
        self.fleet.drop_shared(camera);
        CameraLost { camera, why }.emit();
    }
}

/// Returns the state that the camera's item holds; `None`: nothing of the camera was decided yet.
fn read(state: &CameraResumeState) -> Result<Option<Checkpoint>, CheckpointError> {
    if state.checkpoint.is_empty() { Ok(None) } else { Checkpoint::from_bytes(&state.checkpoint).map(Some) }
}
