//! Delivery status per sink.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::status::{SinkState, SinkStatus};
use crate::telemetry::publish as telemetry;

impl SinkStatus {
    /// Returns the status of the outbox's disk.
    pub(crate) fn of_the_disk(health: &outbox::DiskHealth) -> Self {
        let state = match health {
            outbox::DiskHealth::Good => SinkState::Ok,
            outbox::DiskHealth::Failing { location, since, why } => {
                let reason = format!(
                    "cannot write {location} (state.dir): {why}; make room or fix the disk; nothing is lost meanwhile"
                );
                let since = Instant::now().checked_sub(since.elapsed().unwrap_or_default());
                SinkState::Failing { reason, since: since.unwrap_or_else(Instant::now) }
            }
        };
        Self {
            name: "outbox".to_owned(),
            required: true,
            state,
            queued: 0,
            queued_bytes: 0,
            oldest: None,
            share_bytes: 0,
            delivered: 0,
            refused: 0,
            failed: 0,
        }
    }
}

/// A sink's counters and state, and their telemetry.
#[derive(Debug)]
pub(crate) struct SinkGauge {
    name: String,
    required: bool,
    share_bytes: u64,
    /// Notified of every change.
    changed: Arc<Notify>,
    state: Mutex<SinkState>,
    /// Code of the failure that was logged last.
    logged: Mutex<String>,
    delivered: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
}

impl SinkGauge {
    pub(crate) fn new(name: &str, required: bool, share_bytes: u64, changed: Arc<Notify>) -> Self {
        let [delivered, refused, failed] = [0; 3].map(AtomicU64::new);
        let (name, state, logged) = (name.to_owned(), Mutex::new(SinkState::Ok), Mutex::default());
        Self { name, required, share_bytes, changed, state, logged, delivered, refused, failed }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn share_bytes(&self) -> u64 {
        self.share_bytes
    }

    pub(crate) fn status(&self, queued: ::outbox::QueueStatus) -> SinkStatus {
        SinkStatus {
            name: self.name.clone(),
            required: self.required,
            state: self.state.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            queued: queued.entries,
            queued_bytes: queued.bytes,
            // An acknowledged entry stays on disk until the next transaction.
            oldest: queued.oldest.filter(|_| queued.entries > 0),
            share_bytes: self.share_bytes,
            delivered: self.delivered.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed) + queued.dropped,
        }
    }

    /// Counts an event that the sink accepted; `since_arrival`: since the confirming frame arrived.
    pub(crate) fn delivered(&self, since_arrival: Duration) {
        self.delivered.fetch_add(1, Ordering::Relaxed);
        telemetry::Delivered { sink: &self.name, since_arrival }.emit();
        self.changed.notify_waiters();
    }

    /// Reports that the sink's queue is shorter though nothing was delivered.
    pub(crate) fn shortened(&self) {
        self.changed.notify_waiters();
    }

    /// Counts an event that will never be delivered.
    pub(crate) fn gave_up(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        self.changed.notify_waiters();
    }

    /// Records a failed attempt; `retries`: records or snapshots to be tried again.
    pub(crate) fn failing(&self, code: &str, text: &str, retries: u64) {
        self.refused.fetch_add(1, Ordering::Relaxed);
        telemetry::AttemptFailed { sink: &self.name, reason: code, retries }.emit();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // The first failure counts, so that `/healthz` reports for how long the sink has failed.
        let since = match &*state {
            SinkState::Failing { since, .. } => *since,
            SinkState::Ok => Instant::now(),
        };
        self.log_failure(code, text);
        *state = SinkState::Failing { reason: text.to_owned(), since };
        self.changed.notify_waiters();
    }

    /// Logs a failure unless the last one logged had the same code. Texts differ from attempt to attempt: they may name a shard or
    /// a request.
    fn log_failure(&self, code: &str, reason: &str) {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        if *logged != code {
            code.clone_into(&mut logged);
            telemetry::SinkFailing { sink: &self.name, reason }.emit();
        }
    }

    /// Records an attempt that succeeded.
    pub(crate) fn works(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // Each batch calls this: only a change is logged, and wakes those who wait for one.
        if *state != SinkState::Ok {
            telemetry::SinkRecovered { sink: &self.name }.emit();
            *state = SinkState::Ok;
            self.logged.lock().unwrap_or_else(PoisonError::into_inner).clear();
            self.changed.notify_waiters();
        }
    }
}

/// Records that a sink had not delivered when the time to stop ran out. They stay in the outbox for the next start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UndeliveredRecords {
    /// Name of the sink.
    pub sink: String,
    /// `true` for a required sink.
    pub required: bool,
    /// Number of records or snapshots.
    pub count: u64,
}

impl UndeliveredRecords {
    /// Logs the undelivered records of a sink; `None`: there are none.
    pub(super) fn of(gauge: &SinkGauge, count: u64) -> Option<Self> {
        (count > 0).then(|| {
            let (sink, required) = (gauge.name(), gauge.required);
            telemetry::UndeliveredAtStop { sink, required, count }.emit();
            Self { sink: sink.to_owned(), required, count }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn a_status_counts_waiting_accepted_and_lost_events() {
        let gauge = SinkGauge::new("kds/events", true, 4_096, Arc::default());
        gauge.delivered(Duration::ZERO);
        gauge.gave_up();
        gauge.failing("a", "refused", 1);
        gauge.works();
        let oldest = Some(SystemTime::UNIX_EPOCH);
        let queued = ::outbox::QueueStatus { entries: 2, bytes: 900, dropped: 3, oldest };
        let expected = SinkStatus {
            name: "kds/events".into(),
            required: true,
            state: SinkState::Ok,
            queued: 2,
            queued_bytes: 900,
            oldest,
            share_bytes: 4_096,
            delivered: 1,
            refused: 1,
            failed: 4,
        };
        assert_eq!(gauge.status(queued), expected);
        assert_eq!(
            gauge.status(::outbox::QueueStatus { entries: 0, ..queued }).oldest,
            None,
            "acknowledged, not off the disk yet"
        );
    }

    #[test]
    fn failing_lasts_from_its_first_failure_to_a_success() {
        let gauge = SinkGauge::new("s3", false, 0, Arc::default());
        let since = |gauge: &SinkGauge| match gauge.status(::outbox::QueueStatus::default()).state {
            SinkState::Failing { since, .. } => Some(since),
            SinkState::Ok => None,
        };
        gauge.failing("a", "first", 1);
        let first = since(&gauge);
        gauge.failing("b", "second", 1);
        assert_eq!(since(&gauge), first);
        gauge.works();
        assert_eq!(gauge.status(::outbox::QueueStatus::default()).state, SinkState::Ok);
    }
}
