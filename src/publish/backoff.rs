//! How long to wait before the next attempt.

use std::time::Duration;

use rand::Rng;

/// Before the second attempt at most so long.
const FIRST_MS: u64 = 100;
/// Never longer than this.
const MOST_MS: u64 = 10_000;

/// Exponential back-off with full jitter: anything from nothing to a limit that doubles.
///
/// Source: AWS Architecture Blog, "Exponential Backoff And Jitter".
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Backoff {
    attempts: u32,
}

impl Backoff {
    /// The wait after one more failure.
    pub(super) fn next_wait(&mut self) -> Duration {
        let limit_ms = self.limit_ms();
        self.attempts = self.attempts.saturating_add(1);
        Duration::from_millis(rand::rng().random_range(0..=limit_ms))
    }

    /// Back to the start, after a success.
    pub(super) fn reset(&mut self) {
        self.attempts = 0;
    }

    fn limit_ms(self) -> u64 {
        FIRST_MS.saturating_mul(1_u64.checked_shl(self.attempts).unwrap_or(u64::MAX)).min(MOST_MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_doubles_to_its_cap_and_starts_anew() {
        let mut backoff = Backoff::default();
        let mut limits = Vec::new();
        for _ in 0..200 {
            limits.push(backoff.limit_ms());
            assert!(backoff.next_wait() <= Duration::from_millis(limits[limits.len() - 1]));
        }
        assert_eq!(limits[..9], [100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000]);
        assert_eq!(limits[199], 10_000);
        backoff.reset();
        assert_eq!(backoff.limit_ms(), 100);
    }
}
