//! The models of the service: fetched where they are remote, loaded once per device that cameras run on, shared by its cameras.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use tokio::time::timeout;

use super::ServiceError;
use super::camera_devices::{CameraDevices, DeviceModels};
use super::gpu_retry::{GpuRetry, RetryTurn};
use super::loaded_model::LoadedModel;
use super::model_rows::{ModelRows, ShownModel};
use crate::camera::{EntryModels, EntryOcr};
use crate::config::{CameraSpec, PipelineEntry};
use crate::detect::{DetectError, Detector, Device, ModelFault, ModelSpec, Purpose, Sessions, usual_threads};
use crate::media::{CameraId, ModelId};
use crate::remote::{FetchProgress, ModelFetcher};
use crate::status::{StatusBoard, WatchKey};
use crate::telemetry::service::StopTimedOut;

/// The time to wait for the end of a model that is no longer used.
const END_LIMIT: Duration = Duration::from_secs(10);

/// A model, its purpose and its device: one file may be used for both purposes, and on several GPUs.
#[derive(Clone, PartialEq, Eq, Hash)]
struct ModelUse {
    purpose: Purpose,
    spec: Arc<ModelSpec>,
    device: Device,
}

/// The loaded models.
pub(crate) struct ModelSet {
    source: ModelFetcher,
    /// The devices of this host that models may run on.
    devices: Vec<Device>,
    cameras: CameraDevices,
    board: StatusBoard,
    speed: ModelSpeed,
    running: HashMap<ModelUse, RunningModel>,
    rows: ModelRows,
    /// By the index of the GPU.
    turns: BTreeMap<u32, RetryTurn>,
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
pub(super) struct LoadedModels {
    /// The devices of the cameras that they are for.
    cameras: CameraDevices,
    models: Vec<(ModelUse, LoadedModel)>,
}

impl LoadedModels {
    /// Returns the detector of a model, on one of its devices, if it was loaded.
    pub(super) fn detector(&self, spec: &Arc<ModelSpec>) -> Option<&Detector> {
        let mut of_spec = self.models.iter().filter(|(model_use, _)| model_use.spec == *spec);
        of_spec.find_map(|(_, model)| model.detector())
    }
}

struct RunningModel {
    shown: ShownModel,
    watch: WatchKey,
    /// Ends the retries when it is dropped.
    _retry: Option<GpuRetry>,
}

impl ModelSet {
    /// Returns an empty set for these devices, whose models have the shortest time per inference; `is_shared`: other workers run a part
    /// of the cameras.
    pub(super) fn new(
        source: ModelFetcher,
        devices: Vec<Device>,
        is_shared: bool,
        board: StatusBoard,
    ) -> Self {
        let (rows, cameras) = (ModelRows::new(board.clone()), CameraDevices::new(is_shared));
        let (speed, running, turns) = (ModelSpeed::Latency, HashMap::new(), BTreeMap::new());
        Self { source, devices, cameras, board, speed, running, rows, turns }
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

    /// Fetches the models that the cameras name, loads them on the cameras' devices where they are not in the set, and returns them.
    /// The set stays as it is.
    ///
    /// # Errors
    /// A model cannot be fetched or loaded.
    pub(super) async fn load(&self, cameras: &[CameraSpec]) -> Result<LoadedModels, ServiceError> {
        let ids: Vec<&CameraId> = cameras.iter().map(|camera| &camera.id).collect();
        let devices = self.cameras.for_cameras(&ids, &self.devices);
        let mut wanted = model_uses(cameras, &devices);
        // The models share the cores, so their number is known before the first one loads.
        let threads = usual_threads(wanted.len());
        wanted.retain(|wanted| !self.running.contains_key(wanted));
        let files = self.fetch_all(&wanted).await?;
        let mut loaded = LoadedModels { cameras: devices, models: Vec::new() };
        // One after the other, on all GPUs: a thread that hangs is one at most.
        for wanted in wanted {
            let Some(file) = files.get(&wanted.spec).cloned() else { continue };
            let sessions = self.sessions(&file, threads);
            let model = LoadedModel::load(wanted.purpose, file, wanted.device, sessions, &self.board).await;
            let model = model.map_err(|error| self.on_device(wanted.device, error))?;
            self.check_file(&wanted, &model, &loaded.models)?;
            loaded.models.push((wanted, model));
        }
        Ok(loaded)
    }

    /// Returns the local file of each model.
    async fn fetch_all(
        &self,
        wanted: &[ModelUse],
    ) -> Result<HashMap<Arc<ModelSpec>, ModelSpec>, ServiceError> {
        let mut specs: Vec<&Arc<ModelSpec>> = Vec::new();
        for ModelUse { spec, .. } in wanted {
            if !specs.contains(&spec) {
                specs.push(spec);
            }
        }
        let files = try_join_all(specs.iter().map(|spec| self.fetch(spec))).await?;
        Ok(specs.into_iter().cloned().zip(files).collect())
    }

    /// Returns the index of the GPU of a device, if models may run on several.
    fn gpu_of_several(&self, device: Device) -> Option<u32> {
        device.gpu().filter(|_| self.devices.len() > 1)
    }

    /// Returns the error of a load with the GPU, where it may be another one on another GPU and does not name its own.
    fn on_device(&self, device: Device, error: ServiceError) -> ServiceError {
        match (self.gpu_of_several(device), error) {
            (Some(gpu), ServiceError::Detect(error)) if error.depends_on_device() => {
                ServiceError::Gpu { gpu, error }
            }
            (_, error) => error,
        }
    }

    /// Checks that a model is of the same file as on other GPUs: its classes were checked against the cameras, and they get the same boxes.
    fn check_file(
        &self,
        wanted: &ModelUse,
        model: &LoadedModel,
        loaded: &[(ModelUse, LoadedModel)],
    ) -> Result<(), DetectError> {
        let running = self.running.iter().map(|(model_use, running)| (model_use, &running.shown.model));
        let loaded = loaded.iter().map(|(model_use, model)| (model_use, model));
        let is_copy = |of: &ModelUse| {
            (of.purpose, &of.spec) == (wanted.purpose, &wanted.spec) && of.device != wanted.device
        };
        let mut others = running.chain(loaded).filter(|(of, _)| is_copy(of));
        if others.all(|(_, other)| other.file_sha256() == model.file_sha256()) {
            return Ok(());
        }
        let (model, path) = (wanted.spec.name.clone(), wanted.spec.path.clone());
        Err(DetectError::Model { model, path, fault: Box::new(ModelFault::Replaced) })
    }

    async fn fetch(&self, spec: &ModelSpec) -> Result<ModelSpec, ServiceError> {
        let shown = self.board.show_loading(&spec.name, "is being looked up in the cache");
        let on_progress = |progress: FetchProgress<'_>| shown.step(progress.to_string());
        let file = self.source.local(spec, &on_progress).await;
        file.map_err(|error| ServiceError::Fetch(Box::new(error)))
    }

    /// Adds loaded models to the set. The cameras have the devices from now on for which these were loaded.
    pub(super) fn adopt(&mut self, loaded: LoadedModels) {
        self.cameras = loaded.cameras;
        for (model_use, model) in loaded.models {
            let watch = self.board.add_watch(model.watch());
            model.report_loss_to(self.board.clone());
            let gpu = self.gpu_of_several(model_use.device);
            let shown = ShownModel { model, gpu, degraded: Arc::default() };
            let turn = self.turns.entry(model_use.device.gpu().unwrap_or_default()).or_default();
            // A replay ends before it would pay.
            let retries = self.speed == ModelSpeed::Latency;
            let retry = retries.then(|| GpuRetry::start(&shown, &self.rows, &self.board, turn));
            self.running.insert(model_use, RunningModel { shown, watch, _retry: retry.flatten() });
        }
        self.show();
    }

    /// Removes the models that no camera names on its device. Each ends with the last camera that still uses it.
    pub(super) async fn keep(&mut self, cameras: &[CameraSpec]) {
        let wanted = model_uses(cameras, &self.cameras);
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

    /// Returns the models of the camera on each device that it may run on.
    pub(super) fn models_of(&self, camera: &CameraSpec) -> Vec<DeviceModels> {
        let on =
            |device: &Device| DeviceModels { device: *device, entries: self.entries_on(camera, *device) };
        self.cameras.of(&camera.id).iter().map(on).collect()
    }

    /// Returns the rules of each of the camera's entries with its models, in the order of the entries, on the first device of the camera.
    pub(crate) fn entries_of(&self, camera: &CameraSpec) -> Vec<EntryModels> {
        let device = self.cameras.of(&camera.id).first();
        device.map(|device| self.entries_on(camera, *device)).unwrap_or_default()
    }

    fn entries_on(&self, camera: &CameraSpec, device: Device) -> Vec<EntryModels> {
        camera.pipeline.iter().filter_map(|entry| self.entry(entry, device)).collect()
    }

    fn entry(&self, entry: &PipelineEntry, device: Device) -> Option<EntryModels> {
        let detector = self.loaded(Purpose::Find, &entry.model, device)?.detector()?.clone();
        let reading = match &entry.ocr {
            None => None,
            Some(reading) => {
                let LoadedModel::TextReader(reader) = self.loaded(Purpose::Read, &reading.model, device)?
                else {
                    return None;
                };
                Some(EntryOcr { reader: reader.clone(), crop_expand: reading.crop_expand })
            }
        };
        Some(EntryModels { rules: entry.rules.clone(), detector, ocr: reading })
    }

    fn loaded(&self, purpose: Purpose, spec: &Arc<ModelSpec>, device: Device) -> Option<&LoadedModel> {
        let model_use = ModelUse { purpose, spec: Arc::clone(spec), device };
        Some(&self.running.get(&model_use)?.shown.model)
    }

    /// Returns the detector of a model, on one of its devices, if it is in the set.
    pub(super) fn get(&self, spec: &Arc<ModelSpec>) -> Option<&Detector> {
        let mut devices = self.devices.iter();
        devices.find_map(|device| self.loaded(Purpose::Find, spec, *device)?.detector())
    }

    /// Stops all models; blocks until their threads have ended.
    pub(crate) fn stop(&self) {
        self.running.values().for_each(|running| running.shown.model.stop());
    }

    /// Returns the facts about each loaded detection model, once, by name.
    pub(crate) fn detector_ids(&self) -> Vec<ModelId> {
        let detectors = self.running.values().filter_map(|running| running.shown.model.detector());
        let mut ids: Vec<ModelId> = detectors.map(|detector| detector.info().id.clone()).collect();
        ids.sort_by(|a, b| (&a.name, &a.sha256).cmp(&(&b.name, &b.sha256)));
        ids.dedup();
        ids
    }

    fn show(&self) {
        self.rows.set(self.running.values().map(|running| running.shown.clone()).collect());
    }
}

/// Returns each model once per device of its cameras, in the order in which the cameras name them.
fn model_uses(cameras: &[CameraSpec], devices: &CameraDevices) -> Vec<ModelUse> {
    let mut all = Vec::new();
    for camera in cameras {
        for (purpose, spec) in camera.models() {
            for device in devices.of(&camera.id) {
                let model_use = ModelUse { purpose, spec: Arc::clone(spec), device: *device };
                if !all.contains(&model_use) {
                    all.push(model_use);
                }
            }
        }
    }
    all
}
