//! A worker's cameras: taken over, run, prepared, handed over.
//!
//! ```text
//! plan: run  -> read item -> owner? -> Start ----------------------------> running --refused write--> Abort
//! plan: warm -> read item -> next?  -> Warm -> (camera is warm) -> ready -> polls the item -> owner? -> Start
//! plan: release -> polls the item -> ready? -> Stop -> (camera has stopped) -> final write -> Released
//! ```
//!
//! The plan only says which items to read. The item decides.

mod action;
mod duty;
#[cfg(test)]
mod model_access;

pub use action::CameraAction;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::ids::{CameraKey, WorkerId};
use crate::item::{CameraItem, ItemCall, OwnerAfter};
use crate::limits::{HAND_OVER_READ_MS, MAX_DRAIN_MOVES};
use crate::owner::{
    CommitRejection, Owner, OwnerCommit, OwnerEnd, OwnerInput, OwnerOutput, OwnerSettings, WhenTableIsAway,
};
use crate::plan::PoolConfig;
use crate::table::{PlanEntry, PlanRow, PlanTask, TableAnswer, TableCall};
use duty::{CameraDuty, RunningDuty, StopStage, WarmDuty};

/// An output for one worker.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum DutyOutput {
    Call(TableCall),
    Camera(CameraKey, CameraAction),
}

/// The cameras of one worker. Bounded by the cameras of its plan.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct CameraDuties {
    me: WorkerId,
    when_away: WhenTableIsAway,
    config: Arc<PoolConfig>,
    plan: BTreeMap<CameraKey, PlanEntry>,
    duties: BTreeMap<CameraKey, CameraDuty>,
    is_isolated: bool,
    out: Vec<DutyOutput>,
}

impl CameraDuties {
    pub(crate) fn new(me: WorkerId, when_away: WhenTableIsAway, config: Arc<PoolConfig>) -> Self {
        Self {
            me,
            when_away,
            config,
            plan: BTreeMap::new(),
            duties: BTreeMap::new(),
            is_isolated: false,
            out: Vec::new(),
        }
    }

    /// Removes and returns the outputs so far.
    pub(crate) fn take_outputs(&mut self) -> Vec<DutyOutput> {
        std::mem::take(&mut self.out)
    }

    /// Returns the number of cameras that this worker runs.
    pub(crate) fn running(&self) -> usize {
        self.duties.values().filter(|duty| matches!(duty, CameraDuty::Running(_))).count()
    }

    /// Returns `true` if this worker has no camera and prepares none.
    pub(crate) fn is_empty(&self) -> bool {
        self.duties.is_empty()
    }

    /// Takes a new configuration: the owner writes the changed hash of a camera's settings into its item.
    pub(crate) fn set_config(&mut self, now_ms: u64, config: Arc<PoolConfig>) {
        self.config = config;
        let specs: Vec<_> = self.duties.keys().map(|camera| (camera.clone(), self.spec_of(camera))).collect();
        for (camera, spec) in specs {
            match spec {
                Some(spec) => self.feed(now_ms, &camera, OwnerInput::Spec(spec)),
                None => self.stop(&camera, OwnerAfter::Free),
            }
        }
    }

    fn spec_of(&self, camera: &CameraKey) -> Option<Arc<str>> {
        self.config.cameras.get(camera).map(|settings| settings.spec.clone())
    }

    /// Takes the worker's plan.
    pub(crate) fn follow(&mut self, now_ms: u64, plan: &PlanRow) {
        self.plan.clone_from(&plan.cameras);
        let cameras: BTreeSet<_> = self.plan.keys().chain(self.duties.keys()).cloned().collect();
        for camera in cameras {
            match self.plan.get(&camera).cloned() {
                Some(entry) => self.follow_entry(now_ms, &camera, &entry),
                None => self.leave(now_ms, &camera),
            }
        }
    }

    fn follow_entry(&mut self, now_ms: u64, camera: &CameraKey, entry: &PlanEntry) {
        match (self.duties.get_mut(camera), entry.task) {
            (None, _) => self.start_reading(camera),
            (Some(CameraDuty::Running(duty)), PlanTask::Release) => {
                duty.is_releasing = true;
                duty.read_due_ms.get_or_insert(now_ms);
            }
            (Some(CameraDuty::Running(duty)), PlanTask::Run | PlanTask::Warm) => {
                duty.is_releasing = false;
                // The plan knows a later owner than this one.
                if entry.epoch > duty.owner.epoch() {
                    duty.read_due_ms = Some(now_ms);
                }
            }
            (Some(CameraDuty::Warm(duty)), _)
                if entry.epoch != duty.epoch || entry.task != PlanTask::Warm =>
            {
                duty.call_due_ms = Some(now_ms);
            }
            (Some(CameraDuty::Warm(_) | CameraDuty::Reading { .. }), _) => {}
        }
        self.wake_camera(now_ms, camera);
    }

    /// Reads the item of a camera that the plan does not name: the plan may be late, or the camera may have another owner.
    fn leave(&mut self, now_ms: u64, camera: &CameraKey) {
        match self.duties.get_mut(camera) {
            Some(CameraDuty::Running(duty)) => duty.read_due_ms = Some(now_ms),
            Some(CameraDuty::Warm(duty)) => duty.call_due_ms = Some(now_ms),
            Some(CameraDuty::Reading { .. }) | None => {}
        }
        self.wake_camera(now_ms, camera);
    }

    /// Reads the items of planned cameras that have no duty: whatever went wrong before, the item decides.
    pub(crate) fn read_missing(&mut self) {
        let missing: Vec<_> =
            self.plan.keys().filter(|camera| !self.duties.contains_key(camera)).cloned().collect();
        missing.iter().for_each(|camera| self.start_reading(camera));
    }

    fn start_reading(&mut self, camera: &CameraKey) {
        self.duties.insert(camera.clone(), CameraDuty::Reading { retry_at_ms: None });
        self.read(camera);
    }

    fn read(&mut self, camera: &CameraKey) {
        self.out.push(DutyOutput::Call(TableCall::ReadItem { camera: camera.clone() }));
    }

    fn act(&mut self, camera: &CameraKey, action: CameraAction) {
        self.out.push(DutyOutput::Camera(camera.clone(), action));
    }

    /// Takes the answer to the read of an item.
    pub(crate) fn item_read(&mut self, now_ms: u64, camera: &CameraKey, answer: &TableAnswer) {
        match answer {
            TableAnswer::Item(item) => self.item_seen(now_ms, camera, item),
            _ => self.retry(now_ms, camera),
        }
    }

    fn retry(&mut self, now_ms: u64, camera: &CameraKey) {
        let due = Some(now_ms + HAND_OVER_READ_MS);
        match self.duties.get_mut(camera) {
            Some(CameraDuty::Reading { retry_at_ms }) => *retry_at_ms = due,
            Some(CameraDuty::Warm(duty)) => duty.call_due_ms = due,
            Some(CameraDuty::Running(duty)) => duty.read_due_ms = due,
            None => {}
        }
    }

    fn item_seen(&mut self, now_ms: u64, camera: &CameraKey, item: &CameraItem) {
        if item.epoch < self.known_epoch(camera) {
            // An answer that was overtaken by a later one.
            self.retry(now_ms, camera);
            return;
        }
        let is_owner = item.owner.as_ref() == Some(&self.me);
        let is_next = item.next.as_ref() == Some(&self.me);
        match self.duties.get_mut(camera) {
            Some(CameraDuty::Running(duty)) if is_owner && item.epoch == duty.owner.epoch() => {
                self.watch_release(now_ms, camera, item);
            }
            Some(CameraDuty::Running(_)) => self.abort(camera),
            Some(CameraDuty::Reading { .. } | CameraDuty::Warm(_)) if is_owner => {
                self.start(now_ms, camera, item);
            }
            Some(CameraDuty::Reading { .. }) if is_next => self.warm(now_ms, camera, item),
            Some(CameraDuty::Reading { .. }) => drop(self.duties.remove(camera)),
            Some(CameraDuty::Warm(duty)) if is_next && item.epoch == duty.epoch => {
                duty.call_due_ms = duty.is_warm.then_some(now_ms + duty.read_interval_ms(now_ms));
            }
            Some(CameraDuty::Warm(_)) => {
                self.duties.remove(camera);
                self.act(camera, CameraAction::Cool);
            }
            None => {}
        }
    }

    /// Returns the latest epoch of a camera that this worker knows of.
    fn known_epoch(&self, camera: &CameraKey) -> u64 {
        let of_duty = match self.duties.get(camera) {
            Some(CameraDuty::Running(duty)) => duty.owner.epoch(),
            Some(CameraDuty::Warm(duty)) => duty.epoch,
            Some(CameraDuty::Reading { .. }) | None => 0,
        };
        self.plan.get(camera).map_or(0, |entry| entry.epoch).max(of_duty)
    }

    fn start(&mut self, now_ms: u64, camera: &CameraKey, item: &CameraItem) {
        let settings = OwnerSettings {
            camera: camera.clone(),
            worker: self.me.clone(),
            spec: self.spec_of(camera).unwrap_or_default(),
            when_away: self.when_away,
        };
        let is_held = self.is_isolated;
        let duty = RunningDuty {
            owner: Owner::new(settings, item, now_ms),
            read_due_ms: None,
            is_releasing: false,
            is_held,
            stop: StopStage::Running,
        };
        self.duties.insert(camera.clone(), CameraDuty::Running(Box::new(duty)));
        self.act(camera, CameraAction::Start { epoch: item.epoch, state: item.state.clone() });
        if is_held {
            self.act(camera, CameraAction::Hold);
        }
        self.feed(now_ms, camera, OwnerInput::Wake);
        if self.spec_of(camera).is_none() {
            self.stop(camera, OwnerAfter::Free);
        } else if let Some(entry) = self.plan.get(camera).cloned() {
            self.follow_entry(now_ms, camera, &entry);
        }
    }

    fn warm(&mut self, now_ms: u64, camera: &CameraKey, item: &CameraItem) {
        let duty = WarmDuty {
            epoch: item.epoch,
            since_ms: now_ms,
            is_warm: false,
            call_due_ms: None,
            is_announced: item.ready,
        };
        self.duties.insert(camera.clone(), CameraDuty::Warm(duty));
        self.act(camera, CameraAction::Warm { state: item.state.clone() });
    }

    fn abort(&mut self, camera: &CameraKey) {
        self.duties.remove(camera);
        self.act(camera, CameraAction::Abort);
        // The plan may name the camera again under a later epoch.
        if self.plan.contains_key(camera) {
            self.start_reading(camera);
        }
    }

    /// Stops the camera once the next owner is ready.
    fn watch_release(&mut self, now_ms: u64, camera: &CameraKey, item: &CameraItem) {
        let Some(CameraDuty::Running(duty)) = self.duties.get_mut(camera) else { return };
        duty.read_due_ms =
            (duty.is_releasing && duty.stop == StopStage::Running).then_some(now_ms + HAND_OVER_READ_MS);
        if let Some(next) = item.next.clone().filter(|_| item.ready && duty.is_releasing) {
            self.stop(camera, OwnerAfter::Next(next));
        }
    }

    fn stop(&mut self, camera: &CameraKey, then: OwnerAfter) {
        let Some(CameraDuty::Running(duty)) = self.duties.get_mut(camera) else { return };
        if duty.stop == StopStage::Running {
            (duty.stop, duty.read_due_ms) = (StopStage::Stopping(then), None);
            self.act(camera, CameraAction::Stop);
        }
    }

    /// Takes the report that the camera has stopped and committed its last frame.
    pub(crate) fn stopped(&mut self, now_ms: u64, camera: &CameraKey) {
        let Some(CameraDuty::Running(duty)) = self.duties.get_mut(camera) else { return };
        // Otherwise it is the end of an earlier run of the camera.
        if let StopStage::Stopping(then) = &duty.stop {
            let then = then.clone();
            duty.stop = StopStage::Ending;
            self.feed(now_ms, camera, OwnerInput::Stop(then));
        }
    }

    /// Takes the report that the camera is warm.
    pub(crate) fn warmed(&mut self, now_ms: u64, camera: &CameraKey) {
        if let Some(CameraDuty::Warm(duty)) = self.duties.get_mut(camera) {
            (duty.is_warm, duty.call_due_ms) = (true, Some(now_ms));
            self.wake_camera(now_ms, camera);
        }
    }

    /// Takes a commit of a camera.
    pub(crate) fn commit(&mut self, now_ms: u64, camera: &CameraKey, epoch: u64, commit: OwnerCommit) {
        match self.duties.get(camera) {
            Some(CameraDuty::Running(duty)) if duty.owner.epoch() == epoch => {
                self.feed(now_ms, camera, OwnerInput::Commit(commit));
            }
            _ => self.act(camera, CameraAction::Rejected(CommitRejection::Stopped)),
        }
    }

    /// Takes the end of a call of the sink.
    pub(crate) fn sent(&mut self, now_ms: u64, camera: &CameraKey, epoch: u64, up_to: u64) {
        if let Some(CameraDuty::Running(duty)) = self.duties.get(camera)
            && duty.owner.epoch() == epoch
        {
            self.feed(now_ms, camera, OwnerInput::Sent { up_to });
        }
    }

    /// Takes the answer to a call on an item.
    pub(crate) fn item_answered(
        &mut self,
        now_ms: u64,
        camera: &CameraKey,
        call: &ItemCall,
        answer: &TableAnswer,
    ) {
        match call {
            ItemCall::Write(write) => {
                let is_current = matches!(self.duties.get(camera), Some(CameraDuty::Running(duty))
                    if duty.owner.epoch() == write.epoch);
                let input = match answer {
                    TableAnswer::ItemApplied(_) => OwnerInput::Written,
                    TableAnswer::ItemRefused(there) => OwnerInput::Refused(Box::new((**there).clone())),
                    _ => OwnerInput::WriteFailed,
                };
                if is_current {
                    self.feed(now_ms, camera, input);
                }
            }
            ItemCall::Ready { .. } => self.announced(now_ms, camera, answer),
            _ => {}
        }
    }

    fn announced(&mut self, now_ms: u64, camera: &CameraKey, answer: &TableAnswer) {
        match answer {
            TableAnswer::ItemApplied(item) | TableAnswer::ItemRefused(item) => {
                if let Some(CameraDuty::Warm(duty)) = self.duties.get_mut(camera) {
                    duty.is_announced = item.ready;
                }
                self.item_seen(now_ms, camera, item);
            }
            _ => self.retry(now_ms, camera),
        }
    }

    fn feed(&mut self, now_ms: u64, camera: &CameraKey, input: OwnerInput) {
        let Some(CameraDuty::Running(duty)) = self.duties.get_mut(camera) else { return };
        let outputs = duty.owner.step(now_ms, input);
        let epoch = duty.owner.epoch();
        for output in outputs {
            match output {
                OwnerOutput::Write(call) => {
                    self.out.push(DutyOutput::Call(TableCall::Item { camera: camera.clone(), call }));
                }
                OwnerOutput::Send { records, is_fenced } => {
                    self.act(camera, CameraAction::Send { epoch, records, is_fenced });
                }
                OwnerOutput::Hold | OwnerOutput::Resume => self.update_hold(camera),
                OwnerOutput::Rejected(rejection) => self.act(camera, CameraAction::Rejected(rejection)),
                OwnerOutput::Kept => self.kept(now_ms, camera),
                OwnerOutput::Over(end) => self.over(camera, end),
            }
        }
    }

    fn kept(&mut self, now_ms: u64, camera: &CameraKey) {
        if let Some(CameraDuty::Running(duty)) = self.duties.get_mut(camera) {
            (duty.stop, duty.is_held) = (StopStage::Running, false);
            duty.read_due_ms = duty.is_releasing.then_some(now_ms + HAND_OVER_READ_MS);
            self.act(camera, CameraAction::Resume);
            self.update_hold(camera);
        }
    }

    fn over(&mut self, camera: &CameraKey, end: OwnerEnd) {
        match end {
            OwnerEnd::Fenced => self.abort(camera),
            OwnerEnd::Released => {
                self.duties.remove(camera);
                self.act(camera, CameraAction::Released);
            }
        }
    }

    fn update_hold(&mut self, camera: &CameraKey) {
        let Some(CameraDuty::Running(duty)) = self.duties.get_mut(camera) else { return };
        let is_held = self.is_isolated || duty.owner.is_held();
        // A `Resume` would cancel a `Stop` that the camera has not carried out.
        if duty.is_held != is_held && duty.stop == StopStage::Running {
            duty.is_held = is_held;
            self.act(camera, if is_held { CameraAction::Hold } else { CameraAction::Resume });
        }
    }

    /// Holds every camera while no beat of this worker is acknowledged, or ends that.
    pub(crate) fn set_isolated(&mut self, is_isolated: bool) {
        if self.is_isolated != is_isolated {
            self.is_isolated = is_isolated;
            let cameras: Vec<_> = self.duties.keys().cloned().collect();
            cameras.iter().for_each(|camera| self.update_hold(camera));
        }
    }

    pub(crate) fn is_isolated(&self) -> bool {
        self.is_isolated
    }

    /// Ends every camera at once: this worker was expelled.
    pub(crate) fn abort_all(&mut self) {
        self.plan.clear();
        for (camera, duty) in std::mem::take(&mut self.duties) {
            match duty {
                CameraDuty::Running(_) => self.act(&camera, CameraAction::Abort),
                CameraDuty::Warm(_) => self.act(&camera, CameraAction::Cool),
                CameraDuty::Reading { .. } => {}
            }
        }
    }

    /// Frees some cameras without a leader's help; call it again until none is left.
    pub(crate) fn free_some(&mut self) {
        self.plan.clear();
        self.duties.retain(|_, duty| matches!(duty, CameraDuty::Running(_)));
        let is_ending =
            |duty: &CameraDuty| matches!(duty, CameraDuty::Running(duty) if duty.stop != StopStage::Running);
        let ending = self.duties.values().filter(|duty| is_ending(duty)).count();
        let running =
            self.duties.iter().filter(|(_, duty)| !is_ending(duty)).map(|(camera, _)| camera.clone());
        let cameras: Vec<_> = running.take(MAX_DRAIN_MOVES.saturating_sub(ending)).collect();
        cameras.iter().for_each(|camera| self.stop(camera, OwnerAfter::Free));
    }

    /// Does what is due.
    pub(crate) fn wake(&mut self, now_ms: u64) {
        let due = self.duties.iter().filter(|(_, duty)| duty.wake_at().is_some_and(|at| now_ms >= at));
        let due: Vec<_> = due.map(|(camera, _)| camera.clone()).collect();
        due.iter().for_each(|camera| self.wake_camera(now_ms, camera));
    }

    fn wake_camera(&mut self, now_ms: u64, camera: &CameraKey) {
        let Some(duty) = self.duties.get_mut(camera) else { return };
        let is_due = duty.take_due(now_ms);
        match duty {
            CameraDuty::Warm(duty) if is_due && duty.is_warm && !duty.is_announced => {
                let call = ItemCall::Ready { epoch: duty.epoch, next: self.me.clone() };
                self.out.push(DutyOutput::Call(TableCall::Item { camera: camera.clone(), call }));
            }
            _ if is_due => self.read(camera),
            _ => {}
        }
        self.feed(now_ms, camera, OwnerInput::Wake);
    }

    /// Returns the time at which something is due.
    pub(crate) fn wake_at(&self) -> Option<u64> {
        self.duties.values().filter_map(CameraDuty::wake_at).min()
    }
}
