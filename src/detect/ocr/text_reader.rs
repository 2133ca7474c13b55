//! The handle of a loaded text recognition model.

use std::fmt::Display;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use super::engine::{PlateTexts, ReadEngine, ReadJob, TextModelInfo};
use crate::detect::current_worker::{CurrentWorker, LoadedWorker};
use crate::detect::device::Device;
use crate::detect::device_loss::DeviceLoss;
use crate::detect::error::DetectError;
use crate::detect::model_worker::{LoadedEngine, ModelWorker};
use crate::detect::spec::ModelSpec;
use crate::media::{BBox, Frame, PlateText};
use crate::telemetry::detect::TextModelLoaded;

/// A recognition model with its thread `ocr-NAME` (`ocr@N-NAME` on GPU N, from 1). Clones share it; the thread ends with [`Self::stop`] or with the last
/// clone.
#[derive(Clone)]
pub struct TextReader {
    inner: Arc<ReaderInner>,
}

struct ReaderInner {
    /// The device that it was started for.
    device: Device,
    /// The model's file.
    path: PathBuf,
    worker: CurrentWorker<ReadJob, PlateTexts, Arc<TextModelInfo>>,
    load: ReaderLoad,
    loss: Arc<DeviceLoss>,
}

type ReadWorker = LoadedWorker<ReadJob, PlateTexts, Arc<TextModelInfo>>;

/// The load of the model on a device, as often as that is wanted.
type ReaderLoad = Box<dyn Fn(Device) -> Result<ReadWorker, DetectError> + Send + Sync>;

impl TextReader {
    /// Starts the thread of a model, which loads it and runs its first inferences. Blocks until then.
    ///
    /// # Errors
    /// Those of [`Detector::start`](crate::detect::Detector::start).
    pub fn start(spec: &ModelSpec, device: Device, threads: usize) -> Result<Self, DetectError> {
        let (loss, spec) = (Arc::<DeviceLoss>::default(), spec.clone());
        let (path, lost) = (spec.path.clone(), Arc::clone(&loss));
        let load = move |device: Device| {
            let model = spec.clone();
            let load = move || load_engine(&model, device, threads);
            let (worker, facts) =
                ModelWorker::open(&device.task("ocr"), &spec.name, Arc::clone(&lost), load, |_| 1)?;
            Ok(LoadedWorker { worker, facts })
        };
        let first = load(device)?;
        report_loaded(&first.facts);
        let worker = CurrentWorker::new(first);
        Ok(Self { inner: Arc::new(ReaderInner { device, path, worker, load: Box::new(load), loss }) })
    }

    /// Loads a model that fell back to the CPU on the GPU that was tried, and has the next boxes read there; see
    /// [`Detector::move_to_gpu`](crate::detect::Detector::move_to_gpu).
    ///
    /// # Errors
    /// Those of [`Self::start`], and [`ModelFault::Replaced`](crate::detect::ModelFault::Replaced).
    pub fn move_to_gpu(&self) -> Result<(), DetectError> {
        let Some(fallback) = self.info().fallback.clone() else { return Ok(()) };
        let loaded = (self.inner.load)(Device::Cuda(fallback.gpu))?;
        let info = Arc::clone(&loaded.facts);
        fallback.check_file(&info.id, &self.inner.path)?;
        if self.inner.worker.replace(loaded) {
            report_loaded(&info);
        }
        Ok(())
    }

    /// Returns the device that the model was started for; [`TextModelInfo::device`] is the one that it runs on.
    #[must_use]
    pub fn device(&self) -> Device {
        self.inner.device
    }

    /// Returns the facts about the loaded model and its device.
    #[must_use]
    pub fn info(&self) -> Arc<TextModelInfo> {
        Arc::clone(&self.inner.worker.get().facts)
    }

    /// Returns the plate text in each box (frame px) of a frame, in their order; `None` if a box has no text.
    ///
    /// `expand` is the share of a box's sides that is read beyond each of its edges, 0..=0.5. The text of a box depends on the
    /// box alone, not on the other boxes of the call.
    ///
    /// # Errors
    /// [`DetectError::Picture`] and [`DetectError::Inference`] concern this frame, [`DetectError::Ended`] all frames.
    pub async fn read(
        &self,
        frame: Arc<Frame>,
        boxes: Vec<BBox>,
        expand: f32,
    ) -> Result<Vec<Option<PlateText>>, DetectError> {
        if boxes.is_empty() {
            return Ok(Vec::new());
        }
        let (texts, _) = self.inner.worker.ask(ReadJob { frame, boxes, expand }).await?;
        Ok(texts)
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

    /// Has the listener called with the reason when the GPU of the model is lost. A later listener replaces an earlier one.
    pub fn on_device_lost(&self, listener: impl FnOnce(String) + Send + 'static) {
        self.inner.loss.listen(listener);
    }

    /// Refuses new requests, answers the waiting ones, and ends the thread. Blocks until then.
    pub fn stop(&self) {
        self.inner.worker.stop();
    }
}

/// Loads a model on the thread that will run it.
fn load_engine(
    spec: &ModelSpec,
    device: Device,
    threads: usize,
) -> Result<LoadedEngine<ReadEngine, Arc<TextModelInfo>>, DetectError> {
    let engine = ReadEngine::load(spec, device, threads)?;
    let info = Arc::new(engine.info().clone());
    Ok(LoadedEngine { engine, facts: info })
}

/// Reports the facts about a model that was loaded.
fn report_loaded(info: &TextModelInfo) {
    TextModelLoaded {
        model: &info.id.name,
        sha256: &info.id.sha256,
        input: &info.input,
        characters: info.characters,
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
