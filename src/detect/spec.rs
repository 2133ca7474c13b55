//! What the configuration asks of detect.

use std::path::PathBuf;

/// A model to load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelSpec {
    /// Its name under `models`, or its file name.
    pub name: String,
    /// The ONNX file.
    pub path: PathBuf,
    /// The SHA-256 that the file must have, lower-case hex.
    pub sha256: Option<String>,
    /// The layout of its output.
    pub layout: LayoutChoice,
    /// Class names that replace those in the model's metadata.
    pub classes: Option<Vec<String>>,
}

/// The layout of a model's output.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum LayoutChoice {
    /// Told from the graph; an ambiguous graph is an error.
    #[default]
    Auto,
    /// `[batch, 4 + classes, anchors]`, no objectness (YOLOv8, YOLO11).
    Yolov8,
    /// `[batch, anchors, 5 + classes]`, with objectness (YOLOv5, YOLOv7).
    Yolov5,
    /// `[batch, n, 6]`: x1, y1, x2, y2, score, class; NMS done (YOLOv10, YOLO26).
    Nms,
    /// Two outputs: boxes `[batch, n, 4]` (cx, cy, w, h in 0..=1) and logits `[batch, n, classes]`.
    Detr,
}

/// Where models run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Device {
    /// CUDA where it works, else the CPU, saying why.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// The CUDA device with this index, or nothing.
    Cuda(u32),
}

/// What of a model's output counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Thresholds {
    /// Least confidence, 0..=1.
    pub conf: f32,
    /// IoU from which of two boxes of one class the weaker goes, 0..=1.
    pub nms_iou: f32,
}
