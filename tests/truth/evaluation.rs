//! The figures of `kvs-infer eval` for the default rules of decide on boxes whose truth is known, and the command itself.
//!
//! `cargo test --test integration -- truth::evaluation --nocapture` prints the figures.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use kvs_infer::config::{Overrides, parse};
use kvs_infer::decide::{DecideState, FrameFacts, Inference, Rules, decide};
use kvs_infer::eval::{EvalRules, Evaluation, Record, Truth, evaluate, parse_truth};
use kvs_infer::media::{
    BBox, CameraId, Color, Detection, Event, Fragment, Matrix, MediaMs, ModelId, Phase, Yuv420,
};
use serde_json::Value;
use test_support::kvs_infer_command;

/// Media time of the first frame.
const START_MS: i64 = 1_700_000_000_000;
/// Time without detections after the footage, so that all incidents end.
const QUIET_MS: i64 = 60_000;
/// Width and height of the footage, px.
const SIDES_PX: (u32, u32) = (768, 576);
/// Confidence of drawn people.
const CONF: f32 = 0.8;

/// The boxes of a frame, ms from the start.
type Boxes = (i64, Vec<Detection>);

/// The worst figures that are allowed.
struct Limits {
    missed: usize,
    repeated: usize,
    false_starts: usize,
    purity: f64,
    idf1: f64,
}

const PERFECT: Limits = Limits { missed: 0, repeated: 0, false_starts: 0, purity: 1.0, idf1: 0.95 };

/// A name, the events, the truth, further arguments, the exit code, and a part of the message.
type Refusal<'a> = (&'a str, &'a Path, &'a Path, Vec<&'a str>, i32, &'a str);

#[test]
fn scenes_have_one_start_per_visit() {
    let scenes = ["door-3s", "door-10s", "door-25s", "queue", "same-way", "crossing", "meeting", "standing"];
    for scene in scenes {
        let truth = truth(&format!("testdata/scenes/{scene}.truth.yaml"));
        for fps in [5, 10] {
            let found = figures(&truth, &replay(&drawn(&truth), fps, None));
            keeps(&format!("{scene} fps {fps}"), &found, &PERFECT);
        }
    }
}

/// Visits of two people who come in side by side: the detector gives one box for both, so one of them is reported late or never.
const SIDE_BY_SIDE: [&str; 2] = ["D2", "E2"];

/// Length of the first part of the yard's footage, in which at most 1.5 starts per person are allowed.
const FIRST_MS: i64 = 40_000;
/// Number of people in the first part.
const FIRST_PEOPLE: usize = 9;

#[test]
fn the_yard_with_default_rules() {
    let truth = truth("testdata/footage/yard.truth.yaml");
    for (fps, first_ms, max_starts, repeated, mixed_ms) in
        [(5, 0, 21, 1, 1_000), (5, 100, 21, 2, 3_200), (10, 0, 22, 3, 1_000)]
    {
        let events = replay_from(first_ms, &yard(), fps, Some(Pictures::open()));
        let found = figures(&truth, &events);
        let name = format!("yard fps {fps} from {first_ms} ms");
        keeps(&name, &found, &Limits { missed: 1, repeated, false_starts: 0, purity: 0.989, idf1: 0.95 });
        let unreported = found.missed.iter().chain(&found.late);
        let unreported: Vec<_> = unreported.filter(|visit| !SIDE_BY_SIDE.contains(&visit.as_str())).collect();
        assert!(
            unreported.is_empty(),
            "{name}: no start within a second of the first sure box: {unreported:?}"
        );
        let others = found.mixed.iter().flat_map(|incident| &incident.people[1..]);
        for share in others {
            assert!(share.to_ms - share.from_ms <= mixed_ms, "{name}: {:#?}", found.mixed);
        }
        assert!(found.starts <= max_starts, "{name}: {} starts", found.starts);
        let early = events.iter().filter(|event| event.payload.extras.phase == Phase::Start);
        let early = early.filter(|event| event.payload.ts_ms < START_MS + FIRST_MS).count();
        assert!(2 * early <= 3 * FIRST_PEOPLE, "{name}: {early} starts of {FIRST_PEOPLE} people");
    }
}

#[test]
fn the_yard_by_boxes_alone() {
    let truth = truth("testdata/footage/yard.truth.yaml");
    for fps in [5, 10] {
        let found = figures(&truth, &replay(&yard(), fps, None));
        let limits = Limits { missed: 1, repeated: 4, false_starts: 0, purity: 0.96, idf1: 0.89 };
        keeps(&format!("yard fps {fps}, boxes alone"), &found, &limits);
    }
}

/// Compares ids with a golden file: users store them, so an upgrade must not change them. Only new rules of decide change the file.
#[test]
fn event_ids_of_stored_footage_stay_the_same() {
    let line = |event: &Event| {
        let (id, phase) = (&event.event_id, event.payload.extras.phase.as_str());
        format!("{} {phase} {id} of {}\n", event.payload.ts_ms, event.payload.extras.incident_id)
    };
    let printed: String = replay(&yard(), 5, None).iter().map(line).collect();
    let path = root().join("testdata/footage/yard.ids.txt");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, &printed).unwrap();
    }
    assert_eq!(
        printed,
        std::fs::read_to_string(&path).unwrap(),
        "event ids have changed; after a change of the rules, run make bless"
    );
}

#[test]
fn the_command_prints_these_figures_and_applies_limits() {
    let dir = tempfile::tempdir().unwrap();
    let events = dir.path().join("events.jsonl");
    let truth = truth("testdata/footage/yard.truth.yaml");
    let replayed = replay(&yard(), 5, None);
    let lines: String = replayed.iter().map(|event| serde_json::to_string(event).unwrap() + "\n").collect();
    // Delivery is at least once.
    std::fs::write(&events, lines.repeat(2)).unwrap();
    let found = figures(&truth, &replayed);
    let (start, start_ms) = ("--start-ms", START_MS.to_string());
    let eval = |more: &[&str]| {
        let arguments = [&[start, &start_ms], more].concat();
        run(&events, &root().join("testdata/footage/yard.truth.yaml"), &arguments)
    };

    let json = eval(&["--json"]);
    assert!(json.status.success(), "{json:?}");
    let printed: Value = serde_json::from_slice(&json.stdout).unwrap();
    let expected: Value = serde_json::from_str(&serde_json::to_string(&found).unwrap()).unwrap();
    assert_eq!(printed, expected);

    let table = String::from_utf8(eval(&[]).stdout).unwrap();
    assert!(table.starts_with("VISIT  PERSON "), "{table}");
    assert!(table.contains(&format!("\nmissed              {}", found.missed.len())), "{table}");

    assert!(found.starts > 0 && !found.mixed.is_empty(), "some of the limits below must be missed");
    for (limit, status) in
        [("--min-purity=0.1", 0), ("--min-purity=1", 1), ("--min-idf1=1", 1), ("--max-missed=20", 0)]
    {
        let output = eval(&[limit]);
        assert_eq!(output.status.code(), Some(status), "{limit}: {output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(said.starts_with("eval: "), status == 1, "{limit}: {said}");
    }
}

#[test]
fn the_command_names_what_it_cannot_use() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let replayed = replay(&yard(), 5, None);
    let mut first = replayed[0].clone();
    let line = serde_json::to_string(&first).unwrap();
    (first.camera_id, first.event_id) = ("other".to_owned(), "other".to_owned());
    let two = format!("{line}\n{}\n", serde_json::to_string(&first).unwrap());
    let (one, two, none) = (file("one", &line), file("two", &two), file("none", "{}\n"));
    let yard = root().join("testdata/footage/yard.truth.yaml");
    let wrong = file("wrong.yaml", "label: person\nvisit: []\n");
    let at = ["--start-ms", "1700000000000"];
    let table: [Refusal<'_>; 7] = [
        ("no events", &dir.path().join("absent"), &yard, at.into(), 69, "publishers.local_dir"),
        ("other lines", &none, &yard, at.into(), 69, "line 1 is not an event"),
        ("another time", &one, &yard, vec![], 69, "--start-ms"),
        ("two cameras", &two, &yard, at.into(), 69, "give one of other, yard with --camera"),
        (
            "no such camera",
            &two,
            &yard,
            [&at[..], &["--camera", "no"]].concat(),
            69,
            "give one of other, yard with --camera",
        ),
        ("no truth", &one, &dir.path().join("absent"), at.into(), 78, "--truth FILE"),
        ("wrong truth", &one, &wrong, at.into(), 78, "did you mean `visits`?"),
    ];
    for (name, events, truth, more, status, said) in table {
        let output = run(events, truth, &more);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(status), "{name}: {stderr}");
        assert!(stderr.contains(said), "{name}: {stderr}");
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn run(events: &Path, truth: &Path, more: &[&str]) -> Output {
    let mut command = kvs_infer_command!();
    command.arg("eval").arg("--events").arg(events).arg("--truth").arg(truth);
    command.args(more).output().unwrap()
}

fn truth(path: &str) -> Truth {
    let text = std::fs::read_to_string(root().join(path)).unwrap();
    let truth = parse_truth(path, &text).unwrap_or_else(|why| panic!("{why}"));
    Truth { start_ms: START_MS, ..truth }
}

fn figures(truth: &Truth, events: &[Event]) -> Evaluation {
    let records: Vec<Record> = events.iter().map(Record::from).collect();
    evaluate(truth, &records, &EvalRules::default())
}

fn keeps(name: &str, found: &Evaluation, limits: &Limits) {
    let Evaluation { starts, missed, late, repeated, false_starts, mixed, purity, idf1, .. } = found;
    let (purity, idf1) = (purity.unwrap(), idf1.unwrap());
    eprintln!(
        "{name}: starts {starts} of {} visits, missed {missed:?}, late {late:?}, repeated {repeated:?}, false {}, mixed {}, \
         purity {purity:.3}, IDF1 {idf1:.3}",
        found.visits.len(),
        false_starts.len(),
        mixed.len(),
    );
    assert!(missed.len() <= limits.missed, "{name}: missed {missed:?}");
    assert!(repeated.len() <= limits.repeated, "{name}: more than one start {repeated:?}");
    assert!(false_starts.len() <= limits.false_starts, "{name}: {false_starts:?}");
    assert!(purity >= limits.purity, "{name}: purity {purity}, {mixed:#?}");
    assert!(idf1 >= limits.idf1, "{name}: IDF1 {idf1}");
}

/// Returns the boxes of a perfect detector at 10 frames per second.
fn drawn(truth: &Truth) -> Vec<Boxes> {
    let end_ms = truth.visits.iter().map(|visit| visit.to_ms).max().unwrap();
    let seen = |ms: i64| {
        let boxes = truth.visits.iter().filter_map(|visit| visit.bbox_at(ms));
        (ms, boxes.map(|bbox| person(bbox, CONF)).collect())
    };
    (0..=end_ms).step_by(100).map(seen).collect()
}

/// Returns the boxes of the real detector on the yard's footage.
fn yard() -> Vec<Boxes> {
    let text = std::fs::read_to_string(root().join("testdata/footage/yard.boxes.jsonl")).unwrap();
    let frame = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        let boxes: Vec<[f32; 5]> = serde_json::from_value(line["boxes"].clone()).unwrap();
        let people = boxes
            .iter()
            .map(|[x1, y1, x2, y2, conf]| person(BBox { x1: *x1, y1: *y1, x2: *x2, y2: *y2 }, *conf));
        (line["ts_ms"].as_i64().unwrap(), people.collect())
    };
    text.lines().map(frame).collect()
}

fn person(bbox: BBox, conf: f32) -> Detection {
    Detection { label: "person".into(), conf, bbox, reading: None }
}

/// Returns the rules of a minimal configuration, with an update every second.
fn default_rules() -> Rules {
    let text = "publishers: { local_dir: events }
cameras:
  - id: yard
    kvs_stream_name: yard-stream
    pipeline: [{ type: objects, objects: { yolo_weights: street.onnx, classes: [person], update_seconds: 1 } }]
";
    let settings = parse("c", text, &|_| None, &Overrides::default()).unwrap_or_else(|why| panic!("{why}"));
    settings.cameras[0].pipeline[0].rules.clone()
}

/// The pictures of the yard's footage, decoded in order by the `ffmpeg` command.
struct Pictures {
    ffmpeg: Child,
    planes: [Vec<u8>; 3],
}

impl Pictures {
    fn open() -> Self {
        let cache = std::env::var("KVS_INFER_CACHE").expect("source scripts/env");
        let mut ffmpeg = Command::new("ffmpeg");
        ffmpeg.args(["-v", "error", "-i", &format!("{cache}/clips/yard-whole.mp4")]);
        ffmpeg.args("-f rawvideo -pix_fmt yuv420p -".split(' ')).stdout(Stdio::piped());
        let plane = |shrunk: usize| vec![0; SIDES_PX.0 as usize / shrunk * (SIDES_PX.1 as usize / shrunk)];
        Self { ffmpeg: ffmpeg.spawn().expect("ffmpeg"), planes: [plane(1), plane(2), plane(2)] }
    }

    fn read(&mut self) {
        let pipe = self.ffmpeg.stdout.as_mut().unwrap();
        self.planes.iter_mut().for_each(|plane| pipe.read_exact(plane).expect("a picture for each frame"));
    }

    fn view(&self) -> Yuv420<'_> {
        let (width_px, height_px) = SIDES_PX;
        let [y, u, v] = &self.planes;
        let strides = [width_px as usize, width_px as usize / 2, width_px as usize / 2];
        let color = Color { matrix: Matrix::Bt601, full_range: false };
        Yuv420 { width_px, height_px, planes: [y, u, v], strides, color }
    }
}

impl Drop for Pictures {
    fn drop(&mut self) {
        let _ended = self.ffmpeg.kill();
        let _reaped = self.ffmpeg.wait();
    }
}

/// Returns the events of these boxes at `fps` frames per second, and of a quiet time after them.
fn replay(boxes: &[Boxes], fps: i64, pictures: Option<Pictures>) -> Vec<Event> {
    replay_from(0, boxes, fps, pictures)
}

/// Returns the events of [`replay`] from the frame at `first_ms`.
fn replay_from(first_ms: i64, boxes: &[Boxes], fps: i64, mut pictures: Option<Pictures>) -> Vec<Event> {
    let (rules, mut state, mut events) = (default_rules(), DecideState::default(), Vec::new());
    let (step_ms, last_ms) = (1000 / fps, boxes.last().unwrap().0);
    for (ms, people) in boxes {
        pictures.iter_mut().for_each(Pictures::read);
        if ms % step_ms == first_ms {
            events.extend(infer(&mut state, &rules, *ms, people, pictures.as_ref().map(Pictures::view)));
        }
    }
    for ms in (last_ms + 1..last_ms + QUIET_MS).filter(|ms| ms % 1000 == 0) {
        events.extend(infer(&mut state, &rules, ms, &[], None));
    }
    events
}

/// Returns the events of one frame at `ms` from the start.
fn infer(
    state: &mut DecideState,
    rules: &Rules,
    ms: i64,
    detections: &[Detection],
    picture: Option<Yuv420<'_>>,
) -> Vec<Event> {
    let media = MediaMs(START_MS + ms);
    let fragment = Fragment {
        number: (media.0 / 1000).to_string().into(),
        producer_ms: Some(media.0 / 1000 * 1000),
        server_ms: None,
    };
    let (camera, model) = (CameraId::new("yard"), ModelId { name: "street".into(), sha256: "00".into() });
    let facts = FrameFacts {
        camera: &camera,
        stream: "yard-stream",
        fragment: &fragment,
        index: u32::try_from(ms % 1000 / 100).unwrap(),
        media,
        size_px: SIDES_PX,
        picture,
    };
    let outcome = decide(state, &facts, &[Inference { rules, model: &model, detections }]);
    outcome.events.into_iter().map(|decided| decided.event).collect()
}

/// Asserts that the table above has every file of testdata/scenes.
#[test]
fn every_scene_is_in_the_table() {
    let listed = include_str!("evaluation.rs");
    for entry in std::fs::read_dir(root().join("testdata/scenes")).unwrap() {
        let path: PathBuf = entry.unwrap().path();
        let Some(name) = path.file_name().unwrap().to_str().unwrap().strip_suffix(".truth.yaml") else {
            continue;
        };
        assert!(listed.contains(&format!("\"{name}\"")), "{name}");
    }
}
