//! The item of a record, and the record of an item.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::{Map, Number, Value};

use crate::delivery::OutboxRecord;

/// Limit on an item, bytes, names of attributes included. Source: DynamoDB quotas, 2026-11.
const MAX_ITEM_BYTES: usize = 400 * 1024;
/// Upper estimate of the bytes that an item has beyond the event's JSON: types, and keys that are in it twice.
const OVERHEAD_BYTES: usize = 4 * 1024;
/// Attribute with the time after which DynamoDB may remove an item, s since the epoch.
pub(super) const TTL_ATTRIBUTE: &str = "ttl";
const SECONDS_PER_DAY: i64 = 24 * 60 * 60;
/// The fields of an event that are not in its payload.
const EVENT_FIELDS: [&str; 7] = ["event_id", "camera_id", "producer", "schema", "seq", "epoch", "fenced"];

/// An item of the table of records.
pub(crate) type DdbItem = HashMap<String, AttributeValue>;

/// Returns the item of a record: the event's fields, with those of its payload beside them.
pub(super) fn item(record: &OutboxRecord, ttl_days: Option<u32>) -> Result<DdbItem, String> {
    let bytes = record.json.len() + OVERHEAD_BYTES;
    // Not left to DynamoDB: its ValidationException does not say whether the item or the key of the table is at fault.
    if bytes > MAX_ITEM_BYTES {
        return Err(format!("about {bytes} bytes as an item, of at most {MAX_ITEM_BYTES}"));
    }
    let event: Value = serde_json::from_slice(&record.json).map_err(|error| error.to_string())?;
    let Value::Object(mut fields) = event else { return Err("the record is not a JSON object".to_owned()) };
    // Attributes at the top level can be keys of indexes and columns of queries.
    let payload = fields.remove("payload");
    let payload = payload.as_ref().and_then(Value::as_object).into_iter().flatten();
    let mut item: HashMap<_, _> =
        fields.iter().chain(payload).map(|(name, value)| (name.clone(), attribute(value))).collect();
    if let Some(days) = ttl_days {
        // DynamoDB expects seconds, and removes an item within a few days after that time.
        let expires = record.header.ts_ms / 1000 + i64::from(days) * SECONDS_PER_DAY;
        item.insert(TTL_ATTRIBUTE.to_owned(), AttributeValue::N(expires.to_string()));
    }
    Ok(item)
}

fn attribute(value: &Value) -> AttributeValue {
    match value {
        Value::Null => AttributeValue::Null(true),
        Value::Bool(is) => AttributeValue::Bool(*is),
        // Numbers travel as text, with up to 38 digits.
        Value::Number(number) => AttributeValue::N(number.to_string()),
        Value::String(text) => AttributeValue::S(text.clone()),
        Value::Array(values) => AttributeValue::L(values.iter().map(attribute).collect()),
        Value::Object(map) => {
            AttributeValue::M(map.iter().map(|(name, value)| (name.clone(), attribute(value))).collect())
        }
    }
}

/// Returns the event of an item: the sink puts the fields of the payload beside those of the event.
pub(crate) fn event_json(item: &DdbItem) -> Option<Value> {
    let (mut event, mut payload) = (Map::new(), Map::new());
    for (name, value) in item.iter().filter(|(name, _)| *name != TTL_ATTRIBUTE) {
        let fields = if EVENT_FIELDS.contains(&name.as_str()) { &mut event } else { &mut payload };
        fields.insert(name.clone(), json_of(value)?);
    }
    // Both have it.
    payload.insert("camera_id".to_owned(), event.get("camera_id")?.clone());
    event.insert("payload".to_owned(), Value::Object(payload));
    Some(Value::Object(event))
}

fn json_of(value: &AttributeValue) -> Option<Value> {
    match value {
        AttributeValue::Null(_) => Some(Value::Null),
        AttributeValue::Bool(is) => Some(Value::Bool(*is)),
        AttributeValue::N(number) => number.parse::<Number>().ok().map(Value::Number),
        AttributeValue::S(text) => Some(Value::String(text.clone())),
        AttributeValue::L(values) => values.iter().map(json_of).collect::<Option<_>>().map(Value::Array),
        AttributeValue::M(map) => {
            let fields = map.iter().map(|(name, value)| Some((name.clone(), json_of(value)?)));
            fields.collect::<Option<_>>().map(Value::Object)
        }
        // The sink writes no sets and no bytes.
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::ActivityCounts;
    use crate::status::testing::event;

    fn record(zones: Vec<String>) -> OutboxRecord {
        let mut event = event("e1");
        event.payload.extras.zones = zones;
        OutboxRecord::of(&event)
    }

    #[test]
    fn an_item_is_read_as_the_record_that_was_put() {
        let record = record(vec!["door".into()]);
        let item = item(&record, Some(30)).unwrap();
        assert_eq!(event_json(&item), Some(serde_json::from_slice(&record.json).unwrap()));
        assert_eq!(event_json(&DdbItem::new()), None);
    }

    #[test]
    fn an_item_has_the_keys_of_the_table_and_of_its_index() {
        let record = record(Vec::new());
        let item = item(&record, Some(30)).unwrap();
        let number = |n: i64| AttributeValue::N(n.to_string());
        assert_eq!(item["event_id"], AttributeValue::S("e1".into()));
        assert_eq!(item["ts_ms"], number(record.header.ts_ms));
        assert_eq!(item["camera_id"], AttributeValue::S(record.camera.to_string()));
        assert_eq!(item["ttl"], number(record.header.ts_ms / 1000 + 30 * 86_400));
        assert!(item["extras"].as_m().unwrap().contains_key("fragment_number"));
        assert!(!super::item(&record, None).unwrap().contains_key("ttl"));
    }

    #[test]
    fn an_activity_is_an_item_with_its_counts() {
        let mut event = event("e1");
        let by_label = [("person".to_owned(), 5)].into();
        event.payload.extras.activity = Some(ActivityCounts { incidents: 5, by_label, peak: 3 });
        let item = item(&OutboxRecord::of(&event), None).unwrap();
        let counts = item["extras"].as_m().unwrap()["activity"].as_m().unwrap();
        assert_eq!(counts["by_label"].as_m().unwrap()["person"], AttributeValue::N("5".into()));
    }

    #[test]
    fn a_record_that_no_table_takes_is_refused_before_it_is_sent() {
        let reason = item(&record(vec!["z".repeat(MAX_ITEM_BYTES)]), None).unwrap_err();
        assert!(reason.ends_with("of at most 409600"), "{reason}");
    }
}
