//! `check`: reports the mistakes of a configuration, or prints a summary of it.

use std::fmt;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use ::sharing::WhenTableIsAway;

use crate::base::{Unwritable, can_be_written};
use crate::config::{CameraSpec, ConfigErrors, Settings, SharingSettings, StartPosition};
use crate::sinks::PublishSpec;

use super::aws::sdk_config;
use super::config_args::ConfigArgs;
use super::fetching::fetch_all;
use super::live_check::LiveCheck;
use super::models::specs;
use super::run_on_runtime;

/// Reports all mistakes of a configuration with line and column, or prints a summary of it.
///
/// Works offline if the configuration is a local file: it makes no request to AWS and loads no model. It checks that
/// local model files exist, and fetches none from s3:// or https://. It checks that `local_dir` can be written by
/// creating an empty file in it, or in the nearest existing folder above it.
/// Exit codes: 0 the configuration is valid; 78 it has mistakes, or names model files or folders that cannot be used.
///
/// With `--live`, it also probes everything that `run` needs and prints one line per probe: ok, warn (needs attention) or
/// FAIL, the name, the seconds, the finding and the remedy. The probes are: the credentials (sts:GetCallerIdentity); the
/// stream of each camera (DescribeStream; GetDataEndpoint and GetMedia, closed after the first fragment or 5 s) and its
/// stored footage (ListFragments; GetMediaForFragmentList, closed after the first bytes); each data
/// stream (DescribeStreamSummary; PutRecords of one record with a hash key outside all shards: a role with write access is
/// refused for that key, so nothing is written); the bucket (PutObject of a line of text under
/// `{s3_prefix}/.kvs-infer-check`, which stays, and GetObject of it); the DynamoDB tables (DescribeTable,
/// DescribeTimeToLive; PutItem and UpdateItem with a condition that is never met, so nothing is written; where incidents
/// are listed from the table, Query for names that do not exist); any other sink (a call that only describes it);
/// the folders; the models, each fetched into the cache folder if it is remote, loaded and run.
/// A missing permission that only the page's history, pictures or video need is a warning.
/// Exit codes with `--live`: 0 nothing failed; 69 something is unreachable, missing or refused; 78 a model cannot be used
/// or lacks a configured class.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Also probes AWS, the models and the folders
    #[arg(long)]
    live: bool,
    /// Prints one JSON object per probe, and one with the totals
    #[arg(long, requires = "live")]
    json: bool,
}

impl CheckArgs {
    /// Checks the configuration, and with `--live` what it refers to.
    ///
    /// # Errors
    /// The configuration is invalid, or standard output is closed.
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let settings = self.config.load()?;
        if self.live {
            return run_on_runtime(self.probe(settings));
        }
        // `load` has checked the model files.
        settings.publish.local_dir.as_deref().map_or(Ok(()), check_folder)?;
        let mut out = io::stdout().lock();
        print(&settings, &mut out)?;
        print_advice(&settings, &mut out)?;
        print_total(&settings, &mut out)?;
        Ok(ExitCode::SUCCESS)
    }

    async fn probe(self, settings: Settings) -> anyhow::Result<ExitCode> {
        let aws = sdk_config(settings.region.as_deref()).await?;
        // The lock of standard output ends here: the probes print while they run.
        if !self.json {
            let mut out = io::stdout().lock();
            print(&settings, &mut out)?;
            print_advice(&settings, &mut out)?;
            writeln!(out)?;
        }
        let models = fetch_all(&self.config.models(Some(&aws))?, specs(&settings)).await;
        let state_dir = self.config.state_dir()?;
        LiveCheck { state_dir, settings, models, aws, json: self.json }.run().await
    }
}

/// Checks that `folder` can be written, or else created in the nearest existing folder above it.
///
/// Errors: that one is not a folder, or cannot be written.
fn check_folder(folder: &Path) -> Result<(), ConfigErrors> {
    can_be_written(folder).map_err(|Unwritable { parent, why }| ConfigErrors::Folder {
        folder: folder.to_owned(),
        parent,
        why,
    })
}

fn print(settings: &Settings, out: &mut impl Write) -> io::Result<()> {
    let mut rows = vec![["CAMERA", "STREAM", "START", "FPS", "DETECTORS", "EVENTS TO"].map(str::to_owned)];
    rows.extend(settings.cameras.iter().map(|camera| row(camera, &settings.publish)));
    let widths: [usize; 6] = std::array::from_fn(|i| rows.iter().map(|row| row[i].len()).max().unwrap_or(0));
    for row in &rows {
        let padded: Vec<String> =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        writeln!(out, "{}", padded.join("  ").trim_end())?;
    }
    settings.sharing.iter().try_for_each(|sharing| print_sharing(sharing, out))
}

fn print_sharing(sharing: &SharingSettings, out: &mut impl Write) -> io::Result<()> {
    let SharingSettings { table, pool, when_away } = sharing;
    let events = match when_away {
        WhenTableIsAway::Hold => "events wait",
        WhenTableIsAway::Publish => "events are published",
    };
    writeln!(out, "sharing: pool {pool} in table {table}; while the table of positions is away, {events}")
}

/// Prints warnings about allowed settings with surprising effects.
fn print_advice(settings: &Settings, out: &mut impl Write) -> io::Result<()> {
    settings.advice().iter().try_for_each(|advice| writeln!(out, "warn: {advice}"))
}

fn print_total(settings: &Settings, out: &mut impl Write) -> io::Result<()> {
    let cameras = count(settings.cameras.len(), "camera");
    writeln!(out, "OK: {cameras}, {} (models not loaded: kvs-infer models)", ModelCount(settings))
}

fn row(camera: &CameraSpec, publish: &PublishSpec) -> [String; 6] {
    let detectors: Vec<String> = camera
        .pipeline
        .iter()
        .map(|entry| {
            let int8 = if entry.model.int8.is_some() { ", int8" } else { "" };
            let half = if entry.model.half.is_some() { ", half" } else { "" };
            format!("{} ({}{int8}{half})", entry.rules.detector, entry.model.name)
        })
        .collect();
    [
        camera.id.to_string(),
        camera.stream.clone(),
        start_name(camera.start).to_owned(),
        camera.fps_target.map_or_else(|| "all".to_owned(), |fps| fps.to_string()),
        detectors.join(", "),
        publish.destinations(&camera.route).join(", "),
    ]
}

fn start_name(start: StartPosition) -> &'static str {
    match start {
        StartPosition::Now => "NOW",
        StartPosition::Earliest => "EARLIEST",
        StartPosition::Checkpoint => "CHECKPOINT",
    }
}

fn count(n: usize, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

/// The number of different model files.
struct ModelCount<'a>(&'a Settings);

impl fmt::Display for ModelCount<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries = self.0.cameras.iter().flat_map(|camera| &camera.pipeline);
        let mut paths: Vec<_> = entries.flat_map(|entry| entry.model.files()).collect();
        // `dedup` removes only neighbours.
        paths.sort_unstable();
        paths.dedup();
        f.write_str(&count(paths.len(), "model file"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ConfigContent, Overrides, parse, parse_content};

    const FILE: &str = "publishers: { kds_stream: events, s3_bucket: our-bucket, ddb_table: records, local_dir: /tmp/events }
models: { two: { path: two.onnx, int8: two.int8.onnx, half: two.half.onnx } }
cameras:
  - id: a
    kvs_stream_name: a-stream
    fps_target: 2.5
    pipeline:
      - { type: objects, objects: { yolo_weights: one.onnx } }
      - { type: objects, objects: { yolo_weights: two } }
  - id: long-name
    kvs_stream_name: b
    playback: { start: NOW }
    pipeline: [{ type: weapon, weapon: { yolo_weights: one.onnx } }]
    routing: { events: { to_kds: false }, snapshot: { to_s3: false } }
";

    #[test]
    fn the_summary_has_one_row_per_camera() {
        let settings = parse("c", FILE, &|_| None, &Overrides::default()).unwrap();
        let mut out = Vec::new();
        print(&settings, &mut out).unwrap();
        print_total(&settings, &mut out).unwrap();
        let expected = [
            "CAMERA     STREAM    START       FPS  DETECTORS                                EVENTS TO",
            "a          a-stream  CHECKPOINT  2.5  objects (one.onnx), objects#2 (two, int8, half)  local /tmp/events, kds events, dynamodb records, s3 our-bucket/snapshots/a/",
            "long-name  b         NOW         all  weapon (one.onnx)                        local /tmp/events, dynamodb records",
            "OK: 2 cameras, 4 model files (models not loaded: kvs-infer models)",
        ];
        let squeeze = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        let out = String::from_utf8(out).unwrap();
        let columns: Vec<_> =
            out.lines().take(3).map(|line| line.find("local /tmp").or(line.find("EVENTS TO"))).collect();
        assert_eq!(columns[0], columns[2], "the columns are aligned:\n{out}");
        assert_eq!(out.lines().map(squeeze).collect::<Vec<_>>(), expected.map(squeeze));
    }

    #[test]
    fn the_summary_names_the_pool_of_workers() {
        let lines = |keys: &str| {
            let text = format!("state: {{ ddb_table: positions }}\n{keys}{FILE}");
            let content = ConfigContent { text, modified_ms: Ok(1) };
            let settings = parse_content("c", content, &|_| None, &Overrides::default()).unwrap();
            let mut out = Vec::new();
            print(&settings, &mut out).unwrap();
            print_advice(&settings, &mut out).unwrap();
            String::from_utf8(out).unwrap().lines().skip(3).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(lines(""), [""; 0]);
        let shared = lines("sharing: { table: workers }\n");
        assert_eq!(
            shared[0],
            "sharing: pool default in table workers; while the table of positions is away, events are published"
        );
        assert!(shared[1].starts_with("warn: sharing: `publishers.local_dir` is best effort"), "{shared:?}");
        assert!(shared[2].starts_with("warn: camera long-name: with sharing"), "{shared:?}");
        let held = lines("sharing: { table: workers, pool: north, when_table_is_away: hold }\n");
        assert!(held[0].contains("pool north") && held[0].ends_with("events wait"), "{held:?}");
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_a_mistake() {
        let error = check_folder(Path::new("/proc/events")).unwrap_err().to_string();
        assert!(error.contains("publishers.local_dir: /proc/events: /proc cannot be written"), "{error}");
    }
}
