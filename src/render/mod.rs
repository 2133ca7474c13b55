//! Pictures with boxes and labels: for snapshots, crops and the page.
//!
//! A [`Picture`] is what JPEG wants: full-range BT.601 YUV 4:2:0. Boxes and captions are drawn on its planes, so that no
//! frame is converted to RGB and back.

mod draw;
mod encode;
mod planes;
mod text;

pub use encode::{EncodeError, SnapshotFormat, SnapshotSpec, encode};
pub use planes::Picture;

use crate::media::{BBox, Surface};

/// A box to draw, with its caption.
#[derive(Clone, Debug, PartialEq)]
pub struct Label {
    /// Where, in pixels of the decoded frame.
    pub bbox: BBox,
    /// The caption.
    pub text: String,
    /// R, G, B.
    pub color: [u8; 3],
}

impl Label {
    /// A box captioned `person 87%`, in the colour of its label.
    #[must_use]
    pub fn of(label: &str, conf: f32, bbox: BBox) -> Self {
        Self { bbox, text: format!("{label} {:.0}%", conf * 100.0), color: color_of(label) }
    }
}

/// Colours that differ from each other and from most scenes.
const PALETTE: [[u8; 3]; 8] = [
    [230, 57, 70],
    [255, 183, 3],
    [6, 214, 160],
    [17, 138, 178],
    [255, 112, 166],
    [155, 93, 229],
    [144, 190, 109],
    [251, 133, 0],
];

/// The colour of a class name: always the same.
#[must_use]
pub fn color_of(label: &str) -> [u8; 3] {
    let hash =
        label.bytes().fold(2_166_136_261_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(16_777_619));
    PALETTE[(hash >> 8) as usize % PALETTE.len()]
}

/// The frame with boxes and captions; the last label lies on top.
///
/// `max_width_px`: a wider frame is scaled down to it; captions are as readable as on a frame of that size.
#[must_use]
pub fn annotate(surface: &Surface, labels: &[Label], max_width_px: Option<u32>) -> Picture {
    let Surface::Host(host) = surface;
    let view = host.view();
    let mut picture = match max_width_px.filter(|&max| (1..view.width_px).contains(&max)) {
        Some(width_px) => Picture::scaled(&view, width_px),
        None => Picture::of(&view),
    };
    let scale = f64::from(picture.width_px()) / f64::from(view.width_px.max(1));
    draw::labels(&mut picture, labels, scale);
    picture
}

/// The frame without boxes, stretched to a size in px where one is given, which is at least 1.
#[must_use]
pub fn resized(surface: &Surface, size_px: Option<(u32, u32)>) -> Picture {
    let Surface::Host(host) = surface;
    let view = host.view();
    match size_px.filter(|&size_px| size_px != (view.width_px, view.height_px)) {
        Some((width_px, height_px)) => Picture::stretched(&view, (width_px.max(1), height_px.max(1))),
        None => Picture::of(&view),
    }
}

/// The box as a picture of its own, with a margin of `margin` times its size on each side, as far as the frame goes.
/// `None` where nothing of it lies in the frame.
#[must_use]
pub fn crop(surface: &Surface, bbox: &BBox, margin: f32) -> Option<Picture> {
    let Surface::Host(host) = surface;
    let (dx, dy) = ((bbox.x2 - bbox.x1) * margin, (bbox.y2 - bbox.y1) * margin);
    let wide = BBox { x1: bbox.x1 - dx, y1: bbox.y1 - dy, x2: bbox.x2 + dx, y2: bbox.y2 + dy };
    Picture::of_part(&host.view(), &wide)
}

#[cfg(test)]
mod tests;
