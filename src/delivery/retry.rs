//! The pauses between the attempts of a sink.

use std::time::Duration;

use crate::base::Backoff;

/// Returns the pauses between the attempts of a sink: at most 100 ms before the second, never more than 10 s.
pub(crate) fn retry_backoff() -> Backoff {
    Backoff::new(Duration::from_millis(100), Duration::from_secs(10))
}
