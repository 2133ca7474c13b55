//! The handle of a loaded text recognition model.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Instant;

use super::engine::{PlateTexts, ReadEngine, ReadJob, TextModelInfo};
use crate::detect::error::DetectError;
use crate::detect::model_worker::{LoadedEngine, ModelWorker};
use crate::detect::spec::{Device, ModelSpec};
use crate::media::{BBox, Frame, PlateText};
use crate::telemetry::detect::TextModelLoaded;

/// A recognition model with its thread `ocr-NAME`. Clones share it; the thread ends with [`Self::stop`] or with the last
/// clone.
#[derive(Clone)]
pub struct TextReader {
    inner: Arc<ReaderInner>,
}

struct ReaderInner {
    info: TextModelInfo,
    worker: ModelWorker<ReadJob, PlateTexts>,
}

impl TextReader {
    /// Starts the thread of a model, which loads it and runs its first inferences. Blocks until then.
    ///
    /// # Errors
    /// Those of [`Detector::start`](crate::detect::Detector::start).
    pub fn start(spec: &ModelSpec, device: Device, threads: usize) -> Result<Self, DetectError> {
        let model = spec.clone();
        let load = move || {
            let engine = ReadEngine::load(&model, device, threads)?;
            let info = engine.info().clone();
            Ok(LoadedEngine { engine, facts: info })
        };
        let (worker, info) = ModelWorker::open("ocr", &spec.name, load, |_| 1)?;
        report_loaded(&info);
        Ok(Self { inner: Arc::new(ReaderInner { info, worker }) })
    }

    /// Returns the facts about the loaded model and its device.
    #[must_use]
    pub fn info(&self) -> &TextModelInfo {
        &self.inner.info
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
        self.inner.worker.ask(ReadJob { frame, boxes, expand }).await
    }

    /// Returns whether the thread runs; `false` after [`Self::stop`].
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.inner.worker.is_alive()
    }

    /// Returns the time at which the running batch began. If that is long ago, the worker is stuck.
    #[must_use]
    pub fn busy_since(&self) -> Option<Instant> {
        self.inner.worker.busy_since()
    }

    /// Has the listener called with the reason when the GPU of the model is lost. A later listener replaces an earlier one.
    pub fn on_device_lost(&self, listener: impl FnOnce(String) + Send + 'static) {
        self.inner.worker.on_device_lost(listener);
    }

    /// Refuses new requests, answers the waiting ones, and ends the thread. Blocks until then.
    pub fn stop(&self) {
        self.inner.worker.stop();
    }
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
        engine_note: info.engine.note.as_deref(),
        threads: info.threads,
        warmup_ms: info.warmup_ms,
        infer_ms: info.infer_ms,
    }
    .emit();
    if let Some(nodes) = &info.nodes {
        nodes.report(&info.id.name);
    }
}
