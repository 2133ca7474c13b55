//! `models quantize`: writes the int8 twin of a detector, if it finds the same boxes.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio::runtime::Runtime;

use super::clip_frames::{ClipFrame, ClipFrames};
use super::config_args::ConfigArgs;
use super::quantize_report::{EngineReport, QuantizeReport};
use super::{UsageError, frames_per_second, print_stderr};
use crate::base::Stopwatch;
use crate::config::Settings;
use crate::detect::quantize::{BoxGate, Calibrator, QuantizedModel};
use crate::detect::{Detector, Device, EngineChoice, InferenceEngine, ModelSpec, Purpose, Thresholds};
use crate::media::{Detection, Frame};

/// Length of the stretches of footage that alternate between calibration and the gate, seconds.
const STRETCH_S: f64 = 2.0;
/// Interval between two progress lines.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);
/// The confidence threshold for a model that is named by its file: the default of `conf_threshold`.
const DEFAULT_CONF: f32 = 0.4;
/// The IoU of the non-maximum suppression for such a model: the default of `nms_iou`.
const DEFAULT_NMS_IOU: f32 = 0.5;

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
pub(super) struct QuantizeArgs {
    /// ONNX file, or a name under `models` of the configuration, which then gives layout, input, classes and threshold
    model: String,
    /// Clips for calibration and, without --check, for the gate: H.264 or H.265 in mp4 or Matroska
    #[arg(long, value_name = "CLIP", required = true, num_args = 1..)]
    footage: Vec<PathBuf>,
    /// Clips for the gate; all footage is then used for calibration
    #[arg(long, value_name = "CLIP", num_args = 1..)]
    check: Vec<PathBuf>,
    /// File to write; by default MODEL.int8.onnx beside the model
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Frames per second of the clips that are used
    #[arg(long, default_value_t = 2.0, value_parser = frames_per_second)]
    fps: f64,
    /// Confidence threshold, 0 to 1; by default that of the configuration, else 0.4
    #[arg(long)]
    conf: Option<f32>,
    #[command(flatten)]
    config: ConfigArgs,
}

/// A model to quantise.
struct QuantizeJob {
    spec: ModelSpec,
    thresholds: Thresholds,
    out: PathBuf,
    footage: Vec<ClipFrames>,
    /// Empty: the stretches of the footage that are not used for calibration.
    check: Vec<ClipFrames>,
}

impl QuantizeArgs {
    /// Quantises the model, compares and writes it.
    ///
    /// # Errors
    /// The model or a clip cannot be used.
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let job = self.job(&runtime)?;
        let report = job.run(&runtime)?;
        let mut out = std::io::stdout().lock();
        write!(out, "{report}")?;
        Ok(if report.passes() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn job(&self, runtime: &Runtime) -> anyhow::Result<QuantizeJob> {
        let (spec, thresholds, is_fetched) = self.model(runtime)?;
        let conf = self.conf.unwrap_or(thresholds.conf);
        // The cache of fetched models is no place for it: what no configuration names is deleted there.
        if self.out.is_none() && is_fetched {
            return Err(
                UsageError(format!("{} is fetched: give the twin's path with --out", self.model)).into()
            );
        }
        let out = self.out.clone().unwrap_or_else(|| spec.path.with_extension("int8.onnx"));
        if out == spec.path {
            return Err(UsageError(format!("--out {}: that is the model itself", out.display())).into());
        }
        let footage = self.read_clips(runtime, &self.footage)?;
        let check = self.read_clips(runtime, &self.check)?;
        Ok(QuantizeJob { spec, thresholds: Thresholds { conf, ..thresholds }, out, footage, check })
    }

    fn read_clips(&self, runtime: &Runtime, paths: &[PathBuf]) -> anyhow::Result<Vec<ClipFrames>> {
        let read = |path: &PathBuf| {
            let clip = runtime.block_on(ClipFrames::read(path, self.fps));
            clip.with_context(|| format!("cannot use the clip {}", path.display()))
        };
        paths.iter().map(read).collect()
    }

    /// Returns the float32 model with a path on this machine, the thresholds of its entries, and `true` if it was fetched.
    fn model(&self, runtime: &Runtime) -> anyhow::Result<(ModelSpec, Thresholds, bool)> {
        let path = Path::new(&self.model);
        if path.extension().is_some() || self.model.contains('/') {
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let spec = ModelSpec { name, path: path.to_owned(), ..ModelSpec::default() };
            return Ok((spec, Thresholds { conf: DEFAULT_CONF, nms_iou: DEFAULT_NMS_IOU }, false));
        }
        let settings = self.config.load()?;
        let (spec, thresholds) = configured(&settings, &self.model)?;
        // The existing twin is not read: it may be the one that is made again.
        let spec = ModelSpec { int8: None, int8_sha256: None, ..spec };
        let local = runtime.block_on(async {
            let fetcher = self.config.models_of(&settings, &[(Purpose::Find, spec.clone())]).await?;
            anyhow::Ok(fetcher.local(&spec, &|_| {}).await?)
        });
        Ok((local?, thresholds, spec.addresses().next().is_some()))
    }
}

/// Returns the detector of this name, and the lowest threshold of the entries that use it.
fn configured(settings: &Settings, name: &str) -> anyhow::Result<(ModelSpec, Thresholds)> {
    let entries = || settings.cameras.iter().flat_map(|camera| &camera.pipeline);
    let uses = entries().filter(|entry| entry.model.name == name);
    match uses.min_by(|a, b| a.rules.thresholds.conf.total_cmp(&b.rules.thresholds.conf)) {
        Some(entry) => Ok((ModelSpec::clone(&entry.model), entry.rules.thresholds)),
        None => {
            let mut names: Vec<&str> = entries().map(|entry| entry.model.name.as_str()).collect();
            names.sort_unstable();
            names.dedup();
            bail!(
                "no camera detects with a model {name:?}; the detectors are {}; or give the path of an .onnx file",
                names.join(", ")
            )
        }
    }
}

impl QuantizeJob {
    fn run(&self, runtime: &Runtime) -> anyhow::Result<QuantizeReport> {
        let made = self.calibrated()?;
        let part = self.out.with_extension("part");
        std::fs::write(&part, &made.bytes).with_context(|| unwritable(&part))?;
        let engines = self.keep_if_passed(&part, self.compared(runtime, &part))?;
        let float_bytes = std::fs::metadata(&self.spec.path)?.len();
        Ok(QuantizeReport {
            name: self.spec.name.clone(),
            model: self.spec.path.clone(),
            out: self.out.clone(),
            conf: self.thresholds.conf,
            float_bytes,
            made,
            engines,
        })
    }

    /// Renames the part to the file to write if it passes on each engine, and removes it otherwise.
    fn keep_if_passed(
        &self,
        part: &Path,
        compared: anyhow::Result<Vec<EngineReport>>,
    ) -> anyhow::Result<Vec<EngineReport>> {
        match compared {
            Ok(engines) if engines.iter().all(EngineReport::passes) => {
                std::fs::rename(part, &self.out).with_context(|| unwritable(&self.out))?;
                Ok(engines)
            }
            refused => {
                std::fs::remove_file(part).with_context(|| unwritable(part))?;
                refused
            }
        }
    }

    fn calibrated(&self) -> anyhow::Result<QuantizedModel> {
        let mut calibrator = Calibrator::open(&self.spec, 1)?;
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
        let mut float = TimedDetector::start(&self.spec, EngineChoice::Onnxruntime)?;
        let mut twins = self.start_twins(twin)?;
        let mut gates: Vec<BoxGate> = twins.iter().map(|_| BoxGate::new(self.thresholds.conf)).collect();
        self.each_gate_frame(|place, frame| {
            let of_float = float.detect(runtime, frame, self.thresholds)?;
            for (twin, gate) in twins.iter_mut().zip(&mut gates) {
                gate.compare(place, &of_float, &twin.detect(runtime, frame, self.thresholds)?);
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
        let twin = ModelSpec { path: twin.to_owned(), sha256: None, ..self.spec.clone() };
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

fn unwritable(path: &Path) -> String {
    format!("cannot write {}", path.display())
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
        Ok(Self { detector: Detector::start(&spec, Device::Cpu, 1)?, cpu: Duration::ZERO, inferences: 0 })
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

/// Progress on standard error: a line every few seconds, and one at the end.
struct ProgressLines {
    step: &'static str,
    began: Instant,
    last: Instant,
    frames: usize,
}

impl ProgressLines {
    fn new(step: &'static str) -> Self {
        let now = Instant::now();
        Self { step, began: now, last: now, frames: 0 }
    }

    fn frame(&mut self, clip: &str) {
        self.frames += 1;
        if self.last.elapsed() >= PROGRESS_INTERVAL {
            self.last = Instant::now();
            print_stderr(format_args!("{}: {} frames so far, now in {clip}", self.step, self.frames));
        }
    }

    fn end(&self) {
        let (step, frames, took) = (self.step, self.frames, self.began.elapsed().as_secs_f64());
        print_stderr(format_args!("{step}: {frames} frames in {took:.1} s"));
    }
}
