//! Masked pixels appear nowhere, and a still scene is inferred now and then.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use kvs_sim::{ClipPace, Sim, append_clip};
use test_support::colours::{camera, paint, sim, store};
use test_support::kvs_infer_command;
use test_support::program::{Ended, Program};

const SIDE: usize = 128;

fn config(keys: &str) -> String {
    let camera = camera("front").replacen("    pipeline", &format!("    {keys}\n    pipeline"), 1);
    format!("publishers:\n  local_dir: events\ndevice: cpu\ncameras:\n{camera}")
}

/// The picture in a file, RGB.
fn rgb(file: &Path) -> Vec<[u8; 3]> {
    let decoded = Command::new("ffmpeg")
        .args(["-v", "error", "-i"])
        .arg(file)
        .args(["-f", "rawvideo", "-pix_fmt", "rgb24", "-"])
        .output()
        .expect("ffmpeg is needed: run scripts/setup test");
    decoded.stdout.as_chunks::<3>().0.to_vec()
}

fn is_red(&[red, green, blue]: &[u8; 3]) -> bool {
    red > green.max(blue).saturating_add(40)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_under_a_mask_gives_no_event_and_its_colour_is_nowhere() {
    let clips = tempfile::tempdir().unwrap();
    let clip = clips.path().join("masked.mp4");
    let boxes = "drawbox=x=16:y=16:w=32:h=32:c=0xFF0000:t=fill,\
                 drawbox=x=64:y=64:w=48:h=32:c=0x0000FF:t=fill:enable='between(t,1,2.95)',format=yuv420p";
    paint(&clip, 4, boxes, 0);
    let sim = sim();
    store(&sim, "front-stream", &clip).await;
    for (name, keys, labels, shows_red) in [
        ("unmasked", "enabled: true", &["blue", "red"][..], true),
        ("masked", "masks: [{ points: [[5, 5], [59, 5], [59, 59], [5, 59]] }]", &["blue"], false),
        (
            "masked in shares",
            "roi: { enabled: false, units: normalized }\n    \
             masks: [{ points: [[0.04, 0.04], [0.46, 0.04], [0.46, 0.46], [0.04, 0.46]] }]",
            &["blue"],
            false,
        ),
    ] {
        let program = Program::start(kvs_infer_command!(), &config(keys), &sim.endpoint(), None);
        program.camera_after("front", 40);
        let live = program.get_bytes("/api/cameras/front/snapshot.jpg");
        let Ended { status, dir, log, .. } = program.stop();
        assert!(status.success(), "{name}: {log:#?}");
        let reported = std::fs::read_to_string(dir.path().join("events/events.jsonl")).unwrap();
        let events = reported.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let mut seen: Vec<String> =
            events.map(|event| event["payload"]["label"].as_str().unwrap().to_owned()).collect();
        seen.sort();
        seen.dedup();
        assert_eq!(seen, labels, "{name}");
        let file = dir.path().join("live.jpg");
        std::fs::write(&file, live).unwrap();
        assert_eq!(rgb(&file).len(), SIDE * SIDE, "{name}");
        let pictures = pictures(dir.path());
        assert_eq!(pictures.len(), labels.len(), "{name}: {pictures:?}");
        let red = pictures.iter().chain([&file]).filter(|file| rgb(file).iter().any(is_red)).count();
        assert_eq!(red > 0, shows_red, "{name}: {pictures:?}");
    }
    sim.stop().await;
}

/// The snapshots in the local sink's folder.
fn pictures(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![dir.join("events/snapshots")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found
}

/// Twenty seconds, ten frames per second; something is there from second 8 to 10.
const SCENE: &str = "drawbox=x=16:y=16:w=32:h=32:c=0xFF0000:t=fill:enable='between(t,8,9.95)',format=yuv420p";
const FRAMES: u64 = 200;

async fn append(sim: &Sim, clip: &Path, start: SystemTime) {
    let stream = sim.store().stream_or_create("front-stream").unwrap();
    append_clip(&stream, clip, ClipPace::Asap, start).await.unwrap();
}

/// Runs until all frames were inferred or skipped; returns the number of inferred frames and the events.
fn looks(program: Program) -> (u64, String, tempfile::TempDir) {
    let counted = |row: &serde_json::Value, of| row["frames"][of].as_u64().unwrap();
    let row =
        program.camera_when("front", |row| counted(row, "inferred") + counted(row, "skipped") >= FRAMES);
    assert_eq!(row["frames"]["dropped"], serde_json::json!({}), "{row:#}");
    assert_eq!(counted(&row, "inferred") + counted(&row, "skipped"), FRAMES);
    let (_, metrics) = program.get("/metrics");
    let skipped = format!("kvs_infer_frames_skipped_total{{camera=\"front\"}} {}", counted(&row, "skipped"));
    assert!(counted(&row, "skipped") == 0 || metrics.contains(&skipped), "{skipped} in {metrics}");
    let ended = program.stop();
    assert!(ended.status.success(), "{:#?}", ended.log);
    let reported = std::fs::read_to_string(ended.dir.path().join("events/events.jsonl")).unwrap();
    (counted(&row, "inferred"), reported, ended.dir)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_still_scene_is_looked_at_now_and_then_and_nothing_else_changes() {
    let clips = tempfile::tempdir().unwrap();
    let clip = clips.path().join("still.mp4");
    paint(&clip, 20, SCENE, 0);
    let sim = sim();
    let start = SystemTime::now() - Duration::from_secs(3600);
    append(&sim, &clip, start).await;
    let (all, reported, _) =
        looks(Program::start(kvs_infer_command!(), &config("enabled: true"), &sim.endpoint(), None));
    let gated = config("motion: { enabled: true, idle_decode: all }");
    let (few, reported_by_few, dir) =
        looks(Program::start(kvs_infer_command!(), &gated, &sim.endpoint(), None));
    // Seconds 0 to 1, 6, 8 to 9, 10 to 11, 16.
    assert_eq!((all, few), (FRAMES, 11 + 1 + 11 + 11 + 1));
    assert_eq!(reported, reported_by_few);
    assert!(reported.contains("\"red\""), "{reported}");

    append(&sim, &clip, start + Duration::from_secs(20)).await;
    let (few, ..) = looks(Program::start_in(kvs_infer_command!(), dir, &gated, &sim.endpoint(), None));
    // It resumes as if it had not been stopped: seconds 21, 26, 28 to 29, 30 to 31, 36.
    assert_eq!(few, 1 + 1 + 11 + 11 + 1);
    sim.stop().await;
}
