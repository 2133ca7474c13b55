//! A sink that takes one event at a time, a few at once.

use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;

use super::backlog::Backlog;
use super::fault::Fault;
use super::parcel::Parcel;
use super::retry_backoff;

/// Where single events go.
pub(super) trait Target: Send + Sync + 'static {
    /// Events under way at once, when all goes well.
    const AT_ONCE: usize;

    /// One attempt at one event.
    fn put(&self, parcel: &Parcel) -> impl Future<Output = Put> + Send;
}

/// What became of an attempt.
#[derive(Debug)]
pub(super) enum Put {
    /// The event is there, by this attempt or by one before.
    There,
    /// It can never be, and why.
    Never(String),
    /// Not now: why, and what a person can do.
    Later(Fault, String),
}

/// Delivers to a target.
///
/// Delivery: at least once. Best effort: what the share of the outbox has no room for is lost, the oldest first; until then
/// it is tried again. What can never be delivered becomes a dead letter. Each time that something fails half as many are
/// under way at once, each time that all goes well twice as many.
pub(super) struct EachSink<T> {
    pub(super) target: T,
    pub(super) backlog: Backlog,
    pub(super) give_up: CancellationToken,
}

impl<T: Target> EachSink<T> {
    /// Ends when the outbox takes nothing in any more and has nothing for it, or at `give_up`.
    pub(super) async fn run(mut self) {
        let give_up = self.give_up.clone();
        give_up.run_until_cancelled(self.deliver()).await;
    }

    async fn deliver(&mut self) {
        let mut at_once = T::AT_ONCE;
        while let Some(mut batch) = self.backlog.next(T::AT_ONCE).await {
            let mut backoff = retry_backoff();
            while !batch.is_empty() {
                batch.retain(|parcel| !self.backlog.is_left_out(parcel));
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
    async fn attempt(&self, batch: Vec<Parcel>) -> Vec<Parcel> {
        let puts = join_all(batch.iter().map(|parcel| self.target.put(parcel))).await;
        let mut again = Vec::new();
        for (parcel, put) in batch.into_iter().zip(puts) {
            match put {
                Put::There => self.backlog.delivered(&parcel),
                Put::Never(reason) => self.backlog.never_valid(&parcel, reason).await,
                Put::Later(fault, advice) => {
                    self.backlog.gauge.failing(&fault.code, &advice, 1);
                    again.push(parcel);
                }
            }
        }
        if again.is_empty() {
            self.backlog.gauge.works();
        }
        again
    }
}
