//! Calls on the rows of a pool.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use ::sharing::{CameraLoads, ConfigRow, LeaderRow, MemberRow, PlanRow, PoolMembers, TableCall, WorkerId};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::http::HttpResponse;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::types::AttributeValue;

use super::member_rows::{
    MemberAttributes, beat_update, config_attributes, config_row, deputies_list, leader_attributes,
    leader_row, loads_attributes, loads_row, plan_attributes, plan_row, worker_attributes, worker_row,
};
use super::row_reader::RowReader;
use super::row_update::{RowUpdate, number, text};
use crate::aws::AwsFailure;
use crate::base::epoch_ms;

const LEADER: &str = "leader";
const CONFIG: &str = "config";
const WORKER: &str = "worker#";
const LOADS: &str = "worker-loads#";
const PLAN: &str = "worker-plan#";
/// The end of the range of names from [`CONFIG`] that has no loads and no plans: the character after that of [`WORKER`].
const MEMBERS_END: &str = "worker$";
/// Time for which a row stays that is not written again, seconds. Clocks of hosts may differ by minutes.
const TTL_SECONDS: u64 = 86_400;

/// The rows of a pool, with times for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct DatedMembers {
    /// The rows.
    pub(crate) members: PoolMembers,
    /// The last beat of each worker, ms since 1970 by the worker's clock, cut to seconds.
    pub(crate) beats_ms: BTreeMap<WorkerId, i64>,
}

/// The rows of one pool, in a table of members.
#[derive(Debug)]
pub(super) struct MembersTable {
    client: Client,
    pub(super) name: String,
    pool: String,
    host: Arc<str>,
}

impl MembersTable {
    /// Creates the calls on the rows of a pool in the table of this name.
    pub(super) fn new(client: Client, name: &str, pool: &str, host: Arc<str>) -> Self {
        Self { client, name: name.to_owned(), pool: pool.to_owned(), host }
    }

    /// Makes a change; returns `false` if its condition is not met.
    pub(super) async fn change(&self, call: &TableCall) -> Result<bool, AwsFailure> {
        let update = RowUpdate::default();
        match call {
            TableCall::Join { worker, row } => self.join(worker, row).await,
            TableCall::Beat { worker, row } => self.beat(worker, row).await,
            TableCall::Leave { worker } => self.remove(worker, update.require_present("member")).await,
            TableCall::Expel { worker, beat } => {
                self.remove(worker, update.require("beat", number(*beat))).await
            }
            TableCall::Lead { worker, seen } => self.lead(worker, *seen).await,
            TableCall::LeaderBeat { worker, term, beat, deputies } => {
                let update = led_by(worker, *term).set("beat", number(*beat));
                self.update(LEADER, update.set("deputies", deputies_list(deputies))).await
            }
            TableCall::Resign { worker, term } => {
                self.update(LEADER, led_by(worker, *term).remove("worker_id")).await
            }
            TableCall::RaiseConfig { generation, version } => {
                let row = ConfigRow { generation: generation.saturating_add(1), version: version.clone() };
                let condition = update.require_number("generation", *generation);
                self.put(CONFIG, config_attributes(&row), condition).await
            }
            TableCall::WritePlan { worker, plan } => {
                let condition = update.require_at_most("term", plan.term);
                self.put(&row_name(PLAN, worker), lasting_a_day(plan_attributes(plan)?), condition).await
            }
            TableCall::PointPlan { worker, number: plan } => {
                let update = update.require_below("plan", *plan).set("plan", number(*plan));
                self.update(&row_name(WORKER, worker), update).await
            }
            TableCall::WriteLoads { worker, loads } => {
                self.put(&row_name(LOADS, worker), lasting_a_day(loads_attributes(loads)?), update).await
            }
            other => Err(AwsFailure::new("not_sent", &format!("no change of the members table: {other:?}"))),
        }
    }

    /// Reads `leader`, `config` and every worker's row, consistently.
    ///
    /// Each row is as after all writes before the call; rows written during the call may be read before or after the write.
    pub(super) async fn read_all(&self) -> Result<PoolMembers, AwsFailure> {
        Ok(self.read_rows(true).await?.members)
    }

    /// Reads what [`Self::read_all`] reads for people, at half the price: a row may be stale.
    pub(super) async fn read_dated(&self) -> Result<DatedMembers, AwsFailure> {
        self.read_rows(false).await
    }

    async fn read_rows(&self, is_consistent: bool) -> Result<DatedMembers, AwsFailure> {
        let (mut members, mut beats_ms) = (PoolMembers::default(), BTreeMap::new());
        for row in self.query(CONFIG, MEMBERS_END, is_consistent).await? {
            let name = name_of(&row)?;
            let reader = RowReader::new(name, &row);
            match name {
                LEADER => members.leader = Some(leader_row(reader)?),
                CONFIG => members.config = Some(config_row(reader)?),
                _ => {
                    // Rows between these are of a later version.
                    if let Some(worker) = name.strip_prefix(WORKER).map(WorkerId::new) {
                        beats_ms.extend(beat_ms(reader)?.map(|beat_ms| (worker.clone(), beat_ms)));
                        members.workers.insert(worker, worker_row(reader)?);
                    }
                }
            }
        }
        Ok(DatedMembers { members, beats_ms })
    }

    /// Reads a worker's row; it may be stale.
    pub(super) async fn read_worker(&self, worker: &WorkerId) -> Result<Option<MemberRow>, AwsFailure> {
        self.get(&row_name(WORKER, worker), false, worker_row).await
    }

    /// Reads the leader's row; it may be stale.
    pub(super) async fn read_leader(&self) -> Result<Option<LeaderRow>, AwsFailure> {
        self.get(LEADER, false, leader_row).await
    }

    /// Reads a worker's plan, consistently.
    pub(super) async fn read_plan(&self, worker: &WorkerId) -> Result<Option<PlanRow>, AwsFailure> {
        self.get(&row_name(PLAN, worker), true, plan_row).await
    }

    /// Reads the loads of all workers; they may be stale.
    pub(super) async fn read_loads(&self) -> Result<CameraLoads, AwsFailure> {
        let mut loads = CameraLoads::new();
        // The character after `#` ends the range.
        for row in self.query(LOADS, &LOADS.replace('#', "$"), false).await? {
            loads.extend(loads_row(RowReader::new(name_of(&row)?, &row))?);
        }
        Ok(loads)
    }

    async fn join(&self, worker: &WorkerId, row: &MemberRow) -> Result<bool, AwsFailure> {
        let mut attributes = lasting_a_day(worker_attributes(row));
        attributes.insert("host".to_owned(), text(&self.host));
        self.put(&row_name(WORKER, worker), attributes, RowUpdate::default().require_absent("member")).await
    }

    async fn beat(&self, worker: &WorkerId, row: &MemberRow) -> Result<bool, AwsFailure> {
        let update = beat_update(row).require_present("member").set("ttl", ttl());
        self.update(&row_name(WORKER, worker), update).await
    }

    async fn lead(&self, worker: &WorkerId, seen: Option<(u64, u64)>) -> Result<bool, AwsFailure> {
        let (condition, term) = match seen {
            None => (RowUpdate::default().require_absent("member"), 0),
            Some((term, beat)) => {
                let condition = RowUpdate::default().require("term", number(term));
                (condition.require("beat", number(beat)), term)
            }
        };
        self.put(LEADER, leader_attributes(worker, term.saturating_add(1)), condition).await
    }

    /// Deletes a worker's rows if its own row meets the condition.
    async fn remove(&self, worker: &WorkerId, condition: RowUpdate) -> Result<bool, AwsFailure> {
        if !self.delete(&row_name(WORKER, worker), condition).await? {
            return Ok(false);
        }
        // The worker is gone once its own row is: its id is never used again, so plan and loads that stay are read by no worker
        // (the loads until `ttl` at most, where they count for cameras that a later row names too). A failure here changes nothing.
        let (plan, loads) = (row_name(PLAN, worker), row_name(LOADS, worker));
        let _deleted =
            tokio::join!(self.delete(&plan, RowUpdate::default()), self.delete(&loads, RowUpdate::default()));
        Ok(true)
    }

    async fn put(
        &self,
        row: &str,
        mut attributes: MemberAttributes,
        condition: RowUpdate,
    ) -> Result<bool, AwsFailure> {
        attributes.extend(self.key(row));
        let sent = self
            .client
            .put_item()
            .table_name(&self.name)
            .set_item(Some(attributes))
            .set_condition_expression(condition.condition())
            .set_expression_attribute_names(condition.names())
            .set_expression_attribute_values(condition.values())
            .send()
            .await;
        is_met(sent)
    }

    async fn update(&self, row: &str, update: RowUpdate) -> Result<bool, AwsFailure> {
        let sent = self
            .client
            .update_item()
            .table_name(&self.name)
            .set_key(Some(self.key(row)))
            .set_update_expression(update.update_expression())
            .set_condition_expression(update.condition())
            .set_expression_attribute_names(update.names())
            .set_expression_attribute_values(update.values())
            .send()
            .await;
        is_met(sent)
    }

    async fn delete(&self, row: &str, condition: RowUpdate) -> Result<bool, AwsFailure> {
        let sent = self
            .client
            .delete_item()
            .table_name(&self.name)
            .set_key(Some(self.key(row)))
            .set_condition_expression(condition.condition())
            .set_expression_attribute_names(condition.names())
            .set_expression_attribute_values(condition.values())
            .send()
            .await;
        is_met(sent)
    }

    async fn get<T>(
        &self,
        row: &str,
        is_consistent: bool,
        read: impl Fn(RowReader<'_>) -> Result<T, AwsFailure>,
    ) -> Result<Option<T>, AwsFailure> {
        let get = self.client.get_item().table_name(&self.name).set_key(Some(self.key(row)));
        let answer =
            get.consistent_read(is_consistent).send().await.map_err(|error| AwsFailure::of(&error))?;
        answer.item.map(|attributes| read(RowReader::new(row, &attributes))).transpose()
    }

    /// Returns the pool's rows with names from `start` to `end`, in their order. A page has at most 1 MB.
    async fn query(
        &self,
        start: &str,
        end: &str,
        is_consistent: bool,
    ) -> Result<Vec<MemberAttributes>, AwsFailure> {
        let (mut rows, mut next) = (Vec::new(), None);
        loop {
            let query = self
                .client
                .query()
                .table_name(&self.name)
                .key_condition_expression("#pool = :pool AND #member BETWEEN :start AND :end")
                .expression_attribute_names("#pool", "pool")
                .expression_attribute_names("#member", "member")
                .expression_attribute_values(":pool", text(&self.pool))
                .expression_attribute_values(":start", text(start))
                .expression_attribute_values(":end", text(end))
                .consistent_read(is_consistent)
                .set_exclusive_start_key(next);
            let answer = query.send().await.map_err(|error| AwsFailure::of(&error))?;
            rows.extend(answer.items.unwrap_or_default());
            next = answer.last_evaluated_key.filter(|key| !key.is_empty());
            if next.is_none() {
                return Ok(rows);
            }
        }
    }

    fn key(&self, row: &str) -> MemberAttributes {
        HashMap::from([("pool".to_owned(), text(&self.pool)), ("member".to_owned(), text(row))])
    }
}

fn led_by(worker: &WorkerId, term: u64) -> RowUpdate {
    RowUpdate::default().require("worker_id", text(worker.as_str())).require("term", number(term))
}

fn row_name(kind: &str, worker: &WorkerId) -> String {
    format!("{kind}{worker}")
}

fn name_of(row: &MemberAttributes) -> Result<&str, AwsFailure> {
    let name = row.get("member").and_then(|name| name.as_s().ok());
    name.map(String::as_str).ok_or_else(|| AwsFailure::new("unreadable", "a row without the key member"))
}

fn lasting_a_day(mut attributes: MemberAttributes) -> MemberAttributes {
    attributes.insert("ttl".to_owned(), ttl());
    attributes
}

/// Returns the time of a worker's last beat, ms since 1970 by its own clock, from the time to which its row lasts.
fn beat_ms(row: RowReader<'_>) -> Result<Option<i64>, AwsFailure> {
    let beat_s = row.number::<u64>("ttl")?.checked_sub(TTL_SECONDS);
    Ok(beat_s.and_then(|beat_s| i64::try_from(beat_s.saturating_mul(1_000)).ok()))
}

fn ttl() -> AttributeValue {
    number(u64::try_from(epoch_ms() / 1_000).unwrap_or(0) + TTL_SECONDS)
}

fn is_met<T, E>(sent: Result<T, SdkError<E, HttpResponse>>) -> Result<bool, AwsFailure>
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    match sent {
        Ok(_) => Ok(true),
        Err(error) if error.code() == Some("ConditionalCheckFailedException") => Ok(false),
        Err(error) => Err(AwsFailure::of(&error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_of_all_members_covers_neither_plans_nor_loads() {
        let range = CONFIG..=MEMBERS_END;
        for worker in ["0", "01JZ-é", "~\u{10ffff}"].map(WorkerId::new) {
            let name = row_name(WORKER, &worker);
            assert!([CONFIG, LEADER, &name].iter().all(|name| range.contains(name)), "{name}");
            let (plan, loads) = (row_name(PLAN, &worker), row_name(LOADS, &worker));
            assert!([&*plan, &*loads].iter().all(|name| !range.contains(name)), "{plan}");
            assert!((LOADS..=&*LOADS.replace('#', "$")).contains(&&*loads), "{loads}");
        }
    }
}
