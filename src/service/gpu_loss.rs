//! The end of the service for a GPU that was lost.

use crate::status::StatusBoard;

/// Has the board fail because a GPU is lost, so that the service stops.
pub(super) fn report_gpu_loss(board: &StatusBoard, reason: &str) {
    board.fail(format!(
        "{reason}; the service stops and ends with exit code 70, and what is not delivered by then stays in the outbox"
    ));
}
