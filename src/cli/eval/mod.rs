//! `eval`: compares events with the truth about their footage and prints the figures.

mod events_file;
mod limits;
mod table;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::eval::{EvalRules, Evaluation, Record, Truth, TruthError, evaluate, parse_truth};
use limits::FigureLimits;
use table::FiguresTable;

/// Compares events with the truth about their footage: starts per visit, missed and false ones, purity, IDF1.
///
/// docs/evaluation.md defines the truth file and every figure. Set `update_seconds: 1` in the run that is evaluated:
/// purity and IDF1 depend on records between start and end.
/// Exit codes: 0 done; 1 a --max or --min limit is not met; 69 the events cannot be read, or are from another time than the truth;
/// 78 the truth file has mistakes.
#[derive(Debug, clap::Args)]
pub(super) struct EvalArgs {
    /// Events: `events.jsonl` of the local sink, or the output of `kvs-infer events --json`; `-` reads standard input.
    #[arg(long, value_name = "FILE")]
    events: PathBuf,
    /// Truth file, YAML.
    #[arg(long, value_name = "FILE")]
    truth: PathBuf,
    /// Camera whose events are evaluated; required if there are several.
    #[arg(long, value_name = "ID")]
    camera: Option<String>,
    /// Media time of the footage's first frame, ms since the epoch; overrides `start_ms` of the truth file.
    #[arg(long, value_name = "MS", allow_negative_numbers = true)]
    start_ms: Option<i64>,
    /// Minimum IoU of a record's box with a visit's box.
    #[arg(long, value_name = "IOU", default_value_t = 0.3, value_parser = positive_share)]
    iou: f64,
    /// Maximum delay of a visit's first start that is not late.
    #[arg(long, value_name = "MS", default_value_t = 1000, value_parser = clap::value_parser!(i64).range(0..))]
    late_ms: i64,
    /// Length of the time steps of IDF1; as long as `update_seconds`.
    #[arg(long, value_name = "MS", default_value_t = 1000, value_parser = clap::value_parser!(i64).range(1..))]
    step_ms: i64,
    /// Prints the figures as one JSON object; times in ms from the footage's start.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    limits: FigureLimits,
}

/// Parses a share above 0 and up to 1.
fn positive_share(text: &str) -> Result<f64, String> {
    limits::share(text).and_then(|share| {
        if share > 0.0 { Ok(share) } else { Err("write a number above 0, up to 1".to_owned()) }
    })
}

impl EvalArgs {
    /// Prints the figures, and each limit that is not met on standard error.
    ///
    /// # Errors
    /// A file cannot be read or used, or the output is closed.
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let truth = self.read_truth()?;
        let records = events_file::read(&self.events, &truth, self.camera.as_deref())?;
        check_times(&truth, &records)?;
        let rules = EvalRules { min_iou: self.iou as f32, late_ms: self.late_ms, step_ms: self.step_ms };
        let evaluation = evaluate(&truth, &records, &rules);
        self.print(&evaluation, &rules)?;
        let unmet = self.limits.unmet(&evaluation);
        for line in &unmet {
            writeln!(io::stderr(), "eval: {line}")?;
        }
        Ok(if unmet.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn print(&self, evaluation: &Evaluation, rules: &EvalRules) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if self.json {
            serde_json::to_writer(&mut out, evaluation).map_err(io::Error::from)?;
            writeln!(out)?;
        } else {
            write!(out, "{}", FiguresTable { evaluation, rules })?;
        }
        out.flush()
    }

    fn read_truth(&self) -> Result<Truth, TruthError> {
        let file = self.truth.display().to_string();
        let text = std::fs::read_to_string(&self.truth);
        let text = text.map_err(|why| TruthError::Unreadable { file: file.clone(), why })?;
        let mut truth = parse_truth(&file, &text)?;
        truth.start_ms = self.start_ms.unwrap_or(truth.start_ms);
        Ok(truth)
    }
}

/// Checks that a record is within the time range of the truth.
///
/// Errors: there are records, and all are before or after the truth.
fn check_times(truth: &Truth, records: &[Record]) -> anyhow::Result<()> {
    let times = || records.iter().map(|record| record.ts_ms);
    // Usually a wrong --start-ms, with which every visit would count as missed.
    let (Some(first), Some(last)) = (times().min(), times().max()) else { return Ok(()) };
    let Some(end) = truth.visits.iter().map(|visit| visit.to_ms).max() else { return Ok(()) };
    let (from, to) = (truth.start_ms, truth.start_ms + end);
    anyhow::ensure!(
        first <= to && last >= from,
        "no event is in the time range of the truth: the events are from {first} to {last} ms, the truth from {from} to {to} ms; \
         give the media time of the footage's first frame with --start-ms"
    );
    Ok(())
}

/// Returns `true` if `path` stands for standard input.
fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}
