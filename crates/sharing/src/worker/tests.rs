//! The end of a worker.

use super::*;
use crate::table::MemoryTable;

/// A worker of an empty configuration that has joined.
fn joined(table: &mut MemoryTable) -> Worker {
    let settings = WorkerSettings {
        id: WorkerId::new("a"),
        zone: Arc::default(),
        reads: [1].into(),
        when_away: WhenTableIsAway::Hold,
        config: Arc::default(),
    };
    let mut worker = Worker::new(settings, 0);
    for call in calls(&worker.step(0, WorkerInput::Ready)) {
        let answer = table.apply(&call);
        let _ = worker.step(0, WorkerInput::Answer { call: Box::new(call), answer });
    }
    assert!(worker.membership.is_joined());
    worker
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
        let mut table = MemoryTable::default();
        let mut worker = joined(&mut table);
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
