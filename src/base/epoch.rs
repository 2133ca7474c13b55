//! The wall clock. No decision depends on it: it only dates what people and other programs read.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Returns the current time, ms since the epoch.
pub fn epoch_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Returns the time of `instant`, ms since the epoch.
pub fn epoch_ms_of(instant: Instant) -> i64 {
    epoch_ms().saturating_sub(i64::try_from(instant.elapsed().as_millis()).unwrap_or(i64::MAX))
}
