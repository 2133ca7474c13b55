//! The pace of a camera: whether it catches up, is at the live edge, or is too far behind.

use std::time::Duration;

/// The lag up to which a reader counts as being at the live edge, ms: about two fragments.
const LIVE_EDGE_MS: u64 = 2_000;

/// Classifies each complete fragment by its lag behind the live edge and by the time spent waiting for its bytes.
#[derive(Clone, Debug)]
pub struct PaceMonitor {
    max_behind_ms: u64,
    /// The limit of the current connection; `None` before its first fragment.
    allowed_ms: Option<u64>,
    started_at_now: bool,
}

/// The reader's pace, as one fragment shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamPace {
    /// The reader is behind the live edge, or reads stored footage.
    Behind,
    /// The reader is at the live edge, and the fragment arrived no faster than it was recorded.
    CaughtUp,
    /// The reader is further behind than the limit allows.
    TooFarBehind,
}

impl PaceMonitor {
    /// Creates a monitor that allows a lag of `max_behind`.
    #[must_use]
    pub fn new(max_behind: Duration) -> Self {
        let max_behind_ms = u64::try_from(max_behind.as_millis()).unwrap_or(u64::MAX);
        Self { max_behind_ms, allowed_ms: None, started_at_now: false }
    }

    /// Resets the monitor for a new connection; `at_now` says whether it started at NOW.
    pub fn connected(&mut self, at_now: bool) {
        self.started_at_now = at_now;
        self.allowed_ms = None;
    }

    /// Returns the pace after a complete fragment of `length` media time, for whose bytes the reader waited `waited`.
    pub fn fragment(&mut self, behind_ms: Option<u64>, waited: Duration, length: Duration) -> StreamPace {
        let behind_ms = behind_ms.unwrap_or(0);
        // The lag of the first fragment after NOW is allowed: another start at NOW would not reduce it.
        let unavoidable_ms = if self.started_at_now { behind_ms } else { 0 };
        let allowed_ms = *self.allowed_ms.get_or_insert(unavoidable_ms.saturating_add(self.max_behind_ms));
        if behind_ms > allowed_ms {
            return StreamPace::TooFarBehind;
        }
        // The last stored fragments are at the live edge too, but they arrive as fast as the network carries them.
        let came_in_real_time = waited >= length * 3 / 4;
        // MILLIS_BEHIND_NOW counts from the fragment's first picture (shown by real captures), so at the live edge
        // it equals the fragment's length.
        let end_behind_ms = behind_ms.saturating_sub(u64::try_from(length.as_millis()).unwrap_or(u64::MAX));
        if end_behind_ms <= LIVE_EDGE_MS && came_in_real_time {
            StreamPace::CaughtUp
        } else {
            StreamPace::Behind
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn paces(at_now: bool, behind_ms: &[u64], waited: Duration) -> Vec<StreamPace> {
        let mut monitor = PaceMonitor::new(Duration::from_secs(60));
        monitor.connected(at_now);
        behind_ms.iter().map(|ms| monitor.fragment(Some(*ms), waited, SECOND)).collect()
    }

    #[test]
    fn footage_in_real_time_at_the_live_edge_is_caught_up() {
        assert_eq!(
            paces(false, &[0, 1500, 3000, 3001], SECOND),
            [StreamPace::CaughtUp, StreamPace::CaughtUp, StreamPace::CaughtUp, StreamPace::Behind]
        );
    }

    #[test]
    fn the_last_stored_fragments_are_not_caught_up() {
        assert_eq!(paces(false, &[1000, 0], SECOND / 5), [StreamPace::Behind, StreamPace::Behind]);
    }

    #[test]
    fn further_behind_than_the_limit_is_too_far() {
        assert_eq!(paces(false, &[60_000, 60_001], SECOND), [StreamPace::Behind, StreamPace::TooFarBehind]);
    }

    #[test]
    fn the_lag_of_the_first_fragment_after_now_is_allowed() {
        assert_eq!(
            paces(true, &[3_600_000, 3_660_000, 3_660_001], SECOND),
            [StreamPace::Behind, StreamPace::Behind, StreamPace::TooFarBehind]
        );
    }
}
