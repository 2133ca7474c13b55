//! What may be wrong with playlists and segments.

/// Why something cannot be read or written. No text holds a session token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// More than one of the [`Limits`](crate::Limits) allows. Pass it over.
    #[error("{what} has {count} {unit}, over the limit of {limit}; pass it over")]
    TooMuch {
        /// What is too large.
        what: &'static str,
        /// Of what it has too many.
        unit: &'static str,
        /// How many it has, or would have.
        count: usize,
        /// The limit.
        limit: usize,
    },
    /// Something goes on beyond what holds it. Fetch the segment again.
    #[error(
        "byte {offset}: {part} ends beyond what holds it; the segment was cut or is damaged, fetch it again"
    )]
    Truncated {
        /// Offset in the segment.
        offset: usize,
        /// A box, a table or a packet.
        part: &'static str,
    },
    /// A field says what it may not say. Pass the segment over if it comes again.
    #[error("byte {offset}: {part} must hold {expected}; the segment is damaged")]
    Invalid {
        /// Offset in the segment.
        offset: usize,
        /// A box, a table or a packet.
        part: &'static str,
        /// What it must hold.
        expected: &'static str,
    },
    /// Something is not there.
    #[error("{whole} has no {part}, without which its video cannot be played")]
    Missing {
        /// What should have it.
        whole: &'static str,
        /// What is missing.
        part: &'static str,
    },
    /// Something is there that is not read here.
    #[error("{part} is {found}; only {known} can be read")]
    Unsupported {
        /// What is of another kind.
        part: &'static str,
        /// The kind that it is.
        found: String,
        /// The kinds that are read.
        known: &'static str,
    },
    /// The codec private data, a parameter set or an access unit cannot be read.
    #[error(transparent)]
    Codec(#[from] h26x::Error),
    /// A line of a playlist is no playlist's. Fetch the playlist again.
    #[error("line {line} of the playlist: {reason}; fetch the playlist again")]
    Playlist {
        /// 1-based.
        line: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A playlist names something on another server, which must not get the session token.
    #[error("the playlist names something that is not on {origin}; what it names is not fetched")]
    ForeignUrl {
        /// Scheme, host and port of the session.
        origin: String,
    },
    /// The address of a session is no address.
    #[error("the session URL must be http:// or https:// with a host; ask for a new one")]
    SessionUrl,
}
