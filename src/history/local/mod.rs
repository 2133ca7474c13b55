//! Incidents from the files of events in the local sink's folder, by an index beside them.
//!
//! The index is brought up to date by each question. A file of events is identified by its inode and by the bytes at the ends of its
//! indexed part, so a rotation keeps what is indexed, and a file that was replaced or cut is read again. An index that is missing,
//! damaged or of another version is built again. The sink knows nothing of it.

mod files;
mod index;
mod index_error;
mod row;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::value::RawValue;

use self::files::{EventsFile, NumberedFiles, open_files};
use self::index::{IncidentIndex, IndexedFile, records_of};
use self::index_error::IndexError;
use super::query::IncidentQuery;
use super::summary::StoredEvent;
use super::{HistoryError, IncidentCursor, IncidentDetail, IncidentPage};
use crate::base::{clean_text, lock, make_private_folder, return_free_memory};
use crate::telemetry::HistoryIndexRebuilt;

/// The name of the index in the folder.
const INDEX_FILE: &str = "events.index";
/// Limit on the time for which one question indexes; the next one resumes there.
const INDEXING_LIMIT: Duration = Duration::from_secs(6);
/// Bytes of events whose indexing leaves much free memory behind.
const LARGE_BACKLOG_BYTES: u64 = 4 << 20;
/// Maximum length of a reason in the log, characters.
const MAX_REASON_CHARS: usize = 300;

/// The incidents of a local sink's folder. Its functions block.
#[derive(Debug)]
pub(super) struct LocalHistory {
    folder: PathBuf,
    index: Mutex<Option<Arc<IncidentIndex>>>,
    indexing_limit: Duration,
}

/// An index that is up to date, and the files whose lines it names.
struct FreshIndex {
    index: Arc<IncidentIndex>,
    files: NumberedFiles,
}

impl LocalHistory {
    /// Returns the incidents of a folder. Nothing is opened before the first question.
    pub(super) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), index: Mutex::default(), indexing_limit: INDEXING_LIMIT }
    }

    /// Returns a page of incidents.
    pub(super) fn page(&self, query: &IncidentQuery) -> Result<IncidentPage, HistoryError> {
        let mut incidents = self.ask(|fresh| fresh.index.page(query))?;
        let has_more = incidents.len() > query.limit;
        incidents.truncate(query.limit);
        let last = incidents.last().filter(|_| has_more);
        let next = last.map(|last| IncidentCursor::after(last).to_string());
        Ok(IncidentPage { source: "local_dir", incidents, next })
    }

    /// Returns an incident with its records.
    pub(super) fn incident(&self, id: &str) -> Result<Option<IncidentDetail>, HistoryError> {
        self.ask(|fresh| {
            let Some(incident) = fresh.index.incident(id)? else { return Ok(None) };
            let places = fresh.index.places(id)?;
            let lines = places.into_iter().filter_map(|place| fresh.files.line(place));
            let records = lines.filter_map(|line| raw_json(&line).ok()).collect();
            Ok(Some(IncidentDetail { incident, records }))
        })
    }

    /// Returns a record of an incident.
    pub(super) fn record(&self, incident: &str, event: &str) -> Result<Option<StoredEvent>, HistoryError> {
        self.ask(|fresh| {
            let line = fresh.index.place(incident, event)?.and_then(|place| fresh.files.line(place));
            Ok(line.and_then(|line| serde_json::from_slice(&line).ok()))
        })
    }

    /// Asks an index that is up to date. One that cannot be used is built again, once.
    fn ask<T>(&self, question: impl Fn(&FreshIndex) -> Result<T, IndexError>) -> Result<T, HistoryError> {
        let answer = || catch_panic(|| question(&self.fresh_index()?));
        let answer = match answer() {
            Err(IndexError::Unusable(reason)) => {
                self.discard(&reason)?;
                answer()
            }
            other => other,
        };
        answer.map_err(|error| self.explain(error))
    }

    fn fresh_index(&self) -> Result<FreshIndex, IndexError> {
        // Held while indexing: two questions would index the same lines.
        let mut slot = lock(&self.index);
        let index = match &*slot {
            Some(index) => Arc::clone(index),
            None => {
                make_private_folder(&self.folder)?;
                Arc::clone(slot.insert(Arc::new(IncidentIndex::open(&self.folder.join(INDEX_FILE))?)))
            }
        };
        let files = refresh(&index, open_files(&self.folder)?, Instant::now() + self.indexing_limit)?;
        Ok(FreshIndex { index, files })
    }

    fn discard(&self, reason: &str) -> Result<(), HistoryError> {
        HistoryIndexRebuilt { folder: &self.folder, reason: &clean_text(reason, MAX_REASON_CHARS) }.emit();
        let mut slot = lock(&self.index);
        *slot = None;
        match fs::remove_file(self.folder.join(INDEX_FILE)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(self.explain(error.into())),
            _ => Ok(()),
        }
    }

    fn explain(&self, error: IndexError) -> HistoryError {
        match error {
            IndexError::Incomplete { indexed, total } => {
                HistoryError::Indexing { percent: indexed.saturating_mul(100) / total.max(1) }
            }
            IndexError::Unusable(why) | IndexError::Disk(why) => {
                HistoryError::Index { path: self.folder.join(INDEX_FILE), why }
            }
        }
    }
}

/// Runs `act` and turns a panic into an error: redb may panic over a file that is damaged while it is open.
fn catch_panic<T>(act: impl FnOnce() -> Result<T, IndexError>) -> Result<T, IndexError> {
    let done = catch_unwind(AssertUnwindSafe(act));
    done.unwrap_or_else(|_| Err(IndexError::Unusable("reading it panicked".to_owned())))
}

/// Brings the index up to date with the files, and returns them by their numbers.
fn refresh(
    index: &IncidentIndex,
    opened: Vec<EventsFile>,
    until: Instant,
) -> Result<NumberedFiles, IndexError> {
    let known = index.files()?;
    let mut files = NumberedFiles::default();
    let mut begun = Vec::new();
    let mut next = known.iter().map(|file| file.number + 1).max().unwrap_or(0);
    for file in opened {
        let (number, indexed) = match known.iter().find(|known| is_same(known, &file)) {
            Some(known) => (known.number, known.bytes),
            None => (next, 0),
        };
        next = next.max(number + 1);
        begun.push((number, indexed));
        files.0.insert(number, file);
    }
    let kept: BTreeSet<u32> = begun.iter().map(|(number, _)| *number).collect();
    for gone in known.iter().filter(|known| !kept.contains(&known.number)) {
        index.remove(gone.number, &files)?;
    }
    // Oldest first, so that a repeated record keeps its newest place.
    let len_of = |number| files.0.get(number).map_or(0, |file| file.len);
    let backlog: u64 = begun.iter().map(|(number, indexed)| len_of(number).saturating_sub(*indexed)).sum();
    let added = begun.into_iter().try_for_each(|file| add_lines(index, &files, file, until));
    if backlog > LARGE_BACKLOG_BYTES {
        // The allocator would keep what many transactions took.
        return_free_memory();
    }
    added.map(|()| files)
}

/// Returns whether a file begins with what the index has of it.
fn is_same(known: &IndexedFile, file: &EventsFile) -> bool {
    known.inode == file.inode && file.seal(known.bytes).is_ok_and(|seal| seal == known.seal)
}

/// Indexes the lines of a file from `from` on.
fn add_lines(
    index: &IncidentIndex,
    files: &NumberedFiles,
    (number, mut from): (u32, u64),
    until: Instant,
) -> Result<(), IndexError> {
    let Some(file) = files.0.get(&number) else { return Ok(()) };
    // At least one block per file, so that each question makes progress.
    let mut has_read = false;
    loop {
        let block = file.lines(from)?;
        if block.next == from {
            return Ok(());
        }
        if has_read && Instant::now() > until {
            return Err(incomplete(index, files)?);
        }
        has_read = true;
        let records = records_of(number, block.lines());
        let seal = file.seal(block.next)?;
        let indexed = IndexedFile { number, inode: file.inode, bytes: block.next, seal };
        index.add(indexed, &records, files, block.next - from)?;
        from = block.next;
    }
}

/// Returns the error that says how much is indexed.
fn incomplete(index: &IncidentIndex, files: &NumberedFiles) -> Result<IndexError, IndexError> {
    let indexed = index.files()?.iter().map(|file| file.bytes).sum();
    let total = files.0.values().map(|file| file.len).sum();
    Ok(IndexError::Incomplete { indexed, total })
}

/// Returns a line as it was delivered.
fn raw_json(line: &[u8]) -> Result<Box<RawValue>, serde_json::Error> {
    serde_json::from_slice(line)
}
