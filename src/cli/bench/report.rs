//! What was measured, for people and for programs.

use std::fmt;
use std::path::PathBuf;

use serde_json::{Map, Value, json};

use super::account::{Account, Medians, ratios};

/// All runs of both sides; those of a side that was left out are empty.
pub(super) struct Report {
    pub(super) model: PathBuf,
    pub(super) clip: PathBuf,
    pub(super) input: Option<String>,
    pub(super) ours: Vec<Account>,
    pub(super) alone: Vec<Account>,
    pub(super) peak_rss_mb: Option<u64>,
}

/// Stages that work on every frame, not only on those that are inferred.
const EVERY_FRAME: [&str; 2] = ["demux", "decode"];

impl Report {
    /// One object; times in CPU ms an inference, but `*_ms_per_frame`.
    pub(super) fn json(&self) -> Value {
        json!({
            "model": self.model.display().to_string(),
            "clip": self.clip.display().to_string(),
            "input": self.input,
            "ours": Medians::of(&self.ours).as_ref().map(side_json),
            "alone": Medians::of(&self.alone).as_ref().map(side_json),
            "ratio": ratios(&self.ours, &self.alone).map(|[least, median, most]| {
                json!({"median": rounded(median), "least": rounded(least), "most": rounded(most)})
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

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let input = self.input.as_ref().map_or_else(String::new, |input| format!(" ({input})"));
        writeln!(f, "model {}{input}", self.model.display())?;
        writeln!(f, "clip  {}", self.clip.display())?;
        if let Some(ours) = Medians::of(&self.ours) {
            write_side(f, "our way", &ours)?;
        }
        if let Some(alone) = Medians::of(&self.alone) {
            write_side(f, "decoder + ONNX Runtime alone", &alone)?;
        }
        if let Some([least, median, most]) = ratios(&self.ours, &self.alone) {
            let runs = self.ours.len();
            writeln!(f, "ratio {median:.3} (median of {runs} pairs of runs, {least:.3} to {most:.3})")?;
        }
        match self.peak_rss_mb {
            Some(megabytes) => writeln!(f, "peak resident memory of our way: {megabytes} MB"),
            None => Ok(()),
        }
    }
}

fn write_side(f: &mut fmt::Formatter<'_>, title: &str, side: &Medians) -> fmt::Result {
    let Medians { frames, inferences, .. } = side;
    let boxes = side.detections.map_or_else(String::new, |boxes| format!(", {boxes} boxes"));
    writeln!(
        f,
        "\n{title}: {frames} frames, {inferences} inferences{boxes}, {:.0} ms by the clock",
        side.wall_ms
    )?;
    writeln!(f, "  {:<14}{:>10}{:>14}", "CPU ms", "a frame", "an inference")?;
    for (name, ms) in &side.stages {
        let a_frame = if EVERY_FRAME.contains(name) { frames } else { inferences };
        writeln!(f, "  {name:<14}{:>10.4}{:>14.4}", mean(*ms, *a_frame), mean(*ms, *inferences))?;
    }
    writeln!(f, "  {:<14}{:>10}{:>14.4}", "total", "", mean(side.cpu_ms, *inferences))
}
