//! The video track of segments, and its access units.

use bytes::Bytes;
use h26x::Codec;

/// A video track, as its segments describe it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HlsTrack {
    /// Codec of the track.
    pub codec: Codec,
    /// The avcC or hvcC.
    pub codec_private: Bytes,
    /// Width of the picture.
    pub width_px: u32,
    /// Height of the picture.
    pub height_px: u32,
}

/// One coded frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessUnit {
    /// 0-based index among the video samples of the segment in decoding order.
    pub index: u32,
    /// Presentation time after that of the segment's first sample in decoding order; negative for leading
    /// pictures.
    ///
    /// For a writer: presentation time after the fragment's time.
    pub relative_ms: i64,
    /// True if the frame can be decoded without another.
    pub key: bool,
    /// Length-prefixed NAL units; the size of a length is in the codec private data.
    pub data: Bytes,
}
