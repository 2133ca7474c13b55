//! Records of an earlier run in a DynamoDB table, by its index on the camera and the time.

use std::collections::HashMap;

use aws_config::SdkConfig;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::{Map, Number, Value};

use super::{EarlierError, WantedRecords};
use crate::aws::{AwsFailure, AwsResource};
use crate::media::Event;

/// Name of the index. Source: docs/operations.md, the table of records.
const INDEX: &str = "camera_id-ts_ms-index";
/// The fields of a payload, which are attributes of the item itself.
const PAYLOAD_FIELDS: [&str; 7] = ["camera_id", "type", "label", "conf", "bbox", "ts_ms", "extras"];

/// Reads the records of the cameras around the span; never scans the table.
///
/// # Errors
/// The table or its index cannot be read.
pub(super) async fn read(
    aws: &SdkConfig,
    table: &str,
    records: &mut WantedRecords<'_>,
) -> Result<(), EarlierError> {
    let client = Client::new(aws);
    let (from_ms, to_ms) = records.range_ms();
    for camera in records.cameras {
        let query = client
            .query()
            .table_name(table)
            .index_name(INDEX)
            .key_condition_expression("camera_id = :camera AND ts_ms BETWEEN :from AND :to")
            .expression_attribute_values(":camera", AttributeValue::S(camera.clone()))
            .expression_attribute_values(":from", AttributeValue::N(from_ms.to_string()))
            .expression_attribute_values(":to", AttributeValue::N(to_ms.to_string()));
        let mut pages = query.into_paginator().send();
        while let Some(page) = pages.next().await {
            let page = page
                .map_err(|error| EarlierError::Service(resource(table).explain(&AwsFailure::of(&error))))?;
            for item in page.items.unwrap_or_default() {
                // An item of another program has no event in it.
                event_of(item).iter().for_each(|event| records.take(event));
            }
        }
    }
    Ok(())
}

fn resource(table: &str) -> AwsResource {
    AwsResource {
        kind: "table",
        name: table.to_owned(),
        key: "--compare",
        action: "dynamodb:Query",
        endpoint_variable: "AWS_ENDPOINT_URL_DYNAMODB",
        own_remedy: |code| match code {
            "ValidationException" => {
                Some("it needs the index camera_id-ts_ms-index with the keys camera_id (S) and ts_ms (N)")
            }
            _ => None,
        },
    }
}

/// Returns the event of an item, which has the fields of the payload beside the others.
fn event_of(item: HashMap<String, AttributeValue>) -> Option<Event> {
    let (mut fields, mut payload) = (Map::new(), Map::new());
    for (name, value) in item {
        let value = json_of(value);
        if PAYLOAD_FIELDS.contains(&name.as_str()) {
            payload.insert(name.clone(), value.clone());
        }
        fields.insert(name, value);
    }
    fields.insert("payload".to_owned(), Value::Object(payload));
    serde_json::from_value(Value::Object(fields)).ok()
}

fn json_of(value: AttributeValue) -> Value {
    match value {
        AttributeValue::S(text) => Value::String(text),
        AttributeValue::N(number) => number_of(&number),
        AttributeValue::Bool(is) => Value::Bool(is),
        AttributeValue::L(values) => Value::Array(values.into_iter().map(json_of).collect()),
        AttributeValue::M(map) => {
            Value::Object(map.into_iter().map(|(name, value)| (name, json_of(value))).collect())
        }
        // Sets and bytes are in no record of this program.
        _ => Value::Null,
    }
}

fn number_of(text: &str) -> Value {
    let whole = text.parse::<i64>().ok().map(Number::from);
    let number = whole.or_else(|| text.parse::<f64>().ok().and_then(Number::from_f64));
    number.map_or(Value::Null, Value::Number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::Phase;
    use crate::replay::incident_facts::testing::record;

    fn attribute(value: &Value) -> AttributeValue {
        match value {
            Value::Null => AttributeValue::Null(true),
            Value::Bool(is) => AttributeValue::Bool(*is),
            Value::Number(number) => AttributeValue::N(number.to_string()),
            Value::String(text) => AttributeValue::S(text.clone()),
            Value::Array(values) => AttributeValue::L(values.iter().map(attribute).collect()),
            Value::Object(map) => {
                AttributeValue::M(map.iter().map(|(name, value)| (name.clone(), attribute(value))).collect())
            }
        }
    }

    #[test]
    fn an_item_is_read_as_the_event_that_was_put() {
        let event = record("a", Phase::Start, 1_795_000_000_000);
        let Value::Object(mut fields) = serde_json::to_value(&event).unwrap() else { panic!() };
        let Some(Value::Object(payload)) = fields.remove("payload") else { panic!() };
        let mut item: HashMap<String, AttributeValue> =
            fields.iter().chain(&payload).map(|(name, value)| (name.clone(), attribute(value))).collect();
        item.insert("ttl".to_owned(), AttributeValue::N("1".to_owned()));
        assert_eq!(event_of(item).unwrap(), event);
        assert_eq!(event_of(HashMap::new()), None);
    }
}
