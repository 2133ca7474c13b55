//! Reasons why a commit is not taken in, and why a camera cannot resume.

use super::positions::{ClaimError, Takeover};
use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::media::CameraId;

/// Reason why a commit was not taken in.
#[derive(Debug, thiserror::Error)]
pub enum OfferError {
    /// The service is stopping: the fragment is read again after the next start.
    #[error("events are no longer taken in: the service is stopping")]
    Stopped,
    /// Another process owns the camera now: it makes the events itself.
    #[error("events of camera {camera} are no longer taken in: {by}")]
    TakenOver {
        /// Id of the camera.
        camera: String,
        /// The other process.
        by: Takeover,
    },
    /// Another worker owns the camera now, or none: the next owner makes the events itself.
    #[error("events of camera {camera} are no longer taken in: the camera has moved to another worker")]
    Moved {
        /// Id of the camera.
        camera: String,
    },
    /// The route leads to a sink that the outbox was not started with: a bug.
    #[error("no sink {sink} for camera {camera}: its route was not among the routes at the start")]
    NoSink {
        /// Name of the sink.
        sink: String,
        /// Id of the camera.
        camera: String,
    },
    /// Records and state of one frame exceed the limit of a commit: a bug, since an entry of the pipeline passes on 1000 boxes at most.
    #[error("events of camera {camera} are not taken in: {why}")]
    TooLarge {
        /// Id of the camera.
        camera: String,
        /// Size and limit.
        why: String,
    },
    /// An event or a checkpoint cannot be written as JSON: a bug.
    #[error("{what} cannot be written as JSON: {source}")]
    Json {
        /// The event or checkpoint.
        what: String,
        /// Cause.
        source: serde_json::Error,
    },
}

impl OfferError {
    /// Returns the reason why a commit of a camera is not admitted; `by`: the process that took it over.
    pub(super) fn of_ended(camera: &CameraId, by: Option<Takeover>) -> Self {
        by.map_or(Self::Stopped, |by| Self::TakenOver { camera: camera.to_string(), by })
    }

    pub(super) fn of(refused: ::outbox::CommitError, camera: &CameraId) -> Self {
        match refused {
            ::outbox::CommitError::Closed => Self::Stopped,
            why => Self::TooLarge { camera: camera.to_string(), why: why.to_string() },
        }
    }
}

/// Reason why the position at which a camera resumes is unknown.
#[derive(Debug, thiserror::Error)]
pub enum ResumeError {
    /// The table of positions does not answer, and this outbox has no checkpoint: try again.
    #[error("camera {camera}: {why}; it starts when the table answers")]
    Unknown {
        /// Id of the camera.
        camera: String,
        /// Failure of the table.
        why: String,
    },
    /// Another process owns the camera now: a restart takes it back.
    #[error("camera {camera}: {by}")]
    TakenOver {
        /// Id of the camera.
        camera: String,
        /// The other process.
        by: Takeover,
    },
    /// The checkpoint was written by another program or version.
    #[error("camera {camera}: its state in {place}: {source}")]
    Checkpoint {
        /// Id of the camera.
        camera: String,
        /// Place of the checkpoint.
        place: String,
        /// Reason why it cannot be used.
        source: CheckpointError,
    },
    /// The records that the camera's last owner left in the table of positions are not taken in: the service is stopping.
    #[error("camera {camera}: undelivered records of its last owner: {source}")]
    Adoption {
        /// Id of the camera.
        camera: String,
        /// Cause.
        source: OfferError,
    },
    /// The outbox has no room for the records that the camera's last owner left in the table of positions: try again.
    #[error(
        "camera {camera}: no room for the undelivered records of its last owner, because a required sink has not accepted \
         earlier ones; it starts when there is room"
    )]
    NoRoom {
        /// Id of the camera.
        camera: String,
    },
    /// The outbox on disk cannot be read.
    #[error("camera {camera}: {source}")]
    Read {
        /// Id of the camera.
        camera: String,
        /// Cause.
        source: ::outbox::ReadError,
    },
}

impl ResumeError {
    /// Returns `true` for an error that passes by itself: the camera is to be started later.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Unknown { .. } | Self::NoRoom { .. })
    }

    pub(super) fn of(error: ClaimError, camera: &CameraId) -> Self {
        let camera = camera.to_string();
        match error {
            ClaimError::Refused(why) => Self::Unknown { camera, why },
            ClaimError::TakenOver(by) => Self::TakenOver { camera, by },
            ClaimError::Checkpoint { table, source, .. } => {
                Self::Checkpoint { camera, place: format!("table {table}"), source }
            }
        }
    }
}

/// Returns a state as the outbox stores it.
pub(super) fn checkpoint_bytes(
    camera: &CameraId,
    checkpoint: &Checkpoint,
) -> Result<bytes::Bytes, OfferError> {
    let error = |source| OfferError::Json { what: format!("the state of camera {camera}"), source };
    checkpoint.to_bytes().map_err(error)
}
