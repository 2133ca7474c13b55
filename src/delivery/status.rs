//! How each sink fares.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::Notify;

use crate::telemetry::publish as telemetry;

/// How a sink fares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkStatus {
    /// `outbox`, `local`, `kds/STREAM`, `dynamodb/TABLE`, `s3` or `positions/TABLE`.
    pub name: String,
    /// Whether events wait for it rather than be lost.
    pub required: bool,
    /// Whether the last attempt worked.
    pub state: SinkState,
    /// Events that wait for it in the outbox.
    pub queued: u64,
    /// Their records and pictures, bytes.
    pub queued_bytes: u64,
    /// When the oldest of them was taken in.
    pub oldest: Option<SystemTime>,
    /// Its share of the outbox, bytes; 0: it has none.
    pub share_bytes: u64,
    /// Events that it accepted since the start.
    pub delivered: u64,
    /// Attempts since the start that it refused, or that did not reach it.
    pub refused: u64,
    /// Events that it will never take since the start: dead letters, and those that its share had no room for.
    pub failed: u64,
}

impl SinkStatus {
    /// Of the outbox's disk.
    pub(crate) fn of_the_disk(health: &outbox::Health) -> Self {
        let state = match health {
            outbox::Health::Good => SinkState::Ok,
            outbox::Health::Failing { place, since, why } => {
                let reason = format!(
                    "cannot write {place} (state.dir): {why}; make room or mend the disk; nothing is lost meanwhile"
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
pub(crate) struct SinkGauge {
    name: String,
    required: bool,
    share_bytes: u64,
    /// Told of every change.
    changed: Arc<Notify>,
    state: Mutex<SinkState>,
    /// The code of the failure that was logged last.
    told: Mutex<String>,
    delivered: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
}

impl SinkGauge {
    pub(crate) fn new(name: &str, required: bool, share_bytes: u64, changed: Arc<Notify>) -> Self {
        let [delivered, refused, failed] = [0; 3].map(AtomicU64::new);
        let (name, state, told) = (name.to_owned(), Mutex::new(SinkState::Ok), Mutex::default());
        Self { name, required, share_bytes, changed, state, told, delivered, refused, failed }
    }

    pub(crate) fn is_required(&self) -> bool {
        self.required
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn share_bytes(&self) -> u64 {
        self.share_bytes
    }

    pub(crate) fn status(&self, queued: ::outbox::Queued) -> SinkStatus {
        SinkStatus {
            name: self.name.clone(),
            required: self.required,
            state: self.state.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            queued: queued.entries,
            queued_bytes: queued.bytes,
            oldest: queued.oldest.filter(|_| queued.entries > 0),
            share_bytes: self.share_bytes,
            delivered: self.delivered.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed) + queued.dropped,
        }
    }

    /// One that waited was accepted, so long after the confirming frame arrived.
    pub(crate) fn delivered(&self, since_arrival: Duration) {
        self.delivered.fetch_add(1, Ordering::Relaxed);
        telemetry::Delivered { sink: &self.name, since_arrival }.emit();
        self.changed.notify_waiters();
    }

    /// One that waited will never be delivered.
    pub(crate) fn gave_up(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        self.changed.notify_waiters();
    }

    /// An attempt failed; `retries` records or snapshots will be tried again.
    pub(crate) fn failing(&self, code: &str, text: &str, retries: u64) {
        self.refused.fetch_add(1, Ordering::Relaxed);
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
    pub(crate) fn works(&self) {
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
        let gauge = SinkGauge::new("kds/events", true, 4_096, Arc::default());
        gauge.delivered(Duration::ZERO);
        gauge.gave_up();
        gauge.failing("a", "refused", 1);
        gauge.works();
        let oldest = Some(SystemTime::UNIX_EPOCH);
        let queued = ::outbox::Queued { entries: 2, bytes: 900, dropped: 3, oldest };
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
            gauge.status(::outbox::Queued { entries: 0, ..queued }).oldest,
            None,
            "acknowledged, not off the disk yet"
        );
    }

    #[test]
    fn failing_lasts_from_its_first_failure_to_a_success() {
        let gauge = SinkGauge::new("s3", false, 0, Arc::default());
        let since = |gauge: &SinkGauge| match gauge.status(::outbox::Queued::default()).state {
            SinkState::Failing { since, .. } => Some(since),
            SinkState::Ok => None,
        };
        gauge.failing("a", "first", 1);
        let first = since(&gauge);
        gauge.failing("b", "second", 1);
        assert_eq!(since(&gauge), first);
        gauge.works();
        assert_eq!(gauge.status(::outbox::Queued::default()).state, SinkState::Ok);
    }
}
