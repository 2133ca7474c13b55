//! A sink that takes one event at a time, a few at once.

use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;

use crate::aws::AwsFailure;
use crate::delivery::Backlog;
use crate::delivery::OutboxRecord;
use crate::delivery::retry_backoff;

/// Where single events go.
pub(crate) trait Target: Send + Sync + 'static {
    /// Events under way at once, when all goes well.
    const AT_ONCE: usize;

    /// One attempt at one event.
    fn put(&self, record: &OutboxRecord) -> impl Future<Output = Put> + Send;
}

/// What became of an attempt.
#[derive(Debug)]
pub(crate) enum Put {
    /// The event is there, by this attempt or by one before.
    There,
    /// It can never be, and why.
    Never(String),
    /// Not now: why, and what a person can do.
    Later(AwsFailure, String),
}

/// Delivers to a target.
///
/// Delivery: at least once. Best effort: what the share of the outbox has no room for is lost, the oldest first; until then
/// it is tried again. What can never be delivered becomes a dead letter. Each time that something fails half as many are
/// under way at once, each time that all goes well twice as many.
pub(crate) struct EachSink<T> {
    pub(crate) target: T,
    pub(crate) backlog: Backlog,
    pub(crate) give_up: CancellationToken,
}

impl<T: Target> EachSink<T> {
    /// Ends when the outbox takes nothing in any more and has nothing for it, or at `give_up`.
    pub(crate) async fn run(mut self) {
        let give_up = self.give_up.clone();
        give_up.run_until_cancelled(self.deliver()).await;
    }

    async fn deliver(&mut self) {
        let mut at_once = T::AT_ONCE;
        while let Some(mut batch) = self.backlog.next(T::AT_ONCE).await {
            let mut backoff = retry_backoff();
            while !batch.is_empty() {
                batch.retain(|record| !self.backlog.is_left_out(record));
                let rest = batch.split_off(at_once.min(batch.len()));
                let again = self.attempt(batch).await;
                let well = again.is_empty();
                at_once = if well { (at_once * 2).min(T::AT_ONCE) } else { (at_once / 2).max(1) };
                batch = [again, rest].concat();
                if !well {
                    tokio::time::sleep(backoff.next_wait()).await;
                }
            }
        }
    }

    /// What is to be tried again.
    async fn attempt(&self, batch: Vec<OutboxRecord>) -> Vec<OutboxRecord> {
        let puts = join_all(batch.iter().map(|record| self.target.put(record))).await;
        let mut again = Vec::new();
        for (record, put) in batch.into_iter().zip(puts) {
            match put {
                Put::There => self.backlog.delivered(&record),
                Put::Never(reason) => self.backlog.never_valid(&record, reason).await,
                Put::Later(fault, advice) => {
                    self.backlog.gauge.failing(&fault.code, &advice, 1);
                    again.push(record);
                }
            }
        }
        if again.is_empty() {
            self.backlog.gauge.works();
        }
        again
    }
}
