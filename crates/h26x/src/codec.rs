//! The supported video codecs.

/// A video codec that this program decodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    /// AVC: Matroska's `V_MPEG4/ISO/AVC`, with an avcC as codec private data.
    H264,
    /// HEVC: Matroska's `V_MPEGH/ISO/HEVC`, with an hvcC as codec private data.
    H265,
}

impl Codec {
    /// Returns the name of this codec's private data: `avcC` or `hvcC`.
    #[must_use]
    pub fn private_name(self) -> &'static str {
        match self {
            Self::H264 => "avcC",
            Self::H265 => "hvcC",
        }
    }
}
