//! Workers, tables and sink in virtual time. Everything follows from the seed.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sharing::{
    CameraAction, CameraKey, CommitRejection, ConfigVersion, MemoryTable, PendingRecord, PoolCamera,
    PoolConfig, PoolFigures, ResourceAmounts, TableAnswer, TableCall, Worker, WorkerEnd, WorkerId,
    WorkerInput, WorkerLoad, WorkerOutput, WorkerSettings,
};

use crate::camera::{FRAME_MS, LocalCamera, happenings};
use crate::events::{Scheduled, WorldEvent, target};
use crate::requests::RequestTotals;
use crate::settings::WorldSettings;
use crate::verdict::Verdict;

/// Time after which a call without an answer counts as failed.
const CALL_TIMEOUT_MS: u64 = 1_000;
/// Maximum number of frames that a camera decides in one step while it catches up.
const MAX_CATCH_UP: usize = 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WorkerState {
    Alive,
    Paused,
    Dead,
}

pub(crate) struct SimWorker {
    pub(crate) worker: Worker,
    pub(crate) state: WorkerState,
    /// The worker's clock is ahead of the world's by this much: no two clocks agree.
    clock_ahead_ms: u64,
    pub(crate) cameras: BTreeMap<CameraKey, LocalCamera>,
    deferred: Vec<WorldEvent>,
    wake_at: Option<u64>,
    /// The worker cannot reach the table before this time.
    pub(crate) cut_until_ms: u64,
    /// Steps of the worker, to find one that never sleeps.
    pub(crate) steps: u64,
}

pub(crate) struct World {
    pub(crate) now_ms: u64,
    pub(crate) settings: WorldSettings,
    pub(crate) rng: StdRng,
    pub(crate) table: MemoryTable,
    pub(crate) workers: Vec<SimWorker>,
    pub(crate) verdict: Verdict,
    pub(crate) requests: RequestTotals,
    pub(crate) config: Arc<PoolConfig>,
    queue: BinaryHeap<Reverse<Scheduled>>,
    scheduled: u64,
    instances: u64,
    table_away_until_ms: u64,
    sink_away_until_ms: u64,
    is_crash_measured: bool,
    /// The time of the crash since which a camera has been decided by no worker.
    lost_ms: BTreeMap<CameraKey, u64>,
    /// The last decided frame: time, worker.
    looked_ms: BTreeMap<CameraKey, (u64, usize)>,
    /// Workers whose cameras neither stop nor become warm.
    pub(crate) stuck: BTreeSet<usize>,
    pub(crate) takeovers_ms: Vec<u64>,
    pub(crate) hand_overs_ms: Vec<u64>,
}

impl World {
    pub(crate) fn new(seed: u64, settings: WorldSettings) -> Self {
        let cameras = (0..settings.cameras).map(|number| {
            let camera = PoolCamera {
                spec: "1".into(),
                priority: u32::try_from(number % 3).unwrap(),
                cost: cost_of(number),
                ..PoolCamera::default()
            };
            (CameraKey::new(&format!("camera-{number:04}")), camera)
        });
        let version = ConfigVersion { modified_ms: 1, digest: "d".into() };
        Self {
            now_ms: 0,
            rng: StdRng::seed_from_u64(seed),
            table: MemoryTable::default(),
            workers: Vec::new(),
            verdict: Verdict::default(),
            requests: RequestTotals::default(),
            config: Arc::new(PoolConfig { version, cameras: cameras.collect() }),
            queue: BinaryHeap::new(),
            scheduled: 0,
            instances: 0,
            table_away_until_ms: 0,
            sink_away_until_ms: 0,
            is_crash_measured: true,
            lost_ms: BTreeMap::new(),
            looked_ms: BTreeMap::new(),
            stuck: BTreeSet::new(),
            takeovers_ms: Vec::new(),
            hand_overs_ms: Vec::new(),
            settings,
        }
    }

    pub(crate) fn cameras(&self) -> Vec<CameraKey> {
        self.config.cameras.keys().cloned().collect()
    }

    pub(crate) fn at(&mut self, at_ms: u64, event: WorldEvent) {
        self.scheduled += 1;
        self.queue.push(Reverse(Scheduled(at_ms.max(self.now_ms), self.scheduled, event)));
    }

    fn after(&mut self, delay_ms: u64, event: WorldEvent) {
        self.at(self.now_ms + delay_ms, event);
    }

    /// Runs until the given time.
    pub(crate) fn run_until(&mut self, until_ms: u64) {
        while self.queue.peek().is_some_and(|Reverse(next)| next.0 <= until_ms) {
            let Some(Reverse(Scheduled(at_ms, _, event))) = self.queue.pop() else { break };
            self.now_ms = at_ms;
            self.handle(event);
        }
        self.now_ms = until_ms;
    }

    fn handle(&mut self, event: WorldEvent) {
        if let Some(worker) = target(&event) {
            match self.workers[worker].state {
                WorkerState::Dead => return,
                WorkerState::Paused
                    if !matches!(event, WorldEvent::Crash { .. } | WorldEvent::Continue(_)) =>
                {
                    self.workers[worker].deferred.push(event);
                    return;
                }
                WorkerState::Paused | WorkerState::Alive => {}
            }
        }
        match event {
            WorldEvent::Wake(worker) => self.wake(worker),
            WorldEvent::Request { call, asker } => self.request(call, asker),
            WorldEvent::Answer { worker, call, answer } => {
                self.feed(worker, WorkerInput::Answer { call: Box::new(call), answer });
            }
            WorldEvent::Deliver { camera, epoch, records } => {
                records.iter().for_each(|record| self.verdict.accept(&camera, epoch, record));
            }
            WorldEvent::Sent { worker, camera, epoch, up_to } => {
                self.feed(worker, WorkerInput::Sent { camera, epoch, up_to });
            }
            WorldEvent::Step { worker, camera, instance } => self.step_camera(worker, &camera, instance),
            WorldEvent::Warmed { worker, camera, instance } => {
                if self.has_instance(worker, &camera, instance) && !self.stuck.contains(&worker) {
                    self.feed(worker, WorkerInput::Warmed { camera });
                }
            }
            fault => self.inject(&fault),
        }
    }

    fn inject(&mut self, fault: &WorldEvent) {
        match *fault {
            WorldEvent::Join => self.join(),
            WorldEvent::Crash { worker, is_restarted } => self.crash(worker, is_restarted),
            WorldEvent::Pause { worker, for_ms } => {
                self.workers[worker].state = WorkerState::Paused;
                self.after(for_ms, WorldEvent::Continue(worker));
            }
            WorldEvent::Continue(worker) => {
                self.workers[worker].state = WorkerState::Alive;
                for event in std::mem::take(&mut self.workers[worker].deferred) {
                    self.after(0, event);
                }
            }
            WorldEvent::Drain(worker) => {
                let by_ms = self.local_ms(worker) + 20_000;
                self.feed(worker, WorkerInput::Drain { by_ms });
            }
            WorldEvent::Cut { worker, for_ms } => self.workers[worker].cut_until_ms = self.now_ms + for_ms,
            WorldEvent::TableAway { for_ms } => self.table_away_until_ms = self.now_ms + for_ms,
            WorldEvent::SinkAway { for_ms } => self.sink_away_until_ms = self.now_ms + for_ms,
            _ => {}
        }
    }

    /// Starts a worker with the world's configuration.
    pub(crate) fn join(&mut self) {
        self.join_as(&[1]);
    }

    /// Starts a worker that reads these checkpoint formats.
    pub(crate) fn join_as(&mut self, reads: &[u32]) {
        let number = self.workers.len();
        let settings = WorkerSettings {
            id: WorkerId::new(&format!("worker-{number:04}")),
            zone: ["a", "b", "c"][number % 3].into(),
            reads: reads.iter().copied().collect(),
            when_away: self.settings.when_away,
            config: Arc::clone(&self.config),
        };
        let clock_ahead_ms = self.rng.random_range(0..10_000_000);
        let worker = Worker::new(settings, self.now_ms + clock_ahead_ms);
        self.workers.push(SimWorker {
            worker,
            state: WorkerState::Alive,
            clock_ahead_ms,
            cameras: BTreeMap::new(),
            deferred: Vec::new(),
            wake_at: None,
            cut_until_ms: 0,
            steps: 0,
        });
        self.set_load(number, false);
        self.feed(number, WorkerInput::Ready);
    }

    /// Reports a worker's capacity, and whether it keeps up.
    pub(crate) fn set_load(&mut self, worker: usize, is_overloaded: bool) {
        let gpu_milli = self.settings.capacity_milli;
        let capacity = ResourceAmounts { gpu_milli, cpu_milli: 64_000, memory_mib: 64_000 };
        let load = WorkerLoad { capacity, is_overloaded, ..WorkerLoad::default() };
        self.feed(worker, WorkerInput::Load(load));
    }

    /// Returns the living worker that runs a camera.
    pub(crate) fn runner(&self, camera: &CameraKey) -> Option<usize> {
        let item = self.table.item(camera);
        self.living().into_iter().find(|worker| {
            let local = self.workers[*worker].cameras.get(camera);
            local.is_some_and(|local| local.epoch == Some(item.epoch) && local.frames() > 0)
        })
    }

    fn crash(&mut self, worker: usize, is_restarted: bool) {
        let now_ms = self.now_ms;
        let killed = &mut self.workers[worker];
        killed.state = WorkerState::Dead;
        for (camera, local) in std::mem::take(&mut killed.cameras) {
            if local.epoch.is_some() && self.is_crash_measured {
                self.lost_ms.entry(camera).or_insert(now_ms);
            }
        }
        if is_restarted {
            let delay_ms = self.rng.random_range(3_000..20_000);
            self.after(delay_ms, WorldEvent::Join);
        }
    }

    fn local_ms(&self, worker: usize) -> u64 {
        self.now_ms + self.workers[worker].clock_ahead_ms
    }

    fn wake(&mut self, worker: usize) {
        // An earlier wake has taken the place of this one: it would be planned again, and their number would only grow.
        if self.workers[worker].wake_at.is_none_or(|planned| planned > self.now_ms) {
            return;
        }
        self.workers[worker].wake_at = None;
        let is_due = self.workers[worker].worker.wake_at().is_some_and(|at| at <= self.local_ms(worker));
        if is_due {
            self.feed(worker, WorkerInput::Wake);
        } else {
            self.schedule_wake(worker);
        }
    }

    fn schedule_wake(&mut self, worker: usize) {
        let own = &self.workers[worker];
        let Some(at) = own.worker.wake_at() else { return };
        let at = at.saturating_sub(own.clock_ahead_ms).max(self.now_ms + 1);
        if own.wake_at.is_none_or(|planned| at < planned) {
            self.workers[worker].wake_at = Some(at);
            self.at(at, WorldEvent::Wake(worker));
        }
    }

    pub(crate) fn feed(&mut self, worker: usize, input: WorkerInput) {
        let local_ms = self.local_ms(worker);
        self.workers[worker].steps += 1;
        for output in self.workers[worker].worker.step(local_ms, input) {
            match output {
                WorkerOutput::Call(call) => self.call(worker, call),
                WorkerOutput::Camera { camera, action } => self.act(worker, camera, action),
                WorkerOutput::Left(end) => self.leave(worker, end),
            }
        }
        if self.workers[worker].state == WorkerState::Alive {
            self.schedule_wake(worker);
        }
    }

    fn leave(&mut self, worker: usize, end: WorkerEnd) {
        assert!(
            end == WorkerEnd::Expelled || self.workers[worker].cameras.is_empty(),
            "drained with cameras"
        );
        self.workers[worker].state = WorkerState::Dead;
        if self.settings.is_replaced {
            let delay_ms = self.rng.random_range(500..3_000);
            self.after(delay_ms, WorldEvent::Join);
        }
    }

    fn chance(&mut self, per_mille: u32) -> bool {
        per_mille > 0 && self.rng.random_range(0..1_000) < per_mille
    }

    fn one_way_ms(&mut self) -> u64 {
        self.rng.random_range(2..10)
    }

    /// Sends a call to the table.
    fn call(&mut self, worker: usize, call: TableCall) {
        self.requests.count(self.now_ms, &call, &self.table);
        let faults = self.settings.faults;
        let is_away = self.now_ms < self.table_away_until_ms.max(self.workers[worker].cut_until_ms);
        if is_away || self.chance(faults.lost) {
            self.fail(worker, call, CALL_TIMEOUT_MS);
        } else if self.chance(faults.throttled) {
            self.fail(worker, call, 10);
        } else if self.chance(faults.unanswered) {
            let delay_ms = self.one_way_ms();
            self.after(delay_ms, WorldEvent::Request { call: call.clone(), asker: None });
            self.fail(worker, call, CALL_TIMEOUT_MS);
        } else if self.chance(faults.late) {
            let delay_ms = self.rng.random_range(900..10_000);
            self.after(delay_ms, WorldEvent::Request { call: call.clone(), asker: None });
            self.fail(worker, call, CALL_TIMEOUT_MS);
        } else {
            if self.chance(faults.repeated) {
                let delay_ms = self.rng.random_range(10..30_000);
                self.after(delay_ms, WorldEvent::Request { call: call.clone(), asker: None });
            }
            let delay_ms = self.one_way_ms();
            self.after(delay_ms, WorldEvent::Request { call, asker: Some(worker) });
        }
    }

    fn fail(&mut self, worker: usize, call: TableCall, delay_ms: u64) {
        self.after(delay_ms, WorldEvent::Answer { worker, call, answer: TableAnswer::Failed });
    }

    fn request(&mut self, call: TableCall, asker: Option<usize>) {
        let answer = self.table.apply(&call);
        if let Some(worker) = asker {
            let delay_ms = self.one_way_ms();
            self.after(delay_ms, WorldEvent::Answer { worker, call, answer });
        }
    }

    fn act(&mut self, worker: usize, camera: CameraKey, action: CameraAction) {
        match action {
            CameraAction::Warm { .. } => {
                let instance = self.new_instance();
                self.workers[worker].cameras.insert(camera.clone(), LocalCamera::warm(instance));
                let delay_ms = self.rng.random_range(500..2_000);
                self.after(delay_ms, WorldEvent::Warmed { worker, camera, instance });
            }
            CameraAction::Start { epoch, state } => {
                let instance = self.new_instance();
                let local = LocalCamera::start(instance, epoch, &state);
                let was_warm = self.workers[worker].cameras.insert(camera.clone(), local).is_some();
                // Decoding of what was held begins at once; a cold start opens the stream first.
                let delay_ms =
                    if was_warm { self.rng.random_range(20..250) } else { self.rng.random_range(300..1_200) };
                self.after(delay_ms, WorldEvent::Step { worker, camera, instance });
            }
            CameraAction::Cool | CameraAction::Abort | CameraAction::Released => {
                self.workers[worker].cameras.remove(&camera);
            }
            CameraAction::Send { epoch, records, .. } => self.send(worker, camera, epoch, &records),
            CameraAction::Rejected(CommitRejection::Stopped) => {}
            CameraAction::Rejected(rejection) => {
                self.verdict.faults.push(format!("a commit of {camera} was rejected: {rejection}"));
            }
            CameraAction::Stop | CameraAction::Hold | CameraAction::Resume => {
                let Some(local) = self.workers[worker].cameras.get_mut(&camera) else { return };
                match action {
                    CameraAction::Stop => local.is_stopping = !self.stuck.contains(&worker),
                    CameraAction::Hold => local.is_held = true,
                    _ => (local.is_held, local.is_stopping, local.is_stopped) = (false, false, false),
                }
            }
        }
    }

    fn new_instance(&mut self) -> u64 {
        self.instances += 1;
        self.instances
    }

    fn has_instance(&self, worker: usize, camera: &CameraKey, instance: u64) -> bool {
        self.workers[worker].cameras.get(camera).is_some_and(|local| local.instance == instance)
    }

    /// Sends records to the sink: in order, and each call whole, in part or not at all.
    fn send(&mut self, worker: usize, camera: CameraKey, epoch: u64, records: &[PendingRecord]) {
        let faults = self.settings.faults;
        let delay_ms = self.rng.random_range(5..30);
        let deliver = |records: &[PendingRecord]| {
            let records = records.to_vec();
            WorldEvent::Deliver { camera: camera.clone(), epoch, records }
        };
        let is_lost = self.now_ms < self.sink_away_until_ms || self.chance(faults.lost);
        let is_in_part = self.chance(faults.throttled);
        let accepted = match (is_lost, is_in_part) {
            (true, _) => 0,
            (false, true) => self.rng.random_range(0..records.len()),
            (false, false) => records.len(),
        };
        let late_ms = if self.chance(faults.late) { self.rng.random_range(1_000..15_000) } else { delay_ms };
        self.after(late_ms, deliver(&records[..accepted]));
        if self.chance(faults.repeated) {
            let again_ms = late_ms + self.rng.random_range(10..30_000);
            self.after(again_ms, deliver(&records[..accepted]));
        }
        let is_unanswered = is_lost || late_ms > CALL_TIMEOUT_MS || self.chance(faults.unanswered);
        let up_to = records[..accepted].last().filter(|_| !is_unanswered).map_or(0, |record| record.seq);
        let answer_ms = if is_unanswered { CALL_TIMEOUT_MS } else { delay_ms * 2 };
        self.after(answer_ms, WorldEvent::Sent { worker, camera, epoch, up_to });
    }

    fn step_camera(&mut self, worker: usize, camera: &CameraKey, instance: u64) {
        for _ in 0..MAX_CATCH_UP.max(usize::try_from(self.settings.step_ms / FRAME_MS).unwrap() * 2) {
            if !self.has_instance(worker, camera, instance) || !self.decide(worker, camera) {
                break;
            }
        }
        let Some(local) = self.workers[worker].cameras.get_mut(camera) else { return };
        if local.instance != instance {
            return;
        }
        if local.is_stopping && !local.is_stopped {
            local.is_stopped = true;
            let (commit, epoch) = (local.last_commit(), local.epoch.unwrap_or(0));
            if let Some(commit) = commit.filter(|_| !local.is_held) {
                self.feed(worker, WorkerInput::Commit { camera: camera.clone(), epoch, commit });
            }
            self.feed(worker, WorkerInput::Stopped { camera: camera.clone() });
        }
        self.after(self.settings.step_ms, WorldEvent::Step { worker, camera: camera.clone(), instance });
    }

    /// Lets a camera decide its next frame; returns `false` if there is none yet or it must not.
    fn decide(&mut self, worker: usize, camera: &CameraKey) -> bool {
        let (now_ms, per_frames) = (self.now_ms, self.settings.frames_per_happening);
        let Some(local) = self.workers[worker].cameras.get_mut(camera) else { return false };
        let Some(epoch) = local.epoch.filter(|_| !local.is_held && !local.is_stopping && !local.is_stopped)
        else {
            return false;
        };
        let rng = &mut self.rng;
        let found = |frame| happenings(camera.as_str(), frame, per_frames);
        let Some(commit) = local.decide(now_ms, found, || format!("{:032x}", rng.random::<u128>())) else {
            return false;
        };
        self.note_frame(worker, camera);
        if let Some(commit) = commit {
            self.feed(worker, WorkerInput::Commit { camera: camera.clone(), epoch, commit });
        }
        true
    }

    fn note_frame(&mut self, worker: usize, camera: &CameraKey) {
        let now_ms = self.now_ms;
        if let Some(lost_ms) = self.lost_ms.remove(camera) {
            self.takeovers_ms.push(now_ms - lost_ms);
        } else if let Some((last_ms, last_worker)) = self.looked_ms.get(camera)
            && *last_worker != worker
            && self.workers[*last_worker].worker.members().workers.len() > 1
        {
            self.hand_overs_ms.push(now_ms - last_ms);
        }
        self.looked_ms.insert(camera.clone(), (now_ms, worker));
    }

    /// Returns the number of a worker that is alive, by its place among the living.
    pub(crate) fn living(&self) -> Vec<usize> {
        let alive = |worker: &usize| self.workers[*worker].state == WorkerState::Alive;
        (0..self.workers.len()).filter(alive).collect()
    }

    pub(crate) fn leader(&self) -> Option<usize> {
        self.living().into_iter().find(|worker| self.workers[*worker].worker.leading_term().is_some())
    }

    /// Returns the figures of the pool as the leader knows them.
    pub(crate) fn figures(&self) -> Option<PoolFigures> {
        self.workers[self.leader()?].worker.pool_figures()
    }

    /// Returns the cameras that no living worker runs as their owner.
    pub(crate) fn unowned(&self) -> Vec<CameraKey> {
        let is_run = |camera: &CameraKey| {
            let item = self.table.item(camera);
            self.living().into_iter().any(|worker| {
                let own = &self.workers[worker];
                let local = own.cameras.get(camera);
                item.owner.as_ref() == Some(own.worker.id())
                    && local.is_some_and(|local| local.epoch == Some(item.epoch) && local.frames() > 0)
            })
        };
        self.cameras().into_iter().filter(|camera| !is_run(camera)).collect()
    }

    /// Returns the happenings of a camera's footage up to a time that were not reported.
    pub(crate) fn missing(&self, camera: &CameraKey, until_ms: u64) -> Vec<(u64, u8)> {
        let reported = self.verdict.happenings(camera);
        let per_frames = self.settings.frames_per_happening;
        let frames = 0..until_ms / FRAME_MS;
        let all = frames.flat_map(|frame| {
            (0..happenings(camera.as_str(), frame, per_frames)).map(move |index| (frame, index))
        });
        all.filter(|happening| reported.binary_search(happening).is_err()).collect()
    }
}

fn cost_of(number: usize) -> ResourceAmounts {
    ResourceAmounts { gpu_milli: 10 + (number as u64 * 7) % 30, cpu_milli: 100, memory_mib: 100 }
}
