//! The twins and the engine of a model.

use std::path::Path;

use kvs_infer::config::{Overrides, parse};
use kvs_infer::detect::EngineChoice;

use super::settings::{MINIMAL, settings_of};

/// `MINIMAL` with a named model that has these keys.
fn with_model(keys: &str) -> String {
    let models = format!("models: {{ m: {{ path: m.onnx, {keys} }} }}\ncameras:");
    MINIMAL.replace("cameras:", &models).replace("models/m.onnx", "m")
}

#[test]
fn the_twins_and_the_engine_are_those_of_the_file() {
    let digest = "AB".repeat(32);
    let settings =
        settings_of(&with_model(&format!("int8: m.int8.onnx, int8_sha256: {digest}, engine: openvino")));
    let model = &settings.cameras[0].pipeline[0].model;
    assert_eq!(
        (model.int8.as_deref(), model.engine),
        (Some(Path::new("m.int8.onnx")), EngineChoice::Openvino)
    );
    assert_eq!(model.int8_sha256, Some(digest.to_lowercase()));
    let half = settings_of(&with_model(&format!("half: m.half.onnx, half_sha256: {digest}")));
    let model = &half.cameras[0].pipeline[0].model;
    assert_eq!((model.half.as_deref(), &model.int8), (Some(Path::new("m.half.onnx")), &None));
    assert_eq!(model.half_sha256, Some(digest.to_lowercase()));
    let remote = settings_of(&with_model("int8: 's3://bucket/m.int8.onnx', half: 's3://bucket/m.half.onnx'"));
    assert_eq!(remote.cameras[0].pipeline[0].model.addresses().count(), 2);
    let plain = settings_of(&with_model("threads: 1"));
    let model = &plain.cameras[0].pipeline[0].model;
    assert_eq!((&model.int8, &model.int8_sha256, model.engine), (&None, &None, EngineChoice::Auto));
    assert_eq!((&model.half, &model.half_sha256), (&None, &None));
}

#[test]
fn mistakes_of_the_twins_are_reported_with_their_place() {
    for (keys, words) in [
        ("int8: m.pt", ["models.m.int8", "PyTorch weights"]),
        ("int8: ''", ["models.m.int8", "kvs-infer models quantize"]),
        (&*format!("int8_sha256: {}", "ab".repeat(32)), ["models.m.int8_sha256", "there is no `int8`"]),
        ("half: m.pt", ["models.m.half", "PyTorch weights"]),
        ("half: ''", ["models.m.half", "kvs-infer models half"]),
        (&*format!("half_sha256: {}", "ab".repeat(32)), ["models.m.half_sha256", "there is no `half`"]),
        ("engine: tensorrt", ["models.m.engine", "openvino"]),
    ] {
        let error =
            parse("c.yaml", &with_model(keys), &|_| None, &Overrides::default()).unwrap_err().to_string();
        for word in words {
            assert!(error.contains(word), "{keys}: {word:?} is not in {error}");
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("m.onnx");
    std::fs::write(&model, "").unwrap();
    for key in ["int8", "half"] {
        let text = with_model(&format!("{key}: /nowhere/twin.onnx"))
            .replace("path: m.onnx", &format!("path: {}", model.display()));
        let error = settings_of(&text).check_model_files().unwrap_err().to_string();
        assert!(
            error.contains(&format!("models.m.{key}")) && error.contains("/nowhere/twin.onnx"),
            "{error}"
        );
    }
}
