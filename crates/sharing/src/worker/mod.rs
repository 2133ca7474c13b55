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
//!
//! # Courtesy
//!
//! A worker without an acknowledged beat for five seconds is about to be expelled if it alone is cut off, and must continue if the
//! table is away for all. It cannot know which. With [`WhenTableIsAway::Hold`] it puts its cameras on hold, which frees their
//! connections for the successor and loses nothing; with `Publish` they continue, as that choice demands. Safety needs neither.
//!
//! # The plan and its number
//!
//! A worker reads its own row twice per second, and its plan only if the row points to a newer one. The number of a plan begins
//! with the leader's term and the pointer only rises. Otherwise a plan of a former leader could have the number of a later plan,
//! and the worker would never read the later one. A plan is read once more every half minute, in case a pointer was lost.

mod answers;
mod leading;

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::call_timer::CallTimer;
use crate::hand_over::{CameraAction, CameraDuties, DutyOutput};
use crate::ids::{CameraKey, WorkerId, spread};
use crate::lead::PoolLead;
use crate::limits::{DRAIN_ALONE_MS, LOADS_MS, MEMBERS_READ_MS};
use crate::members::{ConfigRow, MassDeathGuard, MemberPhase, MemberRow, PoolMembers, SilenceWatch};
use crate::membership::WorkerMembership;
use crate::owner::{OwnerCommit, WhenTableIsAway};
use crate::placement::ResourceAmounts;
use crate::plan::{PoolConfig, PoolDirector, PoolFigures};
use crate::table::{CameraLoads, TableAnswer, TableCall};

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
        call: Box<TableCall>,
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
    /// The worker was asked to end, and every camera was handed over, freed, or taken over by another worker.
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
    /// The time at which the members were asked for.
    members_asked_ms: u64,
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
    /// No living worker had the pool's newest configuration at the last read of the members. One with an older configuration may
    /// lead then: it serves the cameras as it knows them, which is better than to serve none of a dead worker's.
    is_newest_config_gone: bool,
    /// Any worker could have taken the lead by the time of the last read, and none has.
    is_lead_missing: bool,
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
            members_asked_ms: 0,
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
            is_newest_config_gone: false,
            is_lead_missing: false,
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
                self.duties.commit(now_ms, &camera, epoch, commit);
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

    /// Returns the figures of the pool if this worker leads it and has read every item.
    #[must_use]
    pub fn pool_figures(&self) -> Option<PoolFigures> {
        self.director.as_ref()?.figures()
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

    fn is_plan_due(&self) -> bool {
        self.plan_wanted > self.plan.1 || self.is_plan_check_due
    }

    fn can_lead(&self) -> bool {
        let row = self.membership.row();
        let newest = self.members.config.as_ref().map_or(0, |config: &ConfigRow| config.generation);
        row.phase == MemberPhase::Ready
            && self.membership.is_joined()
            && row.generation > 0
            && (row.generation >= newest || self.is_newest_config_gone)
    }

    /// Returns `true` if this worker reads all members rather than the leader's row alone.
    fn needs_members(&self) -> bool {
        self.lead.term().is_some()
            || self.lead.is_deputy()
            || !self.is_config_settled
            || self.drain.is_some()
            // To see whether any worker with the newest configuration is left.
            || self.is_lead_missing
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

#[cfg(test)]
mod tests;
