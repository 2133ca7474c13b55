//! Pictures with boxes and labels: for snapshots, crops and the page.

use crate::frame::BBox;

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
