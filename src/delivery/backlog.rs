//! What waits in the outbox for one sink, in the order of its making.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::dead_letter::DeadLetters;
use super::delivery_progress::DeliveryProgress;
use super::outbox_record::OutboxRecord;
use super::retry_backoff;
use super::status::SinkGauge;
use crate::telemetry::publish as telemetry;

/// Bytes of records and pictures that a sink takes into memory at once, beyond the first.
const MOST_BYTES: u64 = 16 * 1024 * 1024;

/// A sink's end of the outbox. What was taken and not settled is there again after a restart.
pub(crate) struct Backlog {
    pub(crate) outbox: ::outbox::Outbox,
    pub(crate) sink: ::outbox::Sink,
    pub(crate) gauge: Arc<SinkGauge>,
    pub(crate) progress: Arc<DeliveryProgress>,
    pub(crate) dead_letters: Arc<DeadLetters>,
    /// Nothing is added any more.
    pub(crate) closing: CancellationToken,
    /// The last entry that was taken.
    pub(crate) after: Option<::outbox::EntryId>,
}

impl Backlog {
    /// The next records, `most` at most; waits while there are none. `None`: there are none, and there will be none.
    pub(crate) async fn next(&mut self, most: usize) -> Option<Vec<OutboxRecord>> {
        loop {
            // Before looking, so that what is added between the look and the wait is not missed.
            let closing = self.closing.is_cancelled();
            let taken = self.at_hand(most).await;
            if !taken.is_empty() {
                return Some(taken);
            }
            if closing {
                return None;
            }
            self.changed().await;
        }
    }

    /// The next records that are there, `most` at most.
    pub(crate) async fn at_hand(&mut self, most: usize) -> Vec<OutboxRecord> {
        let mut backoff = retry_backoff();
        loop {
            match self.outbox.pending(self.sink, self.after, most, MOST_BYTES) {
                Ok(entries) => return self.decode(entries).await,
                Err(error) => {
                    self.gauge.failing("outbox", &error.to_string(), 0);
                    tokio::time::sleep(backoff.next_wait()).await;
                }
            }
        }
    }

    /// Until something was added since this was last awaited, or nothing will be.
    pub(crate) async fn changed(&self) {
        tokio::select! {
            () = self.outbox.changed(self.sink) => {}
            () = self.closing.cancelled() => {}
        }
    }

    async fn decode(&mut self, entries: Vec<::outbox::Entry>) -> Vec<OutboxRecord> {
        let mut records = Vec::with_capacity(entries.len());
        for entry in entries {
            self.after = Some(entry.id);
            match OutboxRecord::decode(entry) {
                Ok(record) if self.is_left_out(&record) => {}
                Ok(record) => records.push(record),
                Err(error) => {
                    self.outbox.ack(self.sink, &[error.id]);
                    telemetry::Unreadable { sink: self.gauge.name(), error: &error }.emit();
                    self.gauge.gave_up();
                }
            }
        }
        records
    }

    /// Whether another process delivers the record in place of this one. Such a record is put aside without an
    /// acknowledgement: it leaves the outbox once nothing depends on it (`surrender`).
    pub(crate) fn is_left_out(&self, record: &OutboxRecord) -> bool {
        self.progress.leaves_out()
            && self.progress.is_left_out(&record.camera, record.header.seq, self.gauge.name())
    }

    /// The sink has accepted the record.
    pub(crate) fn delivered(&self, record: &OutboxRecord) {
        self.settle(record);
        self.gauge.delivered(record.age());
    }

    /// The sink can never accept the record: it becomes a dead letter.
    pub(crate) async fn never_valid(&self, record: &OutboxRecord, reason: String) {
        let sink = self.gauge.name().to_owned();
        Arc::clone(&self.dead_letters).add(sink, reason, record.clone()).await;
        self.settle(record);
        self.gauge.gave_up();
    }

    /// The progress first: who sees an empty queue may take it that the position has moved.
    fn settle(&self, record: &OutboxRecord) {
        self.progress.settled(&record.camera, record.header.seq, self.gauge.name());
        self.outbox.ack(self.sink, &[record.id]);
    }
}
