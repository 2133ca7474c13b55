//! The owner's side of one camera: the fenced write-ahead.
//!
//! ```text
//! decide --commit--> [ queue ] --write: state + pending, if rev and epoch--> item --acknowledged--> [ unsent ] --> sink
//!                        ^                                                                             |
//!                        +----------- room, and the next write leaves the record out <---- accepted ---+
//! ```
//!
//! This part knows nothing of other workers. A single process uses it alone: it reads the item, applies
//! [`crate::CameraItem::claim_for`] its own fixed id, and makes an [`Owner`] of the item after the claim.
//!
//! # Rules
//!
//! - **W**: a record is sent only after the write that holds it has been acknowledged.
//! - **R**, **F**: a write names revision, epoch and owner, so copies of older writes and writes of former owners change nothing.
//! - **P**: records that the predecessor left are sent before new ones.
//! - **T**: a record leaves `pending` only after the sink has accepted it.
//!
//! One write and one call of the sink are under way at a time. A write that got no answer is repeated unchanged: if the item
//! holds exactly this write, the answer was lost; if it holds anything else, the camera has another owner.
//!
//! # Duties of the caller
//!
//! - Each [`OwnerOutput::Write`] gets one answer: `Written`, `Refused` or `WriteFailed` (timeout, throttled, unreachable).
//! - Each [`OwnerOutput::Send`] gets one answer: `Sent`, also when the sink accepted none or some of the records. The sink must
//!   accept the records in order: none after one that it refused.
//! - Call [`Owner::step`] with `Wake` at [`Owner::wake_at`] or later.
//! - After `Hold`, decide no further frame before `Resume`. After `Over`, send and decide nothing.
//!
//! # Where this differs from a plain bound of 32 records
//!
//! The events of one frame are one commit with one state after it, and a frame may end more than 32 incidents at once. Such a
//! commit could never fit, and the camera would wait forever. So a commit of up to [`MAX_COMMIT_RECORDS`](crate::limits::MAX_COMMIT_RECORDS) is taken when
//! nothing else is pending.

mod commit;
mod send_queue;

pub use commit::{CommitRejection, OwnerCommit};
pub(crate) use send_queue::retry_delay_ms;

use std::sync::Arc;

use crate::ids::{CameraKey, WorkerId, spread};
use crate::item::{CameraItem, CameraResumeState, ItemCall, OwnerAfter, OwnerWrite, PendingRecord};
use crate::limits::{FINAL_SEND_MS, POSITION_MS, STRIKES_CLEAR_MS, TABLE_AWAY_MS};
use crate::rules::SafetyRules;
use commit::{OwnerCommits, RecordTotals};
use send_queue::SendQueue;

/// The behaviour of an owner whose table does not answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum WhenTableIsAway {
    /// Records wait for their write: late, never under two ids.
    Hold,
    /// After [`TABLE_AWAY_MS`] records are sent before their write is acknowledged, and marked as not fenced. No camera changes hands
    /// while the table is away for all, so only an owner that dies in that time causes a second id. An owner that alone is cut off
    /// cannot know that: it sends on while its successor decides the same events again.
    #[default]
    Publish,
}

/// Settings of an owner.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OwnerSettings {
    /// The camera.
    pub camera: CameraKey,
    /// This process.
    pub worker: WorkerId,
    /// The hash of the camera's settings in force.
    pub spec: Arc<str>,
    /// The behaviour while the table does not answer.
    pub when_away: WhenTableIsAway,
}

/// An input of an owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OwnerInput {
    /// The camera decided a frame, or its position moved.
    Commit(OwnerCommit),
    /// The write was applied.
    Written,
    /// The condition of the write was not met; this is the item.
    Refused(Box<CameraItem>),
    /// The write got no answer, or an error other than a refusal: it may have been applied.
    WriteFailed,
    /// The call of the sink has ended; every record up to this number is accepted (0: none).
    Sent {
        /// The number of the last accepted record.
        up_to: u64,
    },
    /// The camera runs with other settings; this is their hash.
    Spec(Arc<str>),
    /// The camera has stopped deciding: make the final write, after which it has this owner.
    Stop(OwnerAfter),
    /// Time has passed.
    Wake,
}

/// An output of an owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OwnerOutput {
    /// Make this call on the camera's item.
    Write(ItemCall),
    /// Send these records to the required sinks, in order.
    Send {
        /// The records.
        records: Vec<PendingRecord>,
        /// `false` if a record's write is not acknowledged ([`WhenTableIsAway::Publish`]).
        is_fenced: bool,
    },
    /// Too many records are pending: decide no further frame before `Resume`.
    Hold,
    /// The camera may decide again.
    Resume,
    /// The commit was not taken.
    Rejected(CommitRejection),
    /// The hand-over was called off before the final write: this process stays the owner, and the camera resumes.
    Kept,
    /// The ownership has ended: decide and send nothing more.
    Over(OwnerEnd),
}

/// The way in which an ownership ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OwnerEnd {
    /// A write was refused: another worker has the camera. Stop at once.
    Fenced,
    /// The final write was applied.
    Released,
}

/// The owner of one camera.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Owner {
    rules: SafetyRules,
    settings: OwnerSettings,
    epoch: u64,
    rev: u64,
    state: CameraResumeState,
    commits: OwnerCommits,
    sends: SendQueue,
    write: Option<WriteUnderWay>,
    /// The item holds records that the sink has accepted.
    is_item_behind: bool,
    is_spec_new: bool,
    has_strikes: bool,
    since_ms: u64,
    position_due_ms: u64,
    /// The time of the first and the last of the failures of a write in a row.
    failing_ms: Option<(u64, u64)>,
    stop: Option<OwnerStop>,
    end: Option<OwnerEnd>,
}

/// A write without an acknowledgement.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct WriteUnderWay {
    write: OwnerWrite,
    /// The records that were in no earlier write and are not in the send queue.
    added: Vec<PendingRecord>,
    failures: u32,
    /// The time of the next attempt; `None` while one is under way.
    retry_at_ms: Option<u64>,
}

/// The end that the caller asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct OwnerStop {
    then: OwnerAfter,
    by_ms: u64,
}

impl Owner {
    /// Creates the owner of an item that names this worker as its owner.
    ///
    /// Records in `pending` are sent first: call [`Owner::step`] with `Wake` at once.
    #[must_use]
    pub fn new(settings: OwnerSettings, item: &CameraItem, now_ms: u64) -> Self {
        Self::with_rules(SafetyRules::ALL, settings, item, now_ms)
    }

    pub(crate) fn with_rules(
        rules: SafetyRules,
        settings: OwnerSettings,
        item: &CameraItem,
        now_ms: u64,
    ) -> Self {
        let half = POSITION_MS / 2;
        Self {
            rules,
            epoch: item.epoch,
            rev: item.rev,
            state: item.state.clone(),
            commits: OwnerCommits::new(item.state.seq),
            sends: SendQueue::new(item.pending.clone(), !rules.pending_first),
            write: None,
            is_item_behind: false,
            is_spec_new: item.spec != settings.spec,
            has_strikes: item.strikes > 0,
            since_ms: now_ms,
            position_due_ms: now_ms + half + spread(settings.camera.as_str(), item.epoch, half),
            failing_ms: None,
            stop: None,
            end: None,
            settings,
        }
    }

    /// Takes an input at `now_ms`, and returns what is to be done, in order.
    #[must_use]
    pub fn step(&mut self, now_ms: u64, input: OwnerInput) -> Vec<OwnerOutput> {
        let mut out = Vec::new();
        match input {
            OwnerInput::Commit(commit) => self.commit(commit, &mut out),
            OwnerInput::Written => self.written(now_ms, &mut out),
            OwnerInput::Refused(there) => self.refused(now_ms, &there, &mut out),
            OwnerInput::WriteFailed => self.write_failed(now_ms),
            OwnerInput::Sent { up_to } => self.is_item_behind |= self.sends.finish(now_ms, up_to),
            OwnerInput::Spec(spec) => self.set_spec(spec),
            OwnerInput::Stop(then) => self.stop = Some(OwnerStop { then, by_ms: now_ms + FINAL_SEND_MS }),
            OwnerInput::Wake => {}
        }
        if self.end.is_none() {
            self.advance(now_ms, &mut out);
        }
        out
    }

    /// Returns the time at which the owner needs a `Wake`, if nothing else comes before.
    #[must_use]
    pub fn wake_at(&self) -> Option<u64> {
        if self.end.is_some() {
            return None;
        }
        let write = match &self.write {
            Some(write) => write.retry_at_ms,
            None if self.has_news() => Some(self.position_due_ms),
            None => self.strikes_due_ms(),
        };
        let stop = self.stop.as_ref().filter(|_| self.write.is_none()).map(|stop| stop.by_ms);
        [write, stop, self.sends.wake_at()].into_iter().flatten().min()
    }

    /// Returns the epoch of the ownership, which belongs into each record.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Returns the end of the ownership; `None` while it lasts.
    #[must_use]
    pub fn end(&self) -> Option<OwnerEnd> {
        self.end
    }

    /// Returns `true` if the camera waits for room.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.commits.is_held()
    }

    /// Returns `true` if nothing waits for the table or the sink.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.write.is_none() && !self.has_news() && self.sends.records().is_empty()
    }

    fn commit(&mut self, commit: OwnerCommit, out: &mut Vec<OwnerOutput>) {
        if self.stop.is_some() || self.end.is_some() {
            out.push(OwnerOutput::Rejected(CommitRejection::Stopped));
            return;
        }
        match self.commits.push(commit, self.stored_totals()) {
            Ok(true) => {}
            Ok(false) => out.push(OwnerOutput::Hold),
            Err(rejection) => out.push(OwnerOutput::Rejected(rejection)),
        }
    }

    fn written(&mut self, now_ms: u64, out: &mut Vec<OwnerOutput>) {
        let Some(WriteUnderWay { write, added, .. }) = self.write.take() else { return };
        self.failing_ms = None;
        if write.then != OwnerAfter::Same {
            self.finish(OwnerEnd::Released, out);
            return;
        }
        self.rev = write.rev + 1;
        self.has_strikes &= !write.clear_strikes;
        self.is_spec_new = write.spec != self.settings.spec;
        self.sends.push(added);
        self.sends.fence_to(write.state.seq);
        let first_unsent = self.sends.records().first().map_or(u64::MAX, |record| record.seq);
        self.is_item_behind = write.pending.first().is_some_and(|record| record.seq < first_unsent);
        self.position_due_ms = now_ms + POSITION_MS;
    }

    fn refused(&mut self, now_ms: u64, there: &CameraItem, out: &mut Vec<OwnerOutput>) {
        let Some(under_way) = &self.write else { return };
        let write = &under_way.write;
        if write.is_stored_in(there) {
            self.written(now_ms, out);
        } else if write.then != OwnerAfter::Same && self.is_still_owner(there) {
            self.keep(out);
        } else {
            self.finish(OwnerEnd::Fenced, out);
        }
    }

    /// The revision says that no write was applied since ours was made: only the offer is gone.
    fn is_still_owner(&self, there: &CameraItem) -> bool {
        there.owner.as_ref() == Some(&self.settings.worker)
            && there.epoch == self.epoch
            && there.rev == self.rev
    }

    fn keep(&mut self, out: &mut Vec<OwnerOutput>) {
        self.stop = None;
        self.failing_ms = None;
        if let Some(WriteUnderWay { write, added, .. }) = self.write.take() {
            self.commits.put_back(OwnerCommit { state: write.state, records: added });
        }
        out.push(OwnerOutput::Kept);
    }

    fn write_failed(&mut self, now_ms: u64) {
        let Some(under_way) = &mut self.write else { return };
        under_way.failures = under_way.failures.saturating_add(1);
        let number = self.rev ^ spread(self.settings.camera.as_str(), 0, u64::MAX);
        under_way.retry_at_ms = Some(now_ms + retry_delay_ms(number, under_way.failures));
        self.failing_ms = Some((self.failing_ms.map_or(now_ms, |(first, _)| first), now_ms));
    }

    fn set_spec(&mut self, spec: Arc<str>) {
        self.is_spec_new |= spec != self.settings.spec;
        self.settings.spec = spec;
    }

    fn finish(&mut self, end: OwnerEnd, out: &mut Vec<OwnerOutput>) {
        self.end = Some(end);
        self.write = None;
        out.push(OwnerOutput::Over(end));
    }

    fn advance(&mut self, now_ms: u64, out: &mut Vec<OwnerOutput>) {
        if self.commits.admit_held(self.stored_totals()) {
            out.push(OwnerOutput::Resume);
        }
        self.release_unfenced();
        self.retry_write(now_ms, out);
        self.start_write(now_ms, out);
        self.start_send(now_ms, out);
    }

    /// Moves records to the sink whose write is not acknowledged, if the table is away and that is allowed.
    fn release_unfenced(&mut self) {
        // By failures and not by the clock: a process that was suspended asks the table first.
        let is_away = self.failing_ms.is_some_and(|(first, last)| last >= first + TABLE_AWAY_MS);
        let is_allowed =
            is_away && self.settings.when_away == WhenTableIsAway::Publish && self.stop.is_none();
        if !is_allowed && self.rules.write_ahead {
            return;
        }
        let mut records = match &mut self.write {
            Some(under_way) => std::mem::take(&mut under_way.added),
            None => Vec::new(),
        };
        records.extend(self.commits.take_records());
        self.sends.push_unfenced(records);
    }

    fn retry_write(&mut self, now_ms: u64, out: &mut Vec<OwnerOutput>) {
        let Some(under_way) = &mut self.write else { return };
        if under_way.retry_at_ms.is_some_and(|at| now_ms >= at) {
            under_way.retry_at_ms = None;
            out.push(OwnerOutput::Write(ItemCall::Write(under_way.write.clone())));
        }
    }

    fn start_write(&mut self, now_ms: u64, out: &mut Vec<OwnerOutput>) {
        if self.write.is_some() {
            return;
        }
        let then = match self.final_owner(now_ms) {
            Some(then) => then,
            None if self.is_write_due(now_ms) => OwnerAfter::Same,
            None => return,
        };
        let commit = self.commits.take();
        let OwnerCommit { state, records } =
            commit.unwrap_or_else(|| OwnerCommit { state: self.state.clone(), records: Vec::new() });
        self.state = state.clone();
        let write = OwnerWrite {
            owner: self.settings.worker.clone(),
            epoch: self.epoch,
            rev: self.rev,
            state,
            pending: [self.sends.records(), &records].concat(),
            spec: self.settings.spec.clone(),
            // An owner that ends in order breaks the row of owners that died.
            clear_strikes: then != OwnerAfter::Same || self.strikes_due_ms().is_some_and(|due| now_ms >= due),
            then,
        };
        out.push(OwnerOutput::Write(ItemCall::Write(write.clone())));
        self.position_due_ms = now_ms + POSITION_MS;
        self.write = Some(WriteUnderWay { write, added: records, failures: 0, retry_at_ms: None });
    }

    /// Returns the owner after the final write, once that write is due.
    fn final_owner(&self, now_ms: u64) -> Option<OwnerAfter> {
        let stop = self.stop.as_ref()?;
        let is_all_sent = self.sends.records().is_empty() && !self.commits.has_records();
        // A commit that is still held was never written: the successor decides its frame again.
        (is_all_sent || now_ms >= stop.by_ms).then(|| stop.then.clone())
    }

    fn is_write_due(&self, now_ms: u64) -> bool {
        self.commits.has_records()
            || self.is_spec_new
            || (self.has_news() && now_ms >= self.position_due_ms)
            || self.strikes_due_ms().is_some_and(|due| now_ms >= due)
    }

    /// Returns `true` if the item should be written, at once or with the next position.
    fn has_news(&self) -> bool {
        self.commits.is_queued() || self.is_item_behind || self.is_spec_new
    }

    fn strikes_due_ms(&self) -> Option<u64> {
        self.has_strikes.then_some(self.since_ms + STRIKES_CLEAR_MS)
    }

    fn start_send(&mut self, now_ms: u64, out: &mut Vec<OwnerOutput>) {
        // Once the final write is under way, the successor may be the owner already.
        if self.write.as_ref().is_some_and(|under_way| under_way.write.then != OwnerAfter::Same) {
            return;
        }
        if let Some((records, is_fenced)) = self.sends.start(now_ms) {
            out.push(OwnerOutput::Send { records, is_fenced });
            if !self.rules.trim_after_answer {
                self.sends.forget();
                self.is_item_behind = true;
            }
        }
    }

    fn stored_totals(&self) -> RecordTotals {
        let added =
            self.write.as_ref().map_or_else(RecordTotals::default, |write| RecordTotals::of(&write.added));
        RecordTotals::of(self.sends.records()).plus(added)
    }

    #[cfg(test)]
    fn commits_last_seq(&self) -> u64 {
        self.commits.last_seq()
    }

    /// Replaces times and counts by constants, so that a model's states stay few: retries are due at 1, the end of a stop at 2,
    /// the position at 3.
    #[cfg(test)]
    pub(crate) fn settle(&mut self) {
        self.sends.settle(1);
        self.failing_ms = None;
        (self.since_ms, self.position_due_ms) = (0, 3);
        if let Some(write) = &mut self.write {
            write.failures = 0;
            write.retry_at_ms = write.retry_at_ms.map(|_| 1);
        }
        if let Some(stop) = &mut self.stop {
            stop.by_ms = 2;
        }
    }
}

#[cfg(test)]
mod tests;
