//! `bench`: measures the CPU time of each stage, beside FFmpeg's decoder and ONNX Runtime alone.

mod baseline;
mod bench_run;
pub(super) mod clip;
mod pipeline;
mod report;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::ensure;

use baseline::Baseline;
use bench_run::BenchRun;
use clip::BenchClip;
use pipeline::PipelineBench;
use report::BenchReport;

use super::frames_per_second;
use crate::detect::{Detector, Device, EngineChoice, ModelSpec, Thresholds};
use crate::telemetry;
use crate::telemetry::log::LogOutput;

/// IoU threshold of the non-maximum suppression. It hardly affects the CPU time.
const NMS_IOU: f32 = 0.5;

/// Measures the CPU time of each stage on a clip, beside FFmpeg's decoder and ONNX Runtime alone.
///
/// Our side executes the code of `run` from the bytes of GetMedia to boxes: demux, decode with the sampler, preprocess,
/// infer, post-process, but not the network, decide and publish. The other side decodes the same packets and makes the
/// same number of inferences on a constant input. The two alternate; the numbers are medians. Everything runs on the CPU.
#[derive(Debug, clap::Args)]
pub(super) struct BenchArgs {
    /// ONNX file
    #[arg(long)]
    model: PathBuf,
    /// Video: H.264 or H.265 in mp4 or Matroska
    #[arg(long)]
    clip: PathBuf,
    /// Inferences per second of the clip
    #[arg(long, default_value_t = 5.0, value_parser = frames_per_second)]
    fps: f64,
    /// Passes of each side over the clip
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    loops: u32,
    /// Threads per inference; with more than one, `infer` counts only the first thread, and the total counts all
    #[arg(long, default_value_t = 1, value_parser = threads)]
    threads: usize,
    /// Engine of our side: onnxruntime or openvino
    #[arg(long, default_value = "onnxruntime", value_parser = engine)]
    engine: EngineChoice,
    /// Minimum confidence, 0 to 1
    #[arg(long, default_value_t = 0.4)]
    conf: f32,
    /// Use only the first N fragments of the clip; a fragment is about a second
    #[arg(long, value_name = "N")]
    fragments: Option<usize>,
    /// Run only this side
    #[arg(long, value_enum)]
    only: Option<Side>,
    /// Print one line of JSON instead of the table
    #[arg(long)]
    json: bool,
}

/// One of the two sides that are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Side {
    /// The pipeline of `run`
    #[value(name = "ours")]
    Pipeline,
    /// Decoder and ONNX Runtime alone
    #[value(name = "alone")]
    Baseline,
}

fn threads(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|threads| *threads > 0).ok_or_else(|| "give a number of at least 1".to_owned())
}

fn engine(text: &str) -> Result<EngineChoice, String> {
    match text {
        "onnxruntime" => Ok(EngineChoice::Onnxruntime),
        "openvino" => Ok(EngineChoice::Openvino),
        _ => Err("give onnxruntime or openvino".to_owned()),
    }
}

impl BenchArgs {
    /// Measures both sides and prints the report.
    ///
    /// # Errors
    /// The clip or the model cannot be used, or the two sides processed different frames.
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        telemetry::log::init("warn", None, LogOutput::Stderr)?;
        // `run` counts metrics too, so their cost is part of the measurement.
        telemetry::metrics::install()?;
        let report = self.measure()?;
        let mut out = std::io::stdout().lock();
        if self.json {
            writeln!(out, "{}", report.json())?;
        } else {
            write!(out, "{report}")?;
        }
        Ok(ExitCode::SUCCESS)
    }

    fn measure(&self) -> anyhow::Result<BenchReport> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let clip = runtime.block_on(BenchClip::read(&self.clip, self.fragments, self.fps))?;
        let pipeline = match self.only {
            Some(Side::Baseline) => None,
            _ => Some(self.pipeline(&clip, &runtime)?),
        };
        // The peak is measured before the baseline adds its memory. With --only there is no extra run for it, because
        // callgrind takes a minute per run.
        let warm_up_rss_mb = match (&pipeline, self.only) {
            (Some(pipeline), None) => self.checked(pipeline.run()?, &clip).map(|_| peak_rss_mb())?,
            _ => None,
        };
        let mut baseline = match self.only {
            Some(Side::Pipeline) => None,
            _ => Some(Baseline::open(&self.clip, &clip, &self.model, self.threads)?),
        };
        let runs = self.alternate(&clip, pipeline.as_ref(), baseline.as_mut())?;
        let info = pipeline.as_ref().map(|pipeline| pipeline.detector.info());
        let input = info.as_ref().map(|info| info.input.to_string());
        let engine = info.map(|info| info.engine.to_string());
        let peak_rss_mb = warm_up_rss_mb.or_else(|| pipeline.as_ref().and_then(|_| peak_rss_mb()));
        let (model, clip) = (self.model.clone(), self.clip.clone());
        Ok(BenchReport { model, clip, input, engine, pipeline: runs.0, baseline: runs.1, peak_rss_mb })
    }

    fn pipeline<'a>(
        &self,
        clip: &'a BenchClip,
        runtime: &'a tokio::runtime::Runtime,
    ) -> anyhow::Result<PipelineBench<'a>> {
        let name = self.model.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let path = self.model.clone();
        let spec = ModelSpec { name, path, engine: self.engine, ..ModelSpec::default() };
        let detector = Detector::start(&spec, Device::Cpu, self.threads)?;
        let thresholds = Thresholds { conf: self.conf, nms_iou: NMS_IOU };
        Ok(PipelineBench { clip, detector, thresholds, fps: self.fps, runtime })
    }

    /// Errors: the run did not decode and infer every frame that it should. Its times would not be comparable.
    fn checked(&self, run: BenchRun, clip: &BenchClip) -> anyhow::Result<BenchRun> {
        ensure!(
            run.frames == clip.packets && run.inferences == clip.picks,
            "{}: expected {} frames and {} inferences, made {} and {}; use a clip in which every packet is one complete, \
             undamaged frame",
            self.clip.display(),
            clip.packets,
            clip.picks,
            run.frames,
            run.inferences,
        );
        Ok(run)
    }

    /// Runs the pipeline and the baseline in the order P B B P, so that other load on the machine affects both alike.
    fn alternate(
        &self,
        clip: &BenchClip,
        pipeline: Option<&PipelineBench<'_>>,
        mut baseline: Option<&mut Baseline>,
    ) -> anyhow::Result<(Vec<BenchRun>, Vec<BenchRun>)> {
        let mut runs = (Vec::new(), Vec::new());
        for turn in 0..2 * self.loops {
            match (turn % 4, pipeline, &mut baseline) {
                (0 | 3, Some(pipeline), _) => runs.0.push(self.checked(pipeline.run()?, clip)?),
                (1 | 2, _, Some(baseline)) => runs.1.push(self.checked(baseline.run()?, clip)?),
                _ => {}
            }
        }
        Ok(runs)
    }
}

/// Returns the peak resident memory of this process so far, in units of 10^6 bytes.
fn peak_rss_mb() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024 / 1_000_000)
}
