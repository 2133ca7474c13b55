//! What decide tells.

use metrics::counter;

use super::{Kind, Metric};
use crate::media::CameraId;

const BOXES: &str = "kvs_infer_boxes_total";
const BOXES_KEPT: &str = "kvs_infer_boxes_kept_total";

/// The metrics of decide.
pub(crate) const METRICS: &[Metric] = &[
    Metric { name: BOXES, kind: Kind::Counter, labels: &["camera"], help: "Boxes that the detectors found." },
    Metric {
        name: BOXES_KEPT,
        kind: Kind::Counter,
        labels: &["camera"],
        help: "Boxes that the rules (confidence, classes, size, zones) let through.",
    },
];

/// A frame was decided.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FrameDecided<'a> {
    /// The camera.
    pub(crate) camera: &'a CameraId,
    /// Boxes that came in.
    pub(crate) boxes: usize,
    /// Boxes that the rules let through.
    pub(crate) kept: usize,
}

impl FrameDecided<'_> {
    /// Counts it.
    pub(crate) fn emit(self) {
        let camera = self.camera.to_string();
        counter!(BOXES, "camera" => camera.clone()).increment(self.boxes as u64);
        counter!(BOXES_KEPT, "camera" => camera).increment(self.kept as u64);
    }
}
