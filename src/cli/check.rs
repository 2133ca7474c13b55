//! `kvs-infer check`: says what is wrong with a configuration, or what it asks for.

use std::fmt;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use crate::base::{Unwritable, can_be_written};
use crate::config::{CameraSpec, ConfigErrors, Settings, Start};
use crate::sinks::PublishSpec;

use super::aws::sdk_config;
use super::config_args::ConfigArgs;
use super::doctor::Doctor;
use super::fetching::fetch_all;
use super::models::specs;
use super::run_on_runtime;

/// Says what is wrong with a configuration, with line and column, or what it asks for.
///
/// Works offline (with a configuration that is): nothing is asked of AWS, and models are not loaded; those of this machine are
/// looked for, those from s3:// and https:// are not fetched. Whether `local_dir` can be written is
/// tried with an empty file in it, or in the nearest folder above it that is there.
/// Exit codes: 0 the configuration is good; 78 it has mistakes, or names model files or folders that cannot be used.
///
/// With `--live` it then asks all that `run` would need and prints a line an answer: ok, warn (somebody should look) or FAIL,
/// what was asked, seconds, what was found and what to do. Asked are: the credentials (sts:GetCallerIdentity); each
/// camera's stream (DescribeStream; GetDataEndpoint and GetMedia, closed with the first fragment or after 5 s); each data
/// stream (DescribeStreamSummary; PutRecords of one record for a hash key that no shard has, which is refused for its key
/// where the role may write, so that nothing is written); the bucket (PutObject of a line of text under
/// `{s3_prefix}/.kvs-infer-check`, which stays); the DynamoDB tables (DescribeTable, DescribeTimeToLive; PutItem and
/// UpdateItem on a condition that never holds, so that nothing is written); any other sink (a call that only
/// describes it); the folders; the models, each fetched into the cache
/// folder where it is elsewhere, loaded and run.
/// Exit codes with `--live`: 0 nothing failed; 69 something is unreachable, missing or refused; 78 also where a model
/// cannot be used or has not the classes that are counted.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct CheckArgs {
    /// Which configuration.
    #[command(flatten)]
    config: ConfigArgs,
    /// Asks AWS, loads the models and looks at the folders too
    #[arg(long)]
    live: bool,
    /// Prints one JSON object an answer, and one with their sum
    #[arg(long, requires = "live")]
    json: bool,
}

impl CheckArgs {
    /// Checks it.
    ///
    /// # Errors
    /// The configuration is wrong, or standard output is closed.
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let settings = self.config.load()?;
        if self.live {
            return run_on_runtime(self.ask(settings));
        }
        settings.publish.local_dir.as_deref().map_or(Ok(()), look_at)?;
        let mut out = io::stdout().lock();
        print(&settings, &mut out)?;
        print_advice(&settings, &mut out)?;
        print_sum(&settings, &mut out)?;
        Ok(ExitCode::SUCCESS)
    }

    async fn ask(self, settings: Settings) -> anyhow::Result<ExitCode> {
        let aws = sdk_config(settings.region.as_deref()).await?;
        if !self.json {
            let mut out = io::stdout().lock();
            print(&settings, &mut out)?;
            print_advice(&settings, &mut out)?;
            writeln!(out)?;
        }
        let models = fetch_all(&self.config.models(Some(&aws))?, specs(&settings)).await;
        let state_dir = self.config.state_dir()?;
        Doctor { state_dir, settings, models, aws, json: self.json }.run().await
    }
}

/// Errors: the nearest of `folder` and those above it that is there is no folder, or cannot be written.
fn look_at(folder: &Path) -> Result<(), ConfigErrors> {
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
    Ok(())
}

/// Prints warnings about allowed settings with surprising effects.
fn print_advice(settings: &Settings, out: &mut impl Write) -> io::Result<()> {
    settings.advice().iter().try_for_each(|advice| writeln!(out, "warn: {advice}"))
}

fn print_sum(settings: &Settings, out: &mut impl Write) -> io::Result<()> {
    let cameras = count(settings.cameras.len(), "camera");
    writeln!(out, "OK: {cameras}, {} (models not loaded: kvs-infer models)", Models(settings))
}

fn row(camera: &CameraSpec, publish: &PublishSpec) -> [String; 6] {
    let detectors: Vec<String> = camera
        .pipeline
        .iter()
        .map(|entry| format!("{} ({})", entry.rules.detector, entry.model.name))
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

fn start_name(start: Start) -> &'static str {
    match start {
        Start::Now => "NOW",
        Start::Earliest => "EARLIEST",
        Start::Checkpoint => "CHECKPOINT",
    }
}

fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// How many models there are, each counted once.
struct Models<'a>(&'a Settings);

impl fmt::Display for Models<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries = self.0.cameras.iter().flat_map(|camera| &camera.pipeline);
        let mut paths: Vec<_> = entries.map(|entry| &entry.model.path).collect();
        paths.sort_unstable();
        paths.dedup();
        f.write_str(&count(paths.len(), "model file"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Overrides, parse};

    const FILE: &str = "publishers: { kds_stream: events, s3_bucket: our-bucket, ddb_table: records, local_dir: /tmp/events }
cameras:
  - id: a
    kvs_stream_name: a-stream
    fps_target: 2.5
    pipeline:
      - { type: objects, objects: { yolo_weights: one.onnx } }
      - { type: objects, objects: { yolo_weights: two.onnx } }
  - id: long-name
    kvs_stream_name: b
    playback: { start: NOW }
    pipeline: [{ type: weapon, weapon: { yolo_weights: one.onnx } }]
    routing: { events: { to_kds: false }, snapshot: { to_s3: false } }
";

    #[test]
    fn the_summary_has_a_row_a_camera() {
        let settings = parse("c", FILE, &|_| None, &Overrides::default()).unwrap();
        let mut out = Vec::new();
        print(&settings, &mut out).unwrap();
        print_sum(&settings, &mut out).unwrap();
        let expected = [
            "CAMERA     STREAM    START       FPS  DETECTORS                                EVENTS TO",
            "a          a-stream  CHECKPOINT  2.5  objects (one.onnx), objects#2 (two.onnx)  local /tmp/events, kds events, dynamodb records, s3 our-bucket/snapshots/a/",
            "long-name  b         NOW         all  weapon (one.onnx)                        local /tmp/events, dynamodb records",
            "OK: 2 cameras, 2 model files (models not loaded: kvs-infer models)",
        ];
        let squeeze = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        let out = String::from_utf8(out).unwrap();
        let columns: Vec<_> =
            out.lines().take(3).map(|line| line.find("local /tmp").or(line.find("EVENTS TO"))).collect();
        assert_eq!(columns[0], columns[2], "the columns stand below each other:\n{out}");
        assert_eq!(out.lines().map(squeeze).collect::<Vec<_>>(), expected.map(squeeze));
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_a_mistake() {
        let error = look_at(Path::new("/proc/events")).unwrap_err().to_string();
        assert!(error.contains("publishers.local_dir: /proc/events: /proc cannot be written"), "{error}");
    }
}
