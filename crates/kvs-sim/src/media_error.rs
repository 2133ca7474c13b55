//! What HLS, GetClip and GetImages refuse. Source: AWS, GetHLSStreamingSessionURL, GetClip and GetImages, Errors, 2026.

use axum::http::StatusCode;

/// Why there is no HLS session, clip or picture, or why a session gives nothing any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MediaRefusal {
    /// The stream keeps nothing.
    #[error("The stream {stream} has a DataRetentionInHours of 0; raise it with UpdateDataRetention")]
    NoDataRetention {
        /// Its name.
        stream: String,
    },
    /// No track can be played.
    #[error("The stream {stream} carries {codecs}; H.264 or H.265 video is needed")]
    UnsupportedMedia {
        /// Its name.
        stream: String,
        /// The codecs of the fragment's tracks.
        codecs: String,
    },
    /// The track has no avcC or hvcC.
    #[error("No codec private data was found in the video track of the stream {stream}; send avcC or hvcC")]
    MissingCodecPrivateData {
        /// Its name.
        stream: String,
    },
    /// The track's avcC or hvcC is none.
    #[error("The codec private data of the stream {stream} is not valid: {reason}")]
    InvalidCodecPrivateData {
        /// Its name.
        stream: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The tracks are others from a fragment on; a clip has the same throughout.
    #[error(
        "The tracks of the stream {stream} change with the fragment {number}; ask for a clip that ends before it"
    )]
    ChangedTracks {
        /// Its name.
        stream: String,
        /// The first fragment with other tracks.
        number: String,
    },
    /// A frame is not one of its codec.
    #[error("A frame of the fragment {number} of the stream {stream} is not valid: {reason}")]
    InvalidMediaFrame {
        /// Its name.
        stream: String,
        /// The fragment that holds it.
        number: String,
        /// What is wrong with it.
        reason: String,
    },
    /// There is nothing to play.
    #[error("No fragments found in the stream {stream} for the streaming request: {wanted}")]
    NoFragments {
        /// Its name.
        stream: String,
        /// What was asked for.
        wanted: &'static str,
    },
    /// A LIVE session whose camera paused.
    #[error("The stream {stream} paused for more than 30 s; the session is over, ask for a new one")]
    Paused {
        /// Its name.
        stream: String,
    },
    /// The token is not, or no longer, that of a session.
    #[error("The session token is not known or has expired; ask for a new session")]
    NotAuthorized,
    /// A fragment that is not, or no longer, part of the session.
    #[error("The fragment {number} is not in this session; read the media playlist again")]
    NoSuchFragment {
        /// As it was asked for.
        number: String,
    },
    /// The local KVS has as many sessions as it keeps.
    #[error("There are {limit} sessions already; wait until one expires")]
    TooManySessions {
        /// Sessions that it keeps.
        limit: usize,
    },
}

impl MediaRefusal {
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
