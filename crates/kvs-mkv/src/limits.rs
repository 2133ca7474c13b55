//! How much a stream may ask of its reader.

/// Bounds that turn hostile bytes into an [`Error`](crate::Error) rather than into memory or time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one SimpleBlock or BlockGroup, which is held in memory until its last byte is in.
    pub element_bytes: usize,
    /// Bytes from an EBML header, or from a Cluster, to the next of either.
    ///
    /// Source: a fragment is at most 50 MB (AWS, Kinesis Video Streams quotas, 2026).
    pub fragment_bytes: usize,
    /// Bytes of one EBML header, Info, Tracks or Tags element.
    pub header_bytes: usize,
    /// Simple tags in one Tags element, and user tags in one fragment.
    pub tags: usize,
    /// Entries in one Tracks element.
    pub tracks: usize,
    /// Levels of simple tags inside simple tags.
    pub depth: usize,
}

impl Default for Limits {
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
