//! The local sink: `events.jsonl` and `snapshots/` in a folder.

pub(crate) mod probe;

use std::io;
use std::path::Path;

use tokio_util::sync::CancellationToken;

use crate::base::make_private_folder;
use crate::delivery::Backlog;
use crate::delivery::OutboxRecord;
use crate::delivery::retry_backoff;
use crate::delivery::{Journal, Limits};
use crate::snapshot::SnapshotFolder;

const LIMITS: Limits = Limits { file_bytes: 64 * 1024 * 1024, files: EVENTS_FILES, head: "{\"event_id\":\"" };
/// Records written at once.
const BATCH: usize = 256;
/// The file's name in the folder.
pub(crate) const EVENTS_FILE: &str = "events.jsonl";
/// The current file and those before it: `events.jsonl.1` is the newest of them.
pub(crate) const EVENTS_FILES: u32 = 5;

/// Saves each record's picture and appends the record as a line; on an error it waits and tries again.
///
/// Delivery: at least once. A batch that was written and not settled before the end of the process is written again.
pub(crate) struct LocalSink {
    pub(crate) folder: Folder,
    pub(crate) backlog: Backlog,
    pub(crate) give_up: CancellationToken,
}

/// The folder of the local sink.
#[derive(Debug)]
pub(crate) struct Folder {
    journal: Journal,
    snapshots: SnapshotFolder,
}

impl Folder {
    /// Opens the folder, and makes it where it is missing.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        make_private_folder(path)?;
        let journal = Journal::open(&path.join(EVENTS_FILE), LIMITS)?;
        Ok(Self { journal, snapshots: SnapshotFolder::open(path)? })
    }

    /// Pictures first, so that no line names a picture that is not there.
    fn write(&mut self, batch: &[OutboxRecord]) -> io::Result<()> {
        for record in batch {
            let path = record.header.place.as_ref().and_then(|place| place.local.as_ref());
            if let Some((path, picture)) = path.zip(record.pictures.first()) {
                self.snapshots.save(path, picture)?;
            }
        }
        let lines = batch.iter().flat_map(|record| [&record.json[..], b"\n"]).collect::<Vec<_>>().concat();
        self.journal.append(&lines)
    }
}

impl LocalSink {
    /// Ends when the outbox takes nothing in any more and has nothing for it, or at `give_up`.
    pub(crate) async fn run(self) {
        let Self { folder, mut backlog, give_up } = self;
        let mut folder = Some(folder);
        while let Some(Some(mut batch)) = give_up.run_until_cancelled(backlog.next(BATCH)).await {
            let mut backoff = retry_backoff();
            while let Err(error) = write(&mut folder, &mut batch).await {
                let text = format!(
                    "cannot write {EVENTS_FILE} or snapshots/ in publishers.local_dir: {error}; make room or mend the folder"
                );
                backlog.gauge.failing("io", &text, batch.len() as u64);
                let waited = give_up.run_until_cancelled(tokio::time::sleep(backoff.next_wait())).await;
                if waited.is_none() {
                    return;
                }
                batch.retain(|record| !backlog.is_left_out(record));
            }
            backlog.gauge.works();
            batch.iter().for_each(|record| backlog.delivered(record));
        }
    }
}

/// Writes the batch on a blocking thread, which borrows it and the folder for that long.
async fn write(folder: &mut Option<Folder>, batch: &mut Vec<OutboxRecord>) -> io::Result<()> {
    let Some(mut borrowed) = folder.take() else { return Err(io::Error::other("the writer panicked")) };
    let records = std::mem::take(batch);
    let write = move || {
        let written = borrowed.write(&records);
        (borrowed, records, written)
    };
    let (returned, records, written) = tokio::task::spawn_blocking(write).await?;
    (*folder, *batch) = (Some(returned), records);
    written
}
