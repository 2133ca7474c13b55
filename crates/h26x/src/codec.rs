//! The two codecs.

/// A video codec that we decode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    /// AVC: `V_MPEG4/ISO/AVC`; its private data is an avcC.
    H264,
    /// HEVC: `V_MPEGH/ISO/HEVC`; its private data is an hvcC.
    H265,
}

impl Codec {
    /// What its codec private data is called.
    #[must_use]
    pub fn private_name(self) -> &'static str {
        match self {
            Self::H264 => "avcC",
            Self::H265 => "hvcC",
        }
    }
}
