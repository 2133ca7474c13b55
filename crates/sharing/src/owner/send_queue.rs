//! Records that are written ahead and not yet accepted by the sink: one call of the sink under way, in order.

use crate::ids::spread;
use crate::item::PendingRecord;
use crate::limits::{RETRY_MAX_MS, RETRY_MIN_MS};

/// The state of the call of the sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum SinkCall {
    Idle,
    UnderWay { last_seq: u64 },
    Waiting { until_ms: u64 },
}

/// The records for the sink, in order. Bounded by the bounds of the item.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct SendQueue {
    unsent: Vec<PendingRecord>,
    call: SinkCall,
    failures: u32,
    /// The highest number that was queued before its write was acknowledged; 0 if none.
    unfenced_to: u64,
    /// Mutant without rule P: the records of the predecessor wait for the first own one.
    is_holding_back: bool,
}

impl SendQueue {
    pub(super) fn new(unsent: Vec<PendingRecord>, is_holding_back: bool) -> Self {
        Self { unsent, call: SinkCall::Idle, failures: 0, unfenced_to: 0, is_holding_back }
    }

    pub(super) fn records(&self) -> &[PendingRecord] {
        &self.unsent
    }

    /// Appends records that are written ahead.
    pub(super) fn push(&mut self, mut records: Vec<PendingRecord>) {
        if self.is_holding_back && !records.is_empty() {
            self.is_holding_back = false;
            records.append(&mut self.unsent);
        }
        self.unsent.append(&mut records);
    }

    /// Appends records whose write is not acknowledged.
    pub(super) fn push_unfenced(&mut self, records: Vec<PendingRecord>) {
        if let Some(last) = records.last() {
            self.unfenced_to = last.seq;
        }
        self.push(records);
    }

    /// Notes that the item holds every record up to this number.
    pub(super) fn fence_to(&mut self, seq: u64) {
        if self.unfenced_to <= seq {
            self.unfenced_to = 0;
        }
    }

    /// Starts a call of the sink with every record if none is under way; returns the records, and `true` if all are fenced.
    pub(super) fn start(&mut self, now_ms: u64) -> Option<(Vec<PendingRecord>, bool)> {
        match self.call {
            SinkCall::UnderWay { .. } => return None,
            SinkCall::Waiting { until_ms } if now_ms < until_ms => return None,
            SinkCall::Waiting { .. } | SinkCall::Idle => {}
        }
        let last_seq = self.unsent.last().filter(|_| !self.is_holding_back)?.seq;
        self.call = SinkCall::UnderWay { last_seq };
        let is_fenced = self.unfenced_to == 0;
        Some((self.unsent.clone(), is_fenced))
    }

    /// Mutant without rule T: forgets the records before the sink has answered.
    pub(super) fn forget(&mut self) {
        self.unsent.clear();
    }

    /// Takes the sink's answer: every record up to `up_to` is accepted. Returns `true` if a record left the queue.
    pub(super) fn finish(&mut self, now_ms: u64, up_to: u64) -> bool {
        let SinkCall::UnderWay { last_seq } = self.call else { return false };
        let before = self.unsent.len();
        self.unsent.retain(|record| record.seq > up_to.min(last_seq));
        let is_shorter = self.unsent.len() < before;
        if up_to >= last_seq {
            (self.call, self.failures) = (SinkCall::Idle, 0);
        } else {
            self.failures = if is_shorter { 0 } else { self.failures.saturating_add(1) };
            self.call = SinkCall::Waiting { until_ms: now_ms + retry_delay_ms(last_seq, self.failures) };
        }
        is_shorter
    }

    pub(super) fn wake_at(&self) -> Option<u64> {
        match self.call {
            SinkCall::Waiting { until_ms } => Some(until_ms),
            SinkCall::Idle | SinkCall::UnderWay { .. } => None,
        }
    }

    /// Replaces times and counts by constants, so that a model's states stay few.
    #[cfg(test)]
    pub(super) fn settle(&mut self, retry_at_ms: u64) {
        self.failures = 0;
        if let SinkCall::Waiting { until_ms } = &mut self.call {
            *until_ms = retry_at_ms;
        }
    }
}

/// Returns the delay before the next attempt: it doubles with each failure, and the jitter depends on the number alone.
pub(crate) fn retry_delay_ms(number: u64, failures: u32) -> u64 {
    let delay = (RETRY_MIN_MS << failures.saturating_sub(1).min(10)).min(RETRY_MAX_MS);
    let jitter = (RETRY_MIN_MS * 3).min(delay * 3);
    delay + spread("retry", number ^ (u64::from(failures) << 32), jitter)
}
