//! A worker's view of the pool, and its work as the leader.

use std::sync::Arc;

use super::{Worker, WorkerOutput};
use crate::ids::WorkerId;
use crate::lead::LeadChange;
use crate::limits::{
    LATE_MS, LEADER_SILENCE_MS, MAX_DEPUTIES, MEMBERS_READ_MS, NON_DEPUTY_DELAY_MS, SILENCE_MS,
};
use crate::members::{LeaderRow, MemberPhase};
use crate::plan::PoolDirector;
use crate::table::{TableAnswer, TableCall};

/// The silence of a leader after which any worker takes the lead, two reads of the leader's row included.
const MISSING_LEAD_MS: u64 = LEADER_SILENCE_MS + NON_DEPUTY_DELAY_MS + 2 * MEMBERS_READ_MS;

impl Worker {
    pub(super) fn members_read(&mut self, now_ms: u64, answer: &TableAnswer, out: &mut Vec<WorkerOutput>) {
        let asked_ms = self.members_reads.finish(now_ms, MEMBERS_READ_MS);
        let TableAnswer::Members(members) = answer else { return };
        self.members.clone_from(members);
        self.members_asked_ms = asked_ms;
        if let Some(drain) = &mut self.drain {
            drain.is_informed = true;
        }
        self.watch.observe(now_ms, &members.workers);
        self.leader_read(now_ms, members.leader.as_ref());
        self.settle_config(now_ms, out);
        self.lead_pool(now_ms, out);
    }

    pub(super) fn leader_read(&mut self, now_ms: u64, row: Option<&LeaderRow>) {
        let change = self.lead.observe(now_ms, row);
        self.is_lead_missing = self.lead.is_leaderless(now_ms, MISSING_LEAD_MS);
        self.change_lead(now_ms, change);
    }

    /// Compares this worker's configuration with the newest one of the pool.
    pub(super) fn settle_config(&mut self, now_ms: u64, out: &mut Vec<WorkerOutput>) {
        let newest = self.members.config.clone().unwrap_or_default();
        let own = &self.settings.config.version;
        // The same file may have another time on another host.
        let is_same = own.digest == newest.version.digest && newest.generation > 0;
        if is_same && self.membership.row().generation != newest.generation {
            self.membership.row_mut().generation = newest.generation;
            self.membership.set_phase(now_ms, self.membership.row().phase);
        }
        let is_newer = !is_same && (newest.generation == 0 || *own > newest.version);
        self.is_config_settled = !is_newer;
        self.is_newest_config_gone = !self.has_living_worker_of(now_ms, newest.generation);
        if is_newer && !self.is_raising_config {
            self.is_raising_config = true;
            let version = own.clone();
            out.push(WorkerOutput::Call(TableCall::RaiseConfig { generation: newest.generation, version }));
        }
        if !is_same && !is_newer && !self.is_newest_config_gone && self.lead.term().is_some() {
            // Another worker has a newer configuration and must plan.
            self.lead.resign(now_ms);
            self.director = None;
        }
    }

    /// Returns `true` if a ready worker with this configuration, or a newer one, still beats.
    fn has_living_worker_of(&self, now_ms: u64, generation: u64) -> bool {
        self.members.workers.iter().any(|(worker, row)| {
            let is_ready = row.phase == MemberPhase::Ready && row.generation >= generation;
            is_ready && self.watch.unchanged(now_ms, worker, SILENCE_MS).is_none()
        })
    }

    pub(super) fn change_lead(&mut self, now_ms: u64, change: Option<LeadChange>) {
        match (change, self.lead.term()) {
            (Some(LeadChange::Won { silent }), Some(term)) => {
                self.former_leader = silent;
                self.members_reads.hasten(now_ms);
                let (config, generation) =
                    (Arc::clone(&self.settings.config), self.membership.row().generation);
                self.director = Some(PoolDirector::new(now_ms, term, config, generation));
            }
            (Some(_), _) => self.director = None,
            (None, _) => {}
        }
    }

    /// Does the leader's work after a read of the members.
    pub(super) fn lead_pool(&mut self, now_ms: u64, out: &mut Vec<WorkerOutput>) {
        let Some(director) = &mut self.director else { return };
        let generation = self.membership.row().generation;
        if generation > 0 {
            director.set_config(Arc::clone(&self.settings.config), generation);
            director.plan(now_ms, &self.members.workers, self.members_asked_ms);
        }
        self.lead.set_deputies(self.deputies());
        for (worker, beat) in self.expellable(now_ms) {
            if self.expelling.insert(worker.clone()) {
                out.push(WorkerOutput::Call(TableCall::Expel { worker, beat }));
            }
        }
    }

    /// Returns the ready workers with the smallest ids beside this one.
    pub(super) fn deputies(&self) -> Vec<WorkerId> {
        let workers = self.members.workers.iter();
        let ready =
            workers.filter(|(worker, row)| row.phase == MemberPhase::Ready && **worker != self.settings.id);
        ready.take(MAX_DEPUTIES).map(|(worker, _)| worker.clone()).collect()
    }

    /// Returns the workers that count as dead, and their last beats.
    pub(super) fn expellable(&mut self, now_ms: u64) -> Vec<(WorkerId, u64)> {
        let mut silent = self.watch.silent(now_ms);
        silent.remove(&self.settings.id);
        let former = self.former_leader.clone();
        let former = former.and_then(|worker| {
            let beat = self.watch.unchanged(now_ms, &worker, LATE_MS)?;
            Some((worker, beat))
        });
        if let Some((worker, _)) = &former {
            silent.remove(worker);
        }
        let except: Vec<_> = former.iter().map(|(worker, _)| worker).chain([&self.settings.id]).collect();
        let late = self.watch.count_unchanged(now_ms, LATE_MS, &except);
        let members = self.members.workers.len();
        let mut expellable = Vec::from_iter(former);
        if self.guard.allows(now_ms, late, members, self.lead.written_ms()) {
            expellable.extend(silent);
        }
        expellable
    }

    pub(super) fn expelled(&mut self, now_ms: u64, worker: &WorkerId, answer: &TableAnswer) {
        self.expelling.remove(worker);
        if *answer != TableAnswer::Done {
            self.members_reads.hasten(now_ms);
            return;
        }
        self.former_leader.take_if(|former| former == worker);
        self.members.workers.remove(worker);
        if let Some(director) = &mut self.director {
            director.plan(now_ms, &self.members.workers, self.members_asked_ms);
        }
    }
}
