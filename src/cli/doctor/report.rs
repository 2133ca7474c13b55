//! The answers, one line each, and their sum.

use std::io::{self, Write};
use std::time::Duration;

use kvs_config::without_address_secrets;
use serde_json::json;

use crate::base::{Asks, Finding, Verdict};

/// A probe that has ended.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) name: String,
    pub(super) asks: Asks,
    pub(super) took: Duration,
    pub(super) finding: Finding,
}

/// Writes answers for a person or a program.
pub(super) struct Report<W> {
    out: W,
    json: bool,
    /// Of the column with the names, characters.
    width: usize,
    seen: Vec<(Asks, Verdict)>,
}

impl<W: Write> Report<W> {
    pub(super) fn new(out: W, json: bool, width: usize) -> Self {
        Self { out, json, width, seen: Vec::new() }
    }

    /// A line.
    pub(super) fn add(&mut self, answer: &Answer) -> io::Result<()> {
        let Answer { name, asks, took, finding: Finding { verdict, text } } = answer;
        self.seen.push((*asks, *verdict));
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let text = without_address_secrets(&text);
        if self.json {
            let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
            let line = json!({ "probe": name, "verdict": verdict, "ms": ms, "finding": text });
            return writeln!(self.out, "{line}");
        }
        let (verdict, width, seconds) = (word(*verdict), self.width, took.as_secs_f64());
        writeln!(self.out, "{verdict:<4}  {name:<width$}  {seconds:>5.2} s  {text}")
    }

    /// The last line: how many of each.
    pub(super) fn end(&mut self) -> io::Result<()> {
        let [ok, warn, fail] = [Verdict::Ok, Verdict::Warn, Verdict::Fail].map(|verdict| self.count(verdict));
        if self.json {
            return writeln!(self.out, "{}", json!({ "ok": ok, "warn": warn, "fail": fail }));
        }
        let sum = if fail == 0 { "OK" } else { "FAIL" };
        writeln!(self.out, "{sum}: {ok} ok, {warn} to look at, {fail} failed")
    }

    /// Whether a question of this kind found something that cannot be used.
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
    use super::*;

    fn answers() -> [Answer; 3] {
        let answer = |name: &str, asks, ms, finding| Answer {
            name: name.into(),
            asks,
            took: Duration::from_millis(ms),
            finding,
        };
        [
            answer("local", Asks::Host, 4, Finding::ok("fine")),
            answer("kds/events", Asks::Aws, 12_345, Finding::fail("two\nlines;  mend it")),
            answer("s3 write", Asks::Aws, 0, Finding::warn("look")),
        ]
    }

    fn told(json: bool) -> (String, bool, bool) {
        let mut report = Report::new(Vec::new(), json, 10);
        for answer in answers() {
            report.add(&answer).unwrap();
        }
        report.end().unwrap();
        let failed = (report.has_failed(Asks::Aws), report.has_failed(Asks::Host));
        (String::from_utf8(report.out).unwrap(), failed.0, failed.1)
    }

    #[test]
    fn a_line_an_answer_and_their_sum() {
        let (text, aws, host) = told(false);
        let expected = "ok    local        0.00 s  fine\nFAIL  kds/events  12.35 s  two lines; mend it\n\
                        warn  s3 write     0.00 s  look\nFAIL: 1 ok, 1 to look at, 1 failed\n";
        assert_eq!(text, expected);
        assert!(aws && !host);
    }

    #[test]
    fn json_lines_say_the_same() {
        let (text, ..) = told(true);
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let second =
            json!({ "probe": "kds/events", "verdict": "fail", "ms": 12345, "finding": "two lines; mend it" });
        assert_eq!(lines[1], second);
        assert_eq!(lines[3], json!({ "ok": 1, "warn": 1, "fail": 1 }));
    }
}
