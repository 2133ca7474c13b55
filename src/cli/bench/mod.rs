//! `bench`: CPU time a frame by stage, beside FFmpeg's decoder and ONNX Runtime alone.

mod account;
mod alone;
mod clip;
mod ours;
mod report;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::ensure;

use account::Account;
use alone::Alone;
use clip::Clip;
use ours::Ours;
use report::Report;

use crate::detect::{Detector, Device, LayoutChoice, ModelSpec, Thresholds};
use crate::telemetry;
use crate::telemetry::log::LogOutput;

/// IoU from which of two boxes the weaker goes; it has no say in the CPU time.
const NMS_IOU: f32 = 0.5;

/// Measures the CPU time of each stage on a clip, beside FFmpeg's decoder and ONNX Runtime alone.
///
/// Our side goes the way of `run` from the bytes of GetMedia to boxes: demux, decode with the sampler, preprocess, infer,
/// post-process; without the network, decide and publish. The other side decodes the same packets and makes as many
/// inferences of an input that never changes. The two take turns; the numbers are medians. All on the CPU.
#[derive(Debug, clap::Args)]
pub(super) struct BenchArgs {
    /// The ONNX file
    #[arg(long)]
    model: PathBuf,
    /// H.264 or H.265 in mp4 or Matroska
    #[arg(long)]
    clip: PathBuf,
    /// Inferences in a second of the clip
    #[arg(long, default_value_t = 5.0)]
    fps: f64,
    /// How often each side goes through the clip
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    loops: u32,
    /// Threads of an inference; of more than one, `infer` has the first one's time and the total that of all
    #[arg(long, default_value_t = 1, value_parser = threads)]
    threads: usize,
    /// Least confidence, 0 to 1
    #[arg(long, default_value_t = 0.4)]
    conf: f32,
    /// Take only the first N fragments of the clip; a fragment is a second or so
    #[arg(long, value_name = "N")]
    fragments: Option<usize>,
    /// Leave the other side out
    #[arg(long, value_enum)]
    only: Option<Side>,
    /// Print one line of JSON instead of the table
    #[arg(long)]
    json: bool,
}

/// One of the two sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Side {
    /// Our way
    Ours,
    /// Decoder and ONNX Runtime
    Alone,
}

fn threads(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|threads| *threads > 0).ok_or_else(|| "give a number from 1 on".to_owned())
}

impl BenchArgs {
    /// Measures and prints.
    ///
    /// # Errors
    /// The clip or the model cannot be used, or the two sides did not see the same frames.
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        telemetry::log::init("warn", None, LogOutput::Stderr)?;
        telemetry::metrics::install()?;
        ensure!(self.fps.is_finite() && self.fps > 0.0, "--fps {}: give a number above 0", self.fps);
        let report = self.measure()?;
        let mut out = std::io::stdout().lock();
        if self.json {
            writeln!(out, "{}", report.json())?;
        } else {
            write!(out, "{report}")?;
        }
        Ok(ExitCode::SUCCESS)
    }

    fn measure(&self) -> anyhow::Result<Report> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let clip = runtime.block_on(Clip::read(&self.clip, self.fragments, self.fps))?;
        let ours = match self.only {
            Some(Side::Alone) => None,
            _ => Some(self.ours(&clip, &runtime)?),
        };
        // Before the other side adds its memory. One side alone goes without it: callgrind takes a minute a run.
        let warmed_up = match (&ours, self.only) {
            (Some(ours), None) => self.checked(ours.run()?, &clip).map(|_| peak_rss_mb())?,
            _ => None,
        };
        let mut alone = match self.only {
            Some(Side::Ours) => None,
            _ => Some(Alone::open(&self.clip, &clip, &self.model, self.threads)?),
        };
        let runs = self.take_turns(&clip, ours.as_ref(), alone.as_mut())?;
        let input = ours.as_ref().map(|ours| ours.detector.info().input.to_string());
        let peak_rss_mb = warmed_up.or_else(|| ours.as_ref().and_then(|_| peak_rss_mb()));
        let (model, clip) = (self.model.clone(), self.clip.clone());
        Ok(Report { model, clip, input, ours: runs.0, alone: runs.1, peak_rss_mb })
    }

    fn ours<'a>(&self, clip: &'a Clip, runtime: &'a tokio::runtime::Runtime) -> anyhow::Result<Ours<'a>> {
        let name = self.model.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let path = self.model.clone();
        let spec =
            ModelSpec { name, path, sha256: None, layout: LayoutChoice::Auto, classes: None, threads: None };
        let detector = Detector::start(&spec, Device::Cpu, self.threads)?;
        let thresholds = Thresholds { conf: self.conf, nms_iou: NMS_IOU };
        Ok(Ours { clip, detector, thresholds, fps: self.fps, runtime })
    }

    fn checked(&self, run: Account, clip: &Clip) -> anyhow::Result<Account> {
        ensure!(
            run.frames == clip.packets && run.inferences == clip.picks,
            "{}: {} frames and {} inferences were expected, {} and {} made; a clip whose every packet is a whole, sound \
             frame is needed",
            self.clip.display(),
            clip.packets,
            clip.picks,
            run.frames,
            run.inferences,
        );
        Ok(run)
    }

    /// Ours and the other, the other and ours, and so on, so that what slows the machine down slows both.
    fn take_turns(
        &self,
        clip: &Clip,
        ours: Option<&Ours<'_>>,
        mut alone: Option<&mut Alone>,
    ) -> anyhow::Result<(Vec<Account>, Vec<Account>)> {
        let mut runs = (Vec::new(), Vec::new());
        for turn in 0..2 * self.loops {
            match (turn % 4, ours, &mut alone) {
                (0 | 3, Some(ours), _) => runs.0.push(self.checked(ours.run()?, clip)?),
                (1 | 2, _, Some(alone)) => runs.1.push(self.checked(alone.run()?, clip)?),
                _ => {}
            }
        }
        Ok(runs)
    }
}

/// The largest resident memory of this process so far, in units of 10^6 bytes.
fn peak_rss_mb() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024 / 1_000_000)
}
