//! `models half`: writes the float16 twin of a detector, if it finds the same boxes.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use tokio::runtime::Runtime;

use super::clip_frames::{ClipFrame, ClipFrames};
use super::half_report::{CudaOutcome, HalfReport, PlaceReport};
use super::model_args::{ModelArgs, TwinOrder};
use super::part_file::PartFile;
use super::progress::ProgressLines;
use crate::detect::twins::half::convert;
use crate::detect::twins::{BoxGate, GateBoxes, GateTolerance, TwinError};
use crate::detect::{DetectError, Detector, Device, EngineChoice, ModelSpec, Thresholds};
use crate::media::Detection;

/// Writes the float16 twin of a detector for `models.NAME.half`, or refuses if it does not find the same boxes.
///
/// All nodes before the last convolution or matrix product compute in float16, and the input is float16. The nodes behind it,
/// which compute boxes and scores, and the outputs stay in float32. On a GPU the weights of the twin take half the
/// memory; on the CPU it gains nothing.
///
/// The gate: both models run on the footage. A box of the float32 model with confidence of at least threshold + 0.02 is missing
/// if the twin has no box of the same label above the threshold with an IoU of at least 0.5; a box of the twin is new by the
/// same rule, and a pair of boxes is changed if its IoU is below 0.98 or its confidences differ by more than 0.02. A box that
/// the other model has as well, and only its non-maximum suppression drops for another one, counts as a tie. The twin is written
/// only if there are at least 10 such boxes, and none is missing, new or changed: on the CPU, in a simulation that rounds the
/// result of each node to float16, and on CUDA, where it works and `device` of the configuration allows it. The threshold is
/// the lowest `conf_threshold` of the entries that use the model.
///
/// Exit codes: 0 the twin is written; 1 the gate refuses it, and nothing is written; 69 a clip cannot be used; 78 the
/// configuration is invalid or the model cannot be used or converted.
#[derive(Clone, Debug, clap::Args)]
pub(in crate::cli) struct HalfArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// Clips for the gate: H.264 or H.265 in mp4 or Matroska
    #[arg(long, value_name = "CLIP", required = true, num_args = 1..)]
    footage: Vec<PathBuf>,
    /// File to write; by default MODEL.half.onnx beside the model
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// A model to convert.
struct HalfJob {
    order: TwinOrder,
    footage: Vec<ClipFrames>,
}

impl HalfArgs {
    /// Converts the model, compares and writes it.
    ///
    /// # Errors
    /// The model or a clip cannot be used.
    pub(in crate::cli) fn run(self) -> anyhow::Result<ExitCode> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let order = self.model.order(&runtime, self.out.as_deref(), "half.onnx")?;
        let footage = self.model.read_clips(&runtime, &self.footage)?;
        let report = HalfJob { order, footage }.run(&runtime)?;
        let mut out = std::io::stdout().lock();
        write!(out, "{report}")?;
        Ok(if report.passes() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

impl HalfJob {
    fn run(&self, runtime: &Runtime) -> anyhow::Result<HalfReport> {
        let TwinOrder { spec, thresholds, out, .. } = &self.order;
        let made = convert(spec)?;
        // The first to start, so that a fault is reported of the model and not of its twin.
        let float = self.start(&spec.path, Device::Cpu)?;
        let part = PartFile::write(out, "part", &made.bytes)?;
        let rounded = PartFile::write(out, "rounded.part", &made.rounded)?;
        let (mut twins, cuda) = self.start_twins(part.path(), rounded.path())?;
        self.compare(runtime, &float, &mut twins)?;
        let report = HalfReport {
            name: spec.name.clone(),
            model: spec.path.clone(),
            out: out.clone(),
            conf: thresholds.conf,
            float_bytes: std::fs::metadata(&spec.path)?.len(),
            made,
            places: twins.into_iter().map(ComparedTwin::into_report).collect(),
            cuda,
        };
        if report.passes() {
            part.keep_as(out)?;
        }
        Ok(report)
    }

    /// Starts the twin on the CPU, its simulation, and the twin on CUDA where that is wanted and works.
    fn start_twins(&self, twin: &Path, rounded: &Path) -> anyhow::Result<(Vec<ComparedTwin>, CudaOutcome)> {
        let TwinOrder { thresholds, device, .. } = &self.order;
        let compared = |place: &str, detector| ComparedTwin {
            place: place.to_owned(),
            detector,
            gate: BoxGate::new(thresholds.conf, GateTolerance::HALF),
        };
        let rounded = compared("rounded to float16", self.start(rounded, Device::Cpu)?);
        let mut twins = vec![rounded, compared("CPU", self.start(twin, Device::Cpu)?)];
        let cuda = match device {
            Device::Cpu => CudaOutcome::NotWanted,
            Device::Auto(index) => match self.start(twin, Device::Cuda(*index)) {
                Ok(detector) => {
                    twins.push(compared("CUDA", detector));
                    CudaOutcome::Compared
                }
                Err(TwinError::Model(DetectError::Cuda { reason, .. })) => CudaOutcome::Absent(reason),
                Err(error) => return Err(error.into()),
            },
            Device::Cuda(_) => {
                twins.push(compared("CUDA", self.start(twin, *device)?));
                CudaOutcome::Compared
            }
        };
        Ok((twins, cuda))
    }

    /// Starts this file on ONNX Runtime, with the settings of the model.
    fn start(&self, path: &Path, device: Device) -> Result<Detector, TwinError> {
        let (path, engine) = (path.to_owned(), EngineChoice::Onnxruntime);
        let spec = ModelSpec { path, sha256: None, engine, threads: Some(1), ..self.order.spec.clone() };
        Ok(Detector::start(&spec, device, 1)?)
    }

    /// Compares the boxes of each twin with those of the float32 model on the CPU, on all frames of the footage.
    fn compare(&self, runtime: &Runtime, float: &Detector, twins: &mut [ComparedTwin]) -> anyhow::Result<()> {
        let thresholds = self.order.thresholds;
        // An IoU of 1 suppresses nothing: these are the candidates.
        let both = vec![thresholds, Thresholds { nms_iou: 1.0, ..thresholds }];
        let mut progress = ProgressLines::new("comparison");
        for clip in &self.footage {
            clip.each(|ClipFrame { frame, second }| {
                progress.frame(&clip.name());
                let of_float = runtime.block_on(float.detect_each(frame.clone(), both.clone()))?;
                let place = format!("{} at {second:.1} s", clip.name());
                for twin in twins.iter_mut() {
                    let of_twin = runtime.block_on(twin.detector.detect_each(frame.clone(), both.clone()))?;
                    twin.gate.compare(&place, gate_boxes(&of_float.lists), gate_boxes(&of_twin.lists));
                }
                Ok(())
            })?;
        }
        progress.end();
        Ok(())
    }
}

/// Returns the boxes from lists with and without suppression.
fn gate_boxes(lists: &[Vec<Detection>]) -> GateBoxes<'_> {
    match lists {
        [kept, candidates] => GateBoxes { kept, candidates },
        _ => GateBoxes::default(),
    }
}

/// A running twin and the comparison of its boxes.
struct ComparedTwin {
    place: String,
    detector: Detector,
    gate: BoxGate,
}

impl ComparedTwin {
    fn into_report(self) -> PlaceReport {
        PlaceReport { place: self.place, gate: self.gate.report().clone() }
    }
}
