//! Reads one shard to its end: renews iterators that have expired and retries failed calls.

use std::time::{Duration, SystemTime};

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::config::http::HttpResponse;
use aws_sdk_kinesis::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_kinesis::operation::get_records::GetRecordsOutput;
use aws_sdk_kinesis::primitives::DateTime;
use aws_sdk_kinesis::types::{Record, ShardIteratorType};
use tokio::sync::mpsc::Sender;
use tokio::time::{Instant, sleep_until};

use crate::aws::{AwsFailure, FOREIGN_REMEDY};
use crate::base::Backoff;

/// Interval between calls at the end of a shard, so that its other readers keep most of the 5 calls per second.
/// Source: `GetRecords` API reference, 2026-11.
const CAUGHT_UP_INTERVAL: Duration = Duration::from_secs(1);
/// Interval between calls while there are more records.
const BEHIND_INTERVAL: Duration = Duration::from_millis(250);
/// Maximum number of records per call, which are a few MB.
const MAX_RECORDS: i32 = 1_000;

/// Position in a shard at which reading starts.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum ShardStart {
    /// New records only.
    Latest,
    /// The oldest stored record.
    Oldest,
    /// Records that arrived at this time or later.
    Time(DateTime),
    /// The record after this sequence number.
    After(String),
}

/// A message from the reader of a shard.
#[derive(Debug)]
pub(super) enum ShardEvent {
    /// Records in their order.
    Records(Vec<Record>),
    /// All records so far have been read.
    CaughtUp { shard: String },
    /// The shard is closed and read to its end, so its children may be read.
    Ended { shard: String },
    /// A call failed and is retried.
    Retrying { shard: String, why: String },
    /// A call failed and cannot succeed.
    Failed { why: String },
}

/// The reader of one shard.
pub(super) struct ShardReader {
    client: Client,
    stream: String,
    id: String,
    /// Position of the next iterator.
    start: ShardStart,
    iterator: Option<String>,
    is_retrying: bool,
    /// Waits for the printer when full.
    events: Sender<ShardEvent>,
}

/// A call that failed.
enum CallError {
    /// The iterator is older than 5 minutes.
    Expired,
    /// A later call may succeed.
    Retryable(String),
    /// The cause must be fixed by a person.
    Fatal(String),
}

impl ShardReader {
    pub(super) fn new(
        client: Client,
        stream: &str,
        id: String,
        start: ShardStart,
        events: Sender<ShardEvent>,
    ) -> Self {
        Self { client, stream: stream.to_owned(), id, start, iterator: None, is_retrying: false, events }
    }

    /// Reads until the end of the shard, a fatal error, or the end of the receiver.
    pub(super) async fn read(mut self) {
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
        loop {
            // The interval counts from the start of a call, so a slow call is not followed by a full pause.
            let begun = Instant::now();
            let Some(pause) = self.step(&mut backoff).await else { return };
            sleep_until(begun + pause).await;
        }
    }

    /// Makes one call. Returns the interval until the next one, or `None` at the end.
    async fn step(&mut self, backoff: &mut Backoff) -> Option<Duration> {
        match self.call().await {
            Ok(answer) => {
                backoff.reset();
                self.is_retrying = false;
                self.forward(answer).await
            }
            Err(CallError::Expired) => {
                // The next call gets a new iterator, after the last record that was read.
                self.iterator = None;
                Some(BEHIND_INTERVAL)
            }
            Err(CallError::Retryable(why)) => {
                // Only the first of several failures in a row is reported.
                if !std::mem::replace(&mut self.is_retrying, true) {
                    self.send(ShardEvent::Retrying { shard: self.id.clone(), why }).await?;
                }
                Some(backoff.next_wait())
            }
            Err(CallError::Fatal(why)) => {
                self.send(ShardEvent::Failed { why }).await?;
                None
            }
        }
    }

    async fn call(&mut self) -> Result<GetRecordsOutput, CallError> {
        let iterator = match self.iterator.take() {
            Some(iterator) => iterator,
            None => self.new_iterator().await?,
        };
        // The iterator stays valid if the call fails, so it is used again.
        let answer = self.records(&iterator).await;
        self.iterator = Some(iterator);
        answer
    }

    /// Sends the records to the printer. Returns the interval until the next call, or `None` at the end.
    async fn forward(&mut self, answer: GetRecordsOutput) -> Option<Duration> {
        let is_ended = answer.next_shard_iterator.is_none();
        self.iterator = answer.next_shard_iterator;
        self.move_start(&answer.records);
        if !answer.records.is_empty() {
            self.send(ShardEvent::Records(answer.records)).await?;
        }
        if is_ended {
            self.send(ShardEvent::Ended { shard: self.id.clone() }).await?;
            return None;
        }
        if answer.millis_behind_latest.is_some_and(|ms| ms > 0) {
            return Some(BEHIND_INTERVAL);
        }
        self.send(ShardEvent::CaughtUp { shard: self.id.clone() }).await?;
        Some(CAUGHT_UP_INTERVAL)
    }

    /// Moves the start of the next iterator, which is needed if the current one expires, behind these records.
    fn move_start(&mut self, records: &[Record]) {
        match records.last() {
            Some(record) => self.start = ShardStart::After(record.sequence_number.clone()),
            // If the iterator expires before the first record, LATEST would skip the records that arrived meanwhile.
            None if self.start == ShardStart::Latest => {
                self.start = ShardStart::Time(SystemTime::now().into());
            }
            None => {}
        }
    }

    async fn send(&self, event: ShardEvent) -> Option<()> {
        self.events.send(event).await.ok()
    }

    async fn new_iterator(&self) -> Result<String, CallError> {
        let call = self.client.get_shard_iterator().stream_name(&self.stream).shard_id(&self.id);
        let call = match &self.start {
            ShardStart::Latest => call.shard_iterator_type(ShardIteratorType::Latest),
            ShardStart::Oldest => call.shard_iterator_type(ShardIteratorType::TrimHorizon),
            ShardStart::Time(time) => {
                call.shard_iterator_type(ShardIteratorType::AtTimestamp).timestamp(*time)
            }
            ShardStart::After(number) => call
                .shard_iterator_type(ShardIteratorType::AfterSequenceNumber)
                .starting_sequence_number(number),
        };
        let answer = call.send().await.map_err(|error| self.failed("GetShardIterator", &error))?;
        let missing = || {
            CallError::Retryable(format!("the answer of GetShardIterator has no iterator; {FOREIGN_REMEDY}"))
        };
        answer.shard_iterator.ok_or_else(missing)
    }

    async fn records(&self, iterator: &str) -> Result<GetRecordsOutput, CallError> {
        let call = self.client.get_records().shard_iterator(iterator).limit(MAX_RECORDS);
        let answer = call.send().await.map_err(|error| self.failed("GetRecords", &error))?;
        // Kinesis always sends MillisBehindLatest. An empty answer without it is of another server, not the end of the shard.
        if answer.millis_behind_latest.is_none()
            && answer.records.is_empty()
            && answer.next_shard_iterator.is_none()
        {
            return Err(CallError::Retryable(format!("the answer of GetRecords is empty; {FOREIGN_REMEDY}")));
        }
        Ok(answer)
    }

    fn failed<E>(&self, action: &'static str, error: &SdkError<E, HttpResponse>) -> CallError
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        if error.code() == Some("ExpiredIteratorException") {
            return CallError::Expired;
        }
        let why = call_error(&self.stream, action, error);
        if is_fatal(error.code()) { CallError::Fatal(why) } else { CallError::Retryable(why) }
    }
}

fn is_fatal(code: Option<&str>) -> bool {
    code.is_some_and(|code| {
        matches!(code, "ResourceNotFoundException" | "ValidationException" | "InvalidArgumentException")
            || code.starts_with("AccessDenied")
    })
}

/// Returns the reason why a call failed, with a remedy.
pub(super) fn call_error<E>(stream: &str, action: &'static str, error: &SdkError<E, HttpResponse>) -> String
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let failure = AwsFailure::of(error);
    let allow = format!("allow kinesis:{action} on it");
    let remedy = match failure.code.as_str() {
        "ResourceNotFoundException" => Some("correct the name or the region"),
        "AccessDeniedException" | "http_403" => Some(allow.as_str()),
        "ProvisionedThroughputExceededException" | "LimitExceededException" => {
            Some("other readers use up the limit of the shard; the call is retried")
        }
        "unreachable" | "timeout" => Some("check the network and AWS_ENDPOINT_URL_KINESIS"),
        _ => None,
    };
    failure.at_place(&format!("data stream {stream}: {action}"), remedy)
}
