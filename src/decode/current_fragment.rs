//! The fragment that is being decoded, and the test whether another one continues it.

use std::sync::Arc;

use crate::media::{FragmentEnd, MediaMs, Packet, QuietSizes, RecentGops};

/// The largest step in media time from the newest picture of a fragment to the keyframe that continues it, ms.
const MAX_CONTINUATION_STEP_MS: i64 = 2_000;

/// The fragment of the last packet.
pub(super) struct CurrentFragment {
    pub(super) number: Arc<str>,
    /// The newest media time in it.
    pub(super) newest: MediaMs,
    /// True if a resume after this fragment reads it again as a primer, so that the next one may refer to it.
    pub(super) primes_next: bool,
}

impl CurrentFragment {
    /// Returns true if `first`, the first packet of another fragment, continues this one and may refer to it.
    pub(super) fn leads_to(&self, first: &Packet) -> bool {
        // A larger step, or one back in time, is other footage: its leading pictures refer to pictures that were not read.
        let step_ms = first.media.0.saturating_sub(self.newest.0);
        self.primes_next && (1..=MAX_CONTINUATION_STEP_MS).contains(&step_ms)
    }
}

/// The end of a fragment whose frames are not all returned yet.
pub(super) struct HeldEnd {
    pub(super) end: FragmentEnd,
    /// The number of its last packet.
    pub(super) last: i64,
    /// The facts about the footage up to it that the checkpoint keeps, besides the sampler's state.
    pub(super) learned: LearnedFootage,
}

/// The facts that decode has learned about a stream, a part of its checkpoint.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LearnedFootage {
    pub(super) gops: RecentGops,
    pub(super) sizes: QuietSizes,
}
