//! The planes of a picture: copies and scales those of a frame, and converts their colours.

use crate::media::{BBox, Color, Matrix, Yuv420};

/// A planar YUV 4:2:0 picture in full-range BT.601, the format of JPEG, without padding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    width_px: u32,
    height_px: u32,
    /// Y, U, V; chroma planes are `ceil(width/2) x ceil(height/2)`.
    pub(super) planes: [Vec<u8>; 3],
}

impl Picture {
    /// Returns the width, px.
    #[must_use]
    pub fn width_px(&self) -> u32 {
        self.width_px
    }

    /// Returns the height, px.
    #[must_use]
    pub fn height_px(&self) -> u32 {
        self.height_px
    }

    /// Returns the number of columns of a plane, which is its stride.
    pub(super) fn columns(&self, plane: usize) -> usize {
        if plane == 0 { self.width_px as usize } else { self.width_px.div_ceil(2) as usize }
    }

    /// Returns the number of rows of a plane.
    pub(super) fn rows(&self, plane: usize) -> usize {
        if plane == 0 { self.height_px as usize } else { self.height_px.div_ceil(2) as usize }
    }

    /// Copies the whole frame.
    pub(super) fn of(view: &Yuv420<'_>) -> Self {
        Self::of_rectangle(view, (0, 0), (view.width_px, view.height_px))
    }

    /// Copies the part of the frame that `bbox` covers, extended to even corners. Returns `None` outside the frame.
    pub(super) fn of_part(view: &Yuv420<'_>, bbox: &BBox) -> Option<Self> {
        let (x1, x2) = even_span(bbox.x1, bbox.x2, view.width_px)?;
        let (y1, y2) = even_span(bbox.y1, bbox.y2, view.height_px)?;
        Some(Self::of_rectangle(view, (x1, y1), (x2 - x1, y2 - y1)))
    }

    /// Copies a rectangle whose `left_top` is even, so that it does not split a chroma pixel.
    fn of_rectangle(view: &Yuv420<'_>, left_top: (u32, u32), (width_px, height_px): (u32, u32)) -> Self {
        let mut picture = Self { width_px, height_px, planes: [Vec::new(), Vec::new(), Vec::new()] };
        for plane in 0..3 {
            // Chroma planes have half the width and height (4:2:0).
            let shift = usize::from(plane > 0);
            let (left, top) = (left_top.0 as usize >> shift, left_top.1 as usize >> shift);
            picture.planes[plane] =
                copied(view, plane, (left, top), (picture.columns(plane), picture.rows(plane)));
        }
        to_full_601(&mut picture, view.color);
        picture
    }

    /// Scales the whole frame down to a width. Each pixel is the mean of the pixels that it covers.
    pub(super) fn scaled(view: &Yuv420<'_>, width_px: u32) -> Self {
        let height_px = (u64::from(view.height_px) * u64::from(width_px) / u64::from(view.width_px)).max(1);
        let height_px = u32::try_from(height_px).unwrap_or(view.height_px);
        Self::stretched(view, (width_px, height_px))
    }

    /// Scales the whole frame to another size, at least 1 px each way.
    ///
    /// Each pixel is the mean of the pixels that it covers, which is one pixel where the picture grows.
    pub(super) fn stretched(view: &Yuv420<'_>, (width_px, height_px): (u32, u32)) -> Self {
        let mut scaled = Self { width_px, height_px, planes: [Vec::new(), Vec::new(), Vec::new()] };
        for plane in 0..3 {
            let size = |px: u32| if plane == 0 { px as usize } else { px.div_ceil(2) as usize };
            let from = (size(view.width_px), size(view.height_px));
            let to = (scaled.columns(plane), scaled.rows(plane));
            scaled.planes[plane] = shrunk(view.planes[plane], view.strides[plane], from, to);
        }
        to_full_601(&mut scaled, view.color);
        scaled
    }
}

/// Returns a range from an even pixel to an even one or the end of the frame, or `None` if it is empty.
fn even_span(low: f32, high: f32, size_px: u32) -> Option<(u32, u32)> {
    // `partial_cmp` also excludes NaN.
    if low.partial_cmp(&high) != Some(std::cmp::Ordering::Less) {
        return None;
    }
    let (from, to) = (whole(low.floor(), size_px) & !1, whole(high.ceil(), size_px));
    // Even edges keep whole chroma pixels, except at the end of a frame with an odd size.
    let to = to.next_multiple_of(2).min(size_px);
    (from < to).then_some((from, to))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the frame before")]
fn whole(value: f32, size_px: u32) -> u32 {
    f64::from(value).clamp(0.0, f64::from(size_px)) as u32
}

fn copied(
    view: &Yuv420<'_>,
    plane: usize,
    (left, top): (usize, usize),
    (columns, rows): (usize, usize),
) -> Vec<u8> {
    let stride = view.strides[plane];
    let mut copy = Vec::with_capacity(columns * rows);
    for row in top..top + rows {
        let from = row * stride + left;
        copy.extend_from_slice(&view.planes[plane][from..from + columns]);
    }
    copy
}

/// Returns the luma weights of red and blue, Kr and Kb, of ITU-R BT.601 and BT.709.
fn weights(matrix: Matrix) -> (f64, f64) {
    match matrix {
        Matrix::Bt601 => (0.299, 0.114),
        Matrix::Bt709 => (0.2126, 0.0722),
    }
}

/// Coefficients of a colour conversion: the shares of U and V in the new Y, U and V, in 1/65536.
struct Recoding {
    luma: [i32; 2],
    u: [i32; 2],
    v: [i32; 2],
    /// The new Y without the share of chroma, by the old Y, in 1/65536.
    base: [i32; 256],
}

const ONE: f64 = 65_536.0;

impl Recoding {
    /// Computes the conversion through R, G, B of the old matrix to full-range Y, U, V of BT.601.
    #[expect(clippy::cast_possible_truncation, reason = "all values are below 2^25")]
    fn of(color: Color) -> Self {
        let (kr, kb) = weights(color.matrix);
        let (to_kr, to_kb) = weights(Matrix::Bt601);
        // Limited range: Y is 16..=235, U and V are 16..=240 around 128.
        let (luma_gain, chroma_gain, black) =
            if color.full_range { (1.0, 1.0, 0.0) } else { (255.0 / 219.0, 255.0 / 224.0, 16.0) };
        let rgb = |[u, v]: [f64; 2]| {
            // ITU-R BT.601 and BT.709: R - Y = 2 (1 - Kr) V and B - Y = 2 (1 - Kb) U.
            let (red, blue) = (2.0 * (1.0 - kr) * v, 2.0 * (1.0 - kb) * u);
            [red, -(kr * red + kb * blue) / (1.0 - kr - kb), blue]
        };
        let yuv = |[red, green, blue]: [f64; 3]| {
            let y = to_kr * red + (1.0 - to_kr - to_kb) * green + to_kb * blue;
            [y, (blue - y) / (2.0 * (1.0 - to_kb)), (red - y) / (2.0 * (1.0 - to_kr))]
        };
        let (of_u, of_v) = (yuv(rgb([chroma_gain, 0.0])), yuv(rgb([0.0, chroma_gain])));
        let fixed = |value: f64| (value * ONE).round() as i32;
        let [luma, u, v] = [0, 1, 2].map(|i| [fixed(of_u[i]), fixed(of_v[i])]);
        // Plus 0.5: `byte` truncates.
        let base = std::array::from_fn(|y| fixed((y as f64 - black) * luma_gain + 0.5));
        Self { luma, u, v, base }
    }
}

/// Converts the planes from the colour coding of the frame to full-range BT.601.
fn to_full_601(picture: &mut Picture, color: Color) {
    if color == (Color { matrix: Matrix::Bt601, full_range: true }) {
        return;
    }
    let recoding = Recoding::of(color);
    let (columns, chroma_columns) = (picture.columns(0), picture.columns(1));
    let [luma, us, vs] = &mut picture.planes;
    let chroma_rows = us.chunks_exact_mut(chroma_columns).zip(vs.chunks_exact_mut(chroma_columns));
    // Two rows of luma share one row of chroma. Luma first, because it needs the old chroma.
    for (lines, (us, vs)) in luma.chunks_mut(columns * 2).zip(chroma_rows) {
        for line in lines.chunks_mut(columns) {
            recode_luma(&recoding, line, us, vs);
        }
        recode_chroma(&recoding, us, vs);
    }
}

fn recode_luma(recoding: &Recoding, line: &mut [u8], us: &[u8], vs: &[u8]) {
    for (pair, (&u, &v)) in line.chunks_mut(2).zip(us.iter().zip(vs)) {
        let shift = mix(recoding.luma, u, v);
        for y in pair {
            *y = byte(recoding.base[usize::from(*y)] + shift);
        }
    }
}

fn recode_chroma(recoding: &Recoding, us: &mut [u8], vs: &mut [u8]) {
    // 128 in fixed point, plus 0.5 for rounding.
    const MIDDLE: i32 = (128 << 16) + (1 << 15);
    for (u, v) in us.iter_mut().zip(vs) {
        let (new_u, new_v) = (mix(recoding.u, *u, *v), mix(recoding.v, *u, *v));
        (*u, *v) = (byte(MIDDLE + new_u), byte(MIDDLE + new_v));
    }
}

fn mix([of_u, of_v]: [i32; 2], u: u8, v: u8) -> i32 {
    of_u * (i32::from(u) - 128) + of_v * (i32::from(v) - 128)
}

fn byte(fixed: i32) -> u8 {
    (fixed >> 16).clamp(0, 255) as u8
}

fn shrunk(
    plane: &[u8],
    stride: usize,
    (columns, rows): (usize, usize),
    (to_columns, to_rows): (usize, usize),
) -> Vec<u8> {
    let across: Vec<_> = (0..to_columns).map(|column| covered(column, columns, to_columns)).collect();
    let mut shrunk = Vec::with_capacity(to_columns * to_rows);
    // Row by row, so that each source pixel is read once and in the order of memory.
    let mut sums = vec![0_u64; to_columns];
    for row in 0..to_rows {
        let lines = covered(row, rows, to_rows);
        sums.fill(0);
        for line in lines.clone() {
            let pixels = &plane[line * stride..][..columns];
            for (sum, span) in sums.iter_mut().zip(&across) {
                *sum += pixels[span.clone()].iter().map(|&pixel| u64::from(pixel)).sum::<u64>();
            }
        }
        let means = sums.iter().zip(&across).map(|(&sum, span)| sum / (lines.len() * span.len()) as u64);
        shrunk.extend(means.map(|mean| u8::try_from(mean).unwrap_or(u8::MAX)));
    }
    shrunk
}

/// Returns the pixels of `size` that pixel `to` of `to_size` covers, at least one.
fn covered(to: usize, size: usize, to_size: usize) -> std::ops::Range<usize> {
    let from = to * size / to_size;
    from..((to + 1) * size / to_size).max(from + 1)
}
