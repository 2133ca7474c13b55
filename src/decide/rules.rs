//! What the configuration asks of decide.

use std::sync::Arc;

use regex_lite::Regex;

use crate::detect::Thresholds;

/// A box that is so much less sure than asked for still keeps a known thing in sight.
const FAINT_SHARE: f32 = 0.5;

/// The rules of one entry of a camera's pipeline.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// The entry's name in event ids: its type, and `#2`, `#3`... for further entries of the same type.
    pub detector: String,
    /// The entry's type: `weapon`, `fire_smoke`, `alpr`, `objects`.
    pub kind: String,
    /// Confidence and NMS.
    pub thresholds: Thresholds,
    /// `true`: boxes of different labels are one object too, from `thresholds.nms_iou` on.
    pub agnostic_nms: bool,
    /// The class names that count; `None`: all.
    pub classes: Option<Vec<Arc<str>>>,
    /// Least width and height of a box: fractions of the frame where `roi` is normalized, else frame px.
    pub min_box: Option<(f32, f32)>,
    /// Where a box must be.
    pub roi: Option<Roi>,
    /// How often a thing must be seen before it is an event.
    pub confirm: Confirm,
    /// Time out of sight after which an incident ends, ms of media time.
    pub max_disappeared_ms: i64,
    /// Time within which a newcomer near where another of its label vanished is taken for that one, ms of media time.
    pub cooldown_ms: i64,
    /// How long a thing must stay before it is an event, ms of media time; it may be hidden for moments.
    pub dwell_ms: i64,
    /// How often an incident that goes on is told of again, ms of media time; `None`: only where something changes.
    pub update_ms: Option<i64>,
    /// Time without an incident in its zone after which an activity ends, ms of media time; `None`: no activities.
    pub quiet_ms: Option<i64>,
    /// For things with a text: which texts count. A thing is no event before one does.
    pub reading: Option<ReadingRules>,
}

impl Rules {
    /// What the detector is to be asked for: also boxes that are less sure, which keep a known thing in sight.
    #[must_use]
    pub fn asked(&self) -> Thresholds {
        Thresholds { conf: self.thresholds.conf * FAINT_SHARE, ..self.thresholds }
    }
}

/// Which texts count.
#[derive(Clone, Debug, PartialEq)]
pub struct ReadingRules {
    /// The least confidence, 0..=1.
    pub conf: f32,
    /// One of which a text must match; empty: any text.
    pub patterns: Vec<TextPattern>,
}

/// A regular expression that a whole text must match.
#[derive(Clone, Debug)]
pub struct TextPattern {
    text: String,
    regex: Regex,
}

impl TextPattern {
    /// The pattern as it is written.
    ///
    /// Errors: it is no regular expression.
    pub fn new(text: &str) -> Result<Self, regex_lite::Error> {
        Ok(Self { text: text.to_owned(), regex: Regex::new(&format!("^(?:{text})$"))? })
    }

    pub(super) fn matches(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }
}

impl PartialEq for TextPattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

/// `frames` sightings within the last `window` looks confirm a thing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Confirm {
    /// Sightings that are needed, 1..=window.
    pub frames: u32,
    /// Looks that count, 1..=64.
    pub window: u32,
    /// Least IoU with the last sighting to be the same thing, 0..=1.
    pub iou_threshold: f32,
    /// Least median of the confidences of its sightings, 0..=1.
    pub median_conf: f32,
}

/// Regions of interest.
#[derive(Clone, Debug, PartialEq)]
pub struct Roi {
    /// The polygons; one is enough.
    pub zones: Vec<Zone>,
    /// When a box is in a zone.
    pub filter: RoiFilter,
    /// Whether `Zone::points` are fractions of the frame (0..=1) rather than frame px.
    pub normalized: bool,
}

/// A named polygon.
#[derive(Clone, Debug, PartialEq)]
pub struct Zone {
    /// Its name in events.
    pub name: String,
    /// At least three corners, in frame px or fractions of the frame as [`Roi::normalized`] says.
    pub points: Vec<(f32, f32)>,
}

/// When a box is in a zone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RoiFilter {
    /// Its centre is.
    Center,
    /// Any part of it is.
    Any,
    /// All of it is.
    All,
    /// At least this share of its area is, 0..=1.
    Overlap(f32),
}
