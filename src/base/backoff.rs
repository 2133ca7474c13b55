//! Exponential backoff with full jitter.

use std::time::Duration;

use rand::Rng;

/// Delays that double with each failure and are spread at random, so that many cameras do not reconnect at once.
///
/// Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015 (the "full jitter" variant).
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    max: Duration,
    failures: u32,
}

impl Backoff {
    /// Returns a backoff whose first delay is at most `first`, and whose delays never exceed `max`.
    #[must_use]
    pub fn new(first: Duration, max: Duration) -> Self {
        Self { first, max: max.max(first), failures: 0 }
    }

    /// Returns the maximum of the next delay.
    #[must_use]
    pub fn ceiling(&self) -> Duration {
        // 2^16 times the first delay is above any `max`, and the shift stays within the u32.
        self.first.saturating_mul(1 << self.failures.min(16)).min(self.max)
    }

    /// Returns the next delay, uniformly random between zero and the ceiling, and doubles the ceiling.
    pub fn next_wait(&mut self) -> Duration {
        let wait = self.ceiling().mul_f64(rand::rng().random_range(0.0..=1.0));
        self.failures = self.failures.saturating_add(1);
        wait
    }

    /// Returns whether nothing has failed since the last success.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        self.failures == 0
    }

    /// Returns to the first delay, after a success.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ceiling_doubles_up_to_the_maximum_and_a_reset_restores_it() {
        let mut backoff = Backoff::new(Duration::from_secs(5), Duration::from_secs(30));
        let mut ceilings = Vec::new();
        for _ in 0..5 {
            let ceiling = backoff.ceiling();
            ceilings.push(ceiling.as_secs());
            assert!(backoff.next_wait() <= ceiling);
        }
        assert_eq!(ceilings, [5, 10, 20, 30, 30]);
        backoff.reset();
        assert_eq!(backoff.ceiling(), Duration::from_secs(5));
    }

    #[test]
    fn waits_are_spread_over_the_whole_range() {
        let waits: Vec<_> = (0..200)
            .map(|_| Backoff::new(Duration::from_secs(1), Duration::from_secs(1)).next_wait())
            .collect();
        assert!(waits.iter().any(|wait| *wait < Duration::from_millis(100)));
        assert!(waits.iter().any(|wait| *wait > Duration::from_millis(900)));
    }
}
