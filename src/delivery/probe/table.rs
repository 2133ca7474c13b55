//! The parts of questions about a DynamoDB table: its description, its key, and a write on a condition.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::describe_table::DescribeTableOutput;
use aws_sdk_dynamodb::types::{TableDescription, TableStatus};

use super::{CHECK_NAME, failed, nothing_described, undescribed};
use crate::aws::{AwsFailure, AwsResource};
use crate::base::Finding;

/// Returns the description of a table.
///
/// # Errors
/// The finding where there is none.
pub(crate) async fn describe_table(
    client: &Client,
    table: &AwsResource,
) -> Result<TableDescription, Finding> {
    let answer = client.describe_table().table_name(&table.name).send().await;
    match answer.map_err(|error| AwsFailure::of(&error)) {
        // Each table has a key, so a description without one does not come from DynamoDB.
        Ok(DescribeTableOutput { table: Some(described), .. }) if !described.key_schema().is_empty() => {
            Ok(described)
        }
        Ok(_) => Err(failed(&nothing_described(), table)),
        Err(failure) => Err(undescribed(&failure, table, "dynamodb:DescribeTable")),
    }
}

/// Describes a table, and judges its status and key. `expected`: see [`judge_key`].
pub(crate) async fn probe_key(client: &Client, table: &AwsResource, expected: &str) -> Finding {
    match describe_table(client, table).await {
        Ok(described) => judge_key(&described, expected),
        Err(finding) => finding,
    }
}

/// Judges a table's status and key. `expected`: such as `event_id (S), ts_ms (N)`.
pub(crate) fn judge_key(table: &TableDescription, expected: &str) -> Finding {
    let key = key_of(table);
    let status = table.table_status().map_or("", TableStatus::as_str);
    let text = format!("{status}, key {key}");
    match table.table_status() {
        _ if key != expected => Finding::fail(format!(
            "{text}; a table with the key {expected} is needed: create one and name it"
        )),
        Some(TableStatus::Active | TableStatus::Updating) => Finding::ok(text),
        _ => Finding::warn(format!("{text}; wait until it is ACTIVE")),
    }
}

/// Returns a table's key, such as `event_id (S), ts_ms (N)`: the partition key first.
fn key_of(table: &TableDescription) -> String {
    let type_of = |name: &str| {
        let mut definitions = table.attribute_definitions().iter();
        let definition = definitions.find(|definition| definition.attribute_name() == name);
        definition.map_or("?", |definition| definition.attribute_type().as_str())
    };
    let parts = table.key_schema().iter().map(|part| {
        let name = part.attribute_name();
        format!("{name} ({})", type_of(name))
    });
    parts.collect::<Vec<_>>().join(", ")
}

/// Judges the answer to a write on a condition that never holds, so that an allowed write changes nothing.
///
/// `answer`: on success whether the answer has a request id, as AWS's answers have. DynamoDB's body is `{}`, as is that of many
/// another server.
pub(crate) fn judge_condition(
    operation: &str,
    table: &AwsResource,
    answer: Result<bool, AwsFailure>,
) -> Finding {
    match answer {
        Err(failure) if failure.code == "ConditionalCheckFailedException" => {
            Finding::ok(format!("{operation} is allowed; nothing was written"))
        }
        Err(failure) => failed(&failure, table),
        Ok(true) => {
            Finding::warn(format!("{operation} is allowed; an item {CHECK_NAME} was there and was written"))
        }
        Ok(false) => {
            let text = "the answer has no request id, so it is not from AWS";
            failed(&AwsFailure::new("bad_response", text), table)
        }
    }
}
