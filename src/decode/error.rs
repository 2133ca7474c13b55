//! The errors of the decode stage.

use std::sync::Arc;

use crate::media::{CameraId, Codec};

/// An error of a camera's decoder. Decoding resumes by itself, where the variant says so.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The codec private data is unusable: packets are left out until the track changes.
    #[error(
        "camera {camera}: cannot decode {codec:?} {width_px}x{height_px}: {reason} (codec private data of {bytes} bytes); \
         let the producer send a whole {wanted} as its codec private data"
    )]
    Track {
        /// The camera's id.
        camera: CameraId,
        /// The codec of the track.
        codec: Codec,
        /// Width by the container, px.
        width_px: u32,
        /// Height by the container, px.
        height_px: u32,
        /// Length of the codec private data.
        bytes: usize,
        /// The flaw in it.
        reason: String,
        /// The name of the record that the codec needs: avcC or hvcC.
        wanted: &'static str,
    },
    /// The pictures exceed the camera's limit: packets are left out until smaller ones come.
    #[error(
        "camera {camera}: its pictures of {width_px}x{height_px} px are larger than its `max_pixels` ({max_pixels}): let the \
         producer send smaller ones, or raise it"
    )]
    TooLarge {
        /// The camera's id.
        camera: CameraId,
        /// Width by the parameter set, px.
        width_px: u32,
        /// Height by the parameter set, px.
        height_px: u32,
        /// The limit, px.
        max_pixels: u32,
    },
    /// An access unit is damaged: packets are left out until the next keyframe.
    #[error(
        "camera {camera}: fragment {fragment}, block {index}: damaged access unit ({reason}); \
         decoding resumes at the next keyframe"
    )]
    Unit {
        /// The camera's id.
        camera: CameraId,
        /// The fragment's number.
        fragment: Arc<str>,
        /// Index of the block in its fragment.
        index: u32,
        /// FFmpeg's error.
        reason: String,
    },
    /// A picture could not be converted to 8-bit 4:2:0: this frame is left out.
    #[error(
        "camera {camera}: fragment {fragment}, block {index}: cannot convert the picture to 8-bit 4:2:0: {reason}"
    )]
    Picture {
        /// The camera's id.
        camera: CameraId,
        /// The fragment's number.
        fragment: Arc<str>,
        /// Index of the block in its fragment.
        index: u32,
        /// FFmpeg's error.
        reason: String,
    },
}

impl DecodeError {
    /// Returns the label `kind` of `kvs_infer_decode_errors_total`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Track { .. } => "track",
            Self::TooLarge { .. } => "too_large",
            Self::Unit { .. } => "unit",
            Self::Picture { .. } => "picture",
        }
    }

    /// Returns the reason without camera, place and remedy.
    #[must_use]
    pub fn reason(&self) -> String {
        match self {
            Self::Track { reason, .. } | Self::Unit { reason, .. } | Self::Picture { reason, .. } => {
                reason.clone()
            }
            Self::TooLarge { .. } => self.to_string(),
        }
    }

    /// Returns whether no frame can be decoded until the track changes.
    #[must_use]
    pub fn is_blinding(&self) -> bool {
        match self {
            Self::Track { .. } | Self::TooLarge { .. } => true,
            Self::Unit { .. } | Self::Picture { .. } => false,
        }
    }
}
