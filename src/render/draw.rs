//! Draws boxes and captions on the planes of a picture.

use super::text::{self, CaptionLine};
use super::{Label, Picture};

/// A colour in full-range BT.601.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ink([u8; 3]);

impl Ink {
    /// Converts R, G, B.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to a byte")]
    pub(super) fn from_rgb(rgb: [u8; 3]) -> Self {
        let [red, green, blue] = rgb.map(f32::from);
        // ITU-R BT.601, full range as JPEG (JFIF) requires it.
        let y = 0.299 * red + 0.587 * green + 0.114 * blue;
        let (u, v) = ((blue - y) / 1.772 + 128.0, (red - y) / 1.402 + 128.0);
        Self([y, u, v].map(|value| value.round().clamp(0.0, 255.0) as u8))
    }

    /// Returns black or white, whichever has more contrast to this colour.
    fn contrast(self) -> Self {
        Self::from_rgb(if self.0[0] > 140 { [0; 3] } else { [255; 3] })
    }
}

/// A rectangle of pixels that excludes its right and bottom end.
#[derive(Clone, Copy, Debug)]
struct PixelRect {
    x: (i64, i64),
    y: (i64, i64),
}

/// Draws the boxes of the labels and then all captions. `scale` is picture pixels per frame pixel.
pub(super) fn labels(picture: &mut Picture, labels: &[Label], scale: f64) {
    let rects: Vec<_> = labels.iter().map(|label| label_rect(label, scale)).collect();
    let thickness = thickness_px(picture);
    for (label, rect) in labels.iter().zip(&rects) {
        frame(picture, *rect, thickness, Ink::from_rgb(label.color));
    }
    // Captions last, so that no box crosses one.
    for (label, rect) in labels.iter().zip(&rects) {
        caption(picture, label, *rect, thickness);
    }
}

/// Returns the thickness of a frame, an even number, so that the edges of chroma are sharp.
fn thickness_px(picture: &Picture) -> i64 {
    i64::from(picture.width_px().min(picture.height_px())) / 360 * 2 + 2
}

fn text_px(picture: &Picture) -> f32 {
    #[expect(clippy::cast_precision_loss, reason = "frames are small")]
    let height = picture.height_px() as f32;
    (height / 30.0).clamp(12.0, 64.0)
}

#[expect(clippy::cast_possible_truncation, reason = "casts from floats saturate")]
/// Returns the rectangle of a label's box in the picture, on even pixels.
fn label_rect(label: &Label, scale: f64) -> PixelRect {
    // The clamp keeps the sums below free of overflow, whatever box a model finds.
    let even = |edge: f32| ((f64::from(edge) * scale / 2.0).round() as i64).clamp(-1 << 20, 1 << 20) * 2;
    let bbox = &label.bbox;
    PixelRect { x: (even(bbox.x1), even(bbox.x2)), y: (even(bbox.y1), even(bbox.y2)) }
}

fn frame(picture: &mut Picture, PixelRect { x, y }: PixelRect, thickness: i64, ink: Ink) {
    // The edges are inside the box and never cross each other, so a small box becomes a filled one.
    fill(picture, PixelRect { x, y: (y.0, (y.0 + thickness).min(y.1)) }, ink);
    fill(picture, PixelRect { x, y: ((y.1 - thickness).max(y.0), y.1) }, ink);
    fill(picture, PixelRect { x: (x.0, (x.0 + thickness).min(x.1)), y }, ink);
    fill(picture, PixelRect { x: ((x.1 - thickness).max(x.0), x.1), y }, ink);
}

/// Draws the caption on a band in the colour of the box.
///
/// The band is above the box, or inside it where there is no room, and always within the picture.
fn caption(picture: &mut Picture, label: &Label, rect: PixelRect, thickness: i64) {
    let line = text::line(&label.text, text_px(picture));
    let (width, height) = (line.width_px + 2 * thickness, line.height_px + thickness);
    let (right, bottom) = (i64::from(picture.width_px()), i64::from(picture.height_px()));
    // `& !1`: even, so that the band does not split a chroma pixel.
    let left = rect.x.0.min(right - width).max(0) & !1;
    let above = rect.y.0 - height;
    let top = if above >= 0 { above } else { rect.y.0.clamp(0, (bottom - height).max(0)) } & !1;
    let band = PixelRect { x: (left, left + width), y: (top, top + height) };
    let ink = Ink::from_rgb(label.color);
    fill(picture, band, ink);
    write(picture, &line, (left + thickness, top + thickness / 2), ink.contrast());
}

fn fill(picture: &mut Picture, rect: PixelRect, ink: Ink) {
    for plane in 0..3 {
        let step = if plane == 0 { 1 } else { 2 };
        let columns = within(rect.x, step, picture.columns(plane));
        let stride = picture.columns(plane);
        for row in within(rect.y, step, picture.rows(plane)) {
            picture.planes[plane][row * stride..][columns.clone()].fill(ink.0[plane]);
        }
    }
}

/// Returns the part of a range of luma pixels that is in a plane of `size` pixels, each `step` luma pixels wide.
fn within((from, to): (i64, i64), step: i64, size: usize) -> std::ops::Range<usize> {
    let last = i64::try_from(size).unwrap_or(i64::MAX);
    let clip = |edge: i64| usize::try_from(edge.clamp(0, last)).unwrap_or(0);
    let (from, to) = (clip(from.div_euclid(step)), clip((to + step - 1).div_euclid(step)));
    from..to.max(from)
}

/// Blends the text into the planes. A chroma pixel uses the mean coverage of its four luma pixels.
fn write(picture: &mut Picture, line: &CaptionLine, (left, top): (i64, i64), ink: Ink) {
    for plane in 0..3 {
        let step = if plane == 0 { 1 } else { 2 };
        let stride = picture.columns(plane);
        let columns = within((left, left + line.width_px), step, stride);
        for row in within((top, top + line.height_px), step, picture.rows(plane)) {
            for column in columns.clone() {
                let (x, y) = (column as i64 * step - left, row as i64 * step - top);
                let pixel = &mut picture.planes[plane][row * stride + column];
                *pixel = blend(*pixel, ink.0[plane], line.coverage(x, y, step));
            }
        }
    }
}

/// Returns the mix of two values: `under` at coverage 0, `over` at 255.
fn blend(under: u8, over: u8, coverage: u8) -> u8 {
    let share = u32::from(coverage);
    let mixed = u32::from(under) * (255 - share) + u32::from(over) * share;
    // Plus 127: rounds to the nearest value.
    u8::try_from((mixed + 127) / 255).unwrap_or(u8::MAX)
}
