//! The engine of a model on the CPU: shown in its row, with the reason where it is not the wanted one.

use std::path::Path;
use std::process::Command;

use kvs_infer::detect::{Detector, Device, EngineChoice, InferenceEngine, ModelSpec};

use super::support::{Paint, USUAL, frame, tiny};
use test_support::setup::cached;

/// The row of a tiny model with this `engine`, and what is below it.
fn row(folder: &Path, engine: &str, plugin: Option<&Path>) -> String {
    let config = folder.join("cameras.yaml");
    let model = tiny("yolov8").path;
    let text = format!(
        "publishers: {{ local_dir: events }}\nmodels: {{ tiny: {{ path: {}, engine: {engine}, threads: 1 }} }}\ncameras:\n  - id: a\n    \
         kvs_stream_name: a\n    pipeline: [{{ type: objects, objects: {{ yolo_weights: tiny }} }}]\n",
        model.display()
    );
    std::fs::write(&config, text + "device: cpu\n").unwrap();
    let mut program = Command::new(env!("CARGO_BIN_EXE_kvs-infer"));
    program.args(["models", "--config"]).arg(&config);
    if let Some(plugin) = plugin {
        program.env("OPENVINO_PLUGIN_PATH", plugin);
    }
    let output = program.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text.lines().skip(1).collect::<Vec<_>>().join("\n")
}

#[test]
fn without_a_usable_plugin_the_model_runs_on_onnx_runtime_and_its_row_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("plugin.so");
    std::fs::write(&text, "no library").unwrap();
    for (name, plugin, reason) in [
        ("missing", Path::new("/nowhere/plugin.so"), "its plugin /nowhere/plugin.so does not exist"),
        ("off", Path::new("off"), "OPENVINO_PLUGIN_PATH is off"),
        ("no library", &text, "plugin.so does not load: "),
    ] {
        let row = row(folder.path(), "openvino", Some(plugin));
        assert!(row.contains(" cpu      ONNX Runtime "), "{name}: {row}");
        assert!(row.contains("OpenVINO is not used: ") && row.contains(reason), "{name}: {row}");
    }
}

#[test]
fn a_float_model_keeps_to_onnx_runtime_unless_the_configuration_says_otherwise() {
    let folder = tempfile::tempdir().unwrap();
    for engine in ["auto", "onnxruntime"] {
        let row = row(folder.path(), engine, None);
        assert!(row.contains(" ONNX Runtime ") && !row.contains("OpenVINO"), "{engine}: {row}");
    }
}

/// The plugin of `scripts/setup` supports the processors of one vendor: here both outcomes are right, and the row says which it is.
#[tokio::test]
async fn the_installed_plugin_is_used_or_its_reason_is_shown() {
    assert!(
        cfg!(not(target_arch = "x86_64")) || cached("onnxruntime/openvino").exists(),
        "scripts/setup installs the plugin"
    );
    for name in ["yolov8", "yolov8_fp16", "yolov8_dynamic", "yolov8_dynamic_size", "detr", "nms"] {
        let with = |engine| ModelSpec { engine, ..tiny(name) };
        let wanted = Detector::start(&with(EngineChoice::Openvino), Device::Cpu, 1).unwrap();
        let info = wanted.info().engine.clone();
        match (info.engine, &info.note) {
            (InferenceEngine::OpenVino, None) => {}
            (InferenceEngine::OnnxRuntime, Some(note)) => {
                assert!(note.starts_with("OpenVINO is not used: its plugin "), "{note}");
            }
            _ => panic!("{info:?}"),
        }
        let float = Detector::start(&with(EngineChoice::Onnxruntime), Device::Cpu, 1).unwrap();
        let painted = || frame("a", (256, 144), &[(Paint::Red, [16, 16, 80, 56])]);
        let [seen, again] =
            [wanted.detect(painted(), USUAL).await.unwrap(), wanted.detect(painted(), USUAL).await.unwrap()];
        assert_eq!(seen, again, "{name}: the same frame gives the same boxes");
        let labels = |all: &[kvs_infer::media::Detection]| -> Vec<String> {
            all.iter().map(|one| format!("{} {:.2}", one.label, one.conf)).collect()
        };
        assert_eq!(labels(&seen), labels(&float.detect(painted(), USUAL).await.unwrap()), "{name}");
    }
}
