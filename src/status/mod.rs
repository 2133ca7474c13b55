//! The board: the truth about the running service, as HTTP shows it.
//!
//! The stages write on it with small verbs. HTTP reads it, and so do the metrics for CloudWatch and the commands `demo` and
//! `bench`. A lock is held for a few assignments at most.

mod camera_row;
mod camera_status;
mod feed;
mod figures;
mod health;
mod lag;
mod load;
mod loading;
mod losses;
mod unseen;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use tokio::sync::broadcast;

pub use camera_row::{CameraRow, FrameCounts, State};
pub use camera_status::{CameraStatus, Picture};
pub use health::{Health, Status, Watch};
pub(crate) use lag::UnitRead;
pub use load::CameraLoad;
pub use loading::ShownLoading;
pub(crate) use loading::{LoadThread, RELOAD_SHOWN_AFTER};
pub(crate) use losses::{LossCause, LossChange};

use crate::media::{CameraId, Event};
use feed::Feed;
#[cfg(test)]
pub(crate) use feed::testing;
use health::about_config;
use lag::about_lag;
use loading::LoadingModels;
use losses::LossCauses;

/// A handle to the board; clones share it.
#[derive(Clone)]
pub struct StatusBoard {
    inner: Arc<Inner>,
}

struct Inner {
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
    notices: Mutex<Vec<Notice>>,
    feed: Arc<Feed>,
}

/// By number, which rises: the order of their making.
#[derive(Default)]
struct Watches {
    last: u64,
    all: BTreeMap<WatchKey, Watch>,
}

/// By which a watch is taken off the board.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WatchKey(u64);

/// A reason for `/healthz` that holds for as long as it returns it.
type Notice = Box<dyn Fn() -> Option<String> + Send + Sync>;

type SinkReader = Arc<dyn Fn() -> Vec<SinkRow> + Send + Sync>;

/// Whether the service takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Readiness {
    /// Models load, cameras connect.
    Starting,
    /// It works.
    Ready,
    /// It was told to stop.
    Stopping,
}

/// A sink as it stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct SinkRow {
    /// `outbox`, `local`, `kds/STREAM`, `dynamodb/TABLE`, `s3` or `positions/TABLE`.
    pub name: String,
    /// Whether an event waits for it rather than being lost.
    pub required: bool,
    /// Whether its last try succeeded.
    pub ok: bool,
    /// Why not.
    pub reason: Option<String>,
    /// For how long not, ms.
    pub failing_for_ms: Option<u64>,
    /// Events that wait for it in the outbox.
    pub queued: u64,
    /// Their records and pictures, bytes.
    pub queued_bytes: u64,
    /// How long the oldest of them has waited, ms.
    pub oldest_ms: Option<u64>,
    /// Its share of the outbox, bytes; 0: it has none.
    pub share_bytes: u64,
    /// Events that it took since the start.
    pub delivered: u64,
    /// Attempts since the start that it refused, or that did not reach it.
    pub refused: u64,
    /// Events since the start that it will never take: dead letters, and those that its share had no room for.
    pub failed: u64,
}

/// A model that is loaded.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ModelRow {
    /// Its name in the configuration, or its file name.
    pub name: String,
    /// The layout of its output: `yolov8`, `nms`, ...
    pub layout: String,
    /// Where it runs: `cpu`, `cuda:0`.
    pub device: String,
    /// Side lengths of its input, px.
    pub input_px: (u32, u32),
    /// How many classes it knows.
    pub classes: usize,
    /// How long its first inference took, ms.
    pub warm_up_ms: u64,
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
    /// An empty board of a service that is starting.
    #[must_use]
    pub fn new() -> Self {
        let inner = Inner {
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
            notices: Mutex::default(),
            feed: Arc::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The camera's place on the board, made where there is none; cameras are shown in the order of their making.
    pub fn add_camera(&self, id: &CameraId, stream: &str) -> CameraStatus {
        let mut cameras = lock(&self.inner.cameras);
        if let Some(camera) = cameras.iter().find(|camera| camera.id() == id) {
            return camera.clone();
        }
        let camera = CameraStatus::new(id, stream, Arc::clone(&self.inner.feed));
        cameras.push(camera.clone());
        camera
    }

    /// The camera's place on the board, if it has one.
    #[must_use]
    pub fn camera(&self, id: &str) -> Option<CameraStatus> {
        lock(&self.inner.cameras).iter().find(|camera| camera.id().as_str() == id).cloned()
    }

    /// From now on `read` tells how the sinks stand; it is called when somebody asks, and must not wait.
    pub fn set_sinks(&self, read: impl Fn() -> Vec<SinkRow> + Send + Sync + 'static) {
        *lock(&self.inner.sinks) = Some(Arc::new(read));
    }

    /// Takes the camera off the board. Who still has its place may go on writing there.
    pub fn remove_camera(&self, id: &CameraId) {
        lock(&self.inner.cameras).retain(|camera| camera.id() != id);
    }

    /// Shows these as the loaded models.
    pub fn set_models(&self, models: Vec<ModelRow>) {
        *lock(&self.inner.models) = models;
    }

    /// Shows why the configuration as it stands now cannot be taken over; `None`: it is the one that runs.
    pub fn set_config_fault(&self, why: Option<String>) {
        let mut fault = lock(&self.inner.config_fault);
        let since = fault.as_ref().map_or_else(Instant::now, |(since, _)| *since);
        *fault = why.map(|why| (since, why));
    }

    /// From now on what `notice` returns is a reason of `/healthz` that no restart is needed for; it is called when somebody asks, and
    /// must not wait.
    pub fn add_notice(&self, notice: impl Fn() -> Option<String> + Send + Sync + 'static) {
        lock(&self.inner.notices).push(Box::new(notice));
    }

    fn notices(&self) -> Vec<String> {
        lock(&self.inner.notices).iter().filter_map(|notice| notice()).collect()
    }

    /// From now on `watch` decides whether the service is alive.
    pub fn add_watch(&self, watch: Watch) -> WatchKey {
        let mut watches = lock(&self.inner.watches);
        watches.last += 1;
        let key = WatchKey(watches.last);
        watches.all.insert(key, watch);
        key
    }

    /// From now on it does not.
    pub fn remove_watch(&self, key: WatchKey) {
        let removed = lock(&self.inner.watches).all.remove(&key);
        // What it holds may take time to end: not under the lock.
        drop(removed);
    }

    /// Everything has started; no effect once the service was told to stop.
    pub fn ready(&self) {
        let mut readiness = lock(&self.inner.readiness);
        if *readiness == Readiness::Starting {
            *readiness = Readiness::Ready;
        }
    }

    /// The service was told to stop.
    pub fn stopping(&self) {
        *lock(&self.inner.readiness) = Readiness::Stopping;
    }

    /// Whether the service takes part.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        *lock(&self.inner.readiness)
    }

    /// The cameras as they stand now.
    #[must_use]
    pub fn snapshot(&self) -> Vec<CameraRow> {
        self.snapshot_at(Instant::now())
    }

    fn snapshot_at(&self, now: Instant) -> Vec<CameraRow> {
        let cameras = lock(&self.inner.cameras).clone();
        cameras.iter().map(|camera| camera.row_at(now)).collect()
    }

    /// The sinks as they stand now.
    #[must_use]
    pub fn sinks(&self) -> Vec<SinkRow> {
        let read = lock(&self.inner.sinks).clone();
        read.map(|read| read()).unwrap_or_default()
    }

    /// The loaded models.
    #[must_use]
    pub fn models(&self) -> Vec<ModelRow> {
        lock(&self.inner.models).clone()
    }

    /// The newest events, oldest first, at most [`EVENTS_KEPT`].
    #[must_use]
    pub fn events(&self) -> Vec<Arc<Event>> {
        self.inner.feed.follow(None).0
    }

    /// The kept events after the one with id `after` (all of them where it is not kept), and those to come:
    /// together neither a gap nor a repeat. A receiver that lags should follow anew.
    #[must_use]
    pub fn follow(&self, after: Option<&str>) -> (Vec<Arc<Event>>, broadcast::Receiver<Arc<Event>>) {
        self.inner.feed.follow(after)
    }

    /// Whether the service is well, and if not, why. A thread that ends while the service stops is no fault.
    #[must_use]
    pub fn health(&self) -> Health {
        self.health_at(Instant::now())
    }

    fn health_at(&self, now: Instant) -> Health {
        let watches = lock(&self.inner.watches);
        let stopping = self.readiness() == Readiness::Stopping;
        let watched = watches.all.values().filter(|_| !stopping);
        let fault = lock(&self.inner.config_fault);
        let fault = fault.as_ref().map(|(since, why)| about_config(why, now.duration_since(*since)));
        let cameras = self.snapshot_at(now);
        let lags = cameras.iter().filter_map(about_lag);
        let losses = lock(&self.inner.losses).reasons(&cameras);
        let health = Health::of(watched, &cameras, &self.sinks(), now).and(fault);
        let loading = self.loading_reasons(now).into_iter().chain(self.notices());
        let degraded = loading.chain(lags).chain(losses);
        let health = degraded.fold(health, |health, reason| health.and(Some(reason)));
        health.failed(self.failed_loads(now).into_iter().filter(|_| !stopping).collect())
    }

    /// Finds the causes of lost frames that began and ended since it was last called.
    pub(crate) fn judge_losses(&self, at: Instant) -> Vec<LossChange> {
        let cameras = lock(&self.inner.cameras).clone();
        cameras.iter().for_each(|camera| camera.judge_footage(at));
        let rows = self.snapshot_at(at);
        lock(&self.inner.losses).judge(&rows)
    }

    /// When the service started, since the Unix epoch.
    #[must_use]
    pub fn started_epoch(&self) -> Duration {
        self.inner.started_epoch
    }

    /// How long the service has run.
    #[must_use]
    pub fn uptime(&self) -> Duration {
        self.inner.started.elapsed()
    }
}

/// How many events are kept for those who come late.
pub const EVENTS_KEPT: usize = feed::KEPT;

/// A lock whose holder never panics between two writes that belong together.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// In whole milliseconds, rounded down.
pub(crate) fn whole_ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_camera_has_one_place_and_the_order_of_making_holds() {
        let board = StatusBoard::new();
        let gate = board.add_camera(&CameraId::new("gate"), "gate-stream");
        board.add_camera(&CameraId::new("alley"), "alley-stream");
        gate.frame_read();
        board.add_camera(&CameraId::new("gate"), "gate-stream").frame_read();
        let rows = board.snapshot();
        assert_eq!(rows.iter().map(|row| row.id.as_str()).collect::<Vec<_>>(), ["gate", "alley"]);
        assert_eq!(rows[0].frames.read, 2);
        assert!(board.camera("nobody").is_none());
    }

    #[test]
    fn who_was_told_to_stop_never_becomes_ready() {
        let board = StatusBoard::new();
        assert_eq!(board.readiness(), Readiness::Starting);
        board.ready();
        assert_eq!(board.readiness(), Readiness::Ready);
        board.stopping();
        board.ready();
        assert_eq!(board.readiness(), Readiness::Stopping);
    }
}
