//! The Kinesis sink: one task a data stream.

mod probe;
mod record_queue;

pub(crate) use probe::probes;

use std::sync::Arc;

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::operation::put_records::PutRecordsOutput;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{PutRecordsRequestEntry, PutRecordsResultEntry};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::record_queue::RecordQueue;
use crate::aws::AwsFailure;
use crate::delivery::Backlog;
use crate::delivery::OutboxRecord;
use crate::delivery::retry_backoff;

/// Records held in order by camera; the others wait in the outbox.
const MOST_WAITING: usize = 1_000;
/// Record and partition key together, bytes. Source: `PutRecords` API reference, default limit, 2026-11.
const MOST_RECORD_BYTES: usize = 1024 * 1024;
/// Characters of a partition key. Source: the same.
const MOST_KEY_CHARS: usize = 256;

/// Puts records at once, one call under way at a time: what comes meanwhile goes with the next.
///
/// Delivery: at least once, in order by camera. A refused call or record is tried again for ever; a record that can never be
/// valid becomes a dead letter.
pub(crate) struct KinesisSink {
    pub(crate) client: Client,
    pub(crate) stream: String,
    pub(crate) backlog: Backlog,
    pub(crate) give_up: CancellationToken,
}

impl KinesisSink {
    /// Ends when the outbox takes nothing in any more and has nothing for it, or at `give_up`.
    pub(crate) async fn run(mut self) {
        let give_up = self.give_up.clone();
        give_up.run_until_cancelled(self.deliver()).await;
    }

    async fn deliver(&mut self) {
        let mut waiting = RecordQueue::default();
        let mut backoff = retry_backoff();
        while self.fill(&mut waiting).await {
            if self.backlog.progress.leaves_out() {
                waiting.remove(|record| self.backlog.is_left_out(record));
            }
            let batch = waiting.batch(Instant::now());
            if batch.is_empty() {
                self.wait(&mut waiting).await;
                continue;
            }
            match self.put(&batch).await {
                Ok(output) => {
                    backoff.reset();
                    self.settle(&mut waiting, &batch, &output);
                }
                Err(fault) => {
                    self.backlog.gauge.failing(&fault.code, &self.advice(&fault), batch.len() as u64);
                    tokio::time::sleep(backoff.next_wait()).await;
                }
            }
        }
    }

    /// Takes what is there, and waits for it where nothing is at hand; `false` at the end.
    async fn fill(&mut self, waiting: &mut RecordQueue) -> bool {
        let room = MOST_WAITING - waiting.len();
        let records = if waiting.len() == 0 {
            let Some(records) = self.backlog.next(room).await else { return false };
            records
        } else if room > 0 {
            self.backlog.at_hand(room).await
        } else {
            Vec::new()
        };
        for record in records {
            self.take(waiting, record).await;
        }
        true
    }

    /// Until a record may be tried again, or another one comes.
    async fn wait(&mut self, waiting: &mut RecordQueue) {
        let Some(ready) = waiting.next_ready() else { return };
        let open = waiting.len() < MOST_WAITING && !self.backlog.closing.is_cancelled();
        tokio::select! {
            () = tokio::time::sleep_until(ready) => {}
            () = self.backlog.changed(), if open => {}
        }
    }

    async fn take(&self, waiting: &mut RecordQueue, record: OutboxRecord) {
        match never_valid(&record) {
            None => waiting.push(Arc::new(record)),
            Some(reason) => self.backlog.never_valid(&record, reason).await,
        }
    }

    async fn put(&self, batch: &[Arc<OutboxRecord>]) -> Result<PutRecordsOutput, AwsFailure> {
        let entries = batch.iter().map(|record| {
            PutRecordsRequestEntry::builder()
                .data(Blob::new(&record.json[..]))
                .partition_key(record.camera.as_str())
                .build()
        });
        let entries = entries.collect::<Result<Vec<_>, _>>();
        let entries = entries.map_err(|error| AwsFailure::new("not_sent", &error.to_string()))?;
        let call = self.client.put_records().stream_name(&self.stream).set_records(Some(entries));
        let output = call.send().await.map_err(|error| AwsFailure::of(&error))?;
        if output.records().len() == batch.len() {
            return Ok(output);
        }
        let text = format!("{} results for {} records", output.records().len(), batch.len());
        Err(AwsFailure::new("bad_response", &text))
    }

    /// Takes the accepted records off, and puts the refused ones back by their camera's back-off.
    fn settle(&self, waiting: &mut RecordQueue, batch: &[Arc<OutboxRecord>], output: &PutRecordsOutput) {
        let mut refused = None;
        let mut count = 0;
        for (record, result) in batch.iter().zip(output.records()) {
            if let Some(fault) = refusal(result) {
                waiting.refused(&record.camera, Instant::now());
                refused = Some(fault);
                count += 1;
            } else {
                waiting.accepted(&record.camera);
                self.backlog.delivered(record);
            }
        }
        match refused {
            Some(fault) => self.backlog.gauge.failing(&fault.code, &self.advice(&fault), count),
            None => self.backlog.gauge.works(),
        }
    }

    fn advice(&self, fault: &AwsFailure) -> String {
        fault.told(&place(&self.stream), remedy(&fault.code))
    }
}

/// Returns why a record was not taken. Kinesis numbers each record that it takes, so one without a number is not stored.
pub(crate) fn refusal(result: &PutRecordsResultEntry) -> Option<AwsFailure> {
    match (result.error_code(), result.sequence_number()) {
        (Some(code), _) => Some(AwsFailure::new(code, result.error_message().unwrap_or("no message"))),
        (None, None) => Some(AwsFailure::new("bad_response", "a result without a sequence number")),
        (None, Some(_)) => None,
    }
}

/// How a stream is named to a person.
pub(crate) fn place(stream: &str) -> String {
    format!("data stream {stream}")
}

/// What somebody can do about a fault.
pub(crate) fn remedy(code: &str) -> Option<&'static str> {
    Some(match code {
        "ResourceNotFoundException" => "create the stream, or correct publishers.kds_stream",
        "AccessDeniedException" | "http_403" => "allow kinesis:PutRecords on it",
        "ProvisionedThroughputExceededException" => "add shards, or make the stream on-demand",
        "unreachable" | "timeout" => "check the network, and AWS_ENDPOINT_URL_KINESIS where it is set",
        _ => return None,
    })
}

/// Why no stream can ever take the record.
fn never_valid(record: &OutboxRecord) -> Option<String> {
    let (bytes, key) = (record.json.len() + record.camera.as_str().len(), record.camera.as_str());
    if bytes > MOST_RECORD_BYTES {
        return Some(format!("{bytes} bytes with its partition key, of at most {MOST_RECORD_BYTES}"));
    }
    let chars = key.chars().count();
    (!(1..=MOST_KEY_CHARS).contains(&chars)).then(|| {
        format!("the camera's id, its partition key, has {chars} characters, of 1 to {MOST_KEY_CHARS}")
    })
}
