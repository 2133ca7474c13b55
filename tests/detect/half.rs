//! `models half`: the float16 twin of a real model passes the gate, and one that loses precision does not.

use std::path::Path;
use std::process::{Command, Output};

use kvs_infer::detect::{Detector, Device, EngineChoice, ModelSpec};
use kvs_infer::media::Matrix;
use sha2::{Digest, Sha256};

use super::graph::{write_operator, write_precise_meter};
use super::support::{USUAL, frame_of, picture, spec, tiny};
use test_support::setup::cached;

const THREE: &[(&str, &str)] = &[("names", "{0: 'gun', 1: 'knife', 2: 'phone'}")];

/// Runs `kvs-infer models half`.
fn half(arguments: &[&str]) -> Output {
    let mut program = Command::new(env!("CARGO_BIN_EXE_kvs-infer"));
    program.args(["models", "half"]).args(arguments).output().unwrap()
}

fn text_of(output: &[u8]) -> String {
    String::from_utf8(output.to_vec()).unwrap()
}

fn shown(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Scales an initializer of float32 in an ONNX file.
fn scale(model: &mut [u8], name: &str, factor: f32) {
    // TensorProto: 8 name, then 9 raw_data, whose length is a varint.
    let head =
        [&[8 << 3 | 2, u8::try_from(name.len()).unwrap()][..], name.as_bytes(), &[9 << 3 | 2]].concat();
    let mut at = model.windows(head.len()).position(|bytes| *bytes == head).unwrap() + head.len();
    let mut length = 0;
    for shift in (0..).step_by(7) {
        length |= usize::from(model[at] & 0x7f) << shift;
        at += 1;
        if model[at - 1] < 0x80 {
            break;
        }
    }
    for four in model[at..at + length].chunks_exact_mut(4) {
        let scaled = f32::from_le_bytes((&*four).try_into().unwrap()) * factor;
        four.copy_from_slice(&scaled.to_le_bytes());
    }
}

#[tokio::test]
async fn the_twin_of_a_model_finds_its_boxes_with_half_the_bytes() {
    let folder = tempfile::tempdir().unwrap();
    for (name, clip, second, size, nodes) in [
        ("street", "clips/street.mp4", "3.2", (640, 272), "84 of 101 nodes"),
        ("plate", "clips/gate.mp4", "3.0", (1280, 720), "102 of 175 nodes"),
    ] {
        let (model, twin) =
            (cached(&format!("models/{name}.onnx")), folder.path().join(name).with_extension("onnx"));
        let output = half(&[shown(&model), "--footage", shown(&cached(clip)), "--out", shown(&twin)]);
        let report = text_of(&output.stdout);
        assert!(output.status.success(), "{report}{}", text_of(&output.stderr));
        for word in [nodes, "rounded to float16: ", "CPU: ", ": 0 missing, 0 new, 0 changed, ", "written: "] {
            assert!(report.contains(word), "{word:?} is not in {report}");
        }
        let [small, large] = [&twin, &model].map(|path| std::fs::metadata(path).unwrap().len());
        assert!(small * 100 < large * 55, "{name}: {small} of {large} bytes");
        let sha256: String =
            Sha256::digest(std::fs::read(&model).unwrap()).iter().map(|byte| format!("{byte:02x}")).collect();
        let content = std::fs::read(&twin).unwrap();
        let made_of = [b"kvs_infer.half_from", &[2 << 3 | 2, 64][..], sha256.as_bytes()].concat();
        assert!(content.windows(made_of.len()).any(|bytes| *bytes == made_of), "{name}: its source");

        // The file is a model like any other.
        let [float, of_twin] =
            [&model, &twin].map(|path| Detector::start(&spec(path.clone()), Device::Cpu, 1).unwrap());
        assert!(of_twin.info().input.half && !float.info().input.half, "{name}");
        assert_eq!(of_twin.info().classes, float.info().classes);
        let frame = || picture("a", frame_of(clip, second, size, Matrix::Bt601));
        let [float_boxes, boxes] =
            [float.detect(frame(), USUAL).await.unwrap(), of_twin.detect(frame(), USUAL).await.unwrap()];
        assert!(!boxes.is_empty() && boxes.len() == float_boxes.len(), "{name}: {boxes:?}, {float_boxes:?}");
        assert_ne!(boxes, float_boxes, "{name}: its numbers are rounded");

        let engine = EngineChoice::Onnxruntime;
        let configured = ModelSpec { half: Some(twin), engine, ..spec(model) };
        let on_cpu = Detector::start(&configured, Device::Cpu, 1).unwrap();
        assert_eq!((&on_cpu.info().id, on_cpu.info().engine.twin), (&float.info().id, None));
        let note = on_cpu.info().engine.note.clone().unwrap();
        assert!(note.contains("half is not used on the CPU"), "{note}");
    }
}

/// Each model finds one box per frame, and computes the same in float32.
#[test]
fn a_twin_that_loses_precision_is_refused_with_the_boxes_that_change() {
    let folder = tempfile::tempdir().unwrap();
    let (twin, clip) = (folder.path().join("twin.onnx"), cached("clips/street.mp4"));
    let arguments = ["--footage", shown(&clip), "--conf", "0.2", "--out", shown(&twin)];
    let equal = "20 boxes of confidence >= 0.22: 0 missing, 0 new, 0 changed, 0 ties";
    let missing = "20 boxes of confidence >= 0.22: 20 missing";
    for (name, offset, exponent, code, [rounded, on_cpu, last]) in [
        ("good", 0.0, 0, 0, [equal, equal, "written: "]),
        // 2^-27 is 0 in float16.
        ("weights", 0.0, 13, 1, [missing, missing, "twin.onnx is not written; keep float32"]),
        // On the CPU, ONNX Runtime does not round between two nodes of float16: only the simulation shows what a GPU computes.
        ("results", 4096.0, 0, 1, [missing, equal, "twin.onnx is not written; keep float32"]),
    ] {
        let model = write_precise_meter(folder.path(), offset, exponent, THREE);
        let output = half(&[&[shown(&model)], &arguments[..]].concat());
        let report = text_of(&output.stdout);
        assert_eq!(output.status.code(), Some(code), "{name}: {report}{}", text_of(&output.stderr));
        for (place, want) in [("rounded to float16: ", rounded), ("CPU: ", on_cpu)] {
            let line = report.lines().find(|line| line.starts_with(place)).unwrap();
            assert!(line.contains(want), "{name}: {want:?} is not in {report}");
        }
        assert!(report.contains(last), "{name}: {report}");
        let listed = "rounded to float16: missing: street.mp4 at 0.0 s: gun ";
        assert_eq!(report.contains(listed), code == 1, "{name}: {report}");
        let mut left: Vec<_> =
            std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.retain(|file| Path::new(file).extension().is_some());
        assert_eq!(left.len(), usize::from(code == 0), "{name}: {left:?}");
        std::fs::remove_file(&twin).unwrap_or_default();
    }
}

#[test]
fn a_model_that_cannot_be_converted_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let clip = cached("clips/street.mp4");
    let footage = ["--footage", shown(&clip)];
    let text = folder.path().join("page.onnx");
    std::fs::write(&text, "<html>").unwrap();
    let street = cached("models/street.onnx");
    let [branch, quantized] =
        ["If", "DequantizeLinear"].map(|operator| write_operator(folder.path(), operator, THREE));
    let scaled = folder.path().join("scaled.onnx");
    let mut content = std::fs::read(&street).unwrap();
    scale(&mut content, "weight_71", 1e6);
    std::fs::write(&scaled, content).unwrap();
    let ambiguous = tiny("ambiguous").path;
    for (name, model, further, code, words) in [
        ("a page", text, &[][..], 78, ["holds no ONNX graph", ""]),
        (
            "float16 already",
            tiny("yolov8_fp16").path,
            &[],
            78,
            ["is float16 already", "use the file as it is"],
        ),
        ("int8", quantized, &[], 78, ["is quantised already", "DequantizeLinear"]),
        ("a large weight", scaled, &[], 78, ["the tensor weight_71 has the value", "float16 ends at 65504"]),
        ("no layout", ambiguous, &[], 78, ["model ambiguous", "say which by `layout`"]),
        ("a branch", branch, &[], 78, ["the operator If", "without control flow"]),
        ("over the model", street.clone(), &["--out", shown(&street)], 64, ["that is the model itself", ""]),
    ] {
        let output = half(&[&[shown(&model)], &footage[..], further].concat());
        let error = text_of(&output.stderr);
        assert!(words.iter().all(|word| error.contains(word)), "{name}: {words:?} are not in {error}");
        assert_eq!(output.status.code(), Some(code), "{name}: {error}");
    }
}
