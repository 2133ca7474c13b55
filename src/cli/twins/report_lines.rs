//! Lines that both reports have.

use std::fmt;

use crate::detect::twins::{BoxChange, BoxDifference, GateReport, MIN_GATE_BOXES};

/// The maximum number of differences that are listed per kind.
const MAX_LISTED: usize = 20;

/// Writes that the footage has too few boxes, with the remedy, and the differences; `place` is the engine or device of the twin.
pub(super) fn write_findings(
    f: &mut fmt::Formatter<'_>,
    place: &str,
    gate: &GateReport,
    remedy: &str,
) -> fmt::Result {
    let GateReport { boxes, missing, new, changed, .. } = gate;
    if *boxes < MIN_GATE_BOXES {
        writeln!(f, "{place}: {MIN_GATE_BOXES} boxes are needed to compare; {remedy}")?;
    }
    write_list(f, &format!("{place}: missing"), missing, BoxDifference::to_string)?;
    write_list(f, &format!("{place}: new"), new, BoxDifference::to_string)?;
    write_list(f, &format!("{place}: changed"), changed, BoxChange::to_string)
}

fn write_list<T>(
    f: &mut fmt::Formatter<'_>,
    heading: &str,
    all: &[T],
    text: impl Fn(&T) -> String,
) -> fmt::Result {
    for one in all.iter().take(MAX_LISTED) {
        writeln!(f, "{heading}: {}", text(one))?;
    }
    match all.len().checked_sub(MAX_LISTED) {
        Some(more @ 1..) => writeln!(f, "{heading}: {more} more"),
        _ => Ok(()),
    }
}

/// Returns a size in units of 10^6 bytes.
#[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
pub(super) fn megabytes(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / 1e6)
}
