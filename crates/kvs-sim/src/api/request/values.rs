//! Values that several operations take: words of a list, numbers in a range, ranges of time.

use serde::Deserialize;

use crate::error::ApiError;
use crate::store::fragment::TimeLine;

/// A range of times as a request has it, in seconds since 1970.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct TimestampRange {
    start_timestamp: Option<f64>,
    end_timestamp: Option<f64>,
}

/// What the words for the clock of a fragment stand for.
pub(crate) const TIME_LINES: [(&str, TimeLine); 2] =
    [("SERVER_TIMESTAMP", TimeLine::Server), ("PRODUCER_TIMESTAMP", TimeLine::Producer)];

const LONGEST_RANGE_MS: i64 = 24 * 3_600_000;

impl TimestampRange {
    /// Both ends in ms since 1970.
    ///
    /// Errors: there is no start; the end is not within 24 hours after it, or, by the server's clock, not in the past.
    pub(crate) fn read(&self, line: TimeLine, now_ms: i64) -> Result<(i64, Option<i64>), ApiError> {
        let from_ms = self.start_timestamp.and_then(millis);
        let from_ms =
            from_ms.ok_or_else(|| invalid("TimestampRange.StartTimestamp is needed: seconds since 1970"))?;
        let Some(end) = self.end_timestamp else { return Ok((from_ms, None)) };
        let to_ms =
            millis(end).ok_or_else(|| invalid("TimestampRange.EndTimestamp must be seconds since 1970"))?;
        if !(1..=LONGEST_RANGE_MS).contains(&to_ms.saturating_sub(from_ms)) {
            return Err(invalid("TimestampRange.EndTimestamp must be within 24 hours after StartTimestamp"));
        }
        if line == TimeLine::Server && to_ms > now_ms {
            return Err(invalid("TimestampRange.EndTimestamp must be in the past with SERVER_TIMESTAMP"));
        }
        Ok((from_ms, Some(to_ms)))
    }
}

/// Milliseconds since 1970 of seconds since then.
pub(crate) fn millis(seconds: f64) -> Option<i64> {
    seconds.is_finite().then_some((seconds * 1000.0).round() as i64)
}

pub(crate) fn invalid(text: &str) -> ApiError {
    ApiError::InvalidArgument(text.to_owned())
}

/// What the text stands for.
///
/// Errors: it is not one of those known.
pub(crate) fn one_of<T: Copy>(field: &str, text: &str, known: &[(&str, T)]) -> Result<T, ApiError> {
    let found = known.iter().find(|(name, _)| *name == text).map(|(_, value)| *value);
    let names = || known.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    found.ok_or_else(|| ApiError::InvalidArgument(format!("{field} \"{text}\": {} are known", names())))
}

/// Errors: the value is out of range.
pub(crate) fn within(field: &str, value: i64, least: i64, most: i64) -> Result<i64, ApiError> {
    if (least..=most).contains(&value) {
        return Ok(value);
    }
    Err(ApiError::InvalidArgument(format!("{field} {value}: {least} to {most} are possible")))
}
