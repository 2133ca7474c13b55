//! The JSON Schema of the configuration, generated from the types.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::raw::RawConfig;

/// The pattern of a reference to an environment variable.
const REFERENCE: &str = r"\$\{[A-Za-z_][A-Za-z0-9_]*\}";

/// Returns the JSON Schema (2020-12) of `cameras.yaml` for editors, in which any value may also be `${NAME}`.
#[must_use]
pub fn config_schema() -> Value {
    let mut schema = rules::<RawConfig>();
    admit_references(&mut schema);
    schema
}

/// Returns the schema against which a file is checked after `${NAME}` is expanded.
pub(super) fn rules<T: JsonSchema>() -> Value {
    SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<T>().to_value()
}

/// Admits references in a schema and every schema in it.
fn admit_references(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            map.iter_mut()
                // These hold values, in which a key may be named like a schema keyword.
                .filter(|(key, _)| *key != "default" && *key != "examples")
                .for_each(|(_, v)| admit_references(v));
            admit_reference(map);
        }
        Value::Array(items) => items.iter_mut().for_each(admit_references),
        _ => {}
    }
}

/// Admits a reference in one schema: in its pattern, beside its type, or as one more choice.
fn admit_reference(map: &mut Map<String, Value>) {
    // A pattern is a type `string` already; a scalar of another type gets `string` as a second type; `oneOf` is an enum.
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

/// Returns `true` if a `type` is a number or a boolean, also one that may be null.
fn is_scalar(kind: &Value) -> bool {
    let one = |kind: &Value| matches!(kind.as_str(), Some("number" | "integer" | "boolean"));
    one(kind) || kind.as_array().is_some_and(|kinds| kinds.iter().any(one))
}
