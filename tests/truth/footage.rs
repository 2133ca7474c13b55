//! Real footage: its events are held by golden files that were compared with the pictures, `testdata/footage`.
//!
//! `BLESS=1` writes them; `FOOTAGE_INCIDENTS=folder` keeps there, for `testdata/footage/sheet.py`, where each incident was.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use kvs_infer::detect::cache_dir;
use kvs_sim::{ClipPace, append_clip, epoch_ms};
use serde_json::{Value, json};
use test_support::colours::sim;
use test_support::kvs_infer_command;
use test_support::program::Program;
use test_support::setup::cached;

/// The number of rows without a match that another processor may cause.
const MAX_UNMATCHED: usize = 3;
/// The difference of a start that another processor may cause, s.
const START_OFF_S: f64 = 0.5;
/// The number of inferences between two signs of life.
const STRIDE: usize = 25;

/// The events of one object; times are ms of media time from the clip's first frame.
struct Incident {
    label: String,
    track: u64,
    /// The time of its start.
    start_ms: i64,
    /// The time of its end, and the time for which it was in view.
    over: Option<(i64, i64)>,
    /// The highest confidence of its events, 0..=1.
    conf: f64,
    /// In the order in which it entered them.
    zones: Vec<String>,
    /// The record before its end that shows it largest and surest: media time, and box in px.
    shown: (i64, [f64; 4]),
}

#[tokio::test(flavor = "multi_thread")]
async fn people_and_parked_cars_before_a_fixed_camera_are_the_incidents_that_were_looked_at() {
    holds("yard", 300).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cars_people_and_a_bicycle_in_a_film_of_a_street_are_the_incidents_that_were_looked_at() {
    holds("street", 250).await;
}

/// The incidents of a clip of `frames` frames are those of its golden file.
///
/// The file says for which pixels it holds: another encoder makes other pixels of the same footage. Another processor rounds an
/// inference otherwise, by thousandths, which a track here and there turns into a second start, or no second one: see
/// [`unmatched`]. Exact figures are held on stored boxes, in `evaluation`.
async fn holds(clip: &str, frames: usize) {
    let golden = folder().join(format!("{clip}.txt"));
    let file = cached(&format!("clips/{clip}.mp4"));
    let pixels = format!("pixels {}\n", pixels(&file));
    let agreed = std::fs::read_to_string(&golden).unwrap_or_default();
    let blesses = std::env::var_os("BLESS").is_some();
    if !blesses && !agreed.starts_with(&pixels) {
        eprintln!("skipped: {} has other pixels than {} is for", file.display(), golden.display());
        return;
    }
    let incidents = incidents_of(clip, &file, frames).await;
    keep(clip, &incidents);
    let printed = pixels + &table(&incidents);
    if blesses {
        std::fs::write(&golden, printed).unwrap();
    } else {
        let others = [unmatched(&printed, &agreed), unmatched(&agreed, &printed)].concat();
        assert!(
            others.len() <= MAX_UNMATCHED,
            "{clip}: {others:#?} of events {printed}, agreed {agreed}; look, and run once with BLESS=1"
        );
    }
}

/// Returns the rows of one table that the other one does not have: with that label, those zones, and a start that is as early or
/// late by [`START_OFF_S`] at most. A row matches one row.
fn unmatched(table: &str, other: &str) -> Vec<String> {
    let mut left = rows(other);
    let mut missing = Vec::new();
    for row in rows(table) {
        let is_it = |of: &(String, f64, String)| {
            of.0 == row.0 && of.2 == row.2 && (of.1 - row.1).abs() <= START_OFF_S
        };
        match left.iter().position(is_it) {
            Some(index) => drop(left.remove(index)),
            None => missing.push(format!("{} {:.2} {}", row.0, row.1, row.2)),
        }
    }
    missing
}

/// Label, start in s, and zones of each row.
fn rows(table: &str) -> Vec<(String, f64, String)> {
    let row = |line: &str| {
        let cells: Vec<&str> = line.split_whitespace().collect();
        (cells[0].to_owned(), cells[2].parse().unwrap(), cells[6..].join(" "))
    };
    table.lines().skip(2).map(row).collect()
}

#[test]
fn rows_match_by_label_zones_and_start() {
    let table = |rows: &str| format!("pixels 00\nlabel    track  start    end   view  conf  zones\n{rows}");
    let agreed = table("person 1 0.40 13.20 11.20 0.8 lawn, road\ncar 1 0.40 - - 0.4 road\n");
    for (name, rows, expected) in [
        ("other track and end", "person 7 0.80 - - 0.5 lawn, road\ncar 2 0.40 - - 0.4 road\n", [0, 0]),
        ("another start", "person 1 1.40 13.20 11.20 0.8 lawn, road\ncar 1 0.40 - - 0.4 road\n", [1, 1]),
        ("another zone", "person 1 0.40 13.20 11.20 0.8 lawn\ncar 1 0.40 - - 0.4 road\n", [1, 1]),
        ("one missing", "car 1 0.40 - - 0.4 road\n", [0, 1]),
        ("one twice", "car 1 0.40 - - 0.4 road\ncar 2 0.40 - - 0.4 road\n", [1, 1]),
    ] {
        let printed = table(rows);
        assert_eq!(
            [unmatched(&printed, &agreed).len(), unmatched(&agreed, &printed).len()],
            expected,
            "{name}"
        );
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/footage")
}

/// The hash of all decoded frames.
fn pixels(clip: &Path) -> String {
    assert!(clip.exists(), "{} is missing: run scripts/setup test", clip.display());
    let hashed = Command::new("ffmpeg")
        .args(["-v", "error", "-nostdin", "-i"])
        .arg(clip)
        .args(["-f", "hash", "-hash", "sha256", "-"])
        .output()
        .expect("ffmpeg is needed: run scripts/setup test");
    let printed = String::from_utf8(hashed.stdout).unwrap();
    printed.trim().strip_prefix("SHA256=").unwrap_or_else(|| panic!("ffmpeg said {printed:?}")).to_owned()
}

async fn incidents_of(camera: &str, clip: &Path, frames: usize) -> Vec<Incident> {
    let (sim, made) = (sim(), SystemTime::now() - Duration::from_secs(3600));
    let stream = sim.store().stream_or_create(&format!("{camera}-stream")).unwrap();
    append_clip(&stream, clip, ClipPace::Asap, made).await.unwrap();
    let config = std::fs::read_to_string(folder().join(format!("{camera}.yaml"))).unwrap();
    let config = config.replace("${KVS_INFER_CACHE}", cache_dir().unwrap().to_str().unwrap());
    let program = Program::start(kvs_infer_command!(), &config, &sim.endpoint(), None);
    for looks in (STRIDE..frames).step_by(STRIDE) {
        program.camera_when(camera, |row| row["frames"]["inferred"].as_u64() >= Some(looks as u64));
    }
    program.camera_after(camera, frames as u64);
    let ended = program.stop();
    assert!(ended.status.success(), "{:#?}", ended.log);
    let text = std::fs::read_to_string(ended.dir.path().join("events/events.jsonl")).unwrap();
    let records: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    sim.stop().await;
    incidents(&records, epoch_ms(made))
}

/// In the order of their events.
fn incidents(records: &[Value], began_ms: i64) -> Vec<Incident> {
    let mut of = BTreeMap::<&str, Vec<&Value>>::new();
    let mut order = Vec::new();
    for record in records {
        let id = record["payload"]["extras"]["incident_id"].as_str().unwrap();
        let of_it = of.entry(id).or_insert_with(|| {
            order.push(id);
            Vec::new()
        });
        of_it.push(&record["payload"]);
    }
    order.iter().map(|id| incident(&of[id], began_ms)).collect()
}

/// Of the payloads of its records, the start first.
fn incident(payloads: &[&Value], began_ms: i64) -> Incident {
    let ms = |payload: &Value| payload["ts_ms"].as_i64().unwrap() - began_ms;
    let phase = |payload: &&&Value| payload["extras"]["phase"].as_str().unwrap().to_owned();
    let conf = |payload: &Value| payload["conf"].as_f64().unwrap();
    let start = payloads[0];
    assert_eq!(phase(&&start), "start", "{start:#}");
    let end = payloads.iter().find(|payload| phase(payload) == "end");
    let zones = payloads.iter().flat_map(|payload| payload["extras"]["zones"].as_array().unwrap());
    let mut entered: Vec<String> = Vec::new();
    for zone in zones.map(|zone| zone.as_str().unwrap()) {
        if !entered.iter().any(|known| known == zone) {
            entered.push(zone.to_owned());
        }
    }
    let score = |payload: &Value| {
        let [x1, y1, x2, y2] = edges(payload);
        conf(payload) * ((x2 - x1) * (y2 - y1)).sqrt()
    };
    let seen = payloads.iter().filter(|payload| phase(payload) != "end");
    let shown = seen.max_by(|a, b| score(a).total_cmp(&score(b))).unwrap();
    Incident {
        label: start["label"].as_str().unwrap().to_owned(),
        track: start["extras"]["track_id"].as_u64().unwrap(),
        start_ms: ms(start),
        over: end.map(|end| (ms(end), end["extras"]["duration_ms"].as_i64().unwrap())),
        conf: payloads.iter().map(|payload| conf(payload)).fold(0.0, f64::max),
        zones: entered,
        shown: (ms(shown), edges(shown)),
    }
}

/// Left, top, right, bottom, px.
fn edges(payload: &Value) -> [f64; 4] {
    [0, 1, 2, 3].map(|edge| payload["bbox"][edge].as_f64().unwrap())
}

fn table(incidents: &[Incident]) -> String {
    let mut lines = vec!["label    track  start    end   view  conf  zones".to_owned()];
    let seconds =
        |ms: Option<i64>| ms.map_or("-".to_owned(), |ms| format!("{}.{:02}", ms / 1000, ms % 1000 / 10));
    lines.extend(incidents.iter().map(|incident| {
        let Incident { label, track, start_ms, over, conf, zones, .. } = incident;
        let (start, end, view) =
            (seconds(Some(*start_ms)), seconds(over.map(|over| over.0)), seconds(over.map(|over| over.1)));
        format!("{label:8} {track:5} {start:>6} {end:>6} {view:>6}  {conf:4.1}  {}", zones.join(", "))
    }));
    lines.join("\n") + "\n"
}

fn keep(clip: &str, incidents: &[Incident]) {
    let Some(folder) = std::env::var_os("FOOTAGE_INCIDENTS").map(PathBuf::from) else { return };
    let line = |incident: &Incident| {
        let Incident { label, track, shown: (shown_ms, bbox), zones, .. } = incident;
        json!({ "label": label, "track": track, "shown_ms": shown_ms, "bbox": bbox, "zones": zones })
            .to_string()
    };
    let lines: Vec<_> = incidents.iter().map(line).collect();
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(format!("{clip}.jsonl")), lines.join("\n") + "\n").unwrap();
}
