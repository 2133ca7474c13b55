//! `events`: prints and follows the events of the local sink or of a data stream, as a table or JSON lines.

mod printer;
mod shard_reader;
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
use super::{StopSignal, elapsed, print_stderr, run_on_runtime};
use crate::sinks::EVENTS_FILE;
use printer::Printer;
use shard_reader::ShardStart;
use stream::StreamFollower;
use tail::{Tail, last_lines};

/// Interval between two reads of the file.
const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// Number of earlier events that are printed before new ones are followed.
const DEFAULT_LAST: usize = 10;

/// Prints the events of the local sink's folder (`publishers.local_dir`) or of a Kinesis data stream, and follows new ones.
///
/// All shards of a data stream are read. Without new records, each shard is called once per second, of the five calls per
/// second that it allows to all its readers together. Records that are not events are reported on standard error and
/// skipped. The role needs kinesis:ListShards, kinesis:GetShardIterator and kinesis:GetRecords.
/// Exit codes: 0 after Ctrl-C, `--count`, `--seconds`, or the end with `--no-follow`; 69 the folder or the stream cannot be read.
#[derive(Debug, clap::Args)]
pub(super) struct EventsArgs {
    /// Folder with `events.jsonl`
    #[arg(long, value_name = "DIR", default_value = "/app/.cache/events")]
    dir: PathBuf,
    /// Kinesis data stream, in place of the folder
    #[arg(long, visible_alias = "kds", value_name = "NAME", conflicts_with = "dir")]
    stream: Option<String>,
    /// Start with the oldest record of the stream (the default with --no-follow)
    #[arg(long, requires = "stream", conflicts_with = "since")]
    from_start: bool,
    /// Start with the records that arrived at this time or later, such as 2026-11-23T15:25:34Z
    #[arg(long, requires = "stream", value_name = "TIME", value_parser = time)]
    since: Option<DateTime>,
    /// AWS region of the stream
    #[arg(long, value_name = "REGION", env = "AWS_REGION")]
    aws_region: Option<String>,
    /// Print each record unchanged: one JSON object per line
    #[arg(long)]
    json: bool,
    /// Continue with new events as they arrive (the default)
    #[arg(long, overrides_with = "no_follow")]
    follow: bool,
    /// End after the existing events
    #[arg(long, overrides_with = "follow")]
    no_follow: bool,
    /// Start with the last N events [default: 10; with --no-follow: all]
    #[arg(long, value_name = "N", conflicts_with = "stream")]
    last: Option<usize>,
    /// End after N events
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// End after this many seconds
    #[arg(long, value_name = "S")]
    seconds: Option<u64>,
}

fn time(text: &str) -> Result<DateTime, String> {
    let read = DateTime::from_str(text, DateTimeFormat::DateTimeWithOffset);
    read.map_err(|error| format!("{error}; write it as 2026-11-23T15:25:34Z"))
}

impl EventsArgs {
    /// Prints events until the limit of the arguments or Ctrl-C.
    ///
    /// # Errors
    /// The folder has no events (with `--no-follow`), the folder or the stream cannot be read, or the output is closed.
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        run_on_runtime(async {
            let mut stop = StopSignal::new()?;
            let printing = async {
                match &self.stream {
                    Some(stream) => self.follow_stream(stream).await,
                    None => self.follow_folder().await,
                }
            };
            tokio::select! {
                printed = printing => printed?,
                () = stop.wait() => {}
                () = elapsed(self.seconds) => {}
            }
            Ok(ExitCode::SUCCESS)
        })
    }

    fn printer(&self) -> Printer<io::StdoutLock<'static>> {
        Printer::new(io::stdout().lock(), self.json, self.count.unwrap_or(u64::MAX))
    }

    async fn follow_stream(&self, stream: &str) -> anyhow::Result<()> {
        let start = match self.since {
            Some(time) => ShardStart::Time(time),
            None if self.from_start || self.no_follow => ShardStart::Oldest,
            None => ShardStart::Latest,
        };
        let aws = sdk_config(self.aws_region.as_deref().filter(|region| !region.is_empty())).await?;
        let mut follower = StreamFollower::start(&aws, stream.to_owned(), start, self.no_follow).await?;
        let mut printer = self.printer();
        printer.head()?;
        while !printer.is_done() && !follower.next(&mut printer).await? {}
        Ok(())
    }

    async fn follow_folder(&self) -> anyhow::Result<()> {
        let path = self.dir.join(EVENTS_FILE);
        let (mut printer, mut tail) = (self.printer(), Tail::new(&path));
        let last = self.last.unwrap_or(if self.no_follow { usize::MAX } else { DEFAULT_LAST });
        let place = || format!("cannot read {}; does publishers.local_dir name this folder?", path.display());
        let lines = last_lines(&mut tail, last).with_context(place)?;
        show(&mut printer, &tail, &lines)?;
        if self.no_follow {
            return tail.is_open().then_some(()).with_context(place);
        }
        if let Some(notice) = waiting_notice(&tail) {
            print_stderr(notice);
        }
        while !printer.is_done() {
            tokio::time::sleep(POLL_INTERVAL).await;
            // The file is polled: the folder may be a network mount without change notifications.
            let lines = tail.lines().with_context(place)?;
            show(&mut printer, &tail, &lines)?;
        }
        Ok(())
    }
}

/// Prints the lines, and the head of the table as soon as the file exists.
fn show(printer: &mut Printer<impl Write>, tail: &Tail, lines: &VecDeque<Vec<u8>>) -> io::Result<()> {
    if tail.is_open() || !lines.is_empty() {
        printer.head()?;
    }
    printer.lines(lines)
}

/// Returns the notice that the file does not exist yet.
fn waiting_notice(tail: &Tail) -> Option<String> {
    (!tail.is_open()).then(|| format!("waiting for {}", tail.path.display()))
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
    fn the_head_and_the_notice_depend_on_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(EVENTS_FILE);
        let (mut tail, mut printer) = (Tail::new(&path), Printer::new(Vec::new(), false, 1));
        let lines = tail.lines().unwrap();
        show(&mut printer, &tail, &lines).unwrap();
        assert_eq!(waiting_notice(&tail), Some(format!("waiting for {}", path.display())));
        assert!(printer.out.is_empty(), "no head without a file");

        append(&path, "");
        for _ in 0..2 {
            let lines = tail.lines().unwrap();
            show(&mut printer, &tail, &lines).unwrap();
        }
        assert_eq!(waiting_notice(&tail), None);
        let text = String::from_utf8(printer.out).unwrap();
        assert!(text.starts_with("TIME (UTC)") && text.lines().count() == 1, "{text}");
    }
}
