//! The end of a worker, and its first plan as the leader.

use std::ops::Range;

use super::*;
use crate::item::CameraItem;
use crate::plan::PoolCamera;
use crate::table::MemoryTable;

/// A worker and the table that answers it.
struct WorkerAtTable {
    worker: Worker,
    table: MemoryTable,
    /// The delay between a read of the members' rows and its answer.
    rows_take_ms: u64,
    /// The answers to reads of the members' rows that are under way, and when they come.
    rows: Vec<(u64, TableAnswer)>,
}

impl WorkerAtTable {
    /// Returns worker `a`, which is ready and has joined at time 0.
    fn joined(table: MemoryTable, config: PoolConfig) -> Self {
        let settings = WorkerSettings {
            id: WorkerId::new("a"),
            zone: Arc::default(),
            reads: [1].into(),
            when_away: WhenTableIsAway::Hold,
            config: Arc::new(config),
        };
        let mut rig = Self { worker: Worker::new(settings, 0), table, rows_take_ms: 0, rows: Vec::new() };
        let first = rig.worker.step(0, WorkerInput::Ready);
        rig.answer(0, calls(&first));
        assert!(rig.worker.membership.is_joined());
        rig
    }

    /// Brings calls to the table and answers to the worker, until no call is left but reads of the members' rows.
    fn answer(&mut self, now_ms: u64, mut called: Vec<TableCall>) {
        while let Some(call) = called.pop() {
            let answer = self.table.apply(&call);
            if call == TableCall::ReadMembers {
                self.rows.push((now_ms + self.rows_take_ms, answer));
            } else {
                called.extend(self.take(now_ms, call, answer));
            }
        }
    }

    fn take(&mut self, now_ms: u64, call: TableCall, answer: TableAnswer) -> Vec<TableCall> {
        calls(&self.worker.step(now_ms, WorkerInput::Answer { call: Box::new(call), answer }))
    }

    fn run(&mut self, times: Range<u64>) {
        for now_ms in times {
            let called = self.worker.step(now_ms, WorkerInput::Wake);
            self.answer(now_ms, calls(&called));
            while let Some(index) = self.rows.iter().position(|(due_ms, _)| now_ms >= *due_ms) {
                let (_, answer) = self.rows.remove(index);
                let called = self.take(now_ms, TableCall::ReadMembers, answer);
                self.answer(now_ms, called);
            }
        }
    }
}

fn calls(outputs: &[WorkerOutput]) -> Vec<TableCall> {
    let call = |output: &WorkerOutput| match output {
        WorkerOutput::Call(call) => Some(call.clone()),
        _ => None,
    };
    outputs.iter().filter_map(call).collect()
}

#[test]
fn a_worker_that_ends_does_not_join_again_whatever_becomes_of_its_last_beat() {
    for is_expelled in [false, true] {
        let WorkerAtTable { mut worker, mut table, .. } =
            WorkerAtTable::joined(MemoryTable::default(), PoolConfig::default());
        let ending = calls(&worker.step(1_000, WorkerInput::Drain { by_ms: 13_000 }));
        let beat = ending.iter().find(|call| matches!(call, TableCall::Beat { .. })).unwrap();
        let leave = ending.iter().find(|call| matches!(call, TableCall::Leave { .. })).unwrap();
        let gone = match is_expelled {
            true => TableCall::Expel { worker: worker.id().clone(), beat: worker.membership.row().beat - 1 },
            false => leave.clone(),
        };
        assert_eq!(table.apply(&gone), TableAnswer::Done);
        let answer = table.apply(beat);
        assert_eq!(answer, TableAnswer::Refused);
        let end = worker.step(1_010, WorkerInput::Answer { call: Box::new(beat.clone()), answer });
        assert_eq!(end.last(), Some(&WorkerOutput::Left(WorkerEnd::Drained)), "expelled: {is_expelled}");
    }
}

fn join(table: &mut MemoryTable, worker: &WorkerId) {
    let row = MemberRow {
        phase: MemberPhase::Ready,
        generation: 1,
        reads: [1].into(),
        capacity: ResourceAmounts { gpu_milli: 1_000, ..ResourceAmounts::default() },
        ..MemberRow::default()
    };
    assert_eq!(table.apply(&TableCall::Join { worker: worker.clone(), row }), TableAnswer::Done);
}

#[test]
fn a_new_leader_leaves_cameras_to_a_worker_that_joined_after_it_last_read_the_rows() {
    let (camera, leader, late) = (CameraKey::new("front"), WorkerId::new("l"), WorkerId::new("w"));
    let mut table = MemoryTable::default();
    join(&mut table, &leader);
    table.apply(&TableCall::Lead { worker: leader.clone(), seen: None });
    let cameras = [(camera.clone(), PoolCamera::default())].into();
    let mut rig = WorkerAtTable::joined(table, PoolConfig { cameras, ..PoolConfig::default() });
    rig.run(0..2_000);
    assert_eq!((rig.worker.members().workers.len(), rig.worker.leading_term()), (2, None));

    join(&mut rig.table, &late);
    let grant = CameraItem::default().claim_for(&late);
    rig.table.apply(&TableCall::Item { camera: camera.clone(), call: grant });
    rig.table.apply(&TableCall::Resign { worker: leader, term: 1 });
    rig.rows_take_ms = 300;
    rig.run(2_000..5_000);
    assert_eq!(rig.worker.leading_term(), Some(2));
    let item = rig.table.item(&camera);
    assert_eq!((item.owner.as_ref(), item.strikes), (Some(&late), 0));

    rig.table.apply(&TableCall::Leave { worker: late });
    rig.run(5_000..7_000);
    let item = rig.table.item(&camera);
    assert_eq!((item.owner.as_ref().map(WorkerId::as_str), item.strikes), (Some("a"), 1));
}
