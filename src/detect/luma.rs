//! A picture in little: its luma, averaged over the cells of a coarse grid.

use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::media::{Surface, Yuv420};

/// Cells across and down. On a 1080p picture a cell has 30 x 30 px; what is too small to fill one is about as small as what a
/// detector with an input of 640 px can see.
const COLUMNS: usize = 64;
const ROWS: usize = 36;
/// Rows of pixels of a cell that are read at most: enough to average sensor noise out, and a quarter of a 1080p picture.
const ROWS_READ: usize = 8;

// A GPU averages the same cells.
const _: () = assert!(COLUMNS * ROWS == gpu::LUMA_CELLS);

/// The average luma of each cell, row by row, 0..=255.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct LumaGrid(Box<[u8; COLUMNS * ROWS]>);

/// The difference of two grids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Difference {
    /// By how much the picture as a whole is brighter: the median over the cells.
    pub(super) shift: i16,
    /// The median distance of the cells from `shift`.
    pub(super) spread: i16,
}

impl LumaGrid {
    /// Of a frame's picture; one on a GPU was averaged there.
    pub(super) fn of_surface(surface: &Surface) -> Self {
        match surface {
            Surface::Host(picture) => Self::of(&picture.view()),
            Surface::Cuda(picture) => Self(Box::new(*picture.luma_cells())),
        }
    }

    /// Of a picture of any size; a picture without pixels is black.
    pub(super) fn of(picture: &Yuv420<'_>) -> Self {
        let (width, height) = (picture.width_px as usize, picture.height_px as usize);
        let columns: [_; COLUMNS] = std::array::from_fn(|column| part(width, column, COLUMNS));
        let mut grid = Self(Box::new([0; COLUMNS * ROWS]));
        for (row, cells) in grid.0.chunks_exact_mut(COLUMNS).enumerate() {
            let rows = part(height, row, ROWS);
            // Some rows of a cell are enough for its average.
            let step = rows.len().div_ceil(ROWS_READ).max(1);
            let lines = rows.step_by(step).filter_map(|row| line(picture, row, width));
            average(lines, &columns, cells);
        }
        grid
    }

    /// Returns the average luma of each cell, row by row.
    pub(super) fn cells(&self) -> &[u8; COLUMNS * ROWS] {
        &self.0
    }

    /// Returns the difference of this grid from `before`.
    pub(super) fn difference(&self, before: &Self) -> Difference {
        // Medians, not means: an object that covers less than half of the scene changes neither.
        let shift = median(self.changes(before));
        let spread = median(self.changes(before).map(|change| (change - shift).abs()));
        Difference { shift, spread }
    }

    /// Cells that changed by more than `limit` more or less than `shift`.
    pub(super) fn changed(&self, before: &Self, shift: i16, limit: i16) -> usize {
        self.changes(before).filter(|change| (change - shift).abs() > limit).count()
    }

    fn changes<'a>(&'a self, before: &'a Self) -> impl Iterator<Item = i16> + 'a {
        self.0.iter().zip(before.0.iter()).map(|(now, before)| i16::from(*now) - i16::from(*before))
    }
}

/// The pixels of part `index` of `parts`; at least one, where there is one.
fn part(pixels: usize, index: usize, parts: usize) -> std::ops::Range<usize> {
    let from = index * pixels / parts;
    from..((index + 1) * pixels / parts).max(from + 1).min(pixels)
}

fn line<'a>(picture: &Yuv420<'a>, row: usize, width: usize) -> Option<&'a [u8]> {
    picture.planes[0].get(row * picture.strides[0]..)?.get(..width)
}

fn average<'a>(
    lines: impl Iterator<Item = &'a [u8]>,
    columns: &[std::ops::Range<usize>; COLUMNS],
    cells: &mut [u8],
) {
    let (mut sums, mut count) = ([0_u32; COLUMNS], 0);
    for line in lines {
        count += 1;
        for (sum, columns) in sums.iter_mut().zip(columns) {
            *sum += line[columns.clone()].iter().map(|luma| u32::from(*luma)).sum::<u32>();
        }
    }
    for ((cell, sum), columns) in cells.iter_mut().zip(sums).zip(columns) {
        let pixels = u32::try_from(columns.len()).unwrap_or(u32::MAX) * count;
        // Rounded to nearest. Without a line there are no pixels, and the cell is black.
        *cell = u8::try_from((sum + pixels / 2).checked_div(pixels).unwrap_or(0)).unwrap_or(u8::MAX);
    }
}

/// The lower median of values from -510 to 510.
fn median(values: impl Iterator<Item = i16>) -> i16 {
    // A histogram instead of a sort: values are few, and the result does not depend on their order.
    let mut counts = [0_usize; 1021];
    for value in values {
        counts[usize::try_from(value + 510).unwrap_or(0).min(1020)] += 1;
    }
    let mut before = 0;
    let at = counts.iter().position(|count| {
        before += count;
        before * 2 >= COLUMNS * ROWS
    });
    at.and_then(|at| i16::try_from(at).ok()).map_or(0, |at| at - 510)
}

impl fmt::Debug for LumaGrid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LumaGrid({COLUMNS}x{ROWS})")
    }
}

/// As text, two hexadecimal digits per cell.
impl Serialize for LumaGrid {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let digits = self.0.iter().flat_map(|cell| [cell >> 4, cell & 15]);
        let text: String = digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect();
        to.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for LumaGrid {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let cell = |pair: &[u8]| match pair {
            [high, low] => {
                let digit = |digit: &u8| char::from(*digit).to_digit(16);
                u8::try_from(digit(high)? * 16 + digit(low)?).ok()
            }
            _ => None,
        };
        let cells: Option<Vec<u8>> = text.as_bytes().chunks(2).map(cell).collect();
        let cells = cells.and_then(|cells| cells.into_boxed_slice().try_into().ok());
        cells.map(Self).ok_or_else(|| {
            let need = COLUMNS * ROWS * 2;
            D::Error::custom(format_args!("a grid of luma has {need} hexadecimal digits; delete the state"))
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::media::{Color, Matrix};

    fn grid((width, height): (usize, usize), luma: impl Fn(usize, usize) -> u8) -> LumaGrid {
        let stride = width + 3;
        let plane: Vec<u8> = (0..height * stride).map(|at| luma(at % stride, at / stride)).collect();
        LumaGrid::of(&Yuv420 {
            width_px: width as u32,
            height_px: height as u32,
            planes: [&plane, &[], &[]],
            strides: [stride, 0, 0],
            color: Color { matrix: Matrix::Bt601, full_range: false },
        })
    }

    #[test]
    fn a_cell_is_the_average_of_its_own_pixels() {
        for (name, size) in [("1080p", (1920, 1080)), ("odd", (641, 273)), ("as the grid", (64, 36))] {
            let (width, height) = size;
            let bright = grid(size, |x, y| {
                if part(width, 5, 64).contains(&x) && part(height, 7, 36).contains(&y) { 200 } else { 40 }
            });
            let cells: Vec<usize> = (0..COLUMNS * ROWS).filter(|at| bright.0[*at] != 40).collect();
            assert_eq!((&cells[..], bright.0[7 * 64 + 5]), (&[7 * 64 + 5][..], 200), "{name}");
            let slope = grid(size, |x, _| if x % 2 == 0 { 10 } else { 21 });
            assert!(width == 64 || slope.0.iter().all(|cell| (13..=18).contains(cell)), "{name}");
        }
    }

    #[test]
    fn the_smallest_pictures_have_a_grid_too() {
        for size in [(0, 0), (1, 1), (3, 200), (200, 3)] {
            let cells = grid(size, |_, _| 77).0;
            let wanted = if size.0 == 0 { 0 } else { 77 };
            assert!(cells.iter().all(|cell| *cell == wanted), "{size:?}: {cells:?}");
        }
    }

    #[test]
    fn a_difference_separates_the_light_from_the_objects() {
        let before = grid((64, 36), |x, y| (x + y) as u8);
        let now = grid((64, 36), |x, y| (x + y) as u8 + if x < 10 && y < 10 { 90 } else { 5 });
        assert_eq!(now.difference(&before), Difference { shift: 5, spread: 0 });
        assert_eq!((now.changed(&before, 5, 84), now.changed(&before, 5, 85)), (100, 0));
        assert_eq!(before.difference(&now).shift, -5);
        let striped = grid((64, 36), |x, y| (x + y) as u8 + if x % 2 == 0 { 0 } else { 4 });
        assert_eq!(striped.difference(&before), Difference { shift: 0, spread: 0 }, "the lower median");
    }

    #[test]
    fn what_is_no_grid_is_refused() {
        let text = serde_json::to_string(&grid((64, 36), |x, _| x as u8)).unwrap();
        for (name, text) in [
            ("short", text.replacen("01", "", 1)),
            ("odd", text.replacen("01", "1", 1)),
            ("no digits", text.replacen("01", "0g", 1)),
            ("not ASCII", text.replacen("01", "é", 1)),
        ] {
            let refused = serde_json::from_str::<LumaGrid>(&text).unwrap_err().to_string();
            assert!(refused.contains("4608 hexadecimal digits"), "{name}: {refused}");
        }
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_back(seed in any::<u8>()) {
            let grid = grid((64, 36), |x, y| seed.wrapping_mul(31).wrapping_add((x * 7 + y * 13) as u8));
            let text = serde_json::to_string(&grid).unwrap();
            prop_assert_eq!(serde_json::from_str::<LumaGrid>(&text).unwrap(), grid);
        }
    }
}
