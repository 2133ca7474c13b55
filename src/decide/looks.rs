//! The looks of an object: its colours, which distinguish two objects that pass each other.

use serde::{Deserialize, Serialize};

use crate::decode::Yuv420;
use crate::frame::BBox;

/// The parts of a box whose colours count, from its top, as shares of its height: of a person, chest and legs.
const PARTS: [(f32, f32); 2] = [(0.15, 0.5), (0.5, 0.85)];
/// The columns that count, from the left edge, as shares of the width: the rest is mostly background.
const COLUMNS: (f32, f32) = (0.3, 0.7);
/// Pixels of a part that are looked at: rows and columns.
const GRID: (u8, u8) = (10, 8);
/// Weights of a difference of luma and of chroma: light changes sooner than colours.
const LUMA: f32 = 0.5;
const CHROMA: f32 = 2.0;
/// The share of the looks so far that the next sighting replaces.
const SHARE: f32 = 0.2;

/// The mean luma and chroma of the parts of a box, 0..=255.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Looks([[u8; 3]; 2]);

impl Looks {
    /// The looks of what is in a box.
    pub(super) fn of(picture: &Yuv420<'_>, bbox: &BBox) -> Self {
        Self(PARTS.map(|rows| part(picture, bbox, rows)))
    }

    /// Returns the difference of two: mostly 10 for the same object moments later, 40 for another one.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::{Color, Matrix};

    /// Returns the looks of a box of a picture whose upper half has one colour, and the lower half another.
    fn looks(upper: [u8; 3], lower: [u8; 3], bbox: BBox) -> Looks {
        let (width, height) = (61_usize, 41_usize);
        let plane = |plane: usize, width: usize, height: usize| -> Vec<u8> {
            (0..width * height)
                .map(|at| if at < width * height / 2 { upper[plane] } else { lower[plane] })
                .collect()
        };
        let (half_width, half_height) = (width.div_ceil(2), height.div_ceil(2));
        let planes =
            [plane(0, width, height), plane(1, half_width, half_height), plane(2, half_width, half_height)];
        let picture = Yuv420 {
            width_px: 61,
            height_px: 41,
            planes: [&planes[0], &planes[1], &planes[2]],
            strides: [width, half_width, half_width],
            color: Color { matrix: Matrix::Bt601, full_range: false },
        };
        Looks::of(&picture, &bbox)
    }

    const WHOLE: BBox = BBox { x1: 0.0, y1: 0.0, x2: 61.0, y2: 41.0 };

    #[test]
    fn the_upper_and_the_lower_part_have_their_mean_colours() {
        let [upper, lower] = looks([200, 100, 150], [40, 128, 128], WHOLE).0;
        let near = |mean: [u8; 3], of: [u8; 3]| mean.iter().zip(of).all(|(mean, of)| mean.abs_diff(of) <= 16);
        assert!(near(upper, [200, 100, 150]), "its last row lies on the border: {upper:?}");
        assert!(near(lower, [40, 128, 128]), "its first row lies on the border: {lower:?}");
        let outside = BBox { x1: -50.0, y1: -80.0, x2: 500.0, y2: -10.0 };
        assert_eq!(
            looks([200, 100, 150], [40, 128, 128], outside).0,
            [[200, 100, 150]; 2],
            "the nearest pixels"
        );
    }

    #[test]
    fn light_counts_less_than_colour_and_looks_follow_what_is_seen() {
        let grey = looks([120, 128, 128], [120, 128, 128], WHOLE);
        let lit = looks([140, 128, 128], [140, 128, 128], WHOLE);
        let red = looks([120, 108, 168], [120, 128, 128], WHOLE);
        assert!(grey.difference(&lit) < 15.0 && grey.difference(&red) > 60.0, "{grey:?} {lit:?} {red:?}");
        let mut followed = grey;
        (0..30).for_each(|_| followed.follow(&red));
        assert!(followed.difference(&red) < 15.0, "{followed:?}");
    }
}
