//! The history: incidents as the sum of their records, from the local sink's folder or from the table of records.
//!
//! It reads what the sinks have delivered, and writes nothing but the index beside the files of events, which is derived from them.
//! Nothing of it runs before a client asks, and no stage waits for it.

mod local;
mod pictures;
mod query;
mod record_files;
mod stored_clips;
mod summary;
mod table;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use serde::Serialize;
use serde_json::value::RawValue;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use local::LocalHistory;
use pictures::PictureStore;
pub use pictures::{EventPicture, PictureKind};
use query::is_plain_id;
pub use query::{CursorError, IncidentCursor, IncidentFilter, IncidentPage, IncidentQuery, comparable_text};
pub use stored_clips::{StoredClip, StoredClipError, StoredClips};
pub use summary::IncidentSummary;
use summary::StoredEvent;
use table::TableHistory;

use crate::base::lock;
use crate::delivery::Clients;
use crate::sinks::PublishSpec;

/// Maximum number of records of an incident in an answer: the newest ones.
const MAX_RECORDS: usize = 2_000;
/// Maximum number of questions that read at a time.
const MAX_READING: usize = 4;
/// Maximum number of questions that wait; further ones are refused.
const MAX_WAITING: usize = 128;

/// The inputs of the history.
pub struct HistorySpec<'a> {
    /// The sinks, whose stores are read.
    pub publish: &'a PublishSpec,
    /// `true`: other workers have some of the cameras, so that no local folder has all incidents.
    pub is_shared: bool,
    /// Ids of the configured cameras.
    pub cameras: Vec<String>,
    /// The clients of AWS.
    pub clients: &'a Clients,
    /// The runtime on which AWS is called.
    pub runtime: Handle,
}

/// The incidents of the past. Clones share it.
#[derive(Clone)]
pub struct IncidentHistory(Arc<HistoryParts>);

struct HistoryParts {
    store: IncidentStore,
    pictures: PictureStore,
    cameras: Mutex<Vec<String>>,
    reading: Arc<Semaphore>,
    waiting: Semaphore,
}

/// The right to read, held by the thread or task that reads: a client that is gone must not let another one begin beside it.
type ReadTurn = Arc<OwnedSemaphorePermit>;

/// The store that the incidents come from.
enum IncidentStore {
    Local(Arc<LocalHistory>),
    Table(TableHistory),
}

/// An incident with its records.
#[derive(Debug, Serialize)]
pub struct IncidentDetail {
    /// The summary of the incident.
    pub incident: IncidentSummary,
    /// Its records as they were delivered, in the order of `seq` and without repeats: at most the newest 2,000.
    pub records: Vec<Box<RawValue>>,
}

/// An error of reading the history.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The index is being built.
    #[error("the index of the events is being built: {percent} % done; try again in a few seconds")]
    Indexing {
        /// The indexed part of the events, %.
        percent: u64,
    },
    /// The index or the files of events cannot be read.
    #[error(
        "the history cannot be read by its index {}: {why}; make the folder readable and writable, and make room in it. The index \
         holds nothing of its own: it may be deleted",
        path.display()
    )]
    Index {
        /// The file of the index.
        path: PathBuf,
        /// The reason.
        why: String,
    },
    /// AWS refused a call or did not answer.
    #[error("{0}")]
    Aws(String),
    /// Too many clients ask.
    #[error("too many requests for the history are waiting; try again")]
    Busy,
    /// The reading thread or task ended.
    #[error("reading the history failed: {0}")]
    Stopped(String),
}

/// The reason why there is no picture.
#[derive(Debug, thiserror::Error)]
pub enum PictureMissing {
    /// There is none, for this reason.
    #[error("{0}")]
    NotFound(String),
    /// The history or the store of pictures cannot be read.
    #[error(transparent)]
    History(#[from] HistoryError),
}

impl IncidentHistory {
    /// Returns the history of the configured store; `None`: neither a local folder nor a table keeps events. Nothing is read yet.
    #[must_use]
    pub fn new(spec: HistorySpec<'_>) -> Option<Self> {
        let HistorySpec { publish, is_shared, cameras, clients, runtime } = spec;
        let store = match (publish.history_table(is_shared), &publish.local_dir) {
            (Some(table), _) => IncidentStore::Table(TableHistory::new(clients, table, runtime.clone())),
            (None, Some(folder)) => IncidentStore::Local(Arc::new(LocalHistory::new(folder))),
            (None, None) => return None,
        };
        let pictures = PictureStore::new(publish, clients, runtime);
        Some(Self(Arc::new(HistoryParts {
            store,
            pictures,
            cameras: Mutex::new(cameras),
            reading: Arc::new(Semaphore::new(MAX_READING)),
            waiting: Semaphore::new(MAX_WAITING),
        })))
    }

    /// Sets the cameras of the configuration.
    pub fn set_cameras(&self, cameras: Vec<String>) {
        *lock(&self.0.cameras) = cameras;
    }

    /// Returns a page of incidents, newest first.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn page(&self, query: IncidentQuery) -> Result<IncidentPage, HistoryError> {
        let turn = self.turn().await?;
        match &self.0.store {
            IncidentStore::Local(local) => off_thread(local, turn, move |local| local.page(&query)).await,
            IncidentStore::Table(table) => {
                let configured = lock(&self.0.cameras).clone();
                table.page(query, configured, turn).await
            }
        }
    }

    /// Returns an incident with its records; `None`: there is none with this id.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn incident(&self, id: &str) -> Result<Option<IncidentDetail>, HistoryError> {
        // No record has another id, and a key of a table cannot be longer.
        if !is_plain_id(id) {
            return Ok(None);
        }
        let (id, turn) = (id.to_owned(), self.turn().await?);
        match &self.0.store {
            IncidentStore::Local(local) => off_thread(local, turn, move |local| local.incident(&id)).await,
            IncidentStore::Table(table) => table.incident(id, turn).await,
        }
    }

    /// Returns a picture of a record.
    ///
    /// # Errors
    /// There is none, or the stores cannot be read.
    pub async fn picture(
        &self,
        incident: &str,
        event: &str,
        kind: PictureKind,
    ) -> Result<EventPicture, PictureMissing> {
        let turn = self.turn().await?;
        let Some(record) = self.record(incident, event, &turn).await? else {
            let why = format!("incident {incident} has no record {event}");
            return Err(PictureMissing::NotFound(why));
        };
        self.0.pictures.picture(&record, kind, &turn).await
    }

    async fn record(
        &self,
        incident: &str,
        event: &str,
        turn: &ReadTurn,
    ) -> Result<Option<StoredEvent>, HistoryError> {
        if !is_plain_id(event) {
            return Ok(None);
        }
        let (incident, event, turn) = (incident.to_owned(), event.to_owned(), Arc::clone(turn));
        match &self.0.store {
            IncidentStore::Local(local) => {
                off_thread(local, turn, move |local| local.record(&incident, &event)).await
            }
            IncidentStore::Table(table) => table.record(incident, event, turn).await,
        }
    }

    /// Waits until fewer than [`MAX_READING`] questions are being answered.
    async fn turn(&self) -> Result<ReadTurn, HistoryError> {
        let _place = self.0.waiting.try_acquire().map_err(|_| HistoryError::Busy)?;
        let turn = Arc::clone(&self.0.reading).acquire_owned().await;
        turn.map(Arc::new).map_err(|_| HistoryError::Busy)
    }
}

/// Runs a question on a blocking thread: it reads files.
async fn off_thread<T: Send + 'static>(
    local: &Arc<LocalHistory>,
    turn: ReadTurn,
    question: impl FnOnce(&LocalHistory) -> Result<T, HistoryError> + Send + 'static,
) -> Result<T, HistoryError> {
    let local = Arc::clone(local);
    let read = move || {
        let _turn = turn;
        question(&local)
    };
    let answer = tokio::task::spawn_blocking(read).await;
    answer.map_err(|error| HistoryError::Stopped(error.to_string()))?
}
