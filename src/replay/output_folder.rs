//! The folder that a replay writes, and the sink that writes its records and pictures there.
//!
//! Unlike the local sink of `run`, nothing is rotated or removed: a replay ends, and its report needs all of it. The records of each camera
//! go to a file of their own first, in their order, and are merged at the end, so that the result does not depend on which camera was
//! faster.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::base::{Probe, lock, make_private_folder, make_private_subfolder, private_file, storage_remedy};
use crate::delivery::{Backlog, Clients, OutboxRecord, Route, Sink, SinkRegistry, SinkRun, StartError};
use crate::media::CameraId;
use crate::render::SnapshotSpec;
use crate::sinks::EVENTS_FILE;
use crate::snapshot::SnapshotSettings;

/// Name of the report in the folder.
pub(super) const REPORT_FILE: &str = "report.html";
/// Folder of what only the running replay needs: its outbox, and the records by camera.
const WORK_FOLDER: &str = ".replay";
/// Records written at once.
const BATCH: usize = 256;

/// The folder of a replay.
#[derive(Clone, Debug)]
pub struct OutputFolder {
    path: PathBuf,
}

/// The folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// It has the result of another run.
    #[error("{path} has {file} already: name a new folder with --out, or remove the old result")]
    Taken {
        /// The folder.
        path: String,
        /// The file that is there.
        file: &'static str,
    },
    /// It cannot be written to.
    #[error("cannot write to {path} (--out): {source}; {remedy}")]
    Unwritable {
        /// The folder.
        path: String,
        /// The system's error.
        source: io::Error,
        /// The remedy.
        remedy: &'static str,
    },
}

impl OutputFolder {
    /// Creates the folder.
    ///
    /// # Errors
    /// It has the result of another run, or cannot be written to.
    pub fn create(path: &Path) -> Result<Self, OutputError> {
        let folder = Self { path: path.to_owned() };
        let taken = [EVENTS_FILE, REPORT_FILE, WORK_FOLDER].into_iter().find(|file| path.join(file).exists());
        if let Some(file) = taken {
            return Err(OutputError::Taken { path: path.display().to_string(), file });
        }
        make_private_folder(&folder.parts()).map_err(|source| folder.unwritable(source))?;
        Ok(folder)
    }

    /// Returns the path of the folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the folder of the outbox.
    pub(super) fn state(&self) -> PathBuf {
        self.path.join(WORK_FOLDER).join("state")
    }

    /// Returns the path of the records.
    pub(super) fn events(&self) -> PathBuf {
        self.path.join(EVENTS_FILE)
    }

    /// Returns the path of the report.
    #[must_use]
    pub fn report(&self) -> PathBuf {
        self.path.join(REPORT_FILE)
    }

    /// Returns the file of the records of the camera at this index.
    pub(super) fn part(&self, camera: usize) -> PathBuf {
        self.parts().join(format!("{camera}.jsonl"))
    }

    /// Removes what only the running replay needs.
    pub(super) fn remove_work(&self) {
        // What cannot be removed is named by the next replay into this folder.
        let _remains = fs::remove_dir_all(self.path.join(WORK_FOLDER));
    }

    /// Returns the error for a failed access.
    pub(super) fn unwritable(&self, source: io::Error) -> OutputError {
        let remedy =
            storage_remedy(&source.to_string()).unwrap_or("make it writable, or name another folder");
        OutputError::Unwritable { path: self.path.display().to_string(), source, remedy }
    }

    fn parts(&self) -> PathBuf {
        self.path.join(WORK_FOLDER).join("parts")
    }
}

/// The folder as the only sink of a replay.
#[derive(Clone, Debug)]
pub(super) struct ReplaySink {
    pub(super) folder: OutputFolder,
    /// The cameras in the order of their parts.
    pub(super) cameras: Arc<[CameraId]>,
    /// The encoding of snapshots; `None`: none are made.
    pub(super) snapshots: Option<SnapshotSpec>,
    /// The first error of writing.
    pub(super) failure: Arc<Mutex<Option<io::Error>>>,
    /// Cancelled at the first error.
    pub(super) stop: CancellationToken,
}

impl SinkRegistry for ReplaySink {
    fn sinks(&self, _routes: &[&Route]) -> Vec<Arc<dyn Sink>> {
        vec![Arc::new(self.clone())]
    }

    fn leftover(&self, _name: &str) -> Option<Arc<dyn Sink>> {
        None
    }

    fn snapshots(&self) -> Option<SnapshotSettings> {
        Some(SnapshotSettings { encoding: self.snapshots?, local: true, bucket: None })
    }
}

impl Sink for ReplaySink {
    fn name(&self) -> String {
        "replay".to_owned()
    }

    fn is_required(&self) -> bool {
        true
    }

    fn wants_pictures(&self) -> bool {
        true
    }

    fn destination(&self, _route: &Route) -> String {
        format!("replay {}", self.folder.path.display())
    }

    fn spawn(&self, run: SinkRun) -> Result<JoinHandle<()>, StartError> {
        let writer = PartWriter { sink: self.clone(), parts: HashMap::new() };
        Ok(tokio::spawn(deliver(writer, run.backlog, run.give_up)))
    }

    fn probes(&self, _clients: Option<&Clients>) -> Vec<Probe> {
        Vec::new()
    }
}

/// Writes the records until the outbox is closed and empty, or until `give_up`. After an error they are dropped: the replay has failed,
/// and its cameras must not wait for room.
async fn deliver(writer: PartWriter, mut backlog: Backlog, give_up: CancellationToken) {
    let (failure, stop) = (Arc::clone(&writer.sink.failure), writer.sink.stop.clone());
    let mut writer = Some(writer);
    while let Some(Some(batch)) = give_up.run_until_cancelled(backlog.next(BATCH)).await {
        let batch = Arc::new(batch);
        if let Some(lent) = writer.take() {
            match write_off_thread(lent, Arc::clone(&batch)).await {
                Ok(returned) => writer = Some(returned),
                Err(error) => {
                    lock(&failure).get_or_insert(error);
                    stop.cancel();
                }
            }
        }
        batch.iter().for_each(|record| backlog.delivered(record));
    }
}

/// Writes the batch on a blocking thread, and returns the writer.
async fn write_off_thread(mut writer: PartWriter, batch: Arc<Vec<OutboxRecord>>) -> io::Result<PartWriter> {
    let write = move || writer.write(&batch).map(|()| writer);
    tokio::task::spawn_blocking(write).await?
}

/// The open files of the cameras' records.
struct PartWriter {
    sink: ReplaySink,
    parts: HashMap<CameraId, BufWriter<File>>,
}

impl PartWriter {
    fn write(&mut self, batch: &[OutboxRecord]) -> io::Result<()> {
        for record in batch {
            let path = record.header.place.as_ref().and_then(|place| place.local.as_ref());
            if let Some((path, picture)) = path.zip(record.pictures.first()) {
                self.save(path, picture)?;
            }
            let part = self.part(&record.camera)?;
            part.write_all(&record.json)?;
            part.write_all(b"\n")?;
        }
        self.parts.values_mut().try_for_each(BufWriter::flush)
    }

    fn part(&mut self, camera: &CameraId) -> io::Result<&mut BufWriter<File>> {
        if !self.parts.contains_key(camera) {
            let index = self.sink.cameras.iter().position(|known| known == camera);
            let index = index.ok_or_else(|| io::Error::other(format!("camera {camera} is not replayed")))?;
            let file = private_file().create(true).append(true).open(self.sink.folder.part(index))?;
            self.parts.insert(camera.clone(), BufWriter::new(file));
        }
        self.parts.get_mut(camera).ok_or_else(|| io::Error::other("the file of the records is gone"))
    }

    fn save(&self, relative: &str, picture: &[u8]) -> io::Result<()> {
        let path = self.sink.folder.path.join(relative);
        if let Some(parent) = path.parent() {
            make_private_subfolder(parent)?;
        }
        private_file().create(true).truncate(true).write(true).open(path)?.write_all(picture)
    }
}
