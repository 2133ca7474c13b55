//! A pool survives faults: three to five processes share the cameras of one configuration over stored footage, and are killed, paused,
//! stopped, cut off from DynamoDB and Kinesis, and reloaded at random moments, in bad weather. The data stream then has each event
//! of one undisturbed process, under one id, in order, and nothing else.
//!
//! `CLUSTER_FAULTS` says how many faults (12), `CLUSTER_SEED` repeats the faults of a run that printed its seed;
//! `make cluster-test N=1000` sets the first.

mod disturbance;
mod pool;
mod scene;
mod timeline;
mod verdict;
mod worker;

use super::killing::{number, random_by};
use disturbance::Outage;
use pool::{PoolOutcome, PoolRound};
use scene::PoolScene;
use timeline::PoolFigures;
use verdict::PoolVerdict;

/// Faults where `CLUSTER_FAULTS` says nothing.
const FAULTS: usize = 12;
/// Seconds of footage of a round in which there are so few, and in which there are more.
const SHORT_FOOTAGE: u32 = 30;
const LONG_FOOTAGE: u32 = 96;
/// Faults of a round at most: it ends before, where its footage does.
const FAULTS_A_ROUND: usize = 30;
/// Random faults per worker that is lost alone.
const FAULTS_PER_LOSS: usize = 10;
/// Losses at least: two kills, and two workers that are asked to end.
const MIN_LOSSES: usize = 4;
/// Losses of a round at most.
const LOSSES_A_ROUND: usize = 50;
/// The speed at which footage is delivered, beside that of a camera.
const PACE: f64 = 1.0;
const WORKERS: usize = 4;

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_loses_no_event_and_gives_none_a_second_id() {
    let faults = faults();
    let mut random = random_by("CLUSTER_SEED", "cluster");
    let footage = if faults > FAULTS { LONG_FOOTAGE } else { SHORT_FOOTAGE };
    let scene = PoolScene::make(footage, PACE).await;
    let (mut verdict, mut figures) = (PoolVerdict::default(), PoolFigures::default());
    let (mut done, mut rounds) = (0, 0);
    while done < faults {
        let mut round = PoolRound::start(&scene, rounds, WORKERS, "hold", &mut random).await;
        let of_round = round.disturb(FAULTS_A_ROUND.min(faults - done), &mut random).await;
        let outcome = round.end().await;
        let PoolOutcome { verdict: of_verdict, figures: of_figures, pardons, .. } = &outcome;
        println!(
            "round {rounds}, faults {of_round}: {of_verdict}; {of_figures}; {pardons} cameras quarantined"
        );
        outcome.keep_logs_of_a_fault();
        (done, rounds) = (done + of_round, rounds + 1);
        verdict.add(outcome.verdict);
        figures.add(outcome.figures);
    }
    println!("cluster, faults {done}: {verdict}; {figures}");
    assert!(verdict.is_well() && verdict.unfenced == 0, "{verdict:#?}");
    scene.sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_of_a_lost_worker_is_shown_elsewhere() {
    let losses = MIN_LOSSES.max(faults() / FAULTS_PER_LOSS);
    let mut random = random_by("CLUSTER_SEED", "cluster, one by one");
    let scene = PoolScene::live(SHORT_FOOTAGE).await;
    let (mut figures, mut done) = (PoolFigures::default(), 0);
    for round in 0.. {
        let of_round = LOSSES_A_ROUND.min(losses - done);
        let pool = PoolRound::start(&scene, round, WORKERS, "hold", &mut random).await;
        let of_figures = pool.lose_one_by_one(of_round, &mut random).await;
        println!("round {round}, losses {of_round}: {of_figures}");
        figures.add(of_figures);
        done += of_round;
        if done == losses {
            break;
        }
    }
    println!("cluster, one by one {losses}: {figures}");
    assert!(figures.has_both(), "{figures}");
    scene.sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_that_publishes_while_the_table_is_away_says_so_and_loses_no_event() {
    let mut random = random_by("CLUSTER_SEED", "cluster without its table");
    let scene = PoolScene::make(SHORT_FOOTAGE, PACE).await;
    let mut round = PoolRound::start(&scene, 0, 3, "publish", &mut random).await;
    for (outage, after_percent) in [(Outage::Refused, 10), (Outage::Errors, 60)] {
        round.until_delivered(scene.right.len() * after_percent / 100).await;
        round.lose_table_for_all(outage).await;
    }
    let outcome = round.end().await;
    let verdict = &outcome.verdict;
    println!("cluster without its table: {verdict}, {} not fenced", verdict.unfenced);
    outcome.keep_logs_of_a_fault();
    assert!(verdict.is_well() && verdict.unfenced > 0, "{verdict:#?}");
    scene.sim.stop().await;
}

/// Returns the number of random faults.
fn faults() -> usize {
    number("CLUSTER_FAULTS").map_or(FAULTS, |faults| usize::try_from(faults).unwrap())
}

impl PoolOutcome {
    /// Deletes the logs, unless they are needed to find what went wrong.
    fn keep_logs_of_a_fault(&self) {
        if self.verdict.is_well() && std::env::var_os("CLUSTER_KEEP_LOGS").is_none() {
            std::fs::remove_dir_all(&self.logs).unwrap();
        } else {
            println!("the logs are in {}: {:#?}", self.logs.display(), self.verdict);
        }
    }
}
