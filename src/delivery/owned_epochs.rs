//! The cameras that this worker owns, where workers share the cameras.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::media::CameraId;

/// The epoch under which this worker owns each of its cameras.
#[derive(Debug, Default)]
pub(crate) struct OwnedEpochs(Mutex<HashMap<CameraId, u64>>);

impl OwnedEpochs {
    /// Notes that this worker owns the camera.
    pub(super) fn insert(&self, camera: &CameraId, epoch: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(camera.clone(), epoch);
    }

    /// Notes that another worker owns the camera, or none.
    pub(super) fn remove(&self, camera: &CameraId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(camera);
    }

    /// Returns the epoch under which this worker owns the camera.
    pub(super) fn get(&self, camera: &CameraId) -> Option<u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(camera).copied()
    }
}
