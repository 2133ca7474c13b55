//! The queue of accepted commits and acknowledgements that are not durable yet, and the accounting of the sinks' quotas.

use std::collections::BTreeSet;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::Notify;

use crate::entry::{EntryId, OutboxCommit};
use crate::error::CommitError;
use crate::sink::{SinkHandle, SinkSpec};
use crate::store::{QueuedCommit, Reservation, WriteBatch};
use crate::totals::{PendingTotals, QueueTotals};

/// Maximum number of commits in memory, including those that are being written.
const MAX_COMMITS: usize = 4_096;
/// Maximum bytes of the commits in memory, and so of one commit: checkpoint, payloads and attachments.
pub const MAX_COMMIT_BYTES: u64 = 64 << 20;

/// The delays within which work that is not urgent waits to share a transaction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Linger {
    /// Delay of commits. With it, 100 cameras that commit once per second cause 10 transactions per second instead of 100, and a crash
    /// costs a tenth of a second of footage more, which is read again.
    pub(crate) commits: Duration,
    /// Delay of acknowledgements alone. A crash costs a second delivery of the entries delivered within it.
    pub(crate) acks: Duration,
}

impl Default for Linger {
    fn default() -> Self {
        Self { commits: Duration::from_millis(100), acks: Duration::from_secs(1) }
    }
}

/// The entries that wait for a sink, in memory and on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueStatus {
    /// Number of entries, without those acknowledged.
    pub entries: u64,
    /// Bytes of the sink's quota in use: payloads, and attachments where the sink takes them. Acknowledged entries count until
    /// the acknowledgement is durable.
    pub bytes: u64,
    /// Time at which the oldest entry on disk was committed.
    pub oldest: Option<SystemTime>,
    /// Number of entries dropped since the start because a best-effort sink was beyond its quota.
    pub dropped: u64,
}

/// The accounting of one sink's queue.
#[derive(Debug, Default)]
struct SinkUsage {
    durable: QueueTotals,
    /// Entries of commits in memory, which reserve their part of the quota.
    reserved: QueueTotals,
    dropped: u64,
    /// Acknowledged entries that are still on disk.
    acked: BTreeSet<EntryId>,
    /// Those of `acked` that no batch has taken yet.
    new_acks: Vec<EntryId>,
}

impl SinkUsage {
    fn has_room(&self, bytes: u64, quota_bytes: u64) -> bool {
        let used_bytes = self.durable.bytes.saturating_add(self.reserved.bytes);
        // An empty queue accepts any size: a commit larger than the quota would else wait for ever.
        self.durable.entries + self.reserved.entries == 0 || used_bytes.saturating_add(bytes) <= quota_bytes
    }
}

#[derive(Debug, Default)]
struct CommitQueueState {
    sinks: Vec<SinkUsage>,
    commits: Vec<QueuedCommit>,
    /// Names of sinks whose queues are to be deleted.
    drop_sinks: Vec<String>,
    /// Number and bytes of the commits in memory, including those that are being written.
    held: usize,
    held_bytes: u64,
    /// Time of the first commit that no batch has taken yet.
    commits_since: Option<Instant>,
    /// Time of the first acknowledgement that no batch has taken yet.
    acks_since: Option<Instant>,
    /// `true` if the next batch is due at once.
    urgent: bool,
    /// Number of callers that wait for room.
    waiters: usize,
    /// Number of batches that the writer has taken.
    batches_taken: u64,
    /// Number of those that are durable or given up.
    batches_completed: u64,
    closed: bool,
    ended: bool,
}

/// The queue between the callers that commit and the writer.
///
/// Bounded by [`MAX_COMMITS`] and [`MAX_COMMIT_BYTES`]: when it is full, commits wait. Acknowledgements are bounded by the entries
/// on disk.
#[derive(Debug)]
pub(crate) struct CommitQueue {
    sinks: Vec<SinkSpec>,
    linger: Linger,
    state: Mutex<CommitQueueState>,
    /// Wakes the writer.
    work: Condvar,
    /// Wakes callers that wait for room or for a batch to complete.
    progress: Notify,
    /// One per sink: wakes it when an entry became durable.
    new_entries: Vec<Notify>,
}

/// Counts a caller that waits for room, until it is dropped: also when the wait is cancelled.
struct WaiterGuard<'a>(&'a CommitQueue);

impl Drop for WaiterGuard<'_> {
    fn drop(&mut self) {
        self.0.lock().waiters -= 1;
    }
}

impl CommitQueue {
    pub(crate) fn new(sinks: Vec<SinkSpec>, linger: Linger, pending: &PendingTotals) -> Self {
        let new_entries = sinks.iter().map(|_| Notify::new()).collect();
        let usage = sinks.iter().map(|_| SinkUsage::default()).collect();
        let state = Mutex::new(CommitQueueState { sinks: usage, ..CommitQueueState::default() });
        let queue = Self { sinks, linger, state, work: Condvar::new(), progress: Notify::new(), new_entries };
        queue.set_durable(pending);
        queue
    }

    pub(crate) fn sinks(&self) -> &[SinkSpec] {
        &self.sinks
    }

    /// Accepts a commit as soon as there is room. Cancelled before, the commit was not accepted.
    pub(crate) async fn commit(&self, commit: OutboxCommit) -> Result<(), CommitError> {
        let (bytes, limit) = (commit.len(), MAX_COMMIT_BYTES);
        if bytes > limit {
            return Err(CommitError::TooLarge { origin: commit.source, bytes, limit });
        }
        let reservations = self.reservations(&commit)?;
        let mut offered = Some((commit, reservations));
        let mut waiter = None;
        loop {
            // Registered before the check: room that appears between the check and the wait is not missed.
            let mut progress = std::pin::pin!(self.progress.notified());
            progress.as_mut().enable();
            if self.try_commit(&mut offered)? {
                return Ok(());
            }
            waiter.get_or_insert_with(|| self.count_waiter());
            progress.await;
        }
    }

    /// Returns the part of each sink's quota that the commit takes.
    fn reservations(&self, commit: &OutboxCommit) -> Result<Vec<Reservation>, CommitError> {
        let mut reservations = Vec::new();
        for (sink, spec) in self.sinks.iter().enumerate() {
            let mut totals = QueueTotals::default();
            for entry in commit.entries.iter().filter(|entry| entry.sinks.contains(&SinkHandle(sink))) {
                totals.add(entry.quota_bytes(spec.takes_attachments));
            }
            if totals.entries > 0 {
                reservations.push(Reservation { sink, totals });
            }
        }
        // Checked here, so that the writer can index by sink without a check.
        let named = commit.entries.iter().flat_map(|entry| &entry.sinks);
        match named.map(|sink| sink.0).find(|number| *number >= self.sinks.len()) {
            Some(number) => Err(CommitError::NoSink { origin: commit.source.clone(), number }),
            None => Ok(reservations),
        }
    }

    /// Accepts the offered commit and returns `true`, or leaves it in `offered` where there is no room.
    fn try_commit(
        &self,
        offered: &mut Option<(OutboxCommit, Vec<Reservation>)>,
    ) -> Result<bool, CommitError> {
        let mut state = self.lock();
        if state.closed {
            // Under the lock that `close` takes, so the last batch has every commit that was accepted.
            return Err(CommitError::Closed);
        }
        let Some((commit, reservations)) = offered.take() else { return Ok(true) };
        // All quotas or none: two commits that each held one and waited for the other would never end.
        let fits = state.has_room(commit.len()) && reservations.iter().all(|one| self.has_quota(&state, one));
        if !fits {
            *offered = Some((commit, reservations));
            return Ok(false);
        }
        // Dated here and not at the write, or a queue would seem young while the disk fails.
        state.push(QueuedCommit { commit, at: SystemTime::now(), reservations });
        self.work.notify_one();
        Ok(true)
    }

    /// Returns `true` if the reservation fits; always for a best-effort sink, whose oldest entries are dropped instead.
    fn has_quota(&self, state: &CommitQueueState, Reservation { sink, totals }: &Reservation) -> bool {
        let spec = &self.sinks[*sink];
        !spec.required || state.sinks[*sink].has_room(totals.bytes, spec.quota_bytes)
    }

    /// Counts one more waiter, and wakes the writer: acknowledgements that may make room are written at once.
    fn count_waiter(&self) -> WaiterGuard<'_> {
        self.lock().waiters += 1;
        self.work.notify_one();
        WaiterGuard(self)
    }

    pub(crate) fn ack(&self, sink: SinkHandle, ids: &[EntryId]) {
        let mut state = self.lock();
        let Some(usage) = state.sinks.get_mut(sink.0) else { return };
        // An id that is acknowledged twice counts once, since `status` subtracts the set from the entries.
        let new = ids.iter().copied().filter(|id| usage.acked.insert(*id)).collect::<Vec<_>>();
        if !new.is_empty() {
            usage.new_acks.extend(new);
            state.acks_since.get_or_insert_with(Instant::now);
            self.work.notify_one();
        }
    }

    /// Returns the acknowledged entries after `after` that are still on disk.
    pub(crate) fn acked(&self, sink: SinkHandle, after: Option<EntryId>) -> BTreeSet<EntryId> {
        let state = self.lock();
        let from = after.map_or(EntryId(0), |id| EntryId(id.0.saturating_add(1)));
        state
            .sinks
            .get(sink.0)
            .map_or_else(BTreeSet::new, |usage| usage.acked.range(from..).copied().collect())
    }

    pub(crate) async fn wait_for_entries(&self, sink: SinkHandle) {
        match self.new_entries.get(sink.0) {
            Some(new_entries) => new_entries.notified().await,
            None => std::future::pending().await,
        }
    }

    pub(crate) fn status(&self, sink: SinkHandle) -> QueueStatus {
        let state = self.lock();
        let Some(SinkUsage { durable, reserved, dropped, acked, new_acks: _ }) = state.sinks.get(sink.0)
        else {
            return QueueStatus::default();
        };
        QueueStatus {
            entries: (durable.entries + reserved.entries).saturating_sub(acked.len() as u64),
            bytes: durable.bytes.saturating_add(reserved.bytes),
            // Without the commits in memory, which are newer than every entry on disk.
            oldest: durable.oldest,
            dropped: *dropped,
        }
    }

    /// Deletes a sink's queue with the next batch.
    pub(crate) fn drop_sink(&self, name: &str) {
        self.lock().drop_sinks.push(name.to_owned());
    }

    /// Resolves when everything accepted before is durable, or given up at the end.
    pub(crate) async fn flush(&self) {
        let Some(target) = self.request_flush() else { return };
        loop {
            let mut progress = std::pin::pin!(self.progress.notified());
            progress.as_mut().enable();
            {
                let state = self.lock();
                let is_idle = state.batches_completed == state.batches_taken && !state.has_work();
                // Acknowledgements may be written by a retry (`take_acks`), after which no batch with this number comes.
                if state.batches_completed >= target || is_idle || state.ended {
                    return;
                }
            }
            progress.await;
        }
    }

    /// Makes the queued work urgent. Returns the number of the batch to wait for, if any.
    fn request_flush(&self) -> Option<u64> {
        let mut state = self.lock();
        let has_work = state.has_work();
        state.urgent |= has_work;
        self.work.notify_one();
        // Queued work is in the next batch; without any, the batch that is being written is the last to wait for.
        let target = state.batches_taken + u64::from(has_work);
        (target > state.batches_completed).then_some(target)
    }

    /// Stops accepting commits.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.work.notify_all();
        self.progress.notify_waiters();
    }

    /// Waits for the next batch; `None` when the queue is closed and empty.
    pub(crate) fn next_batch(&self) -> Option<WriteBatch> {
        let mut state = self.lock();
        loop {
            if state.is_due(self.linger) {
                return Some(state.take_batch());
            }
            if state.closed {
                return None;
            }
            // A condition variable wakes without reason too, so each wake-up checks everything again.
            let wait = state.due_in(self.linger);
            state = match wait {
                Some(wait) => self.work.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0,
                None => self.work.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// Waits before the next retry. Returns `false` when the outbox closes.
    pub(crate) fn sleep(&self, delay: Duration) -> bool {
        let state = self.lock();
        // Each commit notifies `work` too: the condition keeps those from cutting the backoff short.
        let waited = self.work.wait_timeout_while(state, delay, |state| !state.closed);
        !waited.unwrap_or_else(PoisonError::into_inner).0.closed
    }

    /// Takes the new acknowledgements alone, which may free space on a full disk.
    pub(crate) fn take_acks(&self) -> Vec<(usize, EntryId)> {
        self.lock().take_acks()
    }

    /// Puts acknowledgements back that could not be written.
    pub(crate) fn return_acks(&self, acks: &[(usize, EntryId)]) {
        let mut state = self.lock();
        acks.iter().for_each(|(sink, id)| state.sinks[*sink].new_acks.push(*id));
        state.acks_since.get_or_insert_with(Instant::now);
    }

    /// Releases a batch that is durable, or given up, and wakes its sinks.
    pub(crate) fn complete(&self, batch: &WriteBatch, dropped: &[u64], pending: &PendingTotals) {
        let mut state = self.lock();
        batch.commits.iter().for_each(|queued| state.release(queued));
        for (usage, dropped) in state.sinks.iter_mut().zip(dropped) {
            usage.dropped += dropped;
        }
        // A batch that was given up counts too: its waiters would else wait for ever.
        state.batches_completed += 1;
        self.release_acks(state, &batch.acks, pending);
        // `notify_one` keeps a permit, so a sink that is busy delivering does not miss the wake-up.
        for reservation in batch.commits.iter().flat_map(|queued| &queued.reservations) {
            self.new_entries[reservation.sink].notify_one();
        }
    }

    /// Releases acknowledgements whose entries are off the disk.
    pub(crate) fn complete_acks(&self, acks: &[(usize, EntryId)], pending: &PendingTotals) {
        self.release_acks(self.lock(), acks, pending);
    }

    fn release_acks(
        &self,
        mut state: MutexGuard<'_, CommitQueueState>,
        acks: &[(usize, EntryId)],
        pending: &PendingTotals,
    ) {
        for (sink, id) in acks {
            state.sinks[*sink].acked.remove(id);
        }
        self.set_durable_locked(&mut state, pending);
        // Released before the wake-up: each woken caller takes the lock.
        drop(state);
        self.progress.notify_waiters();
    }

    /// Replaces the totals on disk.
    pub(crate) fn set_durable(&self, pending: &PendingTotals) {
        self.set_durable_locked(&mut self.lock(), pending);
    }

    fn set_durable_locked(&self, state: &mut CommitQueueState, pending: &PendingTotals) {
        for (usage, sink) in state.sinks.iter_mut().zip(&self.sinks) {
            usage.durable = pending.get(&sink.name).copied().unwrap_or_default();
        }
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.lock().ended
    }

    /// Wakes every waiter for the last time: the writer has ended.
    pub(crate) fn end(&self) {
        let mut state = self.lock();
        // Closed as well: after a panic of the writer, no commit that is accepted would ever be written.
        (state.closed, state.ended) = (true, true);
        drop(state);
        self.progress.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, CommitQueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CommitQueueState {
    fn has_room(&self, len: u64) -> bool {
        // One commit always passes: its own size is checked in `commit`.
        self.held == 0 || (self.held < MAX_COMMITS && self.held_bytes.saturating_add(len) <= MAX_COMMIT_BYTES)
    }

    fn push(&mut self, queued: QueuedCommit) {
        for Reservation { sink, totals } in &queued.reservations {
            let reserved = &mut self.sinks[*sink].reserved;
            reserved.entries += totals.entries;
            reserved.bytes += totals.bytes;
        }
        self.held += 1;
        self.held_bytes += queued.commit.len();
        self.urgent |= queued.commit.urgent;
        // The first commit sets the time: later ones must not postpone a batch for ever.
        self.commits_since.get_or_insert_with(Instant::now);
        self.commits.push(queued);
    }

    /// Reverts [`Self::push`]: from here the entries count as durable, or are given up.
    fn release(&mut self, queued: &QueuedCommit) {
        for Reservation { sink, totals } in &queued.reservations {
            let reserved = &mut self.sinks[*sink].reserved;
            reserved.entries -= totals.entries;
            reserved.bytes -= totals.bytes;
        }
        self.held -= 1;
        self.held_bytes -= queued.commit.len();
    }

    fn has_work(&self) -> bool {
        !self.commits.is_empty() || self.acks_since.is_some() || !self.drop_sinks.is_empty()
    }

    /// Returns `true` if the next batch is due. Acknowledgements do not linger while a caller waits for the room that they make.
    fn is_due(&self, linger: Linger) -> bool {
        let makes_room = self.waiters > 0 && self.acks_since.is_some();
        let is_immediate = self.urgent || self.closed || makes_room || !self.drop_sinks.is_empty();
        self.has_work() && (is_immediate || self.due_in(linger).is_some_and(|wait| wait.is_zero()))
    }

    fn due_in(&self, linger: Linger) -> Option<Duration> {
        let left = |since: Option<Instant>, limit: Duration| {
            since.map(|since| limit.saturating_sub(since.elapsed()))
        };
        let waits = [left(self.commits_since, linger.commits), left(self.acks_since, linger.acks)];
        waits.into_iter().flatten().min()
    }

    fn take_batch(&mut self) -> WriteBatch {
        self.batches_taken += 1;
        // Everything queued is in this batch, so nothing of it is urgent any more.
        self.urgent = false;
        self.commits_since = None;
        let (commits, drop_sinks) = (std::mem::take(&mut self.commits), std::mem::take(&mut self.drop_sinks));
        WriteBatch { commits, acks: self.take_acks(), drop_sinks, number: None }
    }

    fn take_acks(&mut self) -> Vec<(usize, EntryId)> {
        self.acks_since = None;
        // `acked` keeps the ids until they are off the disk: `pending` leaves them out until then.
        let acks = self.sinks.iter_mut().map(|usage| std::mem::take(&mut usage.new_acks));
        acks.enumerate().flat_map(|(sink, ids)| ids.into_iter().map(move |id| (sink, id))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urgent_work_is_due_at_once_and_other_work_lingers() {
        let commit = || {
            vec![QueuedCommit {
                commit: OutboxCommit::default(),
                at: SystemTime::now(),
                reservations: Vec::new(),
            }]
        };
        let now = Instant::now();
        let state = |commits, urgent| CommitQueueState {
            commits_since: Some(now),
            commits,
            urgent,
            ..CommitQueueState::default()
        };
        let acks = || CommitQueueState { acks_since: Some(now), ..CommitQueueState::default() };
        let drop_sinks = vec!["old".into()];
        let cases = [
            ("urgent without work", CommitQueueState { urgent: true, ..CommitQueueState::default() }, false),
            ("a commit", state(commit(), false), false),
            ("an urgent commit", state(commit(), true), true),
            (
                "a commit while a caller waits",
                CommitQueueState { waiters: 1, ..state(commit(), false) },
                false,
            ),
            ("acknowledgements", acks(), false),
            ("acknowledgements that make room", CommitQueueState { waiters: 1, ..acks() }, true),
            ("a commit while closing", CommitQueueState { closed: true, ..state(commit(), false) }, true),
            ("a queue to delete", CommitQueueState { drop_sinks, ..CommitQueueState::default() }, true),
        ];
        let linger = Linger { commits: Duration::from_secs(3_600), acks: Duration::from_secs(3_600) };
        for (name, state, due) in cases {
            assert_eq!(state.is_due(linger), due, "{name}");
        }
        let late = state(commit(), false);
        assert!(late.is_due(Linger { commits: Duration::ZERO, ..linger }));
        assert!(!late.is_due(Linger { acks: Duration::ZERO, ..linger }));
    }

    #[test]
    fn a_cancelled_wait_stops_counting() {
        let kds = SinkSpec { name: "kds".into(), required: true, quota_bytes: 1, takes_attachments: false };
        let queue = CommitQueue::new(vec![kds], Linger::default(), &PendingTotals::new());
        let entry =
            crate::NewEntry { payload: "ab".into(), attachments: Vec::new(), sinks: vec![SinkHandle(0)] };
        let commit = || OutboxCommit {
            source: "door".into(),
            entries: vec![entry.clone()],
            ..OutboxCommit::default()
        };
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(std::pin::pin!(queue.commit(commit())).poll(&mut context).is_ready());
        let mut held = Box::pin(queue.commit(commit()));
        assert!(held.as_mut().poll(&mut context).is_pending());
        assert_eq!(queue.lock().waiters, 1);
        drop(held);
        assert_eq!(queue.lock().waiters, 0);
    }
}
