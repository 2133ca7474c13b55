//! A rate limit for warnings that any client can cause: one per minute, with a count.

use std::time::{Duration, Instant};

/// The minimum time between two warnings of the same kind.
const INTERVAL: Duration = Duration::from_secs(60);

/// A counter that decides when its count is logged.
#[derive(Debug, Default)]
pub(super) struct WarningLimit {
    unreported: u64,
    reported: Option<Instant>,
}

impl WarningLimit {
    /// Counts one more; returns the count if it is to be logged now.
    pub(super) fn count(&mut self, now: Instant) -> Option<u64> {
        self.unreported += 1;
        self.due(now)
    }

    /// Returns the count since the last warning, if it is not zero and the interval is over.
    pub(super) fn due(&mut self, now: Instant) -> Option<u64> {
        let is_over = self.reported.is_none_or(|at| now.saturating_duration_since(at) >= INTERVAL);
        if self.unreported == 0 || !is_over {
            return None;
        }
        self.reported = Some(now);
        Some(std::mem::take(&mut self.unreported))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_one_is_logged_at_once_and_the_others_per_minute() {
        let (start, mut limit) = (Instant::now(), WarningLimit::default());
        let at = |s: u64| start + Duration::from_secs(s);
        assert_eq!(limit.due(at(0)), None);
        assert_eq!(limit.count(at(0)), Some(1));
        assert_eq!((limit.count(at(1)), limit.count(at(59))), (None, None));
        assert_eq!(limit.due(at(60)), Some(2), "without another one");
        assert_eq!((limit.due(at(200)), limit.count(at(200))), (None, Some(1)));
    }
}
