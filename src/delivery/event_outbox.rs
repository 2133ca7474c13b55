//! The outbox of events: takes them in together with the camera's checkpoint, all or nothing, and keeps them until every sink has
//! them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::{join_all, poll_immediate};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::adoption::{Adopter, ResumeRules, SinkPort};
use super::camera_gate::{Admission, CameraGate};
use super::delivery_progress::DeliveryProgress;
use super::new_record::{CameraCommit, NewRecord};
use super::outbox_error::{OfferError, ResumeError, checkpoint_bytes};
use super::picture_warnings::PictureWarnings;
use super::positions::{CLAIMS_AT_ONCE, PositionTable, Positions, Takeover};
use super::route::Route;
use super::shared::SharedDelivery;
use super::shared_cameras::SharedCameras;
use super::sink::SinkSet;
use super::spec::OutboxSpec;
use super::start::{DamagedOutbox, RunningSink, RunningSinks, start_sinks};
use super::start_error::StartError;
use super::status::{SinkGauge, UndeliveredRecords};
use super::unpictured::UnpicturedRecords;
use crate::checkpoint::Checkpoint;
use crate::media::{CameraId, Event, Frame};
use crate::snapshot::SnapshotSettings;
use crate::status::{SinkStatus, Watch};
use crate::telemetry::publish as telemetry;

/// Limit on the wait of a stop for the best-effort sinks after the required ones are done.
const BEST_EFFORT_GRACE: Duration = Duration::from_secs(4);
/// Name of the status of the tables of shared cameras.
const TABLES_GAUGE: &str = "sharing";
/// Limit on the last write of the positions.
const POSITIONS_GRACE: Duration = Duration::from_secs(2);

/// The outbox of events: keeps them until they are delivered, and each camera's checkpoint.
///
/// Delivery: at least once to every sink that an event is routed to. A required sink (local, Kinesis) loses nothing, not even when
/// the process is killed; of a best-effort sink (any other) the oldest are dropped when its share of the outbox is full.
///
/// Shutdown: [`EventOutbox::flush`] ends and joins every task.
pub struct EventOutbox {
    pub(super) snapshots: Option<SnapshotSettings>,
    set: SinkSet,
    store: ::outbox::Outbox,
    damaged: Option<DamagedOutbox>,
    sinks: Vec<RunningSink>,
    pub(super) picture_warnings: PictureWarnings,
    tasks: Mutex<Vec<JoinHandle<()>>>,
    /// With `positions` or `shared`.
    adopter: Option<Arc<Adopter>>,
    /// In single mode, with a table of positions.
    positions: Option<Arc<Positions>>,
    /// The delivery of shared cameras.
    shared: Option<Arc<SharedDelivery>>,
    changed: Arc<Notify>,
    /// Cancelled when no commit is taken in any more.
    refusing: CancellationToken,
    /// Cancelled when all commits are on disk: each sink ends once it has everything.
    closing: CancellationToken,
    /// Cancelled when the sinks have ended.
    closed: CancellationToken,
    give_up: CancellationToken,
}

impl EventOutbox {
    /// Opens the outbox and starts the sinks, each as a task of the current runtime.
    ///
    /// # Errors
    /// The outbox or a sink cannot be used, or there are no clients for a configured service. A service that cannot be reached is
    /// no error: it is tried again.
    pub async fn start(spec: OutboxSpec) -> Result<Self, StartError> {
        let RunningSinks { store, damaged, mut sinks, progress, changed, closing, give_up } =
            start_sinks(&spec).await?;
        let mut tasks: Vec<_> = sinks.iter_mut().filter_map(|sink| sink.task.take()).collect();
        let positions = open_positions(&spec, &store, &sinks, &progress, &changed)?;
        let (refusing, closed) = (CancellationToken::new(), CancellationToken::new());
        if let Some(positions) = &positions {
            tasks.push(tokio::spawn(Arc::clone(positions).run(closed.clone())));
        }
        let shared_cameras = spec.sharing.as_ref().map(|_| Arc::new(SharedCameras::default()));
        let gate = match (&positions, &shared_cameras) {
            (Some(positions), _) => Some(CameraGate::Single(Arc::clone(positions))),
            (None, Some(cameras)) => Some(CameraGate::Shared(Arc::clone(cameras))),
            (None, None) => None,
        };
        let adopter = gate.map(|gate| Arc::new(adopter_of(&spec, &store, &sinks, &progress, gate)));
        if let Some(adopter) = &adopter {
            tasks.push(tokio::spawn(Arc::clone(adopter).run(refusing.clone())));
        }
        let shared = spec.sharing.clone().zip(shared_cameras).zip(adopter.clone());
        let shared = shared.map(|((requests, cameras), adopter)| {
            let gauge = Arc::new(SinkGauge::new(TABLES_GAUGE, false, 0, Arc::clone(&changed)));
            let (progress, store, changed) = (Arc::clone(&progress), store.clone(), Arc::clone(&changed));
            let failing = Mutex::default();
            Arc::new(SharedDelivery { cameras, adopter, progress, store, requests, changed, gauge, failing })
        });
        Ok(Self {
            snapshots: spec.sinks.registry.snapshots(),
            set: spec.sinks,
            store,
            damaged,
            sinks,
            picture_warnings: PictureWarnings::default(),
            tasks: Mutex::new(tasks),
            adopter,
            positions,
            shared,
            changed,
            refusing,
            closing,
            closed,
            give_up,
        })
    }

    /// Returns the running sinks that the route leads to.
    pub(super) fn route(&self, event: &Event, route: &Route) -> Result<Vec<&RunningSink>, OfferError> {
        let names = self.set.registry.sinks(&[route]).into_iter().map(|sink| sink.name());
        let find = |name: String| {
            let running = self.sinks.iter().find(|running| running.gauge.name() == name);
            running.ok_or_else(|| OfferError::NoSink { sink: name, camera: event.camera_id.clone() })
        };
        names.map(find).collect()
    }

    /// Takes in a camera's checkpoint and events: after a crash either all of it is there or nothing of it. Delivery begins as soon
    /// as the events are on disk.
    ///
    /// Waits while a required sink's share is full; calls `on_full` before it does. Cancelling the wait takes nothing in.
    ///
    /// # Errors
    /// See [`OfferError`].
    pub async fn commit(&self, commit: CameraCommit, on_full: impl FnOnce()) -> Result<(), OfferError> {
        if self.refusing.is_cancelled() {
            return Err(OfferError::Stopped);
        }
        if let Some(shared) = &self.shared {
            return shared.commit(commit, on_full).await.map(|events| self.report_accepted(&events));
        }
        let CameraCommit { camera, epoch: _, checkpoint, events } = commit;
        let admitted = self.admit(&camera).await?;
        let bytes = checkpoint_bytes(&camera, &checkpoint)?;
        self.write_ahead(&camera, &checkpoint, &events).await?;
        // Before the commit, since a sink may deliver an event as soon as it is on disk.
        self.follow(&camera, &events);
        let (events, entries): (Vec<_>, Vec<_>) =
            events.into_iter().map(|record| (record.event, record.entry)).unzip();
        // An alert is due in Kinesis 300 ms after its frame. A checkpoint alone can share a transaction with others.
        let urgent = !entries.is_empty();
        let source = camera.as_str().to_owned();
        let commit = ::outbox::OutboxCommit { source, checkpoint: Some(bytes), entries, urgent };
        let taken_over = admitted.as_ref().map(|(_guard, taken_over)| taken_over);
        self.write(&camera, taken_over, commit, on_full).await?;
        self.committed(&camera, checkpoint, &events);
        Ok(())
    }

    /// Writes events and the state after them into the table of positions, if there is one.
    async fn write_ahead(
        &self,
        camera: &CameraId,
        checkpoint: &Checkpoint,
        events: &[NewRecord],
    ) -> Result<(), OfferError> {
        let Some(positions) = self.positions.as_ref().filter(|_| !events.is_empty()) else { return Ok(()) };
        let new = events.iter().map(NewRecord::unaccepted).collect();
        let written = positions.write_ahead(camera, checkpoint, new).await;
        written.map_err(|by| OfferError::TakenOver { camera: camera.to_string(), by })
    }

    /// Adds events to the delivery progress of their camera.
    fn follow(&self, camera: &CameraId, records: &[NewRecord]) {
        let Some(positions) = &self.positions else { return };
        for NewRecord { event, entry, sinks } in records {
            positions.progress.taken(camera, event.seq, sinks.iter().cloned());
            positions.progress.keep(camera, event.seq, entry.payload.clone());
        }
    }

    /// Writes a commit to the outbox. A wait for room ends with a takeover: the new owner makes these events.
    async fn write(
        &self,
        camera: &CameraId,
        taken_over: Option<&CancellationToken>,
        commit: ::outbox::OutboxCommit,
        on_full: impl FnOnce(),
    ) -> Result<(), OfferError> {
        let mut committing = std::pin::pin!(self.store.commit(commit));
        if let Some(done) = poll_immediate(&mut committing).await {
            return done.map_err(|refused| OfferError::of(refused, camera));
        }
        on_full();
        let result = match taken_over {
            Some(taken_over) => taken_over.run_until_cancelled(committing).await,
            None => Some(committing.await),
        };
        result.ok_or_else(|| self.takeover_error(camera))?.map_err(|refused| OfferError::of(refused, camera))
    }

    /// Records that a checkpoint and the events before it are durable.
    fn committed(&self, camera: &CameraId, checkpoint: Checkpoint, events: &[Event]) {
        if let Some(positions) = &self.positions {
            positions.progress.committed(camera, checkpoint);
        }
        self.report_accepted(events);
    }

    fn report_accepted(&self, events: &[Event]) {
        for event in events {
            telemetry::EventAccepted { event }.emit();
        }
        if !events.is_empty() {
            // `until` watches the queues, which a checkpoint alone does not change.
            self.changed.notify_waiters();
        }
    }

    /// Returns a guard that delays a takeover of the camera until the commit is done; `None`: there is no table of positions.
    async fn admit(&self, camera: &CameraId) -> Result<Option<Admission>, OfferError> {
        let Some(positions) = &self.positions else { return Ok(None) };
        match positions.admit(camera).await {
            Some((guard, taken_over)) => Ok(Some((Some(guard), taken_over))),
            None => Err(self.takeover_error(camera)),
        }
    }

    fn takeover_error(&self, camera: &CameraId) -> OfferError {
        OfferError::of_ended(camera, self.taken_over(camera))
    }

    /// Returns the checkpoint at which the camera resumes: this outbox's or that of the table of positions, whichever is further;
    /// `None`: its configuration decides. Also claims the camera in the table: the process that starts a camera last owns it, and takes
    /// in the records that the last owner had not delivered.
    ///
    /// # Errors
    /// See [`ResumeError`].
    pub async fn resume(
        &self,
        camera: &CameraId,
        rules: ResumeRules<'_>,
    ) -> Result<Option<Checkpoint>, ResumeError> {
        if let Some(shared) = &self.shared {
            return Ok(shared.checkpoint(camera));
        }
        let name = || camera.to_string();
        // The last commit of a camera that ended a moment ago may still be on its way to the disk.
        self.store.flush().await;
        let kept = self.store.checkpoint(camera.as_str());
        let kept = kept.map_err(|source| ResumeError::Read { camera: name(), source })?;
        let own = kept.map(|kept| Checkpoint::from_bytes(&kept)).transpose().map_err(|source| {
            ResumeError::Checkpoint { camera: name(), place: "state.dir".to_owned(), source }
        })?;
        let Some((adopter, positions)) = self.adopter.as_ref().zip(self.positions.as_ref()) else {
            return Ok(own);
        };
        let resumed = positions.resume(camera, own).await;
        let resumption = resumed.map_err(|error| ResumeError::of(error, camera))?;
        adopter.adopt(positions, camera, resumption, rules).await
    }

    /// Returns whether records of the camera's last owner wait for their frames to be read again.
    #[must_use]
    pub fn has_unpictured(&self, camera: &CameraId) -> bool {
        self.adopter.as_ref().is_some_and(|adopter| adopter.unpictured.has(camera))
    }

    /// Makes the pictures of adopted records whose frame this is, and takes the records in for the sinks that store pictures.
    ///
    /// # Errors
    /// See [`OfferError`].
    pub async fn picture_adopted(&self, camera: &CameraId, frame: &Arc<Frame>) -> Result<(), OfferError> {
        match &self.adopter {
            Some(adopter) => adopter.picture(camera, frame).await,
            None => Ok(()),
        }
    }

    /// Takes in the adopted records whose frames did not come again, without pictures. To be called at the first frame after them.
    ///
    /// # Errors
    /// See [`OfferError`].
    pub async fn give_up_pictures(&self, camera: &CameraId) -> Result<(), OfferError> {
        match &self.adopter {
            Some(adopter) => adopter.give_up_pictures(camera).await,
            None => Ok(()),
        }
    }

    /// Returns the delivery of shared cameras; `None` in single mode.
    #[must_use]
    pub fn shared(&self) -> Option<&Arc<SharedDelivery>> {
        self.shared.as_ref()
    }

    /// Connects a running camera to the table of positions: `stop` is cancelled when another process takes the camera over.
    /// `starts_at_now`: the camera is configured to start at NOW. Then its new owner does not read older footage, and events that
    /// wait here are still delivered from here.
    pub fn attach(&self, camera: &CameraId, stop: CancellationToken, starts_at_now: bool) {
        if let Some(positions) = &self.positions {
            positions.attach(camera, stop, starts_at_now);
        }
    }

    /// Returns the process that took the camera over from this one, if any.
    #[must_use]
    pub fn taken_over(&self, camera: &CameraId) -> Option<Takeover> {
        self.positions.as_ref()?.taken_over(camera)
    }

    /// Returns the name of a sink that `spec` asks for and that was not started.
    #[must_use]
    pub fn lacks(&self, spec: &OutboxSpec) -> Option<String> {
        let mut names = spec.sinks.all().into_iter().map(|sink| sink.name());
        names.find(|name| !self.sinks.iter().any(|running| running.gauge.name() == name))
    }

    /// Returns the status of the outbox's disk, of each sink and of the table of positions.
    #[must_use]
    pub fn statuses(&self) -> Vec<SinkStatus> {
        let disk = SinkStatus::of_the_disk(&self.store.health().borrow());
        let sinks = self.sinks.iter().map(|sink| sink.gauge.status(self.store.queue_status(sink.handle)));
        let positions =
            self.positions.iter().map(|positions| positions.gauge.status(::outbox::QueueStatus::default()));
        let tables = self.shared.iter().map(|shared| shared.gauge.status(::outbox::QueueStatus::default()));
        std::iter::once(disk).chain(sinks).chain(positions).chain(tables).collect()
    }

    /// Returns the outbox that was damaged at the start and set aside.
    #[must_use]
    pub fn damaged(&self) -> Option<&DamagedOutbox> {
        self.damaged.as_ref()
    }

    /// Returns a watch per sink that shows whether its task has ended.
    #[must_use]
    pub fn watches(&self) -> Vec<Watch> {
        let watch = |running: &RunningSink| {
            let task = running.liveness.clone();
            Watch {
                name: format!("publish-{}", running.gauge.name()),
                alive: Box::new(move || !task.is_finished()),
                // A sink waits for a service that is away for as long as that takes: only the end of its task is a fault.
                busy_since: Box::new(|| None),
                limit: Duration::MAX,
            }
        };
        self.sinks.iter().map(watch).collect()
    }

    /// Waits until `is_reached` holds of the sinks' statuses, and returns them.
    pub async fn until(&self, mut is_reached: impl FnMut(&[SinkStatus]) -> bool) -> Vec<SinkStatus> {
        loop {
            // Enabled before the statuses are read, so that no change between the read and the wait is missed.
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            let statuses = self.statuses();
            if is_reached(&statuses) {
                return statuses;
            }
            changed.await;
        }
    }

    /// Closes the outbox: takes nothing more in, waits until the sinks are empty or `within` has passed, and ends them. Once the
    /// required sinks are empty, the others get 4 s at most. Returns the records that are left for the next start.
    pub async fn flush(&self, within: Duration) -> Vec<UndeliveredRecords> {
        // The order counts: all commits are on disk before the sinks learn that nothing more comes, and the last position is
        // written when they are done.
        self.refusing.cancel();
        let tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        let end = tokio::time::Instant::now() + within;
        // A disk that fails is reported by the close below.
        let _settled_or_not = tokio::time::timeout_at(end, self.store.flush()).await;
        self.closing.cancel();
        self.drain(end).await;
        self.give_up.cancel();
        if let Some(positions) = &self.positions {
            // A position that is not written in time is written after the next start.
            let _ = tokio::time::timeout(POSITIONS_GRACE, positions.write(false)).await;
        }
        self.closed.cancel();
        join_all(tasks).await;
        let undelivered = self.undelivered();
        let store = self.store.clone();
        // A join error means that the writer panicked, which the panic hook has logged.
        if let Ok(Err(error)) = tokio::task::spawn_blocking(move || store.close()).await {
            telemetry::OutboxCloseFailed { error: &error }.emit();
        }
        undelivered
    }

    /// Logs and returns the records that wait for each sink.
    fn undelivered(&self) -> Vec<UndeliveredRecords> {
        let waiting = |sink: &RunningSink| self.store.queue_status(sink.handle).entries;
        self.sinks.iter().filter_map(|sink| UndeliveredRecords::of(&sink.gauge, waiting(sink))).collect()
    }

    /// Waits until the required sinks are empty, then a while for the others.
    async fn drain(&self, end: tokio::time::Instant) {
        let are_empty = |sinks: &[SinkStatus], required: bool| {
            sinks.iter().filter(|sink| sink.required || !required).all(|sink| sink.queued == 0)
        };
        if tokio::time::timeout_at(end, self.until(|sinks| are_empty(sinks, true))).await.is_ok() {
            let grace = (tokio::time::Instant::now() + BEST_EFFORT_GRACE).min(end);
            let _all_or_not =
                tokio::time::timeout_at(grace, self.until(|sinks| are_empty(sinks, false))).await;
        }
    }
}

fn open_positions(
    spec: &OutboxSpec,
    store: &::outbox::Outbox,
    sinks: &[RunningSink],
    progress: &Arc<DeliveryProgress>,
    changed: &Arc<Notify>,
) -> Result<Option<Arc<Positions>>, StartError> {
    let table = spec.state.ddb_table.clone().filter(|_| spec.sharing.is_none());
    let Some(table) = table else { return Ok(None) };
    let name = format!("positions/{table}");
    let clients = spec.clients.as_ref().ok_or_else(|| StartError::NoClients { sink: name.clone() })?;
    Ok(Some(Arc::new(Positions {
        table: PositionTable::new(clients, table, store.id()),
        own: Arc::from(store.id()),
        store: store.clone(),
        sinks: sinks.iter().map(|sink| (Arc::from(sink.gauge.name()), sink.handle)).collect(),
        progress: Arc::clone(progress),
        gauge: Arc::new(SinkGauge::new(&name, false, 0, Arc::clone(changed))),
        cameras: Mutex::default(),
        turns: Semaphore::new(CLAIMS_AT_ONCE),
    })))
}

fn adopter_of(
    spec: &OutboxSpec,
    store: &::outbox::Outbox,
    sinks: &[RunningSink],
    progress: &Arc<DeliveryProgress>,
    gate: CameraGate,
) -> Adopter {
    let port = |running: &RunningSink| SinkPort {
        name: Arc::from(running.gauge.name()),
        handle: running.handle,
        sink: Arc::clone(&running.sink),
    };
    Adopter {
        store: store.clone(),
        ports: sinks.iter().map(port).collect(),
        registry: Arc::clone(&spec.sinks.registry),
        progress: Arc::clone(progress),
        gate,
        own: Arc::from(store.id()),
        snapshots: spec.sinks.registry.snapshots(),
        unpictured: UnpicturedRecords::default(),
    }
}
