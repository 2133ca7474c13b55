//! What segments carry.

use bytes::Bytes;
use h26x::Codec;

/// A track of video, as its segments describe it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VideoTrack {
    /// How it is coded.
    pub codec: Codec,
    /// avcC or hvcC.
    pub private: Bytes,
    /// Width of the picture.
    pub width_px: u32,
    /// Height of the picture.
    pub height_px: u32,
}

/// One frame in coded form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessUnit {
    /// 0-based, among the video samples of the segment in decoding order.
    pub index: u32,
    /// Presentation time after that of the segment's first sample in decoding order, or, for a writer, after the
    /// fragment's time; negative for leading pictures.
    pub relative_ms: i64,
    /// Whether it can be decoded without another.
    pub key: bool,
    /// NAL units, each after its length in as many bytes as the private data says.
    pub data: Bytes,
}
