//! The settings of an HLS session.

use crate::store::fragment::TimeLine;

/// The request as it is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HlsSettings {
    pub(crate) mode: PlaybackMode,
    /// The clock of the segments, and of the range in `mode`.
    pub(crate) line: TimeLine,
    pub(crate) container: Container,
    pub(crate) discontinuities: Discontinuities,
    /// Whether playlists date their segments.
    pub(crate) dated: bool,
    pub(crate) expires_s: i64,
    /// Segments in a playlist at most.
    pub(crate) most: usize,
}

/// Times in ms since 1970, of fragments' beginnings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PlaybackMode {
    Live,
    LiveReplay { from_ms: i64, to_ms: Option<i64> },
    OnDemand { from_ms: i64, to_ms: i64 },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Container {
    FragmentedMp4,
    MpegTs,
}

/// Where a playlist says that the time line does not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Discontinuities {
    Always,
    Never,
    /// At gaps and overlaps.
    Found,
}
