//! Models of every layout see painted rectangles.

mod detect_support;

use std::sync::Arc;
use std::time::Duration;

use detect_support::{Paint, USUAL, cached, frame, near, picture, spec, tiny};
use kvs_infer::decode::{Color, HostPicture, Matrix};
use kvs_infer::detect::{
    Batching, DetectError, Detector, Device, Layout, LayoutChoice, ModelSpec, Thresholds,
};
use kvs_infer::frame::Detection;

async fn seen_by(spec: &ModelSpec, thresholds: Thresholds) -> Vec<Detection> {
    let detector = Detector::start(spec, Device::Cpu, 1).unwrap();
    let frame = frame("a", (256, 144), &[(Paint::Red, [16, 16, 80, 56]), (Paint::Blue, [120, 40, 216, 120])]);
    let seen = detector.detect(frame, thresholds).await.unwrap();
    detector.stop();
    seen
}

fn told(seen: &[Detection]) -> Vec<(&str, f32)> {
    seen.iter().map(|detection| (&*detection.label, (detection.conf * 1000.0).round() / 1000.0)).collect()
}

#[tokio::test]
async fn every_layout_and_precision_gives_the_same_boxes() {
    let reference = seen_by(&tiny("yolov8"), USUAL).await;
    assert_eq!(told(&reference), [("red", 0.9), ("blue", 0.7)]);
    // A pixel of the model is 4 of the frame.
    assert!(near(&reference[0].bbox, [16.0, 16.0, 80.0, 56.0], 4.0), "{reference:?}");
    assert!(near(&reference[1].bbox, [120.0, 40.0, 216.0, 120.0], 4.0), "{reference:?}");
    for name in ["yolov5", "nms", "detr", "yolov8_fp16", "yolov8_dynamic", "yolov8_dynamic_size"] {
        let seen = seen_by(&tiny(name), USUAL).await;
        assert_eq!(told(&seen), told(&reference), "{name}");
        for (one, other) in seen.iter().zip(&reference) {
            let want = [other.bbox.x1, other.bbox.y1, other.bbox.x2, other.bbox.y2];
            assert!(near(&one.bbox, want, 0.01), "{name}: {one:?}, {other:?}");
        }
    }
}
