//! Speed of `replay` beside `run` in catch-up, on the same stored footage of three cameras with real models.
//!
//! `REPLAY_MINUTES=60 REPLAY_FPS=1 cargo bench --bench replay` stores an hour per camera in a local KVS in this process, has `run` and
//! `replay` analyze one frame per second of it, checks that both give the same records, and prints how many times faster than real
//! time each was. Without the variables it is 5 minutes at 5 frames per second. `scripts/setup demo test` provides clips and models.
//! The local KVS takes part in both measurements.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "what a bench cannot set up, it fails on; it prints its result"
)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use kvs_sim::{ClipPace, Sim, SimConfig, append_clip};
use serde_json::Value;
use tempfile::TempDir;
use test_support::kvs_infer_command;
use test_support::program::Program;
use test_support::setup::cached;

/// The cameras: name, clip, seconds of the clip, and pipeline entry.
const CAMERAS: [(&str, &str, u64, &str); 3] = [
    ("street", "street.mp4", 10, OBJECTS),
    ("gate", "gate.mp4", 12, PLATES),
    ("yard", "yard.mp4", 30, OBJECTS),
];
const OBJECTS: &str = "{ type: objects, objects: { yolo_weights: MODELS/street.onnx, classes: [person, bicycle, car], conf_threshold: 0.4 } }";
const PLATES: &str =
    "{ type: alpr, alpr: { plate_detector_weights: plate, ocr_weights: MODELS/plate-text.onnx } }";
/// The time without a further inference after which `run` counts as done.
const QUIET: Duration = Duration::from_secs(3);

#[tokio::main]
async fn main() {
    let minutes = number("REPLAY_MINUTES", 5);
    let fps = number("REPLAY_FPS", 5);
    let sim = Sim::start(SimConfig::default()).unwrap();
    let place = TempDir::new().unwrap();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let from = SystemTime::UNIX_EPOCH + Duration::from_secs(now - minutes * 60 - 600);
    for (name, clip, seconds, _) in CAMERAS {
        let stream = sim.store().stream_or_create(name).unwrap();
        let clip = small_clip(place.path(), clip);
        for at in 0..minutes * 60 / seconds {
            let start = from + Duration::from_secs(at * seconds);
            append_clip(&stream, &clip, ClipPace::Asap, start).await.unwrap();
        }
    }
    let config = config(fps);
    let (run, run_took) = tokio::task::block_in_place(|| run(&config, &sim.endpoint()));
    let span = (now - minutes * 60 - 600, minutes);
    let (replay, replay_took, summary) =
        tokio::task::block_in_place(|| replay(place.path(), &config, &sim.endpoint(), span));
    println!("{summary}");
    let footage_s = (minutes * 60 * CAMERAS.len() as u64) as f64;
    println!("{minutes} minutes of {} cameras at {fps} fps, {} records", CAMERAS.len(), run.len());
    println!(
        "run     {:6.1} s  {:5.1} times real time",
        run_took.as_secs_f64(),
        footage_s / run_took.as_secs_f64()
    );
    println!(
        "replay  {:6.1} s  {:5.1} times real time, with models loaded and the report written",
        replay_took.as_secs_f64(),
        footage_s / replay_took.as_secs_f64()
    );
    println!("the same ids and times: {}", run == replay);
    assert_eq!(run, replay);
    sim.stop().await;
}

/// Returns the clip in at most 100 kB per second, so that an hour is in the memory of the local KVS.
fn small_clip(folder: &Path, name: &str) -> PathBuf {
    let (clip, small) = (cached(&format!("clips/{name}")), folder.join(name));
    let encoder = "-c:v libx264 -preset veryfast -crf 28 -maxrate 700k -bufsize 700k -g 25 -keyint_min 25 -sc_threshold 0 -bf 0 -an";
    let made = Command::new("ffmpeg")
        .args(["-v", "error", "-y", "-i"])
        .arg(clip)
        .args(encoder.split(' '))
        .arg(&small)
        .status()
        .expect("ffmpeg is needed: run scripts/setup test");
    assert!(made.success());
    small
}

/// Returns the number in an environment variable.
fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |number| number.parse().unwrap())
}

fn config(fps: u64) -> String {
    let models = cached("models/street.onnx").parent().unwrap().display().to_string();
    let cameras: String = CAMERAS
        .iter()
        .map(|(name, _, _, entry)| {
            format!(
                "  - {{ id: {name}, kvs_stream_name: {name}, fps_target: {fps}, playback: {{ start: EARLIEST }}, pipeline: [{entry}] }}\n"
            )
        })
        .collect();
    let plate = "models: { plate: { path: MODELS/plate.onnx, classes: [plate] } }\n";
    format!("publishers: {{ local_dir: events }}\ndevice: cpu\n{plate}cameras:\n{cameras}")
        .replace("MODELS", &models)
}

/// Returns the ids and times of the records in a file.
fn records(path: &Path) -> BTreeSet<String> {
    let text = std::fs::read_to_string(path).unwrap();
    let record = |line: &str| {
        let event: Value = serde_json::from_str(line).unwrap();
        format!("{} {} {}", event["camera_id"], event["event_id"], event["payload"]["ts_ms"])
    };
    text.lines().map(record).collect()
}

/// Has `run` analyze all footage; returns the records and the time that it took.
fn run(config: &str, kvs: &str) -> (BTreeSet<String>, Duration) {
    let begun = Instant::now();
    let program = Program::start(kvs_infer_command!(), config, kvs, None);
    let (mut inferred, mut last) = (0, Instant::now());
    while inferred == 0 || last.elapsed() < QUIET {
        let rows = program.overview();
        let rows = rows["cameras"].as_array().unwrap();
        let sum = rows.iter().map(|row| row["frames"]["inferred"].as_u64().unwrap()).sum();
        if sum != inferred {
            (inferred, last) = (sum, Instant::now());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let took = last - begun;
    let ended = program.stop();
    (records(&ended.dir.path().join("events/events.jsonl")), took)
}

/// Replays all footage; returns the records, the time that it took, and the summary.
fn replay(
    folder: &Path,
    config: &str,
    kvs: &str,
    (from_s, minutes): (u64, u64),
) -> (BTreeSet<String>, Duration, String) {
    let file = folder.join("cameras.yaml");
    std::fs::write(&file, config).unwrap();
    let begun = Instant::now();
    let output = kvs_infer_command!()
        .args(["replay", "--from", &format!("{from_s}000"), "--to", &format!("+{minutes}m"), "--out", "out"])
        .arg("--config")
        .arg(&file)
        .current_dir(folder)
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .env("AWS_REGION", "us-east-1")
        .env("AWS_ENDPOINT_URL", kvs)
        .stdout(Stdio::piped())
        .output()
        .unwrap();
    let took = begun.elapsed();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    (records(&folder.join("out/events.jsonl")), took, String::from_utf8(output.stdout).unwrap())
}
