//! The service: all cameras and their shared resources, with the order of start and stop and the deadline of the stop.
//!
//! Start: HTTP (`/readyz` answers "starting") -> models -> outbox -> cameras -> ready.
//! Stop: /readyz 503 -> sources stop -> queues drain -> sinks flush -> models -> HTTP, within [`STOP_LIMIT`].

mod camera_devices;
mod cameras;
mod clips;
mod gpu_loss;
mod gpu_retry;
pub(crate) mod live_check;
mod loaded_model;
mod model_rows;
mod models;
mod pool;
mod pool_view;
mod reload;
mod running_cameras;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_config::SdkConfig;
use futures_util::future::join_all;
use kvs_config::closest;
use metrics_exporter_prometheus::PrometheusHandle;
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use cameras::{Fleet, Starter};
use clips::{clip_library, find_incident};
use gpu_loss::report_gpu_loss;
use live_check::SelfCheck;
pub(crate) use models::{ModelSet, ModelSpeed};
use pool::MAX_REQUESTS;
use pool_view::PoolWatch;
pub use reload::{Changes, PreparedReload, ReloadError};
use running_cameras::{CameraHost, RunningCameras};

use crate::aws::has_own_s3;
use crate::camera::{AnalysisPace, CameraError, CameraResources};
use crate::clips::ClipLibrary;
use crate::config::{CameraSpec, RunningShapes, Settings};
use crate::decode::GpuDecoders;
use crate::delivery::{
    Clients, EventOutbox, OutboxSpec, ResumeError, StartError, StateSpec, UndeliveredRecords,
};
use crate::detect::{DetectError, Detector, Device, DeviceChoice, ModelInfo, ModelSpec, proved_context};
use crate::history::{HistorySpec, IncidentHistory, StoredClips};
use crate::http::{AccessToken, ClipSources, Encode, HttpError, HttpServer, HttpSpec};
use crate::media::CameraId;
use crate::remote::{FetchError, ModelFetcher};
use crate::render::{self, SnapshotFormat, SnapshotSpec};
use crate::source::Kvs;
use crate::status::StatusBoard;
use crate::telemetry::service::{ConfigAdvice, ServiceReady, ServiceStopped, ServiceStopping, StopTimedOut};
use crate::telemetry::{Emf, GpuFaultWatch, Gpus};

/// The deadline of a stop: ECS kills the process 30 s after SIGTERM.
pub const STOP_LIMIT: Duration = Duration::from_secs(25);
/// The time for the frames that were read to be inferred and decided.
const DRAIN_LIMIT: Duration = Duration::from_secs(8);
/// The part of [`STOP_LIMIT`] that is reserved for the models and HTTP, after the sinks.
const STOP_TAIL: Duration = Duration::from_secs(5);
/// The time in which NVIDIA's driver counts its GPUs: on a host with many it takes seconds to start.
const COUNT_LIMIT: Duration = Duration::from_secs(60);
/// The timeout of each part that is stopped after the sinks.
const PART_LIMIT: Duration = Duration::from_secs(1);

/// The inputs of a service.
pub struct ServiceSpec {
    /// The validated configuration.
    pub settings: Settings,
    /// Credentials, region and endpoints.
    pub aws: SdkConfig,
    /// The cache that fetches remote models.
    pub models: ModelFetcher,
    /// The address that HTTP listens on; port 0 takes a free one.
    pub http: SocketAddr,
    /// The bearer token of the page, `HTTP_TOKEN`.
    pub token: Option<AccessToken>,
    /// The recorder that renders `/metrics`.
    pub prometheus: PrometheusHandle,
    /// The folder of the outbox if the settings name none.
    pub state_dir: PathBuf,
    /// The dead-letter file, for records that no sink can ever accept; `None`: `dead-letter.jsonl` in the outbox's folder.
    pub dead_letter: Option<PathBuf>,
}

/// An error of starting the service.
#[derive(Debug, Error)]
pub enum ServiceError {
    /// The HTTP server cannot start.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// A remote model cannot be fetched.
    #[error(transparent)]
    Fetch(Box<FetchError>),
    /// A model cannot be loaded.
    #[error(transparent)]
    Detect(#[from] DetectError),
    /// A model does not work on one of several GPUs.
    #[error("GPU cuda:{gpu}: {error}; to do without this GPU, name the others in CUDA_VISIBLE_DEVICES")]
    Gpu {
        /// The index of the GPU.
        gpu: u32,
        /// The error, which does not name it.
        error: DetectError,
    },
    /// The GPU that `decode: cuda` asks for cannot decode.
    #[error(
        "decode: cuda does not work: {reason}; fix that, or write `decode: auto` to decode on the CPU meanwhile"
    )]
    Decode {
        /// The reason.
        reason: String,
    },
    /// The outbox or a sink cannot start.
    #[error(transparent)]
    Publish(#[from] StartError),
    /// A camera cannot start.
    #[error(transparent)]
    Camera(#[from] CameraError),
    /// The position at which a camera resumes cannot be determined.
    #[error(transparent)]
    Resume(#[from] ResumeError),
    /// The thread that loads a model panicked.
    #[error("loading the models failed with a panic; report this bug of kvs-infer")]
    Loading,
}

/// A running service.
pub struct Service {
    board: StatusBoard,
    http: HttpServer,
    settings: Settings,
    aws: SdkConfig,
    state: StateSpec,
    models: ModelSet,
    outbox: Arc<EventOutbox>,
    cameras: RunningCameras,
    pool_watch: Option<PoolWatch>,
    history: Option<IncidentHistory>,
    shapes: RunningShapes,
    clips: Arc<ClipLibrary>,
    self_check: SelfCheck,
    emf: Option<JoinHandle<()>>,
    /// Ends its thread when it is dropped.
    _gpu_faults: GpuFaultWatch,
    stop: CancellationToken,
}

impl Service {
    /// Starts everything and returns once the service is ready.
    ///
    /// # Errors
    /// A part cannot start; the parts that were started before it are stopped.
    pub async fn start(spec: ServiceSpec) -> Result<Self, ServiceError> {
        let board = StatusBoard::new();
        let settings = spec.settings;
        let (state, stop) = (settings.state.clone().or_in(spec.state_dir), CancellationToken::new());
        let shown = HttpParts::new(&settings, &spec.aws, &state, &board, &stop);
        let http = HttpServer::start(shown.spec(spec.http, spec.token, spec.prometheus, &board))?;
        let HttpParts { pool_watch, history, shapes, clips, self_check } = shown;
        board.set_load_limit(settings.model_load);
        settings.advice().iter().for_each(|text| ConfigAdvice { text }.emit());
        // Models before cameras: a class that no model has is an error of the configuration, found before any footage is read.
        let models = load_models(spec.models, &settings, &board, ModelSpeed::Latency).await?;
        let gpus = open_gpus(&settings, &models, &board).await?;
        let mut outbox = outbox_spec(&settings, &spec.aws, state.clone(), spec.dead_letter);
        let (sender, requests) = mpsc::channel(MAX_REQUESTS);
        outbox.sharing = settings.sharing.as_ref().map(|_| sender);
        let outbox = open_outbox(outbox, &board).await?;
        let shared = shared(&settings, &spec.aws, &outbox, gpus, &stop);
        let fleet = Fleet::new(Starter { shared, board: board.clone() });
        let emf = emf(&settings, &board, &stop);
        let host = CameraHost {
            settings: &settings,
            aws: &spec.aws,
            models: &models,
            outbox: &outbox,
            board: &board,
            requests,
        };
        let (cameras, started) = host.start(fleet).await;
        let service = Self {
            board,
            http,
            settings,
            aws: spec.aws,
            state,
            models,
            outbox,
            cameras,
            pool_watch,
            history,
            shapes,
            clips: clips.library,
            self_check,
            emf,
            _gpu_faults: GpuFaultWatch::start(),
            stop,
        };
        if let Err(error) = started {
            service.stop().await;
            return Err(error);
        }
        // A worker of a pool is ready once it has joined.
        if service.settings.sharing.is_none() {
            service.board.ready();
        }
        ServiceReady { cameras: service.settings.cameras.len(), http: service.http.local_addr() }.emit();
        Ok(service)
    }

    /// Returns the status board of the service.
    #[must_use]
    pub fn board(&self) -> &StatusBoard {
        &self.board
    }

    /// Returns the address that HTTP listens on.
    #[must_use]
    pub fn http_addr(&self) -> SocketAddr {
        self.http.local_addr()
    }

    /// Stops everything in order and returns the events that the sinks had not delivered in time. A part that does not end in time is
    /// logged and left running.
    pub async fn stop(self) -> Vec<UndeliveredRecords> {
        let begun = Instant::now();
        ServiceStopping.emit();
        // First of all: a load balancer must stop sending requests before anything ends.
        self.board.stopping();
        // Before the cameras end: other workers take them over one by one, and each is in view meanwhile.
        let fleet = self.cameras.hand_over().await;
        self.stop.cancel();
        let mut draining = pin!(async { join_all(fleet.map(Fleet::stopped)).await });
        let drained = timeout(DRAIN_LIMIT, &mut draining).await;
        // The sinks get the time that draining has not used.
        let left = STOP_LIMIT.saturating_sub(begun.elapsed()).saturating_sub(STOP_TAIL);
        let remains = self.outbox.flush(left).await;
        // A camera that did not drain may still end now that the outbox accepts nothing more.
        if drained.is_err() {
            await_end("a camera", draining).await;
        }
        if let Some(emf) = self.emf {
            await_end("the metrics for CloudWatch", emf).await;
        }
        // Stopping a model joins its thread, which blocks.
        await_end("a clip", self.clips.stop()).await;
        let models = self.models;
        await_end("a model", tokio::task::spawn_blocking(move || models.stop())).await;
        self.http.stop();
        ServiceStopped { duration: begun.elapsed() }.emit();
        remains
    }
}

/// The parts of the service that HTTP reads beside the board.
struct HttpParts {
    pool_watch: Option<PoolWatch>,
    history: Option<IncidentHistory>,
    shapes: RunningShapes,
    clips: ClipSources,
    self_check: SelfCheck,
}

impl HttpParts {
    fn new(
        settings: &Settings,
        aws: &SdkConfig,
        state: &StateSpec,
        board: &StatusBoard,
        stop: &CancellationToken,
    ) -> Self {
        let clients = Clients::new(aws, has_own_s3(aws));
        let history = history(settings, &clients);
        let incidents = find_incident(history.clone(), board);
        Self {
            pool_watch: PoolWatch::new(settings, aws),
            history,
            shapes: RunningShapes::new(&settings.shapes),
            clips: ClipSources {
                library: clip_library(settings, aws, &state.dir, incidents),
                stored: StoredClips::new(&settings.publish, &clients, Handle::current()),
            },
            self_check: SelfCheck::new(settings, aws, state.clone(), stop),
        }
    }

    fn spec(
        &self,
        addr: SocketAddr,
        token: Option<AccessToken>,
        prometheus: PrometheusHandle,
        board: &StatusBoard,
    ) -> HttpSpec {
        HttpSpec {
            addr,
            token,
            board: board.clone(),
            prometheus,
            encode: live_picture(),
            pool: self.pool_watch.as_ref().map(PoolWatch::read),
            history: self.history.clone(),
            shapes: self.shapes.clone(),
            clips: Some(self.clips.clone()),
            probes: Some(self.self_check.run()),
        }
    }
}

/// Returns the incidents of the past, which HTTP reads.
fn history(settings: &Settings, clients: &Clients) -> Option<IncidentHistory> {
    IncidentHistory::new(HistorySpec {
        publish: &settings.publish,
        is_shared: settings.sharing.is_some(),
        cameras: camera_ids(&settings.cameras),
        clients,
        runtime: Handle::current(),
    })
}

fn camera_ids(cameras: &[CameraSpec]) -> Vec<String> {
    cameras.iter().map(|camera| camera.id.to_string()).collect()
}

/// Loads the models of all cameras, and checks the classes that their rules name.
///
/// # Errors
/// A model cannot be fetched or loaded, or does not know a class.
pub(crate) async fn load_models(
    source: ModelFetcher,
    settings: &Settings,
    board: &StatusBoard,
    speed: ModelSpeed,
) -> Result<ModelSet, ServiceError> {
    let devices = model_devices(settings.device).await;
    // A replay runs all cameras itself.
    let is_shared = settings.sharing.is_some() && speed == ModelSpeed::Latency;
    let mut models = ModelSet::new(source, devices, is_shared, board.clone()).with_speed(speed);
    models.adopt(models.load(&settings.cameras).await?);
    for camera in &settings.cameras {
        check_camera(camera, |spec| models.get(spec))?;
    }
    Ok(models)
}

/// Returns the devices of this host that models may run on.
pub(crate) async fn model_devices(choice: DeviceChoice) -> Vec<Device> {
    if matches!(choice, DeviceChoice::Cpu | DeviceChoice::Gpu(_)) {
        return choice.on_this_host();
    }
    // A thread instead of the blocking pool: the process would wait at its end for a driver that hangs.
    let (answer, devices) = oneshot::channel();
    let count = move || drop(answer.send(choice.on_this_host()));
    let spawned = std::thread::Builder::new().name("count-gpus".to_owned()).spawn(count);
    match spawned {
        // A driver that hangs is met again by the load of a model, which is shown.
        Ok(_detached) => match timeout(COUNT_LIMIT, devices).await {
            Ok(Ok(devices)) => devices,
            Ok(Err(_)) | Err(_) => choice.devices(1),
        },
        Err(_no_thread) => choice.devices(1),
    }
}

/// Returns the GPUs that may decode; with `decode: cuda` those of the cameras are opened.
///
/// # Errors
/// [`ServiceError::Decode`] if one cannot decode.
async fn open_gpus(
    settings: &Settings,
    models: &ModelSet,
    board: &StatusBoard,
) -> Result<GpuDecoders, ServiceError> {
    let board = board.clone();
    let failing = board.clone();
    let on_loss = move |reason: String| report_gpu_loss(&failing, &reason);
    let gpus = GpuDecoders::new(settings.decode, proved_context, on_loss);
    let shown = gpus.clone();
    board.add_notice(move || shown.fault());
    let of_cameras = settings.cameras.iter().flat_map(|camera| models.models_of(camera));
    let of_cameras: BTreeSet<u32> = of_cameras.map(|on| on.device.gpu().unwrap_or_default()).collect();
    let opening = gpus.clone();
    // The driver may take a second to initialize.
    let open = move || {
        let several = of_cameras.len() > 1;
        let named = |gpu, reason| if several { format!("cuda:{gpu}: {reason}") } else { reason };
        of_cameras.iter().try_for_each(|gpu| opening.open(Some(*gpu)).map_err(|reason| named(gpu, reason)))
    };
    let opened = tokio::task::spawn_blocking(open).await;
    match opened {
        Ok(Err(reason)) => Err(ServiceError::Decode { reason }),
        // The panic hook has reported a panic; cameras are decoded on the CPU then.
        Ok(Ok(())) | Err(_) => Ok(gpus),
    }
}

/// Waits for the end of a part that was asked to stop. One that does not end in time is logged and left running.
async fn await_end(part: &'static str, ending: impl Future) {
    if timeout(PART_LIMIT, ending).await.is_err() {
        StopTimedOut { part }.emit();
    }
}

/// Starts the task that writes the metrics for CloudWatch until `stop`, where the settings ask for them.
fn emf(settings: &Settings, board: &StatusBoard, stop: &CancellationToken) -> Option<JoinHandle<()>> {
    let service = settings.emf_service.clone()?;
    let emf = Emf { service, board: board.clone(), gpus: Gpus::open() };
    Some(tokio::spawn(emf.run(stop.clone())))
}

fn shared(
    settings: &Settings,
    aws: &SdkConfig,
    outbox: &Arc<EventOutbox>,
    gpus: GpuDecoders,
    stop: &CancellationToken,
) -> CameraResources {
    CameraResources {
        kvs: Kvs::new(aws),
        outbox: Arc::clone(outbox),
        reconnect_delay: settings.reconnect_delay,
        hls_session: settings.hls_session,
        max_behind: settings.max_behind,
        stop: stop.clone(),
        halt: CancellationToken::new(),
        epoch: None,
        pace: AnalysisPace::Committed,
        gpus,
    }
}

/// Checks the classes of the camera's rules: with a class that its model does not know, it would never raise an alarm.
fn check_camera<'m>(
    camera: &CameraSpec,
    model: impl Fn(&Arc<ModelSpec>) -> Option<&'m Detector>,
) -> Result<(), ServiceError> {
    for entry in &camera.pipeline {
        if let Some((wanted, detector)) = entry.rules.classes.as_ref().zip(model(&entry.model)) {
            check_classes(&camera.id, wanted, &detector.info())?;
        }
    }
    Ok(())
}

/// Checks that the model knows each class that the camera's rules name.
///
/// # Errors
/// [`DetectError::NoSuchClass`] for the first unknown one.
pub(crate) fn check_classes(
    camera: &CameraId,
    wanted: &[Arc<str>],
    model: &ModelInfo,
) -> Result<(), DetectError> {
    let known: Vec<&str> = model.classes.iter().map(|class| &**class).collect();
    let Some(class) = wanted.iter().find(|class| !known.contains(&&***class)) else { return Ok(()) };
    // A typo is the usual cause; otherwise the list shows what the model can find.
    let hint = match closest(class, &known) {
        Some(close) => format!("did you mean {close:?}?"),
        None => format!("its classes are {}", known.join(", ")),
    };
    let (camera, model) = (camera.clone(), model.id.name.clone());
    Err(DetectError::NoSuchClass { camera, model, class: class.to_string(), hint })
}

/// Returns the specification of the outbox that the settings ask for. Nothing is opened or called yet.
pub(crate) fn outbox_spec(
    settings: &Settings,
    aws: &SdkConfig,
    state: StateSpec,
    dead_letter: Option<PathBuf>,
) -> OutboxSpec {
    let routes = settings.cameras.iter().map(|camera| Arc::new(camera.route.clone())).collect();
    let sinks = settings.publish.sinks(routes);
    let dead_letter = dead_letter.unwrap_or_else(|| state.dir.join("dead-letter.jsonl"));
    let clients = Some(Clients::new(aws, has_own_s3(aws)));
    OutboxSpec { sinks, state, dead_letter, clients, sharing: None }
}

async fn open_outbox(spec: OutboxSpec, board: &StatusBoard) -> Result<Arc<EventOutbox>, ServiceError> {
    let outbox = Arc::new(EventOutbox::start(spec).await?);
    // Weak: the board outlives the outbox, whose tasks end when it is dropped.
    let shown = Arc::downgrade(&outbox);
    for watch in outbox.watches() {
        board.add_watch(watch);
    }
    if let Some(damaged) = outbox.damaged().cloned() {
        board.add_notice(move || damaged.reason());
    }
    board.set_sinks(move || shown.upgrade().map_or_else(Vec::new, |outbox| outbox.statuses()));
    Ok(outbox)
}

/// Returns the function that draws the boxes on a live picture and encodes it.
fn live_picture() -> Encode {
    let spec = SnapshotSpec { format: SnapshotFormat::Jpg, jpeg_quality: 80 };
    Arc::new(move |frame, labels, width_px| {
        let drawn = render::annotate(&frame.surface, labels, width_px)?;
        Ok(render::encode(&drawn, spec)?.into())
    })
}

#[cfg(test)]
mod tests {
    use aws_config::BehaviorVersion;

    use super::*;
    use crate::config::{DecodeDevice, LogLevel, ModelFiles, StateSettings};
    use crate::sinks::PublishSpec;
    use crate::status::HealthStatus;

    fn settings(folder: PathBuf) -> Settings {
        let publish = PublishSpec { local_dir: Some(folder), ..PublishSpec::default() };
        Settings {
            region: None,
            publish,
            state: StateSettings { dir: None, max_bytes: 1 << 20, ddb_table: None },
            sharing: None,
            version: None,
            reconnect_delay: Duration::ZERO,
            hls_session: Duration::ZERO,
            max_behind: Duration::ZERO,
            model_load: Duration::ZERO,
            device: DeviceChoice::Cpu,
            decode: DecodeDevice::Cpu,
            log_level: LogLevel::default(),
            log_format: None,
            emf_service: None,
            cameras: Vec::new(),
            shapes: Arc::default(),
            files: ModelFiles::default(),
        }
    }

    #[tokio::test]
    async fn a_sink_that_ends_while_the_service_runs_is_a_failure() {
        let (folder, board) = (tempfile::tempdir().unwrap(), StatusBoard::new());
        let settings = settings(folder.path().to_owned());
        let aws = SdkConfig::builder().behavior_version(BehaviorVersion::latest()).build();
        let state = settings.state.clone().or_in(folder.path().join("state"));
        let outbox = open_outbox(outbox_spec(&settings, &aws, state, None), &board).await.unwrap();
        assert_eq!(board.health().status, HealthStatus::Ok);
        outbox.flush(Duration::ZERO).await;
        let health = board.health();
        assert_eq!(
            (health.status, health.reasons),
            (HealthStatus::Failed, vec!["thread publish-local has ended".into()])
        );
    }
}
