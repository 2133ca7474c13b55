//! The models that run: fetched where they are elsewhere, loaded once each, shared by all cameras.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;

use super::ServiceError;
use crate::config::CameraSpec;
use crate::detect::{Detector, Device, ModelSpec, usual_threads};
use crate::remote::{Models, Step};
use crate::telemetry::Board;
use crate::telemetry::board::{ModelRow, Watch, WatchKey};

/// An inference that takes longer is stuck.
const STUCK_INFERENCE: Duration = Duration::from_secs(60);

/// The models that run.
pub(super) struct ModelSet {
    source: Models,
    device: Device,
    board: Board,
    running: HashMap<Arc<ModelSpec>, Running>,
}

/// Models that are loaded, and not in the set yet.
pub(super) type Loaded = Vec<(Arc<ModelSpec>, Detector)>;

struct Running {
    detector: Detector,
    watch: WatchKey,
}

impl ModelSet {
    /// None yet.
    pub(super) fn new(source: Models, device: Device, board: Board) -> Self {
        Self { source, device, board, running: HashMap::new() }
    }

    /// Fetches and loads those that the cameras name and that do not run yet. The set stays as it is.
    ///
    /// Errors: one cannot be fetched, or cannot be used.
    pub(super) async fn load(&self, cameras: &[CameraSpec]) -> Result<Loaded, ServiceError> {
        let mut specs = named(cameras);
        let threads = usual_threads(specs.len());
        specs.retain(|spec| !self.running.contains_key(*spec));
        let files = try_join_all(specs.iter().map(|spec| self.fetch(spec))).await;
        let mut loaded = Vec::new();
        if let Ok(files) = &files {
            for (spec, file) in specs.iter().zip(files) {
                self.board.loading(&spec.name, Some("is being loaded".to_owned()));
                let detector = load_one(file.clone(), self.device, threads).await;
                self.board.loading(&spec.name, None);
                loaded.push((Arc::clone(*spec), detector?));
            }
        }
        files.map(|_| loaded)
    }

    async fn fetch(&self, spec: &ModelSpec) -> Result<ModelSpec, ServiceError> {
        let tell = |step: Step<'_>| self.board.loading(&spec.name, Some(step.to_string()));
        let file = self.source.local(spec, &tell).await;
        self.board.loading(&spec.name, None);
        file.map_err(|error| ServiceError::Fetch(Box::new(error)))
    }

    /// From now on they run.
    pub(super) fn adopt(&mut self, loaded: Loaded) {
        for (spec, detector) in loaded {
            let watch = self.board.add_watch(watch(&detector));
            self.running.insert(spec, Running { detector, watch });
        }
        self.show();
    }

    /// Lets those go that no camera names. Each ends with the last camera that still asks it.
    pub(super) async fn keep(&mut self, cameras: &[CameraSpec]) {
        let wanted = named(cameras);
        let unused: Vec<Running> =
            self.running.extract_if(|spec, _| !wanted.contains(&spec)).map(|(_, running)| running).collect();
        unused.iter().for_each(|running| self.board.remove_watch(running.watch));
        self.show();
        // Its end waits for the inference at hand.
        let _ended = tokio::task::spawn_blocking(move || drop(unused)).await;
    }

    /// The detectors of the camera's entries, in their order.
    pub(super) fn of(&self, camera: &CameraSpec) -> Vec<Detector> {
        camera.pipeline.iter().filter_map(|entry| self.get(&entry.model).cloned()).collect()
    }

    /// The detector of a model.
    pub(super) fn get(&self, spec: &Arc<ModelSpec>) -> Option<&Detector> {
        self.running.get(spec).map(|running| &running.detector)
    }

    /// Ends them all; blocks until then.
    pub(super) fn stop(&self) {
        self.running.values().for_each(|running| running.detector.stop());
    }

    fn show(&self) {
        let mut rows: Vec<ModelRow> = self.running.values().map(|running| row(&running.detector)).collect();
        rows.sort_by(|a, b| a.name.cmp(&b.name));
        self.board.set_models(rows);
    }
}

/// Each model once, in the order in which the cameras name them.
fn named(cameras: &[CameraSpec]) -> Vec<&Arc<ModelSpec>> {
    let mut specs = Vec::new();
    for entry in cameras.iter().flat_map(|camera| &camera.pipeline) {
        if !specs.contains(&&entry.model) {
            specs.push(&entry.model);
        }
    }
    specs
}

/// Off the async threads.
async fn load_one(spec: ModelSpec, device: Device, threads: usize) -> Result<Detector, ServiceError> {
    let loading = tokio::task::spawn_blocking(move || Detector::start(&spec, device, threads));
    Ok(loading.await.map_err(|_| ServiceError::Loading)??)
}

fn row(detector: &Detector) -> ModelRow {
    let info = detector.info();
    ModelRow {
        name: info.id.name.clone(),
        layout: info.layout.to_string(),
        device: info.device.to_string(),
        input_px: info.input.side_px(),
        classes: info.classes.len(),
        warm_up_ms: info.warmup_ms.round() as u64,
    }
}

fn watch(detector: &Detector) -> Watch {
    let (alive, busy) = (detector.clone(), detector.clone());
    Watch {
        name: format!("detect-{}", detector.info().id.name),
        alive: Box::new(move || alive.is_alive()),
        busy_since: Box::new(move || busy.busy_since()),
        limit: STUCK_INFERENCE,
    }
}
