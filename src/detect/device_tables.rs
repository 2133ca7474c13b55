//! The resampler's numbers for the GPU's kernels, which have none of their own: so both give the same input, to the bit.

use gpu::{ChannelEncoding, ColorFactors, ResampleTables, RowTaps, TapTable};

use super::encoding::InputEncoding;
use super::letterbox::Letterbox;
use super::resample::{Grid, PADDING, Plan};
use super::resample_rows::Coefficients;
use crate::media::Color;

/// Returns the source samples of each pixel of a picture in its place.
#[must_use]
pub fn resample_tables(letterbox: Letterbox) -> ResampleTables {
    let [luma, chroma] = &Plan::new(letterbox).grids;
    let Letterbox { frame_px, side_px, content_px, pad_px } = letterbox;
    ResampleTables { frame_px, side_px, content_px, pad_px, luma: table(luma), chroma: table(chroma) }
}

/// Returns the factors from samples to RGB.
#[must_use]
pub fn color_factors(color: Color) -> ColorFactors {
    let Coefficients { luma, red_v, green_u, green_v, blue_u, offsets } = Coefficients::of(color);
    ColorFactors { luma, red_v, green_u, green_v, blue_u, offsets }
}

/// Returns the numbers of the channels and of the padding.
#[must_use]
pub fn channel_encoding(encoding: &InputEncoding) -> ChannelEncoding {
    ChannelEncoding { scales: encoding.scales(), greys: encoding.grey(PADDING), bgr: encoding.bgr }
}

fn table(grid: &Grid) -> TapTable {
    // Rows of a picture that a decoder can make fit by far; a larger number would be refused by the GPU's checks.
    let row = |row: usize| i32::try_from(row).unwrap_or(i32::MAX);
    let rows = grid.rows.iter().map(|tap| RowTaps {
        upper: row(tap.upper),
        lower: row(tap.lower),
        weight: tap.weight.into(),
    });
    TapTable { at: grid.columns.at.clone(), weights: grid.columns.weights.clone(), rows: rows.collect() }
}
