//! `models`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A model to load.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// The ONNX file: a path from the current directory, s3://bucket/key or https://... (fetched once into the cache folder).
    #[schemars(length(min = 1, max = 4096), example = &"/app/models/street.onnx",
        extend("x-remedy" = "write the path of an .onnx file"))]
    pub path: String,
    /// The SHA-256 that the file must have, 64 hexadecimal digits; absent: any.
    #[schemars(regex(pattern = r"^[0-9A-Fa-f]{64}$"),
        extend("x-remedy" = "write the 64 hexadecimal digits that `sha256sum FILE` prints"))]
    #[serde(default)]
    pub sha256: Option<String>,
    /// The layout of its output.
    #[serde(default)]
    pub layout: LayoutChoice,
    /// Its class names in order, in place of those in its metadata: a list, or the path of a text file with one a line.
    #[schemars(extend("x-remedy" = "write a list of names, or the path of a text file with one name a line"))]
    #[serde(default)]
    pub classes: Option<ClassList>,
    /// Threads of one inference on the CPU; absent: the cores, shared by the models. Fewer leave cores to decoding.
    #[schemars(range(min = 1, max = 64))]
    #[serde(default)]
    pub threads: Option<u16>,
}

/// The layout of a model's output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
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

/// The class names of a model.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum ClassList {
    /// The names in order.
    Inline(#[schemars(length(min = 1, max = 10000), inner(length(min = 1, max = 128)))] Vec<String>),
    /// A text file with one name a line.
    File(#[schemars(length(min = 1, max = 4096))] String),
}
