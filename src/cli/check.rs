//! `kvs-infer check`: says what is wrong with a configuration, or what it asks for.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use crate::config::{CameraSpec, ConfigErrors, Settings, Start};
use crate::publish::PublishSpec;

use super::config_args::ConfigArgs;

/// Says what is wrong with a configuration, with line and column, or what it asks for.
///
/// Works offline: nothing is asked of AWS, and models are not loaded, only looked for (`--live` is not in this version).
/// Whether `local_dir` can be written is tried with an empty file in it, or in the nearest folder above it that is there.
/// Exit codes: 0 the configuration is good; 78 it has mistakes, or names model files or folders that cannot be used.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct CheckArgs {
    /// Which configuration.
    #[command(flatten)]
    config: ConfigArgs,
}

impl CheckArgs {
    /// Checks it.
    ///
    /// # Errors
    /// The configuration is wrong, or standard output is closed.
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let settings = self.config.load()?;
        settings.publish.local_dir.as_deref().map_or(Ok(()), can_be_written)?;
        print(&settings, &mut io::stdout().lock())?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Errors: the nearest of `folder` and those above it that is there is no folder, or cannot be written.
fn can_be_written(folder: &Path) -> Result<(), ConfigErrors> {
    let here = Path::new(".");
    let named = |path| if path == Path::new("") { here } else { path };
    let parent = folder.ancestors().map(named).find(|path| path.exists()).unwrap_or(here);
    let wrong = |why| ConfigErrors::Folder { folder: folder.to_owned(), parent: parent.to_owned(), why };
    if !parent.is_dir() {
        return Err(wrong("is no folder".to_owned()));
    }
    let probe = parent.join(format!(".kvs-infer-check-{}", std::process::id()));
    let tried = File::create_new(&probe).and_then(|_made| fs::remove_file(&probe));
    tried.map_err(|error| wrong(format!("cannot be written: {error}")))
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
        sinks(camera, publish).join(", "),
    ]
}

fn sinks(camera: &CameraSpec, publish: &PublishSpec) -> Vec<String> {
    let kds = camera.route.kds_stream.as_ref().map(|stream| format!("kds {stream}"));
    let local = publish.local_dir.as_ref().map(|folder| format!("local {}", folder.display()));
    let s3 = publish.s3.as_ref().zip(camera.route.snapshot.as_ref());
    let s3 = s3.map(|(s3, snapshot)| match s3.prefix.as_str() {
        "" => format!("s3 {}/{}", s3.bucket, snapshot.prefix),
        prefix => format!("s3 {}/{prefix}/{}", s3.bucket, snapshot.prefix),
    });
    [kds, s3, local].into_iter().flatten().collect()
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

    const FILE: &str = "publishers: { kds_stream: events, s3_bucket: our-bucket, local_dir: /tmp/events }
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
        let expected = [
            "CAMERA     STREAM    START       FPS  DETECTORS                                EVENTS TO",
            "a          a-stream  CHECKPOINT  2.5  objects (one.onnx), objects#2 (two.onnx)  kds events, s3 our-bucket/snapshots/a/, local /tmp/events",
            "long-name  b         NOW         all  weapon (one.onnx)                        local /tmp/events",
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
    fn the_nearest_folder_that_is_there_must_take_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        can_be_written(&folder.path().join("not/yet")).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left behind");
        for (path, told) in
            [(file.join("events"), "is no folder"), ("/proc/events".into(), "cannot be written")]
        {
            let error = can_be_written(&path).unwrap_err().to_string();
            assert!(error.contains(&path.display().to_string()) && error.contains(told), "{error}");
        }
    }
}
