//! What the configuration asks of decide.

use std::sync::Arc;

use crate::detect::Thresholds;

/// The rules of one entry of a camera's pipeline.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// The entry's name in event ids: its type, and `#2`, `#3`... for further entries of the same type.
    pub detector: String,
    /// The entry's type: `weapon`, `fire_smoke`, `objects`.
    pub kind: String,
    /// Confidence and NMS.
    pub thresholds: Thresholds,
    /// The class names that count; `None`: all.
    pub classes: Option<Vec<Arc<str>>>,
    /// Least width and height of a box: fractions of the frame where `roi` is normalized, else frame px.
    pub min_box: Option<(f32, f32)>,
    /// Where a box must be.
    pub roi: Option<Roi>,
    /// How often a thing must be seen before it is an event.
    pub confirm: Confirm,
    /// A thing that was reported is not reported again until it was out of sight for so long, ms of media time.
    pub cooldown_ms: i64,
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
