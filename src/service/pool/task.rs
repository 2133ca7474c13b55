//! The task of a worker: feeds the step function, and does what comes out.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};

use ::sharing::{
    CameraAction, CameraKey, CommitRejection, TableAnswer, TableCall, WhenTableIsAway, Worker, WorkerEnd,
    WorkerId, WorkerInput, WorkerLoad, WorkerOutput, WorkerSettings,
};

use super::config::ConfiguredCamera;
use super::load::{LoadMeter, capacity};
use super::{PoolCommand, PoolParts, SharedConfig};
use crate::aws::AwsFailure;
use crate::base::{clean_text, epoch_ms, host_name, process_cpu_time};
use crate::checkpoint::Checkpoint;
use crate::delivery::{OwnerCommitRequest, SharedDelivery};
use crate::media::CameraId;
use crate::service::cameras::Fleet;
use crate::sharing::PoolTable;
use crate::status::{CameraRow, StatusBoard};
use crate::telemetry::sharing::{PoolMeasured, WorkerExpelled, WorkerJoined, WorkerLeft};

/// Limit on a call on the tables. Calls that get no answer in time are made again by the step function.
const CALL_LIMIT: Duration = Duration::from_secs(1);
/// Interval between two measurements of the load.
const LOAD_INTERVAL: Duration = Duration::from_secs(10);
/// The time without a stream or a data stream after which a camera counts as stuck.
const STUCK_FOR: Duration = Duration::from_secs(15);
/// Limit on the characters of a host's name in a worker's id.
const MAX_HOST_CHARS: usize = 40;

/// A call on the tables, with the run of the worker that made it.
type AnsweredCall = (u64, TableCall, TableAnswer);

/// The task of a worker.
pub(super) struct PoolTask {
    worker: Worker,
    /// The process is to end.
    is_draining: bool,
    /// The worker has left the pool.
    is_over: bool,
    /// The number of this process's ids so far: answers to calls under an earlier id are dropped.
    run: u64,
    when_away: WhenTableIsAway,
    begun: Instant,
    table: Arc<PoolTable>,
    pub(super) config: SharedConfig,
    pub(super) fleet: Fleet,
    pub(super) delivery: Arc<SharedDelivery>,
    board: StatusBoard,
    meter: LoadMeter,
    requests: mpsc::Receiver<OwnerCommitRequest>,
    commands: mpsc::Receiver<PoolCommand>,
    calls: FuturesUnordered<BoxFuture<'static, AnsweredCall>>,
    /// Inputs that come once some work is done: records are sent, a camera has ended.
    pub(super) work: FuturesUnordered<BoxFuture<'static, Option<WorkerInput>>>,
}

impl PoolTask {
    pub(super) fn new(parts: PoolParts, commands: mpsc::Receiver<PoolCommand>) -> Self {
        let PoolParts { table, when_away, config, fleet, delivery, board, requests } = parts;
        let begun = Instant::now();
        let worker = new_worker(when_away, &config, 0);
        let (calls, work) = (FuturesUnordered::new(), FuturesUnordered::new());
        let table = Arc::new(table);
        Self {
            worker,
            run: 0,
            is_draining: false,
            is_over: false,
            when_away,
            begun,
            table,
            config,
            fleet,
            delivery,
            board,
            meter: LoadMeter::default(),
            requests,
            commands,
            calls,
            work,
        }
    }

    /// Runs until the worker has left the pool after a drain, and returns its fleet.
    pub(super) async fn run(mut self) -> Fleet {
        self.announce();
        let mut loads = interval(LOAD_INTERVAL);
        loads.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.ready();
        while !self.is_over {
            tokio::select! {
                Some((run, call, answer)) = self.calls.next(), if !self.calls.is_empty() => {
                    self.note_join(&call, &answer);
                    if run == self.run {
                        self.step(WorkerInput::Answer { call: Box::new(call), answer });
                    }
                }
                Some(done) = self.work.next(), if !self.work.is_empty() => done.into_iter().for_each(|input| self.step(input)),
                Some(request) = self.requests.recv() => self.take_request(request),
                Some(command) = self.commands.recv() => self.take_command(command),
                _ = loads.tick() => self.measure(),
                () = wake(self.begun, self.worker.wake_at()) => self.step(WorkerInput::Wake),
            };
        }
        WorkerLeft { worker: self.worker.id().as_str() }.emit();
        self.fleet
    }

    /// Reports the service as ready once the worker is in the pool: a deployment must not end good workers for one that cannot join.
    fn note_join(&self, call: &TableCall, answer: &TableAnswer) {
        if matches!(call, TableCall::Join { .. }) && *answer != TableAnswer::Failed {
            self.board.ready();
        }
    }

    fn ready(&mut self) {
        self.measure();
        self.step(WorkerInput::Ready);
    }

    fn measure(&mut self) {
        let rows = self.board.snapshot();
        let works: Vec<_> = rows.iter().map(|row| (CameraKey::new(&row.id), row.work)).collect();
        let gpu_ms = |key: &CameraKey| self.config.camera(key).map_or(0.0, ConfiguredCamera::gpu_ms);
        let (now, cpu) = (Instant::now().into_std(), process_cpu_time());
        let cameras = self.meter.measure(now, cpu, &works, &self.config.pool, gpu_ms);
        let models = self.config.pool.cameras.values().flat_map(|camera| camera.models.iter().cloned());
        let load = WorkerLoad {
            capacity: capacity(self.config.gpus()),
            is_overloaded: self.board.is_overloaded() || self.is_cut_off(&rows),
            models: models.collect(),
            cameras,
        };
        self.step(WorkerInput::Load(load));
        let figures = self.worker.pool_figures();
        PoolMeasured(figures).emit();
        self.board.set_pool_figures(figures);
    }

    /// Returns whether this worker has no use of most of its cameras, which another one may have: their streams or the data stream do not
    /// answer. One camera alone is no sign of that.
    fn is_cut_off(&self, rows: &[CameraRow]) -> bool {
        let is_stuck = |row: &&CameraRow| {
            let down_for = Duration::from_millis(row.error_for_ms.unwrap_or(0));
            down_for.max(self.delivery.sends_for(&CameraId::new(&row.id))) >= STUCK_FOR
        };
        let stuck = rows.iter().filter(is_stuck).count();
        stuck >= 2 && stuck * 2 >= rows.len()
    }

    fn take_command(&mut self, command: PoolCommand) {
        match command {
            PoolCommand::Config { config, done } => {
                let changed = self.config.changed(&config);
                self.config = config;
                changed.into_iter().for_each(|camera| self.fleet.change(camera.spec, camera.models));
                self.step(WorkerInput::Config(Arc::clone(&self.config.pool)));
                // The receiver waits for the answer or has given up.
                let _heard = done.send(());
            }
            PoolCommand::Drain { within } => {
                self.is_draining = true;
                let by_ms = self.now_ms() + u64::try_from(within.as_millis()).unwrap_or(u64::MAX / 2);
                self.step(WorkerInput::Drain { by_ms });
            }
        }
    }

    /// Gives a commit to its owner, and the owner's answer back.
    fn take_request(&mut self, request: OwnerCommitRequest) {
        let OwnerCommitRequest { camera, epoch, commit, taken } = request;
        let key = CameraKey::new(camera.as_str());
        let (now_ms, input) = (self.now_ms(), WorkerInput::Commit { camera: key.clone(), epoch, commit });
        let mut answer = Ok(());
        for output in self.worker.step(now_ms, input) {
            match output {
                WorkerOutput::Camera { camera, action: CameraAction::Rejected(why) } if camera == key => {
                    answer = Err(why);
                }
                output => self.act(output),
            }
        }
        // The camera may have ended meanwhile.
        let _heard: Result<(), Result<(), CommitRejection>> = taken.send(answer);
    }

    fn step(&mut self, input: WorkerInput) {
        let now_ms = self.now_ms();
        for output in self.worker.step(now_ms, input) {
            self.act(output);
        }
    }

    fn act(&mut self, output: WorkerOutput) {
        match output {
            WorkerOutput::Call(call) => self.call(call),
            WorkerOutput::Camera { camera, action } => self.act_for(&camera, action),
            WorkerOutput::Left(WorkerEnd::Drained) => self.is_over = true,
            // Its cameras have other owners: that is what was asked for.
            WorkerOutput::Left(WorkerEnd::Expelled) if self.is_draining => self.is_over = true,
            WorkerOutput::Left(WorkerEnd::Expelled) => self.join_again(),
        }
    }

    fn call(&self, call: TableCall) {
        let (run, table, delivery) = (self.run, Arc::clone(&self.table), Arc::clone(&self.delivery));
        let consequence = match self.when_away {
            WhenTableIsAway::Hold => "events wait until it works (sharing.when_table_is_away: hold)",
            WhenTableIsAway::Publish => {
                "events are sent without it meanwhile (sharing.when_table_is_away: publish)"
            }
        };
        self.calls.push(Box::pin(async move {
            let answered = timeout(CALL_LIMIT, table.call(&call)).await;
            let no_answer = || AwsFailure::new("timeout", "no answer within a second");
            let answer = match answered.unwrap_or_else(|_| Err(no_answer())) {
                Ok(answer) => {
                    delivery.table_answered(kind(&call), Ok(()));
                    answer
                }
                Err(failure) => {
                    let text = format!("{}; {consequence}", table.explain(&call, &failure));
                    delivery.table_answered(kind(&call), Err((&failure.code, &text)));
                    TableAnswer::Failed
                }
            };
            (run, call, answer)
        }));
    }

    /// Joins the pool under a new id: the leader took this worker for dead, and its cameras have other owners.
    fn join_again(&mut self) {
        WorkerExpelled { worker: self.worker.id().as_str() }.emit();
        self.run += 1;
        self.worker = new_worker(self.when_away, &self.config, self.now_ms());
        self.announce();
        self.ready();
    }

    fn announce(&self) {
        let worker = self.worker.id().as_str();
        self.board.set_worker(worker);
        WorkerJoined { worker }.emit();
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

fn new_worker(when_away: WhenTableIsAway, config: &SharedConfig, now_ms: u64) -> Worker {
    let settings = WorkerSettings {
        id: new_id(),
        zone: Arc::default(),
        // Items of single mode name no format; they were written by this program or an earlier one.
        reads: [0, Checkpoint::FORMAT].into(),
        when_away,
        config: Arc::clone(&config.pool),
    };
    Worker::new(settings, now_ms)
}

/// Returns the kind of a call: what it needs to work.
fn kind(call: &TableCall) -> &'static str {
    match call {
        TableCall::Item { .. } => "change of an item",
        TableCall::ReadItem { .. } => "read of an item",
        TableCall::ReadItems { .. } => "read of items",
        TableCall::ReadMembers | TableCall::ReadLoads => "query of rows",
        TableCall::ReadOwnRow { .. } | TableCall::ReadLeader | TableCall::ReadPlan { .. } => "read of a row",
        TableCall::Leave { .. } | TableCall::Expel { .. } => "deletion of a row",
        _ => "change of a row",
    }
}

/// Returns an id that was never used before: the host's name for people, the time, and a random number.
fn new_id() -> WorkerId {
    let host = clean_text(&host_name(), MAX_HOST_CHARS);
    WorkerId::new(&format!("{host}-{:x}-{:08x}", epoch_ms(), rand::random::<u32>()))
}

async fn wake(begun: Instant, at_ms: Option<u64>) {
    match at_ms {
        Some(at_ms) => sleep_until(begun + Duration::from_millis(at_ms)).await,
        None => pending().await,
    }
}
