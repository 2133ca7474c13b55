//! The database of the index, `events.index`: its tables, and the transactions that change them.
//!
//! | table | key | value |
//! | --- | --- | --- |
//! | `meta` | `version` | [`VERSION`] |
//! | `files` | number of a file of events | inode, indexed bytes, seal of the indexed bytes |
//! | `incidents` | start (ms), incident id | the summary ([`super::row`]) |
//! | `starts` | incident id | start (ms) |
//! | `records` | incident id, event id | `seq`, place of the line |
//!
//! It is derived from the files of events. Its commits are not synced one by one: after a crash it is as old as the last synced
//! commit, and the rest is read again.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use redb::backends::FileBackend;
use redb::{
    Builder, Database, Durability, ReadOnlyTable, ReadableDatabase, ReadableTable, Table, TableDefinition,
    WriteTransaction,
};

use super::files::{LinePlace, NumberedFiles, Seal};
use super::index_error::IndexError;
use super::row::{pack, parse_key, row_key, unpack};
use crate::base::private_file;
use crate::history::query::{IncidentQuery, is_plain_id};
use crate::history::summary::{IncidentDraft, StoredEvent};
use crate::history::{IncidentSummary, MAX_RECORDS};

/// Version of the tables: an index of another one is built again.
const VERSION: u64 = 1;
/// Size of redb's page cache, bytes: with a transaction, it bounds the memory of the index.
const CACHE_BYTES: usize = 16 << 20;
/// Indexed bytes of events after which a commit is synced.
const SYNCED_AFTER_BYTES: u64 = 16 << 20;

const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const FILES: TableDefinition<'_, u32, (u64, u64, &[u8])> = TableDefinition::new("files");
const INCIDENTS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("incidents");
const STARTS: TableDefinition<'_, &str, i64> = TableDefinition::new("starts");
/// `seq`, number of the file, offset, length.
const RECORDS: TableDefinition<'_, &[u8], (u64, u32, u64, u32)> = TableDefinition::new("records");

type BytesTable<'tx> = Table<'tx, &'static [u8], &'static [u8]>;
type RecordsTable<'tx> = Table<'tx, &'static [u8], (u64, u32, u64, u32)>;

/// A file of events as the index knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct IndexedFile {
    pub(super) number: u32,
    pub(super) inode: u64,
    /// Indexed bytes.
    pub(super) bytes: u64,
    pub(super) seal: Seal,
}

/// A record and the place of its line.
#[derive(Debug)]
pub(super) struct PlacedRecord {
    pub(super) event: StoredEvent,
    pub(super) place: LinePlace,
}

/// An open index.
#[derive(Debug)]
pub(super) struct IncidentIndex {
    db: Database,
    /// Indexed bytes of events since the last synced commit.
    unsynced_bytes: AtomicU64,
}

/// The tables of incidents within one transaction.
struct IncidentTables<'tx> {
    incidents: BytesTable<'tx>,
    starts: Table<'tx, &'static str, i64>,
    records: RecordsTable<'tx>,
}

impl IncidentIndex {
    /// Opens the index, or creates it where it is missing.
    pub(super) fn open(path: &Path) -> Result<Self, IndexError> {
        let file = private_file().create(true).truncate(false).read(true).write(true).open(path)?;
        let is_new = file.metadata()?.len() == 0;
        let mut builder = Builder::new();
        // redb verifies a file by itself only after a crash: it would trust one that was altered while closed.
        builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(!is_new);
        let db = builder.create_with_backend(FileBackend::new(file)?)?;
        let index = Self { db, unsynced_bytes: AtomicU64::new(0) };
        if is_new {
            index.create_tables()?;
        }
        index.check_version()?;
        Ok(index)
    }

    fn create_tables(&self) -> Result<(), IndexError> {
        let transaction = self.db.begin_write()?;
        // A read of a table that does not exist is an error in redb.
        transaction.open_table(META)?.insert("version", VERSION)?;
        transaction.open_table(FILES)?;
        IncidentTables::open(&transaction)?;
        transaction.commit()?;
        Ok(())
    }

    fn check_version(&self) -> Result<(), IndexError> {
        let meta = self.db.begin_read()?.open_table(META)?;
        match meta.get("version")?.map(|row| row.value()) {
            Some(VERSION) => Ok(()),
            other => Err(IndexError::Unusable(format!("it has version {other:?}, and not {VERSION}"))),
        }
    }

    /// Returns the indexed files.
    pub(super) fn files(&self) -> Result<Vec<IndexedFile>, IndexError> {
        let table = self.db.begin_read()?.open_table(FILES)?;
        let mut files = Vec::new();
        for row in table.iter()? {
            let (number, row) = row?;
            let (inode, bytes, seal) = row.value();
            // A seal of another length equals none, so that the file is read again.
            let seal = seal.try_into().unwrap_or([0; 32]);
            files.push(IndexedFile { number: number.value(), inode, bytes, seal });
        }
        Ok(files)
    }

    /// Adds records of a file, up to `file.bytes`. A record that is known already has its newest place from then on.
    pub(super) fn add(
        &self,
        file: IndexedFile,
        records: &[PlacedRecord],
        files: &NumberedFiles,
        read_bytes: u64,
    ) -> Result<(), IndexError> {
        let mut by_incident: BTreeMap<&str, Vec<&PlacedRecord>> = BTreeMap::new();
        for record in records {
            by_incident.entry(record.event.incident_id()).or_default().push(record);
        }
        let transaction = self.begin(read_bytes)?;
        {
            let mut tables = IncidentTables::open(&transaction)?;
            for (incident, records) in by_incident {
                tables.add(incident, &records, files)?;
            }
            let row = (file.inode, file.bytes, &file.seal[..]);
            transaction.open_table(FILES)?.insert(file.number, row)?;
        }
        transaction.commit()?;
        Ok(())
    }

    /// Removes a file and the records whose lines are in it.
    pub(super) fn remove(&self, number: u32, files: &NumberedFiles) -> Result<(), IndexError> {
        let transaction = self.begin(0)?;
        {
            let mut tables = IncidentTables::open(&transaction)?;
            for incident in tables.forget_file(number)? {
                tables.summarize(&incident, files)?;
            }
            transaction.open_table(FILES)?.remove(number)?;
        }
        transaction.commit()?;
        Ok(())
    }

    /// Begins a transaction; one after many bytes of events is synced.
    fn begin(&self, read_bytes: u64) -> Result<WriteTransaction, IndexError> {
        let mut transaction = self.db.begin_write()?;
        let unsynced = self.unsynced_bytes.fetch_add(read_bytes, Ordering::Relaxed) + read_bytes;
        if unsynced >= SYNCED_AFTER_BYTES {
            self.unsynced_bytes.store(0, Ordering::Relaxed);
        } else {
            // A sync would compete with that of the sink for the disk.
            transaction.set_durability(Durability::None)?;
        }
        Ok(transaction)
    }

    /// Returns the incidents of a page, and one more where there are more.
    pub(super) fn page(&self, query: &IncidentQuery) -> Result<Vec<IncidentSummary>, IndexError> {
        let table = self.incidents()?;
        let end = page_end(query);
        let mut found = Vec::new();
        for row in table.range::<&[u8]>(..end.as_slice())?.rev() {
            let (key, row) = row?;
            let damaged = || IndexError::Unusable("an incident cannot be read".to_owned());
            let (start_ms, _) = parse_key(key.value()).ok_or_else(damaged)?;
            let row = unpack(row.value()).ok_or_else(damaged)?;
            if query.filter.matches(row.fields(start_ms)) {
                found.push(row.summary()?);
            }
            if found.len() > query.limit {
                break;
            }
        }
        Ok(found)
    }

    fn incidents(&self) -> Result<ReadOnlyTable<&'static [u8], &'static [u8]>, IndexError> {
        Ok(self.db.begin_read()?.open_table(INCIDENTS)?)
    }

    /// Returns an incident; `None`: there is none with this id.
    pub(super) fn incident(&self, id: &str) -> Result<Option<IncidentSummary>, IndexError> {
        let Some(start_ms) = self.start_of(id)? else { return Ok(None) };
        let table = self.incidents()?;
        let Some(row) = table.get(&row_key(start_ms, id)[..])? else {
            return Err(IndexError::Unusable(format!("incident {id} has no summary")));
        };
        let row = unpack(row.value());
        let row = row.ok_or_else(|| IndexError::Unusable(format!("incident {id} cannot be read")))?;
        Ok(Some(row.summary()?))
    }

    fn start_of(&self, id: &str) -> Result<Option<i64>, IndexError> {
        let starts = self.db.begin_read()?.open_table(STARTS)?;
        Ok(starts.get(id)?.map(|row| row.value()))
    }

    /// Returns the places of an incident's records in their order, at most the newest [`MAX_RECORDS`].
    pub(super) fn places(&self, incident: &str) -> Result<Vec<LinePlace>, IndexError> {
        let mut places = sorted_places(&self.db.begin_read()?.open_table(RECORDS)?, incident)?;
        let surplus = places.len().saturating_sub(MAX_RECORDS);
        Ok(places.split_off(surplus))
    }

    /// Returns the place of one record of an incident.
    pub(super) fn place(&self, incident: &str, event: &str) -> Result<Option<LinePlace>, IndexError> {
        let table = self.db.begin_read()?.open_table(RECORDS)?;
        let row = table.get(&record_key(incident, event)[..])?;
        Ok(row.map(|row| {
            let (_, file, offset, len) = row.value();
            LinePlace { file, offset, len }
        }))
    }
}

impl<'tx> IncidentTables<'tx> {
    fn open(transaction: &'tx WriteTransaction) -> Result<Self, IndexError> {
        Ok(Self {
            incidents: transaction.open_table(INCIDENTS)?,
            starts: transaction.open_table(STARTS)?,
            records: transaction.open_table(RECORDS)?,
        })
    }

    /// Adds records to an incident.
    fn add(
        &mut self,
        incident: &str,
        new: &[&PlacedRecord],
        files: &NumberedFiles,
    ) -> Result<(), IndexError> {
        let mut draft = self.draft(incident)?;
        let mut is_appended = true;
        for PlacedRecord { event, place: LinePlace { file, offset, len } } in new {
            let key = record_key(incident, &event.event_id);
            let known = self.records.insert(&key[..], (event.seq, *file, *offset, *len));
            let is_known = known?.is_some();
            match &mut draft {
                Some(draft) if is_known || event.seq <= draft.last_seq => is_appended = false,
                Some(draft) => draft.add(event),
                None => draft = Some(IncidentDraft::new(event)),
            }
        }
        // A repeated or late record: the sum of all records is made again.
        if !is_appended {
            return self.summarize(incident, files);
        }
        match draft {
            Some(draft) => self.store(incident, &draft),
            None => Ok(()),
        }
    }

    fn draft(&self, incident: &str) -> Result<Option<IncidentDraft>, IndexError> {
        let start = self.starts.get(incident)?.map(|row| row.value());
        let Some(start_ms) = start else { return Ok(None) };
        let row = self.incidents.get(&row_key(start_ms, incident)[..])?;
        let damaged = || IndexError::Unusable(format!("incident {incident} cannot be read"));
        let row = row.ok_or_else(damaged)?;
        Ok(Some(unpack(row.value()).ok_or_else(damaged)?.draft()?))
    }

    /// Stores the summary, in place of an earlier one.
    fn store(&mut self, incident: &str, draft: &IncidentDraft) -> Result<(), IndexError> {
        let start_ms = draft.summary.start_ms;
        let before = self.starts.insert(incident, start_ms)?.map(|row| row.value());
        if let Some(before) = before.filter(|before| *before != start_ms) {
            self.incidents.remove(&row_key(before, incident)[..])?;
        }
        let row = pack(draft)?;
        self.incidents.insert(&row_key(start_ms, incident)[..], &row[..])?;
        Ok(())
    }

    /// Makes the summary of an incident from the lines of all its records; without any, the incident is removed.
    fn summarize(&mut self, incident: &str, files: &NumberedFiles) -> Result<(), IndexError> {
        let places = sorted_places(&self.records, incident)?;
        let mut draft: Option<IncidentDraft> = None;
        for place in places {
            // A line that is gone belongs to a file that is removed next.
            let Some(line) = files.line(place) else { continue };
            let Ok(event) = serde_json::from_slice::<StoredEvent>(&line) else { continue };
            match &mut draft {
                Some(draft) => draft.add(&event),
                None => draft = Some(IncidentDraft::new(&event)),
            }
        }
        match draft {
            Some(draft) => self.store(incident, &draft),
            None => self.forget(incident),
        }
    }

    fn forget(&mut self, incident: &str) -> Result<(), IndexError> {
        let start = self.starts.remove(incident)?.map(|row| row.value());
        if let Some(start_ms) = start {
            self.incidents.remove(&row_key(start_ms, incident)[..])?;
        }
        Ok(())
    }

    /// Removes the records of a file, and returns their incidents.
    fn forget_file(&mut self, number: u32) -> Result<BTreeSet<String>, IndexError> {
        let mut incidents = BTreeSet::new();
        self.records.retain(|key, (_, file, _, _)| {
            if file != number {
                return true;
            }
            incidents.extend(incident_of(key).map(str::to_owned));
            false
        })?;
        Ok(incidents)
    }
}

/// Returns the places of an incident's records by `seq` and event id.
fn sorted_places(
    records: &impl ReadableTable<&'static [u8], (u64, u32, u64, u32)>,
    incident: &str,
) -> Result<Vec<LinePlace>, IndexError> {
    let begin = record_key(incident, "");
    let mut places = Vec::new();
    for row in records.range::<&[u8]>((Bound::Included(begin.as_slice()), Bound::Unbounded))? {
        let (key, row) = row?;
        if !key.value().starts_with(&begin) {
            break;
        }
        let (seq, file, offset, len) = row.value();
        places.push((seq, LinePlace { file, offset, len }));
    }
    // Stable: the keys are sorted by event id already.
    places.sort_by_key(|(seq, _)| *seq);
    Ok(places.into_iter().map(|(_, place)| place).collect())
}

/// Returns the key of a record: its incident behind its length, then its own id.
fn record_key(incident: &str, event: &str) -> Vec<u8> {
    // Ids have at most MAX_ID_BYTES, so that the length is one byte.
    let len = u8::try_from(incident.len()).unwrap_or(u8::MAX);
    [&[len], incident.as_bytes(), event.as_bytes()].concat()
}

fn incident_of(key: &[u8]) -> Option<&str> {
    let (len, rest) = key.split_first()?;
    std::str::from_utf8(rest.get(..usize::from(*len))?).ok()
}

/// Returns the first key that is not on the page, seen from the oldest.
fn page_end(query: &IncidentQuery) -> Vec<u8> {
    let after_cursor = query.cursor.as_ref().map(|cursor| match &cursor.incident_id {
        Some(id) => row_key(cursor.start_ms, id),
        None => row_key(cursor.start_ms.saturating_add(1), ""),
    });
    let until = query.filter.to_ms.map(|to_ms| row_key(to_ms.saturating_add(1), ""));
    // Above every key: ids are ASCII.
    let newest = vec![u8::MAX; 9];
    after_cursor.into_iter().chain(until).fold(newest, Ord::min)
}

/// Returns the records of lines. Lines that are no events are left out.
pub(super) fn records_of<'a>(number: u32, lines: impl Iterator<Item = (u64, &'a [u8])>) -> Vec<PlacedRecord> {
    let mut records = Vec::new();
    for (offset, line) in lines {
        let Ok(event) = serde_json::from_slice::<StoredEvent>(line) else { continue };
        let Ok(len) = u32::try_from(line.len()) else { continue };
        if is_plain_id(&event.event_id) && is_plain_id(event.incident_id()) {
            records.push(PlacedRecord { event, place: LinePlace { file: number, offset, len } });
        }
    }
    records
}
