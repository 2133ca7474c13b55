//! A limit on the rate at which a camera connects, whatever ends its connections.

use std::time::{Duration, Instant};

/// The mean interval between two connections of a camera.
const INTERVAL: Duration = Duration::from_secs(1);

/// The number of connections that may follow each other without a wait.
const BURST: u32 = 10;

/// The connection rate of one camera: one per second on average, with a small burst.
///
/// The backoff after errors does not cover this: a service that ends each connection after a whole fragment fails no
/// request.
#[derive(Clone, Copy, Debug, Default)]
pub struct ConnectionBudget {
    /// The time at which the mean rate allows one more connection; `None` before the first.
    spent_until: Option<Instant>,
}

impl ConnectionBudget {
    /// Takes one connection from the budget and returns how long it has to wait.
    pub fn take(&mut self, now: Instant) -> Duration {
        // Time without connections is not saved up beyond one burst.
        let from = self.spent_until.map_or(now, |until| until.max(now));
        self.spent_until = Some(from + INTERVAL);
        from.saturating_duration_since(now + INTERVAL * (BURST - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_followed_by_one_connection_per_second() {
        let (start, mut budget) = (Instant::now(), ConnectionBudget::default());
        let mut now = start;
        let started_s: Vec<u64> = (0..15)
            .map(|_| {
                now += budget.take(now);
                (now - start).as_secs()
            })
            .collect();
        assert_eq!(started_s, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5]);
        let rested = now + Duration::from_secs(60);
        let waits: Vec<u64> = (0..12).map(|_| budget.take(rested).as_secs()).collect();
        assert_eq!(waits, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2], "a pause earns one burst");
    }

    #[test]
    fn one_connection_per_second_never_waits() {
        let (start, mut budget) = (Instant::now(), ConnectionBudget::default());
        for second in 0..100 {
            assert_eq!(budget.take(start + Duration::from_secs(second)), Duration::ZERO);
        }
    }
}
