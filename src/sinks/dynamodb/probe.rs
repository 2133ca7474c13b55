//! The questions of `check --live` about the table of records: has it the right key, and is the role allowed to write?

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::RequestId;
use aws_sdk_dynamodb::types::{AttributeValue, TimeToLiveStatus};

use super::{DdbSpec, TTL_ATTRIBUTE, resource};
use crate::aws::AwsFailure;
use crate::base::{Asks, Finding, Probe, Verdict};
use crate::delivery::probe::{CHECK_NAME, describe_table, judge_condition, judge_key, nothing_described};

const KEY: &str = "event_id (S), ts_ms (N)";
/// The index for queries by camera.
const INDEX: &str = "camera_id-ts_ms-index";

/// Returns the questions about the table.
pub(super) fn probes(client: &Client, spec: &DdbSpec) -> Vec<Probe> {
    let DdbSpec { table, ttl_days } = spec.clone();
    let name = format!("dynamodb/{table}");
    vec![
        Probe::new(format!("{name} write"), Asks::Aws, put(client.clone(), table.clone())),
        Probe::new(name, Asks::Aws, describe(client.clone(), table, ttl_days.is_some())),
    ]
}

/// `expires`: items have a `ttl`.
async fn describe(client: Client, table: String, expires: bool) -> Finding {
    let described = match describe_table(&client, &resource(&table)).await {
        Ok(described) => described,
        Err(finding) => return finding,
    };
    let finding = judge_key(&described, KEY);
    // Notes about another table would only distract.
    if finding.verdict == Verdict::Fail {
        return finding;
    }
    let mut notes = Vec::new();
    if !described.global_secondary_indexes().iter().any(|index| index.index_name() == Some(INDEX)) {
        notes.push(format!("no index {INDEX}: add it (camera_id S, ts_ms N) for queries by camera"));
    }
    if expires {
        notes.extend(expiry_note(&client, &table).await);
    }
    if notes.is_empty() {
        return finding;
    }
    Finding::warn(format!("{}; {}", finding.text, notes.join("; ")))
}

/// Returns the reason why DynamoDB would never remove an item; `None`: it removes them.
async fn expiry_note(client: &Client, table: &str) -> Option<String> {
    let remedy = |failure: &AwsFailure| resource(table).remedy(&failure.code);
    let answer = client.describe_time_to_live().table_name(table).send().await;
    let description = match answer.map_err(|error| AwsFailure::of(&error)) {
        Ok(answer) => answer.time_to_live_description.filter(|found| found.time_to_live_status().is_some()),
        Err(failure) if failure.is_denied() => {
            return Some(
                "dynamodb:DescribeTimeToLive is not allowed; only this check asks for it".to_owned(),
            );
        }
        Err(failure) => return Some(failure.at_place("time to live", remedy(&failure).as_deref())),
    };
    let Some(description) = description else {
        return Some(nothing_described().at_place("time to live", None));
    };
    let is_on = matches!(
        description.time_to_live_status(),
        Some(TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling)
    );
    let removes = is_on && description.attribute_name() == Some(TTL_ATTRIBUTE);
    (!removes).then(|| {
        format!(
            "time to live is off, so ddb_ttl_days removes nothing: enable it for the attribute {TTL_ATTRIBUTE}"
        )
    })
}

/// Puts an item that does not exist, on the condition that it does: nothing is written.
async fn put(client: Client, table: String) -> Finding {
    let put = client
        .put_item()
        .table_name(&table)
        .item("event_id", AttributeValue::S(CHECK_NAME.to_owned()))
        .item("ts_ms", AttributeValue::N("0".to_owned()))
        .condition_expression("attribute_exists(event_id)");
    let answer = put.send().await.map(|answer| answer.request_id().is_some());
    judge_condition("PutItem", &resource(&table), answer.map_err(|error| AwsFailure::of(&error)))
}
