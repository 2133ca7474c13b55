//! The models that run: fetched where they are elsewhere, loaded once each, shared by all cameras.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::ServiceError;
use crate::camera::{EntryModels, EntryOcr};
use crate::config::{CameraSpec, PipelineEntry};
use crate::detect::ocr::TextReader;
use crate::detect::{DetectError, Detector, Device, ModelSpec, Purpose, usual_threads};
use crate::remote::{FetchProgress, ModelFetcher};
use crate::status::StatusBoard;
use crate::status::{LoadThread, ModelRow, Watch, WatchKey};
use crate::telemetry::service::{GivenUpLoadEnded, LoadGivenUp, Stuck};

/// An inference that takes longer is stuck.
const STUCK_INFERENCE: Duration = Duration::from_secs(60);

/// Limit on the wait for the end of a model that is not used any more.
const END_LIMIT: Duration = Duration::from_secs(10);

/// A model, and what it is for: one file may be asked for both.
type Named = (Purpose, Arc<ModelSpec>);

/// The models that run.
pub(super) struct ModelSet {
    source: ModelFetcher,
    device: Device,
    board: StatusBoard,
    running: HashMap<Named, Running>,
}

/// Models that are loaded, and not in the set yet.
pub(super) type Loaded = Vec<(Named, Net)>;

struct Running {
    net: Net,
    watch: WatchKey,
}

/// A loaded model.
pub(super) enum Net {
    Finds(Detector),
    Reads(TextReader),
}

impl ModelSet {
    /// None yet.
    pub(super) fn new(source: ModelFetcher, device: Device, board: StatusBoard) -> Self {
        Self { source, device, board, running: HashMap::new() }
    }

    /// Fetches and loads those that the cameras name and that do not run yet. The set stays as it is.
    ///
    /// Errors: one cannot be fetched, or cannot be used.
    pub(super) async fn load(&self, cameras: &[CameraSpec]) -> Result<Loaded, ServiceError> {
        let mut wanted = named(cameras);
        let threads = usual_threads(wanted.len());
        wanted.retain(|named| !self.running.contains_key(named));
        let files = try_join_all(wanted.iter().map(|(_, spec)| self.fetch(spec))).await?;
        let mut loaded = Vec::new();
        for (named, file) in wanted.into_iter().zip(files) {
            let net = Net::load(named.0, file, self.device, threads, &self.board).await?;
            loaded.push((named, net));
        }
        Ok(loaded)
    }

    async fn fetch(&self, spec: &ModelSpec) -> Result<ModelSpec, ServiceError> {
        let shown = self.board.show_loading(&spec.name, "is being looked for");
        let on_progress = |progress: FetchProgress<'_>| shown.now(progress.to_string());
        let file = self.source.local(spec, &on_progress).await;
        file.map_err(|error| ServiceError::Fetch(Box::new(error)))
    }

    /// From now on they run.
    pub(super) fn adopt(&mut self, loaded: Loaded) {
        for (named, net) in loaded {
            let watch = self.board.add_watch(net.watch());
            self.running.insert(named, Running { net, watch });
        }
        self.show();
    }

    /// Lets those go that no camera names. Each ends with the last camera that still asks it.
    pub(super) async fn keep(&mut self, cameras: &[CameraSpec]) {
        let wanted = named(cameras);
        let unused: Vec<Running> =
            self.running.extract_if(|named, _| !wanted.contains(named)).map(|(_, running)| running).collect();
        unused.iter().for_each(|running| self.board.remove_watch(running.watch));
        self.show();
        // Its end waits for the inference that it is at, which may be stuck.
        let ending = tokio::task::spawn_blocking(move || drop(unused));
        if timeout(END_LIMIT, ending).await.is_err() {
            Stuck { part: "a model that is not used any more" }.emit();
        }
    }

    /// Those of the camera's entries, in their order.
    pub(super) fn of(&self, camera: &CameraSpec) -> Vec<EntryModels> {
        camera.pipeline.iter().filter_map(|entry| self.of_entry(entry)).collect()
    }

    fn of_entry(&self, entry: &PipelineEntry) -> Option<EntryModels> {
        let detector = self.get(&entry.model)?.clone();
        let reading = match &entry.ocr {
            None => None,
            Some(reading) => {
                let named = (Purpose::Read, Arc::clone(&reading.model));
                let Net::Reads(reader) = &self.running.get(&named)?.net else { return None };
                Some(EntryOcr { reader: reader.clone(), crop_expand: reading.crop_expand })
            }
        };
        Some(EntryModels { detector, ocr: reading })
    }

    /// The detector of a model.
    pub(super) fn get(&self, spec: &Arc<ModelSpec>) -> Option<&Detector> {
        self.running.get(&(Purpose::Find, Arc::clone(spec)))?.net.detector()
    }

    /// Ends them all; blocks until then.
    pub(super) fn stop(&self) {
        self.running.values().for_each(|running| running.net.stop());
    }

    fn show(&self) {
        let mut rows: Vec<ModelRow> = self.running.values().map(|running| running.net.row()).collect();
        rows.sort_by(|a, b| a.name.cmp(&b.name));
        self.board.set_models(rows);
    }
}

/// Each model once, in the order in which the cameras name them.
fn named(cameras: &[CameraSpec]) -> Vec<Named> {
    let mut all = Vec::new();
    for (purpose, spec) in cameras.iter().flat_map(CameraSpec::models) {
        let named = (purpose, Arc::clone(spec));
        if !all.contains(&named) {
            all.push(named);
        }
    }
    all
}

impl Net {
    /// Loads a model on a thread of its own, `load-MODEL`. Dropping the future gives the load up: the thread is left behind, since
    /// ONNX Runtime cannot be interrupted, and what it loads ends with it.
    async fn load(
        purpose: Purpose,
        spec: ModelSpec,
        device: Device,
        threads: usize,
        board: &StatusBoard,
    ) -> Result<Self, ServiceError> {
        let _shown = board.show_loading(&spec.name, "is being loaded");
        let load = WantedLoad(board.add_load_thread(&spec.name));
        let thread = EndingLoad(Arc::clone(&load.0));
        let (answer, loaded) = oneshot::channel();
        let model = spec.name.clone();
        let run = move || {
            let net = Self::open(purpose, &spec, device, threads);
            drop(thread);
            // Nothing takes it where the load was given up: the model ends here.
            drop(answer.send(net));
        };
        let spawned = std::thread::Builder::new().name(format!("load-{model}")).spawn(run);
        spawned.map_err(|why| DetectError::Thread { model, reason: why.to_string() })?;
        Ok(loaded.await.map_err(|_panicked| ServiceError::Loading)??)
    }

    fn open(purpose: Purpose, spec: &ModelSpec, device: Device, threads: usize) -> Result<Self, DetectError> {
        Ok(match purpose {
            Purpose::Find => Self::Finds(Detector::start(spec, device, threads)?),
            Purpose::Read => Self::Reads(TextReader::start(spec, device, threads)?),
        })
    }

    /// If it finds things.
    pub(super) fn detector(&self) -> Option<&Detector> {
        match self {
            Self::Finds(detector) => Some(detector),
            Self::Reads(_) => None,
        }
    }

    fn stop(&self) {
        match self {
            Self::Finds(detector) => detector.stop(),
            Self::Reads(reader) => reader.stop(),
        }
    }

    fn row(&self) -> ModelRow {
        match self {
            Self::Finds(detector) => row(detector),
            Self::Reads(reader) => row_of_reader(reader),
        }
    }

    fn watch(&self) -> Watch {
        match self {
            Self::Finds(detector) => {
                let (alive, busy) = (detector.clone(), detector.clone());
                Watch {
                    name: format!("detect-{}", detector.info().id.name),
                    alive: Box::new(move || alive.is_alive()),
                    busy_since: Box::new(move || busy.busy_since()),
                    limit: STUCK_INFERENCE,
                }
            }
            Self::Reads(reader) => {
                let (alive, busy) = (reader.clone(), reader.clone());
                Watch {
                    name: format!("ocr-{}", reader.info().id.name),
                    alive: Box::new(move || alive.is_alive()),
                    busy_since: Box::new(move || busy.busy_since()),
                    limit: STUCK_INFERENCE,
                }
            }
        }
    }
}

/// A load for which something waits; its drop gives it up, unless it has ended.
struct WantedLoad(Arc<LoadThread>);

impl Drop for WantedLoad {
    fn drop(&mut self) {
        if self.0.give_up() {
            LoadGivenUp { model: &self.0.model, after: self.0.age() }.emit();
        }
    }
}

/// A load on its thread; its drop ends it, also by a panic.
struct EndingLoad(Arc<LoadThread>);

impl Drop for EndingLoad {
    fn drop(&mut self) {
        if self.0.end() {
            GivenUpLoadEnded { model: &self.0.model, after: self.0.age() }.emit();
        }
    }
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
        fell_back: info.fallback.is_some(),
    }
}

fn row_of_reader(reader: &TextReader) -> ModelRow {
    let info = reader.info();
    ModelRow {
        name: info.id.name.clone(),
        layout: "ctc".to_owned(),
        device: info.device.to_string(),
        input_px: (info.input.usual_width_px(), info.input.height_px),
        classes: info.characters,
        warm_up_ms: info.warmup_ms.round() as u64,
        fell_back: info.fallback.is_some(),
    }
}
