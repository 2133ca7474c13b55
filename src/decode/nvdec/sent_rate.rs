//! The rate at which a camera's access units are decoded.

use crate::media::MediaMs;

/// The rate of a track of which none is known yet, access units per second.
const USUAL_PER_S: f64 = 30.0;

/// The longest time between keyframes from which a rate is measured, ms; a longer one is a gap.
const MAX_GOP_MS: i64 = 60_000;

/// The access units that are sent to the decoder per second of media time, measured from keyframe to keyframe.
#[derive(Clone, Debug)]
pub(super) struct SentRate {
    per_s: f64,
    /// The rate while only keyframes are decoded; `None` otherwise.
    idle_per_s: Option<f64>,
    sent: u32,
    keyframe: Option<MediaMs>,
}

impl Default for SentRate {
    fn default() -> Self {
        Self { per_s: USUAL_PER_S, idle_per_s: None, sent: 0, keyframe: None }
    }
}

impl SentRate {
    /// Counts an access unit.
    pub(super) fn count(&mut self) {
        self.sent = self.sent.saturating_add(1);
    }

    /// Follows a keyframe, before it is counted.
    pub(super) fn enter_keyframe(&mut self, media: MediaMs) {
        let span_ms = self.keyframe.map(|before| media.0.saturating_sub(before.0));
        if let Some(span_ms) = span_ms.filter(|span_ms| (1..=MAX_GOP_MS).contains(span_ms)) {
            #[expect(clippy::cast_precision_loss, reason = "at most a minute in ms")]
            let per_s = f64::from(self.sent) * 1_000.0 / span_ms as f64;
            self.per_s = per_s;
        }
        (self.keyframe, self.sent) = (Some(media), 0);
    }

    /// Records that only keyframes are decoded, one per `gop_ms`.
    pub(super) fn become_idle(&mut self, gop_ms: Option<u32>) {
        self.idle_per_s = gop_ms.map(|gop_ms| 1_000.0 / f64::from(gop_ms.max(1)));
    }

    /// Records that every access unit is decoded; returns true if that is a change.
    pub(super) fn wake(&mut self) -> bool {
        let was_idle = self.idle_per_s.take().is_some();
        if was_idle {
            // The time while the camera was idle is no measurement.
            (self.keyframe, self.sent) = (None, 0);
        }
        was_idle
    }

    /// Returns the product of the rate and `amount`, rounded up.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "macroblocks per second are far below 2^52, and not negative"
    )]
    pub(super) fn of(&self, amount: u64) -> u64 {
        (self.idle_per_s.unwrap_or(self.per_s) * amount as f64).ceil() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_the_last_gop() {
        let mut rate = SentRate::default();
        assert_eq!(rate.of(100), 3_000, "30 per second until one is measured");
        rate.enter_keyframe(MediaMs(10_000));
        (0..50).for_each(|_| rate.count());
        assert_eq!(rate.of(100), 3_000);
        rate.enter_keyframe(MediaMs(12_000));
        assert_eq!(rate.of(100), 2_500);
        for gap in [12_000, 11_000, 100_000] {
            rate.count();
            rate.enter_keyframe(MediaMs(gap));
            assert_eq!(rate.of(100), 2_500, "{gap} is no GOP's length away");
        }
    }

    #[test]
    fn an_idle_camera_has_the_rate_of_its_keyframes() {
        let mut rate = SentRate::default();
        rate.enter_keyframe(MediaMs(0));
        (0..20).for_each(|_| rate.count());
        rate.become_idle(Some(4_000));
        assert_eq!(rate.of(100), 25);
        assert!(rate.wake() && !rate.wake());
        rate.enter_keyframe(MediaMs(1_000));
        assert_eq!(rate.of(100), 3_000, "the idle time is not measured");
    }
}
