//! The models of the service: fetched where they are remote, loaded once each, shared by all cameras.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use tokio::time::timeout;

use super::ServiceError;
use super::gpu_retry::{GpuRetry, RetryTurn};
use super::loaded_model::LoadedModel;
use super::model_rows::{ModelRows, ShownModel};
use crate::camera::{EntryModels, EntryOcr};
use crate::config::{CameraSpec, PipelineEntry};
use crate::detect::{Detector, Device, ModelSpec, Purpose, Sessions, usual_threads};
use crate::media::ModelId;
use crate::remote::{FetchProgress, ModelFetcher};
use crate::status::{StatusBoard, WatchKey};
use crate::telemetry::service::StopTimedOut;

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
    rows: ModelRows,
    turn: RetryTurn,
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
    shown: ShownModel,
    watch: WatchKey,
    /// Ends the retries when it is dropped.
    _retry: Option<GpuRetry>,
}

impl ModelSet {
    /// Returns an empty set, whose models have the shortest time per inference.
    pub(super) fn new(source: ModelFetcher, device: Device, board: StatusBoard) -> Self {
        let (rows, turn) = (ModelRows::new(board.clone()), RetryTurn::default());
        Self { source, device, board, speed: ModelSpeed::Latency, running: HashMap::new(), rows, turn }
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
            let shown = ShownModel { model, degraded: Arc::default() };
            // A replay ends before it would pay.
            let retries = self.speed == ModelSpeed::Latency;
            let retry = retries.then(|| GpuRetry::start(&shown, &self.rows, &self.board, &self.turn));
            self.running.insert(model_use, RunningModel { shown, watch, _retry: retry.flatten() });
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
                let LoadedModel::TextReader(reader) = &self.running.get(&model_use)?.shown.model else {
                    return None;
                };
                Some(EntryOcr { reader: reader.clone(), crop_expand: reading.crop_expand })
            }
        };
        Some(EntryModels { rules: entry.rules.clone(), detector, ocr: reading })
    }

    /// Returns the detector of a model, if it is in the set.
    pub(super) fn get(&self, spec: &Arc<ModelSpec>) -> Option<&Detector> {
        self.running.get(&(Purpose::Find, Arc::clone(spec)))?.shown.model.detector()
    }

    /// Stops all models; blocks until their threads have ended.
    pub(crate) fn stop(&self) {
        self.running.values().for_each(|running| running.shown.model.stop());
    }

    /// Returns the facts about each loaded detection model, by name.
    pub(crate) fn detector_ids(&self) -> Vec<ModelId> {
        let detectors = self.running.values().filter_map(|running| running.shown.model.detector());
        let mut ids: Vec<ModelId> = detectors.map(|detector| detector.info().id.clone()).collect();
        ids.sort_by(|a, b| (&a.name, &a.sha256).cmp(&(&b.name, &b.sha256)));
        ids
    }

    fn show(&self) {
        self.rows.set(self.running.values().map(|running| running.shown.clone()).collect());
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
