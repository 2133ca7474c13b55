//! The Kinesis sink: one per data stream. Events are records, with the camera's id as the partition key.

mod probe;
mod record_queue;

use std::sync::Arc;

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::operation::put_records::PutRecordsOutput;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{PutRecordsRequestEntry, PutRecordsResultEntry};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::record_queue::RecordQueue;
use crate::aws::{AwsFailure, AwsResource};
use crate::base::Probe;
use crate::delivery::{Backlog, Clients, OutboxRecord, Route, Sink, SinkRun, StartError, retry_backoff};

/// Limit on the records held in order by camera; the others stay in the outbox.
const MAX_QUEUED: usize = 1_000;
/// Limit on a record with its partition key, bytes. Source: `PutRecords` API reference, default limit, 2026-11.
const MAX_RECORD_BYTES: usize = 1024 * 1024;
/// Limit on a partition key, characters. Source: the same.
const MAX_KEY_CHARS: usize = 256;

/// The data stream of some cameras' records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KinesisSink {
    pub(crate) stream: String,
}

impl KinesisSink {
    /// Returns the sink that has this name in the outbox.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        name.strip_prefix("kds/").map(|stream| Self { stream: stream.to_owned() })
    }
}

impl Sink for KinesisSink {
    fn name(&self) -> String {
        format!("kds/{}", self.stream)
    }

    fn is_required(&self) -> bool {
        true
    }

    fn destination(&self, _route: &Route) -> String {
        format!("kds {}", self.stream)
    }

    fn spawn(&self, run: SinkRun) -> Result<JoinHandle<()>, StartError> {
        let client = Client::new(run.clients()?.sdk());
        let SinkRun { backlog, give_up, .. } = run;
        let task = KinesisDelivery {
            client,
            stream: self.stream.clone(),
            resource: resource(&self.stream),
            backlog,
            give_up,
        };
        Ok(tokio::spawn(task.run()))
    }

    fn probes(&self, clients: Option<&Clients>) -> Vec<Probe> {
        clients.map_or_else(Vec::new, |clients| probe::probes(&Client::new(clients.sdk()), &self.stream))
    }
}

/// Returns the stream with its remedies.
fn resource(stream: &str) -> AwsResource {
    AwsResource {
        kind: "data stream",
        name: stream.to_owned(),
        key: "publishers.kds_stream",
        action: "kinesis:PutRecords",
        endpoint_variable: "AWS_ENDPOINT_URL_KINESIS",
        own_remedy: |code| match code {
            "ResourceNotFoundException" => Some("create the stream, or correct publishers.kds_stream"),
            "ProvisionedThroughputExceededException" => Some("add shards, or make the stream on-demand"),
            _ => None,
        },
    }
}

/// Puts records with one call under way at a time; records that arrive meanwhile go with the next call.
///
/// Delivery: at least once, in order by camera. A refused call or record is tried again without end; a record that can never be
/// valid becomes a dead letter.
struct KinesisDelivery {
    client: Client,
    stream: String,
    resource: AwsResource,
    backlog: Backlog,
    give_up: CancellationToken,
}

impl KinesisDelivery {
    /// Delivers until the outbox is closed and nothing waits, or until `give_up`.
    async fn run(mut self) {
        let give_up = self.give_up.clone();
        give_up.run_until_cancelled(self.deliver()).await;
    }

    async fn deliver(&mut self) {
        let mut queue = RecordQueue::default();
        let mut backoff = retry_backoff();
        while self.fill(&mut queue).await {
            if self.backlog.progress.leaves_out() {
                queue.remove(|record| self.backlog.leaves_out(record));
            }
            let batch = queue.batch(Instant::now());
            // All first records are deferred.
            if batch.is_empty() {
                self.wait(&mut queue).await;
                continue;
            }
            match self.put(&batch).await {
                Ok(output) => {
                    backoff.reset();
                    self.settle(&mut queue, &batch, &output);
                }
                Err(failure) => {
                    // Nothing says which records of a failed call were stored, so all of them are put again.
                    self.report(&failure, batch.len() as u64);
                    tokio::time::sleep(backoff.next_wait()).await;
                }
            }
        }
    }

    /// Moves waiting records from the outbox into the queue, and waits for one where the queue is empty; `false` at the end.
    async fn fill(&mut self, queue: &mut RecordQueue) -> bool {
        let room = MAX_QUEUED - queue.len();
        // Only an empty queue waits for the outbox: deferred records must not wait for a new one.
        let records = if queue.len() == 0 {
            let Some(records) = self.backlog.next(room).await else { return false };
            records
        } else if room > 0 {
            self.backlog.available(room).await
        } else {
            Vec::new()
        };
        for record in records {
            self.take(queue, record).await;
        }
        true
    }

    /// Waits until a record may be tried again, or another one arrives.
    async fn wait(&mut self, queue: &mut RecordQueue) {
        let Some(ready) = queue.next_ready() else { return };
        let open = queue.len() < MAX_QUEUED && !self.backlog.closing.is_cancelled();
        tokio::select! {
            () = tokio::time::sleep_until(ready) => {}
            () = self.backlog.changed(), if open => {}
        }
    }

    async fn take(&self, queue: &mut RecordQueue, record: OutboxRecord) {
        match never_valid(&record) {
            None => queue.push(Arc::new(record)),
            Some(reason) => self.backlog.never_valid(&record, reason).await,
        }
    }

    async fn put(&self, batch: &[Arc<OutboxRecord>]) -> Result<PutRecordsOutput, AwsFailure> {
        let mut entries = Vec::with_capacity(batch.len());
        for record in batch {
            let entry = PutRecordsRequestEntry::builder()
                .data(Blob::new(&record.json[..]))
                // All records of a key go to one shard, and only a shard keeps an order.
                .partition_key(record.camera.as_str())
                .build();
            entries.push(entry.map_err(|error| AwsFailure::new("not_sent", &error.to_string()))?);
        }
        let call = self.client.put_records().stream_name(&self.stream).set_records(Some(entries));
        let output = call.send().await.map_err(|error| AwsFailure::of(&error))?;
        // Results belong to records by their position, so a list of another length cannot be assigned.
        if output.records().len() == batch.len() {
            return Ok(output);
        }
        let text = format!("{} results for {} records", output.records().len(), batch.len());
        Err(AwsFailure::new("bad_response", &text))
    }

    /// Removes the accepted records from the queue, and defers the refused ones by their camera's back-off.
    fn settle(&self, queue: &mut RecordQueue, batch: &[Arc<OutboxRecord>], output: &PutRecordsOutput) {
        let mut last_refusal = None;
        let mut refused = 0;
        for (record, result) in batch.iter().zip(output.records()) {
            // PutRecords accepts and refuses record by record.
            if let Some(failure) = refusal(result) {
                // Only this camera waits: a shard takes 1 MB/s and 1,000 records/s, and others may have room.
                queue.refused(&record.camera, Instant::now());
                last_refusal = Some(failure);
                refused += 1;
            } else {
                queue.accepted(&record.camera);
                self.backlog.delivered(record);
            }
        }
        match last_refusal {
            // One failure stands for all of the call: most often they have the same cause.
            Some(failure) => self.report(&failure, refused),
            None => self.backlog.gauge.works(),
        }
    }

    fn report(&self, failure: &AwsFailure, retries: u64) {
        self.backlog.gauge.failing(&failure.code, &self.resource.explain(failure), retries);
    }
}

/// Returns the reason why a record was not stored. Kinesis gives each stored record a sequence number, so a result without one is
/// not a success.
fn refusal(result: &PutRecordsResultEntry) -> Option<AwsFailure> {
    match (result.error_code(), result.sequence_number()) {
        (Some(code), _) => Some(AwsFailure::new(code, result.error_message().unwrap_or("no message"))),
        (None, None) => Some(AwsFailure::new("bad_response", "a result without a sequence number")),
        (None, Some(_)) => None,
    }
}

/// Returns the reason why no stream can ever take the record, if there is one.
fn never_valid(record: &OutboxRecord) -> Option<String> {
    // PutRecords refuses a whole call of up to 500 records for one that is not valid.
    let key = record.camera.as_str();
    let bytes = record.json.len() + key.len();
    if bytes > MAX_RECORD_BYTES {
        return Some(format!("{bytes} bytes with its partition key, of at most {MAX_RECORD_BYTES}"));
    }
    let chars = key.chars().count();
    (!(1..=MAX_KEY_CHARS).contains(&chars)).then(|| {
        format!("the camera's id, its partition key, has {chars} characters, of 1 to {MAX_KEY_CHARS}")
    })
}
