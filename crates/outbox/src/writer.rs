//! The thread that makes batches durable, and retries for as long as the process lives.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use tokio::sync::watch;

use crate::commit_queue::CommitQueue;
use crate::disk::Disk;
use crate::error::CloseError;
use crate::store::{BatchEffects, OutboxStore, StoreError, StoreState, WriteBatch, catch_panic};
use crate::totals::SinkQuota;

/// The first and the longest delay between two retries.
pub(crate) const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// The health of the disk under an outbox.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DiskHealth {
    /// The last write became durable.
    #[default]
    Good,
    /// Writes fail and are retried. Nothing is lost while the process lives.
    Failing {
        /// The path of the database.
        location: String,
        /// The time of the first failure.
        since: SystemTime,
        /// The error of the disk or the store.
        why: String,
    },
}

/// The open database, shared with readers; empty between two retries and after the end.
#[derive(Debug)]
pub(crate) struct StoreSlot(RwLock<Option<OutboxStore>>);

impl StoreSlot {
    pub(crate) fn new(store: OutboxStore) -> Self {
        Self(RwLock::new(Some(store)))
    }

    /// Returns the result of `act`; `None` while the database is closed. Readers run beside one another and beside a transaction.
    pub(crate) fn with<T>(
        &self,
        act: impl FnOnce(&OutboxStore) -> Result<T, StoreError>,
    ) -> Option<Result<T, StoreError>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).as_ref().map(act)
    }

    fn is_open(&self) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Replaces the database. The old one is closed once no reader uses it.
    fn put(&self, store: Option<OutboxStore>) -> Result<(), StoreError> {
        let mut slot = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut *slot, store);
        // redb writes when a database is dropped: not under the lock, and not without the guard against panics.
        drop(slot);
        catch_panic(|| {
            drop(old);
            Ok(())
        })
    }
}

/// The state of the writer thread.
pub(crate) struct OutboxWriter {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) queue: Arc<CommitQueue>,
    pub(crate) slot: Arc<StoreSlot>,
    pub(crate) state: StoreState,
    pub(crate) quotas: Vec<SinkQuota>,
    pub(crate) health: watch::Sender<DiskHealth>,
    /// The first and the longest delay between two retries.
    pub(crate) retry: (Duration, Duration),
}

impl OutboxWriter {
    /// Writes batches until the queue is closed and empty.
    ///
    /// # Errors
    /// The disk failed until the end, and some commits are not durable.
    pub(crate) fn run(mut self) -> Result<(), CloseError> {
        // Bound to a name: a bare `_` would drop the guard at once and end the queue.
        let _end = EndGuard(Arc::clone(&self.queue));
        let mut lost = None;
        while let Some(mut batch) = self.queue.next_batch() {
            // Numbered before the first try, so that a retry recognizes a batch that became durable after all.
            batch.number = Some(self.state.batch + 1);
            let mut effects = BatchEffects::default();
            let outcome = self.write(&batch, &mut effects);
            self.queue.complete(&batch, &effects.dropped, &self.state.pending);
            if let Err(why) = outcome {
                let (before, _) = lost.unwrap_or_default();
                lost = Some((before + batch.commits.len() as u64, why.to_string()));
            }
        }
        self.finish(lost)
    }

    /// Makes a batch durable, with as many retries as it takes; gives up only while the outbox closes.
    fn write(&mut self, batch: &WriteBatch, effects: &mut BatchEffects) -> Result<(), StoreError> {
        let (mut delay, mut is_last) = (self.retry.0, false);
        loop {
            let Err(why) = self.try_write(batch, effects) else {
                self.health.send_replace(DiskHealth::Good);
                return Ok(());
            };
            self.report_failure(&why);
            if is_last {
                effects.dropped.clear();
                return Err(why);
            }
            // `sleep` returns early when the outbox closes: one more try, then the batch is given up.
            is_last = !self.queue.sleep(delay);
            delay = (delay * 2).min(self.retry.1);
            self.free_space();
        }
    }

    /// Writes a batch once. An error leaves the database closed, because redb refuses every call after one.
    fn try_write(&mut self, batch: &WriteBatch, effects: &mut BatchEffects) -> Result<(), StoreError> {
        self.reopen()?;
        // A transaction that failed may be durable all the same, for example when only the answer of the sync was lost.
        if batch.number == Some(self.state.batch) {
            return Ok(());
        }
        match self.slot.with(|store| store.apply(&self.state, batch, &self.quotas, effects)) {
            Some(Ok(state)) => self.state = state,
            Some(Err(why)) => return self.slot.put(None).and(Err(why)),
            // `reopen` has filled the slot, and only this thread empties it.
            None => {}
        }
        Ok(())
    }

    /// Opens the database if it is closed.
    fn reopen(&mut self) -> Result<(), StoreError> {
        if self.slot.is_open() {
            return Ok(());
        }
        let (store, state) = OutboxStore::open(&*self.disk)?;
        store.mark_closed(false)?;
        self.state = state;
        // The transaction that failed may be durable, so the totals are those of the file.
        self.queue.set_durable(&self.state.pending);
        self.slot.put(Some(store))
    }

    /// Deletes acknowledged entries first: their pages are reused, so that the batch may fit on a full disk.
    fn free_space(&mut self) {
        let batch = WriteBatch { acks: self.queue.take_acks(), ..WriteBatch::default() };
        if batch.acks.is_empty() {
            return;
        }
        match self.try_write(&batch, &mut BatchEffects::default()) {
            Ok(()) => self.queue.complete_acks(&batch.acks, &self.state.pending),
            Err(_) => self.queue.return_acks(&batch.acks),
        }
    }

    fn report_failure(&self, why: &StoreError) {
        let (location, why) = (self.disk.location(), why.to_string());
        self.health.send_modify(|health| {
            let since = match health {
                DiskHealth::Good => SystemTime::now(),
                DiskHealth::Failing { since, .. } => *since,
            };
            *health = DiskHealth::Failing { location, since, why };
        });
    }

    fn finish(self, lost: Option<(u64, String)>) -> Result<(), CloseError> {
        // A closed slot (`None`) stays unmarked: the next opening verifies the database as after a crash.
        let marked = self.slot.with(|store| store.mark_closed(true)).unwrap_or(Ok(()));
        let closed = marked.and(self.slot.put(None));
        let location = self.disk.location();
        match (lost, closed) {
            (Some((commits, why)), _) => Err(CloseError::Unwritten { location, commits, why }),
            (None, Err(why)) => Err(CloseError::Unmarked { location, why: why.to_string() }),
            (None, Ok(())) => Ok(()),
        }
    }
}

/// Ends the queue when the thread ends, also by a panic, so that no caller waits for ever.
struct EndGuard(Arc<CommitQueue>);

impl Drop for EndGuard {
    fn drop(&mut self) {
        self.0.end();
    }
}
