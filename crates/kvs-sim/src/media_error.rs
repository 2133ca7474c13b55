//! Errors of HLS, GetClip and GetImages. Source: AWS, GetHLSStreamingSessionURL, GetClip and GetImages, Errors, 2026.

use axum::http::StatusCode;

/// An error that keeps HLS, GetClip or GetImages from delivering media.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MediaError {
    /// The stream has no retention, so nothing is archived.
    #[error("The stream {stream} has a DataRetentionInHours of 0; raise it with UpdateDataRetention")]
    NoDataRetention {
        /// The stream's name.
        stream: String,
    },
    /// The fragment has no H.264 or H.265 video track.
    #[error("The stream {stream} carries {codecs}; H.264 or H.265 video is needed")]
    UnsupportedMedia {
        /// The stream's name.
        stream: String,
        /// The codecs of the fragment's tracks.
        codecs: String,
    },
    /// The video track has no codec private data (avcC or hvcC).
    #[error("No codec private data was found in the video track of the stream {stream}; send avcC or hvcC")]
    MissingCodecPrivateData {
        /// The stream's name.
        stream: String,
    },
    /// The video track's codec private data is not a valid avcC or hvcC.
    #[error("The codec private data of the stream {stream} is not valid: {reason}")]
    InvalidCodecPrivateData {
        /// The stream's name.
        stream: String,
        /// The parser's error.
        reason: String,
    },
    /// The tracks of a clip's fragments differ.
    #[error(
        "The tracks of the stream {stream} change with the fragment {number}; ask for a clip that ends before it"
    )]
    ChangedTracks {
        /// The stream's name.
        stream: String,
        /// The first fragment with other tracks.
        number: String,
    },
    /// A frame is not made of NAL units.
    #[error("A frame of the fragment {number} of the stream {stream} is not valid: {reason}")]
    InvalidMediaFrame {
        /// The stream's name.
        stream: String,
        /// The fragment with the frame.
        number: String,
        /// The parser's error.
        reason: String,
    },
    /// The request selects no fragment.
    #[error("No fragments found in the stream {stream} for the streaming request: {wanted}")]
    NoFragments {
        /// The stream's name.
        stream: String,
        /// The condition that no fragment meets.
        wanted: &'static str,
    },
    /// The camera of a LIVE session paused, which ends the session.
    #[error("The stream {stream} paused for more than 30 s; the session is over, ask for a new one")]
    Paused {
        /// The stream's name.
        stream: String,
    },
    /// The session token is unknown or has expired.
    #[error("The session token is not known or has expired; ask for a new session")]
    NotAuthorized,
    /// The fragment was never listed in the session, or has expired.
    #[error("The fragment {number} is not in this session; read the media playlist again")]
    NoSuchFragment {
        /// The number as it was asked for.
        number: String,
    },
    /// The local KVS has the maximum number of sessions.
    #[error("There are {limit} sessions already; wait until one expires")]
    TooManySessions {
        /// Sessions at most.
        limit: usize,
    },
}

impl MediaError {
    pub(crate) fn status_and_type(&self) -> (StatusCode, &'static str) {
        match self {
            Self::NoDataRetention { .. } => (StatusCode::BAD_REQUEST, "NoDataRetentionException"),
            Self::UnsupportedMedia { .. } | Self::ChangedTracks { .. } => {
                (StatusCode::BAD_REQUEST, "UnsupportedStreamMediaTypeException")
            }
            Self::InvalidMediaFrame { .. } => (StatusCode::BAD_REQUEST, "InvalidMediaFrameException"),
            Self::MissingCodecPrivateData { .. } => {
                (StatusCode::BAD_REQUEST, "MissingCodecPrivateDataException")
            }
            Self::InvalidCodecPrivateData { .. } => {
                (StatusCode::BAD_REQUEST, "InvalidCodecPrivateDataException")
            }
            Self::NotAuthorized => (StatusCode::FORBIDDEN, "NotAuthorizedException"),
            Self::TooManySessions { .. } => (StatusCode::BAD_REQUEST, "ClientLimitExceededException"),
            Self::NoFragments { .. } | Self::Paused { .. } | Self::NoSuchFragment { .. } => {
                (StatusCode::NOT_FOUND, "ResourceNotFoundException")
            }
        }
    }
}
