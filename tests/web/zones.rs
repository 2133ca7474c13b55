//! The API of the zone editor.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, channel};

use kvs_infer::config::{Overrides, RunningShapes, Settings, parse};
use kvs_infer::http::{HttpServer, HttpSpec};
use kvs_infer::media::{BBox, CameraId, MediaMs};
use kvs_infer::status::{RecentBox, StatusBoard};
use serde_json::{Value, json};
use tempfile::TempDir;
use test_support::polling::until_blocking;

use super::page::run_checks;
use super::server::{TOKEN, ask, get};
use super::show;

/// A configuration with zones, masks and two entries; `gate` has a camera beside it.
const CONFIG: &str = "publishers: { local_dir: events }
cameras:
  - id: gate
    kvs_stream_name: gate-stream
    roi:
      filter: overlap
      min_overlap: 0.5
      polygons:
        - name: doorway
          points: [[64, 90], [320, 90], [320, 350], [64, 350]]
        - points: [[400, 200], [630, 200], [630, 350], [400, 350]]
    masks:
      - points: [[0, 0], [120, 0], [120, 40], [0, 40]]
    pipeline:
      - type: objects
        objects: { yolo_weights: m.onnx, conf_threshold: 0.5, min_box: { width: 24, height: 32 } }
      - type: alpr
        alpr: { plate_detector_weights: m.onnx, ocr_weights: r.onnx }
  - id: street
    kvs_stream_name: street-stream
    pipeline: [{ type: objects, objects: { yolo_weights: m.onnx } }]
";

fn settings(config: &str) -> Settings {
    parse("cameras.yaml", config, &|_| None, &Overrides::default()).unwrap()
}

/// A server with the cameras of [`CONFIG`] that shows `board`.
fn serve(host: &str, token: Option<&str>, board: &StatusBoard) -> HttpServer {
    let shapes = RunningShapes::new(&settings(CONFIG).shapes);
    HttpServer::start(HttpSpec { shapes, ..show::spec(host, token, board) }).unwrap()
}

/// Keeps the boxes of 40 frames of `gate`: two in zones, one that is outside by half, one of low confidence, and one that is too small.
fn add_example_boxes(board: &StatusBoard) {
    let gate = board.camera("gate").unwrap();
    for i in 0..40_u8 {
        let by = f32::from(i);
        let boxes = [
            ("person", 0.9, [100.0 + by, 120.0, 180.0 + by, 300.0], true),
            ("person", 0.8, [450.0, 210.0, 520.0 + by, 340.0], true),
            ("car", 0.7, [300.0, 20.0, 400.0, 200.0], false),
            ("dog", 0.3, [200.0 - by, 150.0, 260.0 - by, 260.0], false),
            ("person", 0.9, [100.0 + by, 120.0, 110.0 + by, 140.0], false),
        ];
        let boxes = boxes.map(|(label, conf, [x1, y1, x2, y2], is_kept)| RecentBox {
            entry: "objects".into(),
            label: label.into(),
            conf,
            bbox: BBox { x1, y1, x2, y2 },
            is_kept,
        });
        let ago_ms = 1_000 * (40 - i64::from(i));
        gate.add_boxes(MediaMs(show::now_ms() - ago_ms), show::SIZE_PX, boxes.to_vec());
    }
}

/// Returns [`CONFIG`] with this YAML in place of the zones and masks of `gate`.
fn with_drawing(yaml: &str) -> String {
    let (before, rest) = CONFIG.split_once("    roi:\n").unwrap();
    let (_, after) = rest.split_once("    pipeline:\n").unwrap();
    format!("{before}{yaml}    pipeline:\n{after}")
}

/// Runs `kvs-infer check` on a configuration; returns whether it is valid, and what was printed.
fn run_check(config: &str) -> (bool, String) {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [("cameras.yaml", config), ("m.onnx", ""), ("r.onnx", "")] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let mut check = Command::new(env!("CARGO_BIN_EXE_kvs-infer"));
    let output = check.args(["check", "--config", "cameras.yaml"]).current_dir(&folder).output().unwrap();
    let printed = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap()).concat();
    (output.status.success(), printed)
}

fn zone_names(config: &str) -> Vec<String> {
    let read = settings(config);
    let zones = read.cameras[0].pipeline[0].rules.roi.as_ref().map(|roi| &roi.zones);
    zones.into_iter().flatten().map(|zone| zone.name.clone()).collect()
}

/// The YAML of the drawings that the browser has made, by file.
struct Drawings(TempDir);

impl Drawings {
    /// Draws in a browser. The first drawing takes effect while the page is open.
    fn draw(board: &StatusBoard) -> Self {
        let shapes = RunningShapes::new(&settings(CONFIG).shapes);
        let spec = HttpSpec { shapes: shapes.clone(), ..show::spec("127.0.0.1", None, board) };
        let (server, folder) = (HttpServer::start(spec).unwrap(), tempfile::tempdir().unwrap());
        let url = format!("http://127.0.0.1:{}", server.local_addr().port());
        let cases = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/zones/cases.json");
        let out = folder.path();
        std::thread::scope(|scope| {
            let (running, ended) = channel();
            scope.spawn(move || apply_drawing(out, &shapes, &ended));
            run_checks("zones.py", &["--url", &url, "--cases", cases, "--out", out.to_str().unwrap()]);
            drop(running);
        });
        Self(folder)
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.0.path().join(name)).unwrap()
    }

    /// Returns the configuration with a drawing, whether it is valid, and what `check` prints about it.
    fn checked(&self, name: &str) -> (String, bool, String) {
        let config = with_drawing(&self.read(name));
        let (is_valid, printed) = run_check(&config);
        (config, is_valid, printed)
    }
}

/// Waits for the drawing, unless the browser ends before, and sets it as the running configuration.
fn apply_drawing(out: &Path, shapes: &RunningShapes, browser: &Receiver<()>) {
    let is_over = || browser.try_recv() == Err(TryRecvError::Disconnected);
    let look = || if out.join("drawn").exists() || is_over() { Ok(()) } else { Err("none") };
    until_blocking("a drawing", look);
    if !is_over() {
        let config = with_drawing(&std::fs::read_to_string(out.join("drawn.yaml")).unwrap());
        shapes.set(&settings(&config).shapes);
    }
}

#[test]
fn zones_are_drawn_in_a_browser_and_their_yaml_passes_check() {
    let board = board();
    board.camera("gate").unwrap().streaming();
    add_example_boxes(&board);
    let drawings = Drawings::draw(&board);
    let (config, is_valid, printed) = drawings.checked("drawn.yaml");
    assert!(is_valid && printed.contains("OK: 2 cameras"), "{printed}\n{config}");
    assert_eq!(zone_names(&config), ["doorway", "zone-2", "kerb", "steps"]);
    hostile_names_are_names(&drawings);
    complaints_are_those_of_check(&drawings);
    fractions_need_other_minimum_sizes(&drawings);
}

fn hostile_names_are_names(drawings: &Drawings) {
    let hostile: Vec<String> = serde_json::from_str(&drawings.read("hostile.json")).unwrap();
    for (i, name) in hostile.iter().enumerate() {
        let (config, is_valid, printed) = drawings.checked(&format!("hostile-{i}.yaml"));
        assert!(is_valid, "{printed}\n{config}");
        assert_eq!(zone_names(&config)[0], *name);
    }
}

fn complaints_are_those_of_check(drawings: &Drawings) {
    let (_, is_valid, printed) = drawings.checked("crossing.yaml");
    let warning = format!("warn: camera gate, {}", drawings.read("crossing.txt"));
    assert!(is_valid && printed.contains(&warning), "{printed}");
    let (_, is_valid, printed) = drawings.checked("mistake.yaml");
    let (shown, remedy) = (drawings.read("mistake.txt"), "give each polygon of a camera a unique name");
    let message = shown.strip_suffix(&format!(": {remedy}")).unwrap();
    assert!(!is_valid && printed.contains(message) && printed.contains(remedy), "{printed}");
}

fn fractions_need_other_minimum_sizes(drawings: &Drawings) {
    let (config, is_valid, printed) = drawings.checked("normalized.yaml");
    assert!(!is_valid && printed.contains("24 x 32 is larger than the frame"), "{printed}");
    let sizes = drawings.read("normalized-sizes.yaml");
    let sizes = sizes.lines().find(|line| line.contains("min_box")).unwrap().trim();
    let (is_valid, printed) = run_check(&config.replace("min_box: { width: 24, height: 32 }", sizes));
    assert!(is_valid, "{printed}");
}

/// The board of the cameras of [`CONFIG`]; `gate` has a picture of 640 x 360.
fn board() -> StatusBoard {
    let (board, gate) = (StatusBoard::new(), CameraId::new("gate"));
    board.add_camera(&gate, "gate-stream").frame_inferred(show::frame(&gate, 1), vec![]);
    board.add_camera(&CameraId::new("street"), "street-stream");
    board
}

fn recent_box(label: &str, conf: f32, is_kept: bool) -> RecentBox {
    RecentBox { entry: "objects#2".into(), label: label.into(), conf, bbox: show::bbox(1), is_kept }
}

#[test]
fn the_running_zones_masks_and_filters_are_served() {
    let server = serve("127.0.0.1", None, &board());
    let gate = get(&server, "/api/cameras/gate/zones", &[]).json();
    assert_eq!(gate["frame"], json!({ "width_px": 640, "height_px": 360 }));
    assert_eq!(
        (&gate["enabled"], &gate["units"], &gate["filter"], &gate["min_overlap"]),
        (&json!(true), &json!("pixels"), &json!("overlap"), &json!(0.5))
    );
    let names: Vec<_> =
        gate["zones"].as_array().unwrap().iter().map(|zone| (&zone["name"], &zone["event_name"])).collect();
    assert_eq!(names, [(&json!("doorway"), &json!("doorway")), (&Value::Null, &json!("zone-2"))]);
    assert_eq!(gate["zones"][0]["points"][0], json!([64.0, 90.0]));
    assert_eq!(gate["zones"][0]["normalized"][0], json!([0.1, 0.25]));
    assert_eq!(gate["masks"][0]["points"][2], json!([120.0, 40.0]));
    assert_eq!(
        gate["entries"],
        json!([
            { "entry": "objects", "type": "objects", "enabled": true, "conf_threshold": 0.5, "classes": null,
              "agnostic_nms": false, "min_box": { "width": 24.0, "height": 32.0 } },
            { "entry": "alpr", "type": "alpr", "enabled": true, "conf_threshold": 0.4, "classes": null,
              "agnostic_nms": false, "min_box": null },
        ])
    );
    assert_eq!(gate["place"], json!({ "file": "cameras.yaml", "line": 3, "indent": 4 }));
    assert!(
        gate["yaml"].as_str().unwrap().starts_with("    roi:\n      units: pixels\n"),
        "{}",
        gate["yaml"]
    );

    let street = get(&server, "/api/cameras/street/zones", &[]).json();
    assert_eq!(
        (&street["enabled"], &street["frame"], &street["yaml"]),
        (&json!(false), &Value::Null, &json!(""))
    );
    let unknown = get(&server, "/api/cameras/nowhere/zones", &[]);
    assert_eq!(unknown.code, 404);
    assert!(unknown.json()["error"].as_str().unwrap().contains("no camera nowhere"));
}

#[test]
fn a_drawing_is_answered_with_its_yaml_mistakes_and_difference() {
    let server = serve("127.0.0.1", None, &board());
    let check = |path: &str, body: &str| ask(server.local_addr(), "POST", path, &[], body);
    let drawing = json!({
        "roi": { "filter": "any", "polygons": [{ "name": "a: \"b\"", "points": [[0, 0], [90, 90], [90, 0], [0, 60]] }] },
        "masks": [{ "points": [[0, 0], [0.5, 0], [0.5, 0.5]] }],
    });
    let answer = check("/api/cameras/gate/zones", &drawing.to_string());
    assert_eq!(answer.code, 200);
    let report = answer.json();
    assert!(report["yaml"].as_str().unwrap().contains(r#"- name: "a: \"b\"""#), "{report:#}");
    assert_eq!(report["mistakes"][0]["key"], "masks[0].points");
    assert!(
        report["mistakes"][0]["message"].as_str().unwrap().contains("not larger than a pixel"),
        "{report:#}"
    );
    assert!(report["warnings"][0]["message"].as_str().unwrap().contains("edges cross"), "{report:#}");
    let line = json!({ "change": "removed", "text": "        - name: doorway" });
    assert!(report["diff"].as_array().unwrap().contains(&line), "{report:#}");

    let wrong = check("/api/cameras/gate/zones", r#"{"roi": {"filter": "nearly"}}"#);
    assert_eq!(wrong.code, 400);
    assert!(wrong.json()["error"].as_str().unwrap().contains("nearly"), "{}", wrong.json());
    assert_eq!(check("/api/cameras/nowhere/zones", "{}").code, 404);
    let corner = "[1000.125,1000.125],";
    let large = format!(r#"{{"masks":[{{"points":[{}[1,1]]}}]}}"#, corner.repeat(3_000));
    assert!((60_000..65_536).contains(&large.len()));
    assert_eq!(check("/api/cameras/gate/zones", &large).json()["mistakes"][0]["key"], "masks[0].points");
    let larger = format!(r#"{{"masks":[{{"points":[{}[1,1]]}}]}}"#, corner.repeat(4_000));
    assert_eq!(check("/api/cameras/gate/zones", &larger).code, 413);
    assert_eq!(check("/login", &"x".repeat(5_000)).code, 413);
}

#[test]
fn the_boxes_of_the_last_minutes_are_served_with_the_judgement_of_the_rules() {
    let board = board();
    let gate = board.camera("gate").unwrap();
    gate.add_boxes(
        MediaMs(1_000),
        (640, 360),
        vec![recent_box("person", 0.875, true), recent_box("car", 0.25, false)],
    );
    gate.add_boxes(MediaMs(2_000), (640, 360), vec![recent_box("car", f32::NAN, false)]);
    gate.add_boxes(MediaMs(3_000), (640, 360), vec![recent_box("dog", 0.5, true)]);
    let server = serve("127.0.0.1", None, &board);
    let answer = get(&server, "/api/cameras/gate/boxes", &[]).json();
    assert_eq!(answer["frame"], json!({ "width_px": 640, "height_px": 360 }));
    let first = json!({ "ts_ms": 1_000, "type": "objects", "entry": "objects#2", "label": "person", "conf": 0.875,
        "bbox": [6.0, 150.0, 96.0, 320.0], "kept": true });
    assert_eq!(answer["boxes"][0], first);
    let labels = |answer: &Value| -> Vec<Value> {
        answer["boxes"].as_array().unwrap().iter().map(|one| one["label"].clone()).collect()
    };
    assert_eq!(labels(&answer), ["person", "car", "dog"]);
    let none = get(&server, "/api/cameras/street/boxes", &[]).json();
    assert_eq!(none, json!({ "camera": "street", "frame": null, "boxes": [] }));
    assert_eq!(get(&server, "/api/cameras/nowhere/boxes", &[]).code, 404);
}

#[test]
fn the_zone_editor_needs_the_token_too() {
    let server = serve("0.0.0.0", Some(TOKEN), &board());
    for path in ["/api/cameras/gate/zones", "/api/cameras/gate/boxes"] {
        assert_eq!(get(&server, path, &[]).code, 401, "{path}");
    }
    let bearer = format!("Authorization: Bearer {TOKEN}");
    let check =
        |headers: &[&str]| ask(server.local_addr(), "POST", "/api/cameras/gate/zones", headers, "{}").code;
    assert_eq!((check(&[]), check(&[&bearer])), (401, 200));
}

#[test]
fn a_live_picture_is_served_with_and_without_boxes() {
    let (board, gate) = (StatusBoard::new(), CameraId::new("gate"));
    let label = kvs_infer::render::Label::of("person", 0.9, show::bbox(1));
    board.add_camera(&gate, "gate-stream").frame_inferred(show::frame(&gate, 1), vec![label]);
    let drawn_boxes: kvs_infer::http::Encode =
        Arc::new(|_, labels, _| Ok(format!("{} boxes", labels.len()).into()));
    let server = show::serve("127.0.0.1", None, &board, drawn_boxes);
    for (query, expected) in [
        ("", "1 boxes"),
        ("?boxes=true", "1 boxes"),
        ("?boxes=false&w=320", "0 boxes"),
        ("?w=320", "1 boxes"),
    ] {
        let answer = get(&server, &format!("/api/cameras/gate/snapshot.jpg{query}"), &[]);
        assert_eq!(
            (answer.code, String::from_utf8(answer.body).unwrap().as_str()),
            (200, expected),
            "{query}"
        );
    }
}
