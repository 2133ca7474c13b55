//! The public handle of an outbox.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;

use crate::commit_queue::{CommitQueue, Linger, QueueStatus};
use crate::disk::{Disk, OutboxFolder};
use crate::entry::{EntryId, OutboxCommit, OutboxEntry};
use crate::error::{CloseError, CommitError, OpenError, ReadError};
use crate::sink::{self, SinkHandle, SinkSpec};
use crate::store::{EntryQuery, OutboxStore, StoreError, StoreState};
use crate::totals::{PendingTotals, SinkQuota};
use crate::writer::{DiskHealth, OutboxWriter, RETRY, StoreSlot};

/// The settings of an outbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxConfig {
    /// The folder of the database; created if missing.
    pub dir: PathBuf,
    /// The sinks, in any order; no two share a name.
    pub sinks: Vec<SinkSpec>,
}

/// The state in which an outbox was found when it was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// Queues of sinks that the configuration no longer names. They stay until the configuration names them again or
    /// [`Outbox::drop_sink`] deletes them.
    pub orphaned: Vec<OrphanedQueue>,
    /// `true` if the previous process ended without [`Outbox::close`]: the outbox was recovered to its last whole transaction.
    pub unclean_shutdown: bool,
}

/// A queue on disk whose sink is not in the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrphanedQueue {
    /// The name of the sink.
    pub name: String,
    /// The number of pending entries.
    pub entries: u64,
    /// The bytes that the pending entries took of the sink's quota.
    pub bytes: u64,
}

/// An open outbox; clones are handles to the same one.
///
/// Shutdown: [`Outbox::close`] writes what was accepted and joins the thread `outbox`; so does the drop of the last handle.
#[derive(Clone)]
pub struct Outbox(pub(crate) Arc<OutboxInner>);

pub(crate) struct OutboxInner {
    id: String,
    location: String,
    pub(crate) queue: Arc<CommitQueue>,
    slot: Arc<StoreSlot>,
    health: watch::Receiver<DiskHealth>,
    writer: Mutex<Option<JoinHandle<Result<(), CloseError>>>>,
}

impl Outbox {
    /// Opens the outbox in a folder, and creates it if missing.
    ///
    /// Blocks while every live page is read and verified.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(config: OutboxConfig) -> Result<(Self, OpenReport), OpenError> {
        sink::check_names(&config.sinks)?;
        // After the check of the names: a mistake in the configuration leaves no folder behind.
        let folder = OutboxFolder::lock(&config.dir)?;
        Self::open_on(folder, config.sinks)
    }

    /// Opens the outbox on a disk that the caller implements and keeps other writers off.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open_on(disk: impl Disk, sinks: Vec<SinkSpec>) -> Result<(Self, OpenReport), OpenError> {
        Self::start(Arc::new(disk), sinks, Linger::default(), RETRY)
    }

    pub(crate) fn start(
        disk: Arc<dyn Disk>,
        sinks: Vec<SinkSpec>,
        linger: Linger,
        retry: (Duration, Duration),
    ) -> Result<(Self, OpenReport), OpenError> {
        sink::check_names(&sinks)?;
        let (store, state) = open_store(&*disk)?;
        // A new database is marked as closed, so it counts as a clean start.
        let report =
            OpenReport { orphaned: orphaned(&state.pending, &sinks), unclean_shutdown: !store.was_closed() };
        let (id, location, quotas) =
            (store.id().to_owned(), disk.location(), sinks.iter().map(quota_of).collect());
        let queue = Arc::new(CommitQueue::new(sinks, linger, &state.pending));
        let (slot, (sender, health)) = (Arc::new(StoreSlot::new(store)), watch::channel(DiskHealth::Good));
        let writer = OutboxWriter {
            disk,
            queue: Arc::clone(&queue),
            slot: Arc::clone(&slot),
            state,
            quotas,
            health: sender,
            retry,
        };
        let writer = Mutex::new(Some(spawn_writer(writer)?));
        Ok((Self(Arc::new(OutboxInner { id, location, queue, slot, health, writer })), report))
    }

    /// Returns the outbox's identity: 32 hexadecimal digits, generated when it is created.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.0.id
    }

    /// Returns the handle of the sink with this name; `None` if the outbox was opened without it.
    #[must_use]
    pub fn sink(&self, name: &str) -> Option<SinkHandle> {
        self.0.queue.sinks().iter().position(|sink| sink.name == name).map(SinkHandle)
    }

    /// Returns the source's last durable checkpoint.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn checkpoint(&self, source: &str) -> Result<Option<Bytes>, ReadError> {
        self.0.read(|store| store.checkpoint(source))
    }

    /// Accepts a commit, which becomes durable with the next transaction; [`Outbox::flush`] waits for that.
    ///
    /// Waits while the quota of one of its required sinks, or the queue in memory, is used up. An empty sink queue accepts a commit
    /// larger than its quota, up to [`MAX_COMMIT_BYTES`](crate::MAX_COMMIT_BYTES). Cancelled while it waits, the commit was not accepted.
    ///
    /// Order: commits of a source that awaits each before the next become durable in this order.
    ///
    /// # Errors
    /// See [`CommitError`].
    pub async fn commit(&self, commit: OutboxCommit) -> Result<(), CommitError> {
        self.0.queue.commit(commit).await
    }

    /// Writes everything that was accepted and acknowledged so far, and resolves when it is durable.
    ///
    /// Resolves after the end too: [`Outbox::close`] reports what was not written.
    pub async fn flush(&self) {
        self.0.queue.flush().await;
    }

    /// Returns the first entries after `after` that wait for a sink, in the order of their ids, without those acknowledged.
    ///
    /// Returns at most `max_entries` of at most `max_bytes`, but at least one entry where one waits. Blocks for the disk.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn pending(
        &self,
        sink: SinkHandle,
        after: Option<EntryId>,
        max_entries: usize,
        max_bytes: u64,
    ) -> Result<Vec<OutboxEntry>, ReadError> {
        let spec = self.0.queue.sinks().get(sink.0).ok_or(ReadError::NoSink { number: sink.0 })?;
        // Taken before the database is read: an id leaves the disk before it leaves this set, so none is returned twice.
        let except = self.0.queue.acked(sink, after);
        let query = EntryQuery { sink: &spec.name, after, max_entries, max_bytes, except: &except };
        self.0.read(|store| store.entries(&query))
    }

    /// Acknowledges entries: the sink has delivered them, or never will. They leave its queue.
    ///
    /// Durable with the next transaction, within about a second. Entries whose acknowledgement is lost in a crash are delivered again.
    pub fn ack(&self, sink: SinkHandle, ids: &[EntryId]) {
        self.0.queue.ack(sink, ids);
    }

    /// Resolves when an entry became durable for a sink since this last resolved.
    ///
    /// Supports one waiter per sink, which calls [`Outbox::pending`] before it waits for the first time.
    pub async fn wait_for_entries(&self, sink: SinkHandle) {
        self.0.queue.wait_for_entries(sink).await;
    }

    /// Returns the number and size of the entries that wait for a sink.
    #[must_use]
    pub fn queue_status(&self, sink: SinkHandle) -> QueueStatus {
        self.0.queue.status(sink)
    }

    /// Deletes the queue of a sink of this or an earlier configuration; durable when it resolves.
    pub async fn drop_sink(&self, name: &str) {
        self.0.queue.drop_sink(name);
        self.flush().await;
    }

    /// Returns a watch on the health of the disk.
    #[must_use]
    pub fn health(&self) -> watch::Receiver<DiskHealth> {
        self.0.health.clone()
    }

    /// Stops accepting commits, writes those accepted, joins the writer and closes the database. Blocks; a second call does nothing.
    ///
    /// # Errors
    /// The disk fails, and so did the last retry.
    pub fn close(&self) -> Result<(), CloseError> {
        self.0.close()
    }
}

impl OutboxInner {
    fn read<T>(&self, act: impl FnOnce(&OutboxStore) -> Result<T, StoreError>) -> Result<T, ReadError> {
        let unavailable = |why: String| ReadError::Unavailable { location: self.location.clone(), why };
        match self.slot.with(act) {
            Some(read) => read.map_err(|why| unavailable(why.to_string())),
            None if self.queue.has_ended() => Err(ReadError::Closed),
            // The writer closed the database after an error and opens it again before its next retry.
            None => Err(unavailable("the last write failed, and the file is being reopened".into())),
        }
    }

    fn close(&self) -> Result<(), CloseError> {
        self.queue.close();
        // Taken, because the drop of the last handle closes again, and a thread can be joined only once.
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        match writer.map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(outcome)) => outcome,
            Some(Err(_)) => Err(CloseError::Panicked { location: self.location.clone() }),
        }
    }
}

impl Drop for OutboxInner {
    /// Closes the outbox. An error is not reported: a caller that needs it calls [`Outbox::close`].
    fn drop(&mut self) {
        self.close().unwrap_or_default();
    }
}

/// Opens the database, which is created if missing, and marks it as in use.
fn open_store(disk: &dyn Disk) -> Result<(OutboxStore, StoreState), OpenError> {
    let located = |why: StoreError| why.at(disk.location());
    disk.create(&|database| OutboxStore::create(database).map_err(located))?;
    let (store, state) = OutboxStore::open(disk).map_err(located)?;
    // From here until `close` a crash leaves `closed` at 0, by which the next opening recognizes it.
    store.mark_closed(false).map_err(located)?;
    Ok((store, state))
}

fn spawn_writer(writer: OutboxWriter) -> Result<JoinHandle<Result<(), CloseError>>, OpenError> {
    // A thread and not a task: redb blocks in fdatasync, which takes seconds on a busy disk.
    let thread = Builder::new().name("outbox".into()).spawn(|| writer.run());
    thread.map_err(|why| OpenError::Thread { why: why.to_string() })
}

fn quota_of(sink: &SinkSpec) -> SinkQuota {
    // A required sink is never trimmed: commits to it wait instead.
    let max_bytes = (!sink.required).then_some(sink.quota_bytes);
    SinkQuota { name: sink.name.clone(), takes_attachments: sink.takes_attachments, max_bytes }
}

fn orphaned(pending: &PendingTotals, sinks: &[SinkSpec]) -> Vec<OrphanedQueue> {
    let unknown = pending.iter().filter(|(name, _)| !sinks.iter().any(|sink| sink.name == **name));
    unknown
        .map(|(name, totals)| OrphanedQueue {
            name: name.clone(),
            entries: totals.entries,
            bytes: totals.bytes,
        })
        .collect()
}
