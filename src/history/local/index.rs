//! The database of the index, `events.index`: its tables, and the transactions that change them.
//!
//! | table | key | value |
//! | --- | --- | --- |
//! | `meta` | `version` | [`VERSION`] |
//! | `files` | number of a file of events | inode, indexed bytes, seal of the indexed bytes |
//! | `numbers` | incident id | number of the incident, start (ms) |
//! | `incidents` | start (ms), incident id | number of the incident, the fields that filters read ([`super::row`]) |
//! | `summaries` | number of the incident | the summary ([`super::row`]) |
//! | `records` | number of the incident, event id | `seq`, place of the line |
//!
//! Incidents are numbered in the order of their first record, so that new rows come next to each other: by their ids, which are
//! hashes, each would change another page. The fields of filters are apart, because a rare filter reads all of them.
//!
//! It is derived from the files of events. Its commits are not synced one by one: after a crash it is as old as the last synced
//! commit, and the rest is read again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use redb::backends::FileBackend;
use redb::{
    Builder, Database, Durability, ReadTransaction, ReadableDatabase, ReadableTable, Table, TableDefinition,
    WriteTransaction,
};

use super::files::{LinePlace, NumberedFiles, Seal};
use super::index_error::IndexError;
use super::row::{pack_draft, pack_fields, parse_key, row_key, unpack_draft, unpack_fields};
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
const SUMMARIES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("summaries");
/// Number, start.
const NUMBERS: TableDefinition<'_, &str, (u64, i64)> = TableDefinition::new("numbers");
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
    summaries: Table<'tx, u64, &'static [u8]>,
    numbers: Table<'tx, &'static str, (u64, i64)>,
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
                tables.summarize_known(incident, files)?;
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
        let transaction = self.db.begin_read()?;
        let (incidents, summaries) = (transaction.open_table(INCIDENTS)?, transaction.open_table(SUMMARIES)?);
        let end = page_end(query);
        let mut found = Vec::new();
        for row in incidents.range::<&[u8]>(..end.as_slice())?.rev() {
            let (key, row) = row?;
            let (start_ms, _) = parse_key(key.value()).ok_or_else(damaged)?;
            let row = unpack_fields(row.value()).ok_or_else(damaged)?;
            if query.filter.matches(row.fields(start_ms)) {
                found.push(summary_of(&summaries, row.number)?.summary);
            }
            if found.len() > query.limit {
                break;
            }
        }
        Ok(found)
    }

    /// Returns an incident; `None`: there is none with this id.
    pub(super) fn incident(&self, id: &str) -> Result<Option<IncidentSummary>, IndexError> {
        let transaction = self.db.begin_read()?;
        let Some(number) = number_of(&transaction, id)? else { return Ok(None) };
        Ok(Some(summary_of(&transaction.open_table(SUMMARIES)?, number)?.summary))
    }

    /// Returns the places of an incident's records in their order, at most the newest [`MAX_RECORDS`].
    pub(super) fn places(&self, incident: &str) -> Result<Vec<LinePlace>, IndexError> {
        let transaction = self.db.begin_read()?;
        let Some(number) = number_of(&transaction, incident)? else { return Ok(Vec::new()) };
        let mut places = sorted_places(&transaction.open_table(RECORDS)?, number)?;
        let surplus = places.len().saturating_sub(MAX_RECORDS);
        Ok(places.split_off(surplus))
    }

    /// Returns the place of one record of an incident.
    pub(super) fn place(&self, incident: &str, event: &str) -> Result<Option<LinePlace>, IndexError> {
        let transaction = self.db.begin_read()?;
        let Some(number) = number_of(&transaction, incident)? else { return Ok(None) };
        let row = transaction.open_table(RECORDS)?.get(&record_key(number, event)[..])?;
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
            summaries: transaction.open_table(SUMMARIES)?,
            numbers: transaction.open_table(NUMBERS)?,
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
        let known = self.numbers.get(incident)?.map(|row| row.value().0);
        let (number, mut draft) = match known {
            Some(number) => (number, Some(summary_of(&self.summaries, number)?)),
            None => (self.next_number()?, None),
        };
        let mut is_appended = true;
        for PlacedRecord { event, place: LinePlace { file, offset, len } } in new {
            let key = record_key(number, &event.event_id);
            let is_known = self.records.insert(&key[..], (event.seq, *file, *offset, *len))?.is_some();
            match &mut draft {
                Some(draft) if is_known || event.seq <= draft.last_seq => is_appended = false,
                Some(draft) => draft.add(event),
                None => draft = Some(IncidentDraft::new(event)),
            }
        }
        // A repeated or late record: the sum of all records is made again.
        if !is_appended {
            return self.summarize(incident, number, files);
        }
        match draft {
            Some(draft) => self.store(incident, number, &draft),
            None => Ok(()),
        }
    }

    fn next_number(&self) -> Result<u64, IndexError> {
        Ok(self.summaries.last()?.map_or(0, |(number, _)| number.value() + 1))
    }

    /// Stores the summary, in place of an earlier one.
    fn store(&mut self, incident: &str, number: u64, draft: &IncidentDraft) -> Result<(), IndexError> {
        let start_ms = draft.summary.start_ms;
        let before = self.numbers.insert(incident, (number, start_ms))?.map(|row| row.value().1);
        if let Some(before) = before.filter(|before| *before != start_ms) {
            self.incidents.remove(&row_key(before, incident)[..])?;
        }
        let fields = pack_fields(number, &draft.summary);
        self.incidents.insert(&row_key(start_ms, incident)[..], &fields[..])?;
        self.summaries.insert(number, &pack_draft(draft)?[..])?;
        Ok(())
    }

    /// Makes the summary of an incident with a number from the lines of all its records.
    fn summarize_known(&mut self, number: u64, files: &NumberedFiles) -> Result<(), IndexError> {
        let incident = summary_of(&self.summaries, number)?.summary.incident_id;
        self.summarize(&incident, number, files)
    }

    /// Makes the summary of an incident from the lines of all its records; without any, the incident is removed.
    fn summarize(&mut self, incident: &str, number: u64, files: &NumberedFiles) -> Result<(), IndexError> {
        let mut draft: Option<IncidentDraft> = None;
        for place in sorted_places(&self.records, number)? {
            // A line that is gone belongs to a file that is removed next.
            let Some(line) = files.line(place) else { continue };
            let Ok(event) = serde_json::from_slice::<StoredEvent>(&line) else { continue };
            match &mut draft {
                Some(draft) => draft.add(&event),
                None => draft = Some(IncidentDraft::new(&event)),
            }
        }
        match draft {
            Some(draft) => self.store(incident, number, &draft),
            None => self.forget(incident, number),
        }
    }

    /// Removes an incident. Nothing of its number may stay: another incident may get it.
    fn forget(&mut self, incident: &str, number: u64) -> Result<(), IndexError> {
        if let Some((_, start_ms)) = self.numbers.remove(incident)?.map(|row| row.value()) {
            self.incidents.remove(&row_key(start_ms, incident)[..])?;
        }
        self.summaries.remove(number)?;
        let mut rest = Vec::new();
        for row in self.records.range::<&[u8]>(record_key(number, "").as_slice()..)? {
            let key = row?.0.value().to_vec();
            if !key.starts_with(&number.to_be_bytes()) {
                break;
            }
            rest.push(key);
        }
        for key in rest {
            self.records.remove(&key[..])?;
        }
        Ok(())
    }

    /// Removes the records of a file, and returns the numbers of their incidents.
    fn forget_file(&mut self, file: u32) -> Result<BTreeSet<u64>, IndexError> {
        let mut incidents = BTreeSet::new();
        self.records.retain(|key, (_, of, _, _)| {
            if of == file {
                incidents.extend(key.first_chunk::<8>().map(|number| u64::from_be_bytes(*number)));
            }
            of != file
        })?;
        Ok(incidents)
    }
}

fn damaged() -> IndexError {
    IndexError::Unusable("an incident cannot be read".to_owned())
}

fn number_of(transaction: &ReadTransaction, incident: &str) -> Result<Option<u64>, IndexError> {
    Ok(transaction.open_table(NUMBERS)?.get(incident)?.map(|row| row.value().0))
}

fn summary_of(
    summaries: &impl ReadableTable<u64, &'static [u8]>,
    number: u64,
) -> Result<IncidentDraft, IndexError> {
    Ok(unpack_draft(summaries.get(number)?.ok_or_else(damaged)?.value())?)
}

/// Returns the places of an incident's records by `seq` and event id.
fn sorted_places(
    records: &impl ReadableTable<&'static [u8], (u64, u32, u64, u32)>,
    incident: u64,
) -> Result<Vec<LinePlace>, IndexError> {
    let (begin, end) = (record_key(incident, ""), record_key(incident.saturating_add(1), ""));
    let mut places = Vec::new();
    for row in records.range::<&[u8]>(begin.as_slice()..end.as_slice())? {
        let (seq, file, offset, len) = row?.1.value();
        places.push((seq, LinePlace { file, offset, len }));
    }
    // Stable: the keys are sorted by event id already.
    places.sort_by_key(|(seq, _)| *seq);
    Ok(places.into_iter().map(|(_, place)| place).collect())
}

/// Returns the key of a record: the number of its incident, then its own id.
fn record_key(incident: u64, event: &str) -> Vec<u8> {
    [&incident.to_be_bytes()[..], event.as_bytes()].concat()
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
