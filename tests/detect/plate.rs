//! Real models on a real plate: it is found and read.

use std::sync::Arc;

use kvs_infer::detect::ocr::TextReader;
use kvs_infer::detect::{Detector, Device, ModelSpec};
use kvs_infer::media::{BBox, HostPicture, Matrix};
use test_support::setup::cached;

use super::support::{USUAL, decoded, frame_of, picture, spec};

const SIZE: (u32, u32) = (1280, 720);

fn gate_at(second: &str) -> HostPicture {
    frame_of("clips/gate.mp4", second, SIZE, Matrix::Bt709)
}

#[tokio::test]
async fn the_plate_at_the_gate_is_read() {
    let classes = Some(vec!["plate".to_owned()]);
    let finder = ModelSpec { classes, ..spec(cached("models/plate.onnx")) };
    let finder = Detector::start(&finder, Device::Cpu, 1).unwrap();
    let reader = TextReader::start(&spec(cached("models/plate-text.onnx")), Device::Cpu, 1).unwrap();
    assert_eq!((reader.info().characters, reader.info().input.to_string().as_str()), (6623, "Nx3x48xW f32"));
    for second in ["3", "3.5", "4", "4.5", "5", "6", "7", "8", "9"] {
        let frame = picture("gate", gate_at(second));
        let found = finder.detect(Arc::clone(&frame), USUAL).await.unwrap();
        let [plate] = &found[..] else { panic!("second {second}: {found:?}") };
        for expand in [0.0, 0.05] {
            let read = reader.read(Arc::clone(&frame), vec![plate.bbox], expand).await.unwrap();
            let Some(reading) = &read[0] else { panic!("second {second}: nothing is read") };
            assert_eq!(&*reading.text, "5AU5341", "second {second}, expanded by {expand}");
            assert!(reading.conf > 0.99 && reading.conf <= 1.0, "second {second}: {reading:?}");
        }
    }
}

/// Plates of `testdata/plates.png`, made by ffmpeg's `drawtext`: left, top, width, height, text.
const DRAWN: [([f32; 4], &str); 7] = [
    ([40.0, 40.0, 320.0, 240.0], "AB123456"),
    ([400.0, 40.0, 120.0, 100.0], "12K4567"),
    ([560.0, 40.0, 200.0, 110.0], "MH12DE1433"),
    ([400.0, 180.0, 160.0, 80.0], "AB123456"),
    ([600.0, 180.0, 160.0, 120.0], "AB1234"),
    ([400.0, 300.0, 160.0, 90.0], "AB1234"),
    ([40.0, 320.0, 300.0, 70.0], "AB1234"),
];

#[tokio::test]
async fn plates_of_two_lines_are_read_line_by_line_and_those_of_one_line_whole() {
    let reader = TextReader::start(&spec(cached("models/plate-text.onnx")), Device::Cpu, 1).unwrap();
    let sheet = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/plates.png");
    let frame = picture("gate", decoded(sheet.as_ref(), "0", (800, 420), Matrix::Bt601));
    let boxes = DRAWN.map(|([x1, y1, width, height], _)| BBox { x1, y1, x2: x1 + width, y2: y1 + height });
    let read = reader.read(frame, boxes.to_vec(), 0.0).await.unwrap();
    for ((place, want), reading) in DRAWN.iter().zip(&read) {
        let Some(reading) = reading else { panic!("{place:?}: nothing is read") };
        assert!(&*reading.text == *want && reading.conf > 0.9, "{place:?}: {reading:?}");
    }
}
