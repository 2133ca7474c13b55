//! The wall clock of the local KVS, which a test can replace by a manual one.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

/// The clock by which fragments are stamped and expire.
#[derive(Debug, Clone)]
pub struct Clock {
    /// Milliseconds since 1970 of a manual clock; None reads the time of this machine.
    manual_ms: Option<Arc<AtomicI64>>,
}

impl Clock {
    /// Returns the clock of this machine.
    pub fn system() -> Self {
        Self { manual_ms: None }
    }

    /// Returns a clock that stands still at `ms` since 1970 until [`advance`](Self::advance); its clones move with it.
    pub fn standing_at(ms: i64) -> Self {
        Self { manual_ms: Some(Arc::new(AtomicI64::new(ms))) }
    }

    /// Moves a standing clock forward. Does nothing to the clock of this machine.
    pub fn advance(&self, by: Duration) {
        if let Some(manual_ms) = &self.manual_ms {
            manual_ms.fetch_add(millis(by), Ordering::SeqCst);
        }
    }

    /// Returns milliseconds since 1970.
    pub fn now_ms(&self) -> i64 {
        let manual_ms = self.manual_ms.as_ref().map(|manual_ms| manual_ms.load(Ordering::SeqCst));
        manual_ms.unwrap_or_else(|| epoch_ms(SystemTime::now()))
    }
}

/// Converts a time to milliseconds since 1970, which are negative before it.
pub fn epoch_ms(time: SystemTime) -> i64 {
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => millis(after),
        Err(before) => -millis(before.duration()),
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Formats a time as KVS does in a tag: decimal seconds with three decimals.
pub(crate) fn decimal_seconds(ms: i64) -> String {
    let sign = if ms < 0 { "-" } else { "" };
    let ms = ms.unsigned_abs();
    format!("{sign}{}.{:03}", ms / 1000, ms % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_in_tags_have_three_decimals() {
        for (ms, text) in [(0, "0.000"), (1_511_852_109_126, "1511852109.126"), (-5, "-0.005")] {
            assert_eq!(decimal_seconds(ms), text);
        }
    }

    #[test]
    fn a_standing_clock_moves_with_its_clones() {
        let clock = Clock::standing_at(100_000);
        let other = clock.clone();
        clock.advance(Duration::from_millis(1500));
        assert_eq!((clock.now_ms(), other.now_ms()), (101_500, 101_500));
    }
}
