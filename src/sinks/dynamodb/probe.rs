//! A DynamoDB table: has it our keys, and may we write?

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::RequestId;
use aws_sdk_dynamodb::operation::describe_table::DescribeTableOutput;
use aws_sdk_dynamodb::types::{AttributeValue, TableDescription, TableStatus, TimeToLiveStatus};

use crate::aws::AwsFailure;
use crate::base::{Asks, Finding, Probe, Verdict};
use crate::delivery::positions;
use crate::delivery::probe::{NOBODY, failed, not_seen, nothing_described};
use crate::sinks::dynamodb;

const RECORDS_KEY: &str = "event_id (S), ts_ms (N)";
const POSITIONS_KEY: &str = "camera_id (S)";
/// For queries by camera.
const INDEX: &str = "camera_id-ts_ms-index";
const EXPIRY: &str = "ttl";

/// The table of records; `expires`: its items have a `ttl`.
pub(crate) fn records(client: &Client, table: &str, expires: bool) -> Vec<Probe> {
    let name = format!("dynamodb/{table}");
    let (client, table) = (client.clone(), table.to_owned());
    vec![
        Probe::new(format!("{name} write"), Asks::Aws, put(client.clone(), table.clone())),
        Probe::new(name, Asks::Aws, look_at_records(client, table, expires)),
    ]
}

/// The table of positions.
pub(crate) fn positions(client: &Client, table: &str) -> Vec<Probe> {
    let name = format!("positions/{table}");
    let (client, table) = (client.clone(), table.to_owned());
    vec![
        Probe::new(format!("{name} write"), Asks::Aws, update(client.clone(), table.clone())),
        Probe::new(name, Asks::Aws, look_at_positions(client, table)),
    ]
}

async fn look_at_records(client: Client, table: String, expires: bool) -> Finding {
    let described = match describe(&client, &table, dynamodb::remedy).await {
        Ok(described) => described,
        Err(finding) => return finding,
    };
    let keys = keys(&described, RECORDS_KEY);
    if keys.verdict == Verdict::Fail {
        return keys;
    }
    let indexes = described.global_secondary_indexes();
    let index = indexes.iter().any(|index| index.index_name() == Some(INDEX));
    let mut notes = Vec::new();
    if !index {
        notes.push(format!("no index {INDEX}: add it (camera_id S, ts_ms N) for queries by camera"));
    }
    if expires {
        notes.extend(expiry(&client, &table).await);
    }
    with(keys, &notes)
}

async fn look_at_positions(client: Client, table: String) -> Finding {
    match describe(&client, &table, positions::remedy).await {
        Ok(described) => keys(&described, POSITIONS_KEY),
        Err(finding) => finding,
    }
}

async fn describe(
    client: &Client,
    table: &str,
    remedy: fn(&str) -> Option<&'static str>,
) -> Result<TableDescription, Finding> {
    let place = dynamodb::place(table);
    let answer = client.describe_table().table_name(table).send().await;
    match answer.map_err(|error| AwsFailure::of(&error)) {
        // Each table has a key, so what has none is no answer of DynamoDB.
        Ok(DescribeTableOutput { table: Some(described), .. }) if !described.key_schema().is_empty() => {
            Ok(described)
        }
        Ok(_) => Err(failed(&nothing_described(), &place, None)),
        Err(fault) => Err(not_seen(&fault, &place, "dynamodb:DescribeTable", remedy(&fault.code))),
    }
}

fn keys(table: &TableDescription, wanted: &str) -> Finding {
    let key = key_of(table);
    let status = table.table_status().map_or("", TableStatus::as_str);
    let text = format!("{status}, key {key}");
    match table.table_status() {
        _ if key != wanted => {
            Finding::fail(format!("{text}; a table with the key {wanted} is needed: create one and name it"))
        }
        Some(TableStatus::Active | TableStatus::Updating) => Finding::ok(text),
        _ => Finding::warn(format!("{text}; wait until it is ACTIVE")),
    }
}

/// Such as `event_id (S), ts_ms (N)`: the partition key comes first.
fn key_of(table: &TableDescription) -> String {
    let kind = |name: &str| {
        let mut definitions = table.attribute_definitions().iter();
        let found = definitions.find(|definition| definition.attribute_name() == name);
        found.map_or("?", |definition| definition.attribute_type().as_str())
    };
    let parts = table.key_schema().iter().map(|part| {
        let name = part.attribute_name();
        format!("{name} ({})", kind(name))
    });
    parts.collect::<Vec<_>>().join(", ")
}

/// Why no item would ever be removed.
async fn expiry(client: &Client, table: &str) -> Option<String> {
    let answer = client.describe_time_to_live().table_name(table).send().await;
    let found = match answer.map_err(|error| AwsFailure::of(&error)) {
        Ok(answer) => {
            match answer.time_to_live_description.filter(|found| found.time_to_live_status().is_some()) {
                Some(found) => found,
                None => return Some(nothing_described().told("time to live", None)),
            }
        }
        Err(fault) if fault.is_denied() => {
            return Some(
                "dynamodb:DescribeTimeToLive is not allowed; only this check asks for it".to_owned(),
            );
        }
        Err(fault) => return Some(fault.told("time to live", dynamodb::remedy(&fault.code))),
    };
    let enabled =
        matches!(found.time_to_live_status(), Some(TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling));
    let at_work = enabled && found.attribute_name() == Some(EXPIRY);
    (!at_work).then(|| {
        format!("time to live is off, so ddb_ttl_days removes nothing: enable it for the attribute {EXPIRY}")
    })
}

fn with(finding: Finding, notes: &[String]) -> Finding {
    if notes.is_empty() {
        return finding;
    }
    Finding::warn(format!("{}; {}", finding.text, notes.join("; ")))
}

/// A put for an item that is not there, on the condition that it is: nothing is written.
async fn put(client: Client, table: String) -> Finding {
    let put = client
        .put_item()
        .table_name(&table)
        .item("event_id", AttributeValue::S(NOBODY.to_owned()))
        .item("ts_ms", AttributeValue::N("0".to_owned()))
        .condition_expression("attribute_exists(event_id)");
    let answer =
        put.send().await.map(|answer| answer.request_id().is_some()).map_err(|error| AwsFailure::of(&error));
    answered("PutItem", &table, answer, dynamodb::remedy)
}

/// The same by an update, as positions are written.
async fn update(client: Client, table: String) -> Finding {
    let update = client
        .update_item()
        .table_name(&table)
        .key("camera_id", AttributeValue::S(NOBODY.to_owned()))
        .update_expression("SET #at = :now")
        .condition_expression("attribute_exists(camera_id)")
        .expression_attribute_names("#at", "updated_at")
        .expression_attribute_values(":now", AttributeValue::N("0".to_owned()));
    let answer = update
        .send()
        .await
        .map(|answer| answer.request_id().is_some())
        .map_err(|error| AwsFailure::of(&error));
    answered("UpdateItem", &table, answer, positions::remedy)
}

/// `answer`: whether the success is numbered, as AWS's are. `{}` is what DynamoDB answers, and many another server.
fn answered(
    action: &str,
    table: &str,
    answer: Result<bool, AwsFailure>,
    remedy: fn(&str) -> Option<&'static str>,
) -> Finding {
    match answer {
        Err(fault) if fault.code == "ConditionalCheckFailedException" => {
            Finding::ok(format!("{action} is allowed; nothing was written"))
        }
        Err(fault) => failed(&fault, &dynamodb::place(table), remedy(&fault.code)),
        Ok(true) => Finding::warn(format!("{action} is allowed; an item {NOBODY} was there and was written")),
        Ok(false) => {
            let fault =
                AwsFailure::new("bad_response", "the answer has no request id, so it is not from AWS");
            failed(&fault, &dynamodb::place(table), None)
        }
    }
}
