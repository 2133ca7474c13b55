//! A round: a pool of workers over stored footage, its faults, and its end.

mod losses;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use serde_json::Value;
use test_support::kvs_infer_command;
use test_support::polling::{until_every, until_within};

use super::disturbance::{Disturbance, Outage};
use super::scene::{PoolCamera, PoolScene};
use super::timeline::PoolFigures;
use super::verdict::PoolVerdict;
use super::worker::{Moments, PoolWorker, Version, WorkerSpec};
use crate::aws::{Aws, Item};

/// The numbers of workers between which a pool is resized.
const MIN_WORKERS: usize = 3;
const MAX_WORKERS: usize = 5;
/// The name of the pool.
const POOL: &str = "main";
/// The time between two checks of what is due.
const TICK: Duration = Duration::from_millis(20);
/// The time between two questions to the services, which have to answer the pool, too.
const ASK: Duration = Duration::from_millis(300);
/// The limit on the time in which a pool without faults reads and delivers the rest of the footage.
const PATIENCE: Duration = Duration::from_secs(120);
/// The limit on the time in which the faults of a round are made.
const ROUND_PATIENCE: Duration = Duration::from_secs(1_800);
/// Owners in a row that may die with a camera: one more, and the pool takes the camera for the cause, and grants it to no one for ten
/// minutes. An owner that hands the camera over in order clears the count.
const MAX_DEATHS: u64 = 2;
/// The limit on the time in which all workers end.
const STOP_PATIENCE: Duration = Duration::from_secs(40);

/// A pool at work.
pub(crate) struct PoolRound<'a> {
    scene: &'a PoolScene,
    aws: Aws,
    table: String,
    slots: Vec<Slot>,
    cameras: Vec<PoolCamera>,
    modified: SystemTime,
    when_away: &'static str,
    moments: Moments,
    begun: Instant,
    logs: PathBuf,
    diary: File,
    /// The number of cameras that were granted to no one any more.
    pardons: usize,
}

/// A worker, and what it waits for.
struct Slot {
    worker: PoolWorker,
    state: SlotState,
    /// The end of an outage.
    services_back: Option<Instant>,
    /// The time at which it gets another configuration.
    reload: Option<(Instant, Version)>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum SlotState {
    /// It is no part of the pool.
    Absent,
    /// It was killed or has ended, and starts again.
    Away {
        until: Instant,
    },
    Running,
    Paused {
        until: Instant,
    },
    /// It was asked to end, and starts again after this time; `None`: it leaves the pool.
    Stopping {
        away: Option<Duration>,
    },
}

/// The outcome of a round.
pub(crate) struct PoolOutcome {
    pub(crate) verdict: PoolVerdict,
    pub(crate) figures: PoolFigures,
    /// The number of times that a camera was taken for the cause of its owners' deaths.
    pub(crate) pardons: usize,
    /// The folder of the logs.
    pub(crate) logs: PathBuf,
}

impl<'a> PoolRound<'a> {
    /// Starts `workers` workers that have no state yet.
    pub(crate) async fn start(
        scene: &'a PoolScene,
        number: usize,
        workers: usize,
        when_away: &'static str,
        random: &mut StdRng,
    ) -> Self {
        scene.slow_down();
        let aws = Aws::make(&scene.moto, number).await;
        let table = aws.workers().await;
        let logs = std::env::temp_dir().join(format!("kvs-infer-cluster-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&logs).unwrap();
        let diary = File::create(logs.join("faults.log")).unwrap();
        // Versions of the configuration are ordered by the time of the file, and are all older than now.
        let modified = SystemTime::now() - Duration::from_secs(24 * 3600);
        let mut round = Self {
            scene,
            aws,
            table,
            slots: Vec::new(),
            cameras: scene.cameras(),
            modified,
            when_away,
            moments: Moments::default(),
            begun: Instant::now(),
            logs,
            diary,
            pardons: 0,
        };
        for number in 0..MAX_WORKERS {
            let worker = PoolWorker::new(round.worker_spec(number, random.random()), round.version()).await;
            round.slots.push(Slot { worker, state: SlotState::Absent, services_back: None, reload: None });
            if number < workers {
                round.start_worker(number);
            }
        }
        round
    }

    fn worker_spec(&self, number: usize, weather: u64) -> WorkerSpec {
        WorkerSpec {
            number,
            kvs: self.scene.sim.endpoint(),
            aws: self.aws.url.clone(),
            weather,
            logs: self.logs.clone(),
            moments: Arc::clone(&self.moments),
            variables: self.scene.clock_of(number),
        }
    }

    /// Makes `faults` faults, one after the other and some at the same time, or as many as come before the footage is read; returns
    /// how many.
    pub(crate) async fn disturb(&mut self, faults: usize, random: &mut StdRng) -> usize {
        let mut done = 0;
        let mut next = (Instant::now() + Disturbance::draw_gap(random), Disturbance::draw(random));
        let mut asked = Instant::now();
        until_every(TICK, ROUND_PATIENCE, "the end of the faults or of the footage", async || {
            self.do_what_is_due().await;
            if Instant::now() >= next.0 && self.begin(next.1, random).await {
                done += 1;
                next = (Instant::now() + Disturbance::draw_gap(random), Disturbance::draw(random));
            }
            let is_asked = asked.elapsed() > Duration::from_secs(1);
            if is_asked {
                asked = Instant::now();
            }
            let is_over = done == faults || (is_asked && self.left_to_deliver().await.is_empty());
            if is_over { Ok(done) } else { Err(done) }
        })
        .await
    }

    /// Ends what is disturbed, lets the pool deliver everything, stops it, and compares.
    pub(crate) async fn end(mut self) -> PoolOutcome {
        self.calm_down().await;
        self.note("no further faults");
        self.scene.hurry();
        self.finish().await;
        self.note("everything is delivered");
        self.stop_all().await;
        let items = self.aws.camera_items().await;
        for (camera, item) in &items {
            assert!(self.scene.is_end(camera, Some(item)), "{camera} ended early: {item:?}, {:?}", self.logs);
            assert!(
                !item.contains_key("owner") && !item.contains_key("ahead"),
                "{camera}: {item:?}, {:?}",
                self.logs
            );
        }
        let (stream, events) = (self.aws.records().await, self.aws.item_ids().await);
        let verdict = PoolVerdict::of(&self.scene.right, &stream, &events);
        let figures = PoolFigures::of(&self.moments.lock().unwrap());
        std::fs::write(self.logs.join("records.jsonl"), stream.join("\n")).unwrap();
        PoolOutcome { verdict, figures, pardons: self.pardons, logs: self.logs }
    }

    /// Makes the table unreachable for all workers, until the pool has sent records without it.
    pub(crate) async fn lose_table_for_all(&mut self, outage: Outage) {
        let before = self.unfenced().await;
        self.note(&format!("the table is away for all: {outage:?}"));
        for slot in &mut self.slots {
            slot.worker.lose_table(outage).await;
        }
        until_every(ASK, PATIENCE, "records that are not fenced", async || {
            let unfenced = self.unfenced().await;
            if unfenced > before { Ok(()) } else { Err(unfenced) }
        })
        .await;
        self.clear_weather().await;
        self.note("the table is back");
    }

    /// Returns the number of records that say that they are not fenced.
    async fn unfenced(&self) -> usize {
        self.aws.records().await.iter().filter(|record| record.contains(r#""fenced":false"#)).count()
    }

    /// Waits until the pool has delivered this many records.
    pub(crate) async fn until_delivered(&self, records: usize) {
        until_every(ASK, PATIENCE, "records of the pool", async || {
            let delivered = self.aws.records().await.len();
            if delivered >= records { Ok(()) } else { Err(delivered) }
        })
        .await;
    }

    /// Begins a fault; `false`: no worker is there for it now.
    async fn begin(&mut self, fault: Disturbance, random: &mut StdRng) -> bool {
        let Some(victim) = self.victim(fault, random).await else { return false };
        let has_marked = fault.may_end_in_a_takeover() && self.deaths_of_cameras(victim).await >= MAX_DEATHS;
        let fault = if has_marked { Disturbance::Stop { away: Duration::from_secs(1) } } else { fault };
        let now = Instant::now();
        let slot = &mut self.slots[victim];
        let is_ready = slot.worker.is_ready();
        match fault {
            Disturbance::Kill { away } | Disturbance::KillLeader { away } => slot.kill(away),
            // It has no handler for SIGTERM yet.
            Disturbance::Stop { away } if !is_ready => slot.kill(away),
            Disturbance::Stop { away } => slot.terminate(Some(away)),
            Disturbance::Pause { time } => {
                slot.worker.pause(time);
                slot.state = SlotState::Paused { until: now + time };
            }
            Disturbance::TableAway { time, outage } => {
                slot.worker.lose_table(outage).await;
                slot.services_back = Some(now + time);
            }
            Disturbance::StreamAway { time, outage } => {
                slot.worker.lose_stream(outage).await;
                slot.services_back = Some(now + time);
            }
            Disturbance::Reload { within } => self.reload(within, random),
            Disturbance::Resize => self.resize(victim, is_ready),
        }
        self.note(&format!("worker {victim}: {fault:?}"));
        true
    }

    /// Returns a running worker without a fault; another one without a fault must remain.
    async fn victim(&self, fault: Disturbance, random: &mut StdRng) -> Option<usize> {
        let calm: Vec<_> = (0..self.slots.len()).filter(|number| self.slots[*number].is_calm()).collect();
        if calm.len() < 2 {
            return None;
        }
        if matches!(fault, Disturbance::KillLeader { .. }) {
            let leader = self.aws.leader(&self.table, POOL).await;
            let leads = |number: &&usize| leader.is_some() && self.slots[**number].worker.id() == leader;
            return calm.iter().find(leads).copied();
        }
        calm.choose(random).copied()
    }

    /// Returns the highest number of owners in a row that died with a camera of this worker.
    async fn deaths_of_cameras(&self, worker: usize) -> u64 {
        let id = self.slots[worker].worker.id();
        let items = self.aws.camera_items().await;
        let own = items
            .values()
            .filter(|item| item.get("owner").and_then(|owner| owner.as_s().ok()) == id.as_ref());
        own.map(deaths).max().unwrap_or(0)
    }

    fn reload(&mut self, within: Duration, random: &mut StdRng) {
        let camera = random.random_range(0..self.cameras.len());
        self.cameras[camera].change(random.random());
        self.modified += Duration::from_secs(1);
        let version = self.version();
        for slot in &mut self.slots {
            let at = Instant::now() + within.mul_f64(random.random_range(0.0..1.0));
            slot.reload = Some((at, version.clone()));
        }
    }

    fn resize(&mut self, victim: usize, is_ready: bool) {
        let absent = self.slots.iter().position(|slot| slot.state == SlotState::Absent);
        let present = self.slots.iter().filter(|slot| slot.state != SlotState::Absent).count();
        match absent {
            Some(absent) if present == MIN_WORKERS || !is_ready => self.start_worker(absent),
            _ if is_ready && present > MIN_WORKERS => self.slots[victim].terminate(None),
            Some(absent) => self.start_worker(absent),
            None => {}
        }
    }

    async fn do_what_is_due(&mut self) {
        let now = Instant::now();
        for number in 0..self.slots.len() {
            let slot = &mut self.slots[number];
            if slot.services_back.is_some_and(|at| now >= at) {
                slot.services_back = None;
                slot.worker.find_services().await;
                self.note(&format!("worker {number}: its services are back"));
            }
            let slot = &mut self.slots[number];
            if let Some((_, version)) = slot.reload.take_if(|(at, _)| now >= *at) {
                slot.worker.rewrite(version);
                self.note(&format!("worker {number}: another configuration"));
            }
            self.advance(number, now);
        }
    }

    fn advance(&mut self, number: usize, now: Instant) {
        let slot = &mut self.slots[number];
        match slot.state {
            SlotState::Absent => {}
            SlotState::Away { until } if now >= until => self.start_worker(number),
            SlotState::Away { .. } => {}
            SlotState::Paused { until } if now >= until => {
                slot.worker.resume();
                slot.state = SlotState::Running;
                self.note(&format!("worker {number}: resumes"));
            }
            SlotState::Paused { .. } => {}
            SlotState::Running => drop(slot.worker.has_ended(false)),
            SlotState::Stopping { away } => {
                if slot.worker.has_ended(true) {
                    slot.state = away.map_or(SlotState::Absent, |away| SlotState::Away { until: now + away });
                    self.note(&format!("worker {number}: has ended"));
                }
            }
        }
    }

    fn start_worker(&mut self, number: usize) {
        let slot = &mut self.slots[number];
        slot.worker.start(command());
        slot.state = SlotState::Running;
        self.note(&format!("worker {number}: starts"));
    }

    /// Ends all faults, and waits until every worker of the pool runs.
    async fn calm_down(&mut self) {
        self.until_calm().await;
        self.clear_weather().await;
    }

    /// Lets all services answer as they should.
    async fn clear_weather(&mut self) {
        for slot in &mut self.slots {
            slot.worker.clear_weather().await;
        }
    }

    async fn until_calm(&mut self) {
        until_every(TICK, PATIENCE, "the end of all faults", async || {
            self.do_what_is_due().await;
            if self.is_calm() { Ok(()) } else { Err("a worker is disturbed") }
        })
        .await;
    }

    /// Returns whether every worker of the pool runs without a fault.
    fn is_calm(&self) -> bool {
        self.slots.iter().all(|slot| slot.is_calm() || slot.state == SlotState::Absent)
    }

    /// Waits until all footage is read and delivered.
    async fn finish(&mut self) {
        let awaited = format!("the end of the footage ({})", self.logs.display());
        until_every(ASK, PATIENCE, &awaited, async || {
            self.do_what_is_due().await;
            let left = self.left_to_do().await;
            if left.is_empty() {
                return Ok(());
            }
            if self.is_calm() {
                self.pardon().await;
            }
            Err(left.join(", "))
        })
        .await;
    }

    /// Lets cameras that are granted to no one for ten minutes be granted again: the next leader reads their items.
    async fn pardon(&mut self) {
        let items = self.aws.camera_items().await;
        let is_marked = |item: &Item| deaths(item) > MAX_DEATHS && !item.contains_key("owner");
        let marked: Vec<_> = items.iter().filter(|(_, item)| is_marked(item)).map(|of| of.0).collect();
        let leader = self.aws.leader(&self.table, POOL).await.filter(|_| !marked.is_empty());
        let mut slots = self.slots.iter_mut().filter(|slot| slot.worker.is_ready());
        let Some(leads) = slots.find(|slot| leader.is_some() && slot.worker.id() == leader) else { return };
        for camera in &marked {
            self.aws.forget_deaths(camera).await;
        }
        leads.terminate(Some(Duration::ZERO));
        self.pardons += marked.len();
        self.note(&format!("granted to no one any more: {marked:?}"));
    }

    async fn stop_all(&mut self) {
        // Before it is ready, a worker has no handler for SIGTERM.
        until_every(ASK, PATIENCE, "workers that are ready", async || {
            let starting = self.slots.iter().filter(|slot| slot.is_calm() && !slot.worker.is_ready()).count();
            if starting == 0 { Ok(()) } else { Err(starting) }
        })
        .await;
        let running: Vec<_> = (0..self.slots.len()).filter(|of| self.slots[*of].is_calm()).collect();
        running.iter().for_each(|number| self.slots[*number].terminate(None));
        until_within(STOP_PATIENCE, "the end of all workers", async || {
            running.iter().for_each(|number| self.advance(*number, Instant::now()));
            let left = self.slots.iter().filter(|slot| slot.state != SlotState::Absent).count();
            if left == 0 { Ok(()) } else { Err(left) }
        })
        .await;
    }

    /// Returns what is missing until all footage is read and its events are delivered.
    async fn left_to_do(&self) -> Vec<String> {
        let mut left = self.left_to_deliver().await;
        let calm = self.slots.iter().filter(|slot| slot.is_calm());
        let overviews: Vec<_> = calm.filter_map(|slot| slot.worker.overview()).collect();
        let items = self.aws.camera_items().await;
        let rows: Vec<&Value> = overviews.iter().flat_map(|of| of["cameras"].as_array().unwrap()).collect();
        for camera in &self.cameras {
            let of_camera: Vec<_> = rows.iter().filter(|row| row["id"] == camera.id).collect();
            if of_camera.len() != 1 {
                left.push(format!("{} runs at {} workers", camera.id, of_camera.len()));
            }
            let is_read = |row: &&&Value| row["last_frame_ts_ms"].as_i64() >= Some(self.scene.end_ms);
            if !of_camera.iter().all(is_read) && !self.scene.is_end(camera.id, items.get(camera.id)) {
                left.push(format!("{} is not at the end", camera.id));
            }
        }
        left
    }

    /// Returns the cameras with events that are not delivered, by their items.
    async fn left_to_deliver(&self) -> Vec<String> {
        let items = self.aws.camera_items().await;
        let mut expected = BTreeMap::<&str, u64>::new();
        for record in &self.scene.right {
            *expected.entry(record["camera_id"].as_str().unwrap()).or_default() += 1;
        }
        let left = expected.into_iter().filter_map(|(camera, events)| {
            let item = items.get(camera);
            let seq = item.and_then(|item| item.get("seq")?.as_n().ok()?.parse::<u64>().ok()).unwrap_or(0);
            let has_pending = item.is_none_or(|item| item.contains_key("ahead"));
            let why = if has_pending { " and records wait" } else { "" };
            (seq < events || has_pending).then(|| format!("{camera} has {seq} of {events} events{why}"))
        });
        left.collect()
    }

    fn version(&self) -> Version {
        let text = self.scene.config(&self.aws, &self.table, POOL, self.when_away, &self.cameras);
        Version { text, modified: self.modified }
    }

    fn note(&mut self, text: &str) {
        writeln!(self.diary, "{:.3} s ({}) {text}", self.begun.elapsed().as_secs_f64(), epoch_seconds())
            .unwrap();
    }
}

impl Slot {
    /// Returns whether it runs and nothing is wrong with it.
    fn is_calm(&self) -> bool {
        self.state == SlotState::Running && self.services_back.is_none()
    }

    fn kill(&mut self, away: Duration) {
        self.worker.kill();
        self.state = SlotState::Away { until: Instant::now() + away };
    }

    fn terminate(&mut self, away: Option<Duration>) {
        self.worker.terminate();
        self.state = SlotState::Stopping { away };
    }
}

/// Returns the number of owners in a row that died with a camera.
fn deaths(item: &Item) -> u64 {
    item.get("strikes").and_then(|strikes| strikes.as_n().ok()?.parse().ok()).unwrap_or(0)
}

/// The time of day as the logs have it, to the millisecond: seconds since 1970.
fn epoch_seconds() -> String {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    format!("{:.3}", since.as_secs_f64())
}

fn command() -> Command {
    kvs_infer_command!()
}
