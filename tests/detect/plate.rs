//! Real models on a real plate: it is found and read.

use std::sync::Arc;

use super::support::{USUAL, cached, frame_of, picture, spec};
use kvs_infer::decode::{HostPicture, Matrix};
use kvs_infer::detect::ocr::Reader;
use kvs_infer::detect::{Detector, Device, ModelSpec};

const SIZE: (u32, u32) = (1280, 720);

fn gate_at(second: &str) -> HostPicture {
    frame_of("clips/gate.mp4", second, SIZE, Matrix::Bt709)
}

#[tokio::test]
async fn the_plate_at_the_gate_is_read() {
    let classes = Some(vec!["plate".to_owned()]);
    let finder = ModelSpec { classes, ..spec(cached("models/plate.onnx")) };
    let finder = Detector::start(&finder, Device::Cpu, 1).unwrap();
    let reader = Reader::start(&spec(cached("models/plate-text.onnx")), Device::Cpu, 1).unwrap();
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
