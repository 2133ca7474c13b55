//! The entries of a camera's `pipeline`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A detector on a camera.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PipelineSection {
    /// The type of detector. The block of the same name configures it.
    #[serde(rename = "type")]
    pub kind: DetectorType,
    /// `false` keeps the entry without running it.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// The block of `type: weapon`.
    #[serde(default)]
    pub weapon: Option<DetectorSection>,
    /// The block of `type: fire_smoke`.
    #[serde(default)]
    pub fire_smoke: Option<DetectorSection>,
    /// The block of `type: objects`, for any other detection model.
    #[serde(default)]
    pub objects: Option<DetectorSection>,
    /// The block of `type: alpr`, licence plates and their text.
    #[serde(default)]
    // Boxed for its size: every entry of every other type would carry it.
    pub alpr: Option<Box<AlprSection>>,
}

fn yes() -> bool {
    true
}

/// The block of a pipeline entry.
#[derive(Clone, Copy, Debug)]
pub enum DetectorBlock<'e> {
    /// A block of one detection model.
    Objects(&'e DetectorSection),
    /// A block of a plate detector and a recognition model.
    Alpr(&'e AlprSection),
}

impl<'e> DetectorBlock<'e> {
    /// Returns the keys that every type has.
    #[must_use]
    pub fn options(self) -> &'e DetectionOptions {
        match self {
            Self::Objects(section) => &section.options,
            Self::Alpr(section) => &section.options,
        }
    }
}

impl PipelineSection {
    /// Returns the block of a type, if it is given.
    #[must_use]
    pub fn block(&self, kind: DetectorType) -> Option<DetectorBlock<'_>> {
        match kind {
            DetectorType::Weapon => self.weapon.as_ref().map(DetectorBlock::Objects),
            DetectorType::FireSmoke => self.fire_smoke.as_ref().map(DetectorBlock::Objects),
            DetectorType::Objects => self.objects.as_ref().map(DetectorBlock::Objects),
            DetectorType::Alpr => self.alpr.as_deref().map(DetectorBlock::Alpr),
        }
    }

    /// Returns the types whose blocks are given.
    pub fn given_blocks(&self) -> impl Iterator<Item = DetectorType> {
        // Destructured without `..`: a new block that is missing here does not compile.
        let Self { kind: _, enabled: _, weapon, fire_smoke, objects, alpr } = self;
        let blocks = [
            (DetectorType::Weapon, weapon.is_some()),
            (DetectorType::FireSmoke, fire_smoke.is_some()),
            (DetectorType::Objects, objects.is_some()),
            (DetectorType::Alpr, alpr.is_some()),
        ];
        blocks.into_iter().filter_map(|(kind, is_given)| is_given.then_some(kind))
    }
}

/// The type of a detector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DetectorType {
    /// Weapons.
    Weapon,
    /// Fire and smoke.
    FireSmoke,
    /// Any classes of a detection model.
    Objects,
    /// Licence plates and their text.
    Alpr,
}

impl DetectorType {
    /// Returns the name of the type in the file and in events.
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

/// Example class names in the schema.
const CLASSES: [&str; 2] = ["gun", "knife"];

/// A detection model, and the rules by which its detections become events.
// `flatten` excludes `deny_unknown_fields` in serde. The schema says it instead, and every file is checked against the schema first.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[schemars(extend("additionalProperties" = false))]
pub struct DetectorSection {
    /// The model: a name under `models`, the path of an .onnx file, s3://bucket/key or https://...
    #[schemars(length(min = 1, max = 4096), example = &"street",
        extend("x-remedy" = "write a name under `models` or the path of an .onnx file"))]
    pub yolo_weights: String,
    /// The class names that are reported; absent: every class of the model.
    #[schemars(length(min = 1, max = 10000), inner(length(min = 1, max = 128)), example = CLASSES,
        extend("x-remedy" = "name at least one class, or remove `classes` for all"))]
    #[serde(default)]
    pub classes: Option<Vec<String>>,
    /// Class-agnostic NMS: `nms_iou` also applies between boxes of different classes, so that an object with two labels is one
    /// detection, with the more confident label.
    #[serde(default)]
    pub agnostic_nms: bool,
    /// The keys that every type has.
    #[serde(flatten)]
    pub options: DetectionOptions,
}

/// The keys that the blocks of every type have.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
pub struct DetectionOptions {
    /// Minimum confidence of a detection, 0 to 1.
    #[schemars(range(min = 0.01, max = 1.0))]
    #[serde(default = "conf_threshold")]
    pub conf_threshold: f64,
    /// NMS threshold: of two boxes of one class with at least this overlap (IoU, 0 to 1), the less confident is dropped.
    #[schemars(range(min = 0.01, max = 1.0))]
    #[serde(default = "nms_iou")]
    pub nms_iou: f64,
    /// Minimum size of a box; absent: any.
    #[serde(default)]
    pub min_box: Option<MinBox>,
    /// Number of detections that confirm an object.
    #[serde(default)]
    pub temporal_confirm: TemporalConfirm,
    /// Time without a detection after which an object's incident ends, seconds of media time.
    #[schemars(range(min = 0, max = 86400))]
    #[serde(default = "max_disappeared_seconds")]
    pub max_disappeared_seconds: f64,
    /// Time after an object disappears within which another of its class nearby counts as the same one and is not reported again,
    /// seconds of media time.
    #[schemars(range(min = 0, max = 86400))]
    #[serde(default = "cooldown_seconds")]
    pub cooldown_seconds: f64,
    /// Minimum time in view before an object is reported, seconds of media time; absent: 0.
    #[schemars(range(min = 0, max = 86400))]
    #[serde(default)]
    pub dwell_seconds: Option<f64>,
    /// Interval at which an open incident is reported again, seconds of media time; absent: only on a change.
    #[schemars(range(min = 1, max = 86400))]
    #[serde(default)]
    pub update_seconds: Option<f64>,
    /// Summaries of the incidents per zone, as activities: one record at the start and one at the end; absent: none.
    #[serde(default)]
    pub activity: Option<ActivitySection>,
}

// serde takes the default of a single field from a function.
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
pub struct ActivitySection {
    /// Time without an incident in the zone after which its activity ends, seconds of media time.
    #[schemars(range(min = 10, max = 86400))]
    pub quiet_seconds: f64,
}

impl Default for ActivitySection {
    fn default() -> Self {
        Self { quiet_seconds: 40.0 }
    }
}

/// The minimum size of a box.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MinBox {
    /// Minimum width: frame pixels, or a fraction of the frame's width where the camera's `roi` has `units: normalized`.
    #[schemars(range(min = 0, max = 65535))]
    pub width: f64,
    /// Minimum height: frame pixels, or a fraction of the frame's height where the camera's `roi` has `units: normalized`.
    #[schemars(range(min = 0, max = 65535))]
    pub height: f64,
}

/// The detections that confirm an object before it is reported: `frames` of the last `window` inferences, at five inferences per
/// second. At a higher rate both grow in proportion.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TemporalConfirm {
    /// Number of detections that confirm an object; 1 reports it at the first one.
    #[schemars(range(min = 1, max = 64))]
    pub frames: u32,
    // 64: the bits of the word in which a track remembers its detections.
    /// Number of inferences within which they count; absent: 3, or `frames` where that is more.
    #[schemars(range(min = 1, max = 64))]
    pub window: Option<u32>,
    /// Minimum overlap (IoU, 0 to 1) with the predicted box for a detection to be the same object.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub iou_threshold: f64,
    /// Minimum median confidence of the object's latest 15 detections, 0 to 1; absent: 1.25 times `conf_threshold`, up to 0.5, or
    /// 0 where one detection is enough.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub median_conf: Option<f64>,
}

impl Default for TemporalConfirm {
    fn default() -> Self {
        Self { frames: 2, window: None, iou_threshold: 0.3, median_conf: None }
    }
}

/// An example pattern in the schema.
const PATTERNS: [&str; 1] = ["[A-Z]{2}[0-9]{3,4}"];

/// A plate detector, a recognition model, and the rules by which plates become events.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[schemars(extend("additionalProperties" = false))]
pub struct AlprSection {
    /// The model that detects plates: a name under `models`, the path of an .onnx file, s3://bucket/key or https://...
    #[schemars(length(min = 1, max = 4096), example = &"plate",
        extend("x-remedy" = "write a name under `models` or the path of an .onnx file"))]
    pub plate_detector_weights: String,
    /// The recognition model (CTC) that reads plates, named likewise. Its characters are in the file, or its `classes` under `models`.
    #[schemars(length(min = 1, max = 4096), example = &"plate-text",
        extend("x-remedy" = "write a name under `models` or the path of an .onnx file"))]
    pub ocr_weights: String,
    /// The architecture of the recognition model.
    #[serde(default)]
    pub ocr_engine: OcrEngine,
    /// The language of the text, as a note to readers of this file. The characters of `ocr_weights` decide which texts are read.
    #[schemars(length(min = 2, max = 16))]
    #[serde(default)]
    pub ocr_lang: Option<String>,
    /// Minimum confidence of the text, 0 to 1.
    #[schemars(range(min = 0.01, max = 1.0))]
    #[serde(default = "conf_threshold")]
    pub ocr_conf_threshold: f64,
    /// The margin that is read beyond each edge of a plate's box, as a fraction of its width and height.
    #[schemars(range(min = 0.0, max = 0.5))]
    #[serde(default)]
    pub crop_expand: f64,
    /// Regular expressions, one of which must match the whole text; absent: any text. The text consists of upper-case letters and
    /// digits, without separators.
    #[schemars(length(max = 64), inner(length(min = 1, max = 256)), example = PATTERNS)]
    #[serde(default)]
    pub plate_patterns: Option<Vec<String>>,
    /// The keys that every type has.
    #[serde(flatten)]
    pub options: DetectionOptions,
}

/// The architecture of a recognition model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OcrEngine {
    /// The recognition models of PaddleOCR.
    #[default]
    PaddleOcr,
}
