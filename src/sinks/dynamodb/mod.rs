//! The DynamoDB sink: one item per event.

mod probe;

pub(crate) use probe::history_probe;

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::Value;
use tokio::task::JoinHandle;

use super::each::{EachSink, EventTarget, PutOutcome};
use crate::aws::{AwsFailure, AwsResource};
use crate::base::Probe;
use crate::delivery::{Clients, OutboxRecord, Route, Sink, SinkRun, StartError};

/// Limit on an item, bytes, names of attributes included. Source: DynamoDB quotas, 2026-11.
const MAX_ITEM_BYTES: usize = 400 * 1024;
/// Upper estimate of the bytes that an item has beyond the event's JSON: types, and keys that are in it twice.
const OVERHEAD_BYTES: usize = 4 * 1024;
/// Attribute with the time after which DynamoDB may remove an item, s since the epoch.
const TTL_ATTRIBUTE: &str = "ttl";
const SECONDS_PER_DAY: i64 = 24 * 60 * 60;

/// The table of event records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DdbSpec {
    /// The table's name.
    pub table: String,
    /// Days from the event until DynamoDB may remove its item; `None`: never.
    pub ttl_days: Option<u32>,
}

/// The table of event records as a sink.
#[derive(Clone, Debug)]
pub(crate) struct DynamoDbSink(pub(crate) DdbSpec);

impl DynamoDbSink {
    /// Returns the sink that has this name in the outbox.
    pub(crate) fn from_name(name: &str, ttl_days: Option<u32>) -> Option<Self> {
        let table = name.strip_prefix("dynamodb/")?.to_owned();
        Some(Self(DdbSpec { table, ttl_days }))
    }
}

impl Sink for DynamoDbSink {
    fn name(&self) -> String {
        format!("dynamodb/{}", self.0.table)
    }

    fn is_required(&self) -> bool {
        false
    }

    fn destination(&self, _route: &Route) -> String {
        format!("dynamodb {}", self.0.table)
    }

    fn spawn(&self, run: SinkRun) -> Result<JoinHandle<()>, StartError> {
        let client = Client::new(run.clients()?.sdk());
        let target = DynamoDbTarget { client, spec: self.0.clone(), resource: resource(&self.0.table) };
        Ok(tokio::spawn(EachSink::new(target, run).run()))
    }

    fn probes(&self, clients: Option<&Clients>) -> Vec<Probe> {
        clients.map_or_else(Vec::new, |clients| probe::probes(&Client::new(clients.sdk()), &self.0))
    }
}

/// Returns the table with its remedies.
fn resource(table: &str) -> AwsResource {
    AwsResource {
        kind: "table",
        name: table.to_owned(),
        key: "publishers.ddb_table",
        action: "dynamodb:PutItem",
        endpoint_variable: "AWS_ENDPOINT_URL_DYNAMODB",
        own_remedy: |code| match code {
            "ValidationException" => Some("its key must be event_id (S) with the sort key ts_ms (N)"),
            "ProvisionedThroughputExceededException" | "ThrottlingException" | "RequestLimitExceeded" => {
                Some(
                    "raise its write capacity, make the table on-demand, or raise its quota in Service Quotas",
                )
            }
            _ => None,
        },
    }
}

/// Puts each event as an item unless its `event_id` is there: key `event_id`, sort key `ts_ms`.
///
/// Delivery: each event once, however often it is put.
struct DynamoDbTarget {
    client: Client,
    spec: DdbSpec,
    resource: AwsResource,
}

impl EventTarget for DynamoDbTarget {
    const MAX_UNDER_WAY: usize = 64;

    async fn put(&self, record: &OutboxRecord, _is_retry: bool) -> PutOutcome {
        let item = match item(record, self.spec.ttl_days) {
            Ok(item) => item,
            Err(reason) => return PutOutcome::Invalid(reason),
        };
        let call = self.client.put_item().table_name(&self.spec.table).set_item(Some(item));
        // DynamoDB tests the condition on the item with the same `event_id` and `ts_ms`, and on no other.
        let put = call.condition_expression("attribute_not_exists(event_id)").send().await;
        match put.map_err(|error| AwsFailure::of(&error)) {
            Ok(_) => PutOutcome::Stored,
            // An earlier attempt stored it, and its answer was lost.
            Err(failure) if failure.code == "ConditionalCheckFailedException" => PutOutcome::Stored,
            Err(failure) => PutOutcome::failed(&self.resource, failure),
        }
    }
}

/// Returns the item of a record: the event's fields, with those of its payload beside them.
fn item(record: &OutboxRecord, ttl_days: Option<u32>) -> Result<HashMap<String, AttributeValue>, String> {
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
