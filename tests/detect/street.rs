//! A real model on a real street: the cars are found.

use kvs_infer::detect::{Detector, Device, EngineChoice, ModelSpec};
use kvs_infer::media::{BBox, HostPicture, Matrix};
use test_support::setup::cached;

use super::support::{USUAL, frame_of, picture, spec};

const SIZE: (u32, u32) = (640, 272);

fn street_at(second: &str) -> HostPicture {
    frame_of("clips/street.mp4", second, SIZE, Matrix::Bt601)
}

/// The detections of OpenCV (letterbox) and onnxruntime in Python with the same model, before NMS the best box of each
/// object: second, label, confidence, box.
const PYTHON: [(&str, &str, f32, [f32; 4]); 5] = [
    ("5", "person", 0.807, [349.0, 1.0, 485.0, 272.0]),
    ("6", "car", 0.489, [364.0, 108.0, 437.0, 153.0]),
    ("6", "car", 0.483, [490.0, 105.0, 625.0, 166.0]),
    ("6", "car", 0.469, [295.0, 114.0, 394.0, 189.0]),
    ("7", "car", 0.497, [522.0, 101.0, 601.0, 163.0]),
];

#[tokio::test]
async fn cars_and_people_are_found_where_an_independent_program_sees_them() {
    // The boxes of the files are those of this engine.
    let model = ModelSpec { engine: EngineChoice::Onnxruntime, ..spec(cached("models/street.onnx")) };
    let detector = Detector::start(&model, Device::Cpu, 1).unwrap();
    assert_eq!(detector.info().classes.len(), 80);
    for (second, label, conf, [x1, y1, x2, y2]) in PYTHON {
        let seen = detector.detect(picture("street", street_at(second)), USUAL).await.unwrap();
        let there = BBox { x1, y1, x2, y2 };
        let found =
            seen.iter().find(|detection| detection.bbox.iou(&there) > 0.85 && *detection.label == *label);
        let found = found.unwrap_or_else(|| panic!("second {second}: no {label} at {there:?} in {seen:#?}"));
        assert!((found.conf - conf).abs() < 0.03, "second {second}: {found:?}, Python says {conf}");
    }
}
