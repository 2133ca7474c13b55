//! `models quantize`: the twin of a real model passes the gate on held-out footage, and a bad one does not.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use kvs_infer::detect::{Detector, Device, EngineChoice, InferenceEngine, ModelSpec, TwinKind};
use kvs_infer::media::Matrix;
use tempfile::TempDir;

use super::support::{USUAL, frame_of, picture, spec, tiny};
use test_support::setup::cached;

/// Runs `kvs-infer models quantize` without a plugin of OpenVINO.
fn quantize(arguments: &[&str]) -> Output {
    let mut program = Command::new(env!("CARGO_BIN_EXE_kvs-infer"));
    program.args(["models", "quantize"]).args(arguments).env("OPENVINO_PLUGIN_PATH", "off").output().unwrap()
}

fn text_of(output: &[u8]) -> String {
    String::from_utf8(output.to_vec()).unwrap()
}

fn shown(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Makes a black clip of ten seconds.
fn black_clip(folder: &TempDir) -> PathBuf {
    let clip = folder.path().join("black.mp4");
    let made = Command::new("ffmpeg")
        .args(["-v", "error", "-nostdin", "-f", "lavfi", "-i", "color=black:size=640x272:rate=5:duration=10"])
        .args(["-c:v", "libx264", "-pix_fmt", "yuv420p", "-g", "5"])
        .arg(&clip)
        .status()
        .unwrap();
    assert!(made.success(), "the ffmpeg command: run `scripts/setup test`");
    clip
}

#[tokio::test]
async fn the_twin_of_a_model_finds_its_boxes_and_runs_in_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let (model, twin) = (cached("models/street.onnx"), folder.path().join("street.int8.onnx"));
    let (street, yard) = (cached("clips/street.mp4"), cached("clips/yard.mp4"));
    let output = quantize(&[shown(&model), "--footage", shown(&street), shown(&yard), "--out", shown(&twin)]);
    let report = text_of(&output.stdout);
    assert!(output.status.success(), "{report}{}", text_of(&output.stderr));
    assert!(report.contains("street: 30 of 34 convolutions are int8"), "{report}");
    assert!(report.contains(": 0 missing, 0 new;"), "{report}");
    let [small, large] = [&twin, &model].map(|path| std::fs::metadata(path).unwrap().len());
    assert!(small * 3 < large, "{small} of {large} bytes");

    let float = Detector::start(&spec(model.clone()), Device::Cpu, 1).unwrap();
    let engine = EngineChoice::Onnxruntime;
    let configured = ModelSpec { int8: Some(twin.clone()), engine, ..spec(model) };
    let int8 = Detector::start(&configured, Device::Cpu, 1).unwrap();
    assert_eq!(int8.info().engine.to_string(), "ONNX Runtime int8");
    assert_eq!(float.info().engine.to_string(), "ONNX Runtime");
    // Events name the file that runs.
    let of_twin = Detector::start(&spec(twin), Device::Cpu, 1).unwrap().info().id.sha256.clone();
    assert_eq!((&int8.info().id.sha256, int8.info().id.name.as_str()), (&of_twin, "street"));
    assert_ne!(int8.info().id.sha256, float.info().id.sha256);
    let frame = || picture("a", frame_of("clips/street.mp4", "3.2", (640, 272), Matrix::Bt601));
    let seen = int8.detect(frame(), USUAL).await.unwrap();
    assert!(!seen.is_empty(), "there are cars in the frame");
    assert_eq!(seen, int8.detect(frame(), USUAL).await.unwrap(), "the same frame gives the same boxes");
    assert_ne!(seen, float.detect(frame(), USUAL).await.unwrap(), "int8 kernels were used");
}

#[test]
fn a_twin_that_is_calibrated_on_black_frames_is_refused_with_the_boxes_that_it_misses() {
    let folder = tempfile::tempdir().unwrap();
    let (model, twin) = (cached("models/street.onnx"), folder.path().join("bad.onnx"));
    let (black, street) = (black_clip(&folder), cached("clips/street.mp4"));
    let check = ["--check", shown(&street), "--out", shown(&twin)];
    let output = quantize(&[&[shown(&model), "--footage", shown(&black)], &check[..]].concat());
    let report = text_of(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{report}{}", text_of(&output.stderr));
    for word in ["ONNX Runtime: missing: street.mp4 at ", ": car 0.", "bad.onnx is not written"] {
        assert!(report.contains(word), "{word:?} is not in {report}");
    }
    let left: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["black.mp4"], "nothing is written");
}

#[test]
fn footage_without_objects_proves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (model, twin) = (cached("models/street.onnx"), folder.path().join("unproven.onnx"));
    let (black, street) = (black_clip(&folder), cached("clips/street.mp4"));
    let footage = ["--footage", shown(&street), "--check", shown(&black), "--out", shown(&twin)];
    let output = quantize(&[&[shown(&model)], &footage[..]].concat());
    let report = text_of(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{report}");
    assert!(report.contains("10 boxes are needed to compare; give longer footage with objects"), "{report}");
    assert!(!twin.exists());
}

#[test]
fn a_model_or_clip_that_cannot_be_used_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (street, clip) = (cached("models/street.onnx"), cached("clips/street.mp4"));
    let (street, clip) = (shown(&street), shown(&clip));
    let [one_conv, old] =
        [tiny("yolov8").path, cached("models/plate-text.onnx")].map(|path| path.display().to_string());
    let [html, text] =
        [("page.onnx", "<html>"), ("clip.mp4", "no clip")].map(|(name, text)| file(name, text.as_bytes()));
    let empty = file("none.yaml", b"cameras: []\n");
    let cases: [(&str, &[&str], i32, &str); 8] = [
        (
            "one convolution",
            &[&one_conv, "--footage", clip],
            78,
            "no convolution that can be quantised: it has 1",
        ),
        (
            "an old operator set",
            &[&old, "--footage", clip],
            78,
            "of operator set 12, and a scale per channel needs 13",
        ),
        ("a page", &[&html, "--footage", clip], 78, "holds no ONNX graph"),
        ("no clip", &[street, "--footage", &text], 69, "cannot use the clip"),
        ("over the model", &[street, "--footage", clip, "--out", street], 64, "that is the model itself"),
        ("no rate", &[street, "--footage", clip, "--fps", "0"], 64, "give a number above 0"),
        ("no footage", &[street], 64, "--footage"),
        ("no configuration", &["street", "--footage", clip, "--config", &empty], 78, "cameras"),
    ];
    for (name, arguments, code, word) in cases {
        let output = quantize(arguments);
        let error = text_of(&output.stderr);
        assert!(error.contains(word), "{name}: {word:?} is not in {error}");
        assert_eq!(output.status.code(), Some(code), "{name}: {error}");
    }
}

/// A twin that names another source: an entry in the metadata of a tiny model, appended as a field of the message.
#[test]
fn a_twin_of_another_model_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let twin = |source: &str| {
        // ModelProto: 14 metadata_props, of StringStringEntryProto: 1 key, 2 value.
        let (key, value) = (b"kvs_infer.quantized_from", source.as_bytes());
        let entry = [&[1 << 3 | 2, 24][..], key, &[2 << 3 | 2, 64], value].concat();
        let tag = [14 << 3 | 2, u8::try_from(entry.len()).unwrap()];
        let content = [&std::fs::read(tiny("yolov8").path).unwrap()[..], &tag, &entry].concat();
        let path = folder.path().join("twin.onnx");
        std::fs::write(&path, content).unwrap();
        Detector::start(&ModelSpec { int8: Some(path), ..tiny("yolov8") }, Device::Cpu, 1)
    };
    let error = twin(&"0".repeat(64)).map(|_| ()).unwrap_err().to_string();
    for word in ["twin.onnx", "made of another file than `path`"] {
        assert!(error.contains(word), "{error}");
    }
    let source = Detector::start(&tiny("yolov8"), Device::Cpu, 1).unwrap().info().id.sha256.clone();
    let of_source = twin(&source).unwrap();
    assert_eq!(of_source.info().engine.twin, Some(TwinKind::Int8));
    let missing = ModelSpec { int8: Some(folder.path().join("none.onnx")), ..tiny("yolov8") };
    let error = Detector::start(&missing, Device::Cpu, 1).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("none.onnx): cannot read the file"), "{error}");
    assert_eq!(of_source.info().device, Device::Cpu);
    assert!(matches!(
        of_source.info().engine.engine,
        InferenceEngine::OnnxRuntime | InferenceEngine::OpenVino
    ));
}
