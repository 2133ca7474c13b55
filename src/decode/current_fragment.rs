//! The fragment that is decoded now, and what continues it.

use std::sync::Arc;

use crate::media::{FragmentEnd, MediaMs, Packet};

/// The longest step in media time from a fragment's last picture to the first of the next, ms, if that is its continuation:
/// more than that is other footage, with other references.
const CONTINUES_WITHIN_MS: i64 = 2_000;

/// The fragment of the last packet.
pub(super) struct CurrentFragment {
    pub(super) number: Arc<str>,
    pub(super) newest: MediaMs,
    /// Whether a decoder that resumes after this fragment is primed with it, so that the next one may refer to it.
    pub(super) primes_next: bool,
}

impl CurrentFragment {
    /// Returns true where the first packet of another fragment continues this one, so that it may refer to it.
    pub(super) fn leads_to(&self, first: &Packet) -> bool {
        let step_ms = first.media.0.saturating_sub(self.newest.0);
        self.primes_next && (1..=CONTINUES_WITHIN_MS).contains(&step_ms)
    }
}

/// The end of a fragment that waits for frames of it.
pub(super) struct HeldEnd {
    pub(super) end: FragmentEnd,
    /// The number of its last packet.
    pub(super) last: i64,
}
