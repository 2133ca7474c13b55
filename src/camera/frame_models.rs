//! The models of a camera's pipeline entries, run on one frame.
//!
//! The detections of a frame depend on nothing but the frame, so frames may be inferred ahead of decide.

use std::sync::Arc;

use futures_util::future::join_all;

use super::{EntryModels, EntryOcr};
use crate::decide::Inference;
use crate::detect::{DetectError, Detector, FrameDetections, ModelInfo};
use crate::media::{Detection, Frame, Surface};
use crate::status::CameraStatus;
use crate::telemetry::camera::InferenceResult;

/// The minimum height of a box whose text is read, px: in a lower one no letter can be recognized.
const MIN_TEXT_HEIGHT_PX: f32 = 8.0;

/// The detections of one entry in one frame, and the model that made them.
pub(super) struct EntryInference {
    detections: Vec<Detection>,
    model: Arc<ModelInfo>,
}

/// The inference of one entry in one frame, or its error.
pub(super) type EntryDetections = Result<EntryInference, DetectError>;

/// The entries of a camera's pipeline with their models.
pub(super) struct FrameModels {
    entries: Vec<EntryModels>,
    /// The distinct models of the entries.
    models: Vec<SharedModel>,
    status: CameraStatus,
}

/// A model, and the pipeline entries that use it.
struct SharedModel {
    detector: Detector,
    /// The indices of those entries.
    entries: Vec<usize>,
}

impl FrameModels {
    pub(super) fn new(entries: Vec<EntryModels>, status: CameraStatus) -> Self {
        Self { models: SharedModel::distinct(&entries), entries, status }
    }

    /// Runs the models on a frame; returns the detections of each entry, in their order.
    pub(super) async fn detect(&self, frame: &Arc<Frame>) -> Vec<EntryDetections> {
        // Each model has its own worker, so all of them run at once.
        let inferences = self.models.iter().map(|model| model.detect(frame, &self.entries));
        let mut by_entry: Vec<_> = join_all(inferences).await.into_iter().flatten().collect();
        by_entry.sort_by_key(|(entry, _)| *entry);
        let reads =
            by_entry.into_iter().map(|(entry, detections)| self.entries[entry].read_text(frame, detections));
        let by_entry = join_all(reads).await;
        let by_entry = with_host_picture(frame, by_entry).await;
        if let Some(gpu) = gpu_of(&by_entry) {
            self.status.inferred_on(gpu);
        }
        let failed = by_entry.iter().find_map(|detections| detections.as_ref().err());
        let error = failed.map(|error| error as &dyn std::error::Error);
        InferenceResult { camera: &self.status, error }.emit();
        by_entry
    }

    /// Returns the inputs of decide from the detections of each entry; an entry whose detector failed has none.
    pub(super) fn decide_inputs<'a>(&'a self, detections: &'a [EntryDetections]) -> Vec<Inference<'a>> {
        let by_entry = self.entries.iter().zip(detections);
        by_entry.filter_map(|(entry, detections)| entry.decide_input(detections)).collect()
    }
}

/// Returns the inferences, once a picture with objects is in host memory, where decide reads their appearance without waiting for a GPU.
///
/// They are errors if the picture cannot be copied: without appearance, decide might take an object for another one.
async fn with_host_picture(frame: &Arc<Frame>, inferences: Vec<EntryDetections>) -> Vec<EntryDetections> {
    let has_objects = inferences.iter().flatten().any(|inference| !inference.detections.is_empty());
    if !has_objects || !matches!(frame.surface, Surface::Cuda(_)) {
        return inferences;
    }
    let copied = Arc::clone(frame);
    // The panic hook reports a panic, and decide is then the next to try.
    let copied = tokio::task::spawn_blocking(move || copied.surface.view().map(drop)).await;
    match copied {
        Ok(Err(error)) => {
            inferences.iter().map(|_| Err(DetectError::picture(frame, error.clone().into()))).collect()
        }
        Ok(Ok(())) | Err(_) => inferences,
    }
}

/// Returns the index of the GPU on which the models ran, `Some(None)` for the CPU; `None`: all of them failed. A model that fell back to
/// the CPU does not hide the GPU of the others.
fn gpu_of(detections: &[EntryDetections]) -> Option<Option<u32>> {
    let inferences = || detections.iter().filter_map(|detections| detections.as_ref().ok());
    inferences().next()?;
    Some(inferences().find_map(|inference| inference.model.device.gpu()))
}

impl SharedModel {
    /// Returns the distinct models of `entries`.
    fn distinct(entries: &[EntryModels]) -> Vec<Self> {
        let mut models: Vec<Self> = Vec::new();
        for (index, entry) in entries.iter().enumerate() {
            match models.iter_mut().find(|model| model.detector.is(&entry.detector)) {
                Some(model) => model.entries.push(index),
                None => models.push(Self { detector: entry.detector.clone(), entries: vec![index] }),
            }
        }
        models
    }

    /// Returns the detections of each entry of this model, from one inference.
    async fn detect(&self, frame: &Arc<Frame>, entries: &[EntryModels]) -> Vec<(usize, EntryDetections)> {
        let thresholds =
            self.entries.iter().map(|index| entries[*index].rules.detector_thresholds()).collect();
        let entries = self.entries.iter().copied();
        match self.detector.detect_each(Arc::clone(frame), thresholds).await {
            Ok(FrameDetections { lists, model }) => {
                let inference = |detections| Ok(EntryInference { detections, model: Arc::clone(&model) });
                entries.zip(lists.into_iter().map(inference)).collect()
            }
            Err(error) => entries.map(|entry| (entry, Err(error.clone()))).collect(),
        }
    }
}

impl EntryModels {
    /// Adds the text of each box that is confident and large enough to be read.
    async fn read_text(&self, frame: &Arc<Frame>, detections: EntryDetections) -> EntryDetections {
        let Some(EntryOcr { reader, crop_expand }) = &self.ocr else { return detections };
        let mut inference = detections?;
        let is_readable = |detection: &&mut Detection| {
            detection.conf >= self.rules.thresholds.conf
                && detection.bbox.y2 - detection.bbox.y1 >= MIN_TEXT_HEIGHT_PX
        };
        let readable: Vec<&mut Detection> = inference.detections.iter_mut().filter(is_readable).collect();
        let corners = readable.iter().map(|detection| detection.bbox).collect();
        let texts = reader.read(Arc::clone(frame), corners, *crop_expand).await?;
        for (detection, text) in readable.into_iter().zip(texts) {
            detection.reading = text;
        }
        Ok(inference)
    }

    /// Returns the input of decide; `None` if the entry's detector failed.
    fn decide_input<'a>(&'a self, detections: &'a EntryDetections) -> Option<Inference<'a>> {
        let EntryInference { detections, model } = detections.as_ref().ok()?;
        Some(Inference { rules: &self.rules, model: &model.id, detections })
    }
}
