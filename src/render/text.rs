//! Renders a line of text in DejaVu Sans Bold as pixel coverage.

use std::sync::LazyLock;

use ab_glyph::{Font, FontRef, Glyph, PxScale, ScaleFont, point};

/// Maximum number of characters in a caption; the rest is cut.
const MAX_CHARS: usize = 48;

/// The font. Its licence, that of Bitstream Vera, allows distribution.
static FONT: LazyLock<Option<FontRef<'static>>> =
    LazyLock::new(|| FontRef::try_from_slice(dejavu::sans::bold()).ok());

/// A line of text, as the share of each pixel that it covers.
#[derive(Clone, Debug, Default)]
pub(super) struct CaptionLine {
    pub(super) width_px: i64,
    pub(super) height_px: i64,
    /// Coverage row by row, 0..=255.
    pixels: Vec<u8>,
}

impl CaptionLine {
    /// Returns the mean coverage of the `step x step` pixels from `(x, y)`, which is 0 outside the line.
    pub(super) fn coverage(&self, x: i64, y: i64, step: i64) -> u8 {
        let pixels = (0..step * step).map(|i| u32::from(self.pixel(x + i % step, y + i / step)));
        let count = u32::try_from(step * step).unwrap_or(1);
        u8::try_from(pixels.sum::<u32>() / count).unwrap_or(u8::MAX)
    }

    fn pixel(&self, x: i64, y: i64) -> u8 {
        let inside = (0..self.width_px).contains(&x) && (0..self.height_px).contains(&y);
        let index = usize::try_from(y * self.width_px + x).unwrap_or(usize::MAX);
        self.pixels.get(index).copied().filter(|_| inside).unwrap_or(0)
    }
}

/// Renders `text` on one line of `size_px` height.
pub(super) fn line(text: &str, size_px: f32) -> CaptionLine {
    let Some(font) = FONT.as_ref() else { return CaptionLine::default() };
    let (glyphs, width, height) = layout(font, text, PxScale::from(size_px));
    #[expect(clippy::cast_possible_truncation, reason = "48 characters of 64 px at most")]
    let (width_px, height_px) = (width.ceil() as i64, height.ceil() as i64);
    let size = usize::try_from(width_px * height_px).unwrap_or(0);
    let mut line = CaptionLine { width_px, height_px, pixels: vec![0; size] };
    for glyph in glyphs {
        draw_glyph(font, glyph, &mut line);
    }
    line
}

/// Returns the placed glyphs, and the width and height of the line.
fn layout(font: &FontRef<'_>, text: &str, scale: PxScale) -> (Vec<Glyph>, f32, f32) {
    let scaled = font.as_scaled(scale);
    let mut x = 0.0;
    let mut last = None;
    let mut glyphs = Vec::new();
    for character in text.chars().take(MAX_CHARS) {
        let id = scaled.glyph_id(character);
        // Kerning depends on both glyphs of a pair.
        x += last.map_or(0.0, |last| scaled.kern(last, id));
        glyphs.push(id.with_scale_and_position(scale, point(x, scaled.ascent())));
        x += scaled.h_advance(id);
        last = Some(id);
    }
    (glyphs, x, scaled.height())
}

/// Adds the coverage of a glyph to the line.
fn draw_glyph(font: &FontRef<'_>, glyph: Glyph, line: &mut CaptionLine) {
    let Some(outline) = font.outline_glyph(glyph) else { return };
    let corner = outline.px_bounds().min;
    #[expect(clippy::cast_possible_truncation, reason = "whole pixels near the line")]
    let (left, top) = (corner.x as i64, corner.y as i64);
    outline.draw(|x, y, coverage| {
        let (x, y) = (left + i64::from(x), top + i64::from(y));
        // Kerning and overhang can place parts of a glyph outside the line.
        let inside = (0..line.width_px).contains(&x) && (0..line.height_px).contains(&y);
        let index = usize::try_from(y * line.width_px + x).unwrap_or(usize::MAX);
        if let Some(pixel) = line.pixels.get_mut(index).filter(|_| inside) {
            // Neighbouring glyphs may overlap in a pixel.
            *pixel = pixel.saturating_add(to_byte(coverage));
        }
    });
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to a byte")]
fn to_byte(coverage: f32) -> u8 {
    (coverage * 255.0).clamp(0.0, 255.0) as u8
}
