//! Errors of playlists and segments.

/// The reason why a playlist or segment cannot be read or written. No text contains a session token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HlsError {
    /// The input exceeds one of the [`HlsLimits`](crate::HlsLimits); skip it.
    #[error("{what} has {count} {unit}, over the limit of {limit}; skip it")]
    TooMuch {
        /// The object that is too large.
        what: &'static str,
        /// The unit of `count` and `limit`.
        unit: &'static str,
        /// The number found, or the smallest number that proves the excess.
        count: usize,
        /// Value of the exceeded limit.
        limit: usize,
    },
    /// A part of a segment ends beyond its container; fetch the segment again.
    #[error("byte {offset}: {part} ends beyond its container; the segment is cut or damaged, fetch it again")]
    Truncated {
        /// Offset in the segment.
        offset: usize,
        /// The box, table or packet.
        part: &'static str,
    },
    /// A field has a value that the format does not allow; skip the segment if it is the same when fetched
    /// again.
    #[error("byte {offset}: {part} must hold {expected}; the segment is damaged")]
    Invalid {
        /// Offset in the segment.
        offset: usize,
        /// The box, table or packet.
        part: &'static str,
        /// Description of the allowed content.
        expected: &'static str,
    },
    /// A mandatory part is missing.
    #[error("{whole} has no {part}, without which its video cannot be played")]
    Missing {
        /// The object that lacks the part.
        whole: &'static str,
        /// The missing part.
        part: &'static str,
    },
    /// A valid feature that this crate does not implement.
    #[error("{part} is {found}; only {known} can be read")]
    Unsupported {
        /// The object that uses the feature.
        part: &'static str,
        /// The feature.
        found: String,
        /// The supported alternatives.
        known: &'static str,
    },
    /// The codec private data, a parameter set or an access unit cannot be read.
    #[error(transparent)]
    Codec(#[from] h26x::H26xError),
    /// A line of a playlist is invalid; fetch the playlist again.
    #[error("line {line} of the playlist: {reason}; fetch the playlist again")]
    Playlist {
        /// 1-based line number.
        line: usize,
        /// The defect of the line.
        reason: &'static str,
    },
    /// A playlist contains a URL on another server, to which the session token must not be sent.
    #[error(
        "the playlist contains a URL that is not on {origin}; it is not fetched, to protect the session token"
    )]
    ForeignUrl {
        /// Scheme, host and port of the session.
        origin: String,
    },
    /// The URL of a session is invalid.
    #[error("the session URL must be http:// or https:// with a host; request a new session")]
    SessionUrl,
}
