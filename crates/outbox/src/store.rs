//! The database: one transaction a batch, and what is read of it. No thread and no clock.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use redb::{Builder, Database, ReadableDatabase, ReadableTable, StorageBackend};

use crate::disk::{Connected, Disk};
use crate::entry::{Commit, Entry, EntryId};
use crate::error::OpenError;
use crate::tables::{ATTACHMENTS, CHECKPOINTS, COUNTERS, ENTRIES, META, PENDING, Tables};

/// The format that is written; the module doc of the crate has its tables.
pub(crate) const FORMAT: u32 = 1;
const MAGIC: &[u8] = b"kvs-infer outbox";
/// For pages read and not yet written. A batch beyond half of it is written out earlier; the working set is a few MB.
const CACHE_BYTES: usize = 32 << 20;

/// What the store says when it does not do what it is asked.
///
/// Of a database that is to be opened again, unless `Foreign` or `Format`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("{0}")]
    Disk(String),
    #[error("it is damaged: {0}")]
    Damaged(String),
    #[error("it is no outbox: {0}")]
    Foreign(String),
    #[error("it has format {0}, and this program knows format {FORMAT}")]
    Format(String),
}

impl StoreError {
    pub(crate) fn at(self, place: String) -> OpenError {
        match self {
            Self::Disk(why) => OpenError::Disk { place, why },
            Self::Damaged(why) => OpenError::Damaged { place, why },
            Self::Foreign(why) => OpenError::Foreign { place, why },
            Self::Format(found) => OpenError::Format { place, found },
        }
    }
}

impl From<redb::Error> for StoreError {
    fn from(error: redb::Error) -> Self {
        match error {
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

/// What waits for one sink.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
    /// When the oldest of them was taken in.
    pub(crate) oldest: Option<SystemTime>,
}

/// By name of the sink; those with nothing pending may be missing.
pub(crate) type Pending = BTreeMap<String, Totals>;

/// A sink as a batch sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) name: String,
    pub(crate) takes_attachments: bool,
    /// Beyond these bytes the oldest entries go; `None`: never.
    pub(crate) most_bytes: Option<u64>,
}

/// What a commit counts for one sink, by its place.
pub(crate) type Charge = (usize, Totals);

/// A commit that was taken in.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) commit: Commit,
    pub(crate) at: SystemTime,
    pub(crate) charges: Vec<Charge>,
}

/// What one transaction holds; commits come before acknowledgements.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) commits: Vec<Taken>,
    /// By place of the sink.
    pub(crate) acks: Vec<(usize, EntryId)>,
    /// Sinks that nobody will ask for again.
    pub(crate) forget: Vec<String>,
    /// Its number, one above the last one's. `None` for what may be done twice and is none of the numbered: acknowledgements alone.
    pub(crate) number: Option<u64>,
}

/// What a batch did besides what it says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Effects {
    /// Entries that a best-effort sink lost, by place of the sink.
    pub(crate) dropped: Vec<u64>,
}

/// An open database.
#[derive(Debug)]
pub(crate) struct Store {
    db: Database,
    id: String,
    was_closed: bool,
}

/// What the writer knows of an open database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Books {
    /// The number of the last durable batch.
    pub(crate) batch: u64,
    /// What is pending after it.
    pub(crate) pending: Pending,
}

/// Runs `act`; a panic is an error. redb promises none over a damaged file that was verified, but not over one that is damaged
/// while it is open, and the outbox must say so and not take its thread along.
pub(crate) fn contained<T>(act: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(act)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no text");
        Err(StoreError::Damaged(format!("the store panicked: {text}")))
    })
}

impl Store {
    /// Makes a new outbox in an empty place.
    pub(crate) fn create(database: Box<dyn StorageBackend>) -> Result<(), StoreError> {
        contained(|| Ok(fill(Connected(database))?))
    }

    /// Opens what is there; verifies every live page.
    pub(crate) fn open(disk: &dyn Disk) -> Result<(Self, Books), StoreError> {
        let backend = connect(disk)?;
        if StorageBackend::len(&backend).map_err(|why| StoreError::Disk(why.to_string()))? == 0 {
            return Err(StoreError::Damaged("it is empty".into()));
        }
        contained(|| Ok(Self::read(backend)?))?
    }

    fn read(backend: Connected) -> Result<Result<(Self, Books), StoreError>, redb::Error> {
        let db = builder().create_with_backend(backend)?;
        let (id, was_closed) = match identify(&db)? {
            Ok(known) => known,
            Err(refused) => return Ok(Err(refused)),
        };
        let books = Books { batch: count(&db, "batch")?, pending: scan(&db)? };
        Ok(Ok((Self { db, id, was_closed }, books)))
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Whether the last process closed it.
    pub(crate) fn was_closed(&self) -> bool {
        self.was_closed
    }

    /// Makes a batch durable, whole or not at all, and tells what the books say then. `effects` is right wherever the batch became
    /// durable, which after an error only [`Books::batch`] of the database opened again tells.
    pub(crate) fn apply(
        &self,
        books: &Books,
        batch: &Batch,
        shares: &[Share],
        effects: &mut Effects,
    ) -> Result<Books, StoreError> {
        contained(|| Ok(self.transact(books, batch, shares, effects)?))
    }

    fn transact(
        &self,
        books: &Books,
        batch: &Batch,
        shares: &[Share],
        effects: &mut Effects,
    ) -> Result<Books, redb::Error> {
        let transaction = self.db.begin_write()?;
        let number = batch.number.unwrap_or(books.batch);
        let mut tables = Tables::open(&transaction, books.pending.clone())?;
        for taken in &batch.commits {
            tables.take_in(&taken.commit, millis(taken.at), shares)?;
        }
        for (sink, id) in &batch.acks {
            tables.release(&shares[*sink].name, id.0)?;
        }
        for name in &batch.forget {
            tables.forget(name)?;
        }
        effects.dropped.clear();
        for share in shares {
            effects.dropped.push(tables.trim(share)?);
        }
        tables.counters.insert("batch", number)?;
        let pending = tables.close()?;
        transaction.commit()?;
        Ok(Books { batch: number, pending })
    }

    /// Notes whether the outbox is closed.
    pub(crate) fn mark(&self, closed: bool) -> Result<(), StoreError> {
        contained(|| Ok(self.note("closed", &[u8::from(closed)])?))
    }

    fn note(&self, name: &str, value: &[u8]) -> Result<(), redb::Error> {
        let transaction = self.db.begin_write()?;
        transaction.open_table(META)?.insert(name, value)?;
        Ok(transaction.commit()?)
    }

    pub(crate) fn checkpoint(&self, source: &str) -> Result<Option<Bytes>, StoreError> {
        contained(|| Ok(self.read_checkpoint(source)?))
    }

    fn read_checkpoint(&self, source: &str) -> Result<Option<Bytes>, redb::Error> {
        let table = self.db.begin_read()?.open_table(CHECKPOINTS)?;
        Ok(table.get(source)?.map(|found| Bytes::copy_from_slice(found.value())))
    }

    /// The first entries of a sink after `after` for which `wanted` holds: `most` of them at most, `most_bytes` at most but one at least.
    pub(crate) fn entries(&self, range: &Wanted<'_>) -> Result<Vec<Entry>, StoreError> {
        contained(|| {
            self.read_entries(range)?.ok_or_else(|| StoreError::Damaged("a pending entry is missing".into()))
        })
    }

    fn read_entries(&self, wanted: &Wanted<'_>) -> Result<Option<Vec<Entry>>, redb::Error> {
        let transaction = self.db.begin_read()?;
        let (entries, attachments) = (transaction.open_table(ENTRIES)?, transaction.open_table(ATTACHMENTS)?);
        let pending = transaction.open_table(PENDING)?;
        let (mut found, mut room) = (Vec::new(), wanted.most_bytes);
        let Some(first) = wanted.after.map_or(Some(0), |id| id.0.checked_add(1)) else {
            return Ok(Some(found));
        };
        for row in pending.range((wanted.sink, first)..=(wanted.sink, u64::MAX))? {
            let (key, row) = row?;
            let ((_, id), (bytes, takes_attachments, _)) = (key.value(), row.value());
            if wanted.but.contains(&EntryId(id)) {
                continue;
            }
            if found.len() == wanted.most || (bytes > room && !found.is_empty()) {
                break;
            }
            let Some(entry) = entries.get(id)? else { return Ok(None) };
            let (source, payload) = entry.value();
            let attached = if takes_attachments { attached(&attachments, id)? } else { Vec::new() };
            let payload = Bytes::copy_from_slice(payload);
            found.push(Entry { id: EntryId(id), source: source.to_owned(), payload, attachments: attached });
            room = room.saturating_sub(bytes);
        }
        Ok(Some(found))
    }
}

/// Which entries to read.
pub(crate) struct Wanted<'a> {
    pub(crate) sink: &'a str,
    pub(crate) after: Option<EntryId>,
    pub(crate) most: usize,
    pub(crate) most_bytes: u64,
    /// Those that were acknowledged and are still there.
    pub(crate) but: &'a std::collections::BTreeSet<EntryId>,
}

fn connect(disk: &dyn Disk) -> Result<Connected, StoreError> {
    disk.connect().map(Connected).map_err(|why| StoreError::Disk(why.to_string()))
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
    builder
}

fn attached(
    table: &impl ReadableTable<(u64, u32), &'static [u8]>,
    id: u64,
) -> Result<Vec<Bytes>, redb::Error> {
    let rows = table.range((id, 0)..=(id, u32::MAX))?;
    rows.map(|row| Ok(Bytes::copy_from_slice(row?.1.value()))).collect()
}

fn fill(backend: Connected) -> Result<(), redb::Error> {
    let db = builder().create_with_backend(backend)?;
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(std::io::Error::other)?;
    let id: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let transaction = db.begin_write()?;
    {
        let mut meta = transaction.open_table(META)?;
        meta.insert("magic", MAGIC)?;
        meta.insert("format", &FORMAT.to_le_bytes()[..])?;
        meta.insert("id", id.as_bytes())?;
        meta.insert("closed", &[1][..])?;
    }
    Tables::open(&transaction, Pending::new())?.close()?;
    Ok(transaction.commit()?)
}

/// The outbox's id and whether it was closed; or why this is none of ours.
fn identify(db: &Database) -> Result<Result<(String, bool), StoreError>, redb::Error> {
    let meta = db.begin_read()?.open_table(META)?;
    let row = |name| Ok::<_, redb::Error>(meta.get(name)?.map(|row| row.value().to_vec()));
    if row("magic")?.as_deref() != Some(MAGIC) {
        return Ok(Err(StoreError::Foreign("it does not say that it is one".into())));
    }
    let format = row("format")?.unwrap_or_default();
    if format != FORMAT.to_le_bytes() {
        let number = <[u8; 4]>::try_from(&format[..]).map(u32::from_le_bytes);
        return Ok(Err(StoreError::Format(
            number.map_or_else(|_| format!("{format:?}"), |number| number.to_string()),
        )));
    }
    let id = String::from_utf8(row("id")?.unwrap_or_default());
    let closed = row("closed")?.is_some_and(|closed| closed == [1]);
    Ok(id.map(|id| (id, closed)).map_err(|_| StoreError::Damaged("its id is no text".into())))
}

fn count(db: &Database, name: &str) -> Result<u64, redb::Error> {
    Ok(db.begin_read()?.open_table(COUNTERS)?.get(name)?.map_or(0, |row| row.value()))
}

fn scan(db: &Database) -> Result<Pending, redb::Error> {
    let mut pending = Pending::new();
    for row in db.begin_read()?.open_table(PENDING)?.iter()? {
        let (key, row) = row?;
        let ((sink, _), (bytes, _, at)) = (key.value(), row.value());
        if !pending.contains_key(sink) {
            pending.insert(sink.to_owned(), Totals { oldest: Some(time(at)), ..Totals::default() });
        }
        if let Some(totals) = pending.get_mut(sink) {
            totals.add(bytes);
        }
    }
    Ok(pending)
}

impl Totals {
    pub(crate) fn add(&mut self, bytes: u64) {
        self.entries += 1;
        self.bytes = self.bytes.saturating_add(bytes);
    }

    pub(crate) fn remove(&mut self, bytes: u64) {
        self.entries = self.entries.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

fn millis(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

pub(crate) fn time(millis: u64) -> SystemTime {
    UNIX_EPOCH.checked_add(Duration::from_millis(millis)).unwrap_or(UNIX_EPOCH)
}
