//! The interface to a decoder and image encoder, which GetImages needs and this crate does not have.

use std::fmt;

use kvs_hls::{AccessUnit, HlsTrack};

/// A decoder and encoder that makes the images of GetImages.
pub trait ImageMaker: fmt::Debug + Send + Sync {
    /// Returns image files of some frames of a fragment, in the order of `wanted`; None for one that cannot be made.
    ///
    /// `units` are the frames in decoding order; `wanted` are indices into it, of which some can occur more than once. A call
    /// can take seconds: it runs on a thread for blocking work.
    fn images(
        &self,
        track: &HlsTrack,
        units: &[AccessUnit],
        wanted: &[usize],
        format: ImageFormat,
    ) -> Vec<Option<Vec<u8>>>;
}

/// Format and size of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageFormat {
    /// A JPEG image.
    Jpeg {
        /// Quality from 1 to 100.
        quality: u8,
        /// Size of the image.
        size: ImageSize,
    },
    /// A PNG image.
    Png {
        /// Size of the image.
        size: ImageSize,
    },
}

/// Size of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageSize {
    /// The size of the decoded frame.
    AsDecoded,
    /// This height in px, and the width that keeps the frame's aspect ratio.
    High(u32),
    /// This width and height in px, regardless of the frame's aspect ratio.
    Stretched(u32, u32),
}
