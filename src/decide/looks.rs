//! What something looks like: its colours, by which two that pass each other are told apart.

use serde::{Deserialize, Serialize};

use crate::decode::Yuv420;
use crate::frame::BBox;

/// The parts of a box whose colours count, from its top, as shares of its height: of a person, chest and legs.
const PARTS: [(f32, f32); 2] = [(0.15, 0.5), (0.5, 0.85)];
/// The columns that count, from the left edge, as shares of the width: the rest is mostly background.
const COLUMNS: (f32, f32) = (0.3, 0.7);
/// Pixels of a part that are looked at: rows and columns.
const GRID: (u8, u8) = (10, 8);
/// How much a difference of luma and of chroma counts: light changes sooner than colours.
const LUMA: f32 = 0.5;
const CHROMA: f32 = 2.0;
/// How much of the looks so far the next sighting replaces.
const SHARE: f32 = 0.2;

/// The mean luma and chroma of the parts of a box, 0..=255.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Looks([[u8; 3]; 2]);

impl Looks {
    /// The looks of what is in a box.
    pub(super) fn of(picture: &Yuv420<'_>, bbox: &BBox) -> Self {
        Self(PARTS.map(|rows| part(picture, bbox, rows)))
    }

    /// How much two differ; the same thing moments later by 10, others by 40, mostly.
    pub(super) fn difference(&self, other: &Self) -> f32 {
        let weights = [LUMA, CHROMA, CHROMA];
        let parts = self.0.iter().flatten().zip(other.0.iter().flatten()).zip(weights.iter().cycle());
        parts.map(|((a, b), weight)| (weight * (f32::from(*a) - f32::from(*b))).powi(2)).sum::<f32>().sqrt()
    }

    /// It was seen again.
    pub(super) fn follow(&mut self, seen: &Self) {
        for (mean, seen) in self.0.iter_mut().flatten().zip(seen.0.iter().flatten()) {
            let (before, now) = (f32::from(*mean), f32::from(*seen));
            *mean = whole(before + SHARE * (now - before));
        }
    }
}

/// The mean colour of a part of a box.
fn part(picture: &Yuv420<'_>, bbox: &BBox, (top, bottom): (f32, f32)) -> [u8; 3] {
    let (width, height) = (bbox.x2 - bbox.x1, bbox.y2 - bbox.y1);
    let mut sums = [0.0; 3];
    for row in 0..GRID.0 {
        let y = bbox.y1 + height * between(top, bottom, row, GRID.0);
        for column in 0..GRID.1 {
            let x = bbox.x1 + width * between(COLUMNS.0, COLUMNS.1, column, GRID.1);
            for (sum, value) in sums.iter_mut().zip(pixel(picture, x, y)) {
                *sum += f32::from(value);
            }
        }
    }
    sums.map(|sum| whole(sum / (f32::from(GRID.0) * f32::from(GRID.1))))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a mean of bytes")]
fn whole(mean: f32) -> u8 {
    mean.round() as u8
}

fn between(from: f32, to: f32, step: u8, steps: u8) -> f32 {
    from + (to - from) * f32::from(step) / f32::from(steps - 1)
}

/// Y, U and V at a place, which is kept within the picture.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "kept within the picture")]
fn pixel(picture: &Yuv420<'_>, x: f32, y: f32) -> [u8; 3] {
    let x = (x.max(0.0) as usize).min(picture.width_px as usize - 1);
    let y = (y.max(0.0) as usize).min(picture.height_px as usize - 1);
    let at = |plane: usize, x: usize, y: usize| picture.planes[plane][y * picture.strides[plane] + x];
    [at(0, x, y), at(1, x / 2, y / 2), at(2, x / 2, y / 2)]
}
