//! The local sink: `events.jsonl` in a folder.

use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::journal::{Journal, Limits};
use super::record::Record;
use super::retry_backoff;
use super::status::Gauge;

const LIMITS: Limits = Limits { file_bytes: 64 * 1024 * 1024, files: EVENTS_FILES };
/// Records written at once.
pub(super) const BATCH: usize = 256;
/// The file's name in the folder.
pub(crate) const EVENTS_FILE: &str = "events.jsonl";
/// The current file and those before it: `events.jsonl.1` is the newest of them.
pub(crate) const EVENTS_FILES: u32 = 5;

/// Appends each record as a line; on an error it waits and tries again.
pub(super) struct LocalSink {
    pub(super) journal: Journal,
    pub(super) records: mpsc::Receiver<Arc<Record>>,
    pub(super) gauge: Arc<Gauge>,
    pub(super) give_up: CancellationToken,
}

/// Opens the folder's `events.jsonl`, and makes the folder where it is missing.
pub(super) fn open(folder: &Path) -> io::Result<Journal> {
    std::fs::create_dir_all(folder)?;
    Journal::open(&folder.join(EVENTS_FILE), LIMITS)
}

impl LocalSink {
    /// Ends when the queue is closed and empty, or at `give_up`.
    pub(super) async fn run(self) {
        let Self { journal, mut records, gauge, give_up } = self;
        let mut journal = Some(journal);
        let mut batch = Vec::with_capacity(BATCH);
        while records.recv_many(&mut batch, BATCH).await > 0 {
            let mut backoff = retry_backoff();
            while let Err(error) = write(&mut journal, &batch).await {
                gauge.failing("io", &format!("cannot write {EVENTS_FILE} in publishers.local_dir: {error}; make room or mend the folder"), batch.len() as u64);
                let waited = give_up.run_until_cancelled(tokio::time::sleep(backoff.next_wait())).await;
                if waited.is_none() {
                    return;
                }
            }
            gauge.works();
            batch.drain(..).for_each(|record| gauge.delivered(record.arrived));
        }
    }
}

/// Writes the batch on a blocking thread, which borrows the journal for that long.
async fn write(journal: &mut Option<Journal>, batch: &[Arc<Record>]) -> io::Result<()> {
    let lines = batch.iter().flat_map(|record| [&record.json[..], b"\n"]).collect::<Vec<_>>().concat();
    let Some(mut borrowed) = journal.take() else { return Err(io::Error::other("the writer panicked")) };
    let write = move || {
        let written = borrowed.append(&lines);
        (borrowed, written)
    };
    let (returned, written) = tokio::task::spawn_blocking(write).await?;
    *journal = Some(returned);
    written
}
