//! `events`: follows the events of the local sink or of a data stream, as a table or JSON lines.

mod printer;
mod shard;
mod shards;
mod stream;
mod tail;

use std::collections::VecDeque;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use aws_sdk_kinesis::primitives::{DateTime, DateTimeFormat};

use super::aws::sdk_config;
use super::{StopSignal, run_on_runtime};
use crate::sinks::EVENTS_FILE;
use printer::Printer;
use shard::Begin;
use stream::Follower;
use tail::{Tail, begin};

/// Between two looks at the file.
const POLL: Duration = Duration::from_millis(200);
/// Events shown before the following begins.
const LAST: usize = 10;

/// Shows the events in the folder of the local sink (`publishers.local_dir`) or of a Kinesis data stream, and follows them as
/// they come.
///
/// Of a data stream all shards are read, one call a second and shard once there is nothing new, of the five that a shard allows
/// to all its readers together; what is no event is told of on standard error and passed over. The role needs
/// kinesis:ListShards, kinesis:GetShardIterator and kinesis:GetRecords.
/// Exit codes: 0 after Ctrl-C, `--count`, `--seconds`, or the end with `--no-follow`; 69 the folder or the stream cannot be read.
#[derive(Debug, clap::Args)]
pub(super) struct EventsArgs {
    /// The folder with `events.jsonl`.
    #[arg(long, value_name = "DIR", default_value = "/app/.cache/events")]
    dir: PathBuf,
    /// A Kinesis data stream, in place of the folder.
    #[arg(long, visible_alias = "kds", value_name = "NAME", conflicts_with = "dir")]
    stream: Option<String>,
    /// Begins with the oldest record that the stream keeps (with --no-follow the default).
    #[arg(long, requires = "stream", conflicts_with = "since")]
    from_start: bool,
    /// Begins with the records that came at this time, such as 2026-11-23T15:25:34Z, or later.
    #[arg(long, requires = "stream", value_name = "TIME", value_parser = time)]
    since: Option<DateTime>,
    /// The AWS region of the stream.
    #[arg(long, value_name = "REGION", env = "AWS_REGION")]
    aws_region: Option<String>,
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
    #[arg(long, value_name = "N", conflicts_with = "stream")]
    last: Option<usize>,
    /// Ends after N events.
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Ends after so many seconds.
    #[arg(long, value_name = "S")]
    seconds: Option<u64>,
}

fn time(text: &str) -> Result<DateTime, String> {
    let read = DateTime::from_str(text, DateTimeFormat::DateTimeWithOffset);
    read.map_err(|error| format!("{error}; write it as 2026-11-23T15:25:34Z"))
}

impl EventsArgs {
    /// Prints the events, until what the arguments say or Ctrl-C.
    ///
    /// # Errors
    /// The folder has no events (with `--no-follow`), it or the stream cannot be read, or the output is closed.
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        run_on_runtime(async {
            let mut stop = StopSignal::new()?;
            let shown = async {
                match &self.stream {
                    Some(stream) => self.follow_stream(stream).await,
                    None => self.follow_folder().await,
                }
            };
            tokio::select! {
                shown = shown => shown?,
                () = stop.wait() => {}
                () = after(self.seconds) => {}
            }
            Ok(ExitCode::SUCCESS)
        })
    }

    fn printer(&self) -> Printer<io::StdoutLock<'static>> {
        Printer::new(io::stdout().lock(), self.json, self.count.unwrap_or(u64::MAX))
    }

    async fn follow_stream(&self, stream: &str) -> anyhow::Result<()> {
        let begin = match self.since {
            Some(time) => Begin::Time(time),
            None if self.from_start || self.no_follow => Begin::Oldest,
            None => Begin::Latest,
        };
        let aws = sdk_config(self.aws_region.as_deref().filter(|region| !region.is_empty())).await?;
        let mut follower = Follower::start(&aws, stream.to_owned(), begin, self.no_follow).await?;
        let mut printer = self.printer();
        printer.head()?;
        while !printer.is_done() && !follower.next(&mut printer).await? {}
        Ok(())
    }

    async fn follow_folder(&self) -> anyhow::Result<()> {
        let path = self.dir.join(EVENTS_FILE);
        let (mut printer, mut tail) = (self.printer(), Tail::new(&path));
        let last = self.last.unwrap_or(if self.no_follow { usize::MAX } else { LAST });
        let place = || format!("cannot read {}; does publishers.local_dir name this folder?", path.display());
        let lines = begin(&mut tail, last).with_context(place)?;
        show(&mut printer, &tail, &lines)?;
        if self.no_follow {
            return tail.is_open().then_some(()).with_context(place);
        }
        tell_if_waiting(&tail, &mut io::stderr())?;
        while !printer.is_done() {
            tokio::time::sleep(POLL).await;
            let lines = tail.lines().with_context(place)?;
            show(&mut printer, &tail, &lines)?;
        }
        Ok(())
    }
}

async fn after(seconds: Option<u64>) {
    match seconds {
        Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
        None => std::future::pending().await,
    }
}

/// Shows the lines; the table has its head as soon as there is something that it can show.
fn show(printer: &mut Printer<impl Write>, tail: &Tail, lines: &VecDeque<Vec<u8>>) -> io::Result<()> {
    if tail.is_open() || !lines.is_empty() {
        printer.head()?;
    }
    printer.lines(lines)
}

fn tell_if_waiting(tail: &Tail, err: &mut impl Write) -> io::Result<()> {
    if tail.is_open() {
        return Ok(());
    }
    writeln!(err, "waiting for {}", tail.path.display())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::path::Path;

    use super::*;

    fn append(path: &Path, text: &str) {
        let mut file = fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    #[test]
    fn the_head_waits_for_the_file_and_who_looks_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(EVENTS_FILE);
        let (mut tail, mut printer) = (Tail::new(&path), Printer::new(Vec::new(), false, 1));
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
}
