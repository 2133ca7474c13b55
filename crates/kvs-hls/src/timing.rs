//! Decoding times, which a stream of Kinesis Video Streams does not carry, and clock conversion.

use crate::AccessUnit;

/// Decoding times and durations of access units that are in decoding order, in ms on the units' own timeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DecodeSchedule {
    /// Decoding time of each unit: the presentation times in rising order, so that unit n is decoded when the
    /// n-th unit is presented.
    pub(crate) decode_ms: Vec<i64>,
    /// Smallest delay of presentation with which no unit is presented before it is decoded.
    pub(crate) delay_ms: i64,
    /// Duration of the last unit: the average of the others.
    pub(crate) last_ms: i64,
}

impl DecodeSchedule {
    /// Returns the schedule of access units in decoding order.
    pub(crate) fn of(units: &[AccessUnit]) -> Self {
        let mut decode_ms: Vec<i64> = units.iter().map(|unit| unit.relative_ms).collect();
        decode_ms.sort_unstable();
        // A B-frame is decoded after a later picture, so its sorted slot can be after its own presentation
        // time.
        let late = decode_ms.iter().zip(units).map(|(decode, unit)| decode.saturating_sub(unit.relative_ms));
        let delay_ms = late.max().unwrap_or(0);
        let span = match (decode_ms.first(), decode_ms.last()) {
            (Some(first), Some(last)) => last.saturating_sub(*first),
            _ => 0,
        };
        let intervals = i64::try_from(units.len()).unwrap_or(i64::MAX).saturating_sub(1).max(1);
        Self { decode_ms, delay_ms, last_ms: (span / intervals).max(1) }
    }

    /// Returns the time from the decoding of a unit to that of the next.
    pub(crate) fn duration_ms(&self, index: usize) -> i64 {
        match (self.decode_ms.get(index), self.decode_ms.get(index + 1)) {
            (Some(this), Some(next)) => next.saturating_sub(*this),
            _ => self.last_ms,
        }
    }
}

/// Converts ticks of a clock with `per_second` ticks to the nearest ms.
pub(crate) fn ticks_to_ms(ticks: i128, per_second: u32) -> i64 {
    let per_second = i128::from(per_second.max(1));
    // Half a ms is added before a division that rounds down for negative times too; `/` would round towards
    // 0.
    let ms = (ticks.saturating_mul(2000).saturating_add(per_second)).div_euclid(per_second.saturating_mul(2));
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
    fn decoding_times_are_sorted_presentation_times() {
        type Case = (&'static str, &'static [i64], &'static [i64], i64, i64);
        let cases: [Case; 5] = [
            ("nothing", &[], &[], 0, 1),
            ("one frame", &[0], &[0], 0, 1),
            ("no B-frames", &[0, 40, 80], &[0, 40, 80], 0, 40),
            ("B-frames", &[0, 120, 40, 80], &[0, 40, 80, 120], 40, 40),
            ("leading pictures", &[0, -80, -40, 40], &[-80, -40, 0, 40], 40, 40),
        ];
        for (name, times, decode_ms, delay_ms, last_ms) in cases {
            let expected = DecodeSchedule { decode_ms: decode_ms.to_vec(), delay_ms, last_ms };
            assert_eq!(DecodeSchedule::of(&units(times)), expected, "{name}");
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
            assert_eq!(ticks_to_ms(ticks, per_second), ms, "{ticks} of {per_second}");
        }
    }
}
