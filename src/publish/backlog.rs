//! What waits in the outbox for one sink, in the order of its making.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::dead_letter::DeadLetters;
use super::parcel::Parcel;
use super::retry_backoff;
use super::settlement::Settlement;
use super::status::Gauge;
use crate::telemetry::publish as telemetry;

/// Bytes of records and pictures that a sink takes into memory at once, beyond the first.
const MOST_BYTES: u64 = 16 * 1024 * 1024;

/// A sink's end of the outbox. What was taken and not settled is there again after a restart.
pub(super) struct Backlog {
    pub(super) outbox: ::outbox::Outbox,
    pub(super) sink: ::outbox::SinkHandle,
    pub(super) gauge: Arc<Gauge>,
    pub(super) settlement: Arc<Settlement>,
    pub(super) dead_letters: Arc<DeadLetters>,
    /// Nothing is added any more.
    pub(super) closing: CancellationToken,
    /// The last entry that was taken.
    pub(super) after: Option<::outbox::EntryId>,
}

impl Backlog {
    /// The next parcels, `most` at most; waits while there are none. `None`: there are none, and there will be none.
    pub(super) async fn next(&mut self, most: usize) -> Option<Vec<Parcel>> {
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

    /// The next parcels that are there, `most` at most.
    pub(super) async fn at_hand(&mut self, most: usize) -> Vec<Parcel> {
        let mut backoff = retry_backoff();
        loop {
            match self.outbox.pending(self.sink, self.after, most, MOST_BYTES) {
                Ok(entries) => return self.unwrap(entries).await,
                Err(error) => {
                    self.gauge.failing("outbox", &error.to_string(), 0);
                    tokio::time::sleep(backoff.next_wait()).await;
                }
            }
        }
    }

    /// Until something was added since this was last awaited, or nothing will be.
    pub(super) async fn changed(&self) {
        tokio::select! {
            () = self.outbox.wait_for_entries(self.sink) => {}
            () = self.closing.cancelled() => {}
        }
    }

    async fn unwrap(&mut self, entries: Vec<::outbox::OutboxEntry>) -> Vec<Parcel> {
        let mut parcels = Vec::with_capacity(entries.len());
        for entry in entries {
            self.after = Some(entry.id);
            match Parcel::unwrap(entry) {
                Ok(parcel) if self.is_left_out(&parcel) => {}
                Ok(parcel) => parcels.push(parcel),
                Err(error) => {
                    self.outbox.ack(self.sink, &[error.id]);
                    telemetry::Unreadable { sink: self.gauge.name(), error: &error }.emit();
                    self.gauge.gave_up();
                }
            }
        }
        parcels
    }

    /// Whether another process delivers the parcel in place of this one. Such a parcel is put aside without an
    /// acknowledgement: it leaves the outbox once nothing depends on it (`surrender`).
    pub(super) fn is_left_out(&self, parcel: &Parcel) -> bool {
        self.settlement.leaves_out()
            && self.settlement.is_left_out(&parcel.camera, parcel.label.seq, self.gauge.name())
    }

    /// The sink has accepted the parcel.
    pub(super) fn delivered(&self, parcel: &Parcel) {
        self.settle(parcel);
        self.gauge.delivered(parcel.age());
    }

    /// The sink can never accept the parcel: it becomes a dead letter.
    pub(super) async fn never_valid(&self, parcel: &Parcel, reason: String) {
        let sink = self.gauge.name().to_owned();
        Arc::clone(&self.dead_letters).add(sink, reason, parcel.clone()).await;
        self.settle(parcel);
        self.gauge.gave_up();
    }

    /// The settlement first: who sees an empty queue may take it that the position has moved.
    fn settle(&self, parcel: &Parcel) {
        self.settlement.settled(&parcel.camera, parcel.label.seq, self.gauge.name());
        self.outbox.ack(self.sink, &[parcel.id]);
    }
}
