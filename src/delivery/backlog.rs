//! The records that wait in the outbox for one sink, oldest first.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::dead_letter::DeadLetters;
use super::delivery_progress::DeliveryProgress;
use super::outbox_record::OutboxRecord;
use super::retry::retry_backoff;
use super::status::SinkGauge;
use crate::telemetry::publish as telemetry;

/// Limit on the bytes of records and pictures that a sink reads into memory at once. A first record is read whatever its size.
const MAX_READ_BYTES: u64 = 16 * 1024 * 1024;
/// Limit on the entries that are read at once where no sink bounds them.
const MAX_READ_ENTRIES: usize = 1_000;

/// One sink's queue in the outbox. A record that was read and not acknowledged is there again after a restart.
pub(crate) struct Backlog {
    pub(crate) outbox: ::outbox::Outbox,
    pub(crate) sink: ::outbox::SinkHandle,
    pub(crate) gauge: Arc<SinkGauge>,
    pub(crate) progress: Arc<DeliveryProgress>,
    pub(crate) dead_letters: Arc<DeadLetters>,
    /// Cancelled when nothing is added any more.
    pub(crate) closing: CancellationToken,
    /// The last entry that was read.
    pub(crate) after: Option<::outbox::EntryId>,
}

impl Backlog {
    /// Returns up to `max` records, waiting for the first; `None`: there are none, and there will be none.
    pub(crate) async fn next(&mut self, max: usize) -> Option<Vec<OutboxRecord>> {
        loop {
            // Read before the queue: a record that is added after an empty read is then not missed.
            let closing = self.closing.is_cancelled();
            let records = self.available(max).await;
            if !records.is_empty() {
                return Some(records);
            }
            if closing {
                return None;
            }
            self.changed().await;
        }
    }

    /// Returns up to `max` records that are there already.
    pub(crate) async fn available(&mut self, max: usize) -> Vec<OutboxRecord> {
        loop {
            let entries = self.read(max).await;
            let is_end = entries.is_empty();
            let records = self.decode(entries).await;
            // There may be more behind records that are all skipped.
            if is_end || !records.is_empty() {
                return records;
            }
        }
    }

    async fn read(&self, max: usize) -> Vec<::outbox::OutboxEntry> {
        let mut backoff = retry_backoff();
        loop {
            match self.outbox.pending(self.sink, self.after, max, MAX_READ_BYTES) {
                Ok(entries) => return entries,
                Err(error) => {
                    // The writer closes the database after an error and opens it again, so a read that failed is repeated.
                    self.gauge.failing("outbox", &error.to_string(), 0);
                    tokio::time::sleep(backoff.next_wait()).await;
                }
            }
        }
    }

    /// Waits until a record was added since the last call, or none will be.
    pub(crate) async fn changed(&self) {
        tokio::select! {
            () = self.outbox.wait_for_entries(self.sink) => {}
            () = self.closing.cancelled() => {}
        }
    }

    async fn decode(&mut self, entries: Vec<::outbox::OutboxEntry>) -> Vec<OutboxRecord> {
        let mut records = Vec::with_capacity(entries.len());
        for entry in entries {
            // For a record that is skipped, too: the next read would return it again.
            self.after = Some(entry.id);
            match OutboxRecord::decode(entry) {
                Ok(record) if self.leaves_out(&record) => {}
                Ok(record) => records.push(record),
                Err(error) => {
                    // Acknowledged, since no later read could decode it either.
                    self.outbox.ack(self.sink, &[error.id]);
                    telemetry::RecordUnreadable { sink: self.gauge.name(), error: &error }.emit();
                    self.gauge.gave_up();
                }
            }
        }
        records
    }

    /// Returns whether another process delivers the record in place of this one, which skips it. A record of a shared camera is
    /// acknowledged, since the camera's item has it. Any other leaves the outbox once nothing depends on it (`surrender`).
    pub(crate) fn leaves_out(&self, record: &OutboxRecord) -> bool {
        let OutboxRecord { id, camera, header, .. } = record;
        if !self.progress.leaves_out() {
            return false;
        }
        let is_foreign = self.progress.is_foreign(camera, header.epoch, self.gauge.name());
        if is_foreign {
            self.outbox.ack(self.sink, &[*id]);
            self.gauge.shortened();
        }
        is_foreign || self.progress.is_left_out(camera, header.seq, self.gauge.name())
    }

    /// Acknowledges a record that the sink has accepted.
    pub(crate) fn delivered(&self, record: &OutboxRecord) {
        self.acknowledge(record);
        self.gauge.delivered(record.age());
    }

    /// Writes a record that the sink can never accept to the dead-letter file, and acknowledges it.
    pub(crate) async fn never_valid(&self, record: &OutboxRecord, reason: String) {
        let sink = self.gauge.name().to_owned();
        // Before the acknowledgement: a crash in between writes the line twice instead of never.
        Arc::clone(&self.dead_letters).add(sink, reason, record.clone()).await;
        self.acknowledge(record);
        self.gauge.gave_up();
    }

    /// Acknowledges a record that the sink cannot deliver, although the record is valid.
    pub(crate) fn given_up(&self, record: &OutboxRecord) {
        self.acknowledge(record);
        self.gauge.gave_up();
    }

    /// The progress comes first: a caller that sees an empty queue relies on the position having moved.
    fn acknowledge(&self, record: &OutboxRecord) {
        self.progress.settled(&record.camera, record.header.seq, self.gauge.name());
        self.outbox.ack(self.sink, &[record.id]);
    }
}

/// Calls `act` with each event that waits for a sink. Blocks for the disk.
pub(super) fn each_waiting(
    store: &::outbox::Outbox,
    sink: ::outbox::SinkHandle,
    mut act: impl FnMut(OutboxRecord),
) -> Result<(), ::outbox::ReadError> {
    let mut after = None;
    loop {
        let entries = store.pending(sink, after, MAX_READ_ENTRIES, MAX_READ_BYTES)?;
        let Some(last) = entries.last() else { return Ok(()) };
        after = Some(last.id);
        // An entry that cannot be decoded is reported when its sink reads it (`Backlog::decode`).
        entries.into_iter().filter_map(|entry| OutboxRecord::decode(entry).ok()).for_each(&mut act);
    }
}

/// Adds the events that waited when the outbox was opened to the delivery progress. Blocks for the disk.
pub(super) fn follow_waiting(
    store: &::outbox::Outbox,
    sinks: &[(Arc<str>, ::outbox::SinkHandle)],
    progress: &DeliveryProgress,
) -> Result<(), ::outbox::ReadError> {
    for (name, sink) in sinks {
        each_waiting(store, *sink, |record| {
            progress.taken(&record.camera, record.header.seq, [Arc::clone(name)]);
            if let Ok(payload) = record.payload() {
                progress.keep(&record.camera, record.header.seq, payload);
            }
        })?;
    }
    Ok(())
}
