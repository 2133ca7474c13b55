//! Rows of the members table as attributes.

use std::collections::HashMap;
use std::sync::Arc;

use ::sharing::{
    CameraLoads, ConfigRow, ConfigVersion, LeaderRow, MemberPhase, MemberRow, PlanRow, ResourceAmounts,
    WorkerId,
};
use aws_sdk_dynamodb::types::AttributeValue;

use super::packed_cameras::{loads_of, pack_loads, pack_plan, plan_of};
use super::row_reader::RowReader;
use super::row_update::{RowUpdate, binary, number, text};
use crate::aws::AwsFailure;

/// The attributes of a row of the members table, keys included.
pub(super) type MemberAttributes = HashMap<String, AttributeValue>;

/// Returns the name of a phase.
fn phase_name(phase: MemberPhase) -> &'static str {
    match phase {
        MemberPhase::Joining => "joining",
        MemberPhase::Ready => "ready",
        MemberPhase::Draining => "draining",
    }
}

/// Returns the attributes of a worker's row that each beat writes; `None`: the row has no such attribute.
fn beat_attributes(row: &MemberRow) -> [(&'static str, Option<AttributeValue>); 9] {
    // Every field is named: one that is new does not compile before it is stored. The leader writes `plan`.
    let MemberRow { beat, phase, plan: _, capacity, cameras, is_overloaded, generation, reads, models, zone } =
        row;
    // DynamoDB has no empty sets.
    let reads = (!reads.is_empty()).then(|| reads.iter().map(u32::to_string).collect());
    let models = (!models.is_empty()).then(|| models.iter().map(|model| model.to_string()).collect());
    [
        ("beat", Some(number(*beat))),
        ("state", Some(text(phase_name(*phase)))),
        ("capacity", Some(amounts(*capacity))),
        ("cameras", Some(number(*cameras))),
        ("overloaded", Some(AttributeValue::Bool(*is_overloaded))),
        ("generation", Some(number(*generation))),
        ("reads", reads.map(AttributeValue::Ns)),
        ("models", models.map(AttributeValue::Ss)),
        ("zone", Some(text(zone))),
    ]
}

/// Returns the changes that a beat makes to a worker's row.
pub(super) fn beat_update(row: &MemberRow) -> RowUpdate {
    let mut update = RowUpdate::default();
    for (name, value) in beat_attributes(row) {
        update = update.set_or_remove(name, value);
    }
    update
}

/// Returns the attributes of a new worker's row.
pub(super) fn worker_attributes(row: &MemberRow) -> MemberAttributes {
    let attributes = beat_attributes(row).into_iter().chain([("plan", Some(number(row.plan)))]);
    attributes.filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

/// Reads a worker's row.
pub(super) fn worker_row(row: RowReader<'_>) -> Result<MemberRow, AwsFailure> {
    let phase = match row.text("state")? {
        Some("joining") => MemberPhase::Joining,
        Some("ready") => MemberPhase::Ready,
        Some("draining") => MemberPhase::Draining,
        _ => return Err(row.unreadable("state", "is not joining, ready or draining")),
    };
    let capacity = row.map("capacity")?;
    Ok(MemberRow {
        beat: row.number("beat")?,
        phase,
        plan: row.number("plan")?,
        capacity: ResourceAmounts {
            gpu_milli: capacity.number("gpu_milli")?,
            cpu_milli: capacity.number("cpu_milli")?,
            memory_mib: capacity.number("memory_mib")?,
        },
        cameras: row.number("cameras")?,
        is_overloaded: row.flag("overloaded")?,
        generation: row.number("generation")?,
        reads: row.numbers("reads")?.into_iter().collect(),
        models: row.texts("models")?.into_iter().map(Arc::from).collect(),
        zone: row.text("zone")?.unwrap_or_default().into(),
    })
}

/// Returns the attributes of a new leader's row.
pub(super) fn leader_attributes(worker: &WorkerId, term: u64) -> MemberAttributes {
    MemberAttributes::from([
        ("worker_id".to_owned(), text(worker.as_str())),
        ("term".to_owned(), number(term)),
        ("beat".to_owned(), number(0)),
        ("deputies".to_owned(), deputies_list(&[])),
    ])
}

/// Returns the deputies as an attribute, in their order.
pub(super) fn deputies_list(deputies: &[WorkerId]) -> AttributeValue {
    AttributeValue::L(deputies.iter().map(|worker| text(worker.as_str())).collect())
}

/// Reads the leader's row.
pub(super) fn leader_row(row: RowReader<'_>) -> Result<LeaderRow, AwsFailure> {
    Ok(LeaderRow {
        worker: row.text("worker_id")?.map(WorkerId::new),
        term: row.number("term")?,
        beat: row.number("beat")?,
        deputies: row.texts("deputies")?.into_iter().map(WorkerId::new).collect(),
    })
}

/// Returns the attributes of the configuration's row.
pub(super) fn config_attributes(row: &ConfigRow) -> MemberAttributes {
    let ConfigRow { generation, version: ConfigVersion { modified_ms, digest } } = row;
    MemberAttributes::from([
        ("generation".to_owned(), number(*generation)),
        ("modified_ms".to_owned(), number(*modified_ms)),
        ("digest".to_owned(), text(digest)),
    ])
}

/// Reads the configuration's row.
pub(super) fn config_row(row: RowReader<'_>) -> Result<ConfigRow, AwsFailure> {
    let version = ConfigVersion {
        modified_ms: row.number("modified_ms")?,
        digest: row.text("digest")?.unwrap_or_default().into(),
    };
    Ok(ConfigRow { generation: row.number("generation")?, version })
}

/// Returns the attributes of a plan's row.
pub(super) fn plan_attributes(plan: &PlanRow) -> Result<MemberAttributes, AwsFailure> {
    let PlanRow { term, number: plan_number, cameras } = plan;
    Ok(MemberAttributes::from([
        ("term".to_owned(), number(*term)),
        ("plan".to_owned(), number(*plan_number)),
        ("cameras".to_owned(), AttributeValue::N(cameras.len().to_string())),
        ("entries".to_owned(), binary(pack_plan(cameras)?)),
    ]))
}

/// Reads a plan's row.
pub(super) fn plan_row(row: RowReader<'_>) -> Result<PlanRow, AwsFailure> {
    Ok(PlanRow { term: row.number("term")?, number: row.number("plan")?, cameras: plan_of(row, "entries")? })
}

/// Returns the attributes of a row of loads.
pub(super) fn loads_attributes(loads: &CameraLoads) -> Result<MemberAttributes, AwsFailure> {
    Ok(MemberAttributes::from([
        ("cameras".to_owned(), AttributeValue::N(loads.len().to_string())),
        ("loads".to_owned(), binary(pack_loads(loads)?)),
    ]))
}

/// Reads a row of loads.
pub(super) fn loads_row(row: RowReader<'_>) -> Result<CameraLoads, AwsFailure> {
    loads_of(row, "loads")
}

fn amounts(capacity: ResourceAmounts) -> AttributeValue {
    let ResourceAmounts { gpu_milli, cpu_milli, memory_mib } = capacity;
    AttributeValue::M(HashMap::from([
        ("gpu_milli".to_owned(), number(gpu_milli)),
        ("cpu_milli".to_owned(), number(cpu_milli)),
        ("memory_mib".to_owned(), number(memory_mib)),
    ]))
}
