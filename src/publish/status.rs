//! How each sink fares.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;

use crate::telemetry::publish as telemetry;

/// How a sink fares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkStatus {
    /// `local`, `snapshots`, `s3` or `kds/STREAM`.
    pub name: String,
    /// Whether events wait for it rather than be lost.
    pub required: bool,
    /// Whether the last attempt worked.
    pub state: SinkState,
    /// Records or snapshots that wait.
    pub queued: u64,
    /// Records or snapshots that can wait; 0 where they are not counted: S3 keeps so many bytes.
    pub queue_limit: u64,
    /// Records or snapshots that it accepted.
    pub delivered: u64,
    /// Records that went to the dead-letter file, or snapshots that were given up.
    pub failed: u64,
}

/// Whether a sink works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SinkState {
    /// The last attempt worked, or there was none.
    Ok,
    /// It does not work now, and is tried again.
    Failing {
        /// Why, and what to do.
        reason: String,
        /// Since when.
        since: Instant,
    },
}

/// A sink's status as it changes, with its telemetry.
#[derive(Debug)]
pub(super) struct Gauge {
    name: String,
    required: bool,
    queue_limit: u64,
    /// Told of every change.
    changed: Arc<Notify>,
    state: Mutex<SinkState>,
    /// The code of the failure that was logged last.
    told: Mutex<String>,
    queued: AtomicU64,
    delivered: AtomicU64,
    failed: AtomicU64,
}

impl Gauge {
    pub(super) fn new(name: &str, required: bool, queue_limit: u64, changed: Arc<Notify>) -> Self {
        let zero = || AtomicU64::new(0);
        let (queued, delivered, failed) = (zero(), zero(), zero());
        let (name, state, told) = (name.to_owned(), Mutex::new(SinkState::Ok), Mutex::default());
        Self { name, required, queue_limit, changed, state, told, queued, delivered, failed }
    }

    pub(super) fn is_required(&self) -> bool {
        self.required
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn status(&self) -> SinkStatus {
        SinkStatus {
            name: self.name.clone(),
            required: self.required,
            state: self.state.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            queued: self.queued.load(Ordering::Relaxed),
            queue_limit: self.queue_limit,
            delivered: self.delivered.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
        }
    }

    pub(super) fn queued(&self) -> u64 {
        self.queued.load(Ordering::Relaxed)
    }

    /// One more waits. Call it before the item can be taken.
    pub(super) fn enqueued(&self) {
        let count = self.queued.fetch_add(1, Ordering::Relaxed) + 1;
        self.show_queued(count);
    }

    /// One that waited was accepted.
    pub(super) fn delivered(&self, arrived: Instant) {
        self.delivered.fetch_add(1, Ordering::Relaxed);
        self.unqueued(1);
        telemetry::Delivered { sink: &self.name, since_arrival: arrived.elapsed() }.emit();
    }

    /// One that waited will never be delivered.
    pub(super) fn gave_up(&self, count: u64) {
        self.failed.fetch_add(count, Ordering::Relaxed);
        self.unqueued(count);
    }

    fn unqueued(&self, count: u64) {
        let count = self.queued.fetch_sub(count, Ordering::Relaxed).saturating_sub(count);
        self.show_queued(count);
    }

    fn show_queued(&self, count: u64) {
        telemetry::Queued { sink: &self.name, count }.emit();
        self.changed.notify_waiters();
    }

    /// An attempt failed; `retries` records or snapshots will be tried again.
    pub(super) fn failing(&self, code: &str, text: &str, retries: u64) {
        telemetry::AttemptFailed { sink: &self.name, reason: code, retries }.emit();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let since = match &*state {
            SinkState::Failing { since, .. } => *since,
            SinkState::Ok => Instant::now(),
        };
        self.tell_failing(code, text);
        *state = SinkState::Failing { reason: text.to_owned(), since };
        self.changed.notify_waiters();
    }

    /// Once for each code: texts may name a shard or a request.
    fn tell_failing(&self, code: &str, reason: &str) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if *told != code {
            code.clone_into(&mut told);
            telemetry::SinkFailing { sink: &self.name, reason }.emit();
        }
    }

    /// An attempt worked.
    pub(super) fn works(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if *state != SinkState::Ok {
            telemetry::SinkRecovered { sink: &self.name }.emit();
            *state = SinkState::Ok;
            self.told.lock().unwrap_or_else(PoisonError::into_inner).clear();
            self.changed.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_counts_what_waits_what_arrived_and_what_was_given_up() {
        let gauge = Gauge::new("kds/events", true, 2_000, Arc::default());
        (0..5).for_each(|_| gauge.enqueued());
        gauge.delivered(Instant::now());
        gauge.gave_up(2);
        let expected = SinkStatus {
            name: "kds/events".into(),
            required: true,
            state: SinkState::Ok,
            queued: 2,
            queue_limit: 2_000,
            delivered: 1,
            failed: 2,
        };
        assert_eq!(gauge.status(), expected);
    }

    #[test]
    fn failing_lasts_from_its_first_failure_to_a_success() {
        let gauge = Gauge::new("s3", false, 0, Arc::default());
        let since = |gauge: &Gauge| match gauge.status().state {
            SinkState::Failing { since, .. } => Some(since),
            SinkState::Ok => None,
        };
        gauge.failing("a", "first", 1);
        let first = since(&gauge);
        gauge.failing("b", "second", 1);
        assert_eq!(since(&gauge), first);
        gauge.works();
        assert_eq!(gauge.status().state, SinkState::Ok);
    }
}
