//! The reasons why there is no clip.

use std::io;

use thiserror::Error;

use crate::source::{ArchiveError, SourceError};

/// The reason why a clip cannot be made.
#[derive(Debug, Error)]
pub enum ClipFailure {
    /// The footage cannot be read.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The configuration has no such camera.
    #[error("no camera {camera:?} in the configuration of this process")]
    UnknownCamera {
        /// The camera's id.
        camera: String,
    },
    /// The camera has masks, and stored video is passed on as it is.
    #[error(
        "camera {camera:?} has masks, which do not cover stored video: watch the snapshots, or write `clips: {{ ignore_masks: true }}` to \
         show the video with what the masks hide"
    )]
    Masked {
        /// The camera's id.
        camera: String,
    },
    /// The footage has no video that a browser plays.
    #[error(
        "the footage has no video that can be played ({codecs}); send H.264 or H.265 with its codec private data"
    )]
    NoVideo {
        /// The codecs of its tracks.
        codecs: String,
    },
    /// The codec or its parameters change within the span: an MP4 file has one description for all of its pictures.
    #[error(
        "the camera's video format changes within this time; ask for a time before or from {at_ms} ms since 1970"
    )]
    FormatChanged {
        /// The media time of the change, ms since the epoch.
        at_ms: i64,
    },
    /// The clip would take too much disk space.
    #[error("the footage of this time has {bytes} bytes, more than {limit}: ask for a shorter time")]
    TooLarge {
        /// The size of the footage, bytes.
        bytes: u64,
        /// The limit, bytes.
        limit: u64,
    },
    /// The answer of the service is not Matroska, or ends with an error record.
    #[error(
        "the stored footage of stream {stream:?} cannot be read: {message}; check its producer with kvs-infer inspect"
    )]
    Unreadable {
        /// The stream's name.
        stream: String,
        /// The cause.
        message: String,
    },
    /// The file cannot be written or read.
    #[error("cannot use the folder {folder} for a clip: {source}; make room or make it writable (state.dir)")]
    Storage {
        /// The folder.
        folder: String,
        /// The system's error.
        source: io::Error,
    },
    /// The clip takes long, or others are made before it.
    #[error("the clip is not ready yet; ask again in a few seconds")]
    Busy,
    /// The process ends.
    #[error("the service stops; ask again when it runs")]
    Stopped,
}

impl ClipFailure {
    /// Returns the label of the error in metrics.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Archive(error) => error.reason(),
            Self::UnknownCamera { .. } => "unknown_camera",
            Self::Masked { .. } => "masks",
            Self::NoVideo { .. } => "no_video",
            Self::FormatChanged { .. } => "format_changed",
            Self::TooLarge { .. } => "too_large",
            Self::Unreadable { .. } => "unreadable",
            Self::Storage { .. } => "storage",
            Self::Busy => "busy",
            Self::Stopped => "stopped",
        }
    }

    /// Returns whether no footage of the time is stored, now or later: a clip of it exists only if one was stored before.
    #[must_use]
    pub fn is_footage_gone(&self) -> bool {
        matches!(
            self,
            Self::UnknownCamera { .. }
                | Self::Archive(
                    ArchiveError::RetentionOver { .. }
                        | ArchiveError::NoRetention { .. }
                        | ArchiveError::NoFootage { .. }
                        | ArchiveError::Request(SourceError::NoSuchStream { .. })
                )
        )
    }

    /// Returns whether another attempt at the same footage may succeed.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Archive(ArchiveError::Request(_)) | Self::Storage { .. } | Self::Busy | Self::Stopped
        )
    }
}
