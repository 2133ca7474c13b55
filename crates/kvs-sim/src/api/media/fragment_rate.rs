//! How fast a GetMedia connection may catch up.

use std::time::Duration;

use tokio::time::Instant;

/// Holds the beginnings of fragments at least so far apart that no more than its rate are sent in a second.
#[derive(Debug)]
pub(crate) struct FragmentRate {
    gap: Duration,
    free_at: Option<Instant>,
}

impl FragmentRate {
    /// At most so many fragments a second; 0 counts as 1.
    pub(crate) fn new(fragments_per_s: u32) -> Self {
        Self { gap: Duration::from_secs(1) / fragments_per_s.max(1), free_at: None }
    }

    /// When the next fragment may be sent; None: at once.
    pub(crate) fn free_at(&self) -> Option<Instant> {
        self.free_at
    }

    /// A fragment begins to be sent.
    pub(crate) fn sent(&mut self, now: Instant) {
        self.free_at = Some(now + self.gap);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Milliseconds at which a reader that asks again `asks_after_ms` after each fragment gets ten of them.
    fn sent_at_ms(asks_after_ms: u64) -> Vec<u128> {
        let start = Instant::now();
        let mut now = start;
        let mut rate = FragmentRate::new(5);
        let mut sent = Vec::new();
        for _ in 0..10 {
            now = rate.free_at().map_or(now, |free_at| free_at.max(now));
            rate.sent(now);
            sent.push((now - start).as_millis());
            now += Duration::from_millis(asks_after_ms);
        }
        sent
    }

    #[test]
    fn stored_fragments_come_at_five_a_second_and_live_ones_at_their_own_pace() {
        for (asks_after_ms, gap_ms) in [(0, 200), (1, 200), (199, 200), (200, 200), (1000, 1000)] {
            let expected: Vec<u128> = (0..10).map(|fragment| fragment * gap_ms).collect();
            assert_eq!(sent_at_ms(asks_after_ms), expected, "{asks_after_ms}");
        }
    }
}
