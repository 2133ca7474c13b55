//! Takes events in with the position that they were made at, all or nothing, and keeps them until every sink has them.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::{Notify, OwnedMutexGuard, Semaphore};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::delivery_progress::DeliveryProgress;
use super::packing::PictureWarnings;
use super::positions::PositionTable;
use super::positions::{CLAIMS_AT_ONCE, ClaimError, Positions, Takeover};
use super::start::{
    self, DamagedOutbox, RunningSink, RunningSinks, SinkName, StartError, follow_what_waits, wanted,
};
use super::status::{SinkGauge, SinkStatus};
use super::undelivered::UndeliveredRecords;
use super::{Clients, PublishSpec, Route, StateSpec};
use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::media::{CameraId, Event};
use crate::status::Watch;
use crate::telemetry::publish as telemetry;

/// What an outbox is made of.
pub struct OutboxSpec {
    /// The sinks.
    pub publish: PublishSpec,
    /// What is kept over a restart, and where.
    pub state: StateSpec,
    /// The routes of all cameras: each data stream among them gets a sink of its own.
    pub routes: Vec<Arc<Route>>,
    /// The file for records that can never be valid; made with the first of them.
    pub dead_letter: PathBuf,
    /// For the AWS services; needed where one of them is configured.
    pub clients: Option<Clients>,
}

/// An event with its pictures, ready to be taken in.
#[derive(Debug)]
pub struct NewRecord {
    pub(crate) event: Event,
    pub(crate) entry: ::outbox::NewEntry,
    pub(crate) sinks: Vec<Arc<str>>,
}

impl NewRecord {
    /// The event as it is delivered.
    #[must_use]
    pub fn event(&self) -> &Event {
        &self.event
    }
}

/// What moves together: where a camera goes on, and what it made on the way there.
#[derive(Debug)]
pub struct CameraCommit {
    /// The camera.
    pub camera: CameraId,
    /// Where to go on, with these events behind it.
    pub checkpoint: Checkpoint,
    /// In the order of their `seq`.
    pub events: Vec<NewRecord>,
}

/// Why something was not taken in.
#[derive(Debug, thiserror::Error)]
pub enum OfferError {
    /// The service is stopping: read the fragment again after the next start.
    #[error("events are no longer taken in: the service is stopping")]
    Stopped,
    /// Another process owns the camera now: it makes the events itself.
    #[error("events of camera {camera} are no longer taken in: {by}")]
    TakenOver {
        /// The camera.
        camera: String,
        /// The other process.
        by: Takeover,
    },
    /// The route names a stream that the outbox was not started with: a bug.
    #[error(
        "no sink for the data stream {stream:?} of camera {camera}: it was not among the routes at the start"
    )]
    NoSink {
        /// The stream.
        stream: String,
        /// The camera.
        camera: String,
    },
    /// Records and state of one frame are larger than any commit may be: a bug, since an entry lets through 1000 boxes.
    #[error("events of camera {camera} are not taken in: {why}")]
    TooLarge {
        /// The camera.
        camera: String,
        /// Its size and the limit.
        why: String,
    },
    /// An event or a checkpoint is no JSON: a bug.
    #[error("{what} cannot be written as JSON: {source}")]
    Json {
        /// Which one.
        what: String,
        /// Why.
        source: serde_json::Error,
    },
}

impl OfferError {
    fn of(refused: ::outbox::CommitError, camera: &CameraId) -> Self {
        match refused {
            ::outbox::CommitError::Closed => Self::Stopped,
            why => Self::TooLarge { camera: camera.to_string(), why: why.to_string() },
        }
    }
}

/// Why a camera does not know where to go on.
#[derive(Debug, thiserror::Error)]
pub enum ResumeError {
    /// The table of positions does not answer, and nothing is known here: try again.
    #[error("camera {camera}: {why}; it starts when the table answers")]
    Unknown {
        /// The camera.
        camera: String,
        /// What the table says.
        why: String,
    },
    /// Another process owns the camera now: a restart takes it back.
    #[error("camera {camera}: {by}")]
    TakenOver {
        /// The camera.
        camera: String,
        /// The other process.
        by: Takeover,
    },
    /// What was kept is of another program.
    #[error("camera {camera}: its state in {place}: {source}")]
    Checkpoint {
        /// The camera.
        camera: String,
        /// Where it was kept.
        place: String,
        /// Why it cannot be used.
        source: CheckpointError,
    },
    /// The outbox on disk cannot be read.
    #[error("camera {camera}: {source}")]
    Read {
        /// The camera.
        camera: String,
        /// Why.
        source: ::outbox::ReadError,
    },
}

/// What a stop waits for the best-effort sinks after the required ones are done.
const BEST_EFFORT_GRACE: Duration = Duration::from_secs(4);
/// How long the last write of the positions may take.
const POSITIONS_GRACE: Duration = Duration::from_secs(2);

/// The outbox: keeps events until they are delivered, and where each camera goes on.
///
/// Delivery: at least once to every sink that an event is routed to. A required sink (local, Kinesis) loses nothing, not even
/// over a kill; a best-effort one (S3, DynamoDB) loses the oldest when its share of the outbox is full.
///
/// Shutdown: [`EventOutbox::flush`] ends and joins every task.
pub struct EventOutbox {
    pub(crate) publish: PublishSpec,
    store: ::outbox::Outbox,
    damaged: Option<DamagedOutbox>,
    sinks: Vec<RunningSink>,
    pub(crate) left_out: PictureWarnings,
    tasks: Mutex<Vec<JoinHandle<()>>>,
    positions: Option<Arc<Positions>>,
    changed: Arc<Notify>,
    /// Nothing more is taken in.
    refusing: CancellationToken,
    /// What was taken in is on disk: the sinks end once they have it all.
    closing: CancellationToken,
    /// The sinks have ended.
    closed: CancellationToken,
    give_up: CancellationToken,
}

impl EventOutbox {
    /// Opens the outbox and starts the sinks, each as a task of the current runtime.
    ///
    /// # Errors
    /// The outbox or the local sink's folder cannot be used, or there are no clients for what is configured. Sinks that
    /// cannot be reached are no error: they are tried again.
    pub async fn start(spec: OutboxSpec) -> Result<Self, StartError> {
        let RunningSinks { store, damaged, mut sinks, progress, changed, closing, give_up } =
            start::sinks(&spec).await?;
        let mut tasks: Vec<_> = sinks.iter_mut().filter_map(|sink| sink.task.take()).collect();
        let positions = positions(&spec, &store, &sinks, &progress, &changed)?;
        if positions.is_some() {
            follow_what_waits(&store, &sinks, &progress)?;
        }
        let (refusing, closed) = (CancellationToken::new(), CancellationToken::new());
        if let Some(positions) = &positions {
            tasks.push(tokio::spawn(Arc::clone(positions).run(closed.clone())));
        }
        let (publish, tasks, left_out) = (spec.publish, Mutex::new(tasks), PictureWarnings::default());
        Ok(Self {
            publish,
            store,
            damaged,
            sinks,
            left_out,
            tasks,
            positions,
            changed,
            refusing,
            closing,
            closed,
            give_up,
        })
    }

    /// The sinks that an event of the route goes to; S3 is among them where it is configured.
    pub(crate) fn route(&self, event: &Event, route: &Route) -> Result<Vec<&RunningSink>, OfferError> {
        let wanted = SinkName::of(&self.publish, Some(route));
        let sinks: Vec<_> = self.sinks.iter().filter(|sink| wanted.contains(&sink.name)).collect();
        match &route.kds_stream {
            Some(stream) if !sinks.iter().any(|sink| matches!(sink.name, SinkName::Kinesis(_))) => {
                Err(OfferError::NoSink { stream: stream.clone(), camera: event.camera_id.clone() })
            }
            _ => Ok(sinks),
        }
    }

    /// Takes in what moves together: after a crash either all of it is there or nothing of it. Events are on their way as
    /// soon as they are on disk.
    ///
    /// Waits while a required sink's share is full. When the wait is cancelled, nothing was taken in.
    ///
    /// # Errors
    /// See [`OfferError`].
    pub async fn commit(&self, commit: CameraCommit) -> Result<(), OfferError> {
        if self.refusing.is_cancelled() {
            return Err(OfferError::Stopped);
        }
        let CameraCommit { camera, checkpoint, events } = commit;
        let admitted = self.admit(&camera).await?;
        let kept = checkpoint.to_bytes();
        let kept = kept
            .map_err(|source| OfferError::Json { what: format!("the state of camera {camera}"), source })?;
        let (events, entries): (Vec<_>, Vec<_>) =
            events.into_iter().map(|packed| ((packed.event, packed.sinks), packed.entry)).unzip();
        if let Some(positions) = &self.positions {
            for (event, sinks) in &events {
                positions.progress.taken(&camera, event.seq, sinks.iter().cloned());
            }
        }
        let urgent = !entries.is_empty();
        let source = camera.as_str().to_owned();
        let taken = ::outbox::Commit { source, checkpoint: Some(kept), entries, urgent };
        let committing = self.store.commit(taken);
        let committed = match &admitted {
            Some((_guard, taken_over)) => taken_over.run_until_cancelled(committing).await,
            None => Some(committing.await),
        };
        committed
            .ok_or_else(|| self.is_taken_over(&camera))?
            .map_err(|refused| OfferError::of(refused, &camera))?;
        if let Some(positions) = &self.positions {
            positions.progress.committed(&camera, checkpoint);
        }
        for (event, _) in &events {
            telemetry::EventAccepted { event }.emit();
        }
        if urgent {
            self.changed.notify_waiters();
        }
        Ok(())
    }

    /// Keeps a takeover of the camera from counting as done before the commit is; `None`: there is no table of positions.
    async fn admit(
        &self,
        camera: &CameraId,
    ) -> Result<Option<(OwnedMutexGuard<()>, CancellationToken)>, OfferError> {
        let Some(positions) = &self.positions else { return Ok(None) };
        match positions.admit(camera).await {
            Some(admitted) => Ok(Some(admitted)),
            None => Err(self.is_taken_over(camera)),
        }
    }

    fn is_taken_over(&self, camera: &CameraId) -> OfferError {
        match self.taken_over(camera) {
            Some(by) => OfferError::TakenOver { camera: camera.to_string(), by },
            None => OfferError::Stopped,
        }
    }

    /// Where to go on with a camera, here or by the table of positions, whichever is further; `None`: where its
    /// configuration says. From now on the camera in the table is this process's: the one that starts last owns it.
    ///
    /// # Errors
    /// See [`ResumeError`].
    pub async fn resume(&self, camera: &CameraId) -> Result<Option<Checkpoint>, ResumeError> {
        let name = || camera.to_string();
        // A camera that ended a moment ago has left its last commit on the way to the disk.
        self.store.settled().await;
        let kept = self.store.checkpoint(camera.as_str());
        let kept = kept.map_err(|source| ResumeError::Read { camera: name(), source })?;
        let own = kept.map(|kept| Checkpoint::from_bytes(&kept)).transpose().map_err(|source| {
            ResumeError::Checkpoint { camera: name(), place: "state.dir".to_owned(), source }
        })?;
        let Some(positions) = &self.positions else { return Ok(own) };
        positions.resume(camera, own).await.map_err(|error| match error {
            ClaimError::Refused(why) => ResumeError::Unknown { camera: name(), why },
            ClaimError::TakenOver(by) => ResumeError::TakenOver { camera: name(), by },
            ClaimError::Checkpoint { table, source, .. } => {
                ResumeError::Checkpoint { camera: name(), place: format!("table {table}"), source }
            }
        })
    }

    /// Connects a camera that runs to the table of positions: `stop` is cancelled when another process takes the camera
    /// over. `starts_at_now`: whether the camera is configured to start at NOW, so that its new owner does not read what
    /// lies before; then what waits here is delivered from here all the same.
    pub fn attach(&self, camera: &CameraId, stop: CancellationToken, starts_at_now: bool) {
        if let Some(positions) = &self.positions {
            positions.attach(camera, stop, starts_at_now);
        }
    }

    /// The process that took the camera over from this one, if any.
    #[must_use]
    pub fn taken_over(&self, camera: &CameraId) -> Option<Takeover> {
        self.positions.as_ref()?.taken_over(camera)
    }

    /// The name of a sink that `spec` asks for and that was not started.
    #[must_use]
    pub fn lacks(&self, spec: &OutboxSpec) -> Option<String> {
        let lacks = |name: &SinkName| !self.sinks.iter().any(|sink| sink.name == *name);
        wanted(spec).iter().find(|name| lacks(name)).map(ToString::to_string)
    }

    /// How the outbox's disk, each sink and the table of positions fare.
    #[must_use]
    pub fn statuses(&self) -> Vec<SinkStatus> {
        let disk = SinkStatus::of_the_disk(&self.store.health().borrow());
        let sinks = self.sinks.iter().map(|sink| sink.gauge.status(self.store.queued(sink.handle)));
        let positions =
            self.positions.iter().map(|positions| positions.gauge.status(::outbox::Queued::default()));
        std::iter::once(disk).chain(sinks).chain(positions).collect()
    }

    /// The outbox that was found at the start and set aside, because it was damaged.
    #[must_use]
    pub fn damaged(&self) -> Option<&DamagedOutbox> {
        self.damaged.as_ref()
    }

    /// What tells that the task of a sink is gone.
    #[must_use]
    pub fn watches(&self) -> Vec<Watch> {
        let watch = |sink: &RunningSink| {
            let task = sink.pulse.clone();
            Watch {
                name: format!("publish-{}", sink.name),
                alive: Box::new(move || !task.is_finished()),
                busy_since: Box::new(|| None),
                limit: Duration::MAX,
            }
        };
        self.sinks.iter().map(watch).collect()
    }

    /// Waits until the sinks fare as `wanted`; tells how they do then.
    pub async fn until(&self, mut wanted: impl FnMut(&[SinkStatus]) -> bool) -> Vec<SinkStatus> {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            let statuses = self.statuses();
            if wanted(&statuses) {
                return statuses;
            }
            changed.await;
        }
    }

    /// Takes nothing more in, waits until the sinks are empty or `within` has passed, and ends them; tells what remains for
    /// the next start. Once the required sinks are empty, the others get 4 s at most.
    pub async fn flush(&self, within: Duration) -> Vec<UndeliveredRecords> {
        self.refusing.cancel();
        let tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        let end = tokio::time::Instant::now() + within;
        // A disk in trouble is told of by the end of this.
        let _settled_or_not = tokio::time::timeout_at(end, self.store.settled()).await;
        self.closing.cancel();
        self.patience(end).await;
        self.give_up.cancel();
        if let Some(positions) = &self.positions {
            // What it does not write in time is written after the next start.
            let _ = tokio::time::timeout(POSITIONS_GRACE, positions.write(false)).await;
        }
        self.closed.cancel();
        join_all(tasks).await;
        let remains = self
            .sinks
            .iter()
            .filter_map(|sink| UndeliveredRecords::of(&sink.gauge, self.store.queued(sink.handle).entries));
        let remains = remains.collect();
        let store = self.store.clone();
        // A join error means that the writer panicked, which the panic hook has told.
        if let Ok(Err(error)) = tokio::task::spawn_blocking(move || store.close()).await {
            telemetry::NotClosed { error: &error }.emit();
        }
        remains
    }

    async fn patience(&self, end: tokio::time::Instant) {
        let empty = |sinks: &[SinkStatus], required: bool| {
            sinks.iter().filter(|sink| sink.required || !required).all(|sink| sink.queued == 0)
        };
        if tokio::time::timeout_at(end, self.until(|sinks| empty(sinks, true))).await.is_ok() {
            let grace = (tokio::time::Instant::now() + BEST_EFFORT_GRACE).min(end);
            let _all_or_not = tokio::time::timeout_at(grace, self.until(|sinks| empty(sinks, false))).await;
        }
    }
}

fn positions(
    spec: &OutboxSpec,
    store: &::outbox::Outbox,
    sinks: &[RunningSink],
    progress: &Arc<DeliveryProgress>,
    changed: &Arc<Notify>,
) -> Result<Option<Arc<Positions>>, StartError> {
    let Some(table) = spec.state.ddb_table.clone() else { return Ok(None) };
    let name = format!("positions/{table}");
    let clients = spec.clients.as_ref().ok_or_else(|| StartError::NoClients { sink: name.clone() })?;
    Ok(Some(Arc::new(Positions {
        table: PositionTable::new(&clients.dynamodb, table, store.id()),
        store: store.clone(),
        sinks: sinks.iter().map(|sink| (Arc::from(sink.gauge.name()), sink.handle)).collect(),
        progress: Arc::clone(progress),
        gauge: Arc::new(SinkGauge::new(&name, false, 0, Arc::clone(changed))),
        cameras: Mutex::default(),
        turns: Semaphore::new(CLAIMS_AT_ONCE),
    })))
}
