//! The questions of `check --live` about the table of records: has it the right key, and is the role allowed to write, and to read the
//! history?

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::RequestId;
use aws_sdk_dynamodb::types::{AttributeValue, TimeToLiveStatus};

use super::item::TTL_ATTRIBUTE;
use super::{CAMERA_TIME_INDEX, DdbSpec, resource};
use crate::aws::{AwsFailure, AwsResource};
use crate::base::{Asks, Finding, Probe, Verdict};
use crate::delivery::Clients;
use crate::delivery::probe::{
    CHECK_NAME, describe_table, failed, judge_condition, judge_key, nothing_described,
};

const KEY: &str = "event_id (S), ts_ms (N)";

/// Returns the questions about the table.
pub(super) fn probes(client: &Client, spec: &DdbSpec) -> Vec<Probe> {
    let DdbSpec { table, ttl_days } = spec.clone();
    let name = format!("dynamodb/{table}");
    vec![
        Probe::new(format!("{name} write"), Asks::Aws, put(client.clone(), table.clone())),
        Probe::new(name, Asks::Aws, describe(client.clone(), table, ttl_days.is_some())),
    ]
}

/// Returns the question about the index, which only a service asks that reads its history from the table.
pub(crate) fn history_probe(clients: &Clients, table: &str) -> Probe {
    let asked = query_both(Client::new(clients.sdk()), table.to_owned());
    Probe::new(format!("dynamodb/{table} history"), Asks::Aws, asked).only_for("the history of incidents")
}

/// Queries the table and its index, each for a key that does not exist: nothing is found.
async fn query_both(client: Client, table: String) -> Finding {
    let query = |key: &str| {
        let of_key = client.query().table_name(&table).key_condition_expression(format!("{key} = :name"));
        of_key.expression_attribute_values(":name", AttributeValue::S(CHECK_NAME.to_owned())).limit(1)
    };
    // In this order: where the table answers, a missing resource is its index.
    let calls: [(_, OwnRemedy); 2] =
        [(query("event_id"), query_remedy), (query("camera_id").index_name(CAMERA_TIME_INDEX), index_remedy)];
    for (call, own_remedy) in calls {
        let answer = call.send().await.map(|answer| answer.request_id().is_some());
        let finding = judge_query(&table, own_remedy, answer.map_err(|error| AwsFailure::of(&error)));
        if finding.verdict != Verdict::Ok {
            return finding;
        }
    }
    Finding::ok(format!("Query is allowed on the table and on its index {CAMERA_TIME_INDEX}"))
}

/// Judges the answer to a query. `answer`: on success whether the answer has a request id, as AWS's answers have.
fn judge_query(table: &str, own_remedy: OwnRemedy, answer: Result<bool, AwsFailure>) -> Finding {
    let table = AwsResource { action: "dynamodb:Query", own_remedy, ..resource(table) };
    match answer {
        Ok(true) => Finding::ok("Query is allowed"),
        Ok(false) => {
            let text = "the answer has no request id, so it is not from AWS";
            failed(&AwsFailure::new("bad_response", text), &table)
        }
        Err(failure) => failed(&failure, &table),
    }
}

/// A remedy by the error code.
type OwnRemedy = fn(&str) -> Option<&'static str>;

/// Returns the remedy for a query of the table by its error code.
fn query_remedy(code: &str) -> Option<&'static str> {
    let is_refused = AwsFailure::is_denial(code);
    is_refused.then_some("allow dynamodb:Query on it and on its index camera_id-ts_ms-index")
}

/// Returns the remedy for a query of the index by its error code.
fn index_remedy(code: &str) -> Option<&'static str> {
    match code {
        // DynamoDB reports a missing index by the first, local servers by the second.
        "ValidationException" | "ResourceNotFoundException" => {
            Some("add the index camera_id-ts_ms-index to it: key camera_id (S), ts_ms (N), all attributes")
        }
        code => query_remedy(code),
    }
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
    if !described.global_secondary_indexes().iter().any(|index| index.index_name() == Some(CAMERA_TIME_INDEX))
    {
        notes.push(format!(
            "no index {CAMERA_TIME_INDEX}: add it (camera_id S, ts_ms N) for queries by camera"
        ));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_of_the_query_by_answer() {
        let failure = |code: &str| Err(AwsFailure::new(code, "words"));
        let (of_table, of_index): (OwnRemedy, OwnRemedy) = (query_remedy, index_remedy);
        let (add, allow) =
            ("add the index camera_id-ts_ms-index", "allow dynamodb:Query on it and on its index");
        let table = [
            ("allowed", of_index, Ok(true), Verdict::Ok, "Query is allowed"),
            ("another server", of_table, Ok(false), Verdict::Fail, "in place of AWS"),
            ("no index", of_index, failure("ValidationException"), Verdict::Fail, add),
            ("no index of moto", of_index, failure("ResourceNotFoundException"), Verdict::Fail, add),
            (
                "no table",
                of_table,
                failure("ResourceNotFoundException"),
                Verdict::Fail,
                "create the table, or",
            ),
            ("refused", of_table, failure("AccessDeniedException"), Verdict::Fail, allow),
            ("the index is refused", of_index, failure("AccessDeniedException"), Verdict::Fail, allow),
        ];
        for (name, own_remedy, answer, verdict, words) in table {
            let finding = judge_query("records", own_remedy, answer);
            assert!(finding.verdict == verdict && finding.sentence().contains(words), "{name}: {finding:?}");
        }
    }
}
