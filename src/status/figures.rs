//! Figures of a camera over the latest frames and events.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::whole_ms;

/// The span over which looks a second are measured.
pub(super) const RATE_SPAN: Duration = Duration::from_secs(5);

/// Looks that the rate remembers at most: 60 a second over its span.
pub(super) const RATE_LOOKS: usize = 300;

/// The smallest of `latencies` that a share of `rank` (0..=1) of them does not exceed, ms; `None` without any.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "at most LATENCIES"
)]
pub(super) fn percentile_ms(latencies: &VecDeque<Duration>, rank: f64) -> Option<f64> {
    let mut sorted: Vec<_> = latencies.iter().collect();
    sorted.sort_unstable();
    let index = ((sorted.len() as f64 * rank).ceil() as usize).saturating_sub(1);
    sorted.get(index).map(|latency| latency.as_secs_f64() * 1000.0)
}

pub(super) fn age_ms(from: Instant, to: Instant) -> u64 {
    whole_ms(to.saturating_duration_since(from))
}

/// Looks a second among those of the last [`RATE_SPAN`]; 0 where there are fewer than two.
#[expect(clippy::cast_precision_loss, reason = "at most RATE_LOOKS")]
pub(super) fn rate(looks: &VecDeque<Instant>, at: Instant) -> f64 {
    let recent = || looks.iter().filter(|look| **look + RATE_SPAN >= at);
    let (Some(first), Some(last)) = (recent().next(), recent().next_back()) else { return 0.0 };
    let span = last.duration_since(*first).as_secs_f64();
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
            ("five a second", every_200_ms.clone(), 9_800, 5.0),
            ("two at once", VecDeque::from([at(0), at(0)]), 0, 0.0),
            ("none of late", every_200_ms, 60_000, 0.0),
        ];
        for (name, looks, ms, expected) in table {
            assert!((rate(&looks, at(ms)) - expected).abs() < 0.05, "{name}: {}", rate(&looks, at(ms)));
        }
    }
}
