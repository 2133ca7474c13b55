//! The questions of `check --live` about the table of workers.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::RequestId;
use aws_sdk_dynamodb::types::AttributeValue;

use crate::aws::{AwsFailure, AwsResource};
use crate::base::{Asks, Finding, Probe};
use crate::delivery::Clients;
use crate::delivery::probe::{CHECK_NAME, describe_table, judge_condition, judge_key};

const KEY: &str = "pool (S), member (S)";

/// Returns the questions about the table.
pub(crate) fn probes(clients: &Clients, table: &str) -> Vec<Probe> {
    let name = format!("sharing/{table}");
    let (client, table) = (Client::new(clients.sdk()), table.to_owned());
    vec![
        Probe::new(format!("{name} write"), Asks::Aws, update(client.clone(), table.clone())),
        Probe::new(name, Asks::Aws, describe(client, table)),
    ]
}

async fn describe(client: Client, table: String) -> Finding {
    match describe_table(&client, &resource(&table)).await {
        Ok(described) => judge_key(&described, KEY),
        Err(finding) => finding,
    }
}

/// Updates a row that does not exist, on the condition that it does: nothing is written.
async fn update(client: Client, table: String) -> Finding {
    let update = client
        .update_item()
        .table_name(&table)
        .key("pool", AttributeValue::S(CHECK_NAME.to_owned()))
        .key("member", AttributeValue::S(CHECK_NAME.to_owned()))
        .update_expression("SET #beat = :beat")
        .condition_expression("attribute_exists(#member)")
        .expression_attribute_names("#beat", "beat")
        .expression_attribute_names("#member", "member")
        .expression_attribute_values(":beat", AttributeValue::N("0".to_owned()));
    let answer = update.send().await.map(|answer| answer.request_id().is_some());
    judge_condition("UpdateItem", &resource(&table), answer.map_err(|error| AwsFailure::of(&error)))
}

/// Returns the table with its remedies.
fn resource(table: &str) -> AwsResource {
    AwsResource {
        kind: "table",
        name: table.to_owned(),
        key: "sharing.table",
        action: "dynamodb:UpdateItem",
        endpoint_variable: "AWS_ENDPOINT_URL_DYNAMODB",
        own_remedy: |code| (code == "ValidationException").then_some("its key must be pool (S), member (S)"),
    }
}
