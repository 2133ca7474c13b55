//! The rules of decide, as the configuration sets them.

use std::sync::Arc;

use regex_lite::Regex;
use serde::Serialize;

use crate::detect::Thresholds;

/// Minimum confidence of a box that keeps a known object in view, as a share of the configured one.
///
/// A person who is half hidden or far away drops below the threshold for moments; as in `ByteTrack`, such boxes continue tracks
/// and never begin one.
const FAINT_SHARE: f32 = 0.5;

/// The rules of one entry of a camera's pipeline.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Rules {
    /// Name of the entry in event ids: its type, and `#2`, `#3`... for further entries of the same type.
    pub detector: String,
    /// Type of the entry: `weapon`, `fire_smoke`, `alpr`, `objects`.
    pub kind: String,
    /// Minimum confidence, and the IoU of non-maximum suppression.
    pub thresholds: Thresholds,
    /// `true`: boxes of different labels are one object too, from an IoU of `thresholds.nms_iou`.
    pub agnostic_nms: bool,
    /// Class names that count; `None`: all.
    pub classes: Option<Vec<Arc<str>>>,
    /// Minimum width and height of a box: fractions of the frame if `roi` is normalized, otherwise frame px.
    pub min_box: Option<(f32, f32)>,
    /// Zones that count; `None`: the whole frame.
    pub roi: Option<Roi>,
    /// Number of sightings that confirm an object.
    pub confirm: Confirm,
    /// Time out of sight after which an incident ends, ms of media time.
    pub max_disappeared_ms: i64,
    /// Time within which a newcomer near a place where another object of its label vanished counts as that one, ms of media time.
    pub cooldown_ms: i64,
    /// Time for which an object must stay before it is reported, ms of media time; it may be hidden for moments.
    pub dwell_ms: i64,
    /// Interval of updates of an incident, ms of media time; `None`: only if something changes.
    pub update_ms: Option<i64>,
    /// Time without an incident in its zone after which an activity ends, ms of media time; `None`: no activities.
    pub quiet_ms: Option<i64>,
    /// Texts that count, for objects with a text: such an object is reported once one is recognized.
    pub reading: Option<ReadingRules>,
}

impl Rules {
    /// Returns the thresholds for the detector: also boxes of lower confidence, which keep a known object in view.
    #[must_use]
    pub fn detector_thresholds(&self) -> Thresholds {
        Thresholds { conf: self.thresholds.conf * FAINT_SHARE, ..self.thresholds }
    }
}

/// The recognized texts that count.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ReadingRules {
    /// Minimum confidence, 0..=1.
    pub conf: f32,
    /// Patterns of which a text must match one; empty: any text.
    pub patterns: Vec<TextPattern>,
}

/// A regular expression that a whole text must match.
#[derive(Clone, Debug, Serialize)]
pub struct TextPattern {
    text: String,
    // Compiled of `text`.
    #[serde(skip)]
    regex: Regex,
}

impl TextPattern {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// `text` is not a regular expression.
    pub fn new(text: &str) -> Result<Self, regex_lite::Error> {
        // In a group, so that the anchors hold for each alternative of `a|b`.
        Ok(Self { text: text.to_owned(), regex: Regex::new(&format!("^(?:{text})$"))? })
    }

    /// Returns whether the pattern matches all of `text`.
    pub(super) fn matches(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }
}

impl PartialEq for TextPattern {
    fn eq(&self, other: &Self) -> bool {
        // A compiled regex has no equality; a reload compares configurations by their text.
        self.text == other.text
    }
}

/// The sightings that confirm an object: `frames` of the last `window` inferences.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Confirm {
    /// Number of sightings that are needed, 1..=window.
    pub frames: u32,
    /// Number of inferences that count, 1..=64.
    pub window: u32,
    /// Minimum IoU with the predicted box to be the same object, 0..=1.
    pub iou_threshold: f32,
    /// Minimum median of the latest confidences, 0..=1.
    pub median_conf: f32,
}

/// The regions of interest of a camera.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Roi {
    /// Polygons; a box in any of them counts.
    pub zones: Vec<Zone>,
    /// Condition for a box to be in a zone.
    pub filter: RoiFilter,
    /// `true` if `Zone::points` are fractions of the frame (0..=1), `false` if they are frame px.
    pub normalized: bool,
}

/// A named polygon.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Zone {
    /// Name of the zone in events.
    pub name: String,
    /// At least three corners, in frame px or fractions of the frame, see [`Roi::normalized`].
    pub points: Vec<(f32, f32)>,
}

/// The condition for a box to be in a zone.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub enum RoiFilter {
    /// The centre of the box is in the zone.
    Center,
    /// Any part of the box is in the zone.
    Any,
    /// All of the box is in the zone.
    All,
    /// At least this share of the box's area is in the zone, 0..=1.
    Overlap(f32),
}
