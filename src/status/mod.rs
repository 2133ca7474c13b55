//! The status board: the current state of the running service, as HTTP serves it.
//!
//! The stages write to it. HTTP reads it, and so do the metrics for CloudWatch and the commands `demo` and `bench`. A lock is held
//! for a few assignments at most, so that no reader holds up a stage.

mod camera_row;
mod camera_status;
mod event_feed;
mod failure;
mod figures;
mod health;
mod inference_gap;
mod lag;
mod load;
mod loading;
mod losses;
mod pool;
mod recent_boxes;
mod sink;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ::sharing::PoolFigures;
use serde::Serialize;
use tokio::sync::broadcast;

pub use camera_row::{CameraRow, CameraState, CameraWork, FrameCounts};
pub use camera_status::{CameraStatus, InferredPicture};
pub use health::{HealthStatus, ServiceHealth, Watch};
pub(crate) use lag::UnitRead;
pub use load::CameraLoad;
pub use loading::LoadDisplay;
pub(crate) use loading::{LoadThread, RELOAD_SHOWN_AFTER};
pub(crate) use losses::{LossCause, LossChange};
pub use recent_boxes::{FrameBoxes, RecentBox};
pub use sink::{SinkState, SinkStatus};

use crate::base::lock;
use crate::media::{CameraId, Event};
use event_feed::EventFeed;
#[cfg(test)]
pub(crate) use event_feed::testing;
use failure::FinalFailure;
use health::config_reason;
use lag::lag_reason;
use loading::LoadingModels;
use losses::{LossCauses, is_overloaded};
use pool::PoolStatus;

/// A handle to the status of the service; clones share it.
#[derive(Clone)]
pub struct StatusBoard {
    inner: Arc<BoardInner>,
}

struct BoardInner {
    started: Instant,
    started_epoch: Duration,
    readiness: Mutex<Readiness>,
    cameras: Mutex<Vec<CameraStatus>>,
    sinks: Mutex<Option<SinkReader>>,
    models: Mutex<Vec<ModelRow>>,
    loading: Mutex<LoadingModels>,
    watches: Mutex<Watches>,
    config_fault: Mutex<Option<(Instant, String)>>,
    losses: Mutex<LossCauses>,
    pool: Mutex<PoolStatus>,
    worker: Mutex<Option<String>>,
    notices: Mutex<Vec<Notice>>,
    failure: FinalFailure,
    feed: Arc<EventFeed>,
}

/// The watches, in the order in which they were added.
#[derive(Default)]
struct Watches {
    last_key: u64,
    all: BTreeMap<WatchKey, Watch>,
}

/// The key that removes a watch from the board.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WatchKey(u64);

/// A function that returns a reason for `/healthz`, or `None` while there is none.
type Notice = Box<dyn Fn() -> Option<String> + Send + Sync>;

type SinkReader = Arc<dyn Fn() -> Vec<SinkStatus> + Send + Sync>;

/// The answer of `/readyz`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Readiness {
    /// Models are loaded, cameras connect.
    Starting,
    /// Everything has started.
    Ready,
    /// The service was asked to stop.
    Stopping,
}

/// A loaded model.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ModelRow {
    /// The model's name in the configuration, or its file name.
    pub name: String,
    /// The layout of its output: `yolov8`, `nms`, `ctc`, ...
    pub layout: String,
    /// The device that it runs on: `cpu`, `cuda:0`.
    pub device: String,
    /// The execution providers that compute its nodes, such as `cuda 101 of 101 nodes`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nodes: Option<String>,
    /// The engine that computes it: `ONNX Runtime`, `OpenVINO int8`, ...
    pub engine: String,
    /// The reason for which OpenVINO or the quantised twin is not used, or the libraries of CUDA that are missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine_note: Option<String>,
    /// Width and height of its input, px.
    pub input_px: (u32, u32),
    /// Number of its classes, or of the characters of its alphabet.
    pub classes: usize,
    /// Duration of its first inference, ms.
    pub warm_up_ms: u64,
    /// The reason for which it does not run on the GPU of this host, with `device: auto`, and what happens next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub degraded: Option<String>,
    /// `true` where it runs on the CPU because CUDA does not work, with `device: auto`.
    #[serde(skip)]
    pub fell_back: bool,
}

impl Default for StatusBoard {
    fn default() -> Self {
        Self::new()
    }
}

impl StatusBoard {
    /// Returns an empty board of a service that is starting.
    #[must_use]
    pub fn new() -> Self {
        let inner = BoardInner {
            started: Instant::now(),
            started_epoch: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
            readiness: Mutex::new(Readiness::Starting),
            cameras: Mutex::default(),
            sinks: Mutex::default(),
            models: Mutex::default(),
            loading: Mutex::default(),
            watches: Mutex::default(),
            config_fault: Mutex::default(),
            losses: Mutex::default(),
            pool: Mutex::default(),
            worker: Mutex::default(),
            notices: Mutex::default(),
            failure: FinalFailure::default(),
            feed: Arc::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Returns the status of the camera, added where there is none. Cameras are shown in the order in which they were added.
    pub fn add_camera(&self, id: &CameraId, stream: &str) -> CameraStatus {
        let mut cameras = lock(&self.inner.cameras);
        if let Some(camera) = cameras.iter().find(|camera| camera.id() == id) {
            return camera.clone();
        }
        let camera = CameraStatus::new(id, stream, Arc::clone(&self.inner.feed));
        cameras.push(camera.clone());
        camera
    }

    /// Returns the status of a camera that is not on the board until [`Self::show_camera`].
    pub(crate) fn hidden_camera(&self, id: &CameraId, stream: &str) -> CameraStatus {
        CameraStatus::new(id, stream, Arc::clone(&self.inner.feed))
    }

    /// Puts the status of a camera on the board, in place of an earlier one.
    pub(crate) fn show_camera(&self, status: &CameraStatus) {
        let mut cameras = lock(&self.inner.cameras);
        cameras.retain(|camera| camera.id() != status.id());
        cameras.push(status.clone());
    }

    /// Returns the status of the camera, if it is on the board.
    #[must_use]
    pub fn camera(&self, id: &str) -> Option<CameraStatus> {
        lock(&self.inner.cameras).iter().find(|camera| camera.id().as_str() == id).cloned()
    }

    /// Sets the function that returns the status of the sinks. It is called for each request, and must not block.
    pub fn set_sinks(&self, read: impl Fn() -> Vec<SinkStatus> + Send + Sync + 'static) {
        *lock(&self.inner.sinks) = Some(Arc::new(read));
    }

    /// Removes the camera from the board. A handle to its status stays valid, and what it writes is not shown.
    pub fn remove_camera(&self, id: &CameraId) {
        lock(&self.inner.cameras).retain(|camera| camera.id() != id);
    }

    /// Sets the id under which this process is in its pool.
    pub fn set_worker(&self, id: &str) {
        *lock(&self.inner.worker) = Some(id.to_owned());
    }

    /// Returns the id under which this process is in its pool; `None` without `sharing`.
    #[must_use]
    pub fn worker(&self) -> Option<String> {
        lock(&self.inner.worker).clone()
    }

    /// Sets the loaded models.
    pub fn set_models(&self, models: Vec<ModelRow>) {
        *lock(&self.inner.models) = models;
    }

    /// Returns the models that a GPU of this host could serve better, as reasons for `/healthz`.
    fn degraded_models(&self) -> Vec<String> {
        let models = lock(&self.inner.models);
        let reason = |model: &ModelRow| {
            let (name, why) = (&model.name, model.degraded.as_ref()?);
            Some(format!("model {name} {why}"))
        };
        models.iter().filter_map(reason).collect()
    }

    /// Sets the reason why the current configuration was rejected; `None`: it is in effect.
    pub fn set_config_fault(&self, reason: Option<String>) {
        let mut fault = lock(&self.inner.config_fault);
        let since = fault.as_ref().map_or_else(Instant::now, |(since, _)| *since);
        *fault = reason.map(|reason| (since, reason));
    }

    /// Adds a function that may return a reason for `/healthz` that needs no restart. It is called for each request, and must not block.
    pub fn add_notice(&self, notice: impl Fn() -> Option<String> + Send + Sync + 'static) {
        lock(&self.inner.notices).push(Box::new(notice));
    }

    fn notices(&self) -> Vec<String> {
        lock(&self.inner.notices).iter().filter_map(|notice| notice()).collect()
    }

    /// Adds a watch: `/healthz` fails when its thread or task ends or is stuck.
    pub fn add_watch(&self, watch: Watch) -> WatchKey {
        let mut watches = lock(&self.inner.watches);
        watches.last_key += 1;
        let key = WatchKey(watches.last_key);
        watches.all.insert(key, watch);
        key
    }

    /// Removes the watch.
    pub fn remove_watch(&self, key: WatchKey) {
        let removed = lock(&self.inner.watches).all.remove(&key);
        // A model that it holds may take time to end: not under the lock.
        drop(removed);
    }

    /// Records that everything has started; no effect once the service was asked to stop.
    pub fn ready(&self) {
        let mut readiness = lock(&self.inner.readiness);
        if *readiness == Readiness::Starting {
            *readiness = Readiness::Ready;
        }
    }

    /// Records that the service was asked to stop.
    pub fn stopping(&self) {
        *lock(&self.inner.readiness) = Readiness::Stopping;
    }

    /// Returns whether the service is starting, ready or stopping.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        *lock(&self.inner.readiness)
    }

    /// Returns the current figures of all cameras.
    #[must_use]
    pub fn snapshot(&self) -> Vec<CameraRow> {
        self.snapshot_at(Instant::now())
    }

    fn snapshot_at(&self, now: Instant) -> Vec<CameraRow> {
        // Handles are cloned, so that rows are made without the lock of the list.
        let cameras = lock(&self.inner.cameras).clone();
        cameras.iter().map(|camera| camera.row_at(now)).collect()
    }

    /// Returns the current status of all sinks.
    #[must_use]
    pub fn sinks(&self) -> Vec<SinkStatus> {
        // The function is called without the lock: it takes the locks of the outbox.
        let read = lock(&self.inner.sinks).clone();
        read.map(|read| read()).unwrap_or_default()
    }

    /// Returns the loaded models.
    #[must_use]
    pub fn models(&self) -> Vec<ModelRow> {
        lock(&self.inner.models).clone()
    }

    /// Returns the newest events, oldest first, at most [`MAX_EVENTS_KEPT`].
    #[must_use]
    pub fn events(&self) -> Vec<Arc<Event>> {
        self.inner.feed.follow(None).0
    }

    /// Returns the kept events after the one with id `after` (all of them where it is not kept), and a receiver of those to come,
    /// without gap or repeat. A receiver that lags should follow again.
    #[must_use]
    pub fn follow(&self, after: Option<&str>) -> (Vec<Arc<Event>>, broadcast::Receiver<Arc<Event>>) {
        self.inner.feed.follow(after)
    }

    /// Returns the health of the service with its reasons. A thread that ends while the service stops is not a failure.
    #[must_use]
    pub fn health(&self) -> ServiceHealth {
        self.health_at(Instant::now())
    }

    fn health_at(&self, now: Instant) -> ServiceHealth {
        let watches = lock(&self.inner.watches);
        let stopping = self.readiness() == Readiness::Stopping;
        // Threads end while the service stops, as they should.
        let watched = watches.all.values().filter(|_| !stopping);
        let fault = lock(&self.inner.config_fault);
        let fault = fault.as_ref().map(|(since, reason)| config_reason(reason, now.duration_since(*since)));
        let cameras = self.snapshot_at(now);
        let lags = cameras.iter().filter_map(|row| Some(lag_reason(&row.id, row.excess_lag?)));
        let losses = lock(&self.inner.losses).reasons(&cameras);
        let health = ServiceHealth::of(watched, &cameras, &self.sinks(), now).and(fault);
        let loading =
            self.loading_reasons(now).into_iter().chain(self.notices()).chain(self.degraded_models());
        let pool = lock(&self.inner.pool).reason(now);
        let degraded = loading.chain(lags).chain(losses).chain(pool);
        let health = degraded.fold(health, |health, reason| health.and(Some(reason)));
        let failed_loads = self.failed_loads(now).into_iter().filter(|_| !stopping);
        health.failed(self.inner.failure.reason().into_iter().chain(failed_loads).collect())
    }

    /// Returns the causes of lost frames that began or ended since the last call.
    pub(crate) fn judge_losses(&self, at: Instant) -> Vec<LossChange> {
        let cameras = lock(&self.inner.cameras).clone();
        cameras.iter().for_each(|camera| camera.judge_footage(at));
        let rows = self.snapshot_at(at);
        lock(&self.inner.losses).judge(&rows)
    }

    /// Returns whether this host has been too slow for half of its cameras over the last minute.
    pub(crate) fn is_overloaded(&self) -> bool {
        is_overloaded(&self.snapshot())
    }

    /// Sets the figures of the pool of workers; `None`: another worker leads it, or there is no pool.
    pub(crate) fn set_pool_figures(&self, figures: Option<PoolFigures>) {
        lock(&self.inner.pool).set(Instant::now(), figures);
    }

    /// Returns the figures of the pool of workers if this one leads it.
    pub(crate) fn pool_figures(&self) -> Option<PoolFigures> {
        lock(&self.inner.pool).figures()
    }

    /// Returns the start time of the service, since the Unix epoch.
    #[must_use]
    pub fn started_epoch(&self) -> Duration {
        self.inner.started_epoch
    }

    /// Returns the time since the service started.
    #[must_use]
    pub fn uptime(&self) -> Duration {
        self.inner.started.elapsed()
    }
}

/// Number of events that are kept for clients that connect later.
pub const MAX_EVENTS_KEPT: usize = event_feed::MAX_KEPT;

/// Returns the duration in whole milliseconds, rounded down.
pub(crate) fn whole_ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_camera_is_added_once_and_the_order_of_adding_holds() {
        let board = StatusBoard::new();
        let gate = board.add_camera(&CameraId::new("gate"), "gate-stream");
        board.add_camera(&CameraId::new("alley"), "alley-stream");
        gate.frame_read();
        board.add_camera(&CameraId::new("gate"), "gate-stream").frame_read();
        let rows = board.snapshot();
        assert_eq!(rows.iter().map(|row| row.id.as_str()).collect::<Vec<_>>(), ["gate", "alley"]);
        assert_eq!(rows[0].frames.read, 2);
        assert!(board.camera("unknown").is_none());
    }

    #[test]
    fn a_service_that_stops_never_becomes_ready() {
        let board = StatusBoard::new();
        assert_eq!(board.readiness(), Readiness::Starting);
        board.ready();
        assert_eq!(board.readiness(), Readiness::Ready);
        board.stopping();
        board.ready();
        assert_eq!(board.readiness(), Readiness::Stopping);
    }
}
