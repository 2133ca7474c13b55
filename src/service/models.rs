//! The models of all cameras, each loaded once.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::ServiceError;
use crate::camera::{EntryModels, EntryReader};
use crate::config::{PipelineEntry, Settings};
use crate::detect::ocr::Reader;
use crate::detect::{DetectError, Detector, ModelSpec, usual_threads};
use crate::telemetry::Board;
use crate::telemetry::board::{ModelRow, Watch};

/// An inference that takes longer is stuck.
const STUCK_INFERENCE: Duration = Duration::from_secs(60);

/// What finds and what reads, by what was asked for.
#[derive(Clone, Default)]
pub(super) struct Models {
    detectors: HashMap<Arc<ModelSpec>, Detector>,
    readers: HashMap<Arc<ModelSpec>, Reader>,
}

impl Models {
    /// Loads each model once, off the async threads, and shows it on the board.
    pub(super) async fn load(settings: &Settings, board: &Board) -> Result<Self, ServiceError> {
        let entries = || settings.cameras.iter().flat_map(|camera| &camera.pipeline);
        let finding: HashSet<&Arc<ModelSpec>> = entries().map(|entry| &entry.model).collect();
        let reading: HashSet<&Arc<ModelSpec>> =
            entries().filter_map(|entry| Some(&entry.reading.as_ref()?.model)).collect();
        let threads = usual_threads(finding.len() + reading.len());
        let mut models = Self::default();
        for spec in finding {
            let (asked, device) = (Arc::clone(spec), settings.device);
            let detector = loaded(move || Detector::start(&asked, device, threads)).await?;
            show_detector(&detector, board);
            models.detectors.insert(Arc::clone(spec), detector);
        }
        for spec in reading {
            let (asked, device) = (Arc::clone(spec), settings.device);
            let reader = loaded(move || Reader::start(&asked, device, threads)).await?;
            show_reader(&reader, board);
            models.readers.insert(Arc::clone(spec), reader);
        }
        Ok(models)
    }

    pub(super) fn detector(&self, entry: &PipelineEntry) -> Option<&Detector> {
        self.detectors.get(&entry.model)
    }

    /// Those of an entry whose models were all loaded.
    pub(super) fn of(&self, entry: &PipelineEntry) -> Option<EntryModels> {
        let detector = self.detector(entry)?.clone();
        let reading = match &entry.reading {
            None => None,
            Some(reading) => {
                let reader = self.readers.get(&reading.model)?.clone();
                Some(EntryReader { reader, crop_expand: reading.crop_expand })
            }
        };
        Some(EntryModels { detector, reading })
    }

    /// Ends their threads; blocks until then.
    pub(super) fn stop(&self) {
        self.detectors.values().for_each(Detector::stop);
        self.readers.values().for_each(Reader::stop);
    }
}

async fn loaded<T: Send + 'static>(
    load: impl FnOnce() -> Result<T, DetectError> + Send + 'static,
) -> Result<T, ServiceError> {
    Ok(tokio::task::spawn_blocking(load).await.map_err(|_| ServiceError::Loading)??)
}

fn show_detector(detector: &Detector, board: &Board) {
    let info = detector.info();
    board.add_model(ModelRow {
        name: info.id.name.clone(),
        layout: info.layout.to_string(),
        device: info.device.to_string(),
        input_px: info.input.side_px(),
        classes: info.classes.len(),
        warm_up_ms: info.warmup_ms.round() as u64,
    });
    let (alive, busy) = (detector.clone(), detector.clone());
    board.add_watch(Watch {
        name: format!("detect-{}", info.id.name),
        alive: Box::new(move || alive.is_alive()),
        busy_since: Box::new(move || busy.busy_since()),
        limit: STUCK_INFERENCE,
    });
}

fn show_reader(reader: &Reader, board: &Board) {
    let info = reader.info();
    board.add_model(ModelRow {
        name: info.id.name.clone(),
        layout: "ctc".to_owned(),
        device: info.device.to_string(),
        input_px: (info.input.usual_width_px(), info.input.height_px),
        classes: info.characters,
        warm_up_ms: info.warmup_ms.round() as u64,
    });
    let (alive, busy) = (reader.clone(), reader.clone());
    board.add_watch(Watch {
        name: format!("read-{}", info.id.name),
        alive: Box::new(move || alive.is_alive()),
        busy_since: Box::new(move || busy.busy_since()),
        limit: STUCK_INFERENCE,
    });
}
