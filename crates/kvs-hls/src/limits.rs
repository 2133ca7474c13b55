//! How much a session may ask of its reader.

/// Bounds that turn hostile bytes into an [`Error`](crate::Error) rather than into memory or time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a playlist: 5,000 segments, each with a session token of about 1 KB in two URLs.
    pub playlist_bytes: usize,
    /// Segments in a media playlist.
    ///
    /// Source: MaxMediaPlaylistFragmentResults (AWS, GetHLSStreamingSessionURL, 2026).
    pub segments: usize,
    /// Bytes of a media or initialisation segment.
    ///
    /// Source: a fragment is at most 50 MB (AWS, Kinesis Video Streams quotas, 2026).
    pub segment_bytes: usize,
    /// Access units in a media segment.
    pub units: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { playlist_bytes: 16 << 20, segments: 5000, segment_bytes: 64 << 20, units: 20_000 }
    }
}

impl Limits {
    pub(crate) fn check_segment(&self, bytes: &[u8]) -> Result<(), crate::Error> {
        check("a segment", "bytes", bytes.len(), self.segment_bytes)
    }
}

/// Errors: `count` is over `limit`.
pub(crate) fn check(
    what: &'static str,
    unit: &'static str,
    count: usize,
    limit: usize,
) -> Result<(), crate::Error> {
    if count > limit {
        return Err(crate::Error::TooMuch { what, unit, count, limit });
    }
    Ok(())
}
