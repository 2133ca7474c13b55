//! Confirmation: decides whether an object was seen often and surely enough to be reported, at any frame rate.

use serde::{Deserialize, Serialize};

use super::Confirm;

/// Interval of the inferences that `temporal_confirm` counts, ms. At shorter intervals, proportionally more are needed.
const NOMINAL_INTERVAL_MS: i64 = 200;
/// Maximum interval that is averaged, ms. Longer ones are pauses, such as those of the motion gate.
const PAUSE_MS: i64 = 1_000;
/// Number of latest confidences of which the median is taken.
const MAX_SCORES: usize = 15;
/// Weight of the newest interval in the moving mean.
const NEWEST_WEIGHT: f32 = 0.2;

/// The recent mean interval between inferences.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct InferenceInterval {
    /// 0 before the first interval.
    mean_ms: f32,
}

impl InferenceInterval {
    /// Adds the interval before an inference to the mean.
    #[expect(clippy::cast_precision_loss, reason = "at most PAUSE_MS")]
    pub(super) fn add(&mut self, since_ms: i64) {
        // A pause would make the mean long, and then a single sighting would count for several.
        if !(1..=PAUSE_MS).contains(&since_ms) {
            return;
        }
        let since_ms = since_ms as f32;
        self.mean_ms = if self.mean_ms == 0.0 {
            since_ms
        } else {
            self.mean_ms + NEWEST_WEIGHT * (since_ms - self.mean_ms)
        };
    }

    /// Returns the number of inferences that stand for one of `temporal_confirm`.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "from 1 to NOMINAL_INTERVAL_MS"
    )]
    fn inferences(self) -> u32 {
        // Never below 1: at slow rates each inference counts, since waiting for more would report nothing.
        if self.mean_ms == 0.0 {
            1
        } else {
            (NOMINAL_INTERVAL_MS as f32 / self.mean_ms).round().max(1.0) as u32
        }
    }
}

/// The latest confidences of an object that is not confirmed yet, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Scores {
    latest: Vec<f32>,
}

impl Scores {
    /// Adds the confidence of a sighting, and drops the oldest beyond [`MAX_SCORES`].
    pub(super) fn add(&mut self, conf: f32) {
        if self.latest.len() == MAX_SCORES {
            self.latest.remove(0);
        }
        self.latest.push(conf);
    }

    /// Drops all confidences and their memory: those of a confirmed object would only enlarge the state.
    pub(super) fn clear(&mut self) {
        self.latest = Vec::new();
    }

    /// Returns the median; 0 without confidences.
    fn median(&self) -> f32 {
        // Not the mean: a traffic cone that is taken for a person is sure in single frames (testdata/footage/README.md).
        let mut sorted = self.latest.clone();
        sorted.sort_by(f32::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
    }
}

/// Returns the length of the window in inferences, and the number of sightings in it; the lowest bit of `seen` is the latest.
fn sightings(seen: u64, confirm: Confirm, interval: InferenceInterval) -> (u32, u32) {
    let window = (confirm.window.clamp(1, u64::BITS) * interval.inferences()).min(u64::BITS);
    (window, (seen << (u64::BITS - window)).count_ones())
}

/// Returns whether an object was seen within the window, so that it can still be confirmed.
pub(super) fn is_candidate(seen: u64, confirm: Confirm, interval: InferenceInterval) -> bool {
    sightings(seen, confirm, interval).1 > 0
}

/// Returns whether an object with these sightings and confidences is confirmed.
pub(super) fn is_confirmed(
    seen: u64,
    scores: &Scores,
    confirm: Confirm,
    interval: InferenceInterval,
) -> bool {
    let (window, count) = sightings(seen, confirm, interval);
    // The intervals between the sightings are scaled, not the sightings: `frames` of them span `frames - 1` intervals, so the time
    // from the first to the last is the same at any rate.
    let needed = (confirm.frames - 1) * interval.inferences() + 1;
    count >= needed.min(window) && scores.median() >= confirm.median_conf
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIRM: Confirm = Confirm { frames: 2, window: 3, iou_threshold: 0.3, median_conf: 0.0 };

    fn interval(interval_ms: i64) -> InferenceInterval {
        let mut interval = InferenceInterval::default();
        (0..20).for_each(|_| interval.add(interval_ms));
        interval
    }

    /// Returns the time until an object that is seen by each inference is confirmed, ms.
    fn confirmed_after_ms(interval_ms: i64) -> i64 {
        let mut seen = 0_u64;
        for inference in 0..64 {
            seen = seen << 1 | 1;
            if is_confirmed(seen, &Scores::default(), CONFIRM, interval(interval_ms)) {
                return inference * interval_ms;
            }
        }
        panic!("never confirmed at an interval of {interval_ms} ms")
    }

    #[test]
    fn the_time_until_confirmation_is_the_same_at_any_rate_from_five_inferences_per_second() {
        for (interval_ms, after_ms) in
            [(1_000, 1_000), (500, 500), (200, 200), (100, 200), (67, 201), (40, 200), (33, 198)]
        {
            assert_eq!(confirmed_after_ms(interval_ms), after_ms, "interval of {interval_ms} ms");
        }
    }

    #[test]
    fn a_pause_does_not_change_the_mean_interval() {
        let mut paused = interval(40);
        paused.add(10_000);
        assert_eq!(paused, interval(40));
    }

    #[test]
    fn an_object_that_is_seldom_sure_is_not_confirmed() {
        let confirm = Confirm { median_conf: 0.5, ..CONFIRM };
        for (scores, expected) in
            [(&[0.45, 0.45, 0.9][..], false), (&[0.45, 0.6, 0.9], true), (&[0.41], false), (&[], false)]
        {
            let mut kept = Scores::default();
            scores.iter().for_each(|score| kept.add(*score));
            assert_eq!(is_confirmed(0b111, &kept, confirm, interval(200)), expected, "{scores:?}");
        }
        let mut kept = Scores::default();
        (0..MAX_SCORES).for_each(|_| kept.add(0.4));
        (0..8).for_each(|_| kept.add(0.9));
        assert!(is_confirmed(0b111, &kept, confirm, interval(200)), "the latest count");
    }
}
