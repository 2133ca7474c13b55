//! Decoding times, which a stream of Kinesis Video Streams does not have.

use crate::AccessUnit;

/// Decoding times and lengths of units that are in decoding order, ms on the units' own time line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Schedule {
    /// The units' presentation times in rising order: the n-th unit is decoded when the n-th is shown.
    pub(crate) decode_ms: Vec<i64>,
    /// How long before its decoding time above a unit may have to be shown: the delay that puts decoding first.
    pub(crate) delay_ms: i64,
    /// How long the last unit lasts: as long as the others on average.
    pub(crate) last_ms: i64,
}

impl Schedule {
    pub(crate) fn of(units: &[AccessUnit]) -> Self {
        let mut decode_ms: Vec<i64> = units.iter().map(|unit| unit.relative_ms).collect();
        decode_ms.sort_unstable();
        let late = decode_ms.iter().zip(units).map(|(decode, unit)| decode.saturating_sub(unit.relative_ms));
        let delay_ms = late.max().unwrap_or(0);
        let span = match (decode_ms.first(), decode_ms.last()) {
            (Some(first), Some(last)) => last.saturating_sub(*first),
            _ => 0,
        };
        let gaps = i64::try_from(units.len()).unwrap_or(i64::MAX).saturating_sub(1).max(1);
        Self { decode_ms, delay_ms, last_ms: (span / gaps).max(1) }
    }

    /// From each unit's decoding to the next one's.
    pub(crate) fn length_ms(&self, index: usize) -> i64 {
        match (self.decode_ms.get(index), self.decode_ms.get(index + 1)) {
            (Some(this), Some(next)) => next.saturating_sub(*this),
            _ => self.last_ms,
        }
    }
}

/// `units` of a clock of `per_second` in ms, to the nearest.
pub(crate) fn to_ms(units: i128, per_second: u32) -> i64 {
    let per_second = i128::from(per_second.max(1));
    let ms = (units.saturating_mul(2000).saturating_add(per_second)).div_euclid(per_second.saturating_mul(2));
    i64::try_from(ms).unwrap_or(if ms < 0 { i64::MIN } else { i64::MAX })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn units(times_ms: &[i64]) -> Vec<AccessUnit> {
        let unit = |(index, &relative_ms): (usize, &i64)| AccessUnit {
            index: index as u32,
            relative_ms,
            key: index == 0,
            data: Bytes::new(),
        };
        times_ms.iter().enumerate().map(unit).collect()
    }

    #[test]
    fn decoding_goes_by_the_order_of_showing() {
        type Case = (&'static str, &'static [i64], &'static [i64], i64, i64);
        let cases: [Case; 5] = [
            ("nothing", &[], &[], 0, 1),
            ("one frame", &[0], &[0], 0, 1),
            ("no B-frames", &[0, 40, 80], &[0, 40, 80], 0, 40),
            ("B-frames", &[0, 120, 40, 80], &[0, 40, 80, 120], 40, 40),
            ("leading pictures", &[0, -80, -40, 40], &[-80, -40, 0, 40], 40, 40),
        ];
        for (name, times, decode_ms, delay_ms, last_ms) in cases {
            let expected = Schedule { decode_ms: decode_ms.to_vec(), delay_ms, last_ms };
            assert_eq!(Schedule::of(&units(times)), expected, "{name}");
        }
    }

    #[test]
    fn ticks_become_the_nearest_ms() {
        for (ticks, per_second, ms) in [
            (0, 90_000, 0),
            (90, 90_000, 1),
            (44, 90_000, 0),
            (45, 90_000, 1),
            (-90, 90_000, -1),
            (7, 0, 7000),
        ] {
            assert_eq!(to_ms(ticks, per_second), ms, "{ticks} of {per_second}");
        }
    }
}
