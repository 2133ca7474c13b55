//! Metrics of decide.

use metrics::counter;

use super::{Metric, MetricKind};
use crate::media::CameraId;

const BOXES: &str = "kvs_infer_boxes_total";
const BOXES_KEPT: &str = "kvs_infer_boxes_kept_total";

/// The metrics of decide.
pub(crate) const METRICS: &[Metric] = &[
    Metric {
        name: BOXES,
        kind: MetricKind::Counter,
        labels: &["camera"],
        help: "Bounding boxes that the detectors found.",
    },
    Metric {
        name: BOXES_KEPT,
        kind: MetricKind::Counter,
        labels: &["camera"],
        help: "Bounding boxes that passed the rules (confidence, classes, size, zones).",
    },
];

/// The detections of a frame were filtered, tracked and turned into events.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FrameDecided<'a> {
    pub(crate) camera: &'a CameraId,
    /// The number of boxes of all detectors.
    pub(crate) boxes: usize,
    /// The number of those that passed the rules.
    pub(crate) kept: usize,
}

impl FrameDecided<'_> {
    /// Counts the boxes.
    pub(crate) fn emit(self) {
        let camera = self.camera.to_string();
        counter!(BOXES, "camera" => camera.clone()).increment(self.boxes as u64);
        counter!(BOXES_KEPT, "camera" => camera).increment(self.kept as u64);
    }
}
