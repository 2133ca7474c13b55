//! When silence on a connection means that it is dead.

use std::time::Duration;

/// Least silence that counts as a stall: R4 of `tests/faults`.
const LEAST: Duration = Duration::from_secs(4);
/// Most silence on a connection that has not brought a byte: such a stream is idle, and asking often costs calls.
const MOST_WHEN_IDLE: Duration = Duration::from_secs(32);

/// The longest silence that can be a stream's rhythm: a fragment of 20 s that comes whole, a fifth late.
/// Source: Kinesis Video Streams quotas (a fragment lasts 20 s at most).
const LONGEST_GAP: Duration = Duration::from_secs(24);

/// Tells how long to wait for the next bytes: `max(4 s, 2.5 x the longest gap seen of late)`, and longer with every
/// connection in a row that brought nothing.
///
/// A gap that outlasts a connection is learned as well, so that a stream whose fragments come whole, 10 s apart, is
/// connected to anew once or twice and then no more.
#[derive(Clone, Debug, Default)]
pub struct StallWatch {
    gap: Duration,
    /// Silence of the connections that stalled since the last bytes.
    silent: Duration,
    barren: u32,
    brought: bool,
}

impl StallWatch {
    /// How much silence to bear now.
    #[must_use]
    pub fn limit(&self) -> Duration {
        let least = LEAST.max(self.gap.mul_f64(2.5));
        if self.brought {
            return least;
        }
        (LEAST * (1 << self.barren.min(3))).min(MOST_WHEN_IDLE).max(least)
    }

    /// Bytes came after `waited`. A long gap is forgotten within eight times its length, so that one hiccup does not
    /// blind the watch for ever.
    pub fn bytes(&mut self, waited: Duration) {
        let gap = self.silent + waited;
        let is_rhythm = (self.brought || self.silent > Duration::ZERO) && gap <= LONGEST_GAP;
        self.gap = self.gap.saturating_sub(waited / 8);
        if is_rhythm {
            self.gap = self.gap.max(gap);
        }
        self.silent = Duration::ZERO;
        self.brought = true;
        self.barren = 0;
    }

    /// The connection was given up after `limit` without bytes.
    pub fn stalled(&mut self, limit: Duration) {
        self.silent += limit;
    }

    /// A new connection begins.
    pub fn connected(&mut self) {
        if !self.brought {
            self.barren = self.barren.saturating_add(1);
        }
        self.brought = false;
    }

    /// Whether this connection has brought anything.
    #[must_use]
    pub fn brought(&self) -> bool {
        self.brought
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
    fn the_wait_for_the_first_bytes_of_a_connection_is_no_gap() {
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
    fn a_rhythm_longer_than_the_limit_is_learned_over_the_stalls_that_it_causes() {
        let mut watch = streaming(&[10]);
        for limit_s in [4, 4] {
            watch.stalled(Duration::from_secs(limit_s));
            watch.connected();
        }
        watch.bytes(Duration::from_secs(2));
        assert_eq!(watch.limit(), Duration::from_secs(25), "2.5 x the 10 s between two bursts");
    }

    #[test]
    fn the_longest_fragments_are_a_rhythm_also_where_one_comes_late() {
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
    fn connections_that_bring_nothing_are_given_longer_each_time() {
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
