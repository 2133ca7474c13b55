//! Idle decode: a camera that decodes keyframes alone while nothing moves reports the same incidents as one that decodes everything.

use std::path::Path;

use serde_json::Value;
use test_support::colours::{LABELS, camera, paint, sim, store};
use test_support::kvs_infer_command;
use test_support::program::Program;

use super::modes::assert_cuts_change_nothing;

/// Returns a clip of 40 s with a keyframe each second, in which each object comes and goes between two keyframes.
fn seldom(folder: &Path, b_frames: u32) -> std::path::PathBuf {
    let clip = folder.join(format!("seldom-{b_frames}.mp4"));
    let boxes = "drawbox=x=16:y=16:w=32:h=32:c=0xFF0000:t=fill:enable='between(t,8.35,10.15)',\
                 drawbox=x=64:y=16:w=48:h=32:c=0x00FF00:t=fill:enable='between(t,20.55,22.35)',\
                 drawbox=x=32:y=64:w=32:h=48:c=0x0000FF:t=fill:enable='between(t,32.65,34.15)',format=yuv420p";
    paint(&clip, 40, boxes, b_frames);
    clip
}

fn config(idle_decode: &str) -> String {
    let motion = format!(
        "    motion: {{ enabled: true, max_idle_seconds: 3, idle_decode: {idle_decode} }}\n    pipeline:"
    );
    let camera = camera("front").replace("    pipeline:", &motion);
    format!("publishers:\n  local_dir: events\ndevice: cpu\ncameras:\n{camera}")
}

/// A run over stored footage.
struct Run {
    /// The id, label and time of each start.
    starts: Vec<[String; 3]>,
    frames_decoded: u64,
    /// The number of wakes whose delay was measured.
    wake_delays: u64,
}

fn run(kvs: &str, idle_decode: &str) -> Run {
    let program = Program::start(kvs_infer_command!(), &config(idle_decode), kvs, None);
    let seen = program.events_until(&LABELS.map(|label| ("front", label)));
    let frames_decoded = program.camera("front")["frames"]["decoded"].as_u64().unwrap();
    let (_, metrics) = program.get("/metrics");
    let mut lines = metrics.lines();
    let delays =
        lines.find_map(|line| line.strip_prefix("kvs_infer_wake_delay_seconds_count{camera=\"front\"} "));
    let wake_delays = delays.map_or(0, |count| count.parse().unwrap());
    assert!(program.stop().status.success());
    let starts = seen.iter().filter(|event| event["payload"]["extras"]["phase"] == "start");
    let text = |value: &Value| value.to_string();
    let starts = starts.map(|event| ["event_id", "label", "ts_ms"].map(|key| text(&event["payload"][key])));
    Run { starts: starts.collect(), frames_decoded, wake_delays }
}

#[tokio::test(flavor = "multi_thread")]
async fn incidents_begin_at_the_same_frames_as_when_everything_is_decoded() {
    let clips = tempfile::tempdir().unwrap();
    for b_frames in [0, 2] {
        let sim = sim();
        store(&sim, "front-stream", &seldom(clips.path(), b_frames)).await;
        let (all, idle) = (run(&sim.endpoint(), "all"), run(&sim.endpoint(), "key_frames"));
        assert_eq!(idle.starts, all.starts, "{b_frames} B-frames");
        assert_eq!(idle.starts.len(), LABELS.len(), "{:?}", idle.starts);
        let (few, whole) = (idle.frames_decoded, all.frames_decoded);
        assert!(few < whole * 3 / 4, "{few} of {whole} frames decoded");
        assert_eq!(all.wake_delays, 0, "it is never idle");
        assert!(idle.wake_delays >= 3, "{} wakes for three objects", idle.wake_delays);
        sim.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_cut_changes_no_event_of_an_idle_camera() {
    let clips = tempfile::tempdir().unwrap();
    assert_cuts_change_nothing(&seldom(clips.path(), 2), &config("key_frames")).await;
}
