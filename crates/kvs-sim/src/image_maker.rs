//! What GetImages needs and this crate does not have: a decoder.

use std::fmt;

use kvs_hls::{AccessUnit, HlsTrack};

/// Makes the images of GetImages.
pub trait ImageMaker: fmt::Debug + Send + Sync {
    /// Image files of some frames of a fragment, in the order of `wanted`; None for one that cannot be made.
    ///
    /// `units`: the frames in decoding order. `wanted`: places in it, some perhaps more than once. It may take long, and is not
    /// called on an async thread.
    fn images(
        &self,
        track: &HlsTrack,
        units: &[AccessUnit],
        wanted: &[usize],
        format: ImageFormat,
    ) -> Vec<Option<Vec<u8>>>;
}

/// What an image is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageFormat {
    /// JPEG.
    Jpeg {
        /// 1 to 100.
        quality: u8,
        /// Its size.
        size: ImageSize,
    },
    /// PNG.
    Png {
        /// Its size.
        size: ImageSize,
    },
}

/// How large an image is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageSize {
    /// As large as the frame.
    AsDecoded,
    /// So many px high, and as wide as the frame's aspect ratio says.
    High(u32),
    /// So many px wide and high, whatever the frame's aspect ratio is.
    Stretched(u32, u32),
}
