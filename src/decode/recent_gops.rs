//! The lengths of a track's GOPs.

use crate::media::{MediaMs, RecentGops};

/// A longer distance between keyframes is a gap in the footage, ms. The longest fragment has 20 s.
const MAX_GOP_MS: i64 = 20_000;

impl RecentGops {
    /// Records a keyframe.
    pub(super) fn enter_keyframe(&mut self, media: MediaMs) {
        let length_ms = self.keyframe.map_or(0, |before| media.0.saturating_sub(before.0));
        if (1..=MAX_GOP_MS).contains(&length_ms) {
            self.lengths_ms.rotate_right(1);
            self.lengths_ms[0] = u32::try_from(length_ms).unwrap_or(0);
        }
        self.keyframe = Some(media);
    }

    /// Returns the length of the longest of the last GOPs, ms; `None` before the first is complete.
    pub(super) fn longest_ms(&self) -> Option<u32> {
        self.lengths_ms.iter().copied().max().filter(|length_ms| *length_ms > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_of_the_last_four_gops_counts_and_a_gap_does_not() {
        let mut gops = RecentGops::default();
        let longest: Vec<_> = [0, 2_000, 60_000, 61_000, 60_500, 62_000, 63_000, 64_000, 65_000]
            .map(|ms| {
                gops.enter_keyframe(MediaMs(ms));
                gops.longest_ms()
            })
            .into();
        let two_s = Some(2_000);
        assert_eq!(
            longest,
            [None, two_s, two_s, two_s, two_s, two_s, two_s, Some(1_500), Some(1_500)],
            "the step of 58 s and the one back in time are no GOPs"
        );
    }
}
