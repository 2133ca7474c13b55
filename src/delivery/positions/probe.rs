//! The questions of `check --live` about the table of positions.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::RequestId;
use aws_sdk_dynamodb::types::AttributeValue;

use super::table::resource;
use crate::aws::AwsFailure;
use crate::base::{Asks, Finding, Probe};
use crate::delivery::clients::Clients;
use crate::delivery::probe::{CHECK_NAME, judge_condition, probe_key};

const KEY: &str = "camera_id (S)";

/// Returns the questions about the table.
pub(crate) fn probes(clients: &Clients, table: &str) -> Vec<Probe> {
    let name = format!("positions/{table}");
    let (client, table) = (Client::new(clients.sdk()), table.to_owned());
    let (asked, described) = (client.clone(), resource(&table));
    let describe = async move { probe_key(&asked, &described, KEY).await };
    vec![
        Probe::new(format!("{name} write"), Asks::Aws, update(client, table)),
        Probe::new(name, Asks::Aws, describe),
    ]
}

/// Updates an item that does not exist, on the condition that it does: nothing is written.
async fn update(client: Client, table: String) -> Finding {
    let update = client
        .update_item()
        .table_name(&table)
        .key("camera_id", AttributeValue::S(CHECK_NAME.to_owned()))
        .update_expression("SET #at = :now")
        .condition_expression("attribute_exists(camera_id)")
        .expression_attribute_names("#at", "updated_at")
        .expression_attribute_values(":now", AttributeValue::N("0".to_owned()));
    let answer = update.send().await.map(|answer| answer.request_id().is_some());
    judge_condition("UpdateItem", &resource(&table), answer.map_err(|error| AwsFailure::of(&error)))
}
