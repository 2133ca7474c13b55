//! When silence on a connection means that it is dead.

use std::time::Duration;

/// Least silence that counts as a stall. Source: product contract, section 7.
const LEAST: Duration = Duration::from_secs(4);
/// Most silence on a connection that has not brought a byte: such a stream is idle, and asking often costs calls.
const MOST_WHEN_IDLE: Duration = Duration::from_secs(32);

/// Tells how long to wait for the next bytes: `max(4 s, 2.5 x the longest gap seen of late)`, and longer with every
/// connection in a row that brought nothing.
#[derive(Clone, Debug, Default)]
pub struct StallWatch {
    gap: Duration,
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

    /// Bytes came after `waited`. A long gap is forgotten slowly, so that one hiccup does not blind the watch for ever.
    pub fn bytes(&mut self, waited: Duration) {
        if self.brought {
            self.gap = waited.max(self.gap.mul_f64(0.99));
        }
        self.brought = true;
        self.barren = 0;
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
        assert_eq!(streaming(&[40, 2000, 40]).limit(), Duration::from_millis(4950));
    }

    #[test]
    fn the_wait_for_the_first_bytes_of_a_connection_is_no_gap() {
        assert_eq!(streaming(&[]).limit(), Duration::from_secs(4));
    }

    #[test]
    fn one_long_gap_is_forgotten() {
        let mut watch = streaming(&[10_000]);
        assert!(watch.limit() > Duration::from_secs(24));
        for _ in 0..300 {
            watch.bytes(Duration::from_millis(40));
        }
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
