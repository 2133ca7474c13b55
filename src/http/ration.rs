//! Warnings that strangers can cause: one a minute, with a count.

use std::time::{Duration, Instant};

/// The time between two warnings of the same kind.
const EVERY: Duration = Duration::from_secs(60);

/// Counts what happens, and says when the count is to be logged.
#[derive(Debug, Default)]
pub(super) struct Ration {
    unreported: u64,
    reported: Option<Instant>,
}

impl Ration {
    /// Counts one more; returns the count where it is to be logged now.
    pub(super) fn count(&mut self, now: Instant) -> Option<u64> {
        self.unreported += 1;
        self.due(now)
    }

    /// Returns the count since the last report, where there is one and a minute is over.
    pub(super) fn due(&mut self, now: Instant) -> Option<u64> {
        let is_over = self.reported.is_none_or(|at| now.saturating_duration_since(at) >= EVERY);
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
    fn the_first_is_reported_at_once_and_the_others_by_the_minute() {
        let (start, mut ration) = (Instant::now(), Ration::default());
        let at = |s: u64| start + Duration::from_secs(s);
        assert_eq!(ration.due(at(0)), None);
        assert_eq!(ration.count(at(0)), Some(1));
        assert_eq!((ration.count(at(1)), ration.count(at(59))), (None, None));
        assert_eq!(ration.due(at(60)), Some(2), "without another one");
        assert_eq!((ration.due(at(200)), ration.count(at(200))), (None, Some(1)));
    }
}
