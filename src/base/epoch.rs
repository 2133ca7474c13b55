//! The wall clock. It decides nothing: it dates what people and other programs read.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Now, ms since the epoch.
pub fn epoch_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// When `instant` was, ms since the epoch.
pub fn epoch_ms_of(instant: Instant) -> i64 {
    epoch_ms().saturating_sub(i64::try_from(instant.elapsed().as_millis()).unwrap_or(i64::MAX))
}
