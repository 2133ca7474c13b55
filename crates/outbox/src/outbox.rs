//! The outbox as its users see it.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;

use crate::disk::{Disk, Folder};
use crate::entry::{Commit, Entry, EntryId};
use crate::error::{CloseError, CommitError, OpenError, ReadError};
use crate::intake::{Intake, Linger, Queued};
use crate::sink::{self, Sink, SinkSpec};
use crate::store::{Share, Store, StoreError, Wanted};
use crate::writer::{Health, RETRY, Shelf, Writer};

/// What an outbox is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxConfig {
    /// Its folder; made where there is none.
    pub dir: PathBuf,
    /// Who takes entries out; any order, every name once.
    pub sinks: Vec<SinkSpec>,
}

/// What was found in the folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// Sinks that have entries waiting and that nobody asked for now: they stay until they are asked for again, or
    /// [`Outbox::drop_sink`] forgets them.
    pub leftover: Vec<Leftover>,
    /// Whether the last process ended without [`Outbox::close`]: the last whole transaction is what counts.
    pub repaired: bool,
}

/// A queue without a sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftover {
    /// The sink's name.
    pub name: String,
    /// How many entries wait for it.
    pub entries: u64,
    /// What they counted for it.
    pub bytes: u64,
}

/// An open outbox; clones are handles to the same one.
///
/// Shutdown: [`Outbox::close`] writes what was taken in and joins the thread `outbox`; so does the drop of the last handle.
#[derive(Clone)]
pub struct Outbox(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    id: String,
    place: String,
    pub(crate) intake: Arc<Intake>,
    shelf: Arc<Shelf>,
    health: watch::Receiver<Health>,
    writer: Mutex<Option<JoinHandle<Result<(), CloseError>>>>,
}

impl Outbox {
    /// Opens the outbox in a folder, and makes it where there is none.
    ///
    /// Blocks while every live page is read and verified.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(config: OutboxConfig) -> Result<(Self, Opened), OpenError> {
        sink::check(&config.sinks)?;
        let folder = Folder::lock(&config.dir)?;
        Self::open_on(folder, config.sinks)
    }

    /// Opens the outbox on a disk of one's own. The disk sees to it that nobody else writes.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open_on(disk: impl Disk, sinks: Vec<SinkSpec>) -> Result<(Self, Opened), OpenError> {
        Self::start(Arc::new(disk), sinks, Linger::default(), RETRY)
    }

    pub(crate) fn start(
        disk: Arc<dyn Disk>,
        sinks: Vec<SinkSpec>,
        linger: Linger,
        retry: (Duration, Duration),
    ) -> Result<(Self, Opened), OpenError> {
        sink::check(&sinks)?;
        let at = |why: StoreError| why.at(disk.place());
        disk.make(&|database| Store::create(database).map_err(at))?;
        let (store, books) = Store::open(&*disk).map_err(at)?;
        store.mark(false).map_err(at)?;
        let opened = Opened { leftover: leftover(&books.pending, &sinks), repaired: !store.was_closed() };
        let (id, place, shares) = (store.id().to_owned(), disk.place(), sinks.iter().map(share).collect());
        let intake = Arc::new(Intake::new(sinks, linger, &books.pending));
        let (shelf, (tell, health)) = (Arc::new(Shelf::new(store)), watch::channel(Health::Good));
        let (ours, theirs) = (Arc::clone(&intake), Arc::clone(&shelf));
        let writer = Writer { disk, intake: ours, shelf: theirs, books, shares, health: tell, retry };
        let thread = Builder::new().name("outbox".into()).spawn(|| writer.run());
        let writer = Mutex::new(Some(thread.map_err(|why| OpenError::Thread { why: why.to_string() })?));
        Ok((Self(Arc::new(Inner { id, place, intake, shelf, health, writer })), opened))
    }

    /// The name of this outbox, made with it and kept: 32 hexadecimal digits.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.0.id
    }

    /// The sink of this name; `None` where the outbox was opened without it.
    #[must_use]
    pub fn sink(&self, name: &str) -> Option<Sink> {
        self.0.intake.sinks().iter().position(|sink| sink.name == name).map(Sink)
    }

    /// Where a source goes on: the last checkpoint that is on disk.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn checkpoint(&self, source: &str) -> Result<Option<Bytes>, ReadError> {
        self.0.read(|store| store.checkpoint(source))
    }

    /// Takes a commit in, to be written with what else waits.
    ///
    /// Waits while the share of one of its required sinks is full, or the queue in memory. A commit that is larger than a share passes
    /// when nothing waits for that sink; none may have more than [`MAX_COMMIT_BYTES`](crate::MAX_COMMIT_BYTES). When the wait is cancelled, the commit was not taken in. It is durable after [`Outbox::settled`].
    ///
    /// Order: a source that awaits one commit before the next has them on disk in this order.
    ///
    /// # Errors
    /// See [`CommitError`].
    pub async fn commit(&self, commit: Commit) -> Result<(), CommitError> {
        self.0.intake.commit(commit).await
    }

    /// Resolves when all that was taken in and acknowledged before is durable, and has it written at once. After the end it resolves
    /// too: [`Outbox::close`] says what was not written.
    pub async fn settled(&self) {
        self.0.intake.settled().await;
    }

    /// The first entries that wait for a sink after `after`, in order of their ids: `most` at most, and `most_bytes` at most, but one
    /// at least where there is one. Entries that were acknowledged are left out. Blocks for the disk.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn pending(
        &self,
        sink: Sink,
        after: Option<EntryId>,
        most: usize,
        most_bytes: u64,
    ) -> Result<Vec<Entry>, ReadError> {
        let spec = self.0.intake.sinks().get(sink.0).ok_or(ReadError::NoSink { number: sink.0 })?;
        // Before the database is looked at: what leaves this set leaves the disk first.
        let but = self.0.intake.acked(sink, after);
        let wanted = Wanted { sink: &spec.name, after, most, most_bytes, but: &but };
        self.0.read(|store| store.entries(&wanted))
    }

    /// The sink has these entries, or will never take them: they leave its queue. Durable with the next transaction, within a second
    /// or so; lost in a crash, they are delivered again.
    pub fn ack(&self, sink: Sink, ids: &[EntryId]) {
        self.0.intake.ack(sink, ids);
    }

    /// Resolves when something was added for a sink since the last time this resolved. For one waiter a sink; look at
    /// [`Outbox::pending`] before the first time.
    pub async fn changed(&self, sink: Sink) {
        self.0.intake.changed(sink).await;
    }

    /// What waits for a sink.
    #[must_use]
    pub fn queued(&self, sink: Sink) -> Queued {
        self.0.intake.queued(sink)
    }

    /// Forgets what waits for a sink, of this configuration or an earlier one; durable when it resolves.
    pub async fn drop_sink(&self, name: &str) {
        self.0.intake.forget(name);
        self.settled().await;
    }

    /// How the disk does, and a way to wait for a change of it.
    #[must_use]
    pub fn health(&self) -> watch::Receiver<Health> {
        self.0.health.clone()
    }

    /// Takes nothing more in, writes what was taken in, ends and joins the writer, and lets go of the folder's database. Blocks. The
    /// second time it does nothing.
    ///
    /// # Errors
    /// The disk is in trouble, and the last try failed.
    pub fn close(&self) -> Result<(), CloseError> {
        self.0.close()
    }
}

impl Inner {
    fn read<T>(&self, act: impl FnOnce(&Store) -> Result<T, StoreError>) -> Result<T, ReadError> {
        let unavailable = |why: String| ReadError::Unavailable { place: self.place.clone(), why };
        match self.shelf.with(act) {
            Some(read) => read.map_err(|why| unavailable(why.to_string())),
            None if self.intake.has_ended() => Err(ReadError::Closed),
            None => Err(unavailable("the last write failed, and it is to be opened again".into())),
        }
    }

    fn close(&self) -> Result<(), CloseError> {
        self.intake.close();
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        match writer.map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(outcome)) => outcome,
            Some(Err(_)) => Err(CloseError::Panicked { place: self.place.clone() }),
        }
    }
}

impl Drop for Inner {
    /// What was not written is told to nobody here: whoever wants to know closes.
    fn drop(&mut self) {
        self.close().unwrap_or_default();
    }
}

fn share(sink: &SinkSpec) -> Share {
    let most_bytes = (!sink.required).then_some(sink.share_bytes);
    Share { name: sink.name.clone(), takes_attachments: sink.takes_attachments, most_bytes }
}

fn leftover(pending: &crate::store::Pending, sinks: &[SinkSpec]) -> Vec<Leftover> {
    let unknown = pending.iter().filter(|(name, _)| !sinks.iter().any(|sink| sink.name == **name));
    unknown
        .map(|(name, totals)| Leftover { name: name.clone(), entries: totals.entries, bytes: totals.bytes })
        .collect()
}
