//! Records from the items of the table.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Number, Value};

use crate::history::summary::StoredEvent;

/// The fields of an event that are not in its payload.
const EVENT_FIELDS: [&str; 7] = ["event_id", "camera_id", "producer", "schema", "seq", "epoch", "fenced"];
/// The attribute that the sink adds.
const TTL_ATTRIBUTE: &str = "ttl";

/// An item of the table.
pub(super) type TableItem = HashMap<String, AttributeValue>;

/// A record of the table.
#[derive(Clone, Debug)]
pub(super) struct TableRecord {
    pub(super) event: StoredEvent,
    json: Value,
}

impl TableRecord {
    /// Returns the record of an item; `None`: it has not the fields of one.
    pub(super) fn of(item: &TableItem) -> Option<Self> {
        let json = event_json(item)?;
        let event = StoredEvent::deserialize(&json).ok()?;
        Some(Self { event, json })
    }

    /// Returns the record as it was delivered.
    pub(super) fn raw(&self) -> Result<Box<RawValue>, serde_json::Error> {
        serde_json::value::to_raw_value(&self.json)
    }
}

/// Returns the event of an item: the sink puts the fields of the payload beside those of the event.
fn event_json(item: &TableItem) -> Option<Value> {
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
    use serde_json::json;

    use super::*;

    fn text(text: &str) -> AttributeValue {
        AttributeValue::S(text.into())
    }

    fn number(text: &str) -> AttributeValue {
        AttributeValue::N(text.into())
    }

    fn item() -> TableItem {
        let extras = [
            ("incident_id", text("a")),
            ("phase", text("start")),
            ("zones", AttributeValue::L(vec![text("door")])),
            ("producer_ts_ms", AttributeValue::Null(true)),
        ];
        let extras = extras.map(|(name, value)| (name.to_owned(), value)).into();
        let fields = [
            ("event_id", text("a")),
            ("camera_id", text("gate")),
            ("seq", number("7")),
            ("type", text("objects")),
            ("label", text("person")),
            ("conf", number("0.87")),
            ("ts_ms", number("1700000000123")),
            ("bbox", AttributeValue::L(vec![number("1.5"), number("-2")])),
            ("extras", AttributeValue::M(extras)),
            ("ttl", number("1")),
        ];
        fields.map(|(name, value)| (name.to_owned(), value)).into()
    }

    #[test]
    fn an_item_is_the_record_that_was_delivered() {
        let record = TableRecord::of(&item()).unwrap();
        let extras =
            json!({ "incident_id": "a", "phase": "start", "zones": ["door"], "producer_ts_ms": null });
        let payload = json!({
            "camera_id": "gate", "type": "objects", "label": "person", "conf": 0.87, "ts_ms": 1_700_000_000_123_i64,
            "bbox": [1.5, -2], "extras": extras,
        });
        let event = json!({ "event_id": "a", "camera_id": "gate", "seq": 7, "payload": payload });
        assert_eq!(serde_json::from_str::<Value>(record.raw().unwrap().get()).unwrap(), event);
        assert_eq!((record.event.seq, record.event.incident_id()), (7, "a"));
    }

    #[test]
    fn items_of_others_are_no_records() {
        let without = |name: &str| {
            let mut item = item();
            item.remove(name);
            TableRecord::of(&item).is_some()
        };
        assert!(without("ttl") && without("bbox"));
        for name in ["event_id", "camera_id", "extras", "ts_ms", "label"] {
            assert!(!without(name), "{name}");
        }
        let mut odd = item();
        odd.insert("label".to_owned(), AttributeValue::Ss(vec!["a".into()]));
        assert!(TableRecord::of(&odd).is_none());
    }
}
