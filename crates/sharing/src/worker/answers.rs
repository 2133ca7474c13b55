//! Answers of the tables, each brought to the part that made the call.

use super::{Worker, WorkerEnd, WorkerOutput};
use crate::item::ItemCall;
use crate::limits::{LOADS_MS, MEMBERS_READ_MS, RETRY_MIN_MS};
use crate::table::{TableAnswer, TableCall};

impl Worker {
    pub(super) fn answer(
        &mut self,
        now_ms: u64,
        call: &TableCall,
        answer: &TableAnswer,
        out: &mut Vec<WorkerOutput>,
    ) {
        match call {
            TableCall::Join { .. } => self.beaten(now_ms, true, answer),
            TableCall::Beat { .. } => self.beaten(now_ms, false, answer),
            TableCall::Leave { .. } => self.left(now_ms, answer),
            TableCall::ReadMembers => self.members_read(now_ms, answer, out),
            TableCall::ReadOwnRow { .. } => {
                if let Some(number) = self.membership.row_read(now_ms, answer) {
                    self.plan_wanted = self.plan_wanted.max(number);
                }
            }
            TableCall::ReadLeader => {
                self.leader_reads.finish(now_ms, MEMBERS_READ_MS);
                if let TableAnswer::Leader(row) = answer {
                    self.leader_read(now_ms, row.as_ref());
                }
            }
            TableCall::ReadPlan { .. } => self.plan_read(now_ms, answer),
            TableCall::WriteLoads { .. } => {
                self.loads_writes.finish(now_ms, LOADS_MS);
            }
            TableCall::Lead { seen, .. } => {
                let change = self.lead.claimed(now_ms, *seen, answer);
                self.leader_reads.hasten(now_ms);
                self.change_lead(now_ms, change);
            }
            TableCall::LeaderBeat { term, .. } => {
                let change = self.lead.beaten(now_ms, *term, answer);
                self.change_lead(now_ms, change);
            }
            TableCall::Resign { term, .. } => {
                let change = self.lead.resigned(now_ms, *term, answer);
                self.change_lead(now_ms, change);
            }
            TableCall::RaiseConfig { .. } => {
                self.is_raising_config = false;
                self.members_reads.hasten(now_ms);
            }
            TableCall::Expel { worker, .. } => self.expelled(now_ms, worker, answer),
            TableCall::Item { .. } | TableCall::ReadItem { .. } | TableCall::ReadItems { .. } => {
                self.item_answer(now_ms, call, answer);
            }
            TableCall::WritePlan { .. } | TableCall::PointPlan { .. } | TableCall::ReadLoads => {
                self.director_answer(now_ms, call, answer, out);
            }
        }
    }

    pub(super) fn item_answer(&mut self, now_ms: u64, call: &TableCall, answer: &TableAnswer) {
        match call {
            TableCall::Item { camera, call: call @ (ItemCall::Write(_) | ItemCall::Ready { .. }) } => {
                self.duties.item_answered(now_ms, camera, call, answer);
            }
            TableCall::Item { camera, .. } => {
                if let Some(director) = &mut self.director {
                    director.item_answered(now_ms, camera, answer);
                }
            }
            TableCall::ReadItem { camera } => {
                if let Some(director) = &mut self.director {
                    director.item_read(now_ms, camera, answer);
                }
                self.duties.item_read(now_ms, camera, answer);
            }
            TableCall::ReadItems { cameras } => {
                if let Some(director) = &mut self.director {
                    let was_informed = director.is_informed();
                    director.items_read(now_ms, cameras, answer);
                    if !was_informed && director.is_informed() {
                        director.plan(now_ms, &self.members.workers, self.members_asked_ms);
                        // Owners without a row among these, which are older, may have joined since.
                        self.members_reads.hasten(now_ms);
                    }
                }
            }
            _ => {}
        }
    }

    pub(super) fn director_answer(
        &mut self,
        now_ms: u64,
        call: &TableCall,
        answer: &TableAnswer,
        out: &mut Vec<WorkerOutput>,
    ) {
        let Some(director) = &mut self.director else { return };
        match (call, answer) {
            (TableCall::WritePlan { worker, plan }, answer) => {
                out.extend(director.plan_written(worker, plan.number, answer).map(WorkerOutput::Call));
            }
            (TableCall::PointPlan { worker, number }, answer) => {
                director.plan_pointed(now_ms, worker, *number, answer);
            }
            (TableCall::ReadLoads, TableAnswer::Loads(loads)) => director.set_loads(loads),
            _ => {}
        }
    }

    pub(super) fn beaten(&mut self, now_ms: u64, is_join: bool, answer: &TableAnswer) {
        if !self.membership.beaten(now_ms, is_join, answer) {
            self.duties.abort_all();
            // A worker that leaves finds its row gone if its last beat is applied after the removal. One that drains and was
            // expelled has nothing left to hand over. Neither may join again.
            let has_drain = self.drain.is_some();
            self.end = Some(if has_drain { WorkerEnd::Drained } else { WorkerEnd::Expelled });
        } else if *answer == TableAnswer::Done {
            self.duties.set_isolated(false);
        }
    }

    pub(super) fn left(&mut self, now_ms: u64, answer: &TableAnswer) {
        match (answer, &mut self.drain) {
            (TableAnswer::Failed, Some(drain)) => drain.leave.retry(now_ms, RETRY_MIN_MS),
            _ => self.end = Some(WorkerEnd::Drained),
        }
    }

    pub(super) fn plan_read(&mut self, now_ms: u64, answer: &TableAnswer) {
        self.plan_reads.retry(now_ms, RETRY_MIN_MS);
        let TableAnswer::Plan(plan) = answer else { return };
        self.is_plan_check_due = false;
        let Some(plan) = plan.as_ref().filter(|plan| (plan.term, plan.number) > self.plan) else {
            self.plan_wanted = self.plan.1;
            return;
        };
        self.plan = (plan.term, plan.number);
        self.plan_wanted = plan.number;
        self.duties.follow(now_ms, plan);
    }
}
