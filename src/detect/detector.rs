//! The handle of a model that runs.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::desk::Desk;
use super::engine::Engine;
use super::error::DetectError;
use super::model::{InputShape, ModelInfo};
use super::spec::{Device, ModelSpec, Thresholds};
use super::steps::{StepMeter, Steps};
use super::worker::{Batching, Found, Job};
use crate::media::{Detection, Frame};
use crate::telemetry::detect::ModelLoaded;

/// Frames of a batch on a GPU where the model takes any number.
const GPU_BATCH: usize = 16;
/// How long a batch on a GPU waits for other cameras: little beside an inference.
const GPU_WAIT: Duration = Duration::from_millis(2);

/// A model with its thread `detect-NAME`. Clones share it; the thread ends with [`Self::stop`] or with the last clone.
#[derive(Clone)]
pub struct Detector {
    shared: Arc<Shared>,
}

struct Shared {
    info: ModelInfo,
    desk: Desk<Job, Found>,
    meter: StepMeter,
}

impl Batching {
    /// On a GPU, up to 16 frames or what the model fixes. On the CPU only what the model fixes, without waiting:
    /// there a batch takes as long as its frames one by one, and the first would wait for the last.
    #[must_use]
    pub fn usual(input: &InputShape, device: Device) -> Self {
        match device {
            Device::Cuda(_) | Device::Auto => Self { most: input.batch.unwrap_or(GPU_BATCH), wait: GPU_WAIT },
            Device::Cpu => Self { most: input.batch.unwrap_or(1), wait: Duration::ZERO },
        }
    }
}

/// Threads of an inference on the CPU, where nothing else is asked for: the cores shared by the models, at least one.
///
/// The scheduler gives decoding its part as it needs it, and a core that nothing decodes on is used: with two threads for one
/// `kvs-infer bench` makes 1.5 times as many inferences of a YOLO of 416 px, for a quarter more CPU time each.
#[must_use]
pub fn usual_threads(models: usize) -> usize {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    (cores / models.max(1)).max(1)
}

impl Detector {
    /// Whether both are the same model, with one thread.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// Loads a model and starts its thread; blocks while it loads and makes its first inferences.
    ///
    /// Errors: [`DetectError::Runtime`], [`DetectError::Model`], [`DetectError::Cuda`], [`DetectError::Thread`].
    pub fn start(spec: &ModelSpec, device: Device, threads: usize) -> Result<Self, DetectError> {
        Self::start_batched(spec, device, threads, Batching::usual)
    }

    /// As [`Self::start`], with batches as `batching` says for the model's input and the device that it runs on.
    /// A model that fixes its batch keeps it.
    pub fn start_batched(
        spec: &ModelSpec,
        device: Device,
        threads: usize,
        batching: impl Fn(&InputShape, Device) -> Batching,
    ) -> Result<Self, DetectError> {
        let most = |input: &InputShape, device| batching(input, device).most;
        let engine = Engine::load(spec, device, threads.max(1), most)?;
        let (info, meter) = (engine.info().clone(), engine.meter().clone());
        let wanted = batching(&info.input, info.device);
        let batching = Batching { most: info.input.batch.unwrap_or(wanted.most).max(1), wait: wanted.wait };
        let ModelInfo {
            id, layout, layout_source, input, classes, device, threads, warmup_ms, infer_ms, ..
        } = &info;
        ModelLoaded {
            model: &id.name,
            sha256: &id.sha256,
            layout,
            layout_source,
            input,
            classes: classes.len(),
            device,
            threads: *threads,
            warmup_ms: *warmup_ms,
            infer_ms: *infer_ms,
        }
        .emit();
        let desk = Desk::open("detect", &info.id.name, engine, batching)?;
        Ok(Self { shared: Arc::new(Shared { info, desk, meter }) })
    }

    /// What was loaded, and where it runs.
    #[must_use]
    pub fn info(&self) -> &ModelInfo {
        &self.shared.info
    }

    /// What the model sees in the frame: best first, in frame px, clipped to the frame; the same frame gives the same.
    ///
    /// Invariant: a camera waits for the answer before it asks again; so they take turns.
    /// Dropping the future takes the request back, if its inference has not begun.
    ///
    /// Errors: [`DetectError::Picture`] and [`DetectError::Inference`] concern this frame, [`DetectError::Ended`] all.
    pub async fn detect(
        &self,
        frame: Arc<Frame>,
        thresholds: Thresholds,
    ) -> Result<Vec<Detection>, DetectError> {
        Ok(self.detect_each(frame, vec![thresholds]).await?.pop().unwrap_or_default())
    }

    /// As [`Self::detect`], by each of `thresholds`, in their order and by one inference.
    pub async fn detect_each(
        &self,
        frame: Arc<Frame>,
        thresholds: Vec<Thresholds>,
    ) -> Result<Vec<Vec<Detection>>, DetectError> {
        self.shared.desk.ask(Job { frame, thresholds }).await
    }

    /// Whether its thread lives; `false` after [`Self::stop`].
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.shared.desk.is_alive()
    }

    /// When the batch that is being looked at was begun; long ago means that the worker is stuck.
    #[must_use]
    pub fn busy_since(&self) -> Option<Instant> {
        self.shared.desk.busy_since()
    }

    /// What its thread has spent on the frames that it was asked about, step by step. Of an inference with more than one
    /// thread that is the first one's CPU time.
    #[must_use]
    pub fn steps(&self) -> Steps {
        self.shared.meter.sum()
    }

    /// Takes no more requests, answers those that wait, and ends the thread; blocks until then.
    pub fn stop(&self) {
        self.shared.desk.stop();
    }
}
