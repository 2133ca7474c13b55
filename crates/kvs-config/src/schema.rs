//! The JSON Schema of the configuration, made from the types.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::written::Config;

/// What an editor and a file may write for a value that the environment has.
const REFERENCE: &str = r"\$\{[A-Za-z_][A-Za-z0-9_]*\}";

/// The JSON Schema (2020-12) of `cameras.yaml`, for editors: values may also be `${NAME}`.
#[must_use]
pub fn config_schema() -> Value {
    let mut schema = rules::<Config>();
    admit_references(&mut schema);
    schema
}

/// The schema that a file is held against after `${NAME}` was expanded.
pub(super) fn rules<T: JsonSchema>() -> Value {
    SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<T>().to_value()
}

fn admit_references(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            map.iter_mut()
                .filter(|(key, _)| *key != "default" && *key != "examples")
                .for_each(|(_, v)| admit_references(v));
            admit_reference(map);
        }
        Value::Array(items) => items.iter_mut().for_each(admit_references),
        _ => {}
    }
}

fn admit_reference(map: &mut Map<String, Value>) {
    if let Some(Value::String(pattern)) = map.get_mut("pattern") {
        *pattern = format!("(?:{pattern})|{REFERENCE}");
    } else if let Some(kind) = map.get_mut("type").filter(|kind| is_scalar(kind)) {
        let mut kinds = kind.as_array().cloned().unwrap_or_else(|| vec![kind.clone()]);
        kinds.push("string".into());
        *kind = kinds.into();
        map.insert("pattern".to_owned(), format!("^{REFERENCE}$").into());
    } else if let Some(Value::Array(choices)) = map.get_mut("oneOf") {
        choices.push(json!({ "type": "string", "pattern": format!("^{REFERENCE}$") }));
    }
}

/// Whether a `type` is a number or a boolean, or one of them and null.
fn is_scalar(kind: &Value) -> bool {
    let one = |kind: &Value| matches!(kind.as_str(), Some("number" | "integer" | "boolean"));
    one(kind) || kind.as_array().is_some_and(|kinds| kinds.iter().any(one))
}
