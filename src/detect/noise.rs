//! A picture of noise, for tests.

use crate::media::{Color, Yuv420};

/// Its planes end exactly with their last pixel, so that any read beyond is an error.
#[derive(Clone, Debug)]
pub(super) struct Noise {
    pub(super) size: (u32, u32),
    pub(super) planes: [Vec<u8>; 3],
    pub(super) strides: [usize; 3],
    pub(super) color: Color,
}

impl Noise {
    /// `slack`: bytes behind each row of a plane.
    pub(super) fn new(size: (u32, u32), slack: [usize; 3], seed: u64, color: Color) -> Self {
        let mut state = seed | 1;
        let mut byte = || {
            // The generator of Knuth's MMIX. The top byte is used: its lower bits have short periods.
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        };
        let (w, h) = (size.0 as usize, size.1 as usize);
        let sides = [(w, h), (w.div_ceil(2), h.div_ceil(2)), (w.div_ceil(2), h.div_ceil(2))];
        let strides = [0, 1, 2].map(|i| sides[i].0 + slack[i]);
        let planes =
            [0, 1, 2].map(|i| (0..strides[i] * (sides[i].1 - 1) + sides[i].0).map(|_| byte()).collect());
        Self { size, planes, strides, color }
    }

    pub(super) fn view(&self) -> Yuv420<'_> {
        let planes = [0, 1, 2].map(|i| &self.planes[i][..]);
        let (width_px, height_px) = self.size;
        Yuv420 { width_px, height_px, planes, strides: self.strides, color: self.color }
    }

    /// A plane between its samples, 0..=255; only those from `low` to `high` (exclusive) count.
    pub(super) fn between(&self, plane: usize, (x, y): (f64, f64), low: (f64, f64), high: (f64, f64)) -> f64 {
        let (x, y) = (x.clamp(low.0, high.0 - 1.0), y.clamp(low.1, high.1 - 1.0));
        let sample = |x: f64, y: f64| {
            let (x, y) = (x.min(high.0 - 1.0) as usize, y.min(high.1 - 1.0) as usize);
            f64::from(self.planes[plane][y * self.strides[plane] + x])
        };
        let (left, top) = (x.floor(), y.floor());
        let row = |y: f64| sample(left, y) * (1.0 - x + left) + sample(left + 1.0, y) * (x - left);
        row(top) * (1.0 - y + top) + row(top + 1.0) * (y - top)
    }
}
