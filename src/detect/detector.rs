//! The handle of a loaded detector.

use std::fmt::Display;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use super::batch_limit::gpu_frames;
use super::batching::{DetectJob, JobDetections};
use super::current_worker::{CurrentWorker, LoadedWorker};
use super::device::Device;
use super::device_loss::DeviceLoss;
use super::engine::Engine;
use super::error::DetectError;
use super::model::{InputShape, ModelInfo};
use super::model_worker::{LoadedEngine, ModelWorker};
use super::spec::{ModelSpec, Thresholds};
use super::steps::{StepMeter, Steps};
use crate::media::{Detection, Frame};
use crate::telemetry::detect::ModelLoaded;

/// A model with its threads `detect-NAME` (`detect@N-NAME` on GPU N, from 1). Clones share it; the threads end with [`Self::stop`] or with the last clone.
#[derive(Clone)]
pub struct Detector {
    inner: Arc<DetectorInner>,
}

/// The detections of a frame.
pub struct FrameDetections {
    /// One list per entry of the thresholds.
    pub lists: Vec<Vec<Detection>>,
    /// The model that made them.
    pub model: Arc<ModelInfo>,
}

struct DetectorInner {
    /// The device that it was started for.
    device: Device,
    /// The model's file.
    path: PathBuf,
    worker: CurrentWorker<DetectJob, JobDetections, EngineFacts>,
    load: DetectorLoad,
    loss: Arc<DeviceLoss>,
}

type DetectWorker = LoadedWorker<DetectJob, JobDetections, EngineFacts>;

/// The load of the model on a device, as often as that is wanted.
type DetectorLoad = Box<dyn Fn(Device) -> Result<DetectWorker, DetectError> + Send + Sync>;

/// Returns the default number of frames of the largest batch: on a GPU up to 16, on the CPU one.
///
/// On the CPU a batch takes as long as its frames one by one, and the first frame would wait for the last.
fn usual_frames(input: &InputShape, device: Device) -> usize {
    match device {
        Device::Cuda(_) | Device::Auto(_) => gpu_frames(input),
        Device::Cpu => 1,
    }
}

/// Maximum number of sessions of a model: each holds its weights in memory.
const MAX_SESSIONS: usize = 8;

/// The sessions of a model on the CPU, which run inferences of different frames at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sessions {
    /// The number of sessions.
    pub count: usize,
    /// The number of threads of each.
    pub threads: usize,
}

impl Sessions {
    /// Returns one session with that number of threads, for the shortest time per inference.
    #[must_use]
    pub fn one(threads: usize) -> Self {
        Self { count: 1, threads }
    }

    /// Returns sessions for the most inferences per second on this number of cores; `threads`: those that the configuration fixes.
    ///
    /// An inference with many threads waits for the slowest of them at each layer, and several inferences side by side do not.
    #[must_use]
    pub fn for_throughput(cores: usize, threads: Option<usize>) -> Self {
        let count = (cores / threads.unwrap_or(1).max(1)).clamp(1, MAX_SESSIONS);
        Self { count, threads: (cores / count).max(1) }
    }
}

/// Returns the default number of threads per inference on the CPU: the cores divided by the models, at least one.
///
/// Decoding still gets its share from the scheduler, and idle cores are used: with two threads instead of one, `kvs-infer bench`
/// runs 1.5 times as many inferences of a YOLO of 416 px, at a quarter more CPU time per inference.
#[must_use]
pub fn usual_threads(models: usize) -> usize {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    (cores / models.max(1)).max(1)
}

impl Detector {
    /// Returns whether both handles share one model and thread.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    /// Starts the thread of a model, which loads it and runs its first inferences. Blocks until then.
    ///
    /// # Errors
    /// [`DetectError::Runtime`], [`DetectError::Model`], [`DetectError::Cuda`], [`DetectError::Thread`].
    pub fn start(spec: &ModelSpec, device: Device, threads: usize) -> Result<Self, DetectError> {
        Self::start_batched(spec, device, threads, usual_frames)
    }

    /// Like [`Self::start`], with several sessions on the CPU. A GPU has one, since its batches keep it busy.
    ///
    /// # Errors
    /// Those of [`Self::start`].
    pub fn start_sessions(spec: &ModelSpec, device: Device, sessions: Sessions) -> Result<Self, DetectError> {
        Self::start_each(spec, device, sessions, usual_frames)
    }

    /// Like [`Self::start`], with batches of up to as many frames as `max_frames` returns for the model's input and device.
    ///
    /// A model with a fixed batch size keeps it, and a GPU runs powers of two.
    ///
    /// # Errors
    /// Those of [`Self::start`].
    pub fn start_batched(
        spec: &ModelSpec,
        device: Device,
        threads: usize,
        max_frames: impl Fn(&InputShape, Device) -> usize + Send + Sync + 'static,
    ) -> Result<Self, DetectError> {
        Self::start_each(spec, device, Sessions::one(threads), max_frames)
    }

    fn start_each(
        spec: &ModelSpec,
        device: Device,
        sessions: Sessions,
        max_frames: impl Fn(&InputShape, Device) -> usize + Send + Sync + 'static,
    ) -> Result<Self, DetectError> {
        let (loss, max_frames, spec) = (Arc::<DeviceLoss>::default(), Arc::new(max_frames), spec.clone());
        let (path, lost) = (spec.path.clone(), Arc::clone(&loss));
        let load = move |device: Device| {
            let (model, max_frames, threads) =
                (spec.clone(), Arc::clone(&max_frames), sessions.threads.max(1));
            let load = move || load_engine(&model, device, threads, &*max_frames);
            let count = |(info, _): &EngineFacts| if info.device == Device::Cpu { sessions.count } else { 1 };
            // The meter is that of the first session: the others take the same steps.
            let (worker, facts) =
                ModelWorker::open(&device.task("detect"), &spec.name, Arc::clone(&lost), load, count)?;
            Ok(LoadedWorker { worker, facts })
        };
        let first = load(device)?;
        report_loaded(&first.facts.0);
        let worker = CurrentWorker::new(first);
        Ok(Self { inner: Arc::new(DetectorInner { device, path, worker, load: Box::new(load), loss }) })
    }

    /// Loads a model that fell back to the CPU on the GPU that was tried, and has the next frames inferred there. Blocks until the frames
    /// before are inferred; other models are not affected. Does nothing to a model that did not fall back, or that was stopped.
    ///
    /// # Errors
    /// Those of [`Self::start`], and [`ModelFault::Replaced`](super::ModelFault::Replaced).
    pub fn move_to_gpu(&self) -> Result<(), DetectError> {
        let Some(fallback) = self.info().fallback.clone() else { return Ok(()) };
        let loaded = (self.inner.load)(Device::Cuda(fallback.gpu))?;
        let info = Arc::clone(&loaded.facts.0);
        fallback.check_file(&info.id, &self.inner.path)?;
        if self.inner.worker.replace(loaded) {
            report_loaded(&info);
        }
        Ok(())
    }

    /// Returns the device that the model was started for; [`ModelInfo::device`] is the one that it runs on.
    #[must_use]
    pub fn device(&self) -> Device {
        self.inner.device
    }

    /// Returns the facts about the loaded model and its device.
    #[must_use]
    pub fn info(&self) -> Arc<ModelInfo> {
        Arc::clone(&self.inner.worker.get().facts.0)
    }

    /// Returns the detections of a frame: highest confidence first, in frame px, clipped to the frame, deterministic.
    ///
    /// Invariant: a camera waits for the result before its next call, so that cameras take turns.
    /// Dropping the future cancels the request if its inference has not begun.
    ///
    /// # Errors
    /// [`DetectError::Picture`] and [`DetectError::Inference`] concern this frame, [`DetectError::Ended`] all frames.
    pub async fn detect(
        &self,
        frame: Arc<Frame>,
        thresholds: Thresholds,
    ) -> Result<Vec<Detection>, DetectError> {
        Ok(self.detect_each(frame, vec![thresholds]).await?.lists.pop().unwrap_or_default())
    }

    /// Like [`Self::detect`], with one list of detections per entry of `thresholds`, from one inference.
    ///
    /// # Errors
    /// Those of [`Self::detect`].
    pub async fn detect_each(
        &self,
        frame: Arc<Frame>,
        thresholds: Vec<Thresholds>,
    ) -> Result<FrameDetections, DetectError> {
        let (lists, worker) = self.inner.worker.ask(DetectJob { frame, thresholds }).await?;
        Ok(FrameDetections { lists, model: Arc::clone(&worker.facts.0) })
    }

    /// Returns whether the thread runs; `false` after [`Self::stop`].
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.inner.worker.get().worker.is_alive()
    }

    /// Returns the time at which the running batch began. If that is long ago, the worker is stuck.
    #[must_use]
    pub fn busy_since(&self) -> Option<Instant> {
        self.inner.worker.busy_since()
    }

    /// Returns the time that the thread has spent so far, by step; from zero again after [`Self::move_to_gpu`].
    ///
    /// For inferences with several threads, the CPU time is that of the first thread.
    #[must_use]
    pub fn steps(&self) -> Steps {
        self.inner.worker.get().facts.1.sum()
    }

    /// Has the listener called with the reason when the GPU of the model is lost. A later listener replaces an earlier one.
    pub fn on_device_lost(&self, listener: impl FnOnce(String) + Send + 'static) {
        self.inner.loss.listen(listener);
    }

    /// Refuses new requests, answers the waiting ones, and ends the thread. Blocks until then.
    pub fn stop(&self) {
        self.inner.worker.stop();
    }
}

/// The facts about an engine that its handle keeps.
type EngineFacts = (Arc<ModelInfo>, StepMeter);

/// Loads a model on the thread that will run it.
fn load_engine(
    spec: &ModelSpec,
    device: Device,
    threads: usize,
    max_frames: &impl Fn(&InputShape, Device) -> usize,
) -> Result<LoadedEngine<Engine, EngineFacts>, DetectError> {
    let engine = Engine::load(spec, device, threads, max_frames)?;
    let facts = (Arc::new(engine.info().clone()), engine.meter().clone());
    Ok(LoadedEngine { engine, facts })
}

/// Reports the facts about a model that was loaded.
fn report_loaded(info: &ModelInfo) {
    ModelLoaded {
        model: &info.id.name,
        sha256: &info.id.sha256,
        layout: &info.layout,
        layout_source: &info.layout_source,
        input: &info.input,
        classes: info.classes.len(),
        device: &info.device,
        nodes: info.nodes.as_ref().map(|nodes| nodes as &dyn Display),
        engine: &info.engine,
        engine_note: info.engine.notes().as_deref(),
        threads: info.threads,
        warmup_ms: info.warmup_ms,
        infer_ms: info.infer_ms,
    }
    .emit();
    if let Some(nodes) = &info.nodes {
        nodes.report(&info.id.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_fill_the_cores_and_keep_configured_threads() {
        for (cores, threads, count, each) in [
            (1, None, 1, 1),
            (2, None, 2, 1),
            (8, None, 8, 1),
            (64, None, 8, 8),
            (8, Some(4), 2, 4),
            (2, Some(4), 1, 2),
            (0, Some(0), 1, 1),
        ] {
            let sessions = Sessions::for_throughput(cores, threads);
            assert_eq!(sessions, Sessions { count, threads: each }, "{cores} cores, {threads:?}");
        }
    }
}
