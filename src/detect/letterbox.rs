//! The place of a picture in a model's input: scaled to fit, centred, with grey around it.

use crate::media::BBox;

/// The place of a picture in a model's input, and the way between their coordinates.
///
/// Invariant: both ways use the same whole-pixel content size and padding, so that a box goes there and back unchanged
/// but for float rounding. The content's width and height are rounded one by one, so the two scales may differ a little.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Letterbox {
    /// Width and height of the picture, frame px; at least 1.
    pub frame_px: (u32, u32),
    /// Width and height of the model's input, model px; at least 1.
    pub side_px: (u32, u32),
    /// Width and height of the picture in the input, model px; at least 1.
    pub content_px: (u32, u32),
    /// Grey columns left of the picture and grey rows above it, model px.
    pub pad_px: (u32, u32),
}

impl Letterbox {
    /// The largest centred place for a picture; `None` where the picture or the input has no pixels.
    #[must_use]
    pub fn fit(frame_px: (u32, u32), side_px: (u32, u32)) -> Option<Self> {
        let sizes = [frame_px.0, frame_px.1, side_px.0, side_px.1];
        if sizes.contains(&0) {
            return None;
        }
        let scale =
            (f64::from(side_px.0) / f64::from(frame_px.0)).min(f64::from(side_px.1) / f64::from(frame_px.1));
        let content_px = (scaled(frame_px.0, scale, side_px.0), scaled(frame_px.1, scale, side_px.1));
        // Rounded down: of an odd rest the right and the lower side get one pixel more.
        let pad_px = ((side_px.0 - content_px.0) / 2, (side_px.1 - content_px.1) / 2);
        Some(Self { frame_px, side_px, content_px, pad_px })
    }

    /// Model px per frame px, across and down.
    #[must_use]
    pub fn scale(&self) -> (f32, f32) {
        (ratio(self.content_px.0, self.frame_px.0), ratio(self.content_px.1, self.frame_px.1))
    }

    /// A point of the frame in model px.
    #[must_use]
    pub fn to_model(&self, (x, y): (f32, f32)) -> (f32, f32) {
        let (across, down) = self.scale();
        (x * across + float(self.pad_px.0), y * down + float(self.pad_px.1))
    }

    /// A point of the model's input in frame px; outside the frame for a point of the padding.
    #[must_use]
    pub fn to_frame(&self, (x, y): (f32, f32)) -> (f32, f32) {
        let (across, down) = self.scale();
        ((x - float(self.pad_px.0)) / across, (y - float(self.pad_px.1)) / down)
    }

    /// A box of the model's input (x1, y1, x2, y2) in frame px, clipped to the frame;
    /// `None` where it is not finite or nothing of it is in the frame.
    #[must_use]
    pub fn box_to_frame(&self, [x1, y1, x2, y2]: [f32; 4]) -> Option<BBox> {
        let (left, top) = self.to_frame((x1, y1));
        let (right, bottom) = self.to_frame((x2, y2));
        // `clamp` keeps a NaN, and comparisons with it are false on both sides.
        if ![left, top, right, bottom].iter().all(|edge| edge.is_finite()) {
            return None;
        }
        let (width, height) = (float(self.frame_px.0), float(self.frame_px.1));
        let clipped = BBox {
            x1: left.clamp(0.0, width),
            y1: top.clamp(0.0, height),
            x2: right.clamp(0.0, width),
            y2: bottom.clamp(0.0, height),
        };
        (clipped.x1 < clipped.x2 && clipped.y1 < clipped.y2).then_some(clipped)
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 1..=most")]
fn scaled(px: u32, scale: f64, most: u32) -> u32 {
    (f64::from(px) * scale).round().clamp(1.0, f64::from(most)) as u32
}

#[expect(clippy::cast_possible_truncation, reason = "a ratio of picture sizes fits f32")]
fn ratio(part: u32, whole: u32) -> f32 {
    (f64::from(part) / f64::from(whole)) as f32
}

#[expect(clippy::cast_precision_loss, reason = "picture sizes are far below 2^24")]
fn float(px: u32) -> f32 {
    px as f32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{ProptestConfig, prop_assert, proptest};

    use super::Letterbox;

    #[test]
    fn fits_centred_and_whole() {
        let cases = [
            ("1080p", (1920, 1080), (640, 640), (640, 360), (0, 140)),
            ("portrait", (1080, 1920), (640, 640), (360, 640), (140, 0)),
            ("same", (640, 640), (640, 640), (640, 640), (0, 0)),
            ("upscaled", (32, 16), (64, 64), (64, 32), (0, 16)),
            ("odd padding goes below", (100, 51), (100, 100), (100, 51), (0, 24)),
            ("sliver", (4000, 3), (64, 64), (64, 1), (0, 31)),
            ("one pixel", (1, 1), (64, 64), (64, 64), (0, 0)),
            ("wide input", (640, 480), (640, 384), (512, 384), (64, 0)),
        ];
        for (name, frame_px, side_px, content_px, pad_px) in cases {
            let letterbox = Letterbox::fit(frame_px, side_px);
            assert_eq!(letterbox, Some(Letterbox { frame_px, side_px, content_px, pad_px }), "{name}");
        }
        assert_eq!(Letterbox::fit((0, 5), (64, 64)), None);
        assert_eq!(Letterbox::fit((5, 5), (64, 0)), None);
    }

    #[test]
    fn box_is_clipped_or_dropped() {
        let letterbox = Letterbox::fit((1920, 1080), (640, 640)).unwrap();
        let cases = [
            ("inside", [0.0, 140.0, 320.0, 320.0], Some([0.0, 0.0, 960.0, 540.0])),
            ("over every edge", [-9.0, 0.0, 700.0, 640.0], Some([0.0, 0.0, 1920.0, 1080.0])),
            ("in the padding", [0.0, 0.0, 640.0, 139.0], None),
            ("no area", [10.0, 200.0, 10.0, 300.0], None),
            ("turned over", [20.0, 200.0, 10.0, 300.0], None),
            ("not a number", [f32::NAN, 200.0, 10.0, 300.0], None),
            ("endless", [0.0, 200.0, f32::INFINITY, 300.0], None),
        ];
        for (name, model, frame) in cases {
            let made = letterbox.box_to_frame(model).map(|b| [b.x1, b.y1, b.x2, b.y2]);
            assert_eq!(made, frame, "{name}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn there_and_back_is_within_a_pixel(
            frame in (1u32..8000, 1u32..8000), side in (32u32..1400, 32u32..1400), at in (0.0f32..=1.0, 0.0f32..=1.0),
        ) {
            let letterbox = Letterbox::fit(frame, side).unwrap();
            let point = (at.0 * frame.0 as f32, at.1 * frame.1 as f32);
            let model = letterbox.to_model(point);
            let back = letterbox.to_frame(model);
            prop_assert!((back.0 - point.0).abs() < 1.0 && (back.1 - point.1).abs() < 1.0, "{point:?} -> {back:?}");
            prop_assert!(model.0 >= 0.0 && model.0 <= side.0 as f32 + 0.01, "{model:?}");
            prop_assert!(model.1 >= 0.0 && model.1 <= side.1 as f32 + 0.01, "{model:?}");
        }

        #[test]
        fn content_keeps_the_aspect(frame in (1u32..8000, 1u32..8000), side in (32u32..1400, 32u32..1400)) {
            let letterbox = Letterbox::fit(frame, side).unwrap();
            let (width, height) = letterbox.content_px;
            prop_assert!(width == side.0 || height == side.1);
            let scale = f64::from(side.0) / f64::from(frame.0);
            let scale = scale.min(f64::from(side.1) / f64::from(frame.1));
            prop_assert!((f64::from(width) - scale * f64::from(frame.0)).abs() <= 1.0);
            prop_assert!((f64::from(height) - scale * f64::from(frame.1)).abs() <= 1.0);
            prop_assert!(letterbox.pad_px.0 * 2 + width <= side.0 && letterbox.pad_px.1 * 2 + height <= side.1);
        }
    }
}
