//! Writes events for a person or a program.

use std::collections::VecDeque;
use std::io::{self, Write};

use crate::frame::Event;

const COLUMNS: [&str; 6] = ["TIME (UTC)", "CAMERA", "TYPE", "LABEL", "CONF", "SNAPSHOT"];

/// A table, or one JSON object a line.
pub(super) struct Printer<W> {
    pub(super) out: W,
    json: bool,
    headed: bool,
    /// Lines that may still be printed.
    left: u64,
}

impl<W: Write> Printer<W> {
    /// `most`: lines, the head left out.
    pub(super) fn new(out: W, json: bool, most: u64) -> Self {
        Self { out, json, headed: false, left: most }
    }

    /// Whether as many lines are out as were asked for.
    pub(super) fn is_done(&self) -> bool {
        self.left == 0
    }

    /// The table's head, once.
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

    /// One event, as it was recorded; nothing any more once it [is done](Self::is_done).
    pub(super) fn line(&mut self, line: &[u8]) -> io::Result<()> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(()) };
        self.left = left;
        if self.json {
            self.out.write_all(line)?;
            return self.out.write_all(b"\n");
        }
        match serde_json::from_slice::<Event>(line) {
            Ok(event) => self.event(&event),
            Err(error) => writeln!(self.out, "(a line that is no event: {error})"),
        }
    }

    fn event(&mut self, event: &Event) -> io::Result<()> {
        let payload = &event.payload;
        let (time, conf) = (utc(payload.ts_ms), format!("{:.0}%", payload.conf * 100.0));
        let snapshot = payload.extras.snapshot.as_deref().unwrap_or("-");
        self.row([&time, &payload.camera_id, &payload.kind, &payload.label, &conf, snapshot])
    }

    fn row(&mut self, [time, camera, kind, label, conf, snapshot]: [&str; 6]) -> io::Result<()> {
        writeln!(self.out, "{time:<23}  {camera:<16}  {kind:<10}  {label:<14}  {conf:>4}  {snapshot}")
    }
}

/// `2026-11-23 15:25:34.123`. Source of the calendar: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
fn utc(ms: i64) -> String {
    let (days, of_day_ms) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000));
    let since_march = days + 719_468;
    let (era, day_of_era) = (since_march.div_euclid(146_097), since_march.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute) = (of_day_ms / 3_600_000, of_day_ms / 60_000 % 60);
    let (second, milli) = (of_day_ms / 1_000 % 60, of_day_ms % 1_000);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{milli:03}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_a_row_an_event() {
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
            "2026-11-23 15:25:34.123  front             objects     person           87%  snapshots/a.jpg"
        );
        assert_eq!(lines[0].find("SNAPSHOT"), lines[1].find("snapshots"));
        assert!(lines[2].starts_with("(a line that is no event: "), "{}", lines[2]);
        assert!(lines.len() == 3 && printer.is_done(), "no more than was asked for: {text}");
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
