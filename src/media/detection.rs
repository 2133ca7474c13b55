//! A detection: what a model finds in one frame.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// An axis-aligned box in pixels of the decoded frame. Invariant: `x1 <= x2`, `y1 <= y2`, all finite.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct BBox {
    /// Left edge, px.
    pub x1: f32,
    /// Top edge, px.
    pub y1: f32,
    /// Right edge, px.
    pub x2: f32,
    /// Bottom edge, px.
    pub y2: f32,
}

impl BBox {
    /// Returns the area, square px.
    #[must_use]
    pub fn area(&self) -> f32 {
        // A box clipped to the frame may have no area; a negative one would break `iou`.
        (self.x2 - self.x1).max(0.0) * (self.y2 - self.y1).max(0.0)
    }

    /// Returns the intersection over union with `other`, 0..=1, and 0 if both are empty.
    #[must_use]
    pub fn iou(&self, other: &Self) -> f32 {
        let width = (self.x2.min(other.x2) - self.x1.max(other.x1)).max(0.0);
        let height = (self.y2.min(other.y2) - self.y1.max(other.y1)).max(0.0);
        let intersection = width * height;
        let union = self.area() + other.area() - intersection;
        // Two empty boxes would divide 0 by 0.
        if union > 0.0 { intersection / union } else { 0.0 }
    }

    /// Returns the centre, px.
    #[must_use]
    pub fn centre(&self) -> (f32, f32) {
        (f32::midpoint(self.x1, self.x2), f32::midpoint(self.y1, self.y2))
    }
}

/// One object that a detector found in one frame.
#[derive(Clone, Debug, PartialEq)]
pub struct Detection {
    /// The class name, as the model has it.
    pub label: Arc<str>,
    /// Confidence, 0..=1.
    pub conf: f32,
    /// The box in frame pixels, clipped to the frame.
    pub bbox: BBox,
    /// Text in the box, if text recognition has read one.
    pub reading: Option<PlateText>,
}

/// A text that text recognition has read.
#[derive(Clone, Debug, PartialEq)]
pub struct PlateText {
    /// The text.
    pub text: Arc<str>,
    /// Confidence, 0..=1.
    pub conf: f32,
}
