//! Plan rows of the workers: written before the worker's row points to them.

use std::collections::BTreeMap;

use crate::ids::{CameraKey, WorkerId};
use crate::members::MemberRow;
use crate::table::{PlanEntry, PlanRow, TableAnswer, TableCall};

/// The plan of one worker, as the leader has written it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct WrittenPlan {
    cameras: BTreeMap<CameraKey, PlanEntry>,
    number: u64,
    stage: PlanStage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum PlanStage {
    Writing,
    Pointing,
    Settled,
    Failed,
}

/// The plans of all workers. Bounded by the number of members and of cameras.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct PlanRows {
    written: BTreeMap<WorkerId, WrittenPlan>,
}

impl PlanRows {
    /// Returns the writes that bring the plans up to date, one per worker at most.
    pub(super) fn sync(
        &mut self,
        term: u64,
        members: &BTreeMap<WorkerId, MemberRow>,
        mut wanted: BTreeMap<WorkerId, BTreeMap<CameraKey, PlanEntry>>,
    ) -> Vec<TableCall> {
        self.written.retain(|worker, _| members.contains_key(worker));
        let mut calls = Vec::new();
        for (worker, row) in members {
            let cameras = wanted.remove(worker).unwrap_or_default();
            if self.is_due(worker, row, &cameras) {
                calls.push(self.write(term, worker, row, cameras));
            }
        }
        calls
    }

    fn is_due(&self, worker: &WorkerId, row: &MemberRow, cameras: &BTreeMap<CameraKey, PlanEntry>) -> bool {
        match self.written.get(worker) {
            None => row.plan > 0 || !cameras.is_empty(),
            Some(plan) => match plan.stage {
                PlanStage::Writing | PlanStage::Pointing => false,
                PlanStage::Failed => true,
                PlanStage::Settled => plan.cameras != *cameras,
            },
        }
    }

    fn write(
        &mut self,
        term: u64,
        worker: &WorkerId,
        row: &MemberRow,
        cameras: BTreeMap<CameraKey, PlanEntry>,
    ) -> TableCall {
        // The term comes first, or a plan of the former leader could have the number of a later one, which the worker would not read.
        let last = self.written.get(worker).map_or(0, |plan| plan.number).max(row.plan);
        let number = last.max(term << 32) + 1;
        let plan = PlanRow { term, number, cameras: cameras.clone() };
        self.written.insert(worker.clone(), WrittenPlan { cameras, number, stage: PlanStage::Writing });
        TableCall::WritePlan { worker: worker.clone(), plan }
    }

    #[cfg(test)]
    pub(super) fn number(&self, worker: &WorkerId) -> u64 {
        self.written.get(worker).map_or(0, |plan| plan.number & 0xffff_ffff)
    }

    /// Takes the answer to a plan's write, and returns the call that points the worker to it.
    pub(super) fn written(
        &mut self,
        worker: &WorkerId,
        number: u64,
        answer: &TableAnswer,
    ) -> Option<TableCall> {
        let plan = self.written.get_mut(worker).filter(|plan| plan.number == number)?;
        if *answer != TableAnswer::Done {
            plan.stage = PlanStage::Failed;
            return None;
        }
        plan.stage = PlanStage::Pointing;
        Some(TableCall::PointPlan { worker: worker.clone(), number })
    }

    /// Takes the answer to the call that points a worker to its plan.
    pub(super) fn pointed(&mut self, worker: &WorkerId, number: u64, answer: &TableAnswer) {
        if let Some(plan) = self.written.get_mut(worker).filter(|plan| plan.number == number) {
            plan.stage = if *answer == TableAnswer::Done { PlanStage::Settled } else { PlanStage::Failed };
        }
    }
}
