//! Real models on a real plate: it is found and read.

use std::process::Command;
use std::sync::Arc;

use super::support::{USUAL, cached, picture, spec};
use kvs_infer::decode::{Color, HostPicture, Matrix};
use kvs_infer::detect::ocr::Reader;
use kvs_infer::detect::{Detector, Device, ModelSpec};

const SIZE: (u32, u32) = (1280, 720);

/// The frame of the gate clip at `second`, decoded by the ffmpeg command.
fn gate_at(second: &str) -> HostPicture {
    let made = Command::new("ffmpeg")
        .args(["-v", "error", "-nostdin", "-ss", second, "-i"])
        .arg(cached("clips/gate.mp4"))
        .args(["-frames:v", "1", "-f", "rawvideo", "-pix_fmt", "yuv420p", "-"])
        .output()
        .expect("the ffmpeg command: run `scripts/setup test`");
    let (w, h) = (SIZE.0 as usize, SIZE.1 as usize);
    assert_eq!(made.stdout.len(), w * h * 3 / 2, "{}", String::from_utf8_lossy(&made.stderr));
    let (luma, chroma) = made.stdout.split_at(w * h);
    let (u, v) = chroma.split_at(w * h / 4);
    let color = Color { matrix: Matrix::Bt709, full_range: false };
    HostPicture::from_planes(SIZE, [luma.to_vec(), u.to_vec(), v.to_vec()], [w, w / 2, w / 2], color).unwrap()
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
