//! The JSON Schema of an event, generated from the type.

use schemars::generate::SchemaSettings;
use serde_json::Value;

use crate::media::Event;

/// Returns the JSON Schema (2020-12) of an event record.
#[must_use]
pub fn event_schema() -> Value {
    SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Event>().to_value()
}
