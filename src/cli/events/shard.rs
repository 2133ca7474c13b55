//! One shard, read to its end: what expires is asked for anew, what is refused is tried again.

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

/// Between two looks at the end of a shard, so that its other readers keep most of its 5 calls a second.
/// Source: `GetRecords` API reference, 2026-11.
const AT_THE_END: Duration = Duration::from_secs(1);
/// Between two calls while there is more.
const BEHIND: Duration = Duration::from_millis(250);
/// Records a call: a few MB at most.
const MOST_RECORDS: i32 = 1_000;

/// Where reading a shard begins.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Begin {
    /// What comes from now on.
    Latest,
    /// The oldest record that is kept.
    Oldest,
    /// What came at this time or later.
    Time(DateTime),
    /// After this sequence number.
    After(String),
}

/// What a shard tells.
#[derive(Debug)]
pub(super) enum News {
    /// Records, in their order.
    Records(Vec<Record>),
    /// Nothing is left for now.
    CaughtUp { shard: String },
    /// It was read to its end: its children are due.
    Ended { shard: String },
    /// It goes wrong, and is tried again.
    Trouble { shard: String, why: String },
    /// It went wrong for good.
    Lost { why: String },
}

/// A shard that is being read.
pub(super) struct Shard {
    client: Client,
    stream: String,
    id: String,
    /// Where the next iterator begins.
    begin: Begin,
    iterator: Option<String>,
    in_trouble: bool,
    /// Waits for the printer when full.
    news: Sender<News>,
}

/// A call that failed.
enum Failed {
    /// The iterator is older than 5 minutes.
    Expired,
    /// Trying again helps.
    ForNow(String),
    /// Only a person helps.
    ForGood(String),
}

impl Shard {
    pub(super) fn new(client: Client, stream: &str, id: String, begin: Begin, news: Sender<News>) -> Self {
        Self { client, stream: stream.to_owned(), id, begin, iterator: None, in_trouble: false, news }
    }

    /// Ends at the shard's end, when it is lost, or when nobody listens any more.
    pub(super) async fn read(mut self) {
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
        loop {
            let begun = Instant::now();
            let Some(pause) = self.step(&mut backoff).await else { return };
            sleep_until(begun + pause).await;
        }
    }

    /// One call; how long to wait from its beginning on, `None` at the end.
    async fn step(&mut self, backoff: &mut Backoff) -> Option<Duration> {
        match self.ask().await {
            Ok(answer) => {
                backoff.reset();
                self.in_trouble = false;
                self.take(answer).await
            }
            Err(Failed::Expired) => {
                self.iterator = None;
                Some(BEHIND)
            }
            Err(Failed::ForNow(why)) => {
                if !std::mem::replace(&mut self.in_trouble, true) {
                    self.tell(News::Trouble { shard: self.id.clone(), why }).await?;
                }
                Some(backoff.next_wait())
            }
            Err(Failed::ForGood(why)) => {
                self.tell(News::Lost { why }).await?;
                None
            }
        }
    }

    async fn ask(&mut self) -> Result<GetRecordsOutput, Failed> {
        let iterator = match self.iterator.take() {
            Some(iterator) => iterator,
            None => self.new_iterator().await?,
        };
        let answer = self.records(&iterator).await;
        self.iterator = Some(iterator);
        answer
    }

    /// Hands the records on; how long to wait from the call on, `None` at the end.
    async fn take(&mut self, answer: GetRecordsOutput) -> Option<Duration> {
        let behind = answer.millis_behind_latest.is_some_and(|ms| ms > 0);
        let over = answer.next_shard_iterator.is_none();
        self.iterator = answer.next_shard_iterator;
        match answer.records.last() {
            Some(record) => self.begin = Begin::After(record.sequence_number.clone()),
            // An iterator that expires before the first record must not begin at a later end of the shard.
            None if self.begin == Begin::Latest => self.begin = Begin::Time(SystemTime::now().into()),
            None => {}
        }
        if !answer.records.is_empty() {
            self.tell(News::Records(answer.records)).await?;
        }
        if over {
            self.tell(News::Ended { shard: self.id.clone() }).await?;
            return None;
        }
        if behind {
            return Some(BEHIND);
        }
        self.tell(News::CaughtUp { shard: self.id.clone() }).await?;
        Some(AT_THE_END)
    }

    async fn tell(&self, news: News) -> Option<()> {
        self.news.send(news).await.ok()
    }

    async fn new_iterator(&self) -> Result<String, Failed> {
        let call = self.client.get_shard_iterator().stream_name(&self.stream).shard_id(&self.id);
        let call = match &self.begin {
            Begin::Latest => call.shard_iterator_type(ShardIteratorType::Latest),
            Begin::Oldest => call.shard_iterator_type(ShardIteratorType::TrimHorizon),
            Begin::Time(time) => call.shard_iterator_type(ShardIteratorType::AtTimestamp).timestamp(*time),
            Begin::After(number) => call
                .shard_iterator_type(ShardIteratorType::AfterSequenceNumber)
                .starting_sequence_number(number),
        };
        let answer = call.send().await.map_err(|error| self.failed("GetShardIterator", &error))?;
        let nothing = || Failed::ForNow(format!("GetShardIterator gives no iterator; {FOREIGN_REMEDY}"));
        answer.shard_iterator.ok_or_else(nothing)
    }

    async fn records(&self, iterator: &str) -> Result<GetRecordsOutput, Failed> {
        let call = self.client.get_records().shard_iterator(iterator).limit(MOST_RECORDS);
        let answer = call.send().await.map_err(|error| self.failed("GetRecords", &error))?;
        // Kinesis always says how far behind the end it is; without that, an answer without records is no end of the shard.
        if answer.millis_behind_latest.is_none()
            && answer.records.is_empty()
            && answer.next_shard_iterator.is_none()
        {
            return Err(Failed::ForNow(format!("GetRecords describes nothing; {FOREIGN_REMEDY}")));
        }
        Ok(answer)
    }

    fn failed<E>(&self, action: &'static str, error: &SdkError<E, HttpResponse>) -> Failed
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        if error.code() == Some("ExpiredIteratorException") {
            return Failed::Expired;
        }
        let why = refused(&self.stream, action, error);
        if is_for_good(error.code()) { Failed::ForGood(why) } else { Failed::ForNow(why) }
    }
}

fn is_for_good(code: Option<&str>) -> bool {
    code.is_some_and(|code| {
        matches!(code, "ResourceNotFoundException" | "ValidationException" | "InvalidArgumentException")
            || code.starts_with("AccessDenied")
    })
}

/// What went wrong with a call, and what to do.
pub(super) fn refused<E>(stream: &str, action: &'static str, error: &SdkError<E, HttpResponse>) -> String
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let failure = AwsFailure::of(error);
    let allow = format!("allow kinesis:{action} on it");
    let remedy = match failure.code.as_str() {
        "ResourceNotFoundException" => Some("correct its name or the region"),
        "AccessDeniedException" | "http_403" => Some(allow.as_str()),
        "ProvisionedThroughputExceededException" | "LimitExceededException" => {
            Some("other readers use the shard up: it is tried again")
        }
        "unreachable" | "timeout" => Some("check the network and AWS_ENDPOINT_URL_KINESIS"),
        _ => None,
    };
    failure.told(&format!("data stream {stream}: {action}"), remedy)
}
