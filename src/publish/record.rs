//! An event on its way to the sinks.

use std::time::Instant;

use bytes::Bytes;

use crate::frame::CameraId;

/// An event as it is written.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) camera: CameraId,
    pub(super) event_id: String,
    /// One JSON object, without a line break.
    pub(super) json: Bytes,
    /// When the confirming frame arrived.
    pub(super) arrived: Instant,
}
