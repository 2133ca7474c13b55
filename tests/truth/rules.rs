//! The rules, each on a scene of its own: the events are what is true, no more and no less.

use std::time::{Duration, SystemTime};

use kvs_sim::{ClipPace, append_clip, epoch_ms};
use serde_json::Value;
use test_support::colours::{model, sim};
use test_support::kvs_infer_command;
use test_support::program::Program;

use super::painting::{BLUE, GREEN, PaintedBox, RATE, RED, paint};

/// A camera and the events that it must report.
struct Scene {
    name: &'static str,
    frames: usize,
    boxes: &'static [PaintedBox],
    /// Keys of the camera.
    camera: &'static str,
    /// Keys of its detector.
    rules: &'static str,
    /// Frame, label, phase, number of the box, zones.
    reported: &'static [Reported],
}

type Reported = (usize, &'static str, &'static str, u64, &'static str);

const ALWAYS: fn(usize) -> bool = |_| true;
const HERE: fn(usize) -> (usize, usize) = |_| (32, 32);
const BOX: (usize, usize) = (32, 32);
/// The west and the east half.
const HALVES: &str = "    roi: { filter: center, polygons: [{ name: west, points: [[0, 0], [63, 0], [63, 128], [0, 128]] }, \
                      { name: east, points: [[63, 0], [128, 0], [128, 128], [63, 128]] }] }\n";
const EAST: &str = "    roi: { filter: all, polygons: [{ name: east, points: [[64, 0], [128, 0], [128, 128], [64, 128]] }] }\n";
const AT_ONCE: &str = "temporal_confirm: { frames: 1, window: 1 }";

const SCENES: [Scene; 12] = [
    Scene {
        name: "seen-often-enough",
        frames: 30,
        boxes: &[PaintedBox {
            colour: RED,
            is_there: |frame| matches!(frame, 3 | 4 | 6..=8),
            place: HERE,
            size: BOX,
        }],
        camera: "",
        rules: "temporal_confirm: { frames: 3, window: 5 }, max_disappeared_seconds: 1",
        reported: &[(8, "red", "start", 1, ""), (18, "red", "end", 1, "")],
    },
    Scene {
        name: "not-seen-often-enough",
        frames: 30,
        boxes: &[PaintedBox {
            colour: RED,
            is_there: |frame| matches!(frame, 3 | 5 | 9 | 12),
            place: HERE,
            size: BOX,
        }],
        camera: "",
        rules: "temporal_confirm: { frames: 3, window: 5 }, max_disappeared_seconds: 1",
        reported: &[],
    },
    Scene {
        name: "stays-long-enough",
        frames: 40,
        boxes: &[PaintedBox {
            colour: GREEN,
            is_there: |frame| (5..30).contains(&frame),
            place: HERE,
            size: BOX,
        }],
        camera: "",
        rules: "temporal_confirm: { frames: 2, window: 3 }, dwell_seconds: 2, max_disappeared_seconds: 60",
        reported: &[(25, "green", "start", 1, "")],
    },
    Scene {
        name: "passes-by",
        frames: 40,
        boxes: &[PaintedBox {
            colour: GREEN,
            is_there: |frame| (5..24).contains(&frame),
            place: HERE,
            size: BOX,
        }],
        camera: "",
        rules: "temporal_confirm: { frames: 2, window: 3 }, dwell_seconds: 2, max_disappeared_seconds: 60",
        reported: &[],
    },
    Scene {
        name: "walks-from-west-to-east",
        frames: 40,
        boxes: &[PaintedBox { colour: RED, is_there: ALWAYS, place: |frame| (frame * 2, 40), size: BOX }],
        camera: HALVES,
        rules: AT_ONCE,
        reported: &[(0, "red", "start", 1, "west"), (24, "red", "update", 1, "east")],
    },
    Scene {
        name: "only-in-the-east",
        frames: 40,
        boxes: &[
            PaintedBox { colour: RED, is_there: ALWAYS, place: |_| (16, 32), size: BOX },
            PaintedBox { colour: BLUE, is_there: ALWAYS, place: |_| (80, 32), size: BOX },
        ],
        camera: EAST,
        rules: AT_ONCE,
        reported: &[(0, "blue", "start", 1, "east")],
    },
    Scene {
        name: "only-what-is-listed",
        frames: 20,
        boxes: &[
            PaintedBox { colour: RED, is_there: ALWAYS, place: |_| (8, 32), size: BOX },
            PaintedBox { colour: BLUE, is_there: ALWAYS, place: |_| (80, 32), size: BOX },
        ],
        camera: "",
        rules: "classes: [red], temporal_confirm: { frames: 1, window: 1 }",
        reported: &[(0, "red", "start", 1, "")],
    },
    Scene {
        name: "back-in-time",
        frames: 60,
        boxes: &[PaintedBox {
            colour: RED,
            is_there: |frame| !(10..25).contains(&frame),
            place: HERE,
            size: BOX,
        }],
        camera: "",
        rules: "temporal_confirm: { frames: 1, window: 1 }, max_disappeared_seconds: 2",
        reported: &[(0, "red", "start", 1, "")],
    },
    Scene {
        name: "back-too-late",
        frames: 60,
        boxes: &[PaintedBox {
            colour: RED,
            is_there: |frame| !(10..40).contains(&frame),
            place: HERE,
            size: BOX,
        }],
        camera: "",
        rules: "temporal_confirm: { frames: 1, window: 1 }, max_disappeared_seconds: 2",
        reported: &[(0, "red", "start", 1, ""), (29, "red", "end", 1, ""), (40, "red", "start", 2, "")],
    },
    Scene {
        name: "hidden-on-its-way",
        frames: 45,
        boxes: &[PaintedBox {
            colour: BLUE,
            is_there: |frame| !(15..25).contains(&frame),
            place: |frame| (frame * 2, 40),
            size: BOX,
        }],
        camera: "",
        rules: "temporal_confirm: { frames: 1, window: 1 }, max_disappeared_seconds: 10",
        reported: &[(0, "blue", "start", 1, "")],
    },
    Scene {
        name: "stands-still",
        frames: 300,
        boxes: &[PaintedBox { colour: RED, is_there: ALWAYS, place: HERE, size: BOX }],
        camera: "",
        rules: AT_ONCE,
        reported: &[(0, "red", "start", 1, "")],
    },
    Scene {
        name: "reported-again",
        frames: 45,
        boxes: &[PaintedBox { colour: RED, is_there: ALWAYS, place: HERE, size: BOX }],
        camera: "",
        rules: "temporal_confirm: { frames: 1, window: 1 }, update_seconds: 2",
        reported: &[(0, "red", "start", 1, ""), (20, "red", "update", 1, ""), (40, "red", "update", 1, "")],
    },
];

fn camera(scene: &Scene) -> String {
    let Scene { name, camera, rules, .. } = scene;
    format!(
        "  - id: {name}\n    kvs_stream_name: {name}-stream\n    playback: {{ start: EARLIEST }}\n{camera}    pipeline:\n      \
         - type: objects\n        objects: {{ yolo_weights: {}, {rules} }}\n",
        model().display()
    )
}

/// Returns the events of a camera, with the frame in place of the time.
pub(super) fn reported(
    events: &[Value],
    camera: &str,
    began_ms: i64,
) -> Vec<(usize, String, String, u64, String)> {
    let of_camera = events.iter().filter(|event| event["camera_id"] == camera);
    let row = |event: &Value| {
        let (payload, extras) = (&event["payload"], &event["payload"]["extras"]);
        let frame = (payload["ts_ms"].as_i64().unwrap() - began_ms) * RATE as i64;
        let zones: Vec<_> =
            extras["zones"].as_array().unwrap().iter().map(|zone| zone.as_str().unwrap()).collect();
        (
            usize::try_from(frame / 1000).unwrap(),
            payload["label"].as_str().unwrap().to_owned(),
            extras["phase"].as_str().unwrap().to_owned(),
            extras["track_id"].as_u64().unwrap(),
            zones.join(","),
        )
    };
    of_camera.map(row).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_events_are_what_is_true() {
    let (clips, sim) = (tempfile::tempdir().unwrap(), sim());
    let made = SystemTime::now() - Duration::from_secs(3600);
    for scene in &SCENES {
        let clip = clips.path().join(format!("{}.mp4", scene.name));
        paint(&clip, scene.frames, scene.boxes);
        let stream = sim.store().stream_or_create(&format!("{}-stream", scene.name)).unwrap();
        append_clip(&stream, &clip, ClipPace::Asap, made).await.unwrap();
    }
    let cameras: String = SCENES.iter().map(camera).collect();
    let config = format!(
        "publishers: {{ local_dir: events }}\nsnapshots: {{ enabled: false }}\ndevice: cpu\ncameras:\n{cameras}"
    );
    let program = Program::start(kvs_infer_command!(), &config, &sim.endpoint(), None);
    for scene in &SCENES {
        program.camera_after(scene.name, scene.frames as u64);
    }
    let ended = program.stop();
    assert!(ended.status.success(), "{:#?}", ended.log);
    let text = std::fs::read_to_string(ended.dir.path().join("events/events.jsonl")).unwrap();
    let events: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for scene in &SCENES {
        let seen = reported(&events, scene.name, epoch_ms(made));
        let seen: Vec<_> = seen
            .iter()
            .map(|(frame, label, phase, track, zones)| (*frame, &**label, &**phase, *track, &**zones))
            .collect();
        assert_eq!(seen, scene.reported, "{}", scene.name);
    }
    sim.stop().await;
}
