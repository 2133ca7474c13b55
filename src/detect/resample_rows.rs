//! The two inner loops of the resampler in plain code: the blend of two rows, and the conversion of a row to RGB.
//!
//! [`super::avx2`] has the same loops with vector instructions; results are equal to the bit.

use crate::media::{Color, Matrix};

/// The two source columns of each pixel, and their weights.
///
/// Invariant: each `at` is below `samples`, so that `at + 1` is within a row of `samples + 1`.
#[derive(Debug)]
pub(super) struct Columns {
    pub(super) samples: usize,
    /// The left of the two columns.
    pub(super) at: Vec<i32>,
    /// Left weight in the lower 16 bits, right weight in the upper; 2^14 is 1.
    pub(super) weights: Vec<i32>,
}

impl Columns {
    #[expect(clippy::cast_possible_truncation, reason = "positions lie within 0..samples")]
    pub(super) fn new(positions: &[f64], samples: u32) -> Self {
        let at = positions.iter().map(|position| position.floor() as i32).collect();
        let weights = positions.iter().map(|position| {
            let right = (position.fract() * 16384.0).round() as i32;
            (16384 - right) | (right << 16)
        });
        Self { samples: samples as usize, at, weights: weights.collect() }
    }
}

/// The factors from blended samples (2^21 is 1 level of 255) to RGB 0..=1, with the offsets of luma and chroma folded in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Coefficients {
    pub(super) luma: f32,
    pub(super) red_v: f32,
    pub(super) green_u: f32,
    pub(super) green_v: f32,
    pub(super) blue_u: f32,
    /// Red, green, blue.
    pub(super) offsets: [f32; 3],
}

impl Coefficients {
    #[expect(clippy::cast_possible_truncation, reason = "the factors are rounded to f32 once, here")]
    pub(super) fn of(color: Color) -> Self {
        // Luma weights of red and blue: ITU-R BT.601-7, 2.5.1; ITU-R BT.709-6, 3.2.
        let (kr, kb) = match color.matrix {
            Matrix::Bt601 => (0.299, 0.114),
            Matrix::Bt709 => (0.2126, 0.0722),
        };
        // Limited range has luma in 16..=235 and chroma in 16..=240: ITU-R BT.601-7, 2.5.3.
        let (black, luma, chroma) =
            if color.full_range { (0.0, 1.0 / 255.0, 1.0 / 255.0) } else { (16.0, 1.0 / 219.0, 1.0 / 224.0) };
        let kg = 1.0 - kr - kb;
        let (red_v, blue_u) = (2.0 * (1.0 - kr) * chroma, 2.0 * (1.0 - kb) * chroma);
        let (green_u, green_v) = (-blue_u * kb / kg, -red_v * kr / kg);
        let offset = |chroma: f64| (-black * luma - 128.0 * chroma) as f32;
        let unit = f64::from(1 << 21);
        Self {
            luma: (luma / unit) as f32,
            red_v: (red_v / unit) as f32,
            green_u: (green_u / unit) as f32,
            green_v: (green_v / unit) as f32,
            blue_u: (blue_u / unit) as f32,
            offsets: [offset(red_v), offset(green_u + green_v), offset(blue_u)],
        }
    }
}

/// Blends two rows; 2^7 of the result is 1 level. The rounding is that of the instruction `pmulhrsw`.
pub(super) fn blend_plain(upper: &[u8], lower: &[u8], weight: i16, out: &mut [i16]) {
    for ((out, upper), lower) in out.iter_mut().zip(upper).zip(lower) {
        let (upper, lower) = (i16::from(*upper) << 7, i16::from(*lower) << 7);
        *out = upper + scale_rounded(lower - upper, weight);
    }
}

#[expect(clippy::cast_possible_truncation, reason = "both factors are below 2^15, so is the result")]
fn scale_rounded(value: i16, weight: i16) -> i16 {
    ((i32::from(value) * i32::from(weight) + (1 << 14)) >> 15) as i16
}

/// Converts the pixels of a row from `first` on to RGB, each blended from its two source columns.
pub(super) fn paint_plain(
    blended: &[Vec<i16>; 3],
    [luma, chroma]: [&Columns; 2],
    by: &Coefficients,
    [red, green, blue]: [&mut [f32]; 3],
    first: usize,
) {
    for x in first..red.len() {
        let y = sample(&blended[0], luma, x) * by.luma;
        let (u, v) = (sample(&blended[1], chroma, x), sample(&blended[2], chroma, x));
        red[x] = (y + v * by.red_v + by.offsets[0]).clamp(0.0, 1.0);
        green[x] = (y + u * by.green_u + v * by.green_v + by.offsets[1]).clamp(0.0, 1.0);
        blue[x] = (y + u * by.blue_u + by.offsets[2]).clamp(0.0, 1.0);
    }
}

#[expect(
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "`at` is an index; 2^-24 of the sum is nothing"
)]
fn sample(row: &[i16], columns: &Columns, x: usize) -> f32 {
    let (at, weights) = (columns.at[x] as usize, columns.weights[x]);
    (i32::from(row[at]) * (weights & 0xffff) + i32::from(row[at + 1]) * (weights >> 16)) as f32
}
