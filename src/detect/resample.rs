//! The picture as a model's input: planar YUV 4:2:0 to letterboxed RGB planes in one fused pass.
//!
//! For each row of the output the two source rows around it are blended into one row of fixed-point samples, luma and
//! chroma alike; then each pixel of the output is blended from its two neighbours in those rows and turned to RGB at
//! once. No image stands between the decoder's planes and the tensor, and nothing is allocated per frame.
//!
//! Scaling is bilinear without a low-pass filter, as the usual YOLO pipelines do (`cv2.INTER_LINEAR`), since models
//! were trained on such input. Chroma sits where H.264 and H.265 put it by default: in line with the left luma sample
//! of a pair, half-way between its rows.

use half::f16;
use half::slice::HalfFloatSliceExt;

use super::avx2::Avx2;
use super::encoding::InputEncoding;
use super::letterbox::Letterbox;
use super::resample_rows::{Coefficients, Columns, blend_plain, paint_plain};
use crate::media::{Color, Yuv420};

/// The grey of the padding, 0..=1; what YOLO models are trained with.
pub const PADDING: f32 = 114.0 / 255.0;

/// A fault for which a picture cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PictureFault {
    /// Its width or height is 0.
    #[error("the picture is {0}x{1} px; skip it")]
    Empty(u32, u32),
    /// The rows of a plane overlap.
    #[error("plane {plane} of the picture has rows of {width} px, {stride} bytes apart; skip it")]
    Stride {
        /// The plane: 0 Y, 1 U, 2 V.
        plane: usize,
        /// Width of the plane, px.
        width: usize,
        /// Bytes from one row to the next.
        stride: usize,
    },
    /// It cannot be copied from the GPU that decoded it.
    #[error("the picture cannot be copied from the GPU: {0}; skip it")]
    Gpu(#[from] gpu::GpuError),
    /// A plane ends before its last row.
    #[error("plane {plane} of the picture has {have} bytes and needs {need}; skip it")]
    Short {
        /// The plane: 0 Y, 1 U, 2 V.
        plane: usize,
        /// Its bytes.
        have: usize,
        /// Bytes that its size and stride ask for.
        need: usize,
    },
}

/// An element of a model's input: `f32` or `f16`.
pub trait TensorElement: Copy {
    /// The value of `value`, rounded to nearest.
    fn of(value: f32) -> Self;

    /// Fills three rows by `paint`, directly or by way of `scratch`, which has room for them.
    fn paint(rows: [&mut [Self]; 3], scratch: &mut [f32], paint: impl FnOnce([&mut [f32]; 3]));
}

impl TensorElement for f32 {
    fn of(value: f32) -> Self {
        value
    }

    fn paint(rows: [&mut [Self]; 3], _scratch: &mut [f32], paint: impl FnOnce([&mut [f32]; 3])) {
        paint(rows);
    }
}

impl TensorElement for f16 {
    fn of(value: f32) -> Self {
        Self::from_f32(value)
    }

    fn paint(rows: [&mut [Self]; 3], scratch: &mut [f32], paint: impl FnOnce([&mut [f32]; 3])) {
        let width = rows[0].len();
        // The loops compute in f32, and each row is converted as a whole afterwards.
        paint(thirds(&mut scratch[..3 * width]));
        for (row, painted) in rows.into_iter().zip(scratch.chunks_exact(width)) {
            row.convert_from_f32_slice(painted);
        }
    }
}

/// Writes pictures into a model's input.
#[derive(Debug)]
pub struct Resampler {
    side_px: (u32, u32),
    encoding: InputEncoding,
    simd: Option<Avx2>,
    plan: Option<Plan>,
    blended: [Vec<i16>; 3],
    scratch: Vec<f32>,
}

impl Resampler {
    /// A resampler to an input of width and height `side_px`; uses AVX2 where the machine has it.
    #[must_use]
    pub fn new(side_px: (u32, u32)) -> Self {
        Self::with_simd(side_px, Avx2::detect())
    }

    /// A resampler of plain code, which any machine runs; the result is the same to the bit.
    #[must_use]
    pub fn portable(side_px: (u32, u32)) -> Self {
        Self::with_simd(side_px, None)
    }

    fn with_simd(side_px: (u32, u32), simd: Option<Avx2>) -> Self {
        let scratch = vec![0.0; 3 * side_px.0 as usize];
        let encoding = InputEncoding::default();
        Self { side_px, encoding, simd, plan: None, blended: [const { Vec::new() }; 3], scratch }
    }

    /// Writes inputs in this encoding from now on, in place of RGB from 0 to 1.
    #[must_use]
    pub fn encoded(self, encoding: InputEncoding) -> Self {
        Self { encoding, ..self }
    }

    /// The elements of an input: 3 x width x height.
    #[must_use]
    pub fn elements(&self) -> usize {
        3 * self.side_px.0 as usize * self.side_px.1 as usize
    }

    /// Paints the picture into `out` and says where it lies there; leaves the padding as it is.
    ///
    /// Shape: CHW `[3, height, width]`, RGB, 0..=1, or as encoded. `out` has [`Self::elements`] elements.
    ///
    /// Errors: the picture is empty, or a plane is too short; then `out` is unchanged.
    pub fn write<T: TensorElement>(
        &mut self,
        picture: &Yuv420<'_>,
        out: &mut [T],
    ) -> Result<Letterbox, PictureFault> {
        let planes = Plane::of(picture)?;
        let (width, height) = (picture.width_px, picture.height_px);
        let letterbox =
            Letterbox::fit((width, height), self.side_px).ok_or(PictureFault::Empty(width, height))?;
        self.paint(&planes, picture.color, letterbox, out);
        Ok(letterbox)
    }

    /// Paints the picture over the upper left `content_px` (width, height) of `out`, whatever its aspect; leaves the rest as
    /// it is. What of `content_px` exceeds the input is cut to it, and 0 is taken for 1.
    ///
    /// Shape, Errors: as of [`Self::write`].
    pub fn stretch<T: TensorElement>(
        &mut self,
        picture: &Yuv420<'_>,
        content_px: (u32, u32),
        out: &mut [T],
    ) -> Result<Letterbox, PictureFault> {
        let planes = Plane::of(picture)?;
        let (frame_px, side_px) = ((picture.width_px, picture.height_px), self.side_px);
        let content_px = (content_px.0.clamp(1, side_px.0), content_px.1.clamp(1, side_px.1));
        let letterbox = Letterbox { frame_px, side_px, content_px, pad_px: (0, 0) };
        self.paint(&planes, picture.color, letterbox, out);
        Ok(letterbox)
    }

    fn paint<T: TensorElement>(
        &mut self,
        planes: &[Plane<'_>; 3],
        color: Color,
        letterbox: Letterbox,
        out: &mut [T],
    ) {
        let Self { simd, plan, blended, scratch, encoding, .. } = self;
        let plan = Plan::reuse(plan, letterbox);
        let coefficients = Coefficients::of(color);
        let scales = encoding.scales().map(|scales| in_rgb(scales, encoding.bgr));
        let [red, green, blue] = in_rgb(thirds(out), encoding.bgr);
        plan.resize_rows(blended);
        for row in 0..letterbox.content_px.1 as usize {
            plan.blend_row(*simd, planes, row, blended);
            // The rows of the three planes of the tensor (CHW) have one offset.
            let at = span(&letterbox, row);
            let rows = [&mut red[at.clone()], &mut green[at.clone()], &mut blue[at]];
            T::paint(rows, scratch, |[red, green, blue]| {
                paint(*simd, blended, plan, &coefficients, [&mut *red, &mut *green, &mut *blue]);
                if let Some(scales) = scales {
                    rescale([red, green, blue], scales);
                }
            });
        }
    }
}

/// Red, green and blue of three channels that may be blue, green, red.
fn in_rgb<T>([first, second, third]: [T; 3], bgr: bool) -> [T; 3] {
    if bgr { [third, second, first] } else { [first, second, third] }
}

/// Multiplies each row by its factor and adds its offset.
fn rescale(rows: [&mut [f32]; 3], scales: [(f32, f32); 3]) {
    for (row, (factor, offset)) in rows.into_iter().zip(scales) {
        row.iter_mut().for_each(|value| *value = *value * factor + offset);
    }
}

/// Fills what the picture leaves free of a CHW input with grey.
pub fn fill_padding<T: TensorElement>(letterbox: &Letterbox, out: &mut [T]) {
    fill_padding_with([PADDING; 3], letterbox, out);
}

/// As [`fill_padding`], with the number of the grey in each plane.
pub(super) fn fill_padding_with<T: TensorElement>(greys: [f32; 3], letterbox: &Letterbox, out: &mut [T]) {
    let side_w = letterbox.side_px.0 as usize;
    let (first, count) = (letterbox.pad_px.1 as usize, letterbox.content_px.1 as usize);
    let (left, right) = (letterbox.pad_px.0 as usize, (letterbox.pad_px.0 + letterbox.content_px.0) as usize);
    for (plane, grey) in thirds(out).into_iter().zip(greys.map(T::of)) {
        for (y, row) in plane.chunks_exact_mut(side_w).enumerate() {
            if y < first || y >= first + count {
                row.fill(grey);
            } else {
                row[..left].fill(grey);
                row[right..].fill(grey);
            }
        }
    }
}

fn thirds<T>(whole: &mut [T]) -> [&mut [T]; 3] {
    let third = whole.len() / 3;
    let (first, rest) = whole.split_at_mut(third);
    let (second, last) = rest.split_at_mut(third);
    [first, second, last]
}

fn span(letterbox: &Letterbox, row: usize) -> std::ops::Range<usize> {
    let start =
        (letterbox.pad_px.1 as usize + row) * letterbox.side_px.0 as usize + letterbox.pad_px.0 as usize;
    start..start + letterbox.content_px.0 as usize
}

/// A plane whose rows all lie within its bytes.
#[derive(Clone, Copy)]
struct Plane<'a> {
    bytes: &'a [u8],
    stride: usize,
    width: usize,
}

impl<'a> Plane<'a> {
    fn of(picture: &Yuv420<'a>) -> Result<[Self; 3], PictureFault> {
        let (width, height) = (picture.width_px, picture.height_px);
        if width == 0 || height == 0 {
            return Err(PictureFault::Empty(width, height));
        }
        let (half_w, half_h) = (width.div_ceil(2), height.div_ceil(2));
        let plane = |plane: usize, width: u32, height: u32| {
            let (bytes, stride, width) = (picture.planes[plane], picture.strides[plane], width as usize);
            // The last row may end without the padding of the others.
            let need = stride.saturating_mul(height as usize - 1).saturating_add(width);
            match bytes.len() {
                _ if stride < width => Err(PictureFault::Stride { plane, width, stride }),
                have if have < need => Err(PictureFault::Short { plane, have, need }),
                _ => Ok(Self { bytes, stride, width }),
            }
        };
        Ok([plane(0, width, height)?, plane(1, half_w, half_h)?, plane(2, half_w, half_h)?])
    }

    fn row(&self, y: usize) -> &'a [u8] {
        &self.bytes[y * self.stride..][..self.width]
    }
}

/// Checks that the rows of all planes lie within their bytes.
///
/// # Errors
/// They do not, or the picture is empty.
pub(super) fn check_planes(picture: &Yuv420<'_>) -> Result<(), PictureFault> {
    Plane::of(picture).map(drop)
}

/// The source samples of each row and column of the content; built once per picture size.
#[derive(Debug)]
pub(super) struct Plan {
    letterbox: Letterbox,
    /// Luma, chroma.
    pub(super) grids: [Grid; 2],
}

impl Plan {
    /// Returns the plan of `letterbox`: the previous one if it is for the same sizes.
    fn reuse(previous: &mut Option<Self>, letterbox: Letterbox) -> &Self {
        // The plan depends on the sizes alone, which rarely change between the pictures of a camera.
        match previous.take() {
            Some(same) if same.letterbox == letterbox => previous.insert(same),
            _ => previous.insert(Self::new(letterbox)),
        }
    }

    pub(super) fn new(letterbox: Letterbox) -> Self {
        let ((width, height), (content_w, content_h)) = (letterbox.frame_px, letterbox.content_px);
        let luma = Grid {
            columns: Columns::new(&positions(content_w, width, width, |at| at), width),
            rows: row_taps(&positions(content_h, height, height, |at| at), height),
        };
        let (half_w, half_h) = (width.div_ceil(2), height.div_ceil(2));
        let chroma = Grid {
            // chroma_sample_loc_type 0, the default of H.264 (E.2.1) and H.265 (E.3.1).
            columns: Columns::new(&positions(content_w, width, half_w, |at| at / 2.0), half_w),
            rows: row_taps(&positions(content_h, height, half_h, |at| at / 2.0 - 0.25), half_h),
        };
        Self { letterbox, grids: [luma, chroma] }
    }

    /// Sizes the blended rows of the three planes.
    fn resize_rows(&self, blended: &mut [Vec<i16>; 3]) {
        for (i, blended) in blended.iter_mut().enumerate() {
            // One sample more than the plane has: the last pixel reads its right neighbour without a branch.
            blended.resize(self.grids[usize::from(i > 0)].columns.samples + 1, 0);
        }
    }

    /// Blends the two source rows of a row of the content, in each plane.
    fn blend_row(
        &self,
        simd: Option<Avx2>,
        planes: &[Plane<'_>; 3],
        row: usize,
        blended: &mut [Vec<i16>; 3],
    ) {
        for (i, plane) in planes.iter().enumerate() {
            let tap = self.grids[usize::from(i > 0)].rows[row];
            blend(simd, plane.row(tap.upper), plane.row(tap.lower), tap.weight, &mut blended[i]);
        }
    }
}

#[derive(Debug)]
pub(super) struct Grid {
    pub(super) columns: Columns,
    pub(super) rows: Vec<RowTap>,
}

/// The sample positions of `content` pixels over a plane of `samples`; `place` turns a luma position into one of the plane.
fn positions(content: u32, luma: u32, samples: u32, place: impl Fn(f64) -> f64) -> Vec<f64> {
    let step = f64::from(luma) / f64::from(content);
    let last = f64::from(samples - 1);
    // A pixel's centre is at its half, as in OpenCV's `INTER_LINEAR`.
    (0..content).map(|i| place((f64::from(i) + 0.5) * step - 0.5).clamp(0.0, last)).collect()
}

/// The two source rows of a pixel, and the weight of the lower; 2^15 is 1.
#[derive(Clone, Copy, Debug)]
pub(super) struct RowTap {
    pub(super) upper: usize,
    pub(super) lower: usize,
    pub(super) weight: i16,
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "positions lie within 0..samples"
)]
fn row_taps(positions: &[f64], samples: u32) -> Vec<RowTap> {
    let tap = |position: &f64| {
        let upper = position.floor() as usize;
        // 2^15 does not fit: the largest weight is off by 2^-15.
        let weight = (position.fract() * 32768.0).round().min(32767.0) as i16;
        RowTap { upper, lower: (upper + 1).min(samples as usize - 1), weight }
    };
    positions.iter().map(tap).collect()
}

fn blend(simd: Option<Avx2>, upper: &[u8], lower: &[u8], weight: i16, out: &mut [i16]) {
    let samples = upper.len();
    match simd {
        Some(avx2) => avx2.blend(upper, lower, weight, &mut out[..samples]),
        None => blend_plain(upper, lower, weight, &mut out[..samples]),
    }
    // The last pixel reads a right neighbour with weight 0.
    out[samples] = out[samples - 1];
}

fn paint(
    simd: Option<Avx2>,
    blended: &[Vec<i16>; 3],
    plan: &Plan,
    coefficients: &Coefficients,
    out: [&mut [f32]; 3],
) {
    let [luma, chroma] = &plan.grids;
    let columns = [&luma.columns, &chroma.columns];
    match simd {
        Some(avx2) => avx2.paint(blended, columns, coefficients, out),
        None => paint_plain(blended, columns, coefficients, out, 0),
    }
}

#[cfg(test)]
mod tests;
