//! The DynamoDB sink: one item per event.

mod item;
mod probe;

pub(crate) use item::{DdbItem, event_json};
pub(crate) use probe::history_probe;

use aws_sdk_dynamodb::Client;
use tokio::task::JoinHandle;

use super::each::{EachSink, EventTarget, PutOutcome};
use crate::aws::{AwsFailure, AwsResource};
use crate::base::Probe;
use crate::delivery::{Clients, OutboxRecord, Route, Sink, SinkRun, StartError};

/// The index on the camera and the time of records.
pub(crate) const CAMERA_TIME_INDEX: &str = "camera_id-ts_ms-index";

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
        let item = match item::item(record, self.spec.ttl_days) {
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
