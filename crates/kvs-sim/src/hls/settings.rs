//! The settings of an HLS session.

use crate::store::fragment::TimeLine;

/// The settings of a session, which its request fixes for its lifetime.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HlsSettings {
    pub(crate) mode: HlsPlaybackMode,
    /// The time line of the segments, and of the range in `mode`.
    pub(crate) line: TimeLine,
    pub(crate) container: Container,
    pub(crate) discontinuities: Discontinuities,
    /// True if playlists have EXT-X-PROGRAM-DATE-TIME.
    pub(crate) dated: bool,
    pub(crate) expires_s: i64,
    /// Segments in a playlist at most.
    pub(crate) max_segments: usize,
}

/// The fragments that a session plays; the range is of their starts, in ms since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HlsPlaybackMode {
    /// The newest fragments, as they come.
    Live,
    /// Stored fragments, listed at the pace of playback.
    LiveReplay { from_ms: i64, to_ms: Option<i64> },
    /// Stored fragments, all listed at once.
    OnDemand { from_ms: i64, to_ms: i64 },
}

/// The format of the segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Container {
    FragmentedMp4,
    MpegTs,
}

/// The places at which a playlist has EXT-X-DISCONTINUITY.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Discontinuities {
    Always,
    Never,
    /// At gaps and overlaps of more than 50 ms.
    AtGaps,
}
