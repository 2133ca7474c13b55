//! The calls on the table of records: Query on its key and on its index, never Scan.

use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::Builder;
use aws_sdk_dynamodb::types::AttributeValue;

use super::item::TableRecord;
use crate::aws::{AwsFailure, AwsResource};
use crate::delivery::Clients;
use crate::history::HistoryError;
use crate::sinks::{CAMERA_TIME_INDEX, DdbItem};

/// Limit on the time of an attempt.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(3);
/// Attempts of a call: throttles and lost connections are retried by the SDK.
const MAX_ATTEMPTS: u32 = 3;

/// The table of records.
#[derive(Clone, Debug)]
pub(super) struct RecordsQueries {
    client: Client,
    table: String,
}

/// A span of media time, both ends included, ms since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TimeSpan {
    pub(super) from_ms: i64,
    pub(super) to_ms: i64,
}

/// The direction and the size of a page of a camera's records.
#[derive(Clone, Copy, Debug)]
pub(super) struct PageOrder {
    pub(super) newest_first: bool,
    pub(super) max_items: i32,
}

/// A page of records.
#[derive(Debug)]
pub(super) struct RecordPage {
    pub(super) records: Vec<TableRecord>,
    /// The key after which the next page begins; `None`: there is none.
    pub(super) next: Option<DdbItem>,
}

impl RecordsQueries {
    pub(super) fn new(clients: &Clients, table: &str) -> Self {
        let timeouts = TimeoutConfig::builder().operation_attempt_timeout(ATTEMPT_TIMEOUT).build();
        let config = Builder::from(clients.sdk())
            .retry_config(RetryConfig::standard().with_max_attempts(MAX_ATTEMPTS))
            .timeout_config(timeouts)
            .build();
        Self { client: Client::from_conf(config), table: table.to_owned() }
    }

    /// Returns a page of a camera's records in a span, sorted by time.
    pub(super) async fn by_camera(
        &self,
        camera: &str,
        span: TimeSpan,
        order: PageOrder,
        after: Option<DdbItem>,
    ) -> Result<RecordPage, HistoryError> {
        let number = |ms: i64| AttributeValue::N(ms.to_string());
        let call = self
            .client
            .query()
            .table_name(&self.table)
            .index_name(CAMERA_TIME_INDEX)
            .key_condition_expression("camera_id = :camera AND ts_ms BETWEEN :from AND :to")
            .expression_attribute_values(":camera", AttributeValue::S(camera.to_owned()))
            .expression_attribute_values(":from", number(span.from_ms))
            .expression_attribute_values(":to", number(span.to_ms))
            .scan_index_forward(!order.newest_first)
            .limit(order.max_items)
            .set_exclusive_start_key(after);
        let answer = call.send().await.map_err(|error| self.failed(&AwsFailure::of(&error)))?;
        let items = answer.items.unwrap_or_default();
        // An index with another projection has the keys alone, and every incident would seem to be missing.
        if items.first().is_some_and(|item| !item.contains_key("extras")) {
            let failure =
                AwsFailure::new("bad_index", &format!("{CAMERA_TIME_INDEX} does not have all attributes"));
            return Err(self.failed(&failure));
        }
        let records = items.iter().filter_map(TableRecord::of).collect();
        Ok(RecordPage { records, next: answer.last_evaluated_key.filter(|key| !key.is_empty()) })
    }

    /// Returns the record with this id.
    pub(super) async fn by_event(&self, event_id: &str) -> Result<Option<TableRecord>, HistoryError> {
        let call = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("event_id = :event")
            .expression_attribute_values(":event", AttributeValue::S(event_id.to_owned()))
            .limit(1);
        let answer = call.send().await.map_err(|error| self.failed(&AwsFailure::of(&error)))?;
        Ok(answer.items().first().and_then(TableRecord::of))
    }

    /// Returns the error of a call, with its remedy.
    pub(super) fn failed(&self, failure: &AwsFailure) -> HistoryError {
        HistoryError::Aws(resource(&self.table).explain(failure))
    }
}

/// Returns the table with its remedies.
fn resource(table: &str) -> AwsResource {
    AwsResource {
        kind: "table",
        name: table.to_owned(),
        key: "publishers.ddb_table",
        action: "dynamodb:Query on the table and on its index camera_id-ts_ms-index",
        endpoint_variable: "AWS_ENDPOINT_URL_DYNAMODB",
        own_remedy: |code| match code {
            "ValidationException" | "bad_index" => Some(
                "add the index camera_id-ts_ms-index to the table: key camera_id (S), sort key ts_ms (N), projection ALL",
            ),
            // DynamoDB reports a missing index as a ValidationException, and moto as this.
            "ResourceNotFoundException" => Some(
                "create the table with the index camera_id-ts_ms-index (key camera_id (S), sort key ts_ms (N), projection ALL), or \
                 correct publishers.ddb_table",
            ),
            "AccessDeniedException" | "http_403" => {
                Some("allow dynamodb:Query on the table and on its index camera_id-ts_ms-index")
            }
            "ProvisionedThroughputExceededException" | "ThrottlingException" | "RequestLimitExceeded" => {
                Some(
                    "try again, raise the read capacity of the table and its index, or make the table on-demand",
                )
            }
            _ => None,
        },
    }
}
