//! `models quantize`: writes the int8 twin of a detector, if it finds the same boxes.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;

use super::clip_frames::{ClipFrame, ClipFrames};
use super::model_args::{ModelArgs, TwinOrder};
use super::part_file::PartFile;
use super::progress::ProgressLines;
use super::quantize_report::{EngineReport, QuantizeReport};
use crate::base::Stopwatch;
use crate::detect::twins::quantize::{Calibrator, QuantizedModel};
use crate::detect::twins::{BoxGate, GateBoxes, GateTolerance, TwinError};
use crate::detect::{Detector, Device, EngineChoice, InferenceEngine, ModelSpec, Thresholds};
use crate::media::{Detection, Frame};

/// Length of the stretches of footage that alternate between calibration and the gate, seconds.
const STRETCH_S: f64 = 2.0;

/// Writes the int8 twin of a detector for `models.NAME.int8`, or refuses if it does not find the same boxes.
///
/// Convolutions get int8 weights with one scale per output channel, and uint8 activations; the first and the last
/// convolutions and all other operators stay in float32. The ranges of the activations are those of the float32 model on
/// frames of the footage, which should show what the cameras see: day, night, and the objects that matter.
///
/// The gate: both models run on footage that was not used for calibration, every other 2 seconds of the clips, or the clips
/// of --check. A box of the float32 model with confidence of at least threshold + 0.1 is missing if the int8 model has no
/// box of the same label above the threshold with an IoU of at least 0.5; a box of the int8 model is new by the same rule.
/// The twin is written only if there are at least 10 such boxes, none is missing and none is new, on each engine that can
/// run it here (ONNX Runtime, OpenVINO). The threshold is the lowest `conf_threshold` of the entries that use the model.
///
/// Exit codes: 0 the twin is written; 1 the gate refuses it, and nothing is written; 69 a clip cannot be used; 78 the
/// configuration is invalid or the model cannot be used or quantised.
#[derive(Clone, Debug, clap::Args)]
pub(in crate::cli) struct QuantizeArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// Clips for calibration and, without --check, for the gate: H.264 or H.265 in mp4 or Matroska
    #[arg(long, value_name = "CLIP", required = true, num_args = 1..)]
    footage: Vec<PathBuf>,
    /// Clips for the gate; all footage is then used for calibration
    #[arg(long, value_name = "CLIP", num_args = 1..)]
    check: Vec<PathBuf>,
    /// File to write; by default MODEL.int8.onnx beside the model
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// A model to quantise.
struct QuantizeJob {
    order: TwinOrder,
    footage: Vec<ClipFrames>,
    /// Empty: the stretches of the footage that are not used for calibration.
    check: Vec<ClipFrames>,
}

impl QuantizeArgs {
    /// Quantises the model, compares and writes it.
    ///
    /// # Errors
    /// The model or a clip cannot be used.
    pub(in crate::cli) fn run(self) -> anyhow::Result<ExitCode> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let order = self.model.order(&runtime, self.out.as_deref(), "int8.onnx")?;
        let footage = self.model.read_clips(&runtime, &self.footage)?;
        let check = self.model.read_clips(&runtime, &self.check)?;
        let report = QuantizeJob { order, footage, check }.run(&runtime)?;
        let mut out = std::io::stdout().lock();
        write!(out, "{report}")?;
        Ok(if report.passes() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

impl QuantizeJob {
    fn run(&self, runtime: &Runtime) -> anyhow::Result<QuantizeReport> {
        let made = self.calibrated()?;
        let TwinOrder { spec, thresholds, out, .. } = &self.order;
        let part = PartFile::write(out, "part", &made.bytes)?;
        let engines = self.compared(runtime, part.path())?;
        if engines.iter().all(EngineReport::passes) {
            part.keep_as(out)?;
        }
        let float_bytes = std::fs::metadata(&spec.path)?.len();
        Ok(QuantizeReport {
            name: spec.name.clone(),
            model: spec.path.clone(),
            out: out.clone(),
            conf: thresholds.conf,
            float_bytes,
            made,
            engines,
        })
    }

    fn calibrated(&self) -> anyhow::Result<QuantizedModel> {
        let mut calibrator = Calibrator::open(&self.order.spec, 1)?;
        let mut progress = ProgressLines::new("calibration");
        for clip in &self.footage {
            clip.each(|ClipFrame { frame, second }| {
                if self.check.is_empty() && is_held_out(second) {
                    return Ok(());
                }
                progress.frame(&clip.name());
                Ok(calibrator.observe(&frame)?)
            })?;
        }
        progress.end();
        Ok(calibrator.quantize()?)
    }

    /// Runs the float32 model and the twin on each engine that can run it, on the footage for the gate.
    fn compared(&self, runtime: &Runtime, twin: &Path) -> anyhow::Result<Vec<EngineReport>> {
        let TwinOrder { spec, thresholds, .. } = &self.order;
        let mut float = TimedDetector::start(spec, EngineChoice::Onnxruntime)?;
        let mut twins = self.start_twins(twin)?;
        let gate = |_| BoxGate::new(thresholds.conf, GateTolerance::INT8);
        let mut gates: Vec<BoxGate> = twins.iter().map(gate).collect();
        self.each_gate_frame(|place, frame| {
            let of_float = float.detect(runtime, frame, *thresholds)?;
            for (twin, gate) in twins.iter_mut().zip(&mut gates) {
                let of_twin = twin.detect(runtime, frame, *thresholds)?;
                let [of_float, of_twin] =
                    [&of_float, &of_twin].map(|kept| GateBoxes { kept, ..GateBoxes::default() });
                gate.compare(place, of_float, of_twin);
            }
            Ok(())
        })?;
        let float_ms = float.cpu_ms();
        let report = |(twin, gate): (&TimedDetector, &BoxGate)| EngineReport {
            engine: twin.engine(),
            float_ms,
            int8_ms: twin.cpu_ms(),
            gate: gate.report().clone(),
        };
        Ok(twins.iter().zip(&gates).map(report).collect())
    }

    /// Starts the twin on each engine that can run it here.
    fn start_twins(&self, twin: &Path) -> anyhow::Result<Vec<TimedDetector>> {
        let twin = ModelSpec { path: twin.to_owned(), sha256: None, ..self.order.spec.clone() };
        let mut twins = vec![TimedDetector::start(&twin, EngineChoice::Onnxruntime)?];
        let on_openvino = TimedDetector::start(&twin, EngineChoice::Openvino)?;
        if on_openvino.engine() == InferenceEngine::OpenVino {
            twins.push(on_openvino);
        }
        Ok(twins)
    }

    /// Calls `compare` with each frame of the footage for the gate, and its place in words.
    fn each_gate_frame(
        &self,
        mut compare: impl FnMut(&str, &Arc<Frame>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut progress = ProgressLines::new("comparison");
        let (clips, all) = if self.check.is_empty() { (&self.footage, false) } else { (&self.check, true) };
        for clip in clips {
            clip.each(|ClipFrame { frame, second }| {
                if !all && !is_held_out(second) {
                    return Ok(());
                }
                progress.frame(&clip.name());
                compare(&format!("{} at {second:.1} s", clip.name()), &frame)
            })?;
        }
        progress.end();
        Ok(())
    }
}

/// Returns `true` for the stretches that calibration does not use.
fn is_held_out(second: f64) -> bool {
    (second / STRETCH_S).floor() % 2.0 >= 1.0
}

/// A detector on one thread, and the CPU time of its inferences.
struct TimedDetector {
    detector: Detector,
    cpu: Duration,
    inferences: u32,
}

impl TimedDetector {
    fn start(spec: &ModelSpec, engine: EngineChoice) -> anyhow::Result<Self> {
        let spec = ModelSpec { engine, threads: Some(1), ..spec.clone() };
        let detector = Detector::start(&spec, Device::Cpu, 1).map_err(TwinError::Model)?;
        Ok(Self { detector, cpu: Duration::ZERO, inferences: 0 })
    }

    fn engine(&self) -> InferenceEngine {
        self.detector.info().engine.engine
    }

    fn detect(
        &mut self,
        runtime: &Runtime,
        frame: &Arc<Frame>,
        thresholds: Thresholds,
    ) -> anyhow::Result<Vec<Detection>> {
        // Nothing else runs in this process, and an engine may compute on any of its threads.
        let mut watch = Stopwatch::of_the_process();
        let seen = runtime.block_on(self.detector.detect(Arc::clone(frame), thresholds))?;
        self.cpu += watch.lap().cpu;
        self.inferences += 1;
        Ok(seen)
    }

    /// CPU ms per inference, preprocessing included.
    fn cpu_ms(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e3 / f64::from(self.inferences.max(1))
    }
}
