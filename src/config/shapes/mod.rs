//! The zones and masks of the cameras for the zone editor: those of the running configuration, and drawn ones as YAML, checked as
//! `kvs-infer check` does, and compared with the running ones.

mod advice;
mod check;
mod diff;
mod yaml;

use std::sync::Arc;

use arc_swap::ArcSwap;
use kvs_config::raw::{DetectorType, MaskPolygon, MinBox, RoiSection};
use serde::Deserialize;

use crate::media::CameraId;

pub use check::{ShapeProblem, ShapeReport};
pub use diff::{DiffLine, LineChange};

pub(super) use advice::zone_advice;

/// The zones and masks of a camera, in the units of its `roi`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShapeDrawing {
    /// The section `roi`; `None`: it is absent, and boxes anywhere in the frame are reported.
    pub roi: Option<RoiSection>,
    /// The section `masks`.
    #[serde(default)]
    pub masks: Vec<MaskPolygon>,
    /// `min_box` of each entry of the pipeline, whose units are those of an enabled `roi`; empty: as in the running configuration.
    #[serde(default)]
    pub min_boxes: Vec<Option<MinBox>>,
}

/// The zones and masks of a camera in the running configuration, with the filters of its pipeline entries.
#[derive(Clone, Debug, PartialEq)]
pub struct CameraShapes {
    /// The camera's id.
    pub id: CameraId,
    /// The section `roi`, also if it is disabled.
    pub roi: Option<RoiSection>,
    /// The section `masks`.
    pub masks: Vec<MaskPolygon>,
    /// The entries of the pipeline, in the order of the file.
    pub entries: Vec<EntryFilters>,
    /// The place of the camera in its file.
    pub place: CameraPlace,
}

/// The filters of a pipeline entry.
#[derive(Clone, Debug, PartialEq)]
pub struct EntryFilters {
    /// Its name in event ids: its type, and `#2`, `#3`... for further entries of the type.
    pub name: String,
    /// Its type.
    pub kind: DetectorType,
    /// `false` if it is kept without running.
    pub enabled: bool,
    /// Minimum confidence of a detection, 0..=1.
    pub conf_threshold: f64,
    /// The class names that are reported; `None`: every class of the model.
    pub classes: Option<Vec<String>>,
    /// `true` if boxes of different classes are one object too.
    pub agnostic_nms: bool,
    /// Minimum size of a box, in the units of the camera's enabled `roi`.
    pub min_box: Option<MinBox>,
}

/// The place of a camera in its configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CameraPlace {
    /// The file name, as the user gave it.
    pub file: Arc<str>,
    /// The line where the camera begins, from 1.
    pub line: usize,
    /// The number of spaces before each key of the camera; `None`: its section is written in braces, `{ id: gate, ... }`.
    pub indent: Option<usize>,
}

/// A handle to the zones and masks of the configuration that is in effect; clones share it.
#[derive(Clone, Default)]
pub struct RunningShapes {
    cameras: Arc<ArcSwap<Vec<CameraShapes>>>,
}

impl RunningShapes {
    /// Creates a handle to the zones and masks of all enabled cameras.
    #[must_use]
    pub fn new(cameras: &Arc<Vec<CameraShapes>>) -> Self {
        Self { cameras: Arc::new(ArcSwap::new(Arc::clone(cameras))) }
    }

    /// Sets the zones and masks of a configuration that takes effect.
    pub fn set(&self, cameras: &Arc<Vec<CameraShapes>>) {
        self.cameras.store(Arc::clone(cameras));
    }

    /// Returns those of one camera; `None`: it is not in the configuration, or not enabled.
    #[must_use]
    pub fn of(&self, id: &str) -> Option<CameraShapes> {
        self.cameras.load().iter().find(|camera| camera.id.as_str() == id).cloned()
    }
}

impl CameraShapes {
    /// Returns the drawing of the running configuration.
    #[must_use]
    pub fn drawing(&self) -> ShapeDrawing {
        ShapeDrawing { roi: self.roi.clone(), masks: self.masks.clone(), min_boxes: self.min_boxes() }
    }

    fn min_boxes(&self) -> Vec<Option<MinBox>> {
        self.entries.iter().map(|entry| entry.min_box).collect()
    }

    /// Returns the number of spaces before a key of the camera, also for a camera that is written in braces.
    fn indent(&self) -> usize {
        // As in the examples: a list under `cameras`, indented by two.
        self.place.indent.unwrap_or(4)
    }
}
