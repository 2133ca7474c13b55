//! The two inner loops of the resampler with AVX2: the same arithmetic as the plain ones, to the bit.
//!
//! No fused multiply-add on purpose: it would round otherwise than the plain code, and the same footage must give the
//! same events on every machine. The pass waits for memory and gathers, not for arithmetic.
#![expect(
    unsafe_code,
    reason = "loads, stores and gathers by pointer; each is within a slice whose length was checked"
)]

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{
    __m256, __m256i, _mm_loadu_si128, _mm256_add_epi16, _mm256_add_ps, _mm256_cvtepi32_ps,
    _mm256_cvtepu8_epi16, _mm256_i32gather_epi32, _mm256_loadu_si256, _mm256_madd_epi16, _mm256_max_ps,
    _mm256_min_ps, _mm256_mul_ps, _mm256_mulhrs_epi16, _mm256_set1_epi16, _mm256_set1_ps, _mm256_setzero_ps,
    _mm256_slli_epi16, _mm256_storeu_ps, _mm256_storeu_si256, _mm256_sub_epi16,
};

use super::resample_rows::{Coefficients, Columns};
#[cfg(target_arch = "x86_64")]
use super::resample_rows::{blend_plain, paint_plain};

/// The proof that this machine has AVX2.
#[derive(Clone, Copy, Debug)]
pub(super) struct Avx2(());

#[cfg(target_arch = "x86_64")]
impl Avx2 {
    /// Returns the proof if the machine has AVX2.
    pub(super) fn detect() -> Option<Self> {
        std::is_x86_feature_detected!("avx2").then_some(Self(()))
    }

    /// As [`blend_plain`].
    pub(super) fn blend(self, upper: &[u8], lower: &[u8], weight: i16, out: &mut [i16]) {
        assert!(upper.len() == out.len() && lower.len() == out.len(), "rows of one length");
        // SAFETY: `self` exists only where AVX2 was detected; the lengths are equal.
        unsafe { blend(upper, lower, weight, out) }
    }

    /// As [`paint_plain`] from the first pixel.
    pub(super) fn paint(
        self,
        rows: &[Vec<i16>; 3],
        columns: [&Columns; 2],
        by: &Coefficients,
        out: [&mut [f32]; 3],
    ) {
        let width = out[0].len();
        let [luma, chroma] = columns;
        let rows_fit = rows[0].len() == luma.samples + 1
            && [&rows[1], &rows[2]].iter().all(|row| row.len() == chroma.samples + 1);
        let columns_fit =
            columns.iter().all(|columns| columns.at.len() == width && columns.weights.len() == width);
        assert!(
            rows_fit && columns_fit && out.iter().all(|row| row.len() == width),
            "rows and columns as planned"
        );
        // SAFETY: `self` exists only where AVX2 was detected; the lengths were checked, and by the invariant of
        // `Columns` every `at` is below `samples`.
        unsafe { paint(rows, columns, by, out) }
    }
}

#[cfg(not(target_arch = "x86_64"))]
impl Avx2 {
    pub(super) fn detect() -> Option<Self> {
        None
    }

    pub(super) fn blend(self, upper: &[u8], lower: &[u8], weight: i16, out: &mut [i16]) {
        super::resample_rows::blend_plain(upper, lower, weight, out);
    }

    pub(super) fn paint(
        self,
        rows: &[Vec<i16>; 3],
        columns: [&Columns; 2],
        by: &Coefficients,
        out: [&mut [f32]; 3],
    ) {
        super::resample_rows::paint_plain(rows, columns, by, out, 0);
    }
}

/// SAFETY (caller): the machine has AVX2; the three slices have one length.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn blend(upper: &[u8], lower: &[u8], weight: i16, out: &mut [i16]) {
    let weights = _mm256_set1_epi16(weight);
    let whole = out.len() / 16 * 16;
    for i in (0..whole).step_by(16) {
        // SAFETY: `i + 16 <= whole`, which is at most the length of each slice.
        let (a, b) = unsafe {
            (_mm_loadu_si128(upper.as_ptr().add(i).cast()), _mm_loadu_si128(lower.as_ptr().add(i).cast()))
        };
        let a = _mm256_slli_epi16::<7>(_mm256_cvtepu8_epi16(a));
        let b = _mm256_slli_epi16::<7>(_mm256_cvtepu8_epi16(b));
        let blended = _mm256_add_epi16(a, _mm256_mulhrs_epi16(_mm256_sub_epi16(b, a), weights));
        // SAFETY: as above.
        unsafe { _mm256_storeu_si256(out.as_mut_ptr().add(i).cast(), blended) };
    }
    blend_plain(&upper[whole..], &lower[whole..], weight, &mut out[whole..]);
}

/// SAFETY (caller): the machine has AVX2; `out` and the columns have one length; each row has one element more than
/// its columns have samples.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn paint(rows: &[Vec<i16>; 3], columns: [&Columns; 2], by: &Coefficients, out: [&mut [f32]; 3]) {
    let [red, green, blue] = out;
    let whole = red.len() / 8 * 8;
    for i in (0..whole).step_by(8) {
        // SAFETY: `i + 8 <= whole`, which is at most the length of the columns.
        let samples = unsafe {
            [
                sample(&rows[0], columns[0], i),
                sample(&rows[1], columns[1], i),
                sample(&rows[2], columns[1], i),
            ]
        };
        let rgb = to_rgb(samples, by);
        // SAFETY: as above, for the rows of `out`.
        unsafe {
            _mm256_storeu_ps(red.as_mut_ptr().add(i), rgb[0]);
            _mm256_storeu_ps(green.as_mut_ptr().add(i), rgb[1]);
            _mm256_storeu_ps(blue.as_mut_ptr().add(i), rgb[2]);
        }
    }
    paint_plain(rows, columns, by, [red, green, blue], whole);
}

/// SAFETY (caller): `i + 8` is at most the length of the columns, and each of their `at + 1` is within the row.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn sample(row: &[i16], columns: &Columns, i: usize) -> __m256 {
    // SAFETY: the loads are within the columns by the caller's word; each gather reads the 4 bytes of the elements
    // `at` and `at + 1` of the row.
    let (pairs, weights): (__m256i, __m256i) = unsafe {
        let at = _mm256_loadu_si256(columns.at.as_ptr().add(i).cast());
        let weights = _mm256_loadu_si256(columns.weights.as_ptr().add(i).cast());
        (_mm256_i32gather_epi32::<2>(row.as_ptr().cast(), at), weights)
    };
    _mm256_cvtepi32_ps(_mm256_madd_epi16(pairs, weights))
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
#[inline]
fn to_rgb([y, u, v]: [__m256; 3], by: &Coefficients) -> [__m256; 3] {
    let times = |value, factor: f32| _mm256_mul_ps(value, _mm256_set1_ps(factor));
    let y = times(y, by.luma);
    let red = _mm256_add_ps(y, times(v, by.red_v));
    let green = _mm256_add_ps(_mm256_add_ps(y, times(u, by.green_u)), times(v, by.green_v));
    let blue = _mm256_add_ps(y, times(u, by.blue_u));
    let finish = |value, offset: f32| {
        let sum = _mm256_add_ps(value, _mm256_set1_ps(offset));
        _mm256_min_ps(_mm256_max_ps(sum, _mm256_setzero_ps()), _mm256_set1_ps(1.0))
    };
    [finish(red, by.offsets[0]), finish(green, by.offsets[1]), finish(blue, by.offsets[2])]
}
