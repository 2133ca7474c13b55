//! `events`: follows the events of the local sink, as a table or JSON lines.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;

use crate::frame::Event;
use crate::publish::{EVENTS_FILE, EVENTS_FILES, aged};

/// Between two looks at the file.
const POLL: Duration = Duration::from_millis(200);
/// Events shown before the following begins.
const LAST: usize = 10;
const COLUMNS: [&str; 6] = ["TIME (UTC)", "CAMERA", "TYPE", "LABEL", "CONF", "SNAPSHOT"];

/// Shows the events in the folder of the local sink (`publishers.local_dir`), and follows them as they come.
#[derive(Debug, clap::Args)]
pub(super) struct EventsArgs {
    /// The folder with `events.jsonl`.
    #[arg(long, value_name = "DIR", default_value = "/app/.cache/events")]
    dir: PathBuf,
    /// Prints each record as it is: one JSON object a line.
    #[arg(long)]
    json: bool,
    /// Goes on with the events as they come (the default).
    #[arg(long, overrides_with = "no_follow")]
    follow: bool,
    /// Ends after what is there.
    #[arg(long, overrides_with = "follow")]
    no_follow: bool,
    /// Begins with the last N events [default: 10; with --no-follow: all].
    #[arg(long, value_name = "N")]
    last: Option<usize>,
}

impl EventsArgs {
    /// Prints the events; following ends with the program.
    ///
    /// # Errors
    /// The folder has no events (with `--no-follow`), it cannot be read, or the output is closed.
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let path = self.dir.join(EVENTS_FILE);
        let mut printer = Printer::new(io::stdout().lock(), self.json);
        let mut tail = Tail::new(&path);
        let last = self.last.unwrap_or(if self.no_follow { usize::MAX } else { LAST });
        let place = || format!("cannot read {}; does publishers.local_dir name this folder?", path.display());
        let lines = begin(&mut tail, last).with_context(place)?;
        show(&mut printer, &tail, &lines)?;
        if self.no_follow {
            tail.file.is_some().then_some(()).with_context(place)?;
            return Ok(ExitCode::SUCCESS);
        }
        tell_if_waiting(&tail, &mut io::stderr())?;
        loop {
            std::thread::sleep(POLL);
            let lines = tail.lines().with_context(place)?;
            show(&mut printer, &tail, &lines)?;
        }
    }
}

/// Shows the lines; the table has its head as soon as there is something that it can show.
fn show(printer: &mut Printer<impl Write>, tail: &Tail, lines: &VecDeque<Vec<u8>>) -> io::Result<()> {
    if tail.file.is_some() || !lines.is_empty() {
        printer.head()?;
    }
    printer.lines(lines)
}

fn tell_if_waiting(tail: &Tail, err: &mut impl Write) -> io::Result<()> {
    if tail.file.is_some() {
        return Ok(());
    }
    writeln!(err, "waiting for {}", tail.path.display())
}

/// The last lines of all files, the oldest first.
fn begin(tail: &mut Tail, last: usize) -> io::Result<VecDeque<Vec<u8>>> {
    let mut lines = VecDeque::new();
    for age in (1..EVENTS_FILES).rev() {
        keep(&mut lines, Tail::new(&aged(&tail.path, age)).lines()?, last);
    }
    keep(&mut lines, tail.lines()?, last);
    Ok(lines)
}

fn keep(kept: &mut VecDeque<Vec<u8>>, lines: VecDeque<Vec<u8>>, last: usize) {
    kept.extend(lines);
    kept.drain(..kept.len().saturating_sub(last));
}

/// A file of lines that grows, and that is turned over now and then.
#[derive(Debug)]
struct Tail {
    path: PathBuf,
    file: Option<File>,
    /// The start of a line whose end is not there yet.
    torn: Vec<u8>,
}

impl Tail {
    fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), file: None, torn: Vec::new() }
    }

    /// The lines that have come since the last call, without their line breaks; none while there is no file.
    fn lines(&mut self) -> io::Result<VecDeque<Vec<u8>>> {
        let mut lines = VecDeque::new();
        loop {
            if self.file.is_none() && !self.open()? {
                return Ok(lines);
            }
            self.read(&mut lines)?;
            if !self.turned_over()? {
                return Ok(lines);
            }
            self.read(&mut lines)?;
            self.file = None;
        }
    }

    fn open(&mut self) -> io::Result<bool> {
        self.torn.clear();
        match File::open(&self.path) {
            Ok(file) => self.file = Some(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        }
        Ok(true)
    }

    fn read(&mut self, lines: &mut VecDeque<Vec<u8>>) -> io::Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let at = file.stream_position()?;
        let len = file.metadata()?.len();
        if len < at {
            // Half a line was taken back.
            self.torn.clear();
            file.seek(SeekFrom::Start(len))?;
        }
        let mut grown = std::mem::take(&mut self.torn);
        file.read_to_end(&mut grown)?;
        let mut pieces = grown.split(|&byte| byte == b'\n').map(<[u8]>::to_vec);
        self.torn = pieces.next_back().unwrap_or_default();
        lines.extend(pieces);
        Ok(())
    }

    /// Whether the path names another file by now.
    fn turned_over(&self) -> io::Result<bool> {
        let Some(file) = &self.file else { return Ok(false) };
        match fs::metadata(&self.path) {
            Ok(named) => Ok(named.ino() != file.metadata()?.ino()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Writes events for a person or a program.
struct Printer<W> {
    out: W,
    json: bool,
    headed: bool,
}

impl<W: Write> Printer<W> {
    fn new(out: W, json: bool) -> Self {
        Self { out, json, headed: false }
    }

    /// The table's head, once.
    fn head(&mut self) -> io::Result<()> {
        if self.json || std::mem::replace(&mut self.headed, true) {
            return Ok(());
        }
        self.row(COLUMNS)
    }

    fn lines(&mut self, lines: &VecDeque<Vec<u8>>) -> io::Result<()> {
        for line in lines {
            self.line(line)?;
        }
        self.out.flush()
    }

    fn line(&mut self, line: &[u8]) -> io::Result<()> {
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

    fn append(path: &Path, text: &str) {
        fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
    }

    fn came(tail: &mut Tail) -> Vec<String> {
        tail.lines().unwrap().into_iter().map(|line| String::from_utf8(line).unwrap()).collect()
    }

    #[test]
    fn follows_whole_lines_over_a_turn() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(EVENTS_FILE);
        let mut tail = Tail::new(&path);
        assert_eq!(came(&mut tail), [""; 0], "no file yet");
        append(&path, "one\ntw");
        assert_eq!(came(&mut tail), ["one"]);
        append(&path, "o\n");
        assert_eq!(came(&mut tail), ["two"]);
        append(&path, "three\n");
        fs::rename(&path, aged(&path, 1)).unwrap();
        append(&path, "four\n");
        assert_eq!(came(&mut tail), ["three", "four"]);
        fs::rename(&path, aged(&path, 1)).unwrap();
        assert_eq!(came(&mut tail), [""; 0], "between two files");
        append(&path, "five\n");
        assert_eq!(came(&mut tail), ["five"]);
    }

    #[test]
    fn half_a_line_that_is_taken_back_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(EVENTS_FILE);
        let mut tail = Tail::new(&path);
        append(&path, "one\nhal");
        assert_eq!(came(&mut tail), ["one"]);
        File::options().write(true).open(&path).unwrap().set_len(4).unwrap();
        assert_eq!(came(&mut tail), [""; 0]);
        append(&path, "two\n");
        assert_eq!(came(&mut tail), ["two"]);
    }

    #[test]
    fn begins_with_the_last_of_all_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(EVENTS_FILE);
        append(&aged(&path, 2), "one\n");
        append(&aged(&path, 1), "two\nthree\n");
        append(&path, "four\n");
        for (last, expected) in [(usize::MAX, 4), (3, 3), (1, 1), (0, 0)] {
            let lines = begin(&mut Tail::new(&path), last).unwrap();
            assert_eq!(lines.len(), expected);
            assert!(lines.back().is_none_or(|line| line == b"four"));
        }
    }

    #[test]
    fn the_head_waits_for_the_file_and_who_looks_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(EVENTS_FILE);
        let (mut tail, mut printer) = (Tail::new(&path), Printer::new(Vec::new(), false));
        let (mut early, mut late) = (Vec::new(), Vec::new());
        let lines = tail.lines().unwrap();
        show(&mut printer, &tail, &lines).unwrap();
        tell_if_waiting(&tail, &mut early).unwrap();
        assert_eq!(String::from_utf8(early).unwrap(), format!("waiting for {}\n", path.display()));
        assert!(printer.out.is_empty(), "no head without a file");

        append(&path, "");
        for _ in 0..2 {
            let lines = tail.lines().unwrap();
            show(&mut printer, &tail, &lines).unwrap();
        }
        tell_if_waiting(&tail, &mut late).unwrap();
        assert!(late.is_empty(), "nothing is waited for");
        let text = String::from_utf8(printer.out).unwrap();
        assert!(text.starts_with("TIME (UTC)") && text.lines().count() == 1, "{text}");
    }

    #[test]
    fn a_table_has_a_row_an_event() {
        let mut printer = Printer::new(Vec::new(), false);
        let event = r#"{"event_id":"a","camera_id":"front","producer":"p","schema":"1","seq":1,"payload":{"camera_id":"front",
            "type":"objects","label":"person","conf":0.874,"bbox":[1,2,3,4],"ts_ms":1795447534123,"extras":{"incident_id":"a",
            "phase":"start","fragment_number":"1","frame_index":0,"producer_ts_ms":null,"server_ts_ms":1,"time_source":"server",
            "frame_width":1,"frame_height":1,"zones":[],"model":{"name":"m","sha256":"0"},"snapshot":"snapshots/a.jpg"}}}"#;
        printer.head().unwrap();
        printer.lines(&[event.into(), b"{".to_vec()].into()).unwrap();
        let text = String::from_utf8(printer.out).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(
            lines[1],
            "2026-11-23 15:25:34.123  front             objects     person           87%  snapshots/a.jpg"
        );
        assert_eq!(lines[0].find("SNAPSHOT"), lines[1].find("snapshots"));
        assert!(lines[2].starts_with("(a line that is no event: "), "{}", lines[2]);
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
