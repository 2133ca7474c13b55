//! The files under `config/` load, are complete, and agree with the program.

use std::path::{Path, PathBuf};

use kvs_infer::config::{
    ConfigContent, ConfigErrors, Overrides, Settings, config_schema, event_schema, parse_content,
};
use serde_json::Value;

fn at_root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &str) -> String {
    std::fs::read_to_string(at_root(path)).unwrap_or_else(|why| panic!("{path}: {why}"))
}

fn load(path: &str, text: &str) -> Result<Settings, ConfigErrors> {
    let environment = |name: &str| name.starts_with("KVS_INFER_").then(|| format!("/tmp/{name}"));
    let content = ConfigContent { text: text.to_owned(), modified_ms: Ok(1) };
    parse_content(path, content, &environment, &Overrides::default())
}

#[test]
fn the_example_loads() {
    let settings = load("config/cameras.example.yaml", &read("config/cameras.example.yaml")).unwrap();
    let ids: Vec<&str> = settings.cameras.iter().map(|camera| camera.id.as_str()).collect();
    assert_eq!(ids, ["front-entrance", "car-park"]);
}

#[test]
fn the_demo_loads() {
    let settings = load("config/demo.yaml", &read("config/demo.yaml")).unwrap();
    let cameras: Vec<_> = settings
        .cameras
        .iter()
        .map(|camera| (camera.id.as_str(), camera.fps_target, camera.pipeline[0].model.path.clone()))
        .collect();
    let model = |name: &str| PathBuf::from(format!("/tmp/KVS_INFER_CACHE/models/{name}.onnx"));
    assert_eq!(cameras, [("street", Some(5.0), model("street")), ("gate", Some(5.0), model("plate"))]);
    assert_eq!(settings.publish.local_dir, Some("/tmp/KVS_INFER_DEMO_DIR".into()));
}

#[test]
fn the_example_has_every_key_of_the_schema() {
    let example: Value = serde_saphyr::from_str(&read("config/cameras.example.yaml")).unwrap();
    let schema = config_schema();
    let mut missing = Vec::new();
    for (name, section) in sections(&schema) {
        for key in section["properties"].as_object().into_iter().flatten().map(|(key, _)| key) {
            if !holds_key(&example, key, section) {
                missing.push(format!("{name}.{key}"));
            }
        }
    }
    assert!(missing.is_empty(), "not in config/cameras.example.yaml: {missing:?}");
}

/// Returns the root and every section of the schema.
fn sections(schema: &Value) -> Vec<(&str, &Value)> {
    let named =
        schema["$defs"].as_object().into_iter().flatten().map(|(name, section)| (name.as_str(), section));
    let all: Vec<_> = std::iter::once(("config", schema)).chain(named).collect();
    assert!(all.len() > 15, "the schema has few sections: {}", all.len());
    all
}

/// Returns `true` if `value` contains a map that has `key`, and only keys of `section`.
fn holds_key(value: &Value, key: &str, section: &Value) -> bool {
    match value {
        Value::Object(map) => {
            let is_section = map.keys().all(|k| section["properties"].get(k).is_some());
            is_section && map.contains_key(key) || map.values().any(|v| holds_key(v, key, section))
        }
        Value::Array(items) => items.iter().any(|item| holds_key(item, key, section)),
        _ => false,
    }
}

/// Compares a generated file with the program's output; `BLESS=1` writes it.
fn assert_generated(path: &str, schema: &Value) {
    let text = format!("{schema:#}\n");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(at_root(path), &text).unwrap();
    }
    assert_eq!(read(path), text, "{path} is outdated: run the tests once with BLESS=1");
}

#[test]
fn the_schema_of_the_config_is_up_to_date() {
    assert_generated("config/cameras.schema.json", &config_schema());
}

#[test]
fn the_schema_of_an_event_is_up_to_date() {
    assert_generated("config/event.schema.json", &event_schema());
}
