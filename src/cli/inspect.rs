//! `inspect`: prints a GetMedia dump, one JSON line per fragment.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use kvs_mkv::{
    FragmentEvent, FragmentReader, FragmentStart, FragmentSummary, MkvLimits, StreamError, Tag, TrackEntry,
};
use serde_json::{Map, Value, json};

/// Reads a GetMedia dump (concatenated Matroska documents) and prints one JSON line per fragment.
///
/// A fragment without its trailing AWS tags has "complete":false; its complete frames are counted. Times are in seconds
/// since the epoch, `millis_behind_now` in milliseconds, `bytes` is the sum of the frame sizes, `tags` are the producer's
/// own (a repeated name has a list of values).
#[derive(Debug, clap::Args)]
pub(super) struct InspectArgs {
    /// The dump; `-` reads standard input.
    file: PathBuf,
}

impl InspectArgs {
    /// Prints the fragments.
    ///
    /// # Errors
    /// The file cannot be read, or its bytes are not GetMedia output. The fragments before that place are printed.
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let from = open(&self.file)?;
        let mut out = std::io::stdout().lock();
        inspect(from, &mut out).with_context(|| format!("in {}", self.file.display()))?;
        Ok(ExitCode::SUCCESS)
    }
}

fn open(file: &Path) -> anyhow::Result<Box<dyn Read>> {
    if file == Path::new("-") {
        return Ok(Box::new(std::io::stdin().lock()));
    }
    let opened = File::open(file).with_context(|| format!("cannot open {}", file.display()))?;
    Ok(Box::new(opened))
}

fn inspect(mut from: impl Read, out: &mut impl Write) -> anyhow::Result<()> {
    let mut reader = FragmentReader::new(MkvLimits::default());
    let mut start = None;
    let mut chunk = vec![0; 1 << 16];
    loop {
        let length = from.read(&mut chunk).context("reading failed")?;
        if length == 0 {
            break;
        }
        reader.push(&chunk[..length]);
        let read = print_all(&mut start, out, || reader.next());
        // After invalid bytes, `finish` still returns the fragment that was open.
        if read.as_ref().is_err_and(|error| error.is::<kvs_mkv::MkvError>()) {
            print_all(&mut start, out, || reader.finish())?;
        }
        read?;
    }
    print_all(&mut start, out, || reader.finish())
}

fn print_all(
    start: &mut Option<FragmentStart>,
    out: &mut impl Write,
    mut next: impl FnMut() -> Result<Option<FragmentEvent>, kvs_mkv::MkvError>,
) -> anyhow::Result<()> {
    while let Some(event) = next()? {
        match event {
            FragmentEvent::Start(started) => *start = Some(started),
            // The end of the fragment has the counts of its blocks.
            FragmentEvent::Block(_) => {}
            FragmentEvent::End(end) => {
                if let Some(start) = start.take() {
                    writeln!(out, "{}", fragment_line(&start, &end))?;
                }
            }
            FragmentEvent::Error(error) => writeln!(out, "{}", error_line(&error))?,
        }
    }
    Ok(())
}

fn fragment_line(start: &FragmentStart, end: &FragmentSummary) -> Value {
    let tracks: Vec<Value> = start.tracks.iter().map(track_value).collect();
    json!({
        "fragment": start.number,
        "server_timestamp": seconds(start.server_ms),
        "producer_timestamp": seconds(start.producer_ms),
        "millis_behind_now": end.millis_behind_now,
        "continuation_token": end.continuation_token,
        "complete": end.complete,
        "tracks": tracks,
        "frames": end.frames,
        "keyframes": end.keyframes,
        "bytes": end.bytes,
        "tags": tag_map(start.tags.iter().chain(&end.tags)),
    })
}

fn track_value(track: &TrackEntry) -> Value {
    json!({"number": track.number, "codec": track.codec_id, "width": track.width_px, "height": track.height_px})
}

fn error_line(error: &StreamError) -> Value {
    json!({"fragment": error.fragment, "error": {"id": error.id, "code": error.code}})
}

#[expect(clippy::cast_precision_loss, reason = "epoch milliseconds fit f64 exactly")]
fn seconds(ms: Option<i64>) -> Option<f64> {
    ms.map(|ms| ms as f64 / 1000.0)
}

fn tag_map<'a>(tags: impl Iterator<Item = &'a Tag>) -> Map<String, Value> {
    let mut map = Map::new();
    for tag in tags {
        let value = Value::from(tag.value.as_str());
        match map.get_mut(&tag.name) {
            None => {
                map.insert(tag.name.clone(), value);
            }
            // Matroska allows a tag name to repeat; the values keep their order.
            Some(Value::Array(values)) => values.push(value),
            Some(first) => *first = Value::from(vec![first.clone(), value]),
        }
    }
    map
}
