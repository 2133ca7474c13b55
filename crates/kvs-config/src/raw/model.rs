//! The section `models`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An ONNX model.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelSection {
    /// The ONNX file: a path relative to the current directory, s3://bucket/key or https://... (fetched once into the cache folder).
    #[schemars(length(min = 1, max = 4096), example = &"/app/models/street.onnx",
        extend("x-remedy" = "write the path of an .onnx file"))]
    pub path: String,
    /// The expected SHA-256 of the file, 64 hexadecimal digits; absent: not checked.
    #[schemars(regex(pattern = r"^[0-9A-Fa-f]{64}$"),
        extend("x-remedy" = "write the 64 hexadecimal digits that `sha256sum FILE` prints"))]
    #[serde(default)]
    pub sha256: Option<String>,
    /// The model's quantised twin, which `kvs-infer models quantize` writes: a path or address as for `path`. It runs on the CPU in
    /// place of `path`; on CUDA `half` or `path` runs.
    #[schemars(length(min = 1, max = 4096), example = &"/app/models/street.int8.onnx",
        extend("x-remedy" = "write the path of the .onnx file that `kvs-infer models quantize` wrote"))]
    #[serde(default)]
    pub int8: Option<String>,
    /// The expected SHA-256 of `int8`, 64 hexadecimal digits; absent: not checked.
    #[schemars(regex(pattern = r"^[0-9A-Fa-f]{64}$"),
        extend("x-remedy" = "write the 64 hexadecimal digits that `sha256sum FILE` prints"))]
    #[serde(default)]
    pub int8_sha256: Option<String>,
    /// The model's float16 twin, which `kvs-infer models half` writes: a path or address as for `path`. It runs on CUDA in place of
    /// `path`; on the CPU `int8` or `path` runs.
    #[schemars(length(min = 1, max = 4096), example = &"/app/models/street.half.onnx",
        extend("x-remedy" = "write the path of the .onnx file that `kvs-infer models half` wrote"))]
    #[serde(default)]
    pub half: Option<String>,
    /// The expected SHA-256 of `half`, 64 hexadecimal digits; absent: not checked.
    #[schemars(regex(pattern = r"^[0-9A-Fa-f]{64}$"),
        extend("x-remedy" = "write the 64 hexadecimal digits that `sha256sum FILE` prints"))]
    #[serde(default)]
    pub half_sha256: Option<String>,
    /// The engine on the CPU. Boxes differ a little between engines: a change of it is like a change of the model.
    #[serde(default)]
    pub engine: EngineChoice,
    /// The layout of the model's output.
    #[serde(default)]
    pub layout: LayoutChoice,
    /// The units of the boxes, where `layout` is yolov8, yolov5, nms or yolonas; other layouts define them.
    #[serde(default)]
    pub box_units: BoxUnits,
    /// The encoding of the model's input; absent: RGB from 0 to 1.
    #[serde(default)]
    pub input: Option<ModelInput>,
    /// The class names in order, in place of those in the model's metadata: a list, or the path of a file. The file has one name per
    /// line, or is YAML or JSON with `names`.
    #[schemars(extend("x-remedy" = "write a list of names, or the path of a text file with one name per line"))]
    #[serde(default)]
    pub classes: Option<ClassList>,
    // ONNX Runtime takes any number; 64 bounds a mistyped one.
    /// Number of CPU threads per inference; absent: the cores, divided among the models. Fewer threads leave cores to decoding.
    #[schemars(range(min = 1, max = 64))]
    #[serde(default)]
    pub threads: Option<u16>,
}

/// The engine of a model on the CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum EngineChoice {
    /// OpenVINO for `int8` where its plugin is installed and supports the processor, else ONNX Runtime.
    #[default]
    Auto,
    /// ONNX Runtime's own kernels.
    Onnxruntime,
    /// OpenVINO where its plugin is installed and supports the processor, else ONNX Runtime with a warning.
    Openvino,
}

/// The encoding of a detector's input.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ModelInput {
    /// The values of black and of white.
    pub range: InputRange,
    /// The mean subtracted from each channel: three numbers in the scale of `range` and the order of `order`; absent: 0.
    #[schemars(length(min = 3, max = 3), inner(range(min = 0.0, max = 255.0)), example = MEAN,
        extend("x-remedy" = "write three numbers, one per channel: [0.485, 0.456, 0.406]"))]
    pub mean: Option<Vec<f64>>,
    /// The standard deviation by which each channel is divided after `mean` is subtracted; absent: 1.
    #[schemars(length(min = 3, max = 3), inner(range(min = 0.001, max = 255.0)), example = STD,
        extend("x-remedy" = "write three numbers above 0, one per channel: [0.229, 0.224, 0.225]"))]
    pub std: Option<Vec<f64>>,
    /// The order of the channels.
    pub order: ChannelOrder,
}

/// Example means in the schema: those of ImageNet.
const MEAN: [f64; 3] = [0.485, 0.456, 0.406];
/// Example standard deviations in the schema: those of ImageNet.
const STD: [f64; 3] = [0.229, 0.224, 0.225];

/// The values of black and of white in a model's input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum InputRange {
    /// 0 and 1.
    #[default]
    #[serde(rename = "0..1")]
    Unit,
    /// 0 and 255.
    #[serde(rename = "0..255")]
    Bytes,
}

/// The order of the channels of a model's input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ChannelOrder {
    /// Red, green, blue.
    #[default]
    Rgb,
    /// Blue, green, red, the order of OpenCV.
    Bgr,
}

/// Common names of model families, as patterns over lower-case letters and digits, each with its remedy; the first match wins.
const MODEL_FAMILIES: [[&str; 2]; 9] = [
    [
        r"end2end|endtoend|nmsfree|^yolov?(10|26)",
        "write `nms` for models with built-in NMS: YOLO 10 and 26, exports with `nms=True`",
    ],
    [r"^ultralytics|^yolov?(8|9|11|12|13)|^yolov?5[nsmlx]?6?u", "write `yolov8` for YOLO 8 to 12"],
    [
        r"^yolo$",
        "write `yolov8` for YOLO 8 to 12, `yolov5` for YOLO 5 to 7, `nms` for YOLO 10 and 26, or leave `layout` out",
    ],
    [r"^yolov?[567]", "write `yolov5` for YOLO 5 to 7"],
    [
        r"^rtdetr",
        "write `rtdetr` for RT-DETR of Ultralytics (one output), `detr` for other exports (two outputs)",
    ],
    [
        r"^(dfine|rfdetr|deim|lwdetr|dino)|deformabledetr|conditionaldetr",
        "write `detr` for D-FINE, RF-DETR and Deformable DETR",
    ],
    [r"^(yolos|detrresnet)", "write `detr_softmax` for DETR and YOLOS"],
    [r"^(yolo)?nas|^damo", "write `yolonas` for YOLO-NAS and DAMO-YOLO"],
    [r"^yolox", "write `yolox` for YOLOX"],
];

/// The layout of a model's output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("x-other-names" = MODEL_FAMILIES))]
#[serde(rename_all = "lowercase")]
pub enum LayoutChoice {
    /// Detected from the metadata, the shapes and the first inference. A model that fits two layouts is an error.
    #[default]
    Auto,
    /// `[batch, 4 + classes, anchors]`, without objectness (YOLOv8, v9, 11, 12).
    Yolov8,
    /// `[batch, anchors, 5 + classes]`, with objectness (YOLOv5, v6, v7).
    Yolov5,
    /// `[batch, n, 6]`: x1, y1, x2, y2, score, class, after NMS (YOLOv10, YOLO26, `nms=True`).
    Nms,
    /// `[batch, n, 4 + classes]`: cx, cy, w, h in 0..1 and probabilities (RT-DETR of Ultralytics).
    Rtdetr,
    /// Two outputs: boxes `[batch, n, 4]` (cx, cy, w, h in 0..1) and logits `[batch, n, classes]` (DETR with sigmoid: RT-DETR,
    /// D-FINE, RF-DETR).
    Detr,
    /// The layout `detr` with one more column for "no object" and a softmax (DETR of 2020, YOLOS).
    #[serde(rename = "detr_softmax")]
    DetrSoftmax,
    /// Two outputs: boxes `[batch, n, 4]` (x1, y1, x2, y2 in px) and probabilities `[batch, n, classes]` (YOLO-NAS, DAMO-YOLO).
    Yolonas,
    /// `[batch, anchors, 5 + classes]` before the grid is added (YOLOX); needs `input: { range: 0..255, order: bgr }`.
    Yolox,
}

/// The units of a model's boxes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BoxUnits {
    /// Pixels of the model's input.
    #[default]
    Pixels,
    /// Fractions of the input's width and height, 0 to 1.
    Normalized,
}

/// The class names of a model.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum ClassList {
    /// The class names in order.
    Inline(#[schemars(length(min = 1, max = 10000), inner(length(min = 1, max = 128)))] Vec<String>),
    /// The path of a file with one name per line, or of YAML or JSON with `names`.
    File(#[schemars(length(min = 1, max = 4096))] String),
}
