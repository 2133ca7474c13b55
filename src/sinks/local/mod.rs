//! The local sink: `events.jsonl` and `snapshots/` in a folder.

use std::io;
use std::path::{Path, PathBuf};

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::base::{Probe, make_private_folder, storage_remedy};
use crate::delivery::probe::local_folder;
use crate::delivery::{
    Backlog, Clients, Journal, JournalLimits, OutboxRecord, Route, Sink, SinkRun, StartError, retry_backoff,
};
use crate::snapshot::SnapshotFolder;

const LIMITS: JournalLimits =
    JournalLimits { file_bytes: 64 * 1024 * 1024, files: EVENTS_FILES, head: "{\"event_id\":\"" };
/// Records written at once: one sync of the disk for all of them.
const BATCH: usize = 256;
/// The file's name in the folder.
pub(crate) const EVENTS_FILE: &str = "events.jsonl";
/// The current file and those before it: `events.jsonl.1` is the newest of them.
pub(crate) const EVENTS_FILES: u32 = 5;

/// The folder of records and pictures as a sink.
#[derive(Clone, Debug)]
pub(crate) struct LocalSink {
    pub(crate) folder: PathBuf,
    pub(crate) is_required: bool,
}

impl Sink for LocalSink {
    fn name(&self) -> String {
        "local".to_owned()
    }

    fn is_required(&self) -> bool {
        self.is_required
    }

    fn wants_pictures(&self) -> bool {
        true
    }

    fn destination(&self, _route: &Route) -> String {
        format!("local {}", self.folder.display())
    }

    fn spawn(&self, run: SinkRun) -> Result<JoinHandle<()>, StartError> {
        let folder = LocalFolder::open(&self.folder).map_err(|error| {
            let remedy = storage_remedy(&error.to_string()).unwrap_or("make it writable or name another");
            let path = self.folder.display();
            let why = format!("cannot write to the folder {path} (publishers.local_dir): {error}; {remedy}");
            StartError::Sink { sink: self.name(), why }
        })?;
        let SinkRun { backlog, give_up, .. } = run;
        Ok(tokio::spawn(LocalDelivery { folder, backlog, give_up }.run()))
    }

    fn probes(&self, _clients: Option<&Clients>) -> Vec<Probe> {
        vec![local_folder(&self.folder)]
    }
}

/// The open folder of the local sink.
#[derive(Debug)]
struct LocalFolder {
    journal: Journal,
    snapshots: SnapshotFolder,
}

impl LocalFolder {
    /// Opens the folder, and creates it where it is missing.
    fn open(path: &Path) -> io::Result<Self> {
        make_private_folder(path)?;
        // The journal first: its lock keeps a second process from removing pictures of this one.
        let journal = Journal::open(&path.join(EVENTS_FILE), LIMITS)?;
        Ok(Self { journal, snapshots: SnapshotFolder::open(path)? })
    }

    fn write(&mut self, batch: &[OutboxRecord]) -> io::Result<()> {
        // Pictures first, so that no line names a picture that is not there.
        for record in batch {
            let path = record.header.place.as_ref().and_then(|place| place.local.as_ref());
            if let Some((path, picture)) = path.zip(record.pictures.first()) {
                self.snapshots.save(path, picture)?;
            }
        }
        let lines: Vec<&[u8]> = batch.iter().flat_map(|record| [&record.json[..], b"\n"]).collect();
        self.journal.append(&lines.concat())
    }
}

/// Saves each record's picture and appends the record as a line; after an error it waits and tries again.
///
/// Delivery: at least once. A batch that was written and not acknowledged before the end of the process is written again.
struct LocalDelivery {
    folder: LocalFolder,
    backlog: Backlog,
    give_up: CancellationToken,
}

impl LocalDelivery {
    /// Delivers until the outbox is closed and nothing waits, or until `give_up`.
    async fn run(self) {
        let Self { folder, mut backlog, give_up } = self;
        let mut folder = Some(folder);
        // Not cancelled during a write: a blocking thread has the folder then.
        while let Some(Some(mut batch)) = give_up.run_until_cancelled(backlog.next(BATCH)).await {
            let mut backoff = retry_backoff();
            while let Err(error) = write_off_thread(&mut folder, &mut batch).await {
                let text = format!(
                    "cannot write {EVENTS_FILE} or snapshots/ in publishers.local_dir: {error}; make room or fix the folder"
                );
                backlog.gauge.failing("io", &text, batch.len() as u64);
                let waited = give_up.run_until_cancelled(tokio::time::sleep(backoff.next_wait())).await;
                if waited.is_none() {
                    return;
                }
                batch.retain(|record| !backlog.leaves_out(record));
            }
            backlog.gauge.works();
            batch.iter().for_each(|record| backlog.delivered(record));
        }
    }
}

/// Writes the batch on a blocking thread, which has the batch and the folder for that time.
async fn write_off_thread(folder: &mut Option<LocalFolder>, batch: &mut Vec<OutboxRecord>) -> io::Result<()> {
    let Some(mut lent_folder) = folder.take() else { return Err(io::Error::other("the writer panicked")) };
    let lent_batch = std::mem::take(batch);
    let write = move || {
        let result = lent_folder.write(&lent_batch);
        (lent_folder, lent_batch, result)
    };
    // A blocking thread cannot borrow, so both travel. After a panic the folder is lost, and each later try reports that.
    let (returned_folder, returned_batch, result) = tokio::task::spawn_blocking(write).await?;
    (*folder, *batch) = (Some(returned_folder), returned_batch);
    result
}
