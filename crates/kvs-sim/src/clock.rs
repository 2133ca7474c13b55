//! The wall clock of the local KVS, which tests may set and, with tokio's paused time, move.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// Wall-clock time that runs with tokio's: under `tokio::time::pause` it moves only when a test moves it.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    origin_ms: i64,
    started: Instant,
}

impl Clock {
    /// The time of this machine.
    pub fn system() -> Self {
        Self::starting_at(SystemTime::now())
    }

    /// A clock that shows `time` now.
    pub fn starting_at(time: SystemTime) -> Self {
        Self { origin_ms: epoch_ms(time), started: Instant::now() }
    }

    /// Milliseconds since 1970.
    pub fn now_ms(&self) -> i64 {
        self.origin_ms.saturating_add(millis(self.started.elapsed()))
    }
}

/// Milliseconds since 1970; negative before.
pub fn epoch_ms(time: SystemTime) -> i64 {
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => millis(after),
        Err(before) => -millis(before.duration()),
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Decimal seconds with three decimals, as KVS writes a time in a tag.
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

    #[tokio::test(start_paused = true)]
    async fn the_clock_moves_with_tokio_time() {
        let clock = Clock::starting_at(SystemTime::UNIX_EPOCH + Duration::from_secs(100));
        tokio::time::advance(Duration::from_millis(1500)).await;
        assert_eq!(clock.now_ms(), 101_500);
    }
}
