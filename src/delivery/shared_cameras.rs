//! The shared cameras of this worker.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::new_record::NewRecord;
use super::route::Route;
use crate::checkpoint::Checkpoint;
use crate::media::CameraId;

/// The cameras that this worker owns.
#[derive(Debug, Default)]
pub(super) struct SharedCameras(Mutex<HashMap<CameraId, SharedCamera>>);

#[derive(Debug)]
struct SharedCamera {
    owned: OwnedCamera,
    held: watch::Sender<bool>,
    /// By `seq` the records that the owner has and that have not come back to be sent. The owner holds the camera when they are many.
    waiting: BTreeMap<u64, NewRecord>,
}

/// A camera that this worker owns.
#[derive(Clone, Debug)]
pub(super) struct OwnedCamera {
    pub(super) epoch: u64,
    pub(super) route: Arc<Route>,
    /// `true` while no commit is taken.
    pub(super) held: watch::Receiver<bool>,
    /// Cancelled when another worker owns the camera, or none.
    pub(super) ended: CancellationToken,
    /// The newest state that the owner has taken.
    pub(super) checkpoint: Option<Checkpoint>,
}

impl Drop for SharedCamera {
    fn drop(&mut self) {
        self.owned.ended.cancel();
    }
}

impl SharedCameras {
    pub(super) fn insert(
        &self,
        camera: &CameraId,
        epoch: u64,
        route: Arc<Route>,
        checkpoint: Option<Checkpoint>,
    ) {
        let (held, receiver) = watch::channel(false);
        let owned = OwnedCamera { epoch, route, held: receiver, ended: CancellationToken::new(), checkpoint };
        self.lock().insert(camera.clone(), SharedCamera { owned, held, waiting: BTreeMap::new() });
    }

    pub(super) fn remove(&self, camera: &CameraId) {
        self.lock().remove(camera);
    }

    /// Returns the camera if this worker owns it.
    pub(super) fn get(&self, camera: &CameraId) -> Option<OwnedCamera> {
        self.lock().get(camera).map(|shared| shared.owned.clone())
    }

    pub(super) fn set_held(&self, camera: &CameraId, is_held: bool) {
        if let Some(shared) = self.lock().get(camera) {
            shared.held.send_replace(is_held);
        }
    }

    /// Keeps records until they come back to be sent.
    pub(super) fn keep(&self, camera: &CameraId, epoch: u64, records: Vec<NewRecord>) {
        if let Some(shared) = self.lock().get_mut(camera).filter(|shared| shared.owned.epoch == epoch) {
            shared.waiting.extend(records.into_iter().map(|record| (record.event.seq, record)));
        }
    }

    /// Removes and returns the record with this `seq`.
    pub(super) fn take(&self, camera: &CameraId, seq: u64) -> Option<NewRecord> {
        self.lock().get_mut(camera)?.waiting.remove(&seq)
    }

    /// Notes the state that the owner has taken.
    pub(super) fn committed(&self, camera: &CameraId, epoch: u64, checkpoint: Checkpoint) {
        if let Some(shared) = self.lock().get_mut(camera).filter(|shared| shared.owned.epoch == epoch) {
            shared.owned.checkpoint = Some(checkpoint);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<CameraId, SharedCamera>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
