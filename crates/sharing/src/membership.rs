//! A worker's own row: joining, beating, and the loss of the row.

use std::sync::Arc;

use crate::call_timer::CallTimer;
use crate::ids::WorkerId;
use crate::limits::{BEAT_MS, COURTESY_MS, OWN_ROW_READ_MS, RETRY_MIN_MS};
use crate::members::{MemberPhase, MemberRow};
use crate::table::{TableAnswer, TableCall};

/// A worker's own row, and the calls on it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct WorkerMembership {
    me: WorkerId,
    row: MemberRow,
    is_joined: bool,
    beats: CallTimer,
    failures: u32,
    reads: CallTimer,
    /// The sending time of the last acknowledged beat, or the start.
    acknowledged_ms: u64,
}

impl WorkerMembership {
    pub(crate) fn new(now_ms: u64, me: WorkerId, row: MemberRow) -> Self {
        Self {
            me,
            row,
            is_joined: false,
            beats: CallTimer::new(now_ms),
            failures: 0,
            reads: CallTimer::new(now_ms + OWN_ROW_READ_MS),
            acknowledged_ms: now_ms,
        }
    }

    pub(crate) fn row(&self) -> &MemberRow {
        &self.row
    }

    /// Changes the row, which the next beat writes.
    pub(crate) fn row_mut(&mut self) -> &mut MemberRow {
        &mut self.row
    }

    /// Changes the phase, and writes it at once.
    pub(crate) fn set_phase(&mut self, now_ms: u64, phase: MemberPhase) {
        self.row.phase = phase;
        self.beats.hasten(now_ms);
    }

    pub(crate) fn is_joined(&self) -> bool {
        self.is_joined
    }

    /// Returns the beat or the read of the own row that is due.
    pub(crate) fn calls(&mut self, now_ms: u64, cameras: usize) -> Vec<TableCall> {
        let mut calls = Vec::new();
        let worker = || self.me.clone();
        if self.beats.start(now_ms) {
            self.row.beat += 1;
            self.row.cameras = u64::try_from(cameras).unwrap_or(u64::MAX);
            let row = self.row.clone();
            calls.push(if self.is_joined {
                TableCall::Beat { worker: worker(), row }
            } else {
                TableCall::Join { worker: worker(), row }
            });
        }
        if self.is_joined && self.reads.start(now_ms) {
            calls.push(TableCall::ReadOwnRow { worker: worker() });
        }
        calls
    }

    /// Takes the answer to a beat; returns `false` if the row is gone: this worker was expelled.
    ///
    /// A refused `Join` means that an earlier one was applied and its answer lost, because an id is never used twice.
    pub(crate) fn beaten(&mut self, now_ms: u64, is_join: bool, answer: &TableAnswer) -> bool {
        match answer {
            TableAnswer::Done => {
                self.acknowledged_ms = self.beats.finish(now_ms, BEAT_MS);
                (self.is_joined, self.failures) = (true, 0);
                true
            }
            TableAnswer::Refused => {
                self.is_joined = is_join;
                self.beats.retry(now_ms, 0);
                is_join
            }
            _ => {
                self.failures = self.failures.saturating_add(1);
                self.beats.retry(now_ms, (RETRY_MIN_MS << self.failures.min(4)).min(BEAT_MS / 2));
                true
            }
        }
    }

    /// Takes the answer to the read of the own row, and returns the number of the plan.
    ///
    /// The read may be stale, so a missing row only makes the next beat come at once.
    pub(crate) fn row_read(&mut self, now_ms: u64, answer: &TableAnswer) -> Option<u64> {
        self.reads.finish(now_ms, OWN_ROW_READ_MS);
        match answer {
            TableAnswer::OwnRow(Some(row)) => Some(row.plan),
            TableAnswer::OwnRow(None) => {
                self.beats.hasten(now_ms);
                None
            }
            _ => None,
        }
    }

    /// Returns the time from which this worker counts as cut off from the table.
    pub(crate) fn isolated_at(&self) -> u64 {
        self.acknowledged_ms + COURTESY_MS
    }

    /// Sets what the row says about the worker's equipment.
    pub(crate) fn set_models(&mut self, models: impl IntoIterator<Item = Arc<str>>) {
        self.row.models = models.into_iter().collect();
    }

    pub(crate) fn wake_at(&self) -> Option<u64> {
        let reads = self.reads.wake_at().filter(|_| self.is_joined);
        [self.beats.wake_at(), reads].into_iter().flatten().min()
    }
}
