//! Confirmation: whether an object was seen often and surely enough to be reported, at any frame rate.

use serde::{Deserialize, Serialize};

use super::Confirm;

/// `temporal_confirm` counts looks at this distance, ms; where looks come faster, as many more are needed.
const LOOK_MS: i64 = 200;
/// Between looks that are further apart nobody looked: that is no pace.
const PAUSE_MS: i64 = 1_000;
/// Number of confidences that count.
const SCORES: usize = 15;

/// The interval between looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Pace {
    /// The mean distance of late, ms; 0 where nothing is known.
    look_ms: f32,
}

impl Pace {
    /// A look came `since_ms` after the last.
    #[expect(clippy::cast_precision_loss, reason = "at most PAUSE_MS")]
    pub(super) fn look(&mut self, since_ms: i64) {
        if !(1..=PAUSE_MS).contains(&since_ms) {
            return;
        }
        let since_ms = since_ms as f32;
        self.look_ms =
            if self.look_ms == 0.0 { since_ms } else { self.look_ms + 0.2 * (since_ms - self.look_ms) };
    }

    /// Returns the number of looks that stand for one of `temporal_confirm`.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "from 1 to LOOK_MS"
    )]
    fn looks(self) -> u32 {
        if self.look_ms == 0.0 { 1 } else { (LOOK_MS as f32 / self.look_ms).round().max(1.0) as u32 }
    }
}

/// The confidences of an object that is not confirmed yet.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Scores {
    /// Of the latest sightings, oldest first.
    latest: Vec<f32>,
}

impl Scores {
    pub(super) fn add(&mut self, conf: f32) {
        if self.latest.len() == SCORES {
            self.latest.remove(0);
        }
        self.latest.push(conf);
    }

    pub(super) fn clear(&mut self) {
        self.latest = Vec::new();
    }

    fn median(&self) -> f32 {
        let mut sorted = self.latest.clone();
        sorted.sort_by(f32::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
    }
}

/// Returns the number of looks of `seen` (the lowest bit is the last) that count, and of the sightings in them.
fn sightings(seen: u64, confirm: Confirm, pace: Pace) -> (u32, u32) {
    let window = (confirm.window.clamp(1, u64::BITS) * pace.looks()).min(u64::BITS);
    (window, (seen << (u64::BITS - window)).count_ones())
}

/// Returns whether an object was seen within the looks that count.
pub(super) fn is_candidate(seen: u64, confirm: Confirm, pace: Pace) -> bool {
    sightings(seen, confirm, pace).1 > 0
}

/// Returns whether an object that was seen in these looks, with these scores, is confirmed.
pub(super) fn is_confirmed(seen: u64, scores: &Scores, confirm: Confirm, pace: Pace) -> bool {
    let (window, count) = sightings(seen, confirm, pace);
    // Of the first look that counts to the last one as much time passes at any pace.
    let needed = (confirm.frames - 1) * pace.looks() + 1;
    count >= needed.min(window) && scores.median() >= confirm.median_conf
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIRM: Confirm = Confirm { frames: 2, window: 3, iou_threshold: 0.3, median_conf: 0.0 };

    fn pace(look_ms: i64) -> Pace {
        let mut pace = Pace::default();
        (0..20).for_each(|_| pace.look(look_ms));
        pace
    }

    /// Returns the time until an object that is seen in each look is confirmed, ms.
    fn confirmed_after_ms(look_ms: i64) -> i64 {
        let mut seen = 0_u64;
        for look in 0..64 {
            seen = seen << 1 | 1;
            if is_confirmed(seen, &Scores::default(), CONFIRM, pace(look_ms)) {
                return look * look_ms;
            }
        }
        panic!("never confirmed at {look_ms} ms a look")
    }

    #[test]
    fn the_time_until_confirmation_is_the_same_at_any_rate_from_five_looks_a_second_on() {
        for (look_ms, after_ms) in
            [(1_000, 1_000), (500, 500), (200, 200), (100, 200), (67, 201), (40, 200), (33, 198)]
        {
            assert_eq!(confirmed_after_ms(look_ms), after_ms, "{look_ms} ms a look");
        }
    }

    #[test]
    fn a_pause_is_no_pace() {
        let mut paused = pace(40);
        paused.look(10_000);
        assert_eq!(paused, pace(40));
    }

    #[test]
    fn what_is_seldom_sure_is_not_confirmed() {
        let asked = Confirm { median_conf: 0.5, ..CONFIRM };
        for (scores, expected) in
            [(&[0.45, 0.45, 0.9][..], false), (&[0.45, 0.6, 0.9], true), (&[0.41], false), (&[], false)]
        {
            let mut kept = Scores::default();
            scores.iter().for_each(|score| kept.add(*score));
            assert_eq!(is_confirmed(0b111, &kept, asked, pace(200)), expected, "{scores:?}");
        }
        let mut kept = Scores::default();
        (0..SCORES).for_each(|_| kept.add(0.4));
        (0..8).for_each(|_| kept.add(0.9));
        assert!(is_confirmed(0b111, &kept, asked, pace(200)), "the latest count");
    }
}
