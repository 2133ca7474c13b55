//! The span of a replay, and the times on its command line.

use std::fmt;
use std::ops::RangeInclusive;

use chrono::{DateTime, SecondsFormat, Utc};
use thiserror::Error;

/// The length of footage that one listing covers, ms: some 3,600 fragments, so that the list of a long span is never in memory.
const WINDOW_MS: i64 = 60 * 60 * 1000;
/// The end of the calendar of RFC 3339, ms since the epoch: the end of the year 9999.
const CALENDAR_END_MS: i64 = 253_402_300_799_999;
/// Numbers from here on are ms since the epoch, which is September 2001; smaller ones are seconds or mistakes.
const MIN_EPOCH_MS: i64 = 1_000_000_000_000;
/// The units of durations, with their length in ms.
const UNITS: [(char, i64); 4] = [('d', 86_400_000), ('h', 3_600_000), ('m', 60_000), ('s', 1_000)];

/// A span of media time, ms since the epoch. Its end is not part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplaySpan {
    /// The first millisecond.
    pub from_ms: i64,
    /// The millisecond after the last.
    pub to_ms: i64,
}

/// A mistake in the times of a replay.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SpanError {
    /// The text is no time.
    #[error(
        "{flag} {text:?} is not a time{hint}: give RFC 3339 with its zone (2026-11-30T14:00:00Z, 2026-11-30T15:00:00+01:00), ms \
         since 1970, a time before now (2h ago, -2h, -1d12h), now{or_length}"
    )]
    NotATime {
        /// The flag.
        flag: &'static str,
        /// Its value.
        text: String,
        /// The mistake, where it is a known one.
        hint: &'static str,
        /// The further form of `--to`.
        or_length: &'static str,
    },
    /// The time is after now.
    #[error("{flag} {time} is in the future: a replay reads stored footage, up to `now`")]
    Future {
        /// The flag.
        flag: &'static str,
        /// The time.
        time: String,
    },
    /// The end is not after the start.
    #[error(
        "--to {to} is not after --from {from}: exchange them, or give the length of the span as --to +10m"
    )]
    Empty {
        /// The start.
        from: String,
        /// The end.
        to: String,
    },
}

impl ReplaySpan {
    /// Returns the span of the flags `--from` and `--to` at the time `now_ms`.
    ///
    /// # Errors
    /// A text is no time, a time is in the future, or the span is empty.
    pub fn parse(from: &str, to: &str, now_ms: i64) -> Result<Self, SpanError> {
        let from_ms = parse_time("--from", from, now_ms)?;
        let to_ms = match to.trim().strip_prefix('+') {
            Some(length) => {
                let length_ms = parse_duration(length).ok_or_else(|| not_a_time("--to", to))?;
                from_ms.saturating_add(length_ms).min(now_ms)
            }
            None => parse_time("--to", to, now_ms)?,
        };
        for (flag, time_ms) in [("--from", from_ms), ("--to", to_ms)] {
            if time_ms > now_ms {
                return Err(SpanError::Future { flag, time: rfc3339(time_ms) });
            }
        }
        if to_ms <= from_ms {
            return Err(SpanError::Empty { from: rfc3339(from_ms), to: rfc3339(to_ms) });
        }
        Ok(Self { from_ms, to_ms })
    }

    /// Returns the length, ms.
    #[must_use]
    pub fn length_ms(&self) -> i64 {
        self.to_ms.saturating_sub(self.from_ms)
    }

    /// Returns whether footage or an incident from `start_ms` to `end_ms` is in the span, at least in part.
    #[must_use]
    pub fn overlaps(&self, start_ms: i64, end_ms: i64) -> bool {
        start_ms < self.to_ms && end_ms >= self.from_ms
    }

    /// Returns the ranges of start times whose fragments make up the span; the first one begins `before_ms` earlier, for the fragment
    /// that lasts into the span.
    pub(super) fn windows(self, before_ms: i64) -> impl Iterator<Item = RangeInclusive<i64>> {
        let mut next_ms = self.from_ms.saturating_sub(before_ms);
        let mut border_ms = self.from_ms;
        std::iter::from_fn(move || {
            if next_ms >= self.to_ms {
                return None;
            }
            border_ms = border_ms.saturating_add(WINDOW_MS).min(self.to_ms);
            let window = next_ms..=border_ms - 1;
            next_ms = border_ms;
            Some(window)
        })
    }
}

impl fmt::Display for ReplaySpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", rfc3339(self.from_ms), rfc3339(self.to_ms))
    }
}

/// Returns the time in UTC, with milliseconds only where it has some.
pub(super) fn rfc3339(ms: i64) -> String {
    let time = DateTime::<Utc>::from_timestamp_millis(ms.clamp(0, CALENDAR_END_MS)).unwrap_or_default();
    time.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

fn parse_time(flag: &'static str, text: &str, now_ms: i64) -> Result<i64, SpanError> {
    let trimmed = text.trim();
    let before = trimmed.strip_suffix("ago").map(str::trim_end).or_else(|| trimmed.strip_prefix('-'));
    let time_ms = match before {
        _ if trimmed == "now" => Some(now_ms),
        Some(length) => parse_duration(length).map(|ms| now_ms.saturating_sub(ms)),
        None => parse_epoch_ms(trimmed).or_else(|| parse_rfc3339(trimmed)),
    };
    time_ms.filter(|ms| (0..=CALENDAR_END_MS).contains(ms)).ok_or_else(|| not_a_time(flag, text))
}

fn parse_epoch_ms(text: &str) -> Option<i64> {
    text.parse().ok().filter(|ms| *ms >= MIN_EPOCH_MS)
}

fn parse_rfc3339(text: &str) -> Option<i64> {
    DateTime::parse_from_rfc3339(text).ok().map(|time| time.timestamp_millis())
}

/// Returns the length of a duration such as `90s`, `1h30m` or `2 d`, ms, above 0.
fn parse_duration(text: &str) -> Option<i64> {
    let (mut total_ms, mut number) = (0_i64, String::new());
    for letter in text.chars().filter(|letter| !letter.is_whitespace()) {
        if letter.is_ascii_digit() {
            number.push(letter);
            continue;
        }
        let (_, unit_ms) = UNITS.into_iter().find(|(unit, _)| *unit == letter)?;
        let count: i64 = std::mem::take(&mut number).parse().ok()?;
        total_ms = total_ms.checked_add(count.checked_mul(unit_ms)?)?;
    }
    (number.is_empty() && total_ms > 0).then_some(total_ms)
}

fn not_a_time(flag: &'static str, text: &str) -> SpanError {
    let trimmed = text.trim();
    let has_no_zone = parse_rfc3339(&format!("{}Z", trimmed.replacen(' ', "T", 1))).is_some();
    let is_day = parse_rfc3339(&format!("{trimmed}T00:00:00Z")).is_some();
    let hint = if has_no_zone {
        ", because it has no zone (append Z for UTC)"
    } else if is_day {
        ", because it is a day (append T00:00:00Z for its start in UTC)"
    } else if trimmed.parse::<i64>().is_ok() {
        ", because as ms since 1970 it is before 2001 (seconds? multiply by 1000)"
    } else if parse_duration(trimmed).is_some() {
        ", because it is a duration (2h ago, or -2h, is before now)"
    } else {
        ""
    };
    let or_length = if flag == "--to" { ", or a length after --from (+10m)" } else { "" };
    SpanError::NotATime { flag, text: text.to_owned(), hint, or_length }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: i64 = 1_795_000_000_000;
    const HOUR_MS: i64 = 3_600_000;

    fn from_of(text: &str) -> Result<i64, SpanError> {
        ReplaySpan::parse(text, "now", NOW_MS).map(|span| span.from_ms)
    }

    #[test]
    fn times_by_table() {
        for (text, ms) in [
            ("2026-11-18T10:00:00Z", 1_794_996_000_000),
            ("2026-11-18T11:00:00+01:00", 1_794_996_000_000),
            ("2026-11-18T10:00:00.250Z", 1_794_996_000_250),
            ("1794996000123", 1_794_996_000_123),
            ("2h ago", NOW_MS - 2 * HOUR_MS),
            ("-2h", NOW_MS - 2 * HOUR_MS),
            ("-1d12h", NOW_MS - 36 * HOUR_MS),
            (" 90 s ago ", NOW_MS - 90_000),
            ("-1h30m", NOW_MS - HOUR_MS * 3 / 2),
        ] {
            assert_eq!(from_of(text), Ok(ms), "{text}");
        }
    }

    #[test]
    fn nonsense_is_rejected_with_a_remedy() {
        for (text, words) in [
            ("2026-11-18T10:00:00", "append Z"),
            ("2026-11-18 10:00:00", "append Z"),
            ("2026-11-18", "append T00:00:00Z"),
            ("1794996000", "multiply by 1000"),
            ("2h", "it is a duration"),
            ("yesterday", "give RFC 3339"),
            ("-2", "give RFC 3339"),
            ("-h", "give RFC 3339"),
            ("-0s", "give RFC 3339"),
            ("-2w", "give RFC 3339"),
            ("-99999999999999999999d", "give RFC 3339"),
            ("-999999d", "give RFC 3339"),
            ("", "give RFC 3339"),
        ] {
            let why = from_of(text).unwrap_err().to_string();
            assert!(why.starts_with("--from") && why.contains(words), "{text}: {why}");
        }
    }

    #[test]
    fn a_span_has_a_length_and_is_in_the_past() {
        let span = ReplaySpan::parse("-2h", "+10m", NOW_MS).unwrap();
        assert_eq!(span, ReplaySpan { from_ms: NOW_MS - 2 * HOUR_MS, to_ms: NOW_MS - 2 * HOUR_MS + 600_000 });
        assert_eq!(ReplaySpan::parse("-5m", "+10m", NOW_MS).unwrap().to_ms, NOW_MS, "up to now");
        for (from, to, words) in [
            ("-1h", "-2h", "is not after --from"),
            ("-1h", "-1h", "is not after --from"),
            ("-1h", "2027-11-18T10:00:00Z", "--to 2027-11-18T10:00:00Z is in the future"),
            ("-1h", "+x", "+10m"),
        ] {
            let why = ReplaySpan::parse(from, to, NOW_MS).unwrap_err().to_string();
            assert!(why.contains(words), "{from} {to}: {why}");
        }
    }

    #[test]
    fn windows_cover_the_span_without_overlap() {
        let span = ReplaySpan { from_ms: 1_000, to_ms: 1_000 + 2 * WINDOW_MS + 5 };
        let windows: Vec<_> = span.windows(20).collect();
        assert_eq!(
            windows,
            [
                980..=WINDOW_MS + 999,
                WINDOW_MS + 1_000..=2 * WINDOW_MS + 999,
                2 * WINDOW_MS + 1_000..=2 * WINDOW_MS + 1_004
            ]
        );
        let short = ReplaySpan { from_ms: 10, to_ms: 11 };
        assert_eq!(short.windows(20).collect::<Vec<_>>(), [-10..=10]);
    }

    #[test]
    fn an_overlap_excludes_the_end_of_the_span() {
        let span = ReplaySpan { from_ms: 10, to_ms: 20 };
        for (start_ms, end_ms, overlaps) in [(0, 9, false), (0, 10, true), (19, 50, true), (20, 50, false)] {
            assert_eq!(span.overlaps(start_ms, end_ms), overlaps, "{start_ms} to {end_ms}");
        }
    }
}
