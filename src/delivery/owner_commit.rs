//! Commits of shared cameras on their way to the worker task.

use tokio::sync::oneshot;

use crate::media::CameraId;

/// A camera's commit on its way to the camera's owner.
#[derive(Debug)]
pub struct OwnerCommitRequest {
    /// The camera.
    pub camera: CameraId,
    /// The epoch under which this worker owns it.
    pub epoch: u64,
    /// The commit.
    pub commit: ::sharing::OwnerCommit,
    /// Gets the owner's answer.
    pub taken: oneshot::Sender<Result<(), ::sharing::CommitRejection>>,
}
