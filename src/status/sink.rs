//! The delivery status of a sink.

use std::time::{Duration, Instant, SystemTime};

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use super::whole_ms;

/// The delivery status of a sink, as `/api/cameras` serves it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SinkStatus {
    /// `outbox`, `local`, `kds/STREAM`, `dynamodb/TABLE`, `s3` or `positions/TABLE`.
    pub name: String,
    /// `true` where events wait for the sink, `false` where they are dropped once its share of the outbox is full.
    pub required: bool,
    /// The outcome of the last attempt: the keys `ok`, `reason` and `failing_for_ms`.
    #[serde(flatten)]
    pub state: SinkState,
    /// Number of events that wait for the sink in the outbox.
    pub queued: u64,
    /// Size of their records and pictures, bytes.
    pub queued_bytes: u64,
    /// Time when the oldest of them was accepted.
    #[serde(rename = "oldest_ms", serialize_with = "serialize_age")]
    pub oldest: Option<SystemTime>,
    /// Size of the sink's share of the outbox, bytes; 0: it has none.
    pub share_bytes: u64,
    /// Number of events that the sink accepted since the start.
    pub delivered: u64,
    /// Number of attempts since the start that the sink refused, or that did not reach it.
    pub refused: u64,
    /// Number of events since the start that the sink will never get: dead letters, and those that its share had no room for.
    pub failed: u64,
}

/// The outcome of the last attempt to deliver to a sink.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SinkState {
    /// The last attempt succeeded, or there was none.
    #[default]
    Ok,
    /// The last attempt failed, and is retried.
    Failing {
        /// The error and its remedy.
        reason: String,
        /// The time of the first failure since the last success.
        since: Instant,
    },
}

impl SinkStatus {
    /// Returns the time that the oldest event has waited for the sink; `None`: no event waits.
    pub(crate) fn oldest_age(&self) -> Option<Duration> {
        self.oldest.map(age)
    }
}

/// Returns the time since `at`; zero where the clock was set back since.
fn age(at: SystemTime) -> Duration {
    at.elapsed().unwrap_or_default()
}

/// Serializes the age of a time, ms. `serde` passes the field by reference.
fn serialize_age<S: Serializer>(at: &Option<SystemTime>, serializer: S) -> Result<S::Ok, S::Error> {
    at.map(|at| whole_ms(age(at))).serialize(serializer)
}

impl Serialize for SinkState {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // The same keys in both states: a consumer need not test whether one is there.
        let (reason, failing_for_ms) = match self {
            Self::Ok => (None, None),
            Self::Failing { reason, since } => (Some(reason), Some(whole_ms(since.elapsed()))),
        };
        let mut keys = serializer.serialize_struct("SinkState", 3)?;
        keys.serialize_field("ok", &(*self == Self::Ok))?;
        keys.serialize_field("reason", &reason)?;
        keys.serialize_field("failing_for_ms", &failing_for_ms)?;
        keys.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_has_its_state_as_keys_and_its_times_as_ages() {
        let failing = SinkState::Failing { reason: "access denied".into(), since: Instant::now() };
        let status = SinkStatus { name: "s3".into(), state: failing, queued: 3, ..SinkStatus::default() };
        let mut json = serde_json::to_value(&status).unwrap();
        assert!(json["failing_for_ms"].take().as_u64().is_some_and(|ms| ms < 60_000), "{json}");
        let expected = serde_json::json!({
            "name": "s3", "required": false, "ok": false, "reason": "access denied", "failing_for_ms": null, "queued": 3,
            "queued_bytes": 0, "oldest_ms": null, "share_bytes": 0, "delivered": 0, "refused": 0, "failed": 0,
        });
        assert_eq!(json, expected);
        let hour_ago = SystemTime::now() - Duration::from_secs(3_600);
        let status = SinkStatus { oldest: Some(hour_ago), ..SinkStatus::default() };
        let json = serde_json::to_value(&status).unwrap();
        assert_eq!((&json["ok"], &json["reason"]), (&true.into(), &serde_json::Value::Null));
        assert!(json["oldest_ms"].as_u64().is_some_and(|ms| ms >= 3_600_000), "{json}");
    }
}
