//! The loaded models on the status board.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use super::loaded_model::LoadedModel;
use crate::base::lock;
use crate::detect::ocr::TextReader;
use crate::detect::{Detector, EngineInfo, GpuLevel};
use crate::status::{ModelRow, StatusBoard};
use crate::telemetry::detect::ModelShown;

/// The reason for which a model does not run on the GPU of this host; `None`: it does, or there is no GPU.
pub(super) type DegradedReason = Mutex<Option<String>>;

/// A loaded model with the reason for which it is degraded. Clones share both.
#[derive(Clone)]
pub(super) struct ShownModel {
    pub(super) model: LoadedModel,
    /// The index of the GPU that it is for, if models may run on several.
    pub(super) gpu: Option<u32>,
    pub(super) degraded: Arc<DegradedReason>,
}

/// The models of the service on the board. Clones share them.
#[derive(Clone)]
pub(super) struct ModelRows {
    board: StatusBoard,
    models: Arc<Mutex<Vec<ShownModel>>>,
}

impl ModelRows {
    pub(super) fn new(board: StatusBoard) -> Self {
        Self { board, models: Arc::default() }
    }

    /// Shows these models instead of the previous ones.
    pub(super) fn set(&self, models: Vec<ShownModel>) {
        let mut shown = lock(&self.models);
        let before: Vec<String> = shown.iter().map(|shown| shown.model.name()).collect();
        *shown = models;
        self.show(&shown, before);
    }

    /// Shows the models as they are now.
    pub(super) fn refresh(&self) {
        self.show(&lock(&self.models), Vec::new());
    }

    /// Shows the models; `before` were shown until now. The caller holds the lock, so that no older state follows a newer one.
    fn show(&self, models: &[ShownModel], before: Vec<String>) {
        let mut rows: Vec<(Option<u32>, ModelRow)> = Vec::new();
        // A model is one in the metrics, whatever the number of its GPUs: each gauge is set once, for all of them.
        let gone = || ModelShown { nodes: Some(BTreeMap::new()), ..ModelShown::default() };
        let mut shown: BTreeMap<String, ModelShown> = before.into_iter().map(|name| (name, gone())).collect();
        for model in models {
            let row = model.row();
            let of_model = shown.entry(row.name.clone()).or_default();
            of_model.fell_back |= row.fell_back;
            if let Some(nodes) = model.model.nodes() {
                of_model.add_nodes(nodes.by_provider());
            }
            rows.push((model.gpu, row));
        }
        shown.iter().for_each(|(model, shown)| shown.emit(model));
        // The order of a hash map changes from run to run.
        rows.sort_by(|(gpu, a), (other, b)| (&a.name, &a.layout, gpu).cmp(&(&b.name, &b.layout, other)));
        self.board.set_models(rows.into_iter().map(|(_, row)| row).collect());
    }
}

impl ShownModel {
    fn row(&self) -> ModelRow {
        let degraded = lock(&self.degraded).clone();
        let row = match &self.model {
            LoadedModel::Detector(detector) => row(detector, self.gpu),
            LoadedModel::TextReader(reader) => row_of_reader(reader),
        };
        ModelRow { degraded: degraded.or(row.degraded), ..row }
    }
}

fn row(detector: &Detector, gpu: Option<u32>) -> ModelRow {
    let info = detector.info();
    ModelRow {
        name: info.id.name.clone(),
        layout: info.layout.to_string(),
        device: info.device.to_string(),
        nodes: info.nodes.as_ref().map(ToString::to_string),
        engine: info.engine.to_string(),
        engine_note: info.engine.notes(),
        input_px: info.input.side_px(),
        classes: info.classes.len(),
        warm_up_ms: info.warmup_ms.round() as u64,
        degraded: painted_on_cpu(&info.engine, gpu),
        fell_back: info.fallback.is_some(),
    }
}

/// Returns the reason, in words, for which the CPU paints the pictures of a model that runs on a GPU; `gpu`: which, of several.
fn painted_on_cpu(engine: &EngineInfo, gpu: Option<u32>) -> Option<String> {
    let note = engine.note.as_ref().filter(|_| engine.gpu == Some(GpuLevel::Inference))?;
    let place = gpu.map_or_else(String::new, |gpu| format!(" (cuda:{gpu})"));
    Some(format!("runs on the GPU{place}, but {note}"))
}

fn row_of_reader(reader: &TextReader) -> ModelRow {
    let info = reader.info();
    ModelRow {
        name: info.id.name.clone(),
        layout: "ctc".to_owned(),
        device: info.device.to_string(),
        nodes: info.nodes.as_ref().map(ToString::to_string),
        engine: info.engine.to_string(),
        engine_note: info.engine.notes(),
        input_px: (info.input.usual_width_px(), info.input.height_px),
        classes: info.characters,
        warm_up_ms: info.warmup_ms.round() as u64,
        degraded: None,
        fell_back: info.fallback.is_some(),
    }
}
