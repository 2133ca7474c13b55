//! The models of the service: fetched where they are remote, loaded once each, shared by all cameras.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::ServiceError;
use crate::camera::{EntryModels, EntryOcr};
use crate::config::{CameraSpec, PipelineEntry};
use crate::detect::ocr::TextReader;
use crate::detect::{DetectError, Detector, Device, ModelSpec, Purpose, Sessions, usual_threads};
use crate::media::ModelId;
use crate::remote::{FetchProgress, ModelFetcher};
use crate::status::{LoadThread, ModelRow, StatusBoard, Watch, WatchKey};
use crate::telemetry::service::{AbandonedLoadEnded, LoadAbandoned, StopTimedOut};

/// The time after which an inference counts as stuck.
const STUCK_INFERENCE: Duration = Duration::from_secs(60);

/// The time to wait for the end of a model that is no longer used.
const END_LIMIT: Duration = Duration::from_secs(10);

/// A model and its purpose: one file may be used for both purposes.
type ModelUse = (Purpose, Arc<ModelSpec>);

/// The loaded models.
pub(crate) struct ModelSet {
    source: ModelFetcher,
    device: Device,
    board: StatusBoard,
    speed: ModelSpeed,
    running: HashMap<ModelUse, RunningModel>,
}

/// The purpose for which the cores are shared among inferences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ModelSpeed {
    /// The shortest time per inference: one session with all cores.
    Latency,
    /// The most inferences per second: several sessions with few threads each.
    Throughput,
}

/// Models that are loaded and not in the set yet.
pub(super) type LoadedModels = Vec<(ModelUse, LoadedModel)>;

struct RunningModel {
    model: LoadedModel,
    watch: WatchKey,
}

/// A loaded model, by purpose.
pub(super) enum LoadedModel {
    Detector(Detector),
    TextReader(TextReader),
}

impl ModelSet {
    /// Returns an empty set, whose models have the shortest time per inference.
    pub(super) fn new(source: ModelFetcher, device: Device, board: StatusBoard) -> Self {
        Self { source, device, board, speed: ModelSpeed::Latency, running: HashMap::new() }
    }

    /// Returns the set with another purpose for the models that are loaded from now on.
    pub(super) fn with_speed(self, speed: ModelSpeed) -> Self {
        Self { speed, ..self }
    }

    /// Returns the number of sessions with which a detector is loaded, and their threads; `threads`: its share of the cores.
    fn sessions(&self, spec: &ModelSpec, threads: usize) -> Sessions {
        match self.speed {
            ModelSpeed::Latency => Sessions::one(threads),
            ModelSpeed::Throughput => Sessions::for_throughput(threads, spec.threads),
        }
    }

    /// Fetches and loads the models that the cameras name and that are not in the set, and returns them. The set stays as it is.
    ///
    /// # Errors
    /// A model cannot be fetched or loaded.
    pub(super) async fn load(&self, cameras: &[CameraSpec]) -> Result<LoadedModels, ServiceError> {
        let mut wanted = model_uses(cameras);
        // The models share the cores, so their number is known before the first one loads.
        let threads = usual_threads(wanted.len());
        wanted.retain(|wanted| !self.running.contains_key(wanted));
        let files = try_join_all(wanted.iter().map(|(_, spec)| self.fetch(spec))).await?;
        let mut loaded = Vec::new();
        for (wanted, file) in wanted.into_iter().zip(files) {
            let sessions = self.sessions(&file, threads);
            let model = LoadedModel::load(wanted.0, file, self.device, sessions, &self.board).await?;
            loaded.push((wanted, model));
        }
        Ok(loaded)
    }

    async fn fetch(&self, spec: &ModelSpec) -> Result<ModelSpec, ServiceError> {
        let shown = self.board.show_loading(&spec.name, "is being looked up in the cache");
        let on_progress = |progress: FetchProgress<'_>| shown.step(progress.to_string());
        let file = self.source.local(spec, &on_progress).await;
        file.map_err(|error| ServiceError::Fetch(Box::new(error)))
    }

    /// Adds loaded models to the set.
    pub(super) fn adopt(&mut self, loaded: LoadedModels) {
        for (model_use, model) in loaded {
            let watch = self.board.add_watch(model.watch());
            model.report_loss_to(self.board.clone());
            self.running.insert(model_use, RunningModel { model, watch });
        }
        self.show();
    }

    /// Removes the models that no camera names. Each ends with the last camera that still uses it.
    pub(super) async fn keep(&mut self, cameras: &[CameraSpec]) {
        let wanted = model_uses(cameras);
        let unused: Vec<RunningModel> = self
            .running
            .extract_if(|model_use, _| !wanted.contains(model_use))
            .map(|(_, running)| running)
            .collect();
        unused.iter().for_each(|running| self.board.remove_watch(running.watch));
        self.show();
        // Dropping a model waits for its current inference, which may be stuck.
        let ending = tokio::task::spawn_blocking(move || drop(unused));
        if timeout(END_LIMIT, ending).await.is_err() {
            StopTimedOut { part: "a model that is no longer used" }.emit();
        }
    }

    /// Returns the rules of each of the camera's entries with its models, in the order of the entries.
    pub(crate) fn entries_of(&self, camera: &CameraSpec) -> Vec<EntryModels> {
        camera.pipeline.iter().filter_map(|entry| self.entry(entry)).collect()
    }

    fn entry(&self, entry: &PipelineEntry) -> Option<EntryModels> {
        let detector = self.get(&entry.model)?.clone();
        let reading = match &entry.ocr {
            None => None,
            Some(reading) => {
                let model_use = (Purpose::Read, Arc::clone(&reading.model));
                let LoadedModel::TextReader(reader) = &self.running.get(&model_use)?.model else {
                    return None;
                };
                Some(EntryOcr { reader: reader.clone(), crop_expand: reading.crop_expand })
            }
        };
        Some(EntryModels { rules: entry.rules.clone(), detector, ocr: reading })
    }

    /// Returns the detector of a model, if it is in the set.
    pub(super) fn get(&self, spec: &Arc<ModelSpec>) -> Option<&Detector> {
        self.running.get(&(Purpose::Find, Arc::clone(spec)))?.model.detector()
    }

    /// Stops all models; blocks until their threads have ended.
    pub(crate) fn stop(&self) {
        self.running.values().for_each(|running| running.model.stop());
    }

    /// Returns the facts about each loaded detection model, by name.
    pub(crate) fn detector_ids(&self) -> Vec<ModelId> {
        let detectors = self.running.values().filter_map(|running| running.model.detector());
        let mut ids: Vec<ModelId> = detectors.map(|detector| detector.info().id.clone()).collect();
        ids.sort_by(|a, b| (&a.name, &a.sha256).cmp(&(&b.name, &b.sha256)));
        ids
    }

    fn show(&self) {
        let mut rows: Vec<ModelRow> = self.running.values().map(|running| running.model.row()).collect();
        // The order of a hash map changes from run to run.
        rows.sort_by(|a, b| a.name.cmp(&b.name));
        self.board.set_models(rows);
    }
}

/// Returns each model once, in the order in which the cameras name them.
fn model_uses(cameras: &[CameraSpec]) -> Vec<ModelUse> {
    let mut all = Vec::new();
    for (purpose, spec) in cameras.iter().flat_map(CameraSpec::models) {
        let model_use = (purpose, Arc::clone(spec));
        if !all.contains(&model_use) {
            all.push(model_use);
        }
    }
    all
}

impl LoadedModel {
    /// Loads a model on a thread of its own, `load-MODEL`. Dropping the future abandons the load: its thread runs on, since ONNX Runtime
    /// cannot be interrupted, and the model is dropped at its end.
    async fn load(
        purpose: Purpose,
        spec: ModelSpec,
        device: Device,
        sessions: Sessions,
        board: &StatusBoard,
    ) -> Result<Self, ServiceError> {
        let _shown = board.show_loading(&spec.name, "is being loaded");
        let load = LoadWaiter(board.add_load_thread(&spec.name));
        let thread = LoadEnd(Arc::clone(&load.0));
        // A thread instead of the blocking pool: the pool would wait for it at the end of the process.
        let (answer, loaded) = oneshot::channel();
        let model = spec.name.clone();
        let run = move || {
            let model = Self::open(purpose, &spec, device, sessions);
            drop(thread);
            // The receiver is gone where the load was abandoned: the model is dropped here.
            drop(answer.send(model));
        };
        let spawned = std::thread::Builder::new().name(format!("load-{model}")).spawn(run);
        spawned.map_err(|why| DetectError::Thread { model, reason: why.to_string() })?;
        Ok(loaded.await.map_err(|_panicked| ServiceError::Loading)??)
    }

    fn open(
        purpose: Purpose,
        spec: &ModelSpec,
        device: Device,
        sessions: Sessions,
    ) -> Result<Self, DetectError> {
        Ok(match purpose {
            Purpose::Find => Self::Detector(Detector::start_sessions(spec, device, sessions)?),
            // A plate is read in a fraction of the time that it takes to find it.
            Purpose::Read => Self::TextReader(TextReader::start(spec, device, sessions.threads)?),
        })
    }

    /// Returns the detector, unless it is a text reader.
    pub(super) fn detector(&self) -> Option<&Detector> {
        match self {
            Self::Detector(detector) => Some(detector),
            Self::TextReader(_) => None,
        }
    }

    fn stop(&self) {
        match self {
            Self::Detector(detector) => detector.stop(),
            Self::TextReader(reader) => reader.stop(),
        }
    }

    /// Has the board fail when the GPU of the model is lost.
    fn report_loss_to(&self, board: StatusBoard) {
        let fail = move |reason: String| {
            board.fail(format!(
                "{reason}; the service stops and ends with exit code 70, and what is not delivered by then stays in the outbox"
            ));
        };
        match self {
            Self::Detector(detector) => detector.on_device_lost(fail),
            Self::TextReader(reader) => reader.on_device_lost(fail),
        }
    }

    fn row(&self) -> ModelRow {
        match self {
            Self::Detector(detector) => row(detector),
            Self::TextReader(reader) => row_of_reader(reader),
        }
    }

    fn watch(&self) -> Watch {
        match self {
            Self::Detector(detector) => {
                let (alive, busy) = (detector.clone(), detector.clone());
                let name = format!("detect-{}", detector.info().id.name);
                inference_watch(name, move || alive.is_alive(), move || busy.busy_since())
            }
            Self::TextReader(reader) => {
                let (alive, busy) = (reader.clone(), reader.clone());
                let name = format!("ocr-{}", reader.info().id.name);
                inference_watch(name, move || alive.is_alive(), move || busy.busy_since())
            }
        }
    }
}

/// Returns the watch of an inference thread; the functions are those of [`Watch`].
fn inference_watch(
    name: String,
    alive: impl Fn() -> bool + Send + Sync + 'static,
    busy_since: impl Fn() -> Option<Instant> + Send + Sync + 'static,
) -> Watch {
    Watch { name, alive: Box::new(alive), busy_since: Box::new(busy_since), limit: STUCK_INFERENCE }
}

/// A guard of the caller that waits for a load: its drop abandons the load, unless it has ended.
struct LoadWaiter(Arc<LoadThread>);

impl Drop for LoadWaiter {
    fn drop(&mut self) {
        if self.0.abandon() {
            LoadAbandoned { model: &self.0.model, after: self.0.age() }.emit();
        }
    }
}

/// A guard of the thread of a load: its drop, also by a panic, marks the load as ended.
struct LoadEnd(Arc<LoadThread>);

impl Drop for LoadEnd {
    fn drop(&mut self) {
        if self.0.end() {
            AbandonedLoadEnded { model: &self.0.model, after: self.0.age() }.emit();
        }
    }
}

fn row(detector: &Detector) -> ModelRow {
    let info = detector.info();
    ModelRow {
        name: info.id.name.clone(),
        layout: info.layout.to_string(),
        device: info.device.to_string(),
        nodes: info.nodes.as_ref().map(ToString::to_string),
        engine: info.engine.to_string(),
        engine_note: info.engine.note.clone(),
        input_px: info.input.side_px(),
        classes: info.classes.len(),
        warm_up_ms: info.warmup_ms.round() as u64,
        fell_back: info.fallback.is_some(),
    }
}

fn row_of_reader(reader: &TextReader) -> ModelRow {
    let info = reader.info();
    ModelRow {
        name: info.id.name.clone(),
        layout: "ctc".to_owned(),
        device: info.device.to_string(),
        nodes: info.nodes.as_ref().map(ToString::to_string),
        engine: info.engine.to_string(),
        engine_note: info.engine.note.clone(),
        input_px: (info.input.usual_width_px(), info.input.height_px),
        classes: info.characters,
        warm_up_ms: info.warmup_ms.round() as u64,
        fell_back: info.fallback.is_some(),
    }
}
