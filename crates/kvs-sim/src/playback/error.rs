//! Reasons for which a clip cannot be played.

use std::fmt::Display;
use std::path::{Path, PathBuf};

/// Why a clip cannot be played.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClipError {
    /// The file cannot be read or is no clip.
    #[error("{}: cannot be read as mp4, Matroska or a GetMedia dump: {reason}", path.display())]
    Unreadable {
        /// The clip.
        path: PathBuf,
        /// What the reader said.
        reason: String,
    },
    /// There is nothing to show in it.
    #[error("{}: has no video track with frames; choose a clip with H.264 or H.265 video", path.display())]
    NoVideo {
        /// The clip.
        path: PathBuf,
    },
    /// Its video cannot be put into a stream without transcoding.
    #[error(
        "{}: its video is {codec}; only H.264 with avcC and H.265 with hvcC can be played. \
         Make one by: ffmpeg -i CLIP -an -c:v libx264 -g 25 clip.mp4",
        path.display()
    )]
    Codec {
        /// The clip.
        path: PathBuf,
        /// What it holds instead.
        codec: String,
    },
    /// The stream it is to be played into refuses it.
    #[error("{}: cannot be played into the stream: {reason}", path.display())]
    Stream {
        /// The clip.
        path: PathBuf,
        /// What the stream said.
        reason: String,
    },
}

pub(crate) fn unreadable(path: &Path, reason: &dyn Display) -> ClipError {
    ClipError::Unreadable { path: path.to_owned(), reason: reason.to_string() }
}
