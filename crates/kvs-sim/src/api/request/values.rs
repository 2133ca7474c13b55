//! Values that several operations take: enumerations, numbers in a range, ranges of time.

use serde::Deserialize;

use crate::error::ApiError;
use crate::store::fragment::TimeLine;

/// A range of times as a request states it, in seconds since 1970.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct TimestampRange {
    start_timestamp: Option<f64>,
    end_timestamp: Option<f64>,
}

/// The values of `FragmentSelectorType` and `ImageSelectorType`.
pub(crate) const TIME_LINES: [(&str, TimeLine); 2] =
    [("SERVER_TIMESTAMP", TimeLine::Server), ("PRODUCER_TIMESTAMP", TimeLine::Producer)];

/// Source: AWS, HLSTimestampRange and ClipTimestampRange, 2026.
const MAX_RANGE_MS: i64 = 24 * 3_600_000;

impl TimestampRange {
    /// Returns both ends in ms since 1970; None for an end that is not given.
    ///
    /// Fails if there is no start, if the end is not within 24 hours after it, or, on the server's time line, not in the past.
    pub(crate) fn read(&self, line: TimeLine, now_ms: i64) -> Result<(i64, Option<i64>), ApiError> {
        let from_ms = self.start_timestamp.and_then(millis);
        let from_ms =
            from_ms.ok_or_else(|| invalid("TimestampRange.StartTimestamp is needed: seconds since 1970"))?;
        let Some(end) = self.end_timestamp else { return Ok((from_ms, None)) };
        let to_ms =
            millis(end).ok_or_else(|| invalid("TimestampRange.EndTimestamp must be seconds since 1970"))?;
        if !(1..=MAX_RANGE_MS).contains(&to_ms.saturating_sub(from_ms)) {
            return Err(invalid("TimestampRange.EndTimestamp must be within 24 hours after StartTimestamp"));
        }
        // A producer's clock can be ahead of ours, so that rule exists only for the server's time line.
        if line == TimeLine::Server && to_ms > now_ms {
            return Err(invalid("TimestampRange.EndTimestamp must be in the past with SERVER_TIMESTAMP"));
        }
        Ok((from_ms, Some(to_ms)))
    }
}

/// Converts seconds since 1970 to milliseconds; None if they are not finite.
pub(crate) fn millis(seconds: f64) -> Option<i64> {
    seconds.is_finite().then_some((seconds * 1000.0).round() as i64)
}

/// Returns an InvalidArgumentException with a text.
pub(crate) fn invalid(text: &str) -> ApiError {
    ApiError::InvalidArgument(text.to_owned())
}

/// Returns the value that a name stands for. Fails if the name is not among those of `known`.
pub(crate) fn one_of<T: Copy>(field: &str, text: &str, known: &[(&str, T)]) -> Result<T, ApiError> {
    let value = known.iter().find(|(name, _)| *name == text).map(|(_, value)| *value);
    let names = || known.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    value
        .ok_or_else(|| ApiError::InvalidArgument(format!("{field} \"{text}\" is not known; use {}", names())))
}

/// Returns a number that is in range, and fails otherwise.
pub(crate) fn within(field: &str, value: i64, min: i64, max: i64) -> Result<i64, ApiError> {
    if (min..=max).contains(&value) {
        return Ok(value);
    }
    Err(ApiError::InvalidArgument(format!("{field} {value} is out of range; use {min} to {max}")))
}
