//! Bounds on the memory and time that a session can take.

use crate::HlsError;

/// Bounds beyond which an input is an [`HlsError`] instead of taking memory or time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HlsLimits {
    /// Maximum bytes of a playlist: 5,000 segments, each with a session token of about 1 KB in two URLs.
    pub playlist_bytes: usize,
    /// Maximum number of segments in a media playlist.
    ///
    /// Source: MaxMediaPlaylistFragmentResults (AWS, GetHLSStreamingSessionURL, 2026).
    pub segments: usize,
    /// Maximum bytes of a media or initialisation segment.
    ///
    /// Source: a fragment is at most 50 MB (AWS, Kinesis Video Streams quotas, 2026).
    pub segment_bytes: usize,
    /// Maximum number of access units in a media segment.
    pub units: usize,
}

impl Default for HlsLimits {
    fn default() -> Self {
        Self { playlist_bytes: 16 << 20, segments: 5000, segment_bytes: 64 << 20, units: 20_000 }
    }
}

impl HlsLimits {
    pub(crate) fn check_segment(&self, bytes: &[u8]) -> Result<(), HlsError> {
        check_limit("a segment", "bytes", bytes.len(), self.segment_bytes)
    }
}

/// Returns an error if `count` exceeds `limit`.
pub(crate) fn check_limit(
    what: &'static str,
    unit: &'static str,
    count: usize,
    limit: usize,
) -> Result<(), HlsError> {
    if count > limit {
        return Err(HlsError::TooMuch { what, unit, count, limit });
    }
    Ok(())
}
