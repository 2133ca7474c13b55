//! Limits how often a camera connects, whatever ends its connections.

use std::time::{Duration, Instant};

/// The mean interval between two connections of a camera.
const INTERVAL: Duration = Duration::from_secs(1);

/// Connections that may follow each other at once.
const BURST: u32 = 10;

/// A camera's connections: one a second on average, with a small burst. A service that ends each connection after a whole fragment
/// fails no request, so no other wait grows.
#[derive(Clone, Copy, Debug, Default)]
pub struct ConnectionBudget {
    /// Time at which the connections so far are paid for; `None`: there was none.
    spent_until: Option<Instant>,
}

impl ConnectionBudget {
    /// Returns how long the next connection has to wait, and takes it from the budget.
    pub fn take(&mut self, now: Instant) -> Duration {
        let from = self.spent_until.map_or(now, |until| until.max(now));
        self.spent_until = Some(from + INTERVAL);
        from.saturating_duration_since(now + INTERVAL * (BURST - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_burst_there_is_one_connection_a_second() {
        let (start, mut budget) = (Instant::now(), ConnectionBudget::default());
        let mut now = start;
        let begun: Vec<u64> = (0..15)
            .map(|_| {
                now += budget.take(now);
                (now - start).as_secs()
            })
            .collect();
        assert_eq!(begun, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5]);
        let rested = now + Duration::from_secs(60);
        let waits: Vec<u64> = (0..12).map(|_| budget.take(rested).as_secs()).collect();
        assert_eq!(waits, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2], "a rest is worth one burst");
    }

    #[test]
    fn connections_as_the_service_ends_them_wait_for_nothing() {
        let (start, mut budget) = (Instant::now(), ConnectionBudget::default());
        for second in 0..100 {
            assert_eq!(budget.take(start + Duration::from_secs(second)), Duration::ZERO);
        }
    }
}
