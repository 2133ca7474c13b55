//! Model B: leader, expulsion, grants and hand-overs of two cameras on two workers and a spare.
//!
//! The first worker owns both cameras and drains. Any worker may crash, or be expelled though it lives, at any moment; the leader
//! may be replaced by one that knows nothing, while calls of the former one are still under way. Answers of the table may be lost,
//! whether the call was applied or not. Cameras decide events whose ids are chosen again each time.
//!
//! Time is abstract: a timer may fire at any moment after it was set, and an offer may time out at any moment.
//!
//! Changes of items are under way for any time. Reads and plans are answered at once: the worker that makes them may do so at any
//! moment, and a start from an item that was read too early is in model A.
//!
//! Bounds: one event on one of the cameras, a budget of faults per exploration, [`PoolModel::plans`] plans per worker, and no
//! lost call of the sink (model A has those).
//!
//! Liveness is checked as a property of each state: if from here on no fault happens and every message, timer and report has its
//! turn, both cameras are owned by a living member that runs them.

mod properties;

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use stateright::{Checker, HasDiscoveries, Model, Property};

use properties::{has_lost_nothing, has_no_stale_news, has_no_two_owners, has_one_id, is_in_order};

use super::promises;
use crate::hand_over::{CameraAction, CameraDuties, DutyOutput};
use crate::item::{CameraResumeState, PendingRecord};
use crate::limits::{FORCE_MS, WARM_MS};
use crate::members::{MemberPhase, MemberRow};
use crate::owner::{OwnerCommit, WhenTableIsAway};
use crate::placement::ResourceAmounts;
use crate::plan::{PoolCamera, PoolConfig, PoolDirector};
use crate::table::{MemoryTable, TableAnswer, TableCall};
use crate::{CameraKey, WorkerId};

const WORKERS: usize = 3;
const CAMERAS: [&str; 2] = ["door", "gate"];
/// Number of generated states at which an exploration counts as not finished.
const MAX_GENERATED: usize = 3_000_000;
/// Rounds of the fair scheduler within which both cameras must be owned again.
const MAX_ROUNDS: usize = 60;

/// The bounds of one exploration.
#[derive(Clone, Debug)]
struct PoolModel {
    /// Number of crashes, and of expulsions of workers that live.
    deaths: u8,
    /// Number of lost answers.
    losses: u8,
    /// Number of leaders after the first.
    leaders: u8,
    /// Number of plans per worker beyond which a state is not explored further.
    plans: u64,
    /// The fair scheduler notices workers that are dead.
    is_silence_noticed: bool,
    /// Hashes of states from which both cameras are known to be owned again.
    owned_again: Arc<Mutex<HashSet<u64>>>,
}

/// The sender of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum CallOrigin {
    Worker(usize),
    /// The leader of this term.
    Leader(u64),
}

/// A camera on a worker, as its process sees it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct PoolCameraRun {
    epoch: u64,
    ids: Vec<u8>,
    is_stopped: bool,
}

/// A report that a worker's process owes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum CameraReport {
    Warmed(CameraKey),
    Stopped(CameraKey),
    Sent { camera: CameraKey, epoch: u64, records: Vec<(u64, u8)> },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct PoolWorker {
    duties: CameraDuties,
    runs: BTreeMap<CameraKey, PoolCameraRun>,
    reports: BTreeSet<CameraReport>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct PoolState {
    table: MemoryTable,
    members: BTreeMap<WorkerId, MemberRow>,
    workers: [Option<PoolWorker>; WORKERS],
    director: PoolDirector,
    term: u64,
    calls: Vec<(CallOrigin, TableCall)>,
    /// The records of the first camera in the sink: number, id, epoch of the sender.
    log: Vec<(u64, u8, u64)>,
    deaths: u8,
    losses: u8,
}

#[derive(Clone, Debug, PartialEq)]
enum PoolAction {
    Deliver(usize),
    /// The answer is lost; `true` if the call was applied.
    Lose(usize, bool),
    Report(usize, CameraReport),
    Decide(usize),
    Wake(usize, u64),
    Plan(u64),
    Crash(usize),
    Expel(usize),
    Notice(usize),
    NewLeader,
}

fn worker_id(worker: usize) -> WorkerId {
    WorkerId::new(["a", "b", "c"][worker])
}

fn camera_key(camera: usize) -> CameraKey {
    CameraKey::new(CAMERAS[camera])
}

fn pool_config() -> Arc<PoolConfig> {
    let cost = ResourceAmounts { gpu_milli: 100, ..ResourceAmounts::default() };
    let camera = PoolCamera { spec: "s".into(), cost, ..PoolCamera::default() };
    let cameras = CAMERAS.iter().map(|name| (CameraKey::new(name), camera.clone())).collect();
    Arc::new(PoolConfig { cameras, ..PoolConfig::default() })
}

impl PoolState {
    fn new() -> Self {
        let config = pool_config();
        let row = MemberRow {
            phase: MemberPhase::Ready,
            capacity: ResourceAmounts { gpu_milli: 1_000, ..ResourceAmounts::default() },
            generation: 1,
            reads: [1].into(),
            ..MemberRow::default()
        };
        let shared = Arc::clone(&config);
        let worker = |number| PoolWorker {
            duties: CameraDuties::new(worker_id(number), WhenTableIsAway::Hold, Arc::clone(&shared)),
            runs: BTreeMap::new(),
            reports: BTreeSet::new(),
        };
        let mut state = Self {
            table: MemoryTable::default(),
            members: [(worker_id(0), row.clone())].into(),
            workers: [Some(worker(0)), None, None],
            director: PoolDirector::new(0, 1, config, 1),
            term: 1,
            calls: Vec::new(),
            log: Vec::new(),
            deaths: 0,
            losses: 0,
        };
        // The first worker is alone at first and gets both cameras; then the others join and it drains.
        state.plan(1);
        for _ in 0..MAX_ROUNDS {
            state.fair_round(true);
        }
        assert!(state.is_settled(), "{state:#?}");
        (state.workers[1], state.workers[2]) = (Some(worker(1)), Some(worker(2)));
        state.members.extend([1, 2].map(|number| (worker_id(number), row.clone())));
        if let Some(first) = state.members.get_mut(&worker_id(0)) {
            first.phase = MemberPhase::Draining;
        }
        state
    }

    fn plan(&mut self, now_ms: u64) {
        self.director.plan(now_ms, &self.members, now_ms);
        self.director.settle();
        // Only here the leader reads the items of offers, or it would never stop reading.
        self.pump(2);
    }

    fn pump(&mut self, now_ms: u64) {
        let calls = self.director.pump(now_ms);
        self.director.settle();
        let origin = CallOrigin::Leader(self.term);
        calls.into_iter().for_each(|call| self.send(origin, call));
    }

    /// Sends a call: a change of an item is under way from here on, anything else is answered at once.
    fn send(&mut self, origin: CallOrigin, call: TableCall) {
        if !matches!(call, TableCall::Item { .. }) {
            self.complete(origin, &call);
        } else if !self.calls.contains(&(origin, call.clone())) {
            self.calls.push((origin, call));
        }
    }

    fn collect(&mut self, worker: usize) {
        let Some(own) = &mut self.workers[worker] else { return };
        own.duties.settle();
        let mut calls = Vec::new();
        for output in own.duties.take_outputs() {
            match output {
                DutyOutput::Call(call) => calls.push(call),
                DutyOutput::Camera(camera, action) => own.act(camera, action),
            }
        }
        calls.into_iter().for_each(|call| self.send(CallOrigin::Worker(worker), call));
    }

    /// Applies a call, and returns its answer. Plans reach their worker with the call that points to them.
    fn apply(&mut self, call: &TableCall) -> TableAnswer {
        match call {
            TableCall::PointPlan { worker, .. } => {
                let is_member = self.members.contains_key(worker);
                if is_member { TableAnswer::Done } else { TableAnswer::Refused }
            }
            TableCall::ReadLoads => TableAnswer::Failed,
            call => self.table.apply(call),
        }
    }

    fn deliver(&mut self, index: usize) {
        let (origin, call) = self.calls.remove(index);
        self.complete(origin, &call);
    }

    fn complete(&mut self, origin: CallOrigin, call: &TableCall) {
        let answer = self.apply(call);
        if let (TableCall::PointPlan { worker, .. }, TableAnswer::Done) = (call, &answer) {
            self.show_plan(worker);
        }
        self.answer(origin, call, &answer);
    }

    fn show_plan(&mut self, worker: &WorkerId) {
        let TableAnswer::Plan(Some(plan)) = self.table.apply(&TableCall::ReadPlan { worker: worker.clone() })
        else {
            return;
        };
        let Some(number) = (0..WORKERS).find(|number| worker_id(*number) == *worker) else { return };
        if let Some(own) = &mut self.workers[number] {
            own.duties.follow(1, &plan);
            self.collect(number);
        }
    }

    fn answer(&mut self, origin: CallOrigin, call: &TableCall, answer: &TableAnswer) {
        match origin {
            CallOrigin::Worker(worker) => self.answer_worker(worker, call, answer),
            CallOrigin::Leader(term) if term == self.term => self.answer_leader(call, answer),
            CallOrigin::Leader(_) => {}
        }
    }

    fn answer_worker(&mut self, worker: usize, call: &TableCall, answer: &TableAnswer) {
        let Some(own) = &mut self.workers[worker] else { return };
        match call {
            TableCall::ReadItem { camera } => own.duties.item_read(0, camera, answer),
            TableCall::Item { camera, call } => own.duties.item_answered(0, camera, call, answer),
            other => panic!("a worker made the call {other:?}"),
        }
        self.collect(worker);
    }

    fn answer_leader(&mut self, call: &TableCall, answer: &TableAnswer) {
        match call {
            TableCall::ReadItem { camera } => self.director.item_read(0, camera, answer),
            TableCall::ReadItems { cameras } => self.director.items_read(0, cameras, answer),
            TableCall::Item { camera, .. } => self.director.item_answered(0, camera, answer),
            TableCall::WritePlan { worker, plan } => {
                if let Some(call) = self.director.plan_written(worker, plan.number, answer) {
                    self.send(CallOrigin::Leader(self.term), call);
                }
            }
            TableCall::PointPlan { worker, number } => self.director.plan_pointed(0, worker, *number, answer),
            _ => {}
        }
        self.director.settle();
        self.pump(1);
    }

    fn report(&mut self, worker: usize, report: &CameraReport) {
        let Some(own) = &mut self.workers[worker] else { return };
        if !own.reports.remove(report) {
            return;
        }
        match report {
            CameraReport::Warmed(camera) => own.duties.warmed(1, camera),
            CameraReport::Stopped(camera) => own.duties.stopped(0, camera),
            CameraReport::Sent { camera, epoch, records } => {
                let up_to = records.last().map_or(0, |(seq, _)| *seq);
                own.duties.sent(0, camera, *epoch, up_to);
                if camera.as_str() == CAMERAS[0] {
                    self.log.extend(records.iter().map(|(seq, id)| (*seq, *id, *epoch)));
                }
            }
        }
        self.collect(worker);
    }

    fn decide(&mut self, worker: usize) {
        let camera = camera_key(0);
        let Some(own) = &mut self.workers[worker] else { return };
        let Some(run) = own.runs.get_mut(&camera) else { return };
        // Another id in each epoch: ids differ whenever they may differ.
        let id = b'0' + u8::try_from(run.epoch).unwrap_or(u8::MAX);
        run.ids.push(id);
        let seq = run.ids.len() as u64;
        let state = CameraResumeState {
            seq,
            checkpoint: Arc::from(run.ids.as_slice()),
            checkpoint_version: 1,
            ..CameraResumeState::default()
        };
        let record = PendingRecord { seq, id: (id as char).to_string().into(), body: Arc::default() };
        own.duties.commit(0, &camera, run.epoch, OwnerCommit { state, records: vec![record] });
        self.collect(worker);
    }

    fn wake(&mut self, worker: usize, now_ms: u64) {
        if let Some(own) = &mut self.workers[worker] {
            own.duties.wake(now_ms);
            self.collect(worker);
        }
    }

    fn expel(&mut self, worker: usize) {
        self.members.remove(&worker_id(worker));
        self.plan(1);
    }

    /// An expelled worker learns that its row is gone.
    fn notice(&mut self, worker: usize) {
        self.workers[worker] = None;
    }

    fn replace_leader(&mut self) {
        self.term += 1;
        self.director = PoolDirector::new(0, self.term, pool_config(), 1);
        self.director.settle();
        self.pump(1);
    }

    /// Returns `true` if both cameras are owned by members that live, run them and are not about to give them away.
    fn is_settled(&self) -> bool {
        (0..CAMERAS.len()).all(|camera| {
            let camera = camera_key(camera);
            let item = self.table.item(&camera);
            (0..WORKERS).any(|worker| {
                let own = self.workers[worker].as_ref();
                let is_member = self.members.contains_key(&worker_id(worker));
                let is_running = own.is_some_and(|own| own.duties.is_running(&camera, item.epoch));
                item.owner == Some(worker_id(worker)) && is_member && is_running && item.next.is_none()
            })
        })
    }

    /// Lets every message, report and timer have its turn once, without faults. A state in which nothing happens lets offers time out.
    fn fair_round(&mut self, is_silence_noticed: bool) {
        let before = self.fingerprint();
        for _ in 0..self.calls.len() {
            self.deliver(0);
        }
        for worker in 0..WORKERS {
            if !self.members.contains_key(&worker_id(worker)) {
                self.notice(worker);
            }
            let reports = self.workers[worker].as_ref().map(|own| own.reports.clone()).unwrap_or_default();
            reports.iter().for_each(|report| self.report(worker, report));
            self.wake(worker, 3);
            self.read_missing(worker);
        }
        if is_silence_noticed {
            self.expel_the_dead();
        }
        self.plan(1);
        if self.fingerprint() == before {
            self.plan(FORCE_MS);
        }
    }

    fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        Hash::hash(self, &mut hasher);
        hasher.finish()
    }

    fn read_missing(&mut self, worker: usize) {
        if let Some(own) = &mut self.workers[worker] {
            own.duties.read_missing();
            self.collect(worker);
        }
    }

    fn expel_the_dead(&mut self) {
        let workers = &self.workers;
        self.members
            .retain(|id, _| (0..WORKERS).any(|worker| worker_id(worker) == *id && workers[worker].is_some()));
    }

    fn is_owned_again(&self, model: &PoolModel) -> bool {
        let (mut state, mut path) = (self.clone(), Vec::new());
        for _ in 0..MAX_ROUNDS {
            let hash = state.fingerprint();
            path.push(hash);
            if state.is_settled() || model.owned_again.lock().unwrap().contains(&hash) {
                model.owned_again.lock().unwrap().extend(path);
                return true;
            }
            state.fair_round(model.is_silence_noticed);
        }
        false
    }

    fn plan_numbers(&self) -> u64 {
        let numbers = (0..WORKERS).map(|worker| self.director.plan_number(&worker_id(worker)));
        numbers.max().unwrap_or(0)
    }
}

impl PoolWorker {
    fn act(&mut self, camera: CameraKey, action: CameraAction) {
        match action {
            CameraAction::Start { epoch, state } => {
                let run = PoolCameraRun { epoch, ids: state.checkpoint.to_vec(), is_stopped: false };
                self.reports.remove(&CameraReport::Warmed(camera.clone()));
                self.runs.insert(camera, run);
            }
            CameraAction::Warm { .. } => {
                self.reports.insert(CameraReport::Warmed(camera));
            }
            CameraAction::Stop => {
                if let Some(run) = self.runs.get_mut(&camera) {
                    run.is_stopped = true;
                }
                self.reports.insert(CameraReport::Stopped(camera));
            }
            CameraAction::Resume => {
                if let Some(run) = self.runs.get_mut(&camera) {
                    run.is_stopped = false;
                }
            }
            CameraAction::Cool | CameraAction::Abort | CameraAction::Released => {
                self.runs.remove(&camera);
                self.reports.remove(&CameraReport::Warmed(camera.clone()));
                self.reports.remove(&CameraReport::Stopped(camera));
            }
            CameraAction::Send { epoch, records, .. } => {
                let records = records.iter().map(|record| (record.seq, record.id.as_bytes()[0])).collect();
                self.reports.insert(CameraReport::Sent { camera, epoch, records });
            }
            CameraAction::Hold | CameraAction::Rejected(_) => panic!("unexpected {action:?}"),
        }
    }
}

impl Model for PoolModel {
    type State = PoolState;
    type Action = PoolAction;

    fn init_states(&self) -> Vec<PoolState> {
        vec![PoolState::new()]
    }

    fn actions(&self, state: &PoolState, actions: &mut Vec<PoolAction>) {
        for index in 0..state.calls.len() {
            actions.push(PoolAction::Deliver(index));
            if state.losses < self.losses {
                actions.extend([PoolAction::Lose(index, true), PoolAction::Lose(index, false)]);
            }
        }
        for (worker, own) in state.workers.iter().enumerate() {
            let is_member = state.members.contains_key(&worker_id(worker));
            if is_member && (own.is_none() || state.deaths < self.deaths) {
                actions.push(PoolAction::Expel(worker));
            }
            let Some(own) = own else { continue };
            actions.extend(own.reports.iter().map(|report| PoolAction::Report(worker, report.clone())));
            actions.extend([1, 2].map(|now_ms| PoolAction::Wake(worker, now_ms)));
            let run = own.runs.get(&camera_key(0));
            if run.is_some_and(|run| run.ids.is_empty() && !run.is_stopped) {
                actions.push(PoolAction::Decide(worker));
            }
            if state.deaths < self.deaths {
                actions.push(PoolAction::Crash(worker));
            }
            if !is_member {
                actions.push(PoolAction::Notice(worker));
            }
        }
        actions.extend([1, WARM_MS, FORCE_MS].map(PoolAction::Plan));
        if state.term <= u64::from(self.leaders) {
            actions.push(PoolAction::NewLeader);
        }
    }

    fn next_state(&self, last: &PoolState, action: PoolAction) -> Option<PoolState> {
        let mut state = last.clone();
        match action {
            PoolAction::Deliver(index) => state.deliver(index),
            PoolAction::Lose(index, is_applied) => {
                state.losses += 1;
                let (origin, call) = state.calls.remove(index);
                if is_applied {
                    state.apply(&call);
                }
                state.answer(origin, &call, &TableAnswer::Failed);
            }
            PoolAction::Report(worker, report) => state.report(worker, &report),
            PoolAction::Decide(worker) => state.decide(worker),
            PoolAction::Wake(worker, now_ms) => state.wake(worker, now_ms),
            PoolAction::Plan(now_ms) => state.plan(now_ms),
            PoolAction::Crash(worker) => {
                state.deaths += 1;
                state.workers[worker] = None;
            }
            PoolAction::Expel(worker) => {
                state.deaths += u8::from(state.workers[worker].is_some());
                state.expel(worker);
            }
            PoolAction::Notice(worker) => state.notice(worker),
            PoolAction::NewLeader => state.replace_leader(),
        }
        // Calls of one origin to one row keep no order, so neither does the list.
        state.calls.sort_by_cached_key(|sent| {
            let mut hasher = DefaultHasher::new();
            sent.hash(&mut hasher);
            hasher.finish()
        });
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = promises(has_one_id, has_lost_nothing, is_in_order, has_no_stale_news);
        properties.push(Property::always("one current owner", has_no_two_owners));
        properties
            .push(Property::always("owned again", |model, state: &PoolState| state.is_owned_again(model)));
        properties
    }

    fn within_boundary(&self, state: &PoolState) -> bool {
        state.plan_numbers() <= self.plans
    }
}

fn pool_model(deaths: u8, losses: u8, leaders: u8, plans: u64) -> PoolModel {
    PoolModel { deaths, losses, leaders, plans, is_silence_noticed: true, owned_again: Arc::default() }
}

#[test]
fn a_pool_keeps_every_property_whatever_dies_and_owns_its_cameras_again() {
    for (name, model) in [
        ("no fault", pool_model(0, 0, 0, 4)),
        ("1 death", pool_model(1, 0, 0, 3)),
        ("1 lost answer", pool_model(0, 1, 0, 3)),
        ("1 new leader", pool_model(0, 0, 1, 3)),
    ] {
        let start = Instant::now();
        let checker = model.checker().target_state_count(MAX_GENERATED).spawn_bfs().join();
        println!(
            "pool, {name}: {} states, {} generated, depth {}, {:.1} s",
            checker.unique_state_count(),
            checker.state_count(),
            checker.max_depth(),
            start.elapsed().as_secs_f64()
        );
        checker.assert_properties();
        assert!(checker.state_count() < MAX_GENERATED, "not explored to the end");
    }
}

#[test]
fn cameras_of_a_dead_worker_stay_lost_where_no_worker_notices_its_silence() {
    let model = PoolModel { is_silence_noticed: false, ..pool_model(1, 0, 0, 3) };
    let found = HasDiscoveries::AnyOf(["owned again"].into());
    let checker = model.checker().finish_when(found).spawn_bfs().join();
    let path = checker.discovery("owned again").expect("a check that cannot fail");
    println!("pool without expulsion: a camera stays lost after {} steps", path.into_actions().len());
}
