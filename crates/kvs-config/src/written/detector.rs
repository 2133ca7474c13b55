//! An item of a camera's `pipeline`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A detector on a camera.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PipelineEntry {
    /// What it looks for; the block of the same name says how.
    #[serde(rename = "type")]
    pub kind: DetectorType,
    /// Whether it runs.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// For `type: weapon`.
    #[serde(default)]
    pub weapon: Option<Detector>,
    /// For `type: fire_smoke`.
    #[serde(default)]
    pub fire_smoke: Option<Detector>,
    /// For `type: objects`: any detector.
    #[serde(default)]
    pub objects: Option<Detector>,
    /// For `type: alpr`: licence plates and their text.
    #[serde(default)]
    pub alpr: Option<Box<Alpr>>,
}

fn yes() -> bool {
    true
}

/// What a detector looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DetectorType {
    /// Weapons.
    Weapon,
    /// Fire and smoke.
    FireSmoke,
    /// Anything that a model knows.
    Objects,
    /// Licence plates and their text.
    Alpr,
}

impl DetectorType {
    /// Its name in the file and in events.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Weapon => "weapon",
            Self::FireSmoke => "fire_smoke",
            Self::Objects => "objects",
            Self::Alpr => "alpr",
        }
    }
}

/// Class names to show in the schema.
const CLASSES: [&str; 2] = ["gun", "knife"];

/// What of a model's output becomes an event.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Detector {
    /// The model: a name under `models`, the path of an .onnx file, s3://bucket/key or https://...
    #[schemars(length(min = 1, max = 4096), example = &"street",
        extend("x-remedy" = "write a name under `models` or the path of an .onnx file"))]
    pub yolo_weights: String,
    /// The class names that count; absent: all that the model knows.
    #[schemars(length(min = 1, max = 10000), inner(length(min = 1, max = 128)), example = CLASSES,
        extend("x-remedy" = "name at least one class, or leave `classes` out for all"))]
    #[serde(default)]
    pub classes: Option<Vec<String>>,
    /// The least confidence, 0 to 1.
    #[schemars(range(min = 0.01, max = 1.0))]
    #[serde(default = "conf_threshold")]
    pub conf_threshold: f64,
    /// Of two boxes of one class whose overlap (IoU, 0 to 1) is at least this, the weaker goes.
    #[schemars(range(min = 0.01, max = 1.0))]
    #[serde(default = "nms_iou")]
    pub nms_iou: f64,
    /// Also of two boxes of different classes among those that count: so an object with two labels is one, by the surer label.
    #[serde(default)]
    pub agnostic_nms: bool,
    /// The least size of a box; absent: any.
    #[serde(default)]
    pub min_box: Option<MinBox>,
    /// How often a thing must be seen before it is an event.
    #[serde(default)]
    pub temporal_confirm: TemporalConfirm,
    /// The time out of sight after which an incident ends, seconds of media time.
    #[schemars(range(min = 0, max = 86400))]
    #[serde(default = "max_disappeared_seconds")]
    pub max_disappeared_seconds: f64,
    /// The time within which a newcomer near where another of its class vanished is taken for that one and not reported anew,
    /// seconds of media time.
    #[schemars(range(min = 0, max = 86400))]
    #[serde(default = "cooldown_seconds")]
    pub cooldown_seconds: f64,
    /// How long a thing must stay before it is an event, seconds of media time.
    #[schemars(range(min = 0, max = 86400))]
    #[serde(default)]
    pub dwell_seconds: Option<f64>,
    /// How often an incident that goes on is reported again, seconds of media time; absent: only where something changes.
    #[schemars(range(min = 1, max = 86400))]
    #[serde(default)]
    pub update_seconds: Option<f64>,
    /// Summaries of the incidents of each zone, as activities, which have a record at their start and one at their
    /// end; absent: no.
    #[serde(default)]
    pub activity: Option<Activity>,
}

fn conf_threshold() -> f64 {
    0.40
}

fn nms_iou() -> f64 {
    0.50
}

fn max_disappeared_seconds() -> f64 {
    5.0
}

fn cooldown_seconds() -> f64 {
    1.5
}

/// A summary of the incidents of a zone, or of the whole frame without `roi`.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Activity {
    /// It ends when no incident was seen in its zone for this long, seconds of media time.
    #[schemars(range(min = 10, max = 86400))]
    pub quiet_seconds: f64,
}

impl Default for Activity {
    fn default() -> Self {
        Self { quiet_seconds: 40.0 }
    }
}

/// The least size of a box.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MinBox {
    /// Frame pixels, or a share of the frame's width where the camera's `roi` has `units: normalized`.
    #[schemars(range(min = 0, max = 65535))]
    pub width: f64,
    /// Frame pixels, or a share of the frame's height where the camera's `roi` has `units: normalized`.
    #[schemars(range(min = 0, max = 65535))]
    pub height: f64,
}

/// How often and how surely a thing must be seen before it is an event: in `frames` of the last `window` looks, of which five a
/// second count; where more are looked at, as many more are needed.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TemporalConfirm {
    /// Sightings that are needed; 1: the first sighting is an event.
    #[schemars(range(min = 1, max = 64))]
    pub frames: u32,
    /// Looks that count; absent: 3, or `frames` where that is more.
    #[schemars(range(min = 1, max = 64))]
    pub window: Option<u32>,
    /// The least overlap (IoU, 0 to 1) with the last sighting to be the same thing.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub iou_threshold: f64,
    /// The least median of the confidences of its latest 15 sightings, 0 to 1; absent: 1.25 times `conf_threshold`, up to 0.5, or 0
    /// where one sighting is enough.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub median_conf: Option<f64>,
}

impl Default for TemporalConfirm {
    fn default() -> Self {
        Self { frames: 2, window: None, iou_threshold: 0.3, median_conf: None }
    }
}

/// A pattern to show in the schema.
const PATTERNS: [&str; 1] = ["[A-Z]{2}[0-9]{3,4}"];

/// Licence plates and their text.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Alpr {
    /// The model that finds plates: a name under `models`, or the path of an .onnx file.
    #[schemars(length(min = 1, max = 4096), example = &"plate",
        extend("x-remedy" = "write a name under `models` or the path of an .onnx file"))]
    pub plate_detector_weights: String,
    /// The model that reads them (CTC), likewise. Its characters are in the file, or given as its `classes` under `models`.
    #[schemars(length(min = 1, max = 4096), example = &"plate-text",
        extend("x-remedy" = "write a name under `models` or the path of an .onnx file"))]
    pub ocr_weights: String,
    /// How the reading model is built.
    #[serde(default)]
    pub ocr_engine: OcrEngine,
    /// The language of the text, for who reads this file: what can be read is settled by the characters of `ocr_weights`.
    #[schemars(length(min = 2, max = 16))]
    #[serde(default)]
    pub ocr_lang: Option<String>,
    /// The least confidence of a plate, 0 to 1.
    #[schemars(range(min = 0.01, max = 1.0))]
    #[serde(default = "conf_threshold")]
    pub conf_threshold: f64,
    /// The least confidence of its text, 0 to 1.
    #[schemars(range(min = 0.01, max = 1.0))]
    #[serde(default = "conf_threshold")]
    pub ocr_conf_threshold: f64,
    /// How much of a plate's width and height is read beyond each edge of its box.
    #[schemars(range(min = 0.0, max = 0.5))]
    #[serde(default)]
    pub crop_expand: f64,
    /// Regular expressions, one of which the whole text must match; absent: any text counts. The text has letters in upper
    /// case, digits, and nothing between them.
    #[schemars(length(max = 64), inner(length(min = 1, max = 256)), example = PATTERNS)]
    #[serde(default)]
    pub plate_patterns: Option<Vec<String>>,
    /// Of two boxes whose overlap (IoU, 0 to 1) is at least this, the weaker goes.
    #[schemars(range(min = 0.01, max = 1.0))]
    #[serde(default = "nms_iou")]
    pub nms_iou: f64,
    /// The least size of a box.
    #[serde(default)]
    pub min_box: Option<MinBox>,
    /// How often a plate must be seen before it is an event.
    #[serde(default)]
    pub temporal_confirm: TemporalConfirm,
    /// The time out of sight after which an incident ends, seconds of media time.
    #[schemars(range(min = 0, max = 86400))]
    #[serde(default = "max_disappeared_seconds")]
    pub max_disappeared_seconds: f64,
    /// The time within which a plate near where another vanished is taken for that one and not reported anew, seconds of media
    /// time.
    #[schemars(range(min = 0, max = 86400))]
    #[serde(default = "cooldown_seconds")]
    pub cooldown_seconds: f64,
    /// How long a plate must stay before it is an event, seconds of media time.
    #[schemars(range(min = 0, max = 86400))]
    #[serde(default)]
    pub dwell_seconds: Option<f64>,
    /// How often an incident that goes on is reported again, seconds of media time.
    #[schemars(range(min = 1, max = 86400))]
    #[serde(default)]
    pub update_seconds: Option<f64>,
    /// Summaries of the incidents of each zone, as activities, which have a record at their start and one at their
    /// end; absent: no.
    #[serde(default)]
    pub activity: Option<Activity>,
}

/// How a reading model is built.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OcrEngine {
    /// As PaddleOCR's recognition models.
    #[default]
    PaddleOcr,
}
