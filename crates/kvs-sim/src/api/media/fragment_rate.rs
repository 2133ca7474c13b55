//! The rate limit of a GetMedia connection.

use std::time::Duration;

use tokio::time::Instant;

/// A limit on the fragments per second: it spaces the starts of fragments evenly, without bursts.
#[derive(Debug)]
pub(crate) struct FragmentRate {
    gap: Duration,
    free_at: Option<Instant>,
}

impl FragmentRate {
    /// Returns a limit of that many fragments per second; 0 counts as 1.
    pub(crate) fn new(fragments_per_s: u32) -> Self {
        Self { gap: Duration::from_secs(1) / fragments_per_s.max(1), free_at: None }
    }

    /// Returns the time from which the next fragment is allowed; None if it is allowed now.
    pub(crate) fn free_at(&self) -> Option<Instant> {
        self.free_at
    }

    /// Records that a fragment starts.
    pub(crate) fn record_start(&mut self, now: Instant) {
        self.free_at = Some(now + self.gap);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the ms at which a reader that asks again `asks_after_ms` after each fragment gets ten of them.
    fn starts_ms(asks_after_ms: u64) -> Vec<u128> {
        let origin = Instant::now();
        let mut now = origin;
        let mut rate = FragmentRate::new(5);
        let mut starts = Vec::new();
        for _ in 0..10 {
            now = rate.free_at().map_or(now, |free_at| free_at.max(now));
            rate.record_start(now);
            starts.push((now - origin).as_millis());
            now += Duration::from_millis(asks_after_ms);
        }
        starts
    }

    #[test]
    fn stored_fragments_come_at_five_per_second_and_live_ones_at_their_own_pace() {
        for (asks_after_ms, gap_ms) in [(0, 200), (1, 200), (199, 200), (200, 200), (1000, 1000)] {
            let expected: Vec<u128> = (0..10).map(|fragment| fragment * gap_ms).collect();
            assert_eq!(starts_ms(asks_after_ms), expected, "{asks_after_ms}");
        }
    }
}
