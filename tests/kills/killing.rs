//! The tests: kills over stored footage, and one at which the disk goes.

use std::collections::BTreeSet;
use std::time::{Duration, Instant, SystemTime};

use kvs_sim::{Clock, Sim, SimConfig, epoch_ms};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tempfile::TempDir;
use test_support::fault_proxy::{AwsService, FaultProxy, Mishap, Seen, Weather};
use test_support::kvs_infer_command;
use test_support::moto::Moto;
use test_support::polling::until_blocking;
use test_support::program::{Program, configure_run};

use super::aws::{Aws, Delivered};
use super::footage::{
    CAMERAS, CLOSED_GOPS, Camera, FRAGMENTS, Footage, HLS, IDLE, IDLE_WITH_OPEN_GOPS, Kind, OPEN_GOPS,
    OPEN_GOPS_BY_HLS, cameras,
};
use super::lives::{Life, Mortal};
use super::verdict::{Verdict, id};

/// Kills where `KILLS` says nothing, of the usual footage and of the other kinds.
const KILLS: usize = 40;
const KILLS_OF_OTHERS: usize = 12;
/// Kills over the same footage: more would meet its end.
const KILLS_A_ROUND: usize = 40;
/// Of the requests to AWS, how many fail.
const STORM: f64 = 0.15;
/// The maximum lifetime of an HLS session on AWS.
const MAX_SESSION: Duration = Duration::from_secs(12 * 3600);
/// A longer wait fails the test.
const PATIENCE: Duration = Duration::from_secs(120);

/// Footage, and two of each service: one for what is right, one behind the weather.
struct Scene {
    kind: Kind,
    _clips: TempDir,
    footage: Footage,
    sim: Sim,
    clock: Clock,
    calm: Moto,
    moto: Moto,
}

/// The undisturbed run beside the run with kills.
struct Round<'a> {
    scene: &'a Scene,
    number: usize,
    right: Aws,
    undisturbed: Program,
    tried: Aws,
    proxy: FaultProxy,
    config: String,
    dir: TempDir,
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_lose_no_event_and_give_none_a_second_id() {
    kill_over("closed GOPs", CLOSED_GOPS, KILLS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nor_of_open_gops() {
    kill_over("open GOPs", OPEN_GOPS, KILLS_OF_OTHERS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nor_by_hls() {
    kill_over("HLS", HLS, KILLS_OF_OTHERS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nor_of_open_gops_by_hls() {
    kill_over("open GOPs by HLS", OPEN_GOPS_BY_HLS, KILLS_OF_OTHERS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nor_of_cameras_that_decode_keyframes_alone_while_nothing_moves() {
    kill_over("idle", IDLE, KILLS_OF_OTHERS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nor_of_such_cameras_with_open_gops() {
    kill_over("idle with open GOPs", IDLE_WITH_OPEN_GOPS, KILLS_OF_OTHERS).await;
}

/// Kills the program over footage of a kind, as often as `KILLS` says or else `kills` times.
async fn kill_over(name: &str, kind: Kind, kills: usize) {
    let kills = number("KILLS").map_or(kills, |kills| usize::try_from(kills).unwrap());
    let (scene, mut random) = (Scene::make(kind), random("kills"));
    let mut all = Verdict::default();
    for (number, done) in (0..kills).step_by(KILLS_A_ROUND).enumerate() {
        let mut round = Round::start(&scene, number, false, random.random()).await;
        let lives = KILLS_A_ROUND.min(kills - done);
        for _ in 0..lives {
            round.live(Life::draw(&mut random)).await;
        }
        let delivered = round.tried.delivered().await.records;
        let delivered = delivered.iter().map(id).collect::<BTreeSet<_>>().len();
        let verdict = round.end().await;
        let again = verdict.again;
        println!(
            "round {number}: {delivered} events during {lives} kills; {verdict}; {again} records came again"
        );
        all.add(verdict);
    }
    println!("{name}, kills {kills}: {all}");
    assert!(all.is_well(), "{all:?}");
    scene.sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_gone_costs_no_event_where_the_positions_are_in_a_table() {
    let (scene, mut random) = (Scene::make(CLOSED_GOPS), random("disk"));
    let mut round = Round::start(&scene, 0, true, random.random()).await;
    for _ in 0..3 {
        round.live(Life::draw(&mut random)).await;
    }
    round.lose_the_disk(Duration::from_millis(random.random_range(0..700))).await;
    for _ in 0..5 {
        round.live(Life::draw(&mut random)).await;
    }
    let verdict = round.end().await;
    println!("disk deleted: {verdict}; {} records came again", verdict.again);
    assert!(verdict.is_well(), "{verdict:?}");
    scene.sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cameras_that_change_hands_lose_no_event_and_give_none_a_second_id() {
    let (scene, mut random) = (Scene::make(CLOSED_GOPS), random("hands"));
    let mut round = Round::start(&scene, 0, true, random.random()).await;
    let other = FaultProxy::start(&round.tried.url).await;
    other.set_weather(storm(random.random()));
    // So the table stays where the first one left it, behind that one's own state.
    other.rule(AwsService::Kinesis, Mishap::Unavailable, None);

    let (first_dir, kvs) = (std::mem::replace(&mut round.dir, TempDir::new().unwrap()), scene.sim.endpoint());
    let first =
        Program::start_in(kvs_infer_command!(), first_dir, &round.config, &kvs, Some(&round.proxy.url));
    round.until_position().await;
    round.proxy.rule(AwsService::Kinesis, Mishap::Unavailable, None);
    let waiting = until_records_wait(&first);
    let second = Program::start_in(
        kvs_infer_command!(),
        TempDir::new().unwrap(),
        &round.config,
        &kvs,
        Some(&other.url),
    );
    let ended = first.stop();
    assert!(ended.status.success(), "{:#?}", ended.log);
    let left = ended.log.iter().filter(|line| line.contains("left to the camera's new owner")).count();
    assert_eq!(left, CAMERAS.len(), "{:#?}", ended.log);

    kill(second);
    other.stop().await;
    round.dir = ended.dir;
    let verdict = round.end().await;
    println!(
        "hands: {waiting} records waited at the first change; {verdict}; {} records came again",
        verdict.again
    );
    assert!(verdict.is_well(), "{verdict:?}");
    scene.sim.stop().await;
}

/// SIGKILL, and its end.
fn kill(program: Program) {
    let sent = std::process::Command::new("kill").args(["-KILL", &program.pid().to_string()]).status();
    assert!(sent.unwrap().success());
    program.wait(Instant::now());
}

/// Waits until records wait for the data stream, and returns how many.
fn until_records_wait(program: &Program) -> u64 {
    until_blocking("records that wait", || {
        let sinks = program.overview()["sinks"].take();
        let rows = sinks.as_array().unwrap().iter();
        let kds = rows.filter(|row| row["name"].as_str().unwrap().starts_with("kds/"));
        let waiting: u64 = kds.map(|row| row["queued"].as_u64().unwrap()).sum();
        if waiting > 20 { Ok(waiting) } else { Err(sinks) }
    })
}

impl Scene {
    fn make(kind: Kind) -> Self {
        let clips = tempfile::tempdir().unwrap();
        let footage = Footage::paint(clips.path(), kind, &CAMERAS, FRAGMENTS);
        let clock = Clock::standing_at(epoch_ms(SystemTime::now()));
        let sim = Sim::start(SimConfig { clock: clock.clone(), ..SimConfig::default() }).unwrap();
        Self { kind, _clips: clips, footage, sim, clock, calm: Moto::start(), moto: Moto::start() }
    }
}

impl<'a> Round<'a> {
    /// Stores footage, and begins the run that is not disturbed.
    async fn start(scene: &'a Scene, number: usize, positions: bool, weather: u64) -> Self {
        // The HLS sessions of the lives before expire, of which the local KVS keeps 1000 at most: its clock stands still otherwise.
        scene.clock.advance(MAX_SESSION);
        scene.footage.store(&scene.sim, &scene.clock, number).await;
        let (right, tried) = tokio::join!(Aws::make(&scene.calm, number), Aws::make(&scene.moto, number));
        let config = config(&tried, number, positions, scene.kind);
        let undisturbed =
            Program::start(kvs_infer_command!(), &config, &scene.sim.endpoint(), Some(&right.url));
        let proxy = FaultProxy::start(&tried.url).await;
        proxy.set_weather(storm(weather));
        Self { scene, number, right, undisturbed, tried, proxy, config, dir: TempDir::new().unwrap() }
    }

    async fn live(&mut self, life: Life) {
        let command = self.command();
        life.live(command, &mut self.proxy).await;
    }

    /// A life that lasts until a camera's position was written and for a time after it; its folder does not survive it.
    async fn lose_the_disk(&mut self, after: Duration) {
        let mortal = Mortal::start(self.command());
        self.until_position().await;
        mortal.live_for(after);
        mortal.kill();
        for folder in ["state", "events"] {
            std::fs::remove_dir_all(self.dir.path().join(folder)).unwrap();
        }
    }

    async fn until_position(&self) {
        let mut updates = 0;
        while !self.tried.has_position().await {
            let another = self.proxy.until(|seen| count_updates(seen) > updates);
            tokio::time::timeout(PATIENCE, another).await.expect("no position was written");
            updates = count_updates(&self.proxy.seen());
        }
    }

    /// Lets both runs come to the end of the footage, and compares them.
    async fn end(self) -> Verdict {
        let end_ms = self.scene.footage.end(&self.scene.sim, self.number).await;
        self.proxy.clear();
        let kvs = self.scene.sim.endpoint();
        let last =
            Program::start_in(kvs_infer_command!(), self.dir, &self.config, &kvs, Some(&self.proxy.url));
        finish(last, &CAMERAS, end_ms);
        finish(self.undisturbed, &CAMERAS, end_ms);
        self.proxy.stop().await;
        let (right, delivered) = tokio::join!(self.right.delivered(), self.tried.delivered());
        assert_is_busy(&right, self.scene.kind.min_events);
        Verdict::of(&right, &delivered)
    }

    fn command(&self) -> std::process::Command {
        let mut command = kvs_infer_command!();
        configure_run(
            &mut command,
            self.dir.path(),
            &self.config,
            &self.scene.sim.endpoint(),
            Some(&self.proxy.url),
        );
        command
    }
}

fn config(aws: &Aws, round: usize, positions: bool, kind: Kind) -> String {
    let table = if positions { format!("  ddb_table: {}\n", aws.positions()) } else { String::new() };
    let publishers = aws.publishers();
    format!(
        "{publishers}state:\n  dir: state\n{table}device: cpu\ncameras:\n{}",
        cameras(&CAMERAS, round, kind)
    )
}

/// Claims and positions.
fn count_updates(seen: &[Seen]) -> usize {
    seen.iter().filter(|seen| seen.operation == "UpdateItem").count()
}

/// The usual weather of AWS; the mishaps of a request that fails are as likely as each other.
pub(crate) fn storm(seed: u64) -> Weather {
    let mishaps = vec![
        Mishap::Delay(Duration::from_millis(30)),
        Mishap::Throttled,
        Mishap::Failed,
        Mishap::Unavailable,
        Mishap::Partial { every: 2 },
        Mishap::Reset,
        Mishap::AnswerLost,
    ];
    Weather { seed, share: STORM, mishaps }
}

/// Waits until all footage was looked at and every sink is empty, and ends the program.
pub(crate) fn finish(program: Program, cameras: &[Camera], end_ms: i64) {
    for (camera, _) in cameras {
        program.camera_when(camera, |row| row["last_frame_ts_ms"].as_i64() >= Some(end_ms));
    }
    until_blocking("the delivery of everything", || {
        let sinks = program.overview()["sinks"].take();
        if sinks.as_array().unwrap().iter().all(|sink| sink["queued"] == 0) { Ok(()) } else { Err(sinks) }
    });
    let ended = program.stop();
    assert!(ended.status.success(), "{:#?}", ended.log);
}

/// Without kills and faults each event is delivered once, everywhere, and there are many of them.
fn assert_is_busy(right: &Delivered, min_events: usize) {
    let events = right.records.len();
    assert!(events > min_events, "{events} events");
    assert_eq!(right.items.len(), events);
    let phase = |record: &&serde_json::Value| record["payload"]["extras"]["phase"] != "end";
    let pictured = right.records.iter().filter(phase).count();
    assert_eq!(
        right.objects.len(),
        3 * pictured,
        "a picture with boxes, one without and a crop each; ends have none"
    );
}

/// Random by `KILLS_SEED`, or by a seed that is printed.
fn random(what: &str) -> StdRng {
    random_by("KILLS_SEED", what)
}

/// Random by the seed in this variable, or by one that is printed.
pub(crate) fn random_by(variable: &str, what: &str) -> StdRng {
    let seed = number(variable).unwrap_or_else(|| rand::rng().random());
    println!("{what}: {variable}={seed}");
    StdRng::seed_from_u64(seed)
}

/// The number in a variable; `None`: it is not set.
pub(crate) fn number(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok().filter(|value| !value.is_empty())?;
    Some(value.parse().unwrap_or_else(|_| panic!("{variable} is {value:?}: a whole number is needed")))
}
