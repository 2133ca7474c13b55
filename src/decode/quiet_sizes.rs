//! The size trigger of idle decode: an access unit larger than those of the quiet scene shows motion within a frame or two.
//!
//! It works for variable bitrate, where a quiet scene costs next to nothing. With a constant bitrate the rate control fills
//! the sizes up: the spread of the quiet sizes then hides an object, and a wake that finds nothing makes the trigger learn
//! again, each time for twice as long.

use std::collections::VecDeque;

use crate::media::{MediaMs, QuietSizes};

/// The length of a window of access units, ms. A pattern of B-frames and P-frames repeats within it.
const WINDOW_MS: i64 = 400;
/// The minimum span of a window that counts, ms.
const MIN_SPAN_MS: i64 = 300;
/// The maximum number of access units in a window, whatever their times say.
const MAX_UNITS: usize = 64;
/// The size at which larger access units count, so that sixteenths of a window's bytes fit 32 bits.
const MAX_UNIT_BYTES: u32 = (1 << 22) - 1;
/// The number of windows that are learned from before the trigger is used: 8 s at 25 frames/s.
const LEARNED: u32 = 200;
/// The maximum number of doublings of [`LEARNED`]: 2 hours at 25 frames/s.
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
}

impl SizeWindow {
    /// Empties the window at a keyframe: after it sizes have no relation to those before.
    pub(super) fn clear(&mut self) {
        self.units.clear();
        self.bytes = 0;
    }

    /// Adds an access unit; returns the bytes of the window that ends with it, if it is long enough.
    pub(super) fn add(&mut self, media: MediaMs, bytes: usize) -> Option<u32> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(MAX_UNIT_BYTES);
        self.units.push_back((media, bytes));
        self.bytes += bytes;
        while self.units.len() > MAX_UNITS || self.span_ms() > WINDOW_MS {
            if let Some((_, bytes)) = self.units.pop_front() {
                self.bytes -= bytes;
            }
        }
        (self.span_ms() >= MIN_SPAN_MS).then_some(self.bytes)
    }

    fn span_ms(&self) -> i64 {
        match (self.units.front(), self.units.back()) {
            (Some((first, _)), Some((last, _))) => last.0.saturating_sub(first.0).saturating_abs(),
            _ => 0,
        }
    }
}

impl QuietSizes {
    /// Returns true if enough was learned for [`Self::exceeds`].
    pub(super) fn is_usable(&self) -> bool {
        self.learned >= LEARNED << self.false_wakes.min(MAX_DOUBLINGS)
    }

    /// Returns true if a window of `bytes` is larger than those of the quiet scene.
    pub(super) fn exceeds(&self, bytes: u32) -> bool {
        let usual = self.median_x16;
        let excess =
            (SPREADS.saturating_mul(self.spread_x16)).max(usual / MIN_EXCESS).max(16 * MIN_EXCESS_BYTES);
        self.is_usable() && bytes * 16 > usual.saturating_add(excess)
    }

    /// Learns from a window of the quiet scene.
    pub(super) fn learn(&mut self, bytes: u32) {
        let size = bytes * 16;
        if self.learned == 0 {
            (self.median_x16, self.spread_x16) = (size, size / 8);
        }
        // The steps of a running median shrink: first it finds the level, then it follows slowly, so that an object that
        // walks through the scene for a second does not become usual.
        let shift = match self.learned {
            0..16 => 3,
            16..100 => 5,
            100..LEARNED => 7,
            _ => 10,
        };
        step_towards(&mut self.median_x16, size, shift);
        let distance = size.abs_diff(self.median_x16);
        step_towards(&mut self.spread_x16, distance, shift);
        self.learned = self.learned.saturating_add(1);
    }

    /// Begins to learn again after a wake that found nothing: what was usual has changed, or sizes show nothing here.
    pub(super) fn relearn(&mut self) {
        self.learned = 0;
        self.false_wakes = (self.false_wakes + 1).min(MAX_DOUBLINGS);
    }

    /// Records a wake that found something.
    pub(super) fn confirm(&mut self) {
        self.false_wakes = 0;
    }
}

/// Moves a running median by the part `1 / 2^shift` of itself.
fn step_towards(value: &mut u32, target: u32, shift: u32) {
    let step = (*value >> shift).max(1);
    *value = if target > *value { value.saturating_add(step) } else { value.saturating_sub(step) };
}
