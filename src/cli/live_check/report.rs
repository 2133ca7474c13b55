//! The results of the probes, one line each, and their totals.

use std::io::{self, Write};

use serde_json::json;

use crate::base::{Asks, ProbeResult, Verdict};

/// Writes the results of probes as text or JSON lines.
pub(super) struct ProbeReport<W> {
    out: W,
    json: bool,
    /// Width of the column with the names, characters.
    width: usize,
    seen: Vec<(Asks, Verdict)>,
}

impl<W: Write> ProbeReport<W> {
    pub(super) fn new(out: W, json: bool, width: usize) -> Self {
        Self { out, json, width, seen: Vec::new() }
    }

    /// Writes the line of a result.
    pub(super) fn add(&mut self, result: &ProbeResult) -> io::Result<()> {
        let ProbeResult { name, asks, took, finding } = result;
        let (verdict, text) = (finding.verdict, finding.sentence());
        self.seen.push((*asks, verdict));
        if self.json {
            let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
            let line = json!({ "probe": name, "verdict": verdict, "ms": ms, "finding": text });
            return writeln!(self.out, "{line}");
        }
        let (verdict, width, seconds) = (word(verdict), self.width, took.as_secs_f64());
        writeln!(self.out, "{verdict:<4}  {name:<width$}  {seconds:>5.2} s  {text}")
    }

    /// Writes the last line with the number of each verdict.
    pub(super) fn end(&mut self) -> io::Result<()> {
        let [ok, warn, fail] = [Verdict::Ok, Verdict::Warn, Verdict::Fail].map(|verdict| self.count(verdict));
        if self.json {
            return writeln!(self.out, "{}", json!({ "ok": ok, "warn": warn, "fail": fail }));
        }
        // Warnings do not fail the check, and do not change the exit code.
        let sum = if fail == 0 { "OK" } else { "FAIL" };
        writeln!(self.out, "{sum}: {ok} ok, {warn} warn, {fail} failed")
    }

    /// Returns `true` if a probe of this kind has failed.
    pub(super) fn has_failed(&self, asks: Asks) -> bool {
        self.seen.contains(&(asks, Verdict::Fail))
    }

    fn count(&self, wanted: Verdict) -> usize {
        self.seen.iter().filter(|(_, verdict)| *verdict == wanted).count()
    }
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Ok => "ok",
        Verdict::Warn => "warn",
        Verdict::Fail => "FAIL",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::base::Finding;

    fn results() -> [ProbeResult; 3] {
        let result = |name: &str, asks, ms, finding| ProbeResult {
            name: name.into(),
            asks,
            took: Duration::from_millis(ms),
            finding,
        };
        [
            result("local", Asks::Host, 4, Finding::ok("fine")),
            result("kds/events", Asks::Aws, 12_345, Finding::fail("refused").with_remedy("fix it")),
            result("s3 write", Asks::Aws, 0, Finding::warn("look")),
        ]
    }

    fn printed(json: bool) -> (String, bool, bool) {
        let mut report = ProbeReport::new(Vec::new(), json, 10);
        for result in results() {
            report.add(&result).unwrap();
        }
        report.end().unwrap();
        let failed = (report.has_failed(Asks::Aws), report.has_failed(Asks::Host));
        (String::from_utf8(report.out).unwrap(), failed.0, failed.1)
    }

    #[test]
    fn one_line_per_result_and_the_totals() {
        let (text, aws, host) = printed(false);
        let expected = "ok    local        0.00 s  fine\nFAIL  kds/events  12.35 s  refused; fix it\n\
                        warn  s3 write     0.00 s  look\nFAIL: 1 ok, 1 warn, 1 failed\n";
        assert_eq!(text, expected);
        assert!(aws && !host);
    }

    #[test]
    fn json_lines_have_the_same_content() {
        let (text, ..) = printed(true);
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let second =
            json!({ "probe": "kds/events", "verdict": "fail", "ms": 12345, "finding": "refused; fix it" });
        assert_eq!(lines[1], second);
        assert_eq!(lines[3], json!({ "ok": 1, "warn": 1, "fail": 1 }));
    }
}
