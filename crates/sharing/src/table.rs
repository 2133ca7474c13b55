//! Calls on the two tables, their answers, and a table in memory.
//!
//! The **items** table has one row per camera ([`CameraItem`]). The **members** table has the rows of one pool: `leader`, `config`,
//! and per worker its own row, its plan and its loads. A table must apply each call atomically: condition and change in one step.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::ids::{CameraKey, WorkerId};
use crate::item::{CameraItem, ItemCall, apply};
use crate::members::{ConfigRow, ConfigVersion, LeaderRow, MemberRow, PoolMembers};
use crate::placement::ResourceAmounts;

/// The task of a worker for one camera.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PlanTask {
    /// The worker is the owner: run the camera.
    Run,
    /// The worker is the next owner: prepare, then report that it is ready.
    Warm,
    /// The worker is the owner and hands the camera over once the next owner is ready.
    Release,
}

/// One camera in the plan of a worker.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PlanEntry {
    /// The epoch of the item for which the task was planned.
    pub epoch: u64,
    /// The task.
    pub task: PlanTask,
}

/// The plan of a worker. Bounded by the number of cameras.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PlanRow {
    /// The term of the leader that wrote it.
    pub term: u64,
    /// Rises with each plan of the worker, and with each leader.
    pub number: u64,
    /// The cameras.
    pub cameras: BTreeMap<CameraKey, PlanEntry>,
}

/// The measured cost of each camera of one worker. Bounded by the number of cameras.
pub type CameraLoads = BTreeMap<CameraKey, ResourceAmounts>;

/// A call on a table.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TableCall {
    /// Creates a worker's row if there is none.
    Join {
        /// The worker.
        worker: WorkerId,
        /// Its row.
        row: MemberRow,
    },
    /// Replaces a worker's row, `plan` left out, if there is one.
    Beat {
        /// The worker.
        worker: WorkerId,
        /// Its row.
        row: MemberRow,
    },
    /// Deletes a worker's rows.
    Leave {
        /// The worker.
        worker: WorkerId,
    },
    /// Reads `leader`, `config` and every worker's row, consistently.
    ReadMembers,
    /// Reads a worker's row; may be stale.
    ReadOwnRow {
        /// The worker.
        worker: WorkerId,
    },
    /// Reads `leader`; may be stale.
    ReadLeader,
    /// Makes a worker the leader with the next term, if the row has this term and beat (`None`: if there is no row).
    Lead {
        /// The new leader.
        worker: WorkerId,
        /// Term and beat that must be there.
        seen: Option<(u64, u64)>,
    },
    /// Writes the leader's beat if worker and term are still its own.
    LeaderBeat {
        /// The leader.
        worker: WorkerId,
        /// Its term.
        term: u64,
        /// The new beat.
        beat: u64,
        /// The deputies.
        deputies: Vec<WorkerId>,
    },
    /// Removes the leader's name if worker and term are its own.
    Resign {
        /// The leader.
        worker: WorkerId,
        /// Its term.
        term: u64,
    },
    /// Deletes a worker's rows if its beat is still this one.
    Expel {
        /// The worker.
        worker: WorkerId,
        /// The beat that must be there.
        beat: u64,
    },
    /// Raises the generation of the configuration by one if it is still this one (0: if there is no row).
    RaiseConfig {
        /// The generation that must be there.
        generation: u64,
        /// The newer version.
        version: ConfigVersion,
    },
    /// Writes a worker's plan unless a later term has written one.
    WritePlan {
        /// The worker.
        worker: WorkerId,
        /// The plan.
        plan: PlanRow,
    },
    /// Raises `plan` in a worker's row to this number if there is a row and its number is lower.
    PointPlan {
        /// The worker.
        worker: WorkerId,
        /// The number of the plan.
        number: u64,
    },
    /// Reads a worker's plan, consistently.
    ReadPlan {
        /// The worker.
        worker: WorkerId,
    },
    /// Writes a worker's loads.
    WriteLoads {
        /// The worker.
        worker: WorkerId,
        /// The loads.
        loads: CameraLoads,
    },
    /// Reads the loads of all workers; may be stale.
    ReadLoads,
    /// A conditional call on a camera's item.
    Item {
        /// The camera.
        camera: CameraKey,
        /// The call.
        call: ItemCall,
    },
    /// Reads a camera's item, consistently.
    ReadItem {
        /// The camera.
        camera: CameraKey,
    },
    /// Reads the items of at most [`MAX_ITEMS_PER_READ`](crate::limits::MAX_ITEMS_PER_READ) cameras, consistently. `pending` and `checkpoint` may be left out.
    ReadItems {
        /// The cameras.
        cameras: Vec<CameraKey>,
    },
}

/// The answer to a [`TableCall`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TableAnswer {
    /// A change of the members table was applied.
    Done,
    /// The condition of a change of the members table was not met.
    Refused,
    /// The rows of the pool.
    Members(PoolMembers),
    /// A worker's row; `None` if there is none.
    OwnRow(Option<MemberRow>),
    /// The leader's row; `None` if there is none.
    Leader(Option<LeaderRow>),
    /// A worker's plan; `None` if there is none.
    Plan(Option<PlanRow>),
    /// The loads of all workers.
    Loads(CameraLoads),
    /// The item after a change.
    ItemApplied(Arc<CameraItem>),
    /// The item as it is: the condition of a change was not met.
    ItemRefused(Arc<CameraItem>),
    /// The item that was read.
    Item(Arc<CameraItem>),
    /// The items that were read.
    Items(Vec<(CameraKey, Arc<CameraItem>)>),
    /// No answer in time, throttled or another error: a change may have been applied.
    Failed,
}

/// Both tables in memory: the meaning of each call, and the engine of tests and of a demonstration in one process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct MemoryTable {
    items: BTreeMap<CameraKey, Arc<CameraItem>>,
    members: PoolMembers,
    plans: BTreeMap<WorkerId, PlanRow>,
    loads: BTreeMap<WorkerId, CameraLoads>,
}

impl MemoryTable {
    /// Applies a call, and returns its answer.
    pub fn apply(&mut self, call: &TableCall) -> TableAnswer {
        match call {
            TableCall::Item { camera, call } => self.change_item(camera, call),
            TableCall::ReadItem { camera } => TableAnswer::Item(self.item(camera)),
            TableCall::ReadItems { cameras } => {
                TableAnswer::Items(cameras.iter().map(|camera| (camera.clone(), self.item(camera))).collect())
            }
            TableCall::ReadMembers => TableAnswer::Members(self.members.clone()),
            TableCall::ReadOwnRow { worker } => {
                TableAnswer::OwnRow(self.members.workers.get(worker).cloned())
            }
            TableCall::ReadLeader => TableAnswer::Leader(self.members.leader.clone()),
            TableCall::ReadPlan { worker } => TableAnswer::Plan(self.plans.get(worker).cloned()),
            TableCall::ReadLoads => {
                let all = self.loads.values().flatten();
                TableAnswer::Loads(all.map(|(camera, cost)| (camera.clone(), *cost)).collect())
            }
            change if self.change_members(change) => TableAnswer::Done,
            _ => TableAnswer::Refused,
        }
    }

    /// Returns a camera's item.
    #[must_use]
    pub fn item(&self, camera: &CameraKey) -> Arc<CameraItem> {
        self.items.get(camera).cloned().unwrap_or_default()
    }

    /// Returns the rows of the pool.
    #[must_use]
    pub fn members(&self) -> &PoolMembers {
        &self.members
    }

    fn change_item(&mut self, camera: &CameraKey, call: &ItemCall) -> TableAnswer {
        match apply(&self.item(camera), call) {
            Ok(after) => {
                let after = Arc::new(after);
                self.items.insert(camera.clone(), Arc::clone(&after));
                TableAnswer::ItemApplied(after)
            }
            Err(refusal) => TableAnswer::ItemRefused(Arc::new(*refusal.there)),
        }
    }

    /// Applies a change of the members table; returns `false` if its condition is not met.
    fn change_members(&mut self, call: &TableCall) -> bool {
        match call {
            TableCall::Join { worker, row } => self.join(worker, row),
            TableCall::Beat { worker, row } => self.beat(worker, row),
            TableCall::Leave { worker } => self.remove(worker, |_| true),
            TableCall::Expel { worker, beat } => self.remove(worker, |row| row.beat == *beat),
            TableCall::Lead { worker, seen } => self.lead(worker, *seen),
            TableCall::LeaderBeat { worker, term, beat, deputies } => {
                self.change_leader(worker, *term, |row| {
                    row.beat = *beat;
                    row.deputies.clone_from(deputies);
                })
            }
            TableCall::Resign { worker, term } => self.change_leader(worker, *term, |row| row.worker = None),
            TableCall::RaiseConfig { generation, version } => self.raise_config(*generation, version),
            TableCall::WritePlan { worker, plan } => self.write_plan(worker, plan),
            TableCall::PointPlan { worker, number } => {
                let row = self.members.workers.get_mut(worker).filter(|row| row.plan < *number);
                row.map(|row| row.plan = *number).is_some()
            }
            TableCall::WriteLoads { worker, loads } => {
                self.loads.insert(worker.clone(), loads.clone());
                true
            }
            _ => false,
        }
    }

    fn join(&mut self, worker: &WorkerId, row: &MemberRow) -> bool {
        let is_new = !self.members.workers.contains_key(worker);
        if is_new {
            self.members.workers.insert(worker.clone(), row.clone());
        }
        is_new
    }

    fn beat(&mut self, worker: &WorkerId, row: &MemberRow) -> bool {
        let Some(there) = self.members.workers.get_mut(worker) else { return false };
        *there = MemberRow { plan: there.plan, ..row.clone() };
        true
    }

    fn remove(&mut self, worker: &WorkerId, condition: impl Fn(&MemberRow) -> bool) -> bool {
        let is_met = self.members.workers.get(worker).is_some_and(condition);
        if is_met {
            self.members.workers.remove(worker);
            self.plans.remove(worker);
            self.loads.remove(worker);
        }
        is_met
    }

    fn lead(&mut self, worker: &WorkerId, seen: Option<(u64, u64)>) -> bool {
        let there = self.members.leader.as_ref().map(|row| (row.term, row.beat));
        let is_met = there == seen;
        if is_met {
            let term = there.map_or(0, |(term, _)| term) + 1;
            let row = LeaderRow { worker: Some(worker.clone()), term, beat: 0, deputies: Vec::new() };
            self.members.leader = Some(row);
        }
        is_met
    }

    fn change_leader(&mut self, worker: &WorkerId, term: u64, change: impl Fn(&mut LeaderRow)) -> bool {
        match &mut self.members.leader {
            Some(row) if row.worker.as_ref() == Some(worker) && row.term == term => {
                change(row);
                true
            }
            _ => false,
        }
    }

    fn raise_config(&mut self, generation: u64, version: &ConfigVersion) -> bool {
        let there = self.members.config.as_ref().map_or(0, |row| row.generation);
        let is_met = there == generation;
        if is_met {
            self.members.config = Some(ConfigRow { generation: generation + 1, version: version.clone() });
        }
        is_met
    }

    fn write_plan(&mut self, worker: &WorkerId, plan: &PlanRow) -> bool {
        let is_met = self.plans.get(worker).is_none_or(|there| there.term <= plan.term);
        if is_met {
            self.plans.insert(worker.clone(), plan.clone());
        }
        is_met
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::members::MemberPhase;

    fn worker() -> WorkerId {
        WorkerId::new("a")
    }

    fn joined() -> MemoryTable {
        let mut table = MemoryTable::default();
        let call = TableCall::Join { worker: worker(), row: MemberRow::default() };
        assert_eq!(table.apply(&call), TableAnswer::Done);
        assert_eq!(table.apply(&call), TableAnswer::Refused, "a second time");
        table
    }

    fn beat(beat: u64) -> TableCall {
        let row = MemberRow { beat, phase: MemberPhase::Ready, ..MemberRow::default() };
        TableCall::Beat { worker: worker(), row }
    }

    #[test]
    fn a_beat_keeps_the_plan_that_the_leader_has_pointed_to() {
        let mut table = joined();
        table.apply(&TableCall::PointPlan { worker: worker(), number: 7 });
        assert_eq!(table.apply(&beat(1)), TableAnswer::Done);
        let row = &table.members().workers[&worker()];
        assert_eq!((row.plan, row.beat, row.phase), (7, 1, MemberPhase::Ready));
    }

    #[test]
    fn the_number_of_a_plan_only_rises() {
        let mut table = joined();
        let answers =
            [5, 4, 5, 6].map(|number| table.apply(&TableCall::PointPlan { worker: worker(), number }));
        use TableAnswer::{Done, Refused};
        assert_eq!(answers, [Done, Refused, Refused, Done]);
    }

    #[test]
    fn a_beat_in_time_saves_a_worker_from_expulsion() {
        let mut table = joined();
        table.apply(&beat(3));
        assert_eq!(table.apply(&TableCall::Expel { worker: worker(), beat: 2 }), TableAnswer::Refused);
        assert_eq!(table.apply(&TableCall::Expel { worker: worker(), beat: 3 }), TableAnswer::Done);
        assert_eq!(table.apply(&beat(4)), TableAnswer::Refused, "an expelled worker has no row to beat");
    }

    #[test]
    fn a_plan_of_an_earlier_term_does_not_replace_a_later_one() {
        let mut table = joined();
        let plan =
            |term| TableCall::WritePlan { worker: worker(), plan: PlanRow { term, ..PlanRow::default() } };
        assert_eq!(table.apply(&plan(2)), TableAnswer::Done);
        assert_eq!(table.apply(&plan(1)), TableAnswer::Refused);
    }

    #[test]
    fn of_two_claims_of_the_lead_one_wins() {
        let mut table = joined();
        let claim = |name| TableCall::Lead { worker: WorkerId::new(name), seen: None };
        assert_eq!(table.apply(&claim("a")), TableAnswer::Done);
        assert_eq!(table.apply(&claim("b")), TableAnswer::Refused);
        assert_eq!(table.members().leader.as_ref().map(|row| row.term), Some(1));
    }

    #[test]
    fn of_two_newer_configurations_at_once_one_gets_the_generation() {
        let mut table = joined();
        let raise = |modified_ms| TableCall::RaiseConfig {
            generation: 0,
            version: ConfigVersion { modified_ms, digest: "d".into() },
        };
        assert_eq!(table.apply(&raise(1)), TableAnswer::Done);
        assert_eq!(table.apply(&raise(2)), TableAnswer::Refused);
    }
}
