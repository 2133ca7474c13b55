//! One worker process of a pool, as one step function.
//!
//! The shell calls [`Worker::step`] with each event and with the time, makes the calls and the local actions that come out, and
//! calls it again with `Wake` at [`Worker::wake_at`]. Nothing here reads a clock, a socket or a random source, so the same inputs
//! give the same outputs.
//!
//! # Duties of the shell
//!
//! - Each [`WorkerOutput::Call`] gets exactly one [`WorkerInput::Answer`] with the same call. Cut an attempt after one second and
//!   answer `Failed`; do not retry, that is done here. An answer that comes after `Failed` is dropped.
//! - Each [`CameraAction::Send`] gets one [`WorkerInput::Sent`], each `Stop` one `Stopped`, each `Warm` one `Warmed` (or none if the
//!   camera cannot start).
//! - After [`WorkerOutput::Left`] the worker is over. An expelled process makes a new one under a new id.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::call_timer::CallTimer;
use crate::hand_over::{CameraAction, CameraDuties, DutyOutput};
use crate::ids::{CameraKey, WorkerId, spread};
use crate::item::ItemCall;
use crate::lead::{LeadChange, PoolLead};
use crate::limits::{
    DRAIN_ALONE_MS, LEADER_SILENCE_MS, LOADS_MS, MAX_DEPUTIES, MEMBERS_READ_MS, RETRY_MIN_MS,
};
use crate::members::{ConfigRow, MassDeathGuard, MemberPhase, MemberRow, PoolMembers, SilenceWatch};
use crate::membership::WorkerMembership;
use crate::owner::{OwnerCommit, WhenTableIsAway};
use crate::placement::ResourceAmounts;
use crate::plan::{PoolConfig, PoolDirector};
use crate::table::{CameraLoads, TableAnswer, TableCall};

/// Time for which a former leader's own beat must have stood still to expel it at once: twice the interval of beats.
const FORMER_LEADER_SILENCE_MS: u64 = LEADER_SILENCE_MS - MEMBERS_READ_MS;

/// Settings of a worker process.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WorkerSettings {
    /// The id of this run of the process, never used before.
    pub id: WorkerId,
    /// The availability zone.
    pub zone: Arc<str>,
    /// The checkpoint formats that this program reads.
    pub reads: BTreeSet<u32>,
    /// The behaviour while the table does not answer.
    pub when_away: WhenTableIsAway,
    /// The configuration.
    pub config: Arc<PoolConfig>,
}

/// The measured load of a worker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct WorkerLoad {
    /// The usable capacity: the measured one times the safety factor.
    pub capacity: ResourceAmounts,
    /// `true` if the worker does not keep up although it beats: its lag grows or its progress stands still.
    pub is_overloaded: bool,
    /// The loaded models.
    pub models: BTreeSet<Arc<str>>,
    /// The cost of each camera.
    pub cameras: CameraLoads,
}

/// An input of a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorkerInput {
    /// Time has passed.
    Wake,
    /// The process can take cameras.
    Ready,
    /// The load was measured.
    Load(WorkerLoad),
    /// Another configuration is in force.
    Config(Arc<PoolConfig>),
    /// The process is to end: hand all cameras over, and free at `by_ms` those that are left.
    Drain {
        /// The time of this process's clock.
        by_ms: u64,
    },
    /// The answer to a call.
    Answer {
        /// The call.
        call: TableCall,
        /// The answer.
        answer: TableAnswer,
    },
    /// A camera decided a frame, or its position moved.
    Commit {
        /// The camera.
        camera: CameraKey,
        /// The epoch that [`CameraAction::Start`] gave.
        epoch: u64,
        /// The commit.
        commit: OwnerCommit,
    },
    /// A [`CameraAction::Send`] has ended.
    Sent {
        /// The camera.
        camera: CameraKey,
        /// The epoch of the `Send`.
        epoch: u64,
        /// The number of the last record that every required sink has accepted; 0 for none.
        up_to: u64,
    },
    /// The camera could start without a gap.
    Warmed {
        /// The camera.
        camera: CameraKey,
    },
    /// The camera has stopped and committed its last frame.
    Stopped {
        /// The camera.
        camera: CameraKey,
    },
}

/// An output of a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorkerOutput {
    /// Make this call on a table.
    Call(TableCall),
    /// Do this for a camera.
    Camera {
        /// The camera.
        camera: CameraKey,
        /// The action.
        action: CameraAction,
    },
    /// The worker is over.
    Left(WorkerEnd),
}

/// The way in which a worker's membership ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WorkerEnd {
    /// Every camera was handed over or freed.
    Drained,
    /// The leader took this worker for dead. Its cameras have other owners; join again under a new id.
    Expelled,
}

/// One worker process.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Worker {
    settings: WorkerSettings,
    membership: WorkerMembership,
    members: PoolMembers,
    members_reads: CallTimer,
    leader_reads: CallTimer,
    plan_reads: CallTimer,
    loads_writes: CallTimer,
    /// Term and number of the plan that is followed.
    plan: (u64, u64),
    /// The number of the newest plan that the own row has pointed to.
    plan_wanted: u64,
    /// The plan is read again though the own row points to no newer one: in case the pointer was lost.
    is_plan_check_due: bool,
    lead: PoolLead,
    director: Option<PoolDirector>,
    watch: SilenceWatch,
    guard: MassDeathGuard,
    /// The leader before this one, whose beat stood still.
    former_leader: Option<WorkerId>,
    expelling: BTreeSet<WorkerId>,
    is_raising_config: bool,
    /// The pool's newest configuration was read since this worker's own one changed.
    is_config_settled: bool,
    duties: CameraDuties,
    loads: CameraLoads,
    drain: Option<WorkerDrain>,
    end: Option<WorkerEnd>,
}

/// The orderly end of a worker.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct WorkerDrain {
    by_ms: u64,
    /// `by_ms` has passed.
    is_late: bool,
    /// The members were read since the drain began.
    is_informed: bool,
    leave: CallTimer,
}

impl Worker {
    /// Creates a worker that joins the pool at its first step.
    #[must_use]
    pub fn new(settings: WorkerSettings, now_ms: u64) -> Self {
        let row =
            MemberRow { reads: settings.reads.clone(), zone: settings.zone.clone(), ..MemberRow::default() };
        let offset = |salt, range| now_ms + spread(settings.id.as_str(), salt, range);
        Self {
            membership: WorkerMembership::new(now_ms, settings.id.clone(), row),
            members: PoolMembers::default(),
            members_reads: CallTimer::new(now_ms),
            leader_reads: CallTimer::new(offset(1, MEMBERS_READ_MS)),
            plan_reads: CallTimer::new(now_ms),
            loads_writes: CallTimer::new(offset(2, LOADS_MS)),
            plan: (0, 0),
            plan_wanted: 0,
            is_plan_check_due: false,
            lead: PoolLead::new(settings.id.clone()),
            director: None,
            watch: SilenceWatch::default(),
            guard: MassDeathGuard::default(),
            former_leader: None,
            expelling: BTreeSet::new(),
            is_raising_config: false,
            is_config_settled: false,
            duties: CameraDuties::new(settings.id.clone(), settings.when_away, Arc::clone(&settings.config)),
            loads: CameraLoads::new(),
            drain: None,
            end: None,
            settings,
        }
    }

    /// Takes an input at `now_ms` of this process's monotonic clock, and returns what is to be done, in order.
    #[must_use]
    pub fn step(&mut self, now_ms: u64, input: WorkerInput) -> Vec<WorkerOutput> {
        let mut out = Vec::new();
        if self.end.is_some() {
            return out;
        }
        match input {
            WorkerInput::Wake => {}
            WorkerInput::Ready => self.membership.set_phase(now_ms, MemberPhase::Ready),
            WorkerInput::Load(load) => self.set_load(load),
            WorkerInput::Config(config) => self.set_config(now_ms, config),
            WorkerInput::Drain { by_ms } => self.start_drain(now_ms, by_ms),
            WorkerInput::Answer { call, answer } => self.answer(now_ms, &call, &answer, &mut out),
            WorkerInput::Commit { camera, epoch, commit } => {
                self.duties.commit(now_ms, &camera, epoch, commit)
            }
            WorkerInput::Sent { camera, epoch, up_to } => self.duties.sent(now_ms, &camera, epoch, up_to),
            WorkerInput::Warmed { camera } => self.duties.warmed(now_ms, &camera),
            WorkerInput::Stopped { camera } => self.duties.stopped(now_ms, &camera),
        }
        if self.end.is_none() {
            self.advance(now_ms, &mut out);
        }
        self.flush(&mut out);
        out.extend(self.end.map(WorkerOutput::Left));
        out
    }

    /// Returns the time at which the worker needs a `Wake`, if nothing else comes before; `None` once it is over.
    #[must_use]
    pub fn wake_at(&self) -> Option<u64> {
        if self.end.is_some() {
            return None;
        }
        let members = if self.needs_members() { &self.members_reads } else { &self.leader_reads };
        let lead = self.lead.wake_at().filter(|_| self.can_lead() || self.lead.is_active());
        let plan = self.plan_reads.wake_at().filter(|_| self.is_plan_due());
        let isolated = self.is_holding().then(|| self.membership.isolated_at());
        let drain = self.drain.as_ref().and_then(|drain| {
            if self.duties.is_empty() {
                drain.leave.wake_at()
            } else {
                (!drain.is_late).then_some(drain.by_ms)
            }
        });
        [
            self.membership.wake_at(),
            members.wake_at().filter(|_| self.membership.is_joined()),
            self.loads_writes.wake_at(),
            self.director.as_ref().map(PoolDirector::wake_at),
            self.duties.wake_at(),
            lead,
            plan,
            isolated,
            drain,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Returns the id of this worker.
    #[must_use]
    pub fn id(&self) -> &WorkerId {
        &self.settings.id
    }

    /// Returns the term if this worker leads the pool.
    #[must_use]
    pub fn leading_term(&self) -> Option<u64> {
        self.lead.term()
    }

    /// Returns the rows of the pool as this worker has last read them.
    #[must_use]
    pub fn members(&self) -> &PoolMembers {
        &self.members
    }

    /// Returns the number of cameras that this worker runs.
    #[must_use]
    pub fn running_cameras(&self) -> usize {
        self.duties.running()
    }

    fn flush(&mut self, out: &mut Vec<WorkerOutput>) {
        out.extend(self.duties.take_outputs().into_iter().map(|output| match output {
            DutyOutput::Call(call) => WorkerOutput::Call(call),
            DutyOutput::Camera(camera, action) => WorkerOutput::Camera { camera, action },
        }));
    }

    fn set_load(&mut self, load: WorkerLoad) {
        let row = self.membership.row_mut();
        (row.capacity, row.is_overloaded) = (load.capacity, load.is_overloaded);
        self.membership.set_models(load.models);
        self.loads = load.cameras;
    }

    fn set_config(&mut self, now_ms: u64, config: Arc<PoolConfig>) {
        self.settings.config = Arc::clone(&config);
        self.duties.set_config(now_ms, config);
        self.is_config_settled = false;
        self.members_reads.hasten(now_ms);
    }

    fn start_drain(&mut self, now_ms: u64, by_ms: u64) {
        self.membership.set_phase(now_ms, MemberPhase::Draining);
        self.lead.resign(now_ms);
        self.director = None;
        let (is_late, is_informed) = (false, false);
        self.drain = Some(WorkerDrain { by_ms, is_late, is_informed, leave: CallTimer::new(now_ms) });
    }

    fn answer(&mut self, now_ms: u64, call: &TableCall, answer: &TableAnswer, out: &mut Vec<WorkerOutput>) {
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
                    let change = self.lead.observe(now_ms, row.as_ref());
                    self.change_lead(now_ms, change);
                }
            }
            TableCall::ReadPlan { .. } => self.plan_read(now_ms, answer),
            TableCall::WriteLoads { .. } => drop(self.loads_writes.finish(now_ms, LOADS_MS)),
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

    fn item_answer(&mut self, now_ms: u64, call: &TableCall, answer: &TableAnswer) {
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
                        director.plan(now_ms, &self.members.workers);
                    }
                }
            }
            _ => {}
        }
    }

    fn director_answer(
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

    fn beaten(&mut self, now_ms: u64, is_join: bool, answer: &TableAnswer) {
        if !self.membership.beaten(now_ms, is_join, answer) {
            self.duties.abort_all();
            self.end = Some(WorkerEnd::Expelled);
        } else if *answer == TableAnswer::Done {
            self.duties.set_isolated(false);
        }
    }

    fn left(&mut self, now_ms: u64, answer: &TableAnswer) {
        match (answer, &mut self.drain) {
            (TableAnswer::Failed, Some(drain)) => drain.leave.retry(now_ms, RETRY_MIN_MS),
            _ => self.end = Some(WorkerEnd::Drained),
        }
    }

    fn plan_read(&mut self, now_ms: u64, answer: &TableAnswer) {
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

    fn is_plan_due(&self) -> bool {
        self.plan_wanted > self.plan.1 || self.is_plan_check_due
    }

    fn members_read(&mut self, now_ms: u64, answer: &TableAnswer, out: &mut Vec<WorkerOutput>) {
        self.members_reads.finish(now_ms, MEMBERS_READ_MS);
        let TableAnswer::Members(members) = answer else { return };
        self.members.clone_from(members);
        if let Some(drain) = &mut self.drain {
            drain.is_informed = true;
        }
        self.watch.observe(now_ms, &members.workers);
        let change = self.lead.observe(now_ms, members.leader.as_ref());
        self.change_lead(now_ms, change);
        self.settle_config(now_ms, out);
        self.lead_pool(now_ms, out);
    }

    /// Compares this worker's configuration with the newest one of the pool.
    fn settle_config(&mut self, now_ms: u64, out: &mut Vec<WorkerOutput>) {
        let newest = self.members.config.clone().unwrap_or_default();
        let own = &self.settings.config.version;
        if *own == newest.version && self.membership.row().generation != newest.generation {
            self.membership.row_mut().generation = newest.generation;
            self.membership.set_phase(now_ms, self.membership.row().phase);
        }
        self.is_config_settled = newest.generation > 0 && *own <= newest.version;
        let is_newer = newest.generation == 0 || *own > newest.version;
        if is_newer && !self.is_raising_config {
            self.is_raising_config = true;
            let version = own.clone();
            out.push(WorkerOutput::Call(TableCall::RaiseConfig { generation: newest.generation, version }));
        }
        if *own < newest.version && self.lead.term().is_some() {
            // Another worker has a newer configuration and must plan.
            self.lead.resign(now_ms);
            self.director = None;
        }
    }

    fn change_lead(&mut self, now_ms: u64, change: Option<LeadChange>) {
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
    fn lead_pool(&mut self, now_ms: u64, out: &mut Vec<WorkerOutput>) {
        let Some(director) = &mut self.director else { return };
        let generation = self.membership.row().generation;
        if generation > 0 {
            director.set_config(Arc::clone(&self.settings.config), generation);
            director.plan(now_ms, &self.members.workers);
        }
        self.lead.set_deputies(self.deputies());
        for (worker, beat) in self.expellable(now_ms) {
            if self.expelling.insert(worker.clone()) {
                out.push(WorkerOutput::Call(TableCall::Expel { worker, beat }));
            }
        }
    }

    /// Returns the ready workers with the smallest ids beside this one.
    fn deputies(&self) -> Vec<WorkerId> {
        let workers = self.members.workers.iter();
        let ready =
            workers.filter(|(worker, row)| row.phase == MemberPhase::Ready && **worker != self.settings.id);
        ready.take(MAX_DEPUTIES).map(|(worker, _)| worker.clone()).collect()
    }

    /// Returns the workers that count as dead, and their last beats.
    fn expellable(&mut self, now_ms: u64) -> Vec<(WorkerId, u64)> {
        let mut silent = self.watch.silent(now_ms);
        silent.remove(&self.settings.id);
        let former = self.former_leader.clone();
        let former = former.and_then(|worker| {
            let beat = self.watch.unchanged(now_ms, &worker, FORMER_LEADER_SILENCE_MS)?;
            Some((worker, beat))
        });
        if let Some((worker, _)) = &former {
            silent.remove(worker);
        }
        let members = self.members.workers.len();
        let mut expellable = Vec::from_iter(former);
        if self.guard.allows(now_ms, silent.len(), members, self.lead.written_ms()) {
            expellable.extend(silent);
        }
        expellable
    }

    fn expelled(&mut self, now_ms: u64, worker: &WorkerId, answer: &TableAnswer) {
        self.expelling.remove(worker);
        if *answer != TableAnswer::Done {
            self.members_reads.hasten(now_ms);
            return;
        }
        self.former_leader.take_if(|former| former == worker);
        self.members.workers.remove(worker);
        if let Some(director) = &mut self.director {
            director.plan(now_ms, &self.members.workers);
        }
    }

    fn can_lead(&self) -> bool {
        let row = self.membership.row();
        let newest = self.members.config.as_ref().map_or(0, |config: &ConfigRow| config.generation);
        row.phase == MemberPhase::Ready
            && self.membership.is_joined()
            && row.generation > 0
            && row.generation >= newest
    }

    /// Returns `true` if this worker reads all members rather than the leader's row alone.
    fn needs_members(&self) -> bool {
        self.lead.term().is_some() || self.lead.is_deputy() || !self.is_config_settled || self.drain.is_some()
    }

    fn is_holding(&self) -> bool {
        self.settings.when_away == WhenTableIsAway::Hold && !self.duties.is_isolated()
    }

    fn advance(&mut self, now_ms: u64, out: &mut Vec<WorkerOutput>) {
        let mut calls = self.membership.calls(now_ms, self.duties.running());
        if self.membership.is_joined() {
            calls.extend(self.reads(now_ms));
        }
        calls.extend(self.lead.beat(now_ms));
        if self.can_lead() {
            calls.extend(self.lead.claim(now_ms));
        }
        if let Some(director) = &mut self.director {
            calls.extend(director.pump(now_ms));
        }
        calls.extend(self.write_loads(now_ms));
        if self.is_holding() && now_ms >= self.membership.isolated_at() {
            self.duties.set_isolated(true);
        }
        calls.extend(self.drain(now_ms));
        self.duties.wake(now_ms);
        out.extend(calls.into_iter().map(WorkerOutput::Call));
    }

    fn reads(&mut self, now_ms: u64) -> Vec<TableCall> {
        let mut calls = Vec::new();
        if self.needs_members() {
            if self.members_reads.start(now_ms) {
                calls.push(TableCall::ReadMembers);
            }
        } else if self.leader_reads.start(now_ms) {
            calls.push(TableCall::ReadLeader);
        }
        if self.is_plan_due() && self.plan_reads.start(now_ms) {
            calls.push(TableCall::ReadPlan { worker: self.settings.id.clone() });
        }
        calls
    }

    fn write_loads(&mut self, now_ms: u64) -> Option<TableCall> {
        if !self.loads_writes.start(now_ms) {
            return None;
        }
        self.duties.read_missing();
        self.is_plan_check_due = self.membership.is_joined();
        Some(TableCall::WriteLoads { worker: self.settings.id.clone(), loads: self.loads.clone() })
    }

    /// Frees cameras without a leader where none will do it, and leaves once no camera is left.
    fn drain(&mut self, now_ms: u64) -> Option<TableCall> {
        let drain = self.drain.as_mut()?;
        if self.duties.is_empty() {
            return drain.leave.start(now_ms).then(|| TableCall::Leave { worker: self.settings.id.clone() });
        }
        drain.is_late |= now_ms >= drain.by_ms;
        let mut others = self.members.workers.iter().filter(|(worker, _)| **worker != self.settings.id);
        let is_last = drain.is_informed && others.all(|(_, row)| row.phase != MemberPhase::Ready);
        if is_last || drain.is_late || self.lead.is_leaderless(now_ms, DRAIN_ALONE_MS) {
            self.duties.free_some();
        }
        None
    }
}
