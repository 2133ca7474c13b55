//! The check that this process still owns a camera.

use std::sync::Arc;

use tokio::sync::OwnedMutexGuard;
use tokio_util::sync::CancellationToken;

use super::outbox_error::OfferError;
use super::positions::Positions;
use super::shared_cameras::SharedCameras;
use crate::media::CameraId;

/// A guard that delays a takeover of a camera, and a token that is cancelled when one comes.
pub(super) type Admission = (Option<OwnedMutexGuard<()>>, CancellationToken);

/// The owner's view of its cameras.
pub(super) enum CameraGate {
    /// Of the only process.
    Single(Arc<Positions>),
    /// Of a worker.
    Shared(Arc<SharedCameras>),
}

impl CameraGate {
    /// Admits a commit of the camera; `None`: this process does not own it.
    pub(super) async fn admit(&self, camera: &CameraId) -> Option<Admission> {
        match self {
            Self::Single(positions) => {
                positions.admit(camera).await.map(|(guard, taken_over)| (Some(guard), taken_over))
            }
            // The camera's item refuses what comes too late.
            Self::Shared(cameras) => cameras.get(camera).map(|owned| (None, owned.ended)),
        }
    }

    /// Returns the reason why a commit of the camera is not admitted.
    pub(super) fn ended(&self, camera: &CameraId) -> OfferError {
        match self {
            Self::Single(positions) => OfferError::of_ended(camera, positions.taken_over(camera)),
            Self::Shared(_) => OfferError::Moved { camera: camera.to_string() },
        }
    }
}
