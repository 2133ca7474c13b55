//! The summary of a replay on standard output, and its exit code.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use super::progress_display::duration_text;
use crate::cli::{exit, print_stderr};
use crate::replay::{FootageCoverage, ReplayOutcome, ReplaySpan};

/// The result of a replay, for people and scripts.
pub(super) struct ReplaySummary<'a> {
    pub(super) outcome: &'a ReplayOutcome,
    pub(super) span: ReplaySpan,
    pub(super) took: Duration,
    /// The value of `--compare`.
    pub(super) compared_with: Option<String>,
}

impl ReplaySummary<'_> {
    /// Prints what was replayed and found; what was not replayed goes to standard error.
    ///
    /// # Errors
    /// Standard output is closed.
    pub(super) fn print(&self) -> io::Result<()> {
        let mut out = io::stdout().lock();
        writeln!(out, "{}", self.footage())?;
        writeln!(out, "{}", self.incidents())?;
        writeln!(out, "report: {}", self.outcome.report.display())?;
        out.flush()?;
        for (camera, coverage) in &self.outcome.cameras {
            if let Some(text) = shortfall(coverage, self.span) {
                print_stderr(format_args!("camera {camera}: {text}"));
            }
        }
        Ok(())
    }

    /// Returns 0 if all footage was replayed, 69 if none was, and 1 otherwise.
    pub(super) fn exit_code(&self) -> ExitCode {
        let cameras = || self.outcome.cameras.values();
        if cameras().all(|coverage| coverage.is_complete() && coverage.fragments > 0) {
            ExitCode::SUCCESS
        } else if cameras().all(|coverage| coverage.fragments == 0) {
            ExitCode::from(exit::UNAVAILABLE)
        } else {
            ExitCode::FAILURE
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "ms of footage are far below 2^53")]
    fn footage(&self) -> String {
        let cameras = self.outcome.cameras.len();
        let footage_ms: i64 = self.outcome.cameras.values().map(|coverage| coverage.footage_ms).sum();
        let (footage_s, took_s) = (footage_ms as f64 / 1000.0, self.took.as_secs_f64());
        format!(
            "replayed {cameras} cameras, {}: {} of footage in {} ({:.1} times real time)",
            self.span,
            duration_text(footage_s),
            duration_text(took_s),
            footage_s / took_s.max(0.001)
        )
    }

    fn incidents(&self) -> String {
        let figures = &self.outcome.figures;
        let Some(source) = self.compared_with.as_ref() else { return format!("incidents: {}", figures.new) };
        let mut text = format!(
            "incidents compared with {source}: {} changed, {} new, {} gone, {} the same",
            figures.changed, figures.new, figures.gone, figures.same
        );
        if figures.not_replayed > 0 {
            text.push_str(&format!(
                ", {} not compared (their footage was not replayed)",
                figures.not_replayed
            ));
        }
        text
    }
}

/// Returns what of a camera was not replayed; `None` if all was. Gaps were reported when they were found.
fn shortfall(coverage: &FootageCoverage, span: ReplaySpan) -> Option<String> {
    let to_ms = coverage.done_ms(span);
    let done = ReplaySpan { to_ms, ..span };
    match coverage {
        FootageCoverage { fault: Some(fault), fragments: 0, .. } => Some(fault.clone()),
        FootageCoverage { fault: Some(fault), .. } => Some(format!("replayed only {done}: {fault}")),
        FootageCoverage { stopped: true, fragments: 0, .. } => {
            Some("nothing was replayed before the stop".to_owned())
        }
        FootageCoverage { stopped: true, .. } => Some(format!("stopped: replayed only {done}")),
        FootageCoverage { fragments: 0, .. } => Some("no footage in the span".to_owned()),
        FootageCoverage { unreadable, more_unreadable, .. } if !unreadable.is_empty() => {
            Some(format!("{} fragments were left out", unreadable.len() as u64 + more_unreadable))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPAN: ReplaySpan = ReplaySpan { from_ms: 0, to_ms: 60_000 };

    #[test]
    fn what_is_missing_is_named() {
        let whole = FootageCoverage { fragments: 9, last_ms: Some(9_000), ..FootageCoverage::default() };
        let fault = Some("no access".to_owned());
        for (coverage, text) in [
            (whole.clone(), None),
            (
                FootageCoverage { stopped: true, ..whole.clone() },
                Some("stopped: replayed only 1970-01-01T00:00:00Z to 1970-01-01T00:00:09Z"),
            ),
            (
                FootageCoverage { fault: fault.clone(), ..whole },
                Some("replayed only 1970-01-01T00:00:00Z to 1970-01-01T00:00:09Z: no access"),
            ),
            (FootageCoverage { fault, ..FootageCoverage::default() }, Some("no access")),
            (FootageCoverage::default(), Some("no footage in the span")),
        ] {
            assert_eq!(shortfall(&coverage, SPAN).as_deref(), text);
        }
    }
}
