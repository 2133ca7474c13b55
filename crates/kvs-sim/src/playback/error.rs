//! Errors of playing a clip.

use std::fmt::Display;
use std::path::{Path, PathBuf};

/// An error that keeps a clip from being played.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClipError {
    /// The file cannot be read, or is not a clip.
    #[error("{}: cannot be read as mp4, Matroska or a GetMedia dump: {reason}", path.display())]
    Unreadable {
        /// The clip's file.
        path: PathBuf,
        /// The reader's error.
        reason: String,
    },
    /// The file has no video frames.
    #[error("{}: has no video track with frames; choose a clip with H.264 or H.265 video", path.display())]
    NoVideo {
        /// The clip's file.
        path: PathBuf,
    },
    /// The video cannot be put into a stream without transcoding.
    #[error(
        "{}: its video is {codec}; only H.264 with avcC and H.265 with hvcC can be played. \
         Convert it with: ffmpeg -i CLIP -an -c:v libx264 -g 25 clip.mp4",
        path.display()
    )]
    Codec {
        /// The clip's file.
        path: PathBuf,
        /// The codec of its video.
        codec: String,
    },
    /// The stream does not accept the clip.
    #[error("{}: cannot be played into the stream: {reason}", path.display())]
    Stream {
        /// The clip's file.
        path: PathBuf,
        /// The stream's error.
        reason: String,
    },
}

/// Returns the error of a clip that cannot be read.
pub(crate) fn unreadable(path: &Path, reason: &dyn Display) -> ClipError {
    ClipError::Unreadable { path: path.to_owned(), reason: reason.to_string() }
}
