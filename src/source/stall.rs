//! A watch for stalls: how long a silent connection is kept before it counts as dead.

use std::time::Duration;

/// The minimum silence that counts as a stall: R4 of `tests/faults`.
const MIN_SILENCE: Duration = Duration::from_secs(4);

/// The maximum silence on a connection that has not brought a byte: an idle stream must not cost many calls.
const MAX_IDLE_SILENCE: Duration = Duration::from_secs(32);

/// The maximum silence that can be a stream's delivery rhythm: a 20 s fragment that arrives as a whole, a fifth late.
/// Source: Kinesis Video Streams quotas (a fragment lasts 20 s at most).
const MAX_GAP: Duration = Duration::from_secs(24);

/// Computes how long to wait for the next bytes: `max(4 s, 2.5 x the longest recent gap)`, and longer with each
/// consecutive connection that brought nothing.
///
/// A gap that outlasts a connection is learned too. So a stream whose fragments arrive as a whole, 10 s apart, is
/// reconnected once or twice and then no more.
#[derive(Clone, Debug, Default)]
pub struct StallWatch {
    /// The longest recent gap between two reads that brought bytes.
    gap: Duration,
    /// The summed silence of the connections that stalled since the last bytes.
    silent: Duration,
    /// The number of consecutive connections that brought nothing.
    barren: u32,
    has_bytes: bool,
}

impl StallWatch {
    /// Returns the silence after which the connection now counts as dead.
    #[must_use]
    pub fn limit(&self) -> Duration {
        let by_rhythm = MIN_SILENCE.max(self.gap.mul_f64(2.5));
        if self.has_bytes {
            return by_rhythm;
        }
        (MIN_SILENCE * (1 << self.barren.min(3))).min(MAX_IDLE_SILENCE).max(by_rhythm)
    }

    /// Records that bytes arrived after `waited`.
    pub fn bytes(&mut self, waited: Duration) {
        let gap = self.silent + waited;
        // The wait for the first bytes of a connection is no gap, unless a stalled connection preceded it.
        let is_rhythm = (self.has_bytes || self.silent > Duration::ZERO) && gap <= MAX_GAP;
        // A long gap decays within eight times its length, so that one hiccup does not disable the watch for ever.
        self.gap = self.gap.saturating_sub(waited / 8);
        if is_rhythm {
            self.gap = self.gap.max(gap);
        }
        self.silent = Duration::ZERO;
        self.has_bytes = true;
        self.barren = 0;
    }

    /// Records that the connection was closed after `limit` without bytes.
    pub fn stalled(&mut self, limit: Duration) {
        self.silent += limit;
    }

    /// Records that a new connection was opened.
    pub fn connected(&mut self) {
        if !self.has_bytes {
            self.barren = self.barren.saturating_add(1);
        }
        self.has_bytes = false;
    }

    /// Returns true if this connection has brought bytes.
    #[must_use]
    pub fn has_bytes(&self) -> bool {
        self.has_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn streaming(gaps_ms: &[u64]) -> StallWatch {
        let mut watch = StallWatch::default();
        watch.connected();
        watch.bytes(Duration::from_secs(9));
        for gap_ms in gaps_ms {
            watch.bytes(Duration::from_millis(*gap_ms));
        }
        watch
    }

    #[test]
    fn the_limit_follows_the_gaps_but_never_falls_below_four_seconds() {
        assert_eq!(streaming(&[40, 40]).limit(), Duration::from_secs(4));
        assert_eq!(streaming(&[40, 2000, 40]).limit(), Duration::from_micros(4_987_500));
    }

    #[test]
    fn the_wait_for_the_first_bytes_of_a_connection_is_not_a_gap() {
        assert_eq!(streaming(&[]).limit(), Duration::from_secs(4));
    }

    #[test]
    fn one_long_gap_is_forgotten() {
        let mut watch = streaming(&[10_000]);
        assert!(watch.limit() > Duration::from_secs(24));
        for _ in 0..80 * 25 {
            watch.bytes(Duration::from_millis(40));
        }
        assert_eq!(watch.limit(), Duration::from_secs(4));
    }

    #[test]
    fn a_rhythm_longer_than_the_limit_is_learned_from_the_stalls_it_causes() {
        let mut watch = streaming(&[10]);
        for limit_s in [4, 4] {
            watch.stalled(Duration::from_secs(limit_s));
            watch.connected();
        }
        watch.bytes(Duration::from_secs(2));
        assert_eq!(watch.limit(), Duration::from_secs(25), "2.5 x the 10 s between two bursts");
    }

    #[test]
    fn the_longest_fragments_are_a_rhythm_even_if_one_is_late() {
        let mut watch = streaming(&[10]);
        for limit_s in [4, 4, 8] {
            watch.stalled(Duration::from_secs(limit_s));
            watch.connected();
        }
        watch.bytes(Duration::from_millis(6_500));
        assert!(watch.limit() > Duration::from_secs(40), "{:?}", watch.limit());
    }

    #[test]
    fn a_camera_that_was_off_for_a_minute_has_no_rhythm_of_a_minute() {
        let mut watch = streaming(&[40]);
        for limit_s in [4, 4, 8, 16, 32] {
            watch.stalled(Duration::from_secs(limit_s));
            watch.connected();
        }
        watch.bytes(Duration::from_secs(1));
        assert_eq!(watch.limit(), Duration::from_secs(4));
    }

    #[test]
    fn each_connection_that_brings_nothing_raises_the_limit() {
        let mut watch = streaming(&[40]);
        let limits: Vec<u64> = (0..6)
            .map(|_| {
                watch.connected();
                watch.limit().as_secs()
            })
            .collect();
        assert_eq!(limits, [4, 8, 16, 32, 32, 32]);
        watch.bytes(Duration::ZERO);
        assert_eq!(watch.limit().as_secs(), 4);
    }
}
