//! Models of every layout see painted rectangles.

use std::path::Path;
use std::sync::Arc;

use kvs_infer::detect::{DetectError, Detector, Device, Layout, LayoutChoice, ModelSpec, Thresholds};
use kvs_infer::media::{Color, Detection, HostPicture, Matrix};
use sha2::{Digest, Sha256};
use test_support::setup::cached;

use super::support::{Paint, USUAL, frame, near, picture, spec, tiny};

async fn seen_by(spec: &ModelSpec, thresholds: Thresholds) -> Vec<Detection> {
    let detector = Detector::start(spec, Device::Cpu, 1).unwrap();
    let frame = frame("a", (256, 144), &[(Paint::Red, [16, 16, 80, 56]), (Paint::Blue, [120, 40, 216, 120])]);
    let seen = detector.detect(frame, thresholds).await.unwrap();
    detector.stop();
    seen
}

fn summary(seen: &[Detection]) -> Vec<(&str, f32)> {
    seen.iter().map(|detection| (&*detection.label, (detection.conf * 1000.0).round() / 1000.0)).collect()
}

#[tokio::test]
async fn every_layout_and_precision_gives_the_same_boxes() {
    let reference = seen_by(&tiny("yolov8"), USUAL).await;
    assert_eq!(summary(&reference), [("red", 0.9), ("blue", 0.7)]);
    // A pixel of the model is 4 of the frame.
    assert!(near(&reference[0].bbox, [16.0, 16.0, 80.0, 56.0], 4.0), "{reference:?}");
    assert!(near(&reference[1].bbox, [120.0, 40.0, 216.0, 120.0], 4.0), "{reference:?}");
    for name in ["yolov5", "nms", "detr", "yolov8_fp16", "yolov8_dynamic", "yolov8_dynamic_size"] {
        let seen = seen_by(&tiny(name), USUAL).await;
        assert_eq!(summary(&seen), summary(&reference), "{name}");
        for (one, other) in seen.iter().zip(&reference) {
            let want = [other.bbox.x1, other.bbox.y1, other.bbox.x2, other.bbox.y2];
            assert!(near(&one.bbox, want, 0.01), "{name}: {one:?}, {other:?}");
        }
    }
}

#[tokio::test]
async fn thresholds_are_those_of_the_request() {
    let seen = |conf, nms_iou| async move { seen_by(&tiny("yolov8"), Thresholds { conf, nms_iou }).await };
    assert_eq!(summary(&seen(0.75, 0.45).await), [("red", 0.9)]);
    assert_eq!(summary(&seen(0.4, 1.0).await), [("red", 0.9), ("red", 0.8), ("blue", 0.7), ("blue", 0.6)]);
    assert_eq!(summary(&seen(0.95, 0.45).await), []);
}

#[test]
fn a_model_describes_itself() {
    let cases = [
        ("yolov8", Layout::Yolov8, "1x3x64x64 f32"),
        ("yolov8_fp16", Layout::Yolov8, "1x3x64x64 f16"),
        ("yolov8_dynamic", Layout::Yolov8, "Nx3x64x64 f32"),
        ("yolov8_dynamic_size", Layout::Yolov8, "Nx3x64x64 f32"),
        ("yolov5", Layout::Yolov5, "1x3x64x64 f32"),
        ("nms", Layout::Nms, "1x3x64x64 f32"),
        ("detr", Layout::Detr, "1x3x64x64 f32"),
    ];
    for (name, layout, input) in cases {
        let detector = Detector::start(&tiny(name), Device::Cpu, 1).unwrap();
        let info = detector.info();
        assert_eq!((info.layout, info.input.to_string().as_str()), (layout, input), "{name}");
        assert_eq!(
            info.classes.iter().map(|class| &**class).collect::<Vec<_>>(),
            ["red", "green", "blue"],
            "{name}"
        );
        assert_eq!((info.device, &info.fallback, info.id.name.as_str()), (Device::Cpu, &None, name));
        assert!(info.id.sha256.len() == 64 && info.warmup_ms > 0.0 && info.infer_ms > 0.0, "{info:?}");
    }
}

#[test]
fn a_model_that_cannot_be_used_says_why_and_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    };
    let whole = std::fs::read(cached("models/tiny/yolov8.onnx")).unwrap();
    let named = |name: &str, classes: &[&str]| ModelSpec {
        classes: Some(classes.iter().map(|class| (*class).to_owned()).collect()),
        ..tiny(name)
    };
    let as_layout = |name: &str, layout| ModelSpec { layout, ..tiny(name) };
    let cases: [(&str, ModelSpec, &[&str]); 16] = [
        ("weights elsewhere", weights_elsewhere(folder.path(), &whole), &["has weights in further files"]),
        ("missing", spec(folder.path().join("none.onnx")), &["cannot read the file", "check `path`"]),
        ("a folder", spec(folder.path().to_owned()), &["cannot read the file"]),
        ("weights", spec(file("yolo.pt", b"PK")), &["PyTorch weights", "format=onnx"]),
        (
            "rubbish",
            spec(file("rubbish.onnx", b"<html>not found</html>")),
            &["ONNX Runtime cannot load it", "whole ONNX file"],
        ),
        ("empty", spec(file("empty.onnx", b"")), &["ONNX Runtime cannot load it"]),
        ("cut", spec(file("cut.onnx", &whole[..whole.len() / 2])), &["ONNX Runtime cannot load it"]),
        (
            "other content",
            ModelSpec { sha256: Some("0".repeat(64)), ..tiny("yolov8") },
            &["its SHA-256 is ", "asks for 000", "correct `sha256`"],
        ),
        ("no names", tiny("yolov8_unnamed"), &["no class names", "give them under `classes`"]),
        ("names given, none", named("yolov8", &[]), &["no class names"]),
        (
            "too few names",
            as_layout_named("yolov8", LayoutChoice::Yolov8, &["red"]),
            &["has 3 classes as yolov8, but 1 class names"],
        ),
        (
            "ambiguous",
            tiny("ambiguous"),
            &["fit yolov5 and nms", "`output0` [1, 64, 6]", "say which by `layout`"],
        ),
        ("wrong rank", tiny("wrong_rank"), &["`output0` [1, 3]", "fit no layout"]),
        ("other layout", as_layout("yolov8", LayoutChoice::Detr), &["are not of layout detr"]),
        ("other columns", as_layout("yolov8", LayoutChoice::Nms), &["are not of layout nms", "[1, 7, 64]"]),
        (
            "names unfit for auto",
            named("yolov8", &["a", "b"]),
            &["with 2 class names fit no layout", "[1, 7, 64]"],
        ),
    ];
    for (name, spec, words) in cases {
        let error = Detector::start(&spec, Device::Cpu, 1).map(|_| ()).unwrap_err().to_string();
        let place = format!("model {} ({}): ", spec.name, spec.path.display());
        for word in words.iter().chain([&place.as_str()]) {
            assert!(error.contains(word), "{name}: {word:?} is not in: {error}");
        }
    }
}

/// A model with a weight in another file, by the digest of its own file.
fn weights_elsewhere(folder: &Path, whole: &[u8]) -> ModelSpec {
    // Merged into the graph: one more weight, with an entry that says where it is kept.
    let content = [whole, &[7 << 3 | 2, 4, 5 << 3 | 2, 2, 13 << 3 | 2, 0]].concat();
    let path = folder.join("elsewhere.onnx");
    std::fs::write(&path, &content).unwrap();
    let digest: String = Sha256::digest(&content).iter().map(|byte| format!("{byte:02x}")).collect();
    ModelSpec { sha256: Some(digest), ..spec(path) }
}

fn as_layout_named(name: &str, layout: LayoutChoice, classes: &[&str]) -> ModelSpec {
    let classes = Some(classes.iter().map(|class| (*class).to_owned()).collect());
    ModelSpec { layout, classes, ..tiny(name) }
}

#[tokio::test]
async fn what_the_configuration_says_of_a_model_counts() {
    let seen =
        seen_by(&as_layout_named("yolov8_unnamed", LayoutChoice::Auto, &["rot", "gruen", "blau"]), USUAL)
            .await;
    assert_eq!(summary(&seen), [("rot", 0.9), ("blau", 0.7)]);
    let one_class = ModelSpec { layout: LayoutChoice::Yolov5, ..tiny("ambiguous") };
    assert_eq!(summary(&seen_by(&one_class, USUAL).await), [("red", 0.9)]);
    let sha256 = Detector::start(&tiny("nms"), Device::Cpu, 1).unwrap().info().id.sha256.to_uppercase();
    let pinned = ModelSpec { sha256: Some(sha256), ..tiny("nms") };
    assert_eq!(summary(&seen_by(&pinned, USUAL).await), [("red", 0.9), ("blue", 0.7)]);
}

#[tokio::test]
async fn each_camera_of_a_batch_gets_its_own_boxes() {
    let four = |_: &_, _| 4;
    let detector = Detector::start_batched(&tiny("yolov8_dynamic"), Device::Cpu, 1, four).unwrap();
    let sizes = [(64, 64), (128, 64), (64, 128), (640, 360)];
    let look = |camera: u32| {
        let (width, height) = sizes[camera as usize % sizes.len()];
        let left = 2 * (camera % 8);
        let corners = [left, 16, left + width / 2, 48];
        let frame = frame(&format!("camera-{camera}"), (width, height), &[(Paint::Green, corners)]);
        let detector = detector.clone();
        tokio::spawn(async move { (corners, detector.detect(frame, USUAL).await.unwrap()) })
    };
    for asked in (0..24).map(look).collect::<Vec<_>>() {
        let (corners, seen) = asked.await.unwrap();
        assert_eq!(summary(&seen), [("green", 0.8)]);
        assert!(near(&seen[0].bbox, corners.map(|px| px as f32), 10.0), "{seen:?}, want {corners:?}");
    }
}

#[tokio::test]
async fn nothing_of_a_frame_is_left_for_the_next_of_another_shape() {
    let detector = Detector::start(&tiny("yolov8"), Device::Cpu, 1).unwrap();
    let above_the_wide_one = frame("a", (64, 64), &[(Paint::Red, [8, 0, 40, 12])]);
    let wide = frame("b", (128, 64), &[]);
    let narrow = frame("c", (64, 128), &[]);
    for (first, second) in [(&above_the_wide_one, &wide), (&wide, &narrow)] {
        detector.detect(Arc::clone(first), USUAL).await.unwrap();
        assert_eq!(detector.detect(Arc::clone(second), USUAL).await.unwrap(), []);
    }
    assert_eq!(summary(&detector.detect(above_the_wide_one, USUAL).await.unwrap()), [("red", 0.9)]);
}

#[test]
fn a_model_runs_with_the_threads_that_it_asks_for_else_with_its_share() {
    for (asked, threads) in [(None, 2), (Some(1), 1), (Some(3), 3)] {
        let spec = ModelSpec { threads: asked, ..tiny("yolov8") };
        let detector = Detector::start(&spec, Device::Cpu, 2).unwrap();
        assert_eq!(detector.info().threads, threads, "{asked:?}");
    }
}

#[tokio::test]
async fn a_bad_picture_is_an_error_of_its_own_and_the_next_is_looked_at() {
    let detector = Detector::start(&tiny("yolov8"), Device::Cpu, 1).unwrap();
    let color = Color { matrix: Matrix::Bt601, full_range: true };
    let nothing = HostPicture::from_planes((0, 0), [vec![], vec![], vec![]], [0; 3], color).unwrap();
    let error = detector.detect(picture("gate", nothing), USUAL).await.unwrap_err().to_string();
    assert_eq!(error, "camera gate: fragment 1, block 7: the picture is 0x0 px; skip it");
    let seen =
        detector.detect(frame("gate", (64, 64), &[(Paint::Red, [8, 8, 32, 32])]), USUAL).await.unwrap();
    assert_eq!(summary(&seen), [("red", 0.9)]);
    assert!(detector.is_alive() && detector.busy_since().is_none());
}

#[tokio::test]
async fn after_stop_there_is_an_error_and_no_thread() {
    let detector = Detector::start(&tiny("yolov8"), Device::Cpu, 1).unwrap();
    let other = detector.clone();
    assert!(other.is_alive());
    detector.stop();
    detector.stop();
    assert!(!other.is_alive());
    let error = other.detect(frame("a", (64, 64), &[]), USUAL).await.unwrap_err();
    assert_eq!(error, DetectError::Ended { model: "yolov8".to_owned() });
}

#[test]
fn broken_cuda_is_an_error_if_requested_and_is_logged_otherwise() {
    let demanded = Detector::start(&tiny("yolov8"), Device::Cuda(7), 1).map(|_| ()).unwrap_err();
    let DetectError::Cuda { index: 7, reason, .. } = &demanded else { panic!("{demanded}") };
    assert!(!reason.is_empty() && demanded.to_string().contains("set device: auto or cpu"), "{demanded}");
    let free = Detector::start(&tiny("yolov8"), Device::Auto(0), 1).unwrap();
    match (free.info().device, &free.info().fallback) {
        (Device::Cuda(0), None) => {}
        (Device::Cpu, Some(why)) => assert!(why.reason.contains("CUDA"), "{why:?}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_same_frame_gives_the_same_to_the_bit() {
    let frame =
        frame("a", (250, 130), &[(Paint::Red, [20, 20, 90, 60]), (Paint::Green, [100, 40, 200, 120])]);
    let mut all = Vec::new();
    for _ in 0..2 {
        let detector = Detector::start(&tiny("yolov8"), Device::Cpu, 2).unwrap();
        for _ in 0..3 {
            all.push(detector.detect(Arc::clone(&frame), USUAL).await.unwrap());
        }
    }
    assert!(!all[0].is_empty() && all.iter().all(|seen| *seen == all[0]), "{all:?}");
}
