//! The database: one transaction per batch, and the reads. No thread and no clock.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use redb::{Builder, Database, ReadableDatabase, ReadableTable, StorageBackend};

use crate::disk::{BoxedBackend, Disk};
use crate::entry::{EntryId, OutboxCommit, OutboxEntry};
use crate::error::OpenError;
use crate::format::FORMAT;
use crate::tables::{ATTACHMENTS, CHECKPOINTS, COUNTERS, ENTRIES, META, OutboxTables, PENDING};
use crate::totals::{PendingTotals, QueueTotals, SinkQuota, time_of};
const MAGIC: &[u8] = b"kvs-infer outbox";
/// Size of redb's page cache. A batch larger than half of it is written out before its commit; the working set is a few MB.
const CACHE_BYTES: usize = 32 << 20;

/// An error of the database.
///
/// After `Disk` and `Damaged` the writer reopens the database and retries.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("{0}")]
    Disk(String),
    #[error("it is damaged: {0}")]
    Damaged(String),
    #[error("it is not an outbox: {0}")]
    Foreign(String),
    #[error("it has format {0}, and this program reads format {FORMAT}")]
    Format(String),
}

impl StoreError {
    pub(crate) fn at(self, location: String) -> OpenError {
        match self {
            Self::Disk(why) => OpenError::Disk { location, why },
            Self::Damaged(why) => OpenError::Damaged { location, why },
            Self::Foreign(why) => OpenError::Foreign { location, why },
            Self::Format(found) => OpenError::Format { location, found },
        }
    }
}

impl From<redb::Error> for StoreError {
    fn from(error: redb::Error) -> Self {
        match error {
            // redb reports a wrong magic number as invalid data, and a file shorter than its header says as an early end.
            redb::Error::Io(why) if why.kind() == std::io::ErrorKind::InvalidData => {
                Self::Foreign(why.to_string())
            }
            redb::Error::Io(why) if why.kind() == std::io::ErrorKind::UnexpectedEof => {
                Self::Damaged(why.to_string())
            }
            redb::Error::UpgradeRequired(found) => Self::Format(format!("redb {found}")),
            redb::Error::Corrupted(why) => Self::Damaged(why),
            redb::Error::TableTypeMismatch { .. } | redb::Error::TableDoesNotExist(_) => {
                Self::Foreign(error.to_string())
            }
            other => Self::Disk(other.to_string()),
        }
    }
}

/// The part of a sink's quota that a commit in memory takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reservation {
    /// The index of the sink.
    pub(crate) sink: usize,
    pub(crate) totals: QueueTotals,
}

/// An accepted commit in memory.
#[derive(Debug)]
pub(crate) struct QueuedCommit {
    pub(crate) commit: OutboxCommit,
    pub(crate) at: SystemTime,
    pub(crate) reservations: Vec<Reservation>,
}

/// The contents of one transaction. Commits are applied before acknowledgements.
#[derive(Debug, Default)]
pub(crate) struct WriteBatch {
    pub(crate) commits: Vec<QueuedCommit>,
    /// Acknowledged entries, with the index of the sink.
    pub(crate) acks: Vec<(usize, EntryId)>,
    /// Names of sinks whose queues are deleted.
    pub(crate) drop_sinks: Vec<String>,
    /// One above the number of the previous batch; `None` for acknowledgements alone, which are idempotent and unnumbered.
    pub(crate) number: Option<u64>,
}

/// The side effects of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct BatchEffects {
    /// Number of entries that each best-effort sink lost, by index of the sink.
    pub(crate) dropped: Vec<u64>,
}

/// An open database.
#[derive(Debug)]
pub(crate) struct OutboxStore {
    db: Database,
    id: String,
    was_closed: bool,
}

/// The counters of an open database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct StoreState {
    /// The number of the last durable batch.
    pub(crate) batch: u64,
    /// The pending entries after it.
    pub(crate) pending: PendingTotals,
}

/// Runs `act` and turns a panic into an error.
///
/// redb promises not to panic over a verified file, but a file may be damaged while it is open. The writer then has to report the
/// damage instead of ending.
pub(crate) fn catch_panic<T>(act: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(act)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no text");
        Err(StoreError::Damaged(format!("the store panicked: {text}")))
    })
}

impl OutboxStore {
    /// Creates a new outbox in empty storage.
    pub(crate) fn create(database: Box<dyn StorageBackend>) -> Result<(), StoreError> {
        catch_panic(|| Ok(fill(BoxedBackend(database))?))
    }

    /// Opens an existing database and verifies every live page.
    pub(crate) fn open(disk: &dyn Disk) -> Result<(Self, StoreState), StoreError> {
        let backend = connect(disk)?;
        // redb would turn an empty file into a new database, and its loss would go unnoticed.
        if StorageBackend::len(&backend).map_err(|why| StoreError::Disk(why.to_string()))? == 0 {
            return Err(StoreError::Damaged("it is empty".into()));
        }
        catch_panic(|| Ok(Self::read(backend)?))?
    }

    fn read(backend: BoxedBackend) -> Result<Result<(Self, StoreState), StoreError>, redb::Error> {
        let db = builder().create_with_backend(backend)?;
        let (id, was_closed) = match identify(&db)? {
            Ok(known) => known,
            Err(refused) => return Ok(Err(refused)),
        };
        let state = StoreState { batch: count(&db, "batch")?, pending: scan(&db)? };
        Ok(Ok((Self { db, id, was_closed }, state)))
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Returns `true` if the previous process closed it.
    pub(crate) fn was_closed(&self) -> bool {
        self.was_closed
    }

    /// Makes a batch durable, completely or not at all, and returns the counters after it.
    ///
    /// `effects` is valid only if the batch became durable. After an error, reopen the database and compare [`StoreState::batch`]
    /// to find out.
    pub(crate) fn apply(
        &self,
        state: &StoreState,
        batch: &WriteBatch,
        quotas: &[SinkQuota],
        effects: &mut BatchEffects,
    ) -> Result<StoreState, StoreError> {
        catch_panic(|| Ok(self.transact(state, batch, quotas, effects)?))
    }

    fn transact(
        &self,
        state: &StoreState,
        batch: &WriteBatch,
        quotas: &[SinkQuota],
        effects: &mut BatchEffects,
    ) -> Result<StoreState, redb::Error> {
        let transaction = self.db.begin_write()?;
        // Acknowledgements alone keep the number: the batch that is being retried has the next one.
        let number = batch.number.unwrap_or(state.batch);
        let mut tables = OutboxTables::open(&transaction, state.pending.clone())?;
        apply_changes(&mut tables, batch, quotas)?;
        // Trimmed last: a batch may both fill a queue and acknowledge entries of it. Cleared: a retry runs this again.
        effects.dropped.clear();
        for quota in quotas {
            effects.dropped.push(tables.trim(quota)?);
        }
        // In the same transaction: after an error it says whether this batch is durable.
        tables.counters.insert("batch", number)?;
        let pending = tables.finish()?;
        transaction.commit()?;
        Ok(StoreState { batch: number, pending })
    }

    /// Stores the mark of a clean end.
    pub(crate) fn mark_closed(&self, closed: bool) -> Result<(), StoreError> {
        catch_panic(|| Ok(self.set_meta("closed", &[u8::from(closed)])?))
    }

    fn set_meta(&self, name: &str, value: &[u8]) -> Result<(), redb::Error> {
        let transaction = self.db.begin_write()?;
        transaction.open_table(META)?.insert(name, value)?;
        Ok(transaction.commit()?)
    }

    pub(crate) fn checkpoint(&self, source: &str) -> Result<Option<Bytes>, StoreError> {
        catch_panic(|| Ok(self.read_checkpoint(source)?))
    }

    fn read_checkpoint(&self, source: &str) -> Result<Option<Bytes>, redb::Error> {
        let table = self.db.begin_read()?.open_table(CHECKPOINTS)?;
        Ok(table.get(source)?.map(|found| Bytes::copy_from_slice(found.value())))
    }

    /// Returns the first entries that match the query, in the order of their ids.
    pub(crate) fn entries(&self, query: &EntryQuery<'_>) -> Result<Vec<OutboxEntry>, StoreError> {
        catch_panic(|| {
            self.read_entries(query)?.ok_or_else(|| StoreError::Damaged("a pending entry is missing".into()))
        })
    }

    /// Returns `None` if an entry is pending that the database does not have.
    fn read_entries(&self, query: &EntryQuery<'_>) -> Result<Option<Vec<OutboxEntry>>, redb::Error> {
        let transaction = self.db.begin_read()?;
        let (entries, attachments) = (transaction.open_table(ENTRIES)?, transaction.open_table(ATTACHMENTS)?);
        let pending = transaction.open_table(PENDING)?;
        let (mut found, mut room) = (Vec::new(), query.max_bytes);
        let Some(first) = query.after.map_or(Some(0), |id| id.0.checked_add(1)) else {
            return Ok(Some(found));
        };
        for row in pending.range((query.sink, first)..=(query.sink, u64::MAX))? {
            let (key, row) = row?;
            let ((_, id), (bytes, takes_attachments, _)) = (key.value(), row.value());
            // Acknowledged, but the batch that removes it is not durable yet.
            if query.except.contains(&EntryId(id)) {
                continue;
            }
            // The first entry is returned even if it alone exceeds `max_bytes`: its sink would never get it otherwise.
            if found.len() == query.max_entries || (bytes > room && !found.is_empty()) {
                break;
            }
            let stored = read_entry(&entries, &attachments, id, takes_attachments)?;
            let Some(entry) = stored else { return Ok(None) };
            found.push(entry);
            room = room.saturating_sub(bytes);
        }
        Ok(Some(found))
    }
}

/// A query for the pending entries of a sink.
pub(crate) struct EntryQuery<'a> {
    pub(crate) sink: &'a str,
    pub(crate) after: Option<EntryId>,
    pub(crate) max_entries: usize,
    /// Limit on the returned bytes, which the first entry may exceed.
    pub(crate) max_bytes: u64,
    /// Acknowledged entries that are still on disk.
    pub(crate) except: &'a std::collections::BTreeSet<EntryId>,
}

/// Stores the commits of a batch, and removes what it acknowledges and drops.
fn apply_changes(
    tables: &mut OutboxTables<'_>,
    batch: &WriteBatch,
    quotas: &[SinkQuota],
) -> Result<(), redb::Error> {
    for queued in &batch.commits {
        tables.insert_commit(&queued.commit, millis(queued.at), quotas)?;
    }
    for (sink, id) in &batch.acks {
        tables.release(&quotas[*sink].name, id.0)?;
    }
    for name in &batch.drop_sinks {
        tables.drop_sink(name)?;
    }
    Ok(())
}

fn connect(disk: &dyn Disk) -> Result<BoxedBackend, StoreError> {
    disk.connect().map(BoxedBackend).map_err(|why| StoreError::Disk(why.to_string()))
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    // redb verifies a file by itself only after a crash: it would trust one that was altered while closed, or panic.
    builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
    builder
}

/// Returns a stored entry, or `None` if the database does not have it.
fn read_entry(
    entries: &impl ReadableTable<u64, (&'static str, &'static [u8])>,
    attachments: &impl ReadableTable<(u64, u32), &'static [u8]>,
    id: u64,
    takes_attachments: bool,
) -> Result<Option<OutboxEntry>, redb::Error> {
    let Some(row) = entries.get(id)? else { return Ok(None) };
    let (source, payload) = row.value();
    let attachments = if takes_attachments { attached(attachments, id)? } else { Vec::new() };
    let (source, payload) = (source.to_owned(), Bytes::copy_from_slice(payload));
    Ok(Some(OutboxEntry { id: EntryId(id), source, payload, attachments }))
}

fn attached(
    table: &impl ReadableTable<(u64, u32), &'static [u8]>,
    id: u64,
) -> Result<Vec<Bytes>, redb::Error> {
    let rows = table.range((id, 0)..=(id, u32::MAX))?;
    rows.map(|row| Ok(Bytes::copy_from_slice(row?.1.value()))).collect()
}

fn fill(backend: BoxedBackend) -> Result<(), redb::Error> {
    let db = builder().create_with_backend(backend)?;
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(std::io::Error::other)?;
    let id: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let transaction = db.begin_write()?;
    // A table borrows the transaction, and must be dropped before the commit.
    {
        let mut meta = transaction.open_table(META)?;
        meta.insert("magic", MAGIC)?;
        meta.insert("format", &FORMAT.to_le_bytes()[..])?;
        meta.insert("id", id.as_bytes())?;
        // A new outbox has nothing to recover from.
        meta.insert("closed", &[1][..])?;
    }
    // Creates every table: a read of a table that does not exist is an error in redb.
    OutboxTables::open(&transaction, PendingTotals::new())?.finish()?;
    Ok(transaction.commit()?)
}

/// Returns the outbox's id and its mark of a clean end, or the reason why the database is not an outbox of this format.
fn identify(db: &Database) -> Result<Result<(String, bool), StoreError>, redb::Error> {
    let meta = db.begin_read()?.open_table(META)?;
    let row = |name| Ok::<_, redb::Error>(meta.get(name)?.map(|row| row.value().to_vec()));
    if row("magic")?.as_deref() != Some(MAGIC) {
        return Ok(Err(StoreError::Foreign("its magic number is missing".into())));
    }
    // After the magic number, which every format has.
    let format = row("format")?.unwrap_or_default();
    if format != FORMAT.to_le_bytes() {
        let number = <[u8; 4]>::try_from(&format[..]).map(u32::from_le_bytes);
        return Ok(Err(StoreError::Format(
            number.map_or_else(|_| format!("{format:?}"), |number| number.to_string()),
        )));
    }
    let id = String::from_utf8(row("id")?.unwrap_or_default());
    let closed = row("closed")?.is_some_and(|closed| closed == [1]);
    Ok(id.map(|id| (id, closed)).map_err(|_| StoreError::Damaged("its id is not text".into())))
}

fn count(db: &Database, name: &str) -> Result<u64, redb::Error> {
    Ok(db.begin_read()?.open_table(COUNTERS)?.get(name)?.map_or(0, |row| row.value()))
}

/// Returns the totals of every sink in the database, of whatever configuration.
fn scan(db: &Database) -> Result<PendingTotals, redb::Error> {
    // Counted at each opening and stored nowhere, so the totals cannot disagree with the rows.
    let mut pending = PendingTotals::new();
    for row in db.begin_read()?.open_table(PENDING)?.iter()? {
        let (key, row) = row?;
        let ((sink, _), (bytes, _, at)) = (key.value(), row.value());
        // Rows are sorted by sink and id, so the first row of a sink is its oldest.
        if !pending.contains_key(sink) {
            pending
                .insert(sink.to_owned(), QueueTotals { oldest: Some(time_of(at)), ..QueueTotals::default() });
        }
        if let Some(totals) = pending.get_mut(sink) {
            totals.add(bytes);
        }
    }
    Ok(pending)
}

fn millis(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
