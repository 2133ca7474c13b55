//! The thread that writes: takes what waits, makes it durable, and does not give up while the process lives.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use tokio::sync::watch;

use crate::disk::Disk;
use crate::error::CloseError;
use crate::intake::Intake;
use crate::store::{Batch, Books, Effects, Share, Store, StoreError, contained};

/// Waits between two tries on a disk in trouble: the first, and the longest.
pub(crate) const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// How the disk does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// What was asked of it last became durable.
    #[default]
    Good,
    /// Nothing becomes durable; it is tried again, and nothing is lost while the process lives.
    Failing {
        /// The file.
        place: String,
        /// Since when.
        since: SystemTime,
        /// What the disk or the store says.
        why: String,
    },
}

/// The open database, for those who read; `None` while it is closed between two tries, and after the end.
#[derive(Debug)]
pub(crate) struct Shelf(RwLock<Option<Store>>);

impl Shelf {
    pub(crate) fn new(store: Store) -> Self {
        Self(RwLock::new(Some(store)))
    }

    /// `None` where the database is not open. Several read at once, also beside a transaction.
    pub(crate) fn with<T>(
        &self,
        act: impl FnOnce(&Store) -> Result<T, StoreError>,
    ) -> Option<Result<T, StoreError>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).as_ref().map(act)
    }

    fn is_open(&self) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Closes what is there, once nobody reads it, before another one takes the file.
    fn put(&self, store: Option<Store>) -> Result<(), StoreError> {
        let mut slot = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut *slot, store);
        drop(slot);
        contained(|| {
            drop(old);
            Ok(())
        })
    }
}

/// What the thread owns.
pub(crate) struct Writer {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) intake: Arc<Intake>,
    pub(crate) shelf: Arc<Shelf>,
    pub(crate) books: Books,
    pub(crate) shares: Vec<Share>,
    pub(crate) health: watch::Sender<Health>,
    /// Waits between two tries: the first, and the longest.
    pub(crate) retry: (Duration, Duration),
}

impl Writer {
    /// Writes until the intake is closed and empty.
    ///
    /// # Errors
    /// The disk was in trouble until the end: these commits are not on it.
    pub(crate) fn run(mut self) -> Result<(), CloseError> {
        let _ended = Ended(Arc::clone(&self.intake));
        let mut lost = None;
        while let Some(mut batch) = self.intake.next() {
            batch.number = Some(self.books.batch + 1);
            let mut effects = Effects::default();
            let outcome = self.settle(&batch, &mut effects);
            self.intake.settle(&batch, &effects.dropped, &self.books.pending);
            if let Err(why) = outcome {
                let (before, _) = lost.unwrap_or_default();
                lost = Some((before + batch.commits.len() as u64, why.to_string()));
            }
        }
        self.end(lost)
    }

    /// Makes a batch durable, however often it takes; gives up only when the outbox is being closed.
    fn settle(&mut self, batch: &Batch, effects: &mut Effects) -> Result<(), StoreError> {
        let (mut wait, mut last) = (self.retry.0, false);
        loop {
            let Err(why) = self.attempt(batch, effects) else {
                self.health.send_replace(Health::Good);
                return Ok(());
            };
            self.complain(&why);
            if last {
                effects.dropped.clear();
                return Err(why);
            }
            last = !self.intake.pause(wait);
            wait = (wait * 2).min(self.retry.1);
            self.make_room();
        }
    }

    /// One try. An error leaves the database closed, since redb refuses everything after one; whether the batch became durable all
    /// the same is told by the database opened again.
    fn attempt(&mut self, batch: &Batch, effects: &mut Effects) -> Result<(), StoreError> {
        self.open()?;
        if batch.number == Some(self.books.batch) {
            return Ok(());
        }
        match self.shelf.with(|store| store.apply(&self.books, batch, &self.shares, effects)) {
            Some(Ok(books)) => self.books = books,
            Some(Err(why)) => return self.shelf.put(None).and(Err(why)),
            None => {}
        }
        Ok(())
    }

    /// Opens the database where it is not.
    fn open(&mut self) -> Result<(), StoreError> {
        if self.shelf.is_open() {
            return Ok(());
        }
        let (store, books) = Store::open(&*self.disk)?;
        store.mark(false)?;
        self.books = books;
        self.intake.recount(&self.books.pending);
        self.shelf.put(Some(store))
    }

    /// Takes delivered entries off first: their pages are used again, so that a batch may fit on a full disk.
    fn make_room(&mut self) {
        let batch = Batch { acks: self.intake.take_acks(), ..Batch::default() };
        if batch.acks.is_empty() {
            return;
        }
        match self.attempt(&batch, &mut Effects::default()) {
            Ok(()) => self.intake.settle_acks(&batch.acks, &self.books.pending),
            Err(_) => self.intake.return_acks(&batch.acks),
        }
    }

    fn complain(&self, why: &StoreError) {
        let (place, why) = (self.disk.place(), why.to_string());
        self.health.send_modify(|health| {
            let since = match health {
                Health::Good => SystemTime::now(),
                Health::Failing { since, .. } => *since,
            };
            *health = Health::Failing { place, since, why };
        });
    }

    fn end(self, lost: Option<(u64, String)>) -> Result<(), CloseError> {
        let marked = self.shelf.with(|store| store.mark(true)).unwrap_or(Ok(()));
        let closed = marked.and(self.shelf.put(None));
        match (lost, closed) {
            (Some((commits, why)), _) => {
                Err(CloseError::Unwritten { place: self.disk.place(), commits, why })
            }
            (None, Err(why)) => Err(CloseError::Unmarked { place: self.disk.place(), why: why.to_string() }),
            (None, Ok(())) => Ok(()),
        }
    }
}

/// Tells those who wait, also when the thread panics.
struct Ended(Arc<Intake>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.end();
    }
}
