//! The size trigger of idle decode: an access unit larger than those of the quiet scene shows motion before the next keyframe.
//!
//! It works for variable bitrate, where a quiet scene costs next to nothing. With a constant bitrate the rate control fills
//! the sizes up: the spread of the quiet sizes then hides an object, and a wake that finds nothing makes the trigger learn
//! again, each time for twice as long.

use std::collections::VecDeque;

use crate::media::{MediaMs, QuietSizes, SizeRange};

/// The length of a window of access units, ms. A pattern of B-frames and P-frames repeats within it.
const WINDOW_MS: i64 = 400;
/// The minimum span of a window that counts, ms.
const MIN_SPAN_MS: i64 = 300;
/// The maximum number of access units in a window, whatever their times say.
const MAX_UNITS: usize = 64;
/// The size at which larger access units count, so that sixteenths of a window's bytes fit 32 bits.
const MAX_UNIT_BYTES: u32 = (1 << 22) - 1;
/// The first time since the keyframe of each range, ms.
const RANGES_MS: [i64; 5] = [0, 600, 1_200, 2_400, 4_800];
/// The number of windows of a range that are learned from before it is used: 8 GOPs of the shortest range at 25 frames/s.
const LEARNED: u32 = 60;
/// The maximum number of doublings of [`LEARNED`].
const MAX_DOUBLINGS: u8 = 10;
/// The factor on the running spread by which a window must exceed the median: about 5 standard deviations.
const SPREADS: u32 = 8;
/// The minimum excess, bytes: a still scene without noise has access units of a few bytes, and their sizes jump.
const MIN_EXCESS_BYTES: u32 = 256;
/// The divisor of the median for the minimum excess: a quarter.
const MIN_EXCESS: u32 = 4;

/// The access units since the last keyframe, as windows.
#[derive(Default)]
pub(super) struct SizeWindow {
    /// The media time and size of each access unit, in decoding order.
    units: VecDeque<(MediaMs, u32)>,
    bytes: u32,
    /// The media time of the first access unit since the keyframe.
    began: Option<MediaMs>,
}

/// A window that is long enough to compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SizedWindow {
    /// The place in [`RANGES_MS`] of its end.
    range: usize,
    bytes: u32,
}

impl SizeWindow {
    /// Empties the window at a keyframe: after it sizes have no relation to those before.
    pub(super) fn clear(&mut self) {
        self.units.clear();
        (self.bytes, self.began) = (0, None);
    }

    /// Adds an access unit; returns the window that ends with it, if it is long enough.
    pub(super) fn add(&mut self, media: MediaMs, bytes: usize) -> Option<SizedWindow> {
        let began = *self.began.get_or_insert(media);
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(MAX_UNIT_BYTES);
        self.units.push_back((media, bytes));
        self.bytes += bytes;
        while self.units.len() > MAX_UNITS || self.span_ms() > WINDOW_MS {
            if let Some((_, bytes)) = self.units.pop_front() {
                self.bytes -= bytes;
            }
        }
        let since_ms = media.0.saturating_sub(began.0);
        let range = RANGES_MS.iter().rposition(|first_ms| since_ms >= *first_ms).unwrap_or(0);
        (self.span_ms() >= MIN_SPAN_MS).then_some(SizedWindow { range, bytes: self.bytes })
    }

    fn span_ms(&self) -> i64 {
        match (self.units.front(), self.units.back()) {
            (Some((first, _)), Some((last, _))) => last.0.saturating_sub(first.0).saturating_abs(),
            _ => 0,
        }
    }
}

impl QuietSizes {
    /// Returns true if enough was learned of the first part of a GOP for [`Self::exceeds`].
    pub(super) fn is_usable(&self) -> bool {
        self.ranges[0].learned >= self.needed()
    }

    /// Returns true if the window is larger than those of the quiet scene.
    pub(super) fn exceeds(&self, window: SizedWindow) -> bool {
        let range = &self.ranges[window.range];
        range.learned >= self.needed() && range.is_exceeded_by(window.bytes)
    }

    /// Learns from a window of the quiet scene.
    pub(super) fn learn(&mut self, window: SizedWindow) {
        self.ranges[window.range].learn(window.bytes);
    }

    /// Begins to learn again after a wake that found nothing: what was usual has changed, or sizes show nothing here.
    pub(super) fn relearn(&mut self) {
        let false_wakes = (self.false_wakes + 1).min(MAX_DOUBLINGS);
        *self = Self { false_wakes, ..Self::default() };
    }

    /// Records a wake that found something.
    pub(super) fn confirm(&mut self) {
        self.false_wakes = 0;
    }

    /// Returns the number of windows that must be learned from.
    fn needed(&self) -> u32 {
        LEARNED << self.false_wakes.min(MAX_DOUBLINGS)
    }
}

impl SizeRange {
    fn is_exceeded_by(&self, bytes: u32) -> bool {
        let usual = self.median_x16;
        let by_spread = SPREADS.saturating_mul(self.spread_x16);
        let excess = by_spread.max(usual / MIN_EXCESS).max(16 * MIN_EXCESS_BYTES);
        bytes * 16 > usual.saturating_add(excess)
    }

    fn learn(&mut self, bytes: u32) {
        let size = bytes * 16;
        if self.learned == 0 {
            (self.median_x16, self.spread_x16) = (size, size / 8);
        }
        // The steps of a running median shrink: first it finds the level, then it follows slowly, so that an object that
        // walks through the scene for a second does not become usual.
        let shift = match self.learned {
            0..16 => 3,
            16..LEARNED => 5,
            LEARNED..200 => 7,
            _ => 10,
        };
        step_towards(&mut self.median_x16, size, shift);
        let distance = size.abs_diff(self.median_x16);
        step_towards(&mut self.spread_x16, distance, shift);
        self.learned = self.learned.saturating_add(1);
    }
}

/// Moves a running median by the part `1 / 2^shift` of itself.
fn step_towards(value: &mut u32, target: u32, shift: u32) {
    let step = (*value >> shift).max(1);
    *value = if target > *value { value.saturating_add(step) } else { value.saturating_sub(step) };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(bytes: u32) -> SizedWindow {
        SizedWindow { range: 0, bytes }
    }

    /// Learns from `windows` windows around `bytes`, which vary by up to `noise` either way; returns how many exceeded.
    fn learn(sizes: &mut QuietSizes, windows: u32, bytes: u32, noise: u32) -> u32 {
        let mut exceeded = 0;
        for at in 0..windows {
            // A triangle wave, of a period that is no multiple of anything here.
            let wave = (at * 7) % (4 * noise + 1);
            let window = window(bytes + noise - wave.abs_diff(2 * noise));
            if sizes.exceeds(window) {
                exceeded += 1;
            } else {
                sizes.learn(window);
            }
        }
        exceeded
    }

    #[test]
    fn an_object_exceeds_the_sizes_of_a_quiet_scene_by_table() {
        // Measured sizes of access units, times ten for a window: quiet, its variation, with an object of 90 x 260 px.
        for (name, quiet, noise, object, exceeds) in [
            ("x264 by quality", 3_000, 190, 4_700, true),
            ("x265 by quality", 1_080, 80, 2_580, true),
            ("x264 with a constant bitrate", 129_500, 15_500, 134_000, false),
        ] {
            let mut sizes = QuietSizes::default();
            assert!(!sizes.exceeds(window(u32::MAX / 16)), "{name}: nothing is usual yet");
            assert_eq!(learn(&mut sizes, 2_000, quiet, noise), 0, "{name}: quiet windows do not exceed");
            assert_eq!(sizes.exceeds(window(object)), exceeds, "{name}: {sizes:?}");
        }
    }

    #[test]
    fn a_scene_that_grows_noisier_is_learned_again_each_time_for_longer() {
        let mut sizes = QuietSizes::default();
        learn(&mut sizes, 1_000, 3_000, 100);
        assert!(sizes.exceeds(window(6_000)), "rain begins");
        sizes.relearn();
        assert_eq!(learn(&mut sizes, 2 * LEARNED, 6_000, 300), 0);
        assert!(sizes.is_usable() && sizes.exceeds(window(9_000)));
        sizes.relearn();
        learn(&mut sizes, 2 * LEARNED, 6_000, 300);
        assert!(!sizes.is_usable(), "four times as long after the second");
        sizes.confirm();
        assert!(sizes.is_usable());
    }

    #[test]
    fn the_large_access_units_after_a_keyframe_are_usual_there_alone() {
        let (early, late) =
            (|bytes| SizedWindow { range: 0, bytes }, |bytes| SizedWindow { range: 2, bytes });
        let mut sizes = QuietSizes::default();
        for _ in 0..LEARNED {
            sizes.learn(early(9_000));
            sizes.learn(late(3_000));
        }
        assert!(!sizes.exceeds(early(9_000)) && sizes.exceeds(late(9_000)));
    }

    #[test]
    fn a_window_spans_a_few_hundred_milliseconds_and_knows_its_place_after_the_keyframe() {
        let mut window = SizeWindow::default();
        let sums: Vec<_> = (0..32).map(|at| window.add(MediaMs(at * 40), 100)).collect();
        assert_eq!(sums[..8], [None; 8], "up to 280 ms");
        let sized = |range, bytes| Some(SizedWindow { range, bytes });
        assert_eq!(sums[8..11], [sized(0, 900), sized(0, 1_000), sized(0, 1_100)]);
        assert_eq!((sums[14], sums[15], sums[30]), (sized(0, 1_100), sized(1, 1_100), sized(2, 1_100)));
        window.clear();
        assert_eq!(window.add(MediaMs(0), 1), None);
        for at in 0..1_000 {
            window.add(MediaMs(if at % 2 == 0 { i64::MIN } else { i64::MAX }), usize::MAX);
        }
    }
}
