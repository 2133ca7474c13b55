//! What happens in detect.

use super::{Kind, Metric};
use crate::detect::ocr::TextModelInfo;
use crate::detect::{DetectError, ModelInfo, Steps};

const PREPROCESS: &str = "kvs_infer_detect_preprocess_seconds";
const INFERENCE: &str = "kvs_infer_detect_inference_seconds";
const POSTPROCESS: &str = "kvs_infer_detect_postprocess_seconds";
const BATCH: &str = "kvs_infer_detect_batch_frames";
const LINES: &str = "kvs_infer_detect_lines_read_total";
const ERRORS: &str = "kvs_infer_detect_errors_total";
const FALLBACKS: &str = "kvs_infer_detect_cpu_fallbacks_total";

/// The metrics of detect.
pub(crate) const METRICS: &[Metric] = &[
    Metric {
        name: PREPROCESS,
        kind: Kind::Histogram,
        labels: &["model"],
        help: "Time to turn the frames of a batch into the model's input.",
    },
    Metric {
        name: INFERENCE,
        kind: Kind::Histogram,
        labels: &["model"],
        help: "Time that ONNX Runtime took for a batch.",
    },
    Metric {
        name: POSTPROCESS,
        kind: Kind::Histogram,
        labels: &["model"],
        help: "Time to turn the outputs of a batch into boxes.",
    },
    Metric {
        name: BATCH,
        kind: Kind::Histogram,
        labels: &["model"],
        help: "Frames that one inference looked at.",
    },
    Metric {
        name: LINES,
        kind: Kind::Counter,
        labels: &["model"],
        help: "Boxes of which a recognition model read the text.",
    },
    Metric {
        name: ERRORS,
        kind: Kind::Counter,
        labels: &["model"],
        help: "Frames that a model could not look at; the log says why.",
    },
    Metric {
        name: FALLBACKS,
        kind: Kind::Counter,
        labels: &["model"],
        help: "Models that run on the CPU because CUDA did not work.",
    },
];

/// A model was loaded and has made its first inference.
pub(crate) struct ModelLoaded<'a> {
    pub(crate) info: &'a ModelInfo,
}

impl ModelLoaded<'_> {
    pub(crate) fn emit(self) {
        let info = self.info;
        tracing::info!(
            stage = "detect",
            model = info.id.name,
            sha256 = info.id.sha256,
            layout = %info.layout,
            layout_source = %info.layout_source,
            input = %info.input,
            classes = info.classes.len(),
            device = %info.device,
            threads = info.threads,
            warmup_ms = info.warmup_ms,
            infer_ms = info.infer_ms,
            "model loaded"
        );
    }
}

/// A recognition model was loaded and has made its first inference.
pub(crate) struct ReaderLoaded<'a> {
    pub(crate) info: &'a TextModelInfo,
}

impl ReaderLoaded<'_> {
    pub(crate) fn emit(self) {
        let info = self.info;
        tracing::info!(
            stage = "detect",
            model = info.id.name,
            sha256 = info.id.sha256,
            layout = "ctc",
            input = %info.input,
            characters = info.characters,
            device = %info.device,
            threads = info.threads,
            warmup_ms = info.warmup_ms,
            infer_ms = info.infer_ms,
            "model loaded"
        );
    }
}

/// CUDA did not work, and the model runs on the CPU.
pub(crate) struct FellBackToCpu<'a> {
    pub(crate) model: &'a str,
    pub(crate) reason: &'a str,
    /// Whether this ONNX Runtime was built with CUDA: one without is no fault.
    pub(crate) has_cuda: bool,
}

impl FellBackToCpu<'_> {
    pub(crate) fn emit(self) {
        metrics::counter!(FALLBACKS, "model" => self.model.to_owned()).increment(1);
        let Self { model, reason, has_cuda } = self;
        if has_cuda {
            tracing::warn!(
                stage = "detect",
                model,
                error = reason,
                "CUDA does not work: the model runs on the CPU; device: cpu silences this, device: cuda makes it an error"
            );
        } else {
            tracing::info!(
                stage = "detect",
                model,
                "this ONNX Runtime has no CUDA: the model runs on the CPU"
            );
        }
    }
}

/// A batch was looked at.
pub(crate) struct Inferred<'a> {
    pub(crate) model: &'a str,
    pub(crate) frames: usize,
    pub(crate) steps: &'a Steps,
}

impl Inferred<'_> {
    #[expect(clippy::cast_precision_loss, reason = "batches are small")]
    pub(crate) fn emit(self) {
        record(self.model, self.steps);
        metrics::histogram!(BATCH, "model" => self.model.to_owned()).record(self.frames as f64);
    }
}

/// Boxes were read by one inference.
pub(crate) struct LinesRead<'a> {
    pub(crate) model: &'a str,
    pub(crate) lines: usize,
    pub(crate) steps: &'a Steps,
}

impl LinesRead<'_> {
    pub(crate) fn emit(self) {
        record(self.model, self.steps);
        metrics::counter!(LINES, "model" => self.model.to_owned()).increment(self.lines as u64);
    }
}

fn record(model: &str, steps: &Steps) {
    let model = || model.to_owned();
    metrics::histogram!(PREPROCESS, "model" => model()).record(steps.preprocess.wall.as_secs_f64());
    metrics::histogram!(INFERENCE, "model" => model()).record(steps.inference.wall.as_secs_f64());
    metrics::histogram!(POSTPROCESS, "model" => model()).record(steps.postprocess.wall.as_secs_f64());
}

/// A frame could not be looked at.
pub(crate) struct FrameFailed<'a> {
    pub(crate) model: &'a str,
    pub(crate) camera: &'a str,
    pub(crate) error: &'a DetectError,
}

impl FrameFailed<'_> {
    pub(crate) fn emit(self) {
        metrics::counter!(ERRORS, "model" => self.model.to_owned()).increment(1);
        tracing::warn!(stage = "detect", model = self.model, camera = self.camera, error = %self.error, "frame not looked at");
    }
}

/// ONNX Runtime says something.
pub(crate) struct RuntimeLog<'a> {
    pub(crate) severe: bool,
    pub(crate) category: &'a str,
    pub(crate) message: &'a str,
}

impl RuntimeLog<'_> {
    /// Logs it; what is severe comes back as an error of the call as well, and is told at its level there.
    pub(crate) fn emit(self) {
        if self.severe {
            tracing::warn!(stage = "detect", category = self.category, "ONNX Runtime: {}", self.message);
        } else {
            tracing::debug!(stage = "detect", category = self.category, "ONNX Runtime: {}", self.message);
        }
    }
}
