//! Writes events as a table or as JSON lines.

use std::collections::VecDeque;
use std::io::{self, Write};

use chrono::{DateTime, Utc};

use crate::base::escaped;
use crate::media::Event;

const COLUMNS: [&str; 7] = ["TIME (UTC)", "CAMERA", "TYPE", "LABEL", "PHASE", "CONF", "SNAPSHOT"];

/// Prints a table, or one JSON object per line.
pub(super) struct Printer<W> {
    pub(super) out: W,
    json: bool,
    headed: bool,
    /// Number of lines that may still be printed.
    left: u64,
}

impl<W: Write> Printer<W> {
    /// Creates a printer of at most `max_lines` lines, not counting the head of the table.
    pub(super) fn new(out: W, json: bool, max_lines: u64) -> Self {
        Self { out, json, headed: false, left: max_lines }
    }

    /// Returns `true` once the maximum number of lines has been printed.
    pub(super) fn is_done(&self) -> bool {
        self.left == 0
    }

    /// Prints the head of the table once.
    pub(super) fn head(&mut self) -> io::Result<()> {
        if self.json || std::mem::replace(&mut self.headed, true) {
            return Ok(());
        }
        self.row(COLUMNS)
    }

    pub(super) fn lines(&mut self, lines: &VecDeque<Vec<u8>>) -> io::Result<()> {
        for line in lines {
            self.line(line)?;
        }
        self.out.flush()
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// Prints one event as it was recorded, without characters that control a terminal.
    ///
    /// Prints nothing once the printer [is done](Self::is_done).
    pub(super) fn line(&mut self, line: &[u8]) -> io::Result<()> {
        // A batch of lines may exceed the maximum.
        let Some(left) = self.left.checked_sub(1) else { return Ok(()) };
        self.left = left;
        if self.json {
            self.out.write_all(&json_line(line))?;
            return self.out.write_all(b"\n");
        }
        match serde_json::from_slice::<Event>(line) {
            Ok(event) => self.event(&event),
            Err(error) => {
                writeln!(self.out, "(a line that is not an event: {})", escaped(&error.to_string()))
            }
        }
    }

    fn event(&mut self, event: &Event) -> io::Result<()> {
        let payload = &event.payload;
        let (time, conf) = (utc(payload.ts_ms), format!("{:.0}%", payload.conf * 100.0));
        let snapshot = payload.extras.snapshot.as_deref().unwrap_or("-");
        let phase = payload.extras.phase.as_str();
        let label = match &payload.extras.activity {
            Some(activity) => format!("{} ({})", payload.label, activity.incidents),
            None => payload.label.clone(),
        };
        self.row([&time, &payload.camera_id, &payload.kind, &label, phase, &conf, snapshot])
    }

    fn row(&mut self, columns: [&str; 7]) -> io::Result<()> {
        let [time, camera, kind, label, phase, conf, snapshot] = columns.map(escaped);
        writeln!(
            self.out,
            "{time:<23}  {camera:<16}  {kind:<10}  {label:<14}  {phase:<6}  {conf:>4}  {snapshot}"
        )
    }
}

/// Replaces control bytes by blanks.
///
/// Valid JSON has raw control bytes only as white space between values. In any other line they may be meant for the terminal.
fn json_line(line: &[u8]) -> Vec<u8> {
    line.iter().map(|&byte| if byte.is_ascii_control() { b' ' } else { byte }).collect()
}

/// Formats a time as `2026-11-23 15:25:34.123`, and a time beyond the calendar as the calendar's end.
fn utc(ms: i64) -> String {
    let time = DateTime::from_timestamp_millis(ms).unwrap_or(DateTime::<Utc>::MAX_UTC);
    time.format("%Y-%m-%d %H:%M:%S%.3f").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::ActivityCounts;

    #[test]
    fn a_table_has_one_row_per_event() {
        let mut printer = Printer::new(Vec::new(), false, 2);
        let event = r#"{"event_id":"a","camera_id":"front","producer":"p","schema":"1","seq":1,"payload":{"camera_id":"front",
            "type":"objects","label":"person","conf":0.874,"bbox":[1,2,3,4],"ts_ms":1795447534123,"extras":{"incident_id":"a",
            "phase":"start","fragment_number":"1","frame_index":0,"producer_ts_ms":null,"server_ts_ms":1,"time_source":"server",
            "frame_width":1,"frame_height":1,"zones":[],"model":{"name":"m","sha256":"0"},"snapshot":"snapshots/a.jpg"}}}"#;
        printer.head().unwrap();
        printer.lines(&[event.into(), b"{".to_vec(), event.into()].into()).unwrap();
        let text = String::from_utf8(std::mem::take(&mut printer.out)).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(
            lines[1],
            "2026-11-23 15:25:34.123  front             objects     person          start    87%  snapshots/a.jpg"
        );
        assert_eq!(lines[0].find("SNAPSHOT"), lines[1].find("snapshots"));
        assert!(lines[2].starts_with("(a line that is not an event: "), "{}", lines[2]);
        assert!(lines.len() == 3 && printer.is_done(), "no more than the maximum: {text}");
    }

    #[test]
    fn an_activity_has_its_count() {
        let mut event = crate::status::testing::event("a");
        event.payload.label = "activity".into();
        let by_label = [("car".to_owned(), 2), ("person".to_owned(), 5)].into();
        event.payload.extras.activity = Some(ActivityCounts { incidents: 7, by_label, peak: 3 });
        let mut printer = Printer::new(Vec::new(), false, 1);
        printer.lines(&[serde_json::to_vec(&event).unwrap()].into()).unwrap();
        let text = String::from_utf8(printer.out).unwrap();
        assert!(text.contains("  activity (7)    start "), "{text}");
    }

    #[test]
    fn untrusted_text_cannot_control_the_terminal() {
        let mut event = crate::status::testing::event("a");
        event.payload.label = "b\u{1b}[2J\u{1b}[31mRED".into();
        event.camera_id = "a\nforged".into();
        event.payload.camera_id = "a\nforged\u{202e}".into();
        event.payload.extras.snapshot = Some("s3://b/\u{9b}31m".into());
        let line = serde_json::to_vec(&event).unwrap();
        let hostile = b"{\"event_id\":\"\x1b[2J\",".to_vec();
        for json in [false, true] {
            let mut printer = Printer::new(Vec::new(), json, 9);
            printer.lines(&[line.clone(), hostile.clone()].into()).unwrap();
            let text = String::from_utf8(printer.out).unwrap();
            assert_eq!(text.lines().count(), 2, "{text:?}");
            assert!(text.chars().all(|c| c == '\n' || !c.is_ascii_control()), "{text:?}");
            if json {
                assert_eq!(text.lines().next(), std::str::from_utf8(&line).ok(), "an event is unchanged");
            } else {
                assert!(text.contains("b\\u{1b}[2J") && text.contains("a\\nforged\\u{202e}"), "{text:?}");
                assert!(text.contains("\\u{9b}31m"), "{text:?}");
            }
        }
    }

    #[test]
    fn times_by_table() {
        let table = [
            (0, "1970-01-01 00:00:00.000"),
            (951_782_399_999, "2000-02-28 23:59:59.999"),
            (951_782_400_000, "2000-02-29 00:00:00.000"),
            (1_709_251_200_000, "2024-03-01 00:00:00.000"),
            (-1, "1969-12-31 23:59:59.999"),
        ];
        for (ms, expected) in table {
            assert_eq!(utc(ms), expected);
        }
    }
}
