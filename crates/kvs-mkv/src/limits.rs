//! Bounds on the memory and time that a stream can take.

/// Bounds beyond which a stream ends with an [`MkvError`](crate::MkvError) instead of taking memory or time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MkvLimits {
    /// Maximum bytes of one SimpleBlock or BlockGroup, which is buffered until its last byte arrives.
    pub element_bytes: usize,
    /// Maximum bytes from an EBML header or a Cluster to the next of either.
    ///
    /// Source: a fragment is at most 50 MB (AWS, Kinesis Video Streams quotas, 2026).
    pub fragment_bytes: usize,
    /// Maximum bytes of one EBML header, Info, Tracks, Tags or Timestamp element.
    pub header_bytes: usize,
    /// Maximum number of SimpleTags in one Tags element, and of producer tags on each side of a fragment's
    /// Cluster.
    pub tags: usize,
    /// Maximum number of TrackEntry elements in one Tracks element.
    pub tracks: usize,
    /// Maximum nesting of SimpleTags inside SimpleTags.
    pub depth: usize,
}

impl Default for MkvLimits {
    fn default() -> Self {
        Self {
            element_bytes: 16 << 20,
            fragment_bytes: 64 << 20,
            header_bytes: 1 << 20,
            tags: 4096,
            tracks: 64,
            depth: 8,
        }
    }
}
