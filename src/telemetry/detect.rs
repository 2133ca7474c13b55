//! Events of detect: models, inferences, plate texts.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Display;
use std::time::Duration;

use super::{Metric, MetricKind};

const STAGE: &str = "detect";
const PREPROCESS: &str = "kvs_infer_detect_preprocess_seconds";
const INFERENCE: &str = "kvs_infer_detect_inference_seconds";
const POSTPROCESS: &str = "kvs_infer_detect_postprocess_seconds";
const BATCH: &str = "kvs_infer_detect_batch_frames";
const TEXTS: &str = "kvs_infer_detect_texts_read_total";
const ERRORS: &str = "kvs_infer_detect_errors_total";
const FALLBACKS: &str = "kvs_infer_detect_cpu_fallbacks_total";
const GPU_LOST: &str = "kvs_infer_detect_gpu_lost_total";
const ON_CPU: &str = "kvs_infer_detect_cpu_fallback";
const NODES: &str = "kvs_infer_detect_nodes";
const LIMITED: &str = "kvs_infer_detect_batches_limited_total";

/// The execution providers that a model may run on.
const PROVIDERS: [&str; 3] = ["cpu", "cuda", "openvino"];

/// The metrics of detect.
pub(crate) const METRICS: &[Metric] = &[
    Metric {
        name: PREPROCESS,
        kind: MetricKind::Histogram,
        labels: &["model"],
        help: "Time to convert the frames of a batch into the model's input.",
    },
    Metric {
        name: INFERENCE,
        kind: MetricKind::Histogram,
        labels: &["model"],
        help: "Time of ONNX Runtime for a batch.",
    },
    Metric {
        name: POSTPROCESS,
        kind: MetricKind::Histogram,
        labels: &["model"],
        help: "Time to convert the outputs of a batch into bounding boxes.",
    },
    Metric { name: BATCH, kind: MetricKind::Histogram, labels: &["model"], help: "Frames per inference." },
    Metric {
        name: TEXTS,
        kind: MetricKind::Counter,
        labels: &["model"],
        help: "Bounding boxes whose text a recognition model read.",
    },
    Metric {
        name: ERRORS,
        kind: MetricKind::Counter,
        labels: &["model"],
        help: "Frames on which a model failed; the log has the reason.",
    },
    Metric {
        name: FALLBACKS,
        kind: MetricKind::Counter,
        labels: &["model"],
        help: "Loads of the model that ended on the CPU because CUDA did not work.",
    },
    Metric {
        name: ON_CPU,
        kind: MetricKind::Gauge,
        labels: &["model"],
        help: "1 while the model runs on the CPU because CUDA does not work, on one GPU at least, else 0.",
    },
    Metric {
        name: GPU_LOST,
        kind: MetricKind::Counter,
        labels: &["model"],
        help: "Models whose GPU was lost; the process ends then.",
    },
    Metric {
        name: NODES,
        kind: MetricKind::Gauge,
        labels: &["model", "provider"],
        help: "Nodes of a loaded model by the execution provider that computes them, summed over its GPUs; 0 where it computes none.",
    },
    Metric {
        name: LIMITED,
        kind: MetricKind::Counter,
        labels: &["model"],
        help: "Times that the largest batch of a model was halved, mostly because the GPU's memory is too small.",
    },
];

/// A detection model was loaded and has made its first inference.
pub(crate) struct ModelLoaded<'a> {
    pub(crate) model: &'a str,
    pub(crate) sha256: &'a str,
    pub(crate) layout: &'a dyn Display,
    pub(crate) layout_source: &'a dyn Display,
    pub(crate) input: &'a dyn Display,
    pub(crate) classes: usize,
    pub(crate) device: &'a dyn Display,
    /// The execution providers that compute its nodes, if they are known.
    pub(crate) nodes: Option<&'a dyn Display>,
    pub(crate) engine: &'a dyn Display,
    /// The reason for which another engine or twin of the model is not used.
    pub(crate) engine_note: Option<&'a str>,
    pub(crate) threads: usize,
    /// The first inference, ms.
    pub(crate) warmup_ms: f64,
    /// A later inference of one batch, ms.
    pub(crate) infer_ms: f64,
}

impl ModelLoaded<'_> {
    pub(crate) fn emit(self) {
        tracing::info!(
            stage = STAGE,
            model = self.model,
            sha256 = self.sha256,
            layout = %self.layout,
            layout_source = %self.layout_source,
            input = %self.input,
            classes = self.classes,
            device = %self.device,
            nodes = self.nodes.map(tracing::field::display),
            engine = %self.engine,
            engine_note = self.engine_note,
            threads = self.threads,
            warmup_ms = self.warmup_ms,
            infer_ms = self.infer_ms,
            "model loaded"
        );
    }
}

/// A text recognition model was loaded and has made its first inference.
pub(crate) struct TextModelLoaded<'a> {
    pub(crate) model: &'a str,
    pub(crate) sha256: &'a str,
    pub(crate) input: &'a dyn Display,
    /// The size of its alphabet.
    pub(crate) characters: usize,
    pub(crate) device: &'a dyn Display,
    /// The execution providers that compute its nodes, if they are known.
    pub(crate) nodes: Option<&'a dyn Display>,
    pub(crate) engine: &'a dyn Display,
    /// The reason for which another engine or twin of the model is not used.
    pub(crate) engine_note: Option<&'a str>,
    pub(crate) threads: usize,
    /// The first inference, ms.
    pub(crate) warmup_ms: f64,
    /// A later inference of one batch, ms.
    pub(crate) infer_ms: f64,
}

impl TextModelLoaded<'_> {
    pub(crate) fn emit(self) {
        tracing::info!(
            stage = STAGE,
            model = self.model,
            sha256 = self.sha256,
            layout = "ctc",
            input = %self.input,
            characters = self.characters,
            device = %self.device,
            nodes = self.nodes.map(tracing::field::display),
            engine = %self.engine,
            engine_note = self.engine_note,
            threads = self.threads,
            warmup_ms = self.warmup_ms,
            infer_ms = self.infer_ms,
            "model loaded"
        );
    }
}

/// A model that would run on OpenVINO runs on ONNX Runtime's own kernels.
pub(crate) struct OpenVinoUnused<'a> {
    pub(crate) model: &'a str,
    pub(crate) reason: &'a str,
    /// `true` where the plugin fails, or the configuration demands it.
    pub(crate) severe: bool,
}

impl OpenVinoUnused<'_> {
    pub(crate) fn emit(self) {
        let Self { model, reason, severe } = self;
        if severe {
            tracing::warn!(
                stage = STAGE,
                model,
                error = reason,
                "OpenVINO is not used: the model runs on ONNX Runtime's kernels; engine: onnxruntime silences this"
            );
        } else {
            tracing::info!(
                stage = STAGE,
                model,
                reason,
                "OpenVINO is not used: the model runs on ONNX Runtime's kernels"
            );
        }
    }
}

/// CUDA did not work, and the model runs on the CPU.
pub(crate) struct FellBackToCpu<'a> {
    pub(crate) model: &'a str,
    /// The index of the GPU that was tried.
    pub(crate) gpu: u32,
    pub(crate) reason: &'a str,
    /// `true` where this ONNX Runtime was built with CUDA; a build without it is a choice, and no warning.
    pub(crate) has_cuda: bool,
}

impl FellBackToCpu<'_> {
    pub(crate) fn emit(self) {
        // Counted with and without CUDA in the build: the metric says where models run, the level whether that is a fault.
        metrics::counter!(FALLBACKS, "model" => self.model.to_owned()).increment(1);
        let Self { model, gpu, reason, has_cuda } = self;
        // `device: auto` means to use CUDA where it works: only a build that has CUDA can disappoint that.
        if has_cuda {
            tracing::warn!(
                stage = STAGE,
                model,
                gpu = %format_args!("cuda:{gpu}"),
                error = reason,
                "CUDA does not work: the model runs on the CPU; device: cpu silences this, device: cuda makes it an error"
            );
        } else {
            tracing::info!(stage = STAGE, model, "this ONNX Runtime has no CUDA: the model runs on the CPU");
        }
    }
}

/// A model runs on CUDA, and libraries that CUDA may open later were not found.
pub(crate) struct CudaLibrariesMissing<'a> {
    pub(crate) model: &'a str,
    /// Their names, and the remedy.
    pub(crate) reason: &'a str,
}

impl CudaLibrariesMissing<'_> {
    pub(crate) fn emit(self) {
        tracing::warn!(
            stage = STAGE,
            model = self.model,
            reason = self.reason,
            "libraries of CUDA are missing"
        );
    }
}

/// A model that had fallen back to the CPU runs on the GPU.
pub(crate) struct GpuRegained<'a> {
    pub(crate) model: &'a str,
    /// The index of the GPU.
    pub(crate) gpu: u32,
}

impl GpuRegained<'_> {
    pub(crate) fn emit(self) {
        let Self { model, gpu } = self;
        let gpu = format_args!("cuda:{gpu}");
        tracing::info!(stage = STAGE, model, %gpu, "CUDA works again: the model runs on the GPU");
    }
}

/// The state of a model on the status board, on all devices that it was loaded for.
#[derive(Default)]
pub(crate) struct ModelShown {
    /// `true` where it runs on the CPU for one of them because CUDA does not work.
    pub(crate) fell_back: bool,
    /// The number of its nodes by execution provider, if that is known.
    pub(crate) nodes: Option<BTreeMap<String, usize>>,
}

impl ModelShown {
    /// Adds the nodes on one of the devices.
    pub(crate) fn add_nodes<'a>(&mut self, by_provider: impl Iterator<Item = (&'a str, usize)>) {
        let nodes = self.nodes.get_or_insert_default();
        for (provider, count) in by_provider {
            *nodes.entry(provider.to_owned()).or_default() += count;
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a graph has few nodes")]
    pub(crate) fn emit(&self, model: &str) {
        metrics::gauge!(ON_CPU, "model" => model.to_owned()).set(f64::from(u8::from(self.fell_back)));
        let Some(nodes) = &self.nodes else { return };
        // A provider without nodes is 0: the model may have run there before.
        let absent = PROVIDERS.into_iter().filter(|provider| !nodes.contains_key(*provider));
        let counts = nodes.iter().map(|(provider, count)| (provider.as_str(), *count));
        for (provider, count) in counts.chain(absent.map(|provider| (provider, 0))) {
            metrics::gauge!(NODES, "model" => model.to_owned(), "provider" => provider.to_owned())
                .set(count as f64);
        }
    }
}

/// A model that had fallen back to the CPU was tried on the GPU, which still does not work.
pub(crate) struct GpuRetryFailed<'a> {
    pub(crate) model: &'a str,
    /// The index of the GPU.
    pub(crate) gpu: u32,
    pub(crate) error: &'a dyn Error,
    /// The time until the next try; `None`: there is none, since CUDA works again only in a new process.
    pub(crate) wait: Option<Duration>,
}

impl GpuRetryFailed<'_> {
    pub(crate) fn emit(self) {
        let Self { model, gpu, error, wait } = self;
        tracing::info!(
            stage = STAGE,
            model,
            gpu = %format_args!("cuda:{gpu}"),
            reason = %error,
            wait_s = wait.map(|wait| wait.as_secs()),
            "CUDA still does not work: the model stays on the CPU"
        );
    }
}

/// The wall-clock durations of the steps of one inference.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StepDurations {
    pub(crate) preprocess: Duration,
    pub(crate) inference: Duration,
    pub(crate) postprocess: Duration,
}

impl StepDurations {
    fn record(self, model: &str) {
        // Three observations per inference: the exporter takes each label by value.
        let model = || model.to_owned();
        metrics::histogram!(PREPROCESS, "model" => model()).record(self.preprocess.as_secs_f64());
        metrics::histogram!(INFERENCE, "model" => model()).record(self.inference.as_secs_f64());
        metrics::histogram!(POSTPROCESS, "model" => model()).record(self.postprocess.as_secs_f64());
    }
}

/// A model inferred a batch of frames.
pub(crate) struct BatchInferred<'a> {
    pub(crate) model: &'a str,
    pub(crate) frames: usize,
    pub(crate) steps: StepDurations,
}

impl BatchInferred<'_> {
    #[expect(clippy::cast_precision_loss, reason = "batches are small")]
    pub(crate) fn emit(self) {
        self.steps.record(self.model);
        metrics::histogram!(BATCH, "model" => self.model.to_owned()).record(self.frames as f64);
    }
}

/// A recognition model read the texts of boxes in one inference.
pub(crate) struct TextsRead<'a> {
    pub(crate) model: &'a str,
    pub(crate) boxes: usize,
    pub(crate) steps: StepDurations,
}

impl TextsRead<'_> {
    pub(crate) fn emit(self) {
        self.steps.record(self.model);
        metrics::counter!(TEXTS, "model" => self.model.to_owned()).increment(self.boxes as u64);
    }
}

/// A model failed on a frame.
pub(crate) struct FrameFailed<'a> {
    pub(crate) model: &'a str,
    pub(crate) camera: &'a str,
    pub(crate) error: &'a dyn Error,
}

impl FrameFailed<'_> {
    pub(crate) fn emit(self) {
        metrics::counter!(ERRORS, "model" => self.model.to_owned()).increment(1);
        tracing::warn!(stage = STAGE, model = self.model, camera = self.camera, error = %self.error, "inference failed");
    }
}

/// ONNX Runtime has assigned nodes of a model to other execution providers than the one that was asked for.
pub(crate) struct NodesElsewhere<'a> {
    pub(crate) model: &'a str,
    /// The number of nodes by provider.
    pub(crate) nodes: &'a dyn Display,
}

impl NodesElsewhere<'_> {
    pub(crate) fn emit(self) {
        let Self { model, nodes } = self;
        tracing::warn!(stage = STAGE, model, nodes = %nodes, "nodes of the model run elsewhere than asked");
    }
}

/// A batch failed, and the batches of the model are smaller from now on.
pub(crate) struct BatchLimited<'a> {
    pub(crate) model: &'a str,
    /// The number of frames, or of lines, in the batch that failed.
    pub(crate) batch: usize,
    /// The largest batch from now on.
    pub(crate) max: usize,
    pub(crate) reason: &'a str,
}

impl BatchLimited<'_> {
    pub(crate) fn emit(self) {
        let Self { model, batch, max, reason } = self;
        metrics::counter!(LIMITED, "model" => model.to_owned()).increment(1);
        tracing::warn!(
            stage = STAGE,
            model,
            batch,
            max,
            reason,
            "batch failed: the batches of the model are smaller from now on"
        );
    }
}

/// The GPU of a model was lost.
pub(crate) struct DeviceLost<'a> {
    pub(crate) model: &'a str,
    pub(crate) error: &'a dyn Error,
}

impl DeviceLost<'_> {
    pub(crate) fn emit(self) {
        metrics::counter!(GPU_LOST, "model" => self.model.to_owned()).increment(1);
        tracing::error!(stage = STAGE, model = self.model, error = %self.error, "GPU lost");
    }
}

/// ONNX Runtime logged a message.
pub(crate) struct RuntimeLog<'a> {
    pub(crate) severe: bool,
    pub(crate) category: &'a str,
    pub(crate) message: &'a str,
}

impl RuntimeLog<'_> {
    /// Logs the message, a severe one at WARN only: the call that caused it returns it as an error as well, which is logged at its
    /// own level.
    pub(crate) fn emit(self) {
        // ONNX Runtime also warns of what it corrects by itself: shown at DEBUG only.
        if self.severe {
            tracing::warn!(stage = STAGE, category = self.category, "ONNX Runtime: {}", self.message);
        } else {
            tracing::debug!(stage = STAGE, category = self.category, "ONNX Runtime: {}", self.message);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metrics::testing::rendered;

    #[test]
    fn a_model_on_two_devices_is_one_in_the_metrics() {
        let mut shown = ModelShown { fell_back: true, ..ModelShown::default() };
        shown.add_nodes([("cuda", 100)].into_iter());
        shown.add_nodes([("cpu", 98), ("cuda", 2)].into_iter());
        let text = rendered(|| shown.emit("street"));
        for (provider, count) in [("cuda", 102), ("cpu", 98), ("openvino", 0)] {
            let line =
                format!("kvs_infer_detect_nodes{{model=\"street\",provider=\"{provider}\"}} {count}\n");
            assert!(text.contains(&line), "{text}");
        }
        assert!(text.contains("kvs_infer_detect_cpu_fallback{model=\"street\"} 1\n"), "{text}");
        let unknown = rendered(|| ModelShown::default().emit("street"));
        assert!(!unknown.contains("kvs_infer_detect_nodes{"), "{unknown}");
    }
}
