//! Crops as lines of a recognition model: one height, width by the aspect, padded at the right.

use std::fmt;

use crate::detect::error::ModelFault;
use crate::detect::model::{InputTensor, picture_input, side_px};
use crate::detect::resample::{PictureFault, Resampler};
use crate::media::{BBox, Yuv420};

/// The height of lines where the graph leaves it open: that of PP-OCR since version 3.
const OPEN_HEIGHT_PX: u32 = 48;
/// The step of line widths if the graph leaves the width open, px: the width that PP-OCR was trained with.
const WIDTH_STEP_PX: u32 = 320;
/// The widest line; a longer text is squeezed into it.
const OPEN_WIDTH_PX: u32 = 4 * WIDTH_STEP_PX;

/// Of a crop that is less wide than this many times its height the halves are read too: plates of two lines are 1.2 (motor-cycles)
/// to 2.3 (cars of Thailand), those of one line 2 (North America) to 4.7 (Europe).
const TWO_LINES_BELOW: u32 = 5;
/// The denominator of [`TWO_LINES_BELOW`].
const TWO_LINES_OF: u32 = 2;
/// A half that is lower has no text that can be read, px.
const MIN_HALF_PX: u32 = 8;

/// A recognition model's input: NCHW, BGR, -1..=1, 0 right of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineShape {
    /// Lines of each inference; `None`: any number.
    pub batch: Option<usize>,
    /// Height, px.
    pub height_px: u32,
    /// Width, px; `None`: any.
    pub width_px: Option<u32>,
    /// `true` if its elements are `f16`, `false` if they are `f32`.
    pub half: bool,
}

impl LineShape {
    /// As the graph says.
    ///
    /// Errors: the input is no picture.
    pub(super) fn read(inputs: &[InputTensor]) -> Result<Self, ModelFault> {
        let (input, half, [batch, height, width]) = picture_input(inputs)?;
        let side = |px: i64, open: Option<u32>| match px {
            -1 => Ok(open),
            _ => side_px(px).map(Some).ok_or_else(|| {
                let tensor = input.name.clone();
                ModelFault::Sides { tensor, width: width.max(1), height: height.max(1) }
            }),
        };
        let height_px = side(height, Some(OPEN_HEIGHT_PX))?.unwrap_or(OPEN_HEIGHT_PX);
        Ok(Self { batch: usize::try_from(batch).ok(), height_px, width_px: side(width, None)?, half })
    }

    /// The width of the line that a crop of this size takes, and of the crop in it, px. It depends on the crop alone, so
    /// that the text does not depend on what else is in the frame.
    pub(super) fn widths_px(&self, (width, height): (u32, u32)) -> (u32, u32) {
        let most = self.width_px.unwrap_or(OPEN_WIDTH_PX);
        let scaled = (u64::from(width) * u64::from(self.height_px)).div_ceil(u64::from(height.max(1)));
        let content = u32::try_from(scaled).unwrap_or(u32::MAX).clamp(1, most);
        (self.width_px.unwrap_or_else(|| content.next_multiple_of(WIDTH_STEP_PX)), content)
    }

    /// The width that warming up takes, px.
    pub(crate) fn usual_width_px(&self) -> u32 {
        self.width_px.unwrap_or(WIDTH_STEP_PX)
    }

    /// The elements of a line of this width.
    pub(super) fn elements(&self, width_px: u32) -> usize {
        3 * self.height_px as usize * width_px as usize
    }

    /// Paints a crop as a line into `out`, which has the elements of one.
    ///
    /// Errors: a plane is too short.
    pub(super) fn paint(
        &self,
        crop: &Yuv420<'_>,
        (line_px, content_px): (u32, u32),
        out: &mut [f32],
    ) -> Result<(), PictureFault> {
        let content = (content_px, self.height_px);
        Resampler::new((line_px, self.height_px)).stretch(crop, content, out)?;
        let plane = out.len() / 3;
        // PP-OCR was trained on BGR, and the resampler writes RGB.
        let (red, rest) = out.split_at_mut(plane);
        red.swap_with_slice(&mut rest[plane..]);
        for row in out.chunks_exact_mut(line_px as usize) {
            let (text, padding) = row.split_at_mut(content_px as usize);
            // PP-OCR's normalization: mean 0.5, standard deviation 0.5.
            text.iter_mut().for_each(|value| *value = *value * 2.0 - 1.0);
            padding.fill(0.0);
        }
        Ok(())
    }
}

impl fmt::Display for LineShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |n: Option<usize>, open: &str| n.map_or_else(|| open.to_owned(), |n| n.to_string());
        let (batch, width) = (number(self.batch, "N"), number(self.width_px.map(|px| px as usize), "W"));
        write!(f, "{batch}x3x{}x{width} {}", self.height_px, if self.half { "f16" } else { "f32" })
    }
}

/// The part of a picture that a box covers, with `expand` of its width and height more on each side; whole pairs of px, for
/// chroma is stored by pairs. `None` where nothing of it is in the picture.
#[must_use]
pub fn crop<'a>(picture: &Yuv420<'a>, bbox: &BBox, expand: f32) -> Option<Yuv420<'a>> {
    let [x1, y1, x2, y2] = [bbox.x1, bbox.y1, bbox.x2, bbox.y2].map(f64::from);
    let (more_x, more_y) = ((x2 - x1) * f64::from(expand), (y2 - y1) * f64::from(expand));
    let (left, right) = pairs(x1 - more_x, x2 + more_x, picture.width_px)?;
    let (top, bottom) = pairs(y1 - more_y, y2 + more_y, picture.height_px)?;
    let from = |plane: usize, x: u32, y: u32| {
        let offset = y as usize * picture.strides[plane] + x as usize;
        picture.planes[plane].get(offset..).unwrap_or_default()
    };
    let planes = [from(0, left, top), from(1, left / 2, top / 2), from(2, left / 2, top / 2)];
    Some(Yuv420 { width_px: right - left, height_px: bottom - top, planes, ..*picture })
}

/// The upper and the lower half of a crop that may be a plate of two lines; `None` for one that is too wide or too low.
#[must_use]
pub(super) fn halves<'a>(crop: &Yuv420<'a>) -> Option<[Yuv420<'a>; 2]> {
    let (width, height) = (crop.width_px, crop.height_px);
    // Even, because a row of chroma belongs to two rows of luma.
    let upper_px = (height / 2).next_multiple_of(2);
    if width.saturating_mul(TWO_LINES_OF) >= height.saturating_mul(TWO_LINES_BELOW)
        || height - height / 2 < MIN_HALF_PX
    {
        return None;
    }
    let below = |plane: usize, rows: u32| {
        crop.planes[plane].get(rows as usize * crop.strides[plane]..).unwrap_or_default()
    };
    let planes = [below(0, upper_px), below(1, upper_px / 2), below(2, upper_px / 2)];
    let upper = Yuv420 { height_px: upper_px, ..*crop };
    Some([upper, Yuv420 { height_px: height - upper_px, planes, ..*crop }])
}

/// The edges rounded outwards to even px, the upper one to `size` at most; `None` where they leave nothing.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within 0..=size")]
fn pairs(low: f64, high: f64, size: u32) -> Option<(u32, u32)> {
    if !(low.is_finite() && high.is_finite()) {
        return None;
    }
    let last = f64::from(size);
    // Outwards: some background does less harm than a letter that is cut.
    let low = ((low / 2.0).floor() * 2.0).clamp(0.0, last) as u32;
    let high = ((high / 2.0).ceil() * 2.0).clamp(0.0, last) as u32;
    (low < high).then_some((low, high))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{ProptestConfig, prop_assert, proptest};

    use super::{LineShape, crop, halves};
    use crate::detect::model::InputTensor;
    use crate::detect::noise::Noise;
    use crate::media::{BBox, Color, Matrix};

    fn shape(height_px: u32, width_px: Option<u32>) -> LineShape {
        LineShape { batch: None, height_px, width_px, half: false }
    }

    fn bbox([x1, y1, x2, y2]: [f32; 4]) -> BBox {
        BBox { x1, y1, x2, y2 }
    }

    #[test]
    fn inputs_are_read_from_the_graph() {
        let read = |half, dims: &[i64]| {
            let dims = dims.to_vec();
            let described = format!("{dims:?}");
            LineShape::read(&[InputTensor { name: "x".to_owned(), half, dims, described }])
        };
        let cases: [(Option<bool>, &[i64], &str); 5] = [
            (Some(false), &[-1, 3, -1, -1], "Nx3x48xW f32"),
            (Some(false), &[-1, 3, 32, -1], "Nx3x32xW f32"),
            (Some(true), &[8, 3, 48, 320], "8x3x48x320 f16"),
            (Some(false), &[1, 3, -1, 160], "1x3x48x160 f32"),
            (Some(false), &[-1, 3, 4096, 4096], "Nx3x4096x4096 f32"),
        ];
        for (half, dims, wanted) in cases {
            assert_eq!(read(half, dims).unwrap().to_string(), wanted);
        }
        let refused: [(Option<bool>, &[i64], &str); 5] = [
            (Some(false), &[1, 1, 48, 320], "input `x` is [1, 1, 48, 320]"),
            (None, &[1, 3, 48, 320], "input `x` is"),
            (Some(false), &[1, 3, 48], "input `x` is"),
            (Some(false), &[1, 3, 0, 320], "1 to 4096"),
            (Some(false), &[1, 3, 48, 4097], "1 to 4096"),
        ];
        for (half, dims, word) in refused {
            let fault = read(half, dims).unwrap_err().to_string();
            assert!(fault.contains(word), "{dims:?}: {fault}");
        }
    }

    #[test]
    fn a_line_is_as_wide_as_its_crop_asks_for() {
        let (open, fixed) = (shape(48, None), shape(16, Some(64)));
        for (name, shape, crop_px, wanted) in [
            ("a plate", open, (140, 40), (320, 168)),
            ("rounded up", open, (100, 49), (320, 98)),
            ("full", open, (320, 48), (320, 320)),
            ("wider", open, (321, 48), (640, 321)),
            ("widest", open, (1280, 48), (1280, 1280)),
            ("squeezed", open, (9000, 48), (1280, 1280)),
            ("a sliver", open, (2, 1000), (320, 1)),
            ("huge", open, (u32::MAX, 1), (1280, 1280)),
            ("fixed", fixed, (64, 32), (64, 32)),
            ("fixed, squeezed", fixed, (640, 32), (64, 64)),
        ] {
            assert_eq!(shape.widths_px(crop_px), wanted, "{name}");
        }
    }

    impl Noise {
        /// Blue, green, red, -1..=1, at a luma position of the crop between `low` and `high`.
        fn bgr(&self, x: f64, y: f64, low: (f64, f64), high: (f64, f64)) -> [f64; 3] {
            let half = |(x, y): (f64, f64)| ((x / 2.0).ceil(), (y / 2.0).ceil());
            let chroma = |plane| self.between(plane, (x / 2.0, y / 2.0 - 0.25), half(low), half(high));
            let (y, u, v) = (self.between(0, (x, y), low, high), chroma(1), chroma(2));
            let (y, u, v) = ((y - 16.0) / 219.0, (u - 128.0) / 224.0, (v - 128.0) / 224.0);
            [y + 1.772 * u, y - 0.344_136_286 * u - 0.714_136_286 * v, y + 1.402 * v]
                .map(|c| c.clamp(0.0, 1.0) * 2.0 - 1.0)
        }

        /// The line of a box, each pixel by itself.
        fn line(&self, bbox: &BBox, expand: f64, height: u32, (line, content): (u32, u32)) -> Vec<f64> {
            let [x1, y1, x2, y2] = [bbox.x1, bbox.y1, bbox.x2, bbox.y2].map(f64::from);
            let (more_x, more_y) = ((x2 - x1) * expand, (y2 - y1) * expand);
            let size = (f64::from(self.size.0), f64::from(self.size.1));
            let even = |px: f64| px - px.rem_euclid(2.0);
            let low = (even(x1 - more_x).max(0.0), even(y1 - more_y).max(0.0));
            let high = (-even(-x2 - more_x), -even(-y2 - more_y));
            let high = (high.0.min(size.0), high.1.min(size.1));
            let pixel = |x: u32, y: u32| {
                let scale = ((high.0 - low.0) / f64::from(content), (high.1 - low.1) / f64::from(height));
                let at = |px: u32, scale: f64, low: f64| (f64::from(px) + 0.5) * scale - 0.5 + low;
                match x < content {
                    true => self.bgr(at(x, scale.0, low.0), at(y, scale.1, low.1), low, high),
                    false => [0.0; 3],
                }
            };
            let pixels: Vec<_> =
                (0..height).flat_map(|y| (0..line).map(move |x| (x, y))).map(|(x, y)| pixel(x, y)).collect();
            (0..3).flat_map(|channel| pixels.iter().map(move |pixel| pixel[channel])).collect()
        }
    }

    fn noise(size: (u32, u32), seed: u64) -> Noise {
        let color = Color { matrix: Matrix::Bt601, full_range: false };
        Noise::new(size, [3, 0, 1], seed, color)
    }

    #[test]
    fn a_crop_is_cut_at_the_edges_of_the_picture() {
        let picture = noise((101, 61), 7);
        let cases = [
            ("inside", [10.0, 20.0, 30.0, 40.0], 0.0, Some((20, 20))),
            ("outwards to pairs", [11.5, 21.0, 29.5, 39.0], 0.0, Some((20, 20))),
            ("expanded", [20.0, 20.0, 40.0, 32.0], 0.5, Some((40, 24))),
            ("all", [-10.0, -10.0, 500.0, 500.0], 0.0, Some((101, 61))),
            ("the last column", [100.0, 10.0, 101.0, 12.0], 0.0, Some((1, 2))),
            ("beside", [102.0, 10.0, 140.0, 20.0], 0.0, None),
            ("before", [-20.0, 10.0, -1.0, 20.0], 0.0, None),
            ("turned over", [30.0, 20.0, 10.0, 40.0], 0.0, None),
            ("no number", [f32::NAN, 0.0, 10.0, 10.0], 0.0, None),
            ("endless", [0.0, 0.0, f32::INFINITY, 10.0], 0.5, None),
        ];
        for (name, corners, expand, wanted) in cases {
            let size =
                crop(&picture.view(), &bbox(corners), expand).map(|crop| (crop.width_px, crop.height_px));
            assert_eq!(size, wanted, "{name}");
        }
    }

    #[test]
    fn a_crop_that_may_have_two_lines_is_halved_at_an_even_row() {
        let picture = noise((200, 100), 3);
        let cases = [
            ("wide", [0.0, 0.0, 100.0, 40.0], None),
            ("almost", [0.0, 0.0, 98.0, 40.0], Some((20, 20))),
            ("rounded", [0.0, 0.0, 60.0, 42.0], Some((22, 20))),
            ("low", [0.0, 0.0, 20.0, 14.0], None),
        ];
        for (name, corners, want) in cases {
            let view = picture.view();
            let whole = crop(&view, &bbox(corners), 0.0).unwrap();
            let made = halves(&whole);
            assert_eq!(made.map(|[upper, lower]| (upper.height_px, lower.height_px)), want, "{name}");
            let Some([upper, lower]) = halves(&whole) else { continue };
            let (x2, rows) = (corners[2], upper.height_px as f32);
            let below = crop(&view, &bbox([0.0, rows, x2, corners[3]]), 0.0).unwrap();
            assert_eq!((lower.planes, lower.height_px), (below.planes, below.height_px), "{name}");
            assert_eq!((upper.planes, upper.width_px), (whole.planes, whole.width_px), "{name}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, cases: 64, ..ProptestConfig::default() })]

        /// The tolerance is that of the resampler's own twin, twice over the range of -1..=1.
        #[test]
        fn a_line_is_as_its_obvious_twin(
            size in (4_u32..90, 4_u32..60), seed: u64, at in (0.0_f32..0.9, 0.0_f32..0.9),
            part in (0.05_f32..1.0, 0.05_f32..1.0), expand in 0.0_f32..0.5, open: bool,
        ) {
            let picture = noise(size, seed);
            let (width, height) = (size.0 as f32, size.1 as f32);
            let (x1, y1) = (at.0 * width, at.1 * height);
            let bbox = bbox([x1, y1, (x1 + part.0 * width).min(width), (y1 + part.1 * height).min(height)]);
            let shape = shape(16, (!open).then_some(48));
            let view = picture.view();
            let crop = crop(&view, &bbox, expand).unwrap();
            let widths = shape.widths_px((crop.width_px, crop.height_px));
            let mut out = vec![f32::NAN; shape.elements(widths.0)];
            shape.paint(&crop, widths, &mut out).unwrap();
            let more = f64::from(expand);
            for (i, (have, want)) in out.iter().zip(picture.line(&bbox, more, 16, widths)).enumerate() {
                prop_assert!((f64::from(*have) - want).abs() <= 0.12 / 255.0, "element {i} is {have}, want {want}");
            }
        }
    }
}
