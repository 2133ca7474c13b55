//! The shared cameras of this worker.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::new_record::NewRecord;
use super::route::Route;
use crate::checkpoint::Checkpoint;
use crate::media::CameraId;

/// Bytes of a camera's records and pictures in memory beyond which the camera waits: while a data stream does not answer, they wait
/// for their turn.
const MAX_WAITING_BYTES: usize = 8 << 20;

/// The cameras that this worker owns.
#[derive(Debug, Default)]
pub(super) struct SharedCameras(Mutex<HashMap<CameraId, SharedCamera>>);

#[derive(Debug)]
struct SharedCamera {
    owned: OwnedCamera,
    held: watch::Sender<bool>,
    is_held_by_owner: bool,
    /// By `seq` the records that the owner has and that have not come back to be sent. The owner holds the camera when they are many.
    waiting: BTreeMap<u64, NewRecord>,
    /// Bytes of `waiting`.
    bytes: usize,
    /// The time since which records are sent and not accepted.
    sending_since: Option<Instant>,
}

/// A camera that this worker owns.
#[derive(Clone, Debug)]
pub(super) struct OwnedCamera {
    pub(super) epoch: u64,
    pub(super) route: Arc<Route>,
    /// `true` while no commit is taken.
    pub(super) held: watch::Receiver<bool>,
    /// Cancelled when the camera is to stop: a commit that would have to wait is given up.
    pub(super) stopping: CancellationToken,
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

impl SharedCamera {
    fn update_hold(&self) {
        let is_held = self.is_held_by_owner || self.bytes > MAX_WAITING_BYTES;
        self.held.send_if_modified(|held| std::mem::replace(held, is_held) != is_held);
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
        let [stopping, ended] = [(); 2].map(|()| CancellationToken::new());
        let owned = OwnedCamera { epoch, route, held: receiver, stopping, ended, checkpoint };
        let (is_held_by_owner, waiting, bytes, sending_since) = (false, BTreeMap::new(), 0, None);
        let shared = SharedCamera { owned, held, is_held_by_owner, waiting, bytes, sending_since };
        self.lock().insert(camera.clone(), shared);
    }

    pub(super) fn remove(&self, camera: &CameraId) {
        self.lock().remove(camera);
    }

    /// Returns the camera if this worker owns it.
    pub(super) fn get(&self, camera: &CameraId) -> Option<OwnedCamera> {
        self.lock().get(camera).map(|shared| shared.owned.clone())
    }

    pub(super) fn set_held(&self, camera: &CameraId, is_held: bool) {
        if let Some(shared) = self.lock().get_mut(camera) {
            shared.is_held_by_owner = is_held;
            shared.update_hold();
        }
    }

    /// Has commits given up that would have to wait, or lets them wait again.
    pub(super) fn set_stopping(&self, camera: &CameraId, is_stopping: bool) {
        let mut cameras = self.lock();
        let Some(shared) = cameras.get_mut(camera) else { return };
        if is_stopping {
            shared.owned.stopping.cancel();
        } else {
            shared.owned.stopping = CancellationToken::new();
        }
    }

    /// Keeps records until they come back to be sent.
    pub(super) fn keep(&self, camera: &CameraId, epoch: u64, records: Vec<NewRecord>) {
        let mut cameras = self.lock();
        let Some(shared) = cameras.get_mut(camera).filter(|shared| shared.owned.epoch == epoch) else {
            return;
        };
        for record in records {
            shared.bytes += record.len_bytes();
            if let Some(before) = shared.waiting.insert(record.event.seq, record) {
                shared.bytes -= before.len_bytes();
            }
        }
        shared.update_hold();
    }

    /// Removes and returns the record with this `seq`.
    pub(super) fn take(&self, camera: &CameraId, seq: u64) -> Option<NewRecord> {
        let mut cameras = self.lock();
        let shared = cameras.get_mut(camera)?;
        let record = shared.waiting.remove(&seq)?;
        shared.bytes -= record.len_bytes();
        shared.update_hold();
        Some(record)
    }

    /// Notes that records of the camera are sent from now on, or that they are accepted.
    pub(super) fn set_sending(&self, camera: &CameraId, epoch: u64, since: Option<Instant>) {
        if let Some(shared) = self.lock().get_mut(camera).filter(|shared| shared.owned.epoch == epoch) {
            shared.sending_since = since;
        }
    }

    /// Returns the time since which records of the camera are sent and not accepted.
    pub(super) fn sending_since(&self, camera: &CameraId) -> Option<Instant> {
        self.lock().get(camera)?.sending_since
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
