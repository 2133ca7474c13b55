//! Records from the items of the table.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::history::summary::StoredEvent;
use crate::sinks::{DdbItem, event_json};

/// A record of the table.
#[derive(Clone, Debug)]
pub(super) struct TableRecord {
    pub(super) event: StoredEvent,
    json: Value,
}

impl TableRecord {
    /// Returns the record of an item; `None`: it has not the fields of one.
    pub(super) fn of(item: &DdbItem) -> Option<Self> {
        let json = event_json(item)?;
        let event = StoredEvent::deserialize(&json).ok()?;
        Some(Self { event, json })
    }

    /// Returns the record as it was delivered.
    pub(super) fn raw(&self) -> Result<Box<RawValue>, serde_json::Error> {
        serde_json::value::to_raw_value(&self.json)
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::types::AttributeValue;
    use serde_json::json;

    use super::*;

    fn text(text: &str) -> AttributeValue {
        AttributeValue::S(text.into())
    }

    fn number(text: &str) -> AttributeValue {
        AttributeValue::N(text.into())
    }

    fn item() -> DdbItem {
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
