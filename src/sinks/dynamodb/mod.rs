//! The DynamoDB sink: one item an event.

pub(crate) mod probe;

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::Value;

use crate::aws::AwsFailure;
use crate::delivery::OutboxRecord;
use crate::sinks::each::{Put, Target};

/// Bytes of an item, names of attributes included. Source: DynamoDB quotas, 2026-11.
const MOST_ITEM_BYTES: usize = 400 * 1024;
/// What the types and the doubled keys of an item may add to its JSON, bytes.
const OVERHEAD_BYTES: usize = 4 * 1024;
const SECONDS_A_DAY: i64 = 24 * 60 * 60;

/// Puts each event as an item, unless its `event_id` is there: key `event_id`, sort key `ts_ms`.
///
/// Delivery: each event once, however often it is put.
pub(crate) struct DynamoDbTarget {
    pub(crate) client: Client,
    pub(crate) table: String,
    /// How long an item lives, by its `ttl`; `None`: for ever.
    pub(crate) ttl_days: Option<u32>,
}

impl Target for DynamoDbTarget {
    const AT_ONCE: usize = 16;

    async fn put(&self, record: &OutboxRecord) -> Put {
        let item = match item(record, self.ttl_days) {
            Ok(item) => item,
            Err(reason) => return Put::Never(reason),
        };
        let call = self.client.put_item().table_name(&self.table).set_item(Some(item));
        let put = call.condition_expression("attribute_not_exists(event_id)").send().await;
        match put.map_err(|error| AwsFailure::of(&error)) {
            Ok(_) => Put::There,
            Err(fault) if fault.code == "ConditionalCheckFailedException" => Put::There,
            Err(fault) => {
                let advice = self.advice(&fault);
                Put::Later(fault, advice)
            }
        }
    }
}

impl DynamoDbTarget {
    fn advice(&self, fault: &AwsFailure) -> String {
        fault.told(&place(&self.table), remedy(&fault.code))
    }
}

/// How a table is named to a person.
pub(crate) fn place(table: &str) -> String {
    format!("table {table}")
}

/// What somebody can do about a fault.
pub(crate) fn remedy(code: &str) -> Option<&'static str> {
    Some(match code {
        "ResourceNotFoundException" => "create the table, or correct publishers.ddb_table",
        "AccessDeniedException" | "http_403" => "allow dynamodb:PutItem on it",
        "ValidationException" => "its key must be event_id (S) with the sort key ts_ms (N)",
        "ProvisionedThroughputExceededException" | "ThrottlingException" | "RequestLimitExceeded" => {
            "raise its write capacity, make the table on-demand, or raise its quota in Service Quotas"
        }
        "unreachable" | "timeout" => "check the network, and AWS_ENDPOINT_URL_DYNAMODB where it is set",
        _ => return None,
    })
}

/// The record's fields, with those of its payload beside them.
fn item(record: &OutboxRecord, ttl_days: Option<u32>) -> Result<HashMap<String, AttributeValue>, String> {
    let bytes = record.json.len() + OVERHEAD_BYTES;
    if bytes > MOST_ITEM_BYTES {
        return Err(format!("about {bytes} bytes as an item, of at most {MOST_ITEM_BYTES}"));
    }
    let event: Value = serde_json::from_slice(&record.json).map_err(|error| error.to_string())?;
    let Value::Object(mut fields) = event else { return Err("the record is no JSON object".to_owned()) };
    let payload = fields.remove("payload");
    let payload = payload.as_ref().and_then(Value::as_object).into_iter().flatten();
    let mut item: HashMap<_, _> =
        fields.iter().chain(payload).map(|(name, value)| (name.clone(), attribute(value))).collect();
    if let Some(days) = ttl_days {
        let ends = record.header.ts_ms / 1000 + i64::from(days) * SECONDS_A_DAY;
        item.insert("ttl".to_owned(), AttributeValue::N(ends.to_string()));
    }
    Ok(item)
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::outbox_record::encode;
    use crate::media::ActivityCounts;
    use crate::status::testing::event;

    fn record(zones: Vec<String>) -> OutboxRecord {
        let mut event = event("e1");
        event.payload.extras.zones = zones;
        let payload = encode(&event, None, 0).unwrap();
        let (id, source) = (::outbox::EntryId(1), event.camera_id);
        OutboxRecord::decode(::outbox::Entry { id, source, payload, attachments: Vec::new() }).unwrap()
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
        let payload = encode(&event, None, 0).unwrap();
        let (id, source) = (::outbox::EntryId(1), event.camera_id);
        let record =
            OutboxRecord::decode(::outbox::Entry { id, source, payload, attachments: Vec::new() }).unwrap();
        let item = item(&record, None).unwrap();
        let counts = item["extras"].as_m().unwrap()["activity"].as_m().unwrap();
        assert_eq!(counts["by_label"].as_m().unwrap()["person"], AttributeValue::N("5".into()));
    }

    #[test]
    fn what_no_table_takes_is_told_before_it_is_sent() {
        let reason = item(&record(vec!["z".repeat(MOST_ITEM_BYTES)]), None).unwrap_err();
        assert!(reason.ends_with("of at most 409600"), "{reason}");
    }
}
