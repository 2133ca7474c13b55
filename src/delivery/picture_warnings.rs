//! The limit on warnings about left-out pictures.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Interval in which one warning about left-out pictures is logged: a crowd would fill the log.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);

/// The time of the last warning about left-out pictures.
#[derive(Debug, Default)]
pub(super) struct PictureWarnings(Mutex<Option<Instant>>);

impl PictureWarnings {
    /// Returns whether a warning may be logged now, and counts it as logged.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = last.is_none_or(|last| now.saturating_duration_since(last) >= WARNING_INTERVAL);
        if is_due {
            *last = Some(now);
        }
        is_due
    }
}
