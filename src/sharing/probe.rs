//! The questions of `check --live` about the table of workers, and about the pool in it.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::RequestId;
use aws_sdk_dynamodb::types::AttributeValue;

use ::sharing::CameraKey;

use super::{PoolView, PoolViewError, PoolViewReader};
use crate::aws::{AwsFailure, AwsResource};
use crate::base::{Asks, Finding, Probe};
use crate::delivery::Clients;
use crate::delivery::probe::{CHECK_NAME, judge_condition, probe_key};

const KEY: &str = "pool (S), member (S)";
/// Maximum number of cameras or workers that a finding names.
const MAX_NAMED: usize = 5;

/// A pool that the configuration names, and its cameras.
pub(crate) struct ProbedPool<'a> {
    /// The table of positions.
    pub(crate) items_table: &'a str,
    /// The table of workers.
    pub(crate) members_table: &'a str,
    /// The pool's name.
    pub(crate) pool: &'a str,
    /// The cameras of the configuration.
    pub(crate) cameras: Vec<CameraKey>,
}

/// Returns the questions about the table and the pool.
pub(crate) fn probes(clients: &Clients, pool: ProbedPool<'_>) -> Vec<Probe> {
    let ProbedPool { items_table, members_table, pool, cameras } = pool;
    let name = format!("sharing/{members_table}");
    let reader = PoolViewReader::new(clients.sdk(), items_table, members_table, pool);
    let read = async move { judge_pool(reader.read(&cameras).await) };
    let (client, table) = (Client::new(clients.sdk()), members_table.to_owned());
    let (asked, described) = (client.clone(), resource(&table));
    let describe = async move { probe_key(&asked, &described, KEY).await };
    vec![
        Probe::new(format!("{name} write"), Asks::Aws, update(client, table)),
        Probe::new(format!("{name} pool"), Asks::Aws, read),
        Probe::new(name, Asks::Aws, describe),
    ]
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

/// Returns the finding about a pool: its workers and its leader, and warnings of cameras and workers that need attention.
fn judge_pool(view: Result<PoolView, PoolViewError>) -> Finding {
    let view = match view {
        Ok(view) => view,
        Err(error) => return Finding::fail(error.to_string()),
    };
    if view.workers.is_empty() {
        // As before the first start. `run` works.
        return Finding::ok(format!("pool {} has no workers yet", view.pool));
    }
    let leader = view.leader.as_deref().map_or_else(|| "none leads".to_owned(), |id| format!("{id} leads"));
    let text = format!("pool {}: workers: {}, {leader}", view.pool, view.workers.len());
    let unassigned: Vec<&str> = view.unassigned().map(|camera| &*camera.id).collect();
    let outdated: Vec<&str> = view.outdated().map(|worker| &*worker.id).collect();
    let mut warnings = Vec::new();
    if !unassigned.is_empty() {
        warnings.push(format!("cameras without a worker: {}", named(&unassigned)));
    }
    if !outdated.is_empty() {
        warnings.push(format!("workers with an older configuration: {}", named(&outdated)));
    }
    if warnings.is_empty() {
        return Finding::ok(text);
    }
    Finding::warn(format!("{text}; {}; `kvs-infer cluster` shows the reasons", warnings.join("; ")))
}

/// Formats the number of ids and the first of them, such as `2 (gate, yard)`.
fn named(ids: &[&str]) -> String {
    let shown = ids.iter().take(MAX_NAMED).copied().collect::<Vec<_>>().join(", ");
    let more = if ids.len() > MAX_NAMED { ", ..." } else { "" };
    format!("{} ({shown}{more})", ids.len())
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
