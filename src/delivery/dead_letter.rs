//! The file of records that can never be valid.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::journal::{Journal, JournalLimits};
use super::outbox_record::OutboxRecord;
use crate::telemetry::publish::{DeadLetterLost, DeadLettered};

const LIMITS: JournalLimits = JournalLimits { file_bytes: 64 * 1024 * 1024, files: 2, head: "{\"sink\":\"" };

/// The dead-letter file: one JSON line per record, with the sink and the reason, without pictures. The first record creates it.
#[derive(Debug)]
pub(crate) struct DeadLetters {
    path: PathBuf,
    journal: Mutex<Option<Journal>>,
}

impl DeadLetters {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), journal: Mutex::new(None) }
    }

    /// Appends the record, on a blocking thread.
    pub(super) async fn add(self: Arc<Self>, sink: String, reason: String, record: OutboxRecord) {
        let write = move || {
            let event_id = &record.header.event_id;
            match self.write(&sink, &reason, &record) {
                Ok(()) => DeadLettered { sink: &sink, event_id, reason: &reason }.emit(),
                Err(error) => DeadLetterLost { path: &self.path, event_id, error: &error }.emit(),
            }
        };
        // A join error means that the closure panicked, which the panic hook has logged.
        let _ = tokio::task::spawn_blocking(write).await;
    }

    fn write(&self, sink: &str, reason: &str, record: &OutboxRecord) -> std::io::Result<()> {
        let line = line(sink, reason, record)?;
        let mut journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        // Opened late: without dead letters there is no file and no lock.
        let open = match journal.take() {
            Some(open) => open,
            None => Journal::open(&self.path, LIMITS)?,
        };
        journal.insert(open).append(&line)
    }
}

fn line(sink: &str, reason: &str, record: &OutboxRecord) -> serde_json::Result<Vec<u8>> {
    let (sink, reason) = (serde_json::to_string(sink)?, serde_json::to_string(reason)?);
    // `sink` first: `LIMITS.head` recognizes the beginning of a line that a crash cut off.
    let head = format!("{{\"sink\":{sink},\"reason\":{reason},\"event\":");
    Ok([head.as_bytes(), &record.json, b"}\n"].concat())
}
