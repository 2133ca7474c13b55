//! Delivery of single events, several at once: for services that take one event per call.

use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;

use crate::aws::{AwsFailure, AwsResource};
use crate::delivery::{Backlog, OutboxRecord, SinkRun, retry_backoff};

/// A service that takes one event per call.
pub(crate) trait EventTarget: Send + Sync + 'static {
    /// Events under way at once while no attempt fails.
    const MAX_IN_FLIGHT: usize;

    /// Makes one attempt at one event.
    fn put(&self, record: &OutboxRecord) -> impl Future<Output = PutOutcome> + Send;
}

/// The outcome of an attempt.
#[derive(Debug)]
pub(crate) enum PutOutcome {
    /// The event is stored, by this attempt or by an earlier one.
    Stored,
    /// The event can never be stored, for this reason.
    Invalid(String),
    /// The attempt failed, and is made again.
    Failed {
        /// The error code, a label of metrics.
        code: String,
        /// The failure and its remedy, for a person.
        text: String,
    },
}

impl PutOutcome {
    /// Returns the outcome of a failed call on a resource.
    pub(crate) fn failed(resource: &AwsResource, failure: AwsFailure) -> Self {
        Self::Failed { text: resource.explain(&failure), code: failure.code }
    }
}

/// Delivers each event by a call of its own.
///
/// Delivery: at least once. Best effort: a failed event is tried again until the sink's share of the outbox has no room for it;
/// then the oldest are dropped. An event that can never be stored becomes a dead letter. A failed attempt halves the number of
/// events under way, a round without a failure doubles it.
pub(crate) struct EachSink<T> {
    target: T,
    backlog: Backlog,
    give_up: CancellationToken,
}

impl<T: EventTarget> EachSink<T> {
    pub(crate) fn new(target: T, run: SinkRun) -> Self {
        Self { target, backlog: run.backlog, give_up: run.give_up }
    }

    /// Delivers until the outbox is closed and nothing waits, or until `give_up`.
    pub(crate) async fn run(mut self) {
        let give_up = self.give_up.clone();
        // This cuts calls off. An event that was stored all the same is put again after the next start.
        give_up.run_until_cancelled(self.deliver()).await;
    }

    async fn deliver(&mut self) {
        let mut in_flight = T::MAX_IN_FLIGHT;
        while let Some(mut batch) = self.backlog.next(T::MAX_IN_FLIGHT).await {
            let mut backoff = retry_backoff();
            while !batch.is_empty() {
                // A camera may have been taken over while its events waited for the next attempt.
                batch.retain(|record| !self.backlog.is_left_out(record));
                let rest = batch.split_off(in_flight.min(batch.len()));
                let retries = self.attempt(batch).await;
                let all_stored = retries.is_empty();
                // A service that throttles gets fewer calls at once, and more again as soon as it accepts all.
                in_flight = match all_stored {
                    true => (in_flight * 2).min(T::MAX_IN_FLIGHT),
                    false => (in_flight / 2).max(1),
                };
                // Those that failed are the oldest, and come first.
                batch = [retries, rest].concat();
                if !all_stored {
                    tokio::time::sleep(backoff.next_wait()).await;
                }
            }
        }
    }

    /// Attempts each event of the batch at once, and returns those to be tried again.
    async fn attempt(&self, batch: Vec<OutboxRecord>) -> Vec<OutboxRecord> {
        let outcomes = join_all(batch.iter().map(|record| self.target.put(record))).await;
        let mut retries = Vec::new();
        for (record, outcome) in batch.into_iter().zip(outcomes) {
            match outcome {
                PutOutcome::Stored => self.backlog.delivered(&record),
                PutOutcome::Invalid(reason) => self.backlog.never_valid(&record, reason).await,
                PutOutcome::Failed { code, text } => {
                    self.backlog.gauge.failing(&code, &text, 1);
                    retries.push(record);
                }
            }
        }
        if retries.is_empty() {
            self.backlog.gauge.works();
        }
        retries
    }
}
