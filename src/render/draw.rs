//! Boxes and captions on the planes.

use super::text::{self, Line};
use super::{Label, Picture};

/// A colour in full-range BT.601.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ink([u8; 3]);

impl Ink {
    /// Of R, G, B.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to a byte")]
    pub(super) fn of(rgb: [u8; 3]) -> Self {
        let [red, green, blue] = rgb.map(f32::from);
        let y = 0.299 * red + 0.587 * green + 0.114 * blue;
        let (u, v) = ((blue - y) / 1.772 + 128.0, (red - y) / 1.402 + 128.0);
        Self([y, u, v].map(|value| value.round().clamp(0.0, 255.0) as u8))
    }

    /// Black or white, whichever reads better on this.
    fn contrast(self) -> Self {
        Self::of(if self.0[0] > 140 { [0; 3] } else { [255; 3] })
    }
}

/// A rectangle of pixels, the end excluded.
#[derive(Clone, Copy, Debug)]
struct Span {
    x: (i64, i64),
    y: (i64, i64),
}

/// Draws each label, captions after all boxes. `scale`: pixels of the picture a pixel of the frame.
pub(super) fn labels(picture: &mut Picture, labels: &[Label], scale: f64) {
    let spans: Vec<_> = labels.iter().map(|label| span(label, scale)).collect();
    let thickness = thickness_px(picture);
    for (label, span) in labels.iter().zip(&spans) {
        frame(picture, *span, thickness, Ink::of(label.color));
    }
    for (label, span) in labels.iter().zip(&spans) {
        caption(picture, label, *span, thickness);
    }
}

/// Even, so that the chroma's edges are sharp.
fn thickness_px(picture: &Picture) -> i64 {
    i64::from(picture.width_px().min(picture.height_px())) / 360 * 2 + 2
}

fn text_px(picture: &Picture) -> f32 {
    #[expect(clippy::cast_precision_loss, reason = "frames are small")]
    let height = picture.height_px() as f32;
    (height / 30.0).clamp(12.0, 64.0)
}

#[expect(clippy::cast_possible_truncation, reason = "casts from floats saturate")]
fn span(label: &Label, scale: f64) -> Span {
    let even = |edge: f32| ((f64::from(edge) * scale / 2.0).round() as i64).clamp(-1 << 20, 1 << 20) * 2;
    let bbox = &label.bbox;
    Span { x: (even(bbox.x1), even(bbox.x2)), y: (even(bbox.y1), even(bbox.y2)) }
}

fn frame(picture: &mut Picture, Span { x, y }: Span, thickness: i64, ink: Ink) {
    fill(picture, Span { x, y: (y.0, (y.0 + thickness).min(y.1)) }, ink);
    fill(picture, Span { x, y: ((y.1 - thickness).max(y.0), y.1) }, ink);
    fill(picture, Span { x: (x.0, (x.0 + thickness).min(x.1)), y }, ink);
    fill(picture, Span { x: ((x.1 - thickness).max(x.0), x.1), y }, ink);
}

/// The caption on a band of the box's colour: above the box, or inside it where there is no room, always in the picture.
fn caption(picture: &mut Picture, label: &Label, span: Span, thickness: i64) {
    let line = text::line(&label.text, text_px(picture));
    let (width, height) = (line.width_px + 2 * thickness, line.height_px + thickness);
    let (right, bottom) = (i64::from(picture.width_px()), i64::from(picture.height_px()));
    let left = span.x.0.min(right - width).max(0) & !1;
    let above = span.y.0 - height;
    let top = if above >= 0 { above } else { span.y.0.clamp(0, (bottom - height).max(0)) } & !1;
    let band = Span { x: (left, left + width), y: (top, top + height) };
    let ink = Ink::of(label.color);
    fill(picture, band, ink);
    write(picture, &line, (left + thickness, top + thickness / 2), ink.contrast());
}

fn fill(picture: &mut Picture, span: Span, ink: Ink) {
    for plane in 0..3 {
        let half = if plane == 0 { 1 } else { 2 };
        let columns = within(span.x, half, picture.columns(plane));
        let stride = picture.columns(plane);
        for row in within(span.y, half, picture.rows(plane)) {
            picture.planes[plane][row * stride..][columns.clone()].fill(ink.0[plane]);
        }
    }
}

/// The part of a span that is in a plane of `size`, whose pixels are `step` wide.
fn within((from, to): (i64, i64), step: i64, size: usize) -> std::ops::Range<usize> {
    let last = i64::try_from(size).unwrap_or(i64::MAX);
    let clip = |edge: i64| usize::try_from(edge.clamp(0, last)).unwrap_or(0);
    let (from, to) = (clip(from.div_euclid(step)), clip((to + step - 1).div_euclid(step)));
    from..to.max(from)
}

/// Lays the glyphs' coverage on luma; chroma takes the mean of its four pixels.
fn write(picture: &mut Picture, line: &Line, (left, top): (i64, i64), ink: Ink) {
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

/// `coverage`: 0 leaves `under`, 255 is `over`.
fn blend(under: u8, over: u8, coverage: u8) -> u8 {
    let share = u32::from(coverage);
    let mixed = u32::from(under) * (255 - share) + u32::from(over) * share;
    u8::try_from((mixed + 127) / 255).unwrap_or(u8::MAX)
}
