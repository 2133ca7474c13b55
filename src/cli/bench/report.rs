//! The report of `bench`, as a table and as JSON.

use std::fmt;
use std::path::PathBuf;

use serde_json::{Map, Value, json};

use super::bench_run::{BenchRun, Medians, ratios};

/// All runs of both sides; a side that was left out has none.
pub(super) struct BenchReport {
    pub(super) model: PathBuf,
    pub(super) clip: PathBuf,
    pub(super) input: Option<String>,
    /// The engine of our side, which is the wanted one only if that can be used.
    pub(super) engine: Option<String>,
    pub(super) pipeline: Vec<BenchRun>,
    pub(super) baseline: Vec<BenchRun>,
    pub(super) peak_rss_mb: Option<u64>,
}

/// Stages that process every frame, not only the inferred ones.
const EVERY_FRAME: [&str; 2] = ["demux", "decode"];

impl BenchReport {
    /// Returns the report as one object. Times are CPU ms per inference, except `*_ms_per_frame`.
    pub(super) fn json(&self) -> Value {
        json!({
            "model": self.model.display().to_string(),
            "clip": self.clip.display().to_string(),
            "input": self.input,
            "engine": self.engine,
            "ours": Medians::of(&self.pipeline).as_ref().map(side_json),
            "alone": Medians::of(&self.baseline).as_ref().map(side_json),
            "ratio": ratios(&self.pipeline, &self.baseline).map(|[min, median, max]| {
                json!({"median": rounded(median), "min": rounded(min), "max": rounded(max)})
            }),
            "peak_rss_mb": self.peak_rss_mb,
        })
    }
}

fn side_json(side: &Medians) -> Value {
    let stages: Map<String, Value> =
        side.stages.iter().map(|(name, ms)| ((*name).to_owned(), per(*ms, side.inferences))).collect();
    let decode = side.stages.iter().find(|(name, _)| *name == "decode").map_or(0.0, |(_, ms)| *ms);
    json!({
        "frames": side.frames,
        "inferences": side.inferences,
        "detections": side.detections,
        "stages": stages,
        "decode_ms_per_frame": per(decode, side.frames),
        "cpu_ms_per_inference": per(side.cpu_ms, side.inferences),
        "wall_ms": rounded(side.wall_ms),
    })
}

fn per(ms: f64, count: usize) -> Value {
    json!(rounded(mean(ms, count)))
}

#[expect(clippy::cast_precision_loss, reason = "counts of frames are far below 2^52")]
fn mean(ms: f64, count: usize) -> f64 {
    ms / count.max(1) as f64
}

fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

impl fmt::Display for BenchReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let input = self.input.as_ref().map_or_else(String::new, |input| format!(" ({input})"));
        writeln!(f, "model {}{input}", self.model.display())?;
        writeln!(f, "clip  {}", self.clip.display())?;
        if let Some(pipeline) = Medians::of(&self.pipeline) {
            write_side(f, "ours", &pipeline)?;
        }
        if let Some(baseline) = Medians::of(&self.baseline) {
            write_side(f, "decoder + ONNX Runtime alone", &baseline)?;
        }
        if let Some([min, median, max]) = ratios(&self.pipeline, &self.baseline) {
            let runs = self.pipeline.len();
            writeln!(f, "ratio {median:.3} (median of {runs} pairs of runs, {min:.3} to {max:.3})")?;
        }
        match self.peak_rss_mb {
            Some(megabytes) => writeln!(f, "peak resident memory of our side: {megabytes} MB"),
            None => Ok(()),
        }
    }
}

fn write_side(f: &mut fmt::Formatter<'_>, title: &str, side: &Medians) -> fmt::Result {
    let Medians { frames, inferences, .. } = side;
    let boxes = side.detections.map_or_else(String::new, |boxes| format!(", {boxes} boxes"));
    writeln!(
        f,
        "\n{title}: {frames} frames, {inferences} inferences{boxes}, {:.0} ms wall-clock time",
        side.wall_ms
    )?;
    writeln!(f, "  {:<14}{:>10}{:>14}", "CPU ms", "per frame", "per inference")?;
    for (name, ms) in &side.stages {
        let executions = if EVERY_FRAME.contains(name) { frames } else { inferences };
        writeln!(f, "  {name:<14}{:>10.4}{:>14.4}", mean(*ms, *executions), mean(*ms, *inferences))?;
    }
    writeln!(f, "  {:<14}{:>10}{:>14.4}", "total", "", mean(side.cpu_ms, *inferences))
}
