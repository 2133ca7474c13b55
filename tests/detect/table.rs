//! The table of the command `models`.

use kvs_infer::cli::models::print_models;
use kvs_infer::detect::{Device, Purpose};
use test_support::setup::cached;

use super::support::{spec, tiny, tiny_text};

/// The lines, without the measured column.
fn lines(text: &[u8]) -> Vec<String> {
    let text = std::str::from_utf8(text).unwrap();
    let measured = |word: &&str| word.parse::<f64>().is_err();
    let line = |line: &str| line.split_whitespace().filter(measured).collect::<Vec<_>>().join(" ");
    text.lines().map(line).collect()
}

#[test]
fn models_are_listed_and_those_that_fail_say_why() {
    let specs = [tiny("yolov8"), tiny("ambiguous"), tiny("detr"), spec(cached("models/street.onnx"))];
    let reading = [tiny_text("text"), tiny_text("text_unnamed")].map(|spec| (Purpose::Read, spec));
    let specs: Vec<_> = specs.map(|spec| (Purpose::Find, spec)).into_iter().chain(reading).collect();
    let mut out = Vec::new();
    assert_eq!(print_models(&mut out, &specs, Device::Cpu).unwrap(), 2);
    let lines = lines(&out);
    assert_eq!(lines[0], "MODEL LAYOUT BY INPUT DEVICE ENGINE INFER MS CLASSES");
    assert_eq!(lines[1], "yolov8 yolov8 shape 1x3x64x64 f32 cpu ONNX Runtime 3: red, green, blue");
    assert!(lines[2].starts_with("ambiguous cannot be used: model ambiguous ("), "{}", lines[2]);
    assert!(lines[2].contains("say which by `layout`"), "{}", lines[2]);
    assert_eq!(lines[3], "detr detr metadata 1x3x64x64 f32 cpu ONNX Runtime 3: red, green, blue");
    assert_eq!(
        lines[4],
        "street yolov8 shape Nx3x416x416 f32 cpu ONNX Runtime 80: person, bicycle, car, motorcycle, ..."
    );
    assert_eq!(lines[5], "text ctc shape Nx3x16xW f32 cpu ONNX Runtime characters");
    assert!(lines[6].starts_with("text_unnamed cannot be used: model text_unnamed ("), "{}", lines[6]);
    assert_eq!(lines.len(), 7);
}

#[test]
fn a_fallback_is_shown() {
    let mut out = Vec::new();
    assert_eq!(print_models(&mut out, &[(Purpose::Find, tiny("nms"))], Device::Auto(0)).unwrap(), 0);
    let lines = lines(&out);
    let on_cuda = lines[1].contains(" cuda:0 ");
    assert!(on_cuda || lines[2].starts_with("CUDA was tried: "), "{lines:?}");
}
