//! Draws boxes and captions on frames, and encodes the pictures for snapshots, crops and the page.
//!
//! A [`Picture`] has the format that JPEG requires: full-range BT.601 YUV 4:2:0. Boxes and captions are drawn on its
//! planes, so that no frame is converted to RGB and back.

mod draw;
mod encode;
mod planes;
mod text;

pub use encode::{PictureEncodeError, SnapshotFormat, SnapshotSpec, encode};
pub use planes::Picture;

use serde::{Deserialize, Serialize};

use gpu::GpuError;

use crate::media::{BBox, Surface};

/// A box with a caption to draw on a frame. Its JSON is in the outbox and in the table of positions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Label {
    /// The box, px of the decoded frame.
    pub bbox: BBox,
    /// Text of the caption.
    pub text: String,
    /// Colour of the box, R, G, B.
    pub color: [u8; 3],
}

impl Label {
    /// Creates a box with a caption such as `person 87%`, in the colour of its label.
    #[must_use]
    pub fn of(label: &str, conf: f32, bbox: BBox) -> Self {
        Self { bbox, text: format!("{label} {:.0}%", conf * 100.0), color: color_of(label) }
    }
}

/// Colours that differ from each other and from most backgrounds.
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

/// Returns the colour of a class name, which is always the same.
#[must_use]
pub fn color_of(label: &str) -> [u8; 3] {
    // FNV-1a, 32 bits. Its low bits are the weakest, so they are dropped.
    let hash =
        label.bytes().fold(2_166_136_261_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(16_777_619));
    PALETTE[(hash >> 8) as usize % PALETTE.len()]
}

/// Draws boxes and captions on a copy of the frame. The last label is on top.
///
/// A frame wider than `max_width_px` is first scaled down to it, so captions stay readable.
///
/// # Errors
/// The frame cannot be copied from its GPU.
pub fn annotate(surface: &Surface, labels: &[Label], max_width_px: Option<u32>) -> Result<Picture, GpuError> {
    let view = surface.view()?;
    let mut picture = match max_width_px.filter(|&max| (1..view.width_px).contains(&max)) {
        Some(width_px) => Picture::scaled(&view, width_px),
        None => Picture::of(&view),
    };
    let scale = f64::from(picture.width_px()) / f64::from(view.width_px.max(1));
    draw::labels(&mut picture, labels, scale);
    Ok(picture)
}

/// Returns the frame without boxes, stretched to `size_px` (at least 1 px each way) if one is given.
///
/// # Errors
/// The frame cannot be copied from its GPU.
pub fn resized(surface: &Surface, size_px: Option<(u32, u32)>) -> Result<Picture, GpuError> {
    let view = surface.view()?;
    Ok(match size_px.filter(|&size_px| size_px != (view.width_px, view.height_px)) {
        Some((width_px, height_px)) => Picture::stretched(&view, (width_px.max(1), height_px.max(1))),
        None => Picture::of(&view),
    })
}

/// Returns the box as a separate picture, with a margin of `margin` times its size on each side within the frame.
///
/// Returns `None` if the box is outside the frame.
///
/// # Errors
/// The frame cannot be copied from its GPU.
pub fn crop(surface: &Surface, bbox: &BBox, margin: f32) -> Result<Option<Picture>, GpuError> {
    let (dx, dy) = ((bbox.x2 - bbox.x1) * margin, (bbox.y2 - bbox.y1) * margin);
    let wide = BBox { x1: bbox.x1 - dx, y1: bbox.y1 - dy, x2: bbox.x2 + dx, y2: bbox.y2 + dy };
    Ok(Picture::of_part(&surface.view()?, &wide))
}

#[cfg(test)]
mod tests;
