//! Rates and percentiles over the latest frames and events of a camera.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::whole_ms;

/// The time over which inferences per second are measured.
pub(super) const RATE_SPAN: Duration = Duration::from_secs(5);

/// Maximum number of inferences that the rate remembers: 60 per second over [`RATE_SPAN`].
pub(super) const MAX_RATE_SAMPLES: usize = 300;

/// Returns the percentile of `rank` (0..=1) by the nearest-rank method, ms; `None` without latencies.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "at most MAX_LATENCIES"
)]
pub(super) fn percentile_ms(latencies: &VecDeque<Duration>, rank: f64) -> Option<f64> {
    let mut sorted: Vec<_> = latencies.iter().collect();
    sorted.sort_unstable();
    let index = ((sorted.len() as f64 * rank).ceil() as usize).saturating_sub(1);
    sorted.get(index).map(|latency| latency.as_secs_f64() * 1000.0)
}

/// Returns the time from one instant to a later one, ms.
pub(super) fn age_ms(from: Instant, to: Instant) -> u64 {
    whole_ms(to.saturating_duration_since(from))
}

/// Returns the inferences per second within the last [`RATE_SPAN`], to a tenth; 0 where there are fewer than two.
#[expect(clippy::cast_precision_loss, reason = "at most MAX_RATE_SAMPLES")]
pub(super) fn rate(inferences: &VecDeque<Instant>, at: Instant) -> f64 {
    let recent = || inferences.iter().filter(|begun| **begun + RATE_SPAN >= at);
    let (Some(first), Some(last)) = (recent().next(), recent().next_back()) else { return 0.0 };
    let span = last.duration_since(*first).as_secs_f64();
    // n inferences have n - 1 intervals between them.
    let per_second = if span > 0.0 { (recent().count() - 1) as f64 / span } else { 0.0 };
    (per_second * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_counts_the_last_five_seconds() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let every_200_ms: VecDeque<_> = (0..50).map(|i| at(i * 200)).collect();
        let table = [
            ("none", VecDeque::new(), 0, 0.0),
            ("one", VecDeque::from([at(0)]), 100, 0.0),
            ("five per second", every_200_ms.clone(), 9_800, 5.0),
            ("two at once", VecDeque::from([at(0), at(0)]), 0, 0.0),
            ("none recently", every_200_ms, 60_000, 0.0),
        ];
        for (name, inferences, ms, expected) in table {
            assert!(
                (rate(&inferences, at(ms)) - expected).abs() < 0.05,
                "{name}: {}",
                rate(&inferences, at(ms))
            );
        }
    }
}
