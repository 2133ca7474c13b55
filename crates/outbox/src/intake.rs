//! What was taken in and is not on disk yet, and who may come next.

use std::collections::BTreeSet;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::Notify;

use crate::entry::{Commit, EntryId};
use crate::error::CommitError;
use crate::sink::{Sink, SinkSpec};
use crate::store::{Batch, Charge, Pending, Taken, Totals};

/// Commits in memory, those that are being written among them.
const MOST_COMMITS: usize = 4_096;
/// Limit on their bytes, and so on those of one commit: checkpoint, payloads and attachments.
pub const MAX_COMMIT_BYTES: u64 = 64 << 20;

/// How long what is not urgent waits for company.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Linger {
    /// Commits. 100 cameras with a fragment a second are 10 transactions a second then and not 100, and what a crash costs
    /// more is a tenth of a fragment that is read again.
    pub(crate) commits: Duration,
    /// Acknowledgements alone. What a crash costs is what was delivered in the last second, once more.
    pub(crate) acks: Duration,
}

impl Default for Linger {
    fn default() -> Self {
        Self { commits: Duration::from_millis(100), acks: Duration::from_secs(1) }
    }
}

/// What waits for a sink, in memory and on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Queued {
    /// How many entries; those that were acknowledged do not count.
    pub entries: u64,
    /// Their payloads, and their attachments where the sink takes them; those that were acknowledged count until that is durable.
    pub bytes: u64,
    /// When the oldest entry on disk was taken in.
    pub oldest: Option<SystemTime>,
    /// How many entries were dropped since the start, because they were beyond the share of a best-effort sink.
    pub dropped: u64,
}

/// One sink's account.
#[derive(Debug, Default)]
struct Account {
    durable: Totals,
    waiting: Totals,
    dropped: u64,
    /// Acknowledged, and not off the disk yet.
    acked: BTreeSet<EntryId>,
    /// Those of them that no batch has yet.
    fresh_acks: Vec<EntryId>,
}

impl Account {
    fn takes(&self, bytes: u64, share_bytes: u64) -> bool {
        let bytes_now = self.durable.bytes.saturating_add(self.waiting.bytes);
        self.durable.entries + self.waiting.entries == 0 || bytes_now.saturating_add(bytes) <= share_bytes
    }
}

#[derive(Debug, Default)]
struct State {
    accounts: Vec<Account>,
    commits: Vec<Taken>,
    forget: Vec<String>,
    /// Commits in memory, and their bytes; also those that are being written.
    held: usize,
    held_bytes: u64,
    /// The first commit, and the first acknowledgement, that no batch has yet.
    commits_since: Option<Instant>,
    acks_since: Option<Instant>,
    /// Whether what is here goes at once.
    urgent: bool,
    /// How many commits wait for room.
    waiters: usize,
    /// Batches taken by the writer, and how many of them are settled.
    taken: u64,
    settled: u64,
    closed: bool,
    ended: bool,
}

/// The queue between those who commit and the one who writes.
///
/// Bounded by [`MOST_COMMITS`] and [`MAX_COMMIT_BYTES`]: full, commits wait. Acknowledgements are bounded by what is pending.
#[derive(Debug)]
pub(crate) struct Intake {
    sinks: Vec<SinkSpec>,
    linger: Linger,
    state: Mutex<State>,
    /// For the writer.
    work: Condvar,
    /// For those who wait for room, or for a batch to be settled.
    room: Notify,
    /// By sink: something new is on disk.
    changed: Vec<Notify>,
}

/// Counts one who waits for room, also when the wait is cancelled.
struct Waiting<'a>(&'a Intake);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.lock().waiters -= 1;
    }
}

impl Intake {
    pub(crate) fn new(sinks: Vec<SinkSpec>, linger: Linger, pending: &Pending) -> Self {
        let changed = sinks.iter().map(|_| Notify::new()).collect();
        let accounts = sinks.iter().map(|_| Account::default()).collect();
        let state = Mutex::new(State { accounts, ..State::default() });
        let new = Self { sinks, linger, state, work: Condvar::new(), room: Notify::new(), changed };
        new.recount(pending);
        new
    }

    pub(crate) fn sinks(&self) -> &[SinkSpec] {
        &self.sinks
    }

    /// Takes a commit in as soon as there is room. Cancelled, it was not taken in.
    pub(crate) async fn commit(&self, commit: Commit) -> Result<(), CommitError> {
        let (bytes, limit) = (commit.len(), MAX_COMMIT_BYTES);
        if bytes > limit {
            return Err(CommitError::TooLarge { origin: commit.source, bytes, limit });
        }
        let charges = self.charges(&commit)?;
        let mut commit = Some((commit, charges));
        let mut waiting = None;
        loop {
            let mut room = std::pin::pin!(self.room.notified());
            room.as_mut().enable();
            if self.try_commit(&mut commit)? {
                return Ok(());
            }
            waiting.get_or_insert_with(|| self.wait());
            room.await;
        }
    }

    /// What it counts for each of its sinks: entries and bytes, by place.
    fn charges(&self, commit: &Commit) -> Result<Vec<Charge>, CommitError> {
        let mut charges = Vec::new();
        for (at, sink) in self.sinks.iter().enumerate() {
            let mut charge = Totals::default();
            for entry in commit.entries.iter().filter(|entry| entry.sinks.contains(&Sink(at))) {
                charge.add(entry.bytes_for(sink.takes_attachments));
            }
            if charge.entries > 0 {
                charges.push((at, charge));
            }
        }
        let named = commit.entries.iter().flat_map(|entry| &entry.sinks);
        match named.map(|sink| sink.0).find(|number| *number >= self.sinks.len()) {
            Some(number) => Err(CommitError::NoSink { origin: commit.source.clone(), number }),
            None => Ok(charges),
        }
    }

    fn try_commit(&self, offered: &mut Option<(Commit, Vec<Charge>)>) -> Result<bool, CommitError> {
        let mut state = self.lock();
        if state.closed {
            return Err(CommitError::Closed);
        }
        let Some((commit, charges)) = offered.take() else { return Ok(true) };
        if !state.has_room(commit.len()) || !charges.iter().all(|charge| self.has_share(&state, charge)) {
            *offered = Some((commit, charges));
            return Ok(false);
        }
        state.push(Taken { commit, at: SystemTime::now(), charges });
        self.work.notify_one();
        Ok(true)
    }

    fn has_share(&self, state: &State, (at, charge): &Charge) -> bool {
        !self.sinks[*at].required || state.accounts[*at].takes(charge.bytes, self.sinks[*at].share_bytes)
    }

    /// One more waits; acknowledgements that may make room are written at once.
    fn wait(&self) -> Waiting<'_> {
        self.lock().waiters += 1;
        self.work.notify_one();
        Waiting(self)
    }

    pub(crate) fn ack(&self, sink: Sink, ids: &[EntryId]) {
        let mut state = self.lock();
        let Some(account) = state.accounts.get_mut(sink.0) else { return };
        let fresh = ids.iter().copied().filter(|id| account.acked.insert(*id)).collect::<Vec<_>>();
        if !fresh.is_empty() {
            account.fresh_acks.extend(fresh);
            state.acks_since.get_or_insert_with(Instant::now);
            self.work.notify_one();
        }
    }

    /// What was acknowledged after `after` and is still on disk.
    pub(crate) fn acked(&self, sink: Sink, after: Option<EntryId>) -> BTreeSet<EntryId> {
        let state = self.lock();
        let from = after.map_or(EntryId(0), |id| EntryId(id.0.saturating_add(1)));
        state
            .accounts
            .get(sink.0)
            .map_or_else(BTreeSet::new, |account| account.acked.range(from..).copied().collect())
    }

    pub(crate) async fn changed(&self, sink: Sink) {
        match self.changed.get(sink.0) {
            Some(changed) => changed.notified().await,
            None => std::future::pending().await,
        }
    }

    pub(crate) fn queued(&self, sink: Sink) -> Queued {
        let state = self.lock();
        let Some(Account { durable, waiting, dropped, acked, .. }) = state.accounts.get(sink.0) else {
            return Queued::default();
        };
        Queued {
            entries: (durable.entries + waiting.entries).saturating_sub(acked.len() as u64),
            bytes: durable.bytes.saturating_add(waiting.bytes),
            oldest: durable.oldest.or(waiting.oldest),
            dropped: *dropped,
        }
    }

    /// Has a sink's rows taken off the disk with the next batch.
    pub(crate) fn forget(&self, name: &str) {
        self.lock().forget.push(name.to_owned());
    }

    /// Resolves when all that was taken in before is settled: on disk, or given up at the end.
    pub(crate) async fn settled(&self) {
        let Some(target) = self.hurry() else { return };
        loop {
            let mut settled = std::pin::pin!(self.room.notified());
            settled.as_mut().enable();
            {
                let state = self.lock();
                let idle = state.settled == state.taken && !state.has_work();
                if state.settled >= target || idle || state.ended {
                    return;
                }
            }
            settled.await;
        }
    }

    /// Has what is here written at once; tells the number of the batch to wait for.
    fn hurry(&self) -> Option<u64> {
        let mut state = self.lock();
        let fresh = state.has_work();
        state.urgent |= fresh;
        self.work.notify_one();
        let target = state.taken + u64::from(fresh);
        (target > state.settled).then_some(target)
    }

    /// Takes nothing more in.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.work.notify_all();
        self.room.notify_waiters();
    }

    /// Waits for the next batch; `None` when the intake is closed and empty.
    pub(crate) fn next(&self) -> Option<Batch> {
        let mut state = self.lock();
        loop {
            if state.is_due(self.linger) {
                return Some(state.take());
            }
            if state.closed {
                return None;
            }
            let wait = state.due_in(self.linger);
            state = match wait {
                Some(wait) => self.work.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0,
                None => self.work.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// Waits before the next try; `false` when the outbox is being closed.
    pub(crate) fn pause(&self, wait: Duration) -> bool {
        let state = self.lock();
        let waited = self.work.wait_timeout_while(state, wait, |state| !state.closed);
        !waited.unwrap_or_else(PoisonError::into_inner).0.closed
    }

    /// Takes the acknowledgements alone, which may make room on a full disk.
    pub(crate) fn take_acks(&self) -> Vec<(usize, EntryId)> {
        self.lock().take_acks()
    }

    /// They are to be taken again.
    pub(crate) fn return_acks(&self, acks: &[(usize, EntryId)]) {
        let mut state = self.lock();
        acks.iter().for_each(|(at, id)| state.accounts[*at].fresh_acks.push(*id));
        state.acks_since.get_or_insert_with(Instant::now);
    }

    /// A batch is on disk, or given up: what it held is off the queue.
    pub(crate) fn settle(&self, batch: &Batch, dropped: &[u64], pending: &Pending) {
        let mut state = self.lock();
        batch.commits.iter().for_each(|taken| state.release(taken));
        for (account, dropped) in state.accounts.iter_mut().zip(dropped) {
            account.dropped += dropped;
        }
        state.settled += 1;
        self.settle_locked(state, &batch.acks, pending);
        for (at, _) in batch.commits.iter().flat_map(|taken| &taken.charges) {
            self.changed[*at].notify_one();
        }
    }

    /// Acknowledged entries are off the disk.
    pub(crate) fn settle_acks(&self, acks: &[(usize, EntryId)], pending: &Pending) {
        self.settle_locked(self.lock(), acks, pending);
    }

    fn settle_locked(&self, mut state: MutexGuard<'_, State>, acks: &[(usize, EntryId)], pending: &Pending) {
        for (at, id) in acks {
            state.accounts[*at].acked.remove(id);
        }
        self.recount_locked(&mut state, pending);
        drop(state);
        self.room.notify_waiters();
    }

    /// What is on disk by now.
    pub(crate) fn recount(&self, pending: &Pending) {
        self.recount_locked(&mut self.lock(), pending);
    }

    fn recount_locked(&self, state: &mut State, pending: &Pending) {
        for (account, sink) in state.accounts.iter_mut().zip(&self.sinks) {
            account.durable = pending.get(&sink.name).copied().unwrap_or_default();
        }
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.lock().ended
    }

    /// The writer has ended: nobody waits for it any more.
    pub(crate) fn end(&self) {
        let mut state = self.lock();
        (state.closed, state.ended) = (true, true);
        drop(state);
        self.room.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn has_room(&self, len: u64) -> bool {
        self.held == 0
            || (self.held < MOST_COMMITS && self.held_bytes.saturating_add(len) <= MAX_COMMIT_BYTES)
    }

    fn push(&mut self, taken: Taken) {
        for (at, charge) in &taken.charges {
            let waiting = &mut self.accounts[*at].waiting;
            waiting.entries += charge.entries;
            waiting.bytes += charge.bytes;
        }
        self.held += 1;
        self.held_bytes += taken.commit.len();
        self.urgent |= taken.commit.urgent;
        self.commits_since.get_or_insert_with(Instant::now);
        self.commits.push(taken);
    }

    fn release(&mut self, taken: &Taken) {
        for (at, charge) in &taken.charges {
            let waiting = &mut self.accounts[*at].waiting;
            waiting.entries -= charge.entries;
            waiting.bytes -= charge.bytes;
        }
        self.held -= 1;
        self.held_bytes -= taken.commit.len();
    }

    fn has_work(&self) -> bool {
        !self.commits.is_empty() || self.acks_since.is_some() || !self.forget.is_empty()
    }

    /// Acknowledgements do not linger when somebody waits for the room that they make.
    fn is_due(&self, linger: Linger) -> bool {
        let makes_room = self.waiters > 0 && self.acks_since.is_some();
        let at_once = self.urgent || self.closed || makes_room || !self.forget.is_empty();
        self.has_work() && (at_once || self.due_in(linger).is_some_and(|wait| wait.is_zero()))
    }

    fn due_in(&self, linger: Linger) -> Option<Duration> {
        let left =
            |since: Option<Instant>, most: Duration| since.map(|since| most.saturating_sub(since.elapsed()));
        let waits = [left(self.commits_since, linger.commits), left(self.acks_since, linger.acks)];
        waits.into_iter().flatten().min()
    }

    fn take(&mut self) -> Batch {
        self.taken += 1;
        self.urgent = false;
        self.commits_since = None;
        let (commits, forget) = (std::mem::take(&mut self.commits), std::mem::take(&mut self.forget));
        Batch { commits, acks: self.take_acks(), forget, number: None }
    }

    fn take_acks(&mut self) -> Vec<(usize, EntryId)> {
        self.acks_since = None;
        let fresh = self.accounts.iter_mut().map(|account| std::mem::take(&mut account.fresh_acks));
        fresh.enumerate().flat_map(|(at, ids)| ids.into_iter().map(move |id| (at, id))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_at_once_and_what_waits_for_company() {
        let waiting = Taken { commit: Commit::default(), at: SystemTime::now(), charges: Vec::new() };
        let commit = || vec![Taken { commit: waiting.commit.clone(), at: waiting.at, charges: Vec::new() }];
        let now = Some(Instant::now());
        let cases = [
            ("nothing, urgent", State { urgent: true, ..State::default() }, false),
            ("a commit", State { commits: commit(), commits_since: now, ..State::default() }, false),
            (
                "an urgent one",
                State { commits: commit(), commits_since: now, urgent: true, ..State::default() },
                true,
            ),
            (
                "a commit while others wait",
                State { commits: commit(), commits_since: now, waiters: 1, ..State::default() },
                false,
            ),
            ("acknowledgements", State { acks_since: now, ..State::default() }, false),
            ("those that make room", State { acks_since: now, waiters: 1, ..State::default() }, true),
            (
                "a commit at the end",
                State { commits: commit(), commits_since: now, closed: true, ..State::default() },
                true,
            ),
            ("a sink to forget", State { forget: vec!["old".into()], ..State::default() }, true),
        ];
        let linger = Linger { commits: Duration::from_secs(3_600), acks: Duration::from_secs(3_600) };
        for (name, state, due) in cases {
            assert_eq!(state.is_due(linger), due, "{name}");
        }
        let late = State { commits: commit(), commits_since: now, ..State::default() };
        assert!(late.is_due(Linger { commits: Duration::ZERO, ..linger }));
        assert!(!late.is_due(Linger { acks: Duration::ZERO, ..linger }));
    }

    #[test]
    fn a_cancelled_wait_is_not_counted_on() {
        let kds = SinkSpec { name: "kds".into(), required: true, share_bytes: 1, takes_attachments: false };
        let intake = Intake::new(vec![kds], Linger::default(), &Pending::new());
        let entry = crate::NewEntry { payload: "ab".into(), attachments: Vec::new(), sinks: vec![Sink(0)] };
        let commit = || Commit { source: "door".into(), entries: vec![entry.clone()], ..Commit::default() };
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(std::pin::pin!(intake.commit(commit())).poll(&mut context).is_ready());
        let mut held = Box::pin(intake.commit(commit()));
        assert!(held.as_mut().poll(&mut context).is_pending());
        assert_eq!(intake.lock().waiters, 1);
        drop(held);
        assert_eq!(intake.lock().waiters, 0);
    }
}
