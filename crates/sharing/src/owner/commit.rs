//! Commits of the camera on their way into the item: bounded, merged, and in the order of their records.

use crate::item::{CameraResumeState, PendingRecord};
use crate::limits::{
    MAX_CHECKPOINT_BYTES, MAX_COMMIT_BYTES, MAX_COMMIT_RECORDS, MAX_PENDING_BYTES, MAX_PENDING_RECORDS,
};

/// The events of one decided frame, and the state after them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct OwnerCommit {
    /// The state after the events.
    pub state: CameraResumeState,
    /// The records of the events, in order; their numbers continue those of the previous commit.
    pub records: Vec<PendingRecord>,
}

/// The reason why a commit was not taken. The camera's state has not changed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum CommitRejection {
    /// The records exceed the limits, which are those of the item. Write them as dead letters.
    #[error(
        "{records} records of {bytes} bytes in one commit: {MAX_COMMIT_RECORDS} records of {MAX_COMMIT_BYTES} bytes fit"
    )]
    RecordsTooLarge {
        /// Number of records.
        records: usize,
        /// Bytes of the records.
        bytes: usize,
    },
    /// The checkpoint exceeds its limit: the camera tracks too many objects.
    #[error(
        "the checkpoint has {bytes} bytes and {MAX_CHECKPOINT_BYTES} fit; lower the number of objects that the camera tracks"
    )]
    CheckpointTooLarge {
        /// Bytes of the checkpoint.
        bytes: usize,
    },
    /// The record's number does not continue the previous one: a bug of the caller.
    #[error("the record or state has number {found} and {expected} was expected")]
    Sequence {
        /// The number that continues the previous ones.
        expected: u64,
        /// The number of the record or of the state.
        found: u64,
    },
    /// An earlier commit waits for room. Commit again after [`super::OwnerOutput::Resume`].
    #[error("the pending records are full; the camera must wait until it is resumed")]
    Held,
    /// The camera was stopped, or its ownership has ended: the next owner decides the events again.
    #[error("the camera was stopped or has another owner, which decides the events again")]
    Stopped,
}

/// Commits that wait for a write. Bounded: what is queued fits the bounds of the item, and one more commit may be held.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct OwnerCommits {
    queued: Option<OwnerCommit>,
    held: Option<OwnerCommit>,
    last_seq: u64,
}

/// Number and bytes of some records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RecordTotals {
    records: usize,
    bytes: usize,
}

impl RecordTotals {
    pub(super) fn of(records: &[PendingRecord]) -> Self {
        Self { records: records.len(), bytes: records.iter().map(PendingRecord::len_bytes).sum() }
    }

    pub(super) fn plus(self, other: Self) -> Self {
        Self { records: self.records + other.records, bytes: self.bytes + other.bytes }
    }

    fn is_within_bounds(self) -> bool {
        self.records <= MAX_PENDING_RECORDS && self.bytes <= MAX_PENDING_BYTES
    }
}

impl OwnerCommit {
    fn check(&self, last_seq: u64) -> Result<(), CommitRejection> {
        let RecordTotals { records, bytes } = RecordTotals::of(&self.records);
        if records > MAX_COMMIT_RECORDS || bytes > MAX_COMMIT_BYTES {
            return Err(CommitRejection::RecordsTooLarge { records, bytes });
        }
        let bytes = self.state.checkpoint.len();
        if bytes > MAX_CHECKPOINT_BYTES {
            return Err(CommitRejection::CheckpointTooLarge { bytes });
        }
        let found = self.records.iter().map(|record| record.seq).chain([self.state.seq]);
        let mut expected = (last_seq + 1..).take(records).chain([last_seq + records as u64]);
        for found in found {
            match expected.next() {
                Some(expected) if expected == found => {}
                expected => return Err(CommitRejection::Sequence { expected: expected.unwrap_or(0), found }),
            }
        }
        Ok(())
    }

    fn append(&mut self, later: Self) {
        self.state = later.state;
        self.records.extend(later.records);
    }
}

impl OwnerCommits {
    pub(super) fn new(last_seq: u64) -> Self {
        Self { queued: None, held: None, last_seq }
    }

    /// Takes a commit; returns `false` if it waits for room. `stored` are the records before the queue.
    pub(super) fn push(
        &mut self,
        commit: OwnerCommit,
        stored: RecordTotals,
    ) -> Result<bool, CommitRejection> {
        if self.held.is_some() {
            return Err(CommitRejection::Held);
        }
        commit.check(self.last_seq)?;
        self.last_seq = commit.state.seq;
        let has_room = self.has_room(&commit, stored);
        if has_room {
            self.append(commit);
        } else {
            self.held = Some(commit);
        }
        Ok(has_room)
    }

    /// Queues the held commit if it has room now; returns `true` if it was queued.
    pub(super) fn admit_held(&mut self, stored: RecordTotals) -> bool {
        match self.held.take() {
            Some(commit) if self.has_room(&commit, stored) => {
                self.append(commit);
                true
            }
            held => {
                self.held = held;
                false
            }
        }
    }

    /// A commit larger than the bounds is taken when nothing else is pending, or it could never be.
    fn has_room(&self, commit: &OwnerCommit, stored: RecordTotals) -> bool {
        let before = stored.plus(self.totals());
        let added = RecordTotals::of(&commit.records);
        added.records == 0 || before.records == 0 || before.plus(added).is_within_bounds()
    }

    fn totals(&self) -> RecordTotals {
        self.queued.as_ref().map_or_else(RecordTotals::default, |commit| RecordTotals::of(&commit.records))
    }

    fn append(&mut self, commit: OwnerCommit) {
        match &mut self.queued {
            Some(queued) => queued.append(commit),
            None => self.queued = Some(commit),
        }
    }

    /// Removes and returns what is queued.
    pub(super) fn take(&mut self) -> Option<OwnerCommit> {
        self.queued.take()
    }

    /// Puts back what a write that was not applied had taken.
    pub(super) fn put_back(&mut self, mut commit: OwnerCommit) {
        if let Some(queued) = self.queued.take() {
            commit.append(queued);
        }
        self.queued = Some(commit);
    }

    /// Removes the records from the queue and leaves their state.
    pub(super) fn take_records(&mut self) -> Vec<PendingRecord> {
        self.queued.as_mut().map_or_else(Vec::new, |commit| std::mem::take(&mut commit.records))
    }

    #[cfg(test)]
    pub(super) fn last_seq(&self) -> u64 {
        self.last_seq
    }

    pub(super) fn is_held(&self) -> bool {
        self.held.is_some()
    }

    pub(super) fn is_queued(&self) -> bool {
        self.queued.is_some()
    }

    pub(super) fn has_records(&self) -> bool {
        self.queued.as_ref().is_some_and(|commit| !commit.records.is_empty())
    }
}
