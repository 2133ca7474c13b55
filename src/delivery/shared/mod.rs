//! Delivery of cameras that workers share.
//!
//! ```text
//! decide --commit--> owner (crate sharing) --write-ahead--> item --send--> outbox --> sinks
//! ```
//!
//! A commit goes to the camera's owner first, which the worker task runs. Its records come back as [`SharedDelivery::send`] once they
//! are in the camera's item, and only then enter the outbox. So the outbox on this host is no more than the way to the sinks: the
//! truth about records that a required sink lacks is in the item, and such records are dropped here when the camera moves to
//! another worker. Pictures stay in memory until their record comes back; the records that a former owner left get theirs from the
//! footage, as in single mode.

mod commit;
mod send;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};

use super::adoption::Adopter;
use super::delivery_progress::DeliveryProgress;
use super::owner_commit::OwnerCommitRequest;
use super::route::Route;
use super::shared_cameras::SharedCameras;
use super::status::SinkGauge;
use crate::checkpoint::Checkpoint;
use crate::media::CameraId;

/// Delivers the records of shared cameras.
pub struct SharedDelivery {
    pub(super) cameras: Arc<SharedCameras>,
    pub(super) adopter: Arc<Adopter>,
    pub(super) progress: Arc<DeliveryProgress>,
    pub(super) store: ::outbox::Outbox,
    /// To the worker task.
    pub(super) requests: mpsc::Sender<OwnerCommitRequest>,
    /// Notified of every change of a sink's gauge.
    pub(super) changed: Arc<Notify>,
    /// The state of the tables.
    pub(super) gauge: Arc<SinkGauge>,
    /// The kind of call on the tables that failed last, until one of this kind succeeds.
    pub(super) failing: Mutex<Option<&'static str>>,
}

impl SharedDelivery {
    /// Takes a camera that this worker owns from now on, before its pipeline starts.
    pub fn start(&self, camera: &CameraId, epoch: u64, route: Arc<Route>, checkpoint: Option<Checkpoint>) {
        self.progress.disown(camera);
        self.progress.own(camera, epoch);
        self.cameras.insert(camera, epoch, route, checkpoint);
    }

    /// Ends a camera that this worker owns no longer: no commit is taken, and records that wait for a required sink are dropped.
    pub fn end(&self, camera: &CameraId) {
        self.cameras.remove(camera);
        self.progress.disown(camera);
        self.adopter.unpictured.set(camera, Vec::new());
        // The sinks drop what is not theirs any more with their next round.
        self.changed.notify_waiters();
    }

    /// Holds a camera's commits, or lets them pass again.
    pub fn set_held(&self, camera: &CameraId, is_held: bool) {
        self.cameras.set_held(camera, is_held);
    }

    /// Has commits of a camera given up that would have to wait, because the camera is to stop, or lets them wait again.
    pub fn set_stopping(&self, camera: &CameraId, is_stopping: bool) {
        self.cameras.set_stopping(camera, is_stopping);
    }

    /// Returns the epoch under which this worker owns the camera.
    #[must_use]
    pub fn epoch(&self, camera: &CameraId) -> Option<u64> {
        Some(self.cameras.get(camera)?.epoch)
    }

    /// Returns for how long records of the camera have been sent that a required sink has not accepted; zero: there are none.
    #[must_use]
    pub fn sends_for(&self, camera: &CameraId) -> Duration {
        self.cameras.sending_since(camera).map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Returns the newest state that the camera's owner has taken.
    #[must_use]
    pub fn checkpoint(&self, camera: &CameraId) -> Option<Checkpoint> {
        self.cameras.get(camera)?.checkpoint
    }

    /// Records the outcome of a call of this kind on the tables; `Err`: code and text for people. The tables count as failing until a
    /// call of the kind succeeds that failed last.
    pub fn table_answered(&self, kind: &'static str, outcome: Result<(), (&str, &str)>) {
        let mut failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        match outcome {
            Ok(()) if failing.is_none_or(|failing| failing == kind) => {
                *failing = None;
                self.gauge.works();
            }
            Ok(()) => {}
            Err((code, text)) => {
                *failing = Some(kind);
                self.gauge.failing(code, text, 1);
            }
        }
    }
}
