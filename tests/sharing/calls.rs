//! Random calls of workers on a pool's tables, most of them such that their conditions are met.

use std::collections::{BTreeMap, BTreeSet};

use ::sharing::{
    CameraItem, CameraKey, CameraResumeState, ConfigVersion, ItemCall, ItemGrant, MemberPhase, MemberRow,
    MemoryTable, OwnerAfter, OwnerWrite, PendingRecord, PlanEntry, PlanRow, PlanTask, ResourceAmounts,
    TableCall, WorkerId,
};
use kvs_infer::checkpoint::Checkpoint;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::publish::event;

/// A generator of calls, the same for the same seed.
pub(super) struct RandomCalls {
    random: StdRng,
    /// Number of the last event.
    seq: u64,
}

/// Returns the record of an event, with white space and escapes that another serializer would write in another way.
pub(super) fn record(seq: u64) -> PendingRecord {
    let id = format!("event-{seq}");
    let body = format!(
        r#"{{"seq": {seq},"holder":"h\u0061","payload":"{{\"event_id\":\"{id}\",\"ts_ms\":5}}\n{{\"é\": 1.50}}","sinks":["kds/events"],"new":[1, 2]}}"#
    );
    PendingRecord { seq, id: id.as_str().into(), body: body.into_bytes().into() }
}

/// Returns the state that a worker writes for a checkpoint.
pub(super) fn state_of(checkpoint: &Checkpoint, checkpoint_version: u32) -> CameraResumeState {
    let position = checkpoint.position.as_ref().map(|position| position.fragment.clone());
    CameraResumeState {
        position: position.unwrap_or_default(),
        seq: checkpoint.decide.seq(),
        checkpoint: checkpoint.to_bytes().unwrap().to_vec().into(),
        checkpoint_version,
    }
}

pub(super) fn workers() -> [WorkerId; 3] {
    ["01A", "01B", "01C"].map(WorkerId::new)
}

pub(super) fn cameras() -> [CameraKey; 3] {
    ["door", "gate", "yard"].map(CameraKey::new)
}

impl RandomCalls {
    pub(super) fn new(seed: u64) -> Self {
        Self { random: StdRng::seed_from_u64(seed), seq: 0 }
    }

    /// Returns a call that fits the table most of the time.
    pub(super) fn next(&mut self, table: &MemoryTable) -> TableCall {
        if self.random.random_bool(0.6) { self.item_call(table) } else { self.member_call(table) }
    }

    fn item_call(&mut self, table: &MemoryTable) -> TableCall {
        let camera = self.one_of(&cameras());
        match self.random.random_range(0..10) {
            0 => TableCall::ReadItem { camera },
            1 => {
                TableCall::ReadItems { cameras: [cameras().to_vec(), vec![CameraKey::new("none")]].concat() }
            }
            _ => {
                let item = table.item(&camera);
                TableCall::Item { call: self.change(&item), camera }
            }
        }
    }

    fn change(&mut self, item: &CameraItem) -> ItemCall {
        let epoch = self.maybe_wrong(item.epoch);
        let to = self.one_of(&workers());
        let owner = item.owner.clone().unwrap_or_else(|| self.one_of(&workers()));
        let owner = if self.is_wrong() { self.one_of(&workers()) } else { owner };
        let next = item.next.clone().unwrap_or_else(|| self.one_of(&workers()));
        let next = if self.is_wrong() { self.one_of(&workers()) } else { next };
        let strikes = self.random.random_range(0..4);
        match self.random.random_range(0..12) {
            0..=2 => {
                let from = if self.is_wrong() { None } else { item.owner.clone() };
                ItemCall::Grant(ItemGrant { from, epoch, to, strikes })
            }
            3 => ItemCall::Free { owner, epoch, strikes },
            4 => ItemCall::Offer { owner, epoch, next: to },
            5 => ItemCall::Ready { epoch, next },
            6 => ItemCall::Withdraw { epoch, next },
            _ => ItemCall::Write(self.write(item, owner, epoch)),
        }
    }

    fn write(&mut self, item: &CameraItem, owner: WorkerId, epoch: u64) -> OwnerWrite {
        let then = match self.random.random_range(0..8) {
            0 => OwnerAfter::Free,
            1 => OwnerAfter::Next(item.next.clone().unwrap_or_else(|| self.one_of(&workers()))),
            _ => OwnerAfter::Same,
        };
        let records = if self.random.random_bool(0.5) { self.random.random_range(1..4) } else { 0 };
        let pending = (self.seq + 1..=self.seq + records).map(record).collect();
        self.seq += records;
        let fragment = self.random.random_bool(0.9).then_some(self.random.random_range(0..1_000));
        let is_first = records == 0 && self.random.random_bool(0.1);
        let version = self.random.random_range(0..4);
        let state = if is_first {
            CameraResumeState { checkpoint_version: version, ..CameraResumeState::default() }
        } else {
            state_of(&event::checkpoint(fragment, self.seq), version)
        };
        let spec = self.one_of(&["", "one", "two"]).into();
        let (rev, clear_strikes) = (self.maybe_wrong(item.rev), self.random.random_bool(0.3));
        OwnerWrite { owner, epoch, rev, state, pending, spec, clear_strikes, then }
    }

    fn member_call(&mut self, table: &MemoryTable) -> TableCall {
        let members = table.members();
        let worker = self.one_of(&workers());
        let beat = members.workers.get(&worker).map_or(0, |row| row.beat);
        let leader = members.leader.as_ref();
        let term = leader.map_or(1, |row| row.term);
        let led = leader.and_then(|row| row.worker.clone()).unwrap_or_else(|| worker.clone());
        let plan = members.workers.get(&worker).map_or(0, |row| row.plan);
        match self.random.random_range(0..17) {
            0 | 1 => TableCall::Join { row: self.row(0), worker },
            2 | 3 => TableCall::Beat { row: self.row(beat + 1), worker },
            4 if self.random.random_bool(0.5) => TableCall::Leave { worker },
            4 => TableCall::Expel { worker, beat: self.maybe_wrong(beat) },
            5 => {
                let seen = leader.map(|row| (self.maybe_wrong(row.term), row.beat));
                TableCall::Lead { worker, seen: if self.is_wrong() { None } else { seen } }
            }
            6 | 7 => TableCall::LeaderBeat {
                worker: led,
                term: self.maybe_wrong(term),
                beat: self.random.random_range(0..100),
                deputies: workers()[self.random.random_range(0..3)..].iter().rev().cloned().collect(),
            },
            8 => TableCall::Resign { worker: led, term: self.maybe_wrong(term) },
            9 => {
                let generation = members.config.as_ref().map_or(0, |row| row.generation);
                let version = ConfigVersion { modified_ms: self.random.random(), digest: "abc".into() };
                TableCall::RaiseConfig { generation: self.maybe_wrong(generation), version }
            }
            10 => TableCall::WritePlan { plan: self.plan(), worker },
            11 => TableCall::PointPlan { worker, number: self.random.random_range(0..=plan + 2) },
            12 => TableCall::ReadPlan { worker },
            13 => TableCall::WriteLoads {
                worker,
                loads: cameras().map(|camera| (camera, self.amounts())).into(),
            },
            14 => TableCall::ReadLoads,
            15 => TableCall::ReadOwnRow { worker },
            _ if self.random.random_bool(0.5) => TableCall::ReadLeader,
            _ => TableCall::ReadMembers,
        }
    }

    fn row(&mut self, beat: u64) -> MemberRow {
        let models = ["people", "plates"][self.random.random_range(0..2)..].iter();
        MemberRow {
            beat,
            phase: self.one_of(&[MemberPhase::Joining, MemberPhase::Ready, MemberPhase::Draining]),
            plan: self.random.random_range(0..3),
            capacity: self.amounts(),
            cameras: self.random.random_range(0..50),
            is_overloaded: self.random.random(),
            generation: self.random.random_range(0..9),
            reads: (0..self.random.random_range(0..3)).collect(),
            models: if self.random.random() {
                BTreeSet::new()
            } else {
                models.map(|name| (*name).into()).collect()
            },
            zone: self.one_of(&["", "us-east-1a"]).into(),
        }
    }

    fn plan(&mut self) -> PlanRow {
        let mut planned = BTreeMap::new();
        for camera in cameras() {
            let task = self.one_of(&[PlanTask::Run, PlanTask::Warm, PlanTask::Release]);
            planned.insert(camera, PlanEntry { epoch: self.random.random(), task });
        }
        PlanRow { term: self.random.random_range(0..4), number: self.random.random(), cameras: planned }
    }

    fn amounts(&mut self) -> ResourceAmounts {
        ResourceAmounts {
            gpu_milli: self.random.random(),
            cpu_milli: self.random.random_range(0..9),
            memory_mib: 0,
        }
    }

    fn is_wrong(&mut self) -> bool {
        self.random.random_bool(0.1)
    }

    fn maybe_wrong(&mut self, value: u64) -> u64 {
        if self.is_wrong() {
            value.wrapping_add(self.random.random_range(0..3)).saturating_sub(1)
        } else {
            value
        }
    }

    fn one_of<T: Clone>(&mut self, values: &[T]) -> T {
        values[self.random.random_range(0..values.len())].clone()
    }
}
