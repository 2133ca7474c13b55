//! The people that the real model sees in the yard: `testdata/footage/yard.boxes.jsonl`, for the tests of decide.
//!
//! `BLESS=1` writes the file again, from every frame.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use kvs_infer::detect::{Detector, Device, EngineChoice, ModelSpec, Thresholds};
use kvs_infer::media::{BBox, Color, Detection, HostPicture, Matrix};
use serde_json::Value;
use test_support::setup::cached;

use super::support::{near, picture, spec};

const SIZE: (u32, u32) = (768, 576);
/// Between two frames.
const STEP_MS: usize = 100;
/// Every so many frames are compared: half a second of inference.
const STRIDE: usize = 50;
/// NMS as by default; the confidence is half of what a configuration would ask for.
const LOW: Thresholds = Thresholds { conf: 0.2, nms_iou: 0.5 };
/// The differences allowed on another processor: px, and confidence.
const TOLERANCE: (f32, f32) = (2.0, 0.02);

#[tokio::test]
async fn the_people_of_the_yard_are_those_of_the_file() {
    // The boxes of the files are those of this engine.
    let model = ModelSpec { engine: EngineChoice::Onnxruntime, ..spec(cached("models/street.onnx")) };
    let detector = Detector::start(&model, Device::Cpu, 1).unwrap();
    let blesses = std::env::var_os("BLESS").is_some();
    let stride = if blesses { 1 } else { STRIDE };
    let mut text = String::new();
    for (i, raw) in decoded(stride).chunks_exact(raw_bytes()).enumerate() {
        let seen = detector.detect(picture("yard", frame(raw)), LOW).await.unwrap();
        line(&mut text, i * stride * STEP_MS, &seen);
    }
    if blesses {
        std::fs::write(file(), &text).unwrap();
    }
    let agreed = std::fs::read_to_string(file()).unwrap();
    let agreed: Vec<&str> = agreed.lines().collect();
    assert_eq!(agreed.len(), 795, "one line per frame");
    for (seen, agreed) in text.lines().zip(agreed.into_iter().step_by(stride)) {
        same(&serde_json::from_str(seen).unwrap(), &serde_json::from_str(agreed).unwrap());
    }
}

fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/footage/yard.boxes.jsonl")
}

/// Each `stride`th frame of the clip, decoded by the ffmpeg command.
fn decoded(stride: usize) -> Vec<u8> {
    let select = format!("select=not(mod(n\\,{stride}))");
    let made = Command::new("ffmpeg")
        .args(["-v", "error", "-nostdin", "-i"])
        .arg(cached("clips/yard-whole.mp4"))
        .args(["-vf", &select, "-vsync", "passthrough", "-f", "rawvideo", "-pix_fmt", "yuv420p", "-"])
        .output()
        .expect("the ffmpeg command: run `scripts/setup test`");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    made.stdout
}

fn raw_bytes() -> usize {
    SIZE.0 as usize * SIZE.1 as usize * 3 / 2
}

fn frame(raw: &[u8]) -> HostPicture {
    let (w, h) = (SIZE.0 as usize, SIZE.1 as usize);
    let (luma, chroma) = raw.split_at(w * h);
    let (u, v) = chroma.split_at(w * h / 4);
    let planes = [luma.to_vec(), u.to_vec(), v.to_vec()];
    let color = Color { matrix: Matrix::Bt601, full_range: false };
    HostPicture::from_planes(SIZE, planes, [w, w / 2, w / 2], color).unwrap()
}

/// Adds the people of a frame, the surest first.
fn line(text: &mut String, ts_ms: usize, seen: &[Detection]) {
    let mut people: Vec<&Detection> = seen.iter().filter(|detection| *detection.label == *"person").collect();
    people.sort_by(|a, b| b.conf.total_cmp(&a.conf));
    let boxes = people.iter().map(|Detection { conf, bbox: BBox { x1, y1, x2, y2 }, .. }| {
        format!("[{x1:.1},{y1:.1},{x2:.1},{y2:.1},{conf:.3}]")
    });
    let boxes: Vec<String> = boxes.collect();
    writeln!(text, r#"{{"ts_ms":{ts_ms},"boxes":[{}]}}"#, boxes.join(",")).unwrap();
}

/// Each box that is surely there in one of them is in the other.
fn same(seen: &Value, agreed: &Value) {
    assert_eq!(seen["ts_ms"], agreed["ts_ms"]);
    for (one, other) in [(seen, agreed), (agreed, seen)] {
        for wanted in boxes(one).filter(|wanted| wanted.1 > LOW.conf + TOLERANCE.1) {
            let (BBox { x1, y1, x2, y2 }, conf) = wanted;
            let found = boxes(other).any(|(bbox, other)| {
                near(&bbox, [x1, y1, x2, y2], TOLERANCE.0) && (other - conf).abs() < TOLERANCE.1
            });
            assert!(found, "{wanted:?} is only in one: seen {seen}, agreed {agreed}");
        }
    }
}

fn boxes(line: &Value) -> impl Iterator<Item = (BBox, f32)> {
    line["boxes"].as_array().unwrap().iter().map(|row| {
        let [x1, y1, x2, y2, conf]: [f32; 5] = serde_json::from_value(row.clone()).unwrap();
        (BBox { x1, y1, x2, y2 }, conf)
    })
}
