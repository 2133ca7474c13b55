//! Scenarios: one rule of the pool each, without random faults.

use std::sync::Arc;

use sharing::{CameraKey, ConfigVersion, PoolConfig, PoolFigures, WorkerInput};

use crate::events::WorldEvent;
use crate::settings::WorldSettings;
use crate::settled;
use crate::world::World;

fn crash(world: &mut World, worker: usize) {
    world.at(world.now_ms, WorldEvent::Crash { worker, is_restarted: false });
    world.run_until(world.now_ms);
}

fn run_for(world: &mut World, seconds: u64) {
    world.run_until(world.now_ms + seconds * 1_000);
}

fn epochs(world: &World) -> Vec<u64> {
    world.cameras().iter().map(|camera| world.table.item(camera).epoch).collect()
}

/// Returns the highest and the mean share of the living workers, in thousandths of a worker.
fn shares(world: &World) -> (u64, u64) {
    let load = |worker: usize| {
        let cameras = world.cameras();
        let own = cameras.iter().filter(|camera| world.runner(camera) == Some(worker));
        let cost: u64 = own.map(|camera| world.config.cameras[camera].cost.gpu_milli).sum();
        cost * 1_000 / world.settings.capacity_milli
    };
    let loads: Vec<_> = world.living().into_iter().map(load).collect();
    (loads.iter().copied().max().unwrap(), loads.iter().sum::<u64>() / loads.len() as u64)
}

#[test]
fn a_camera_that_kills_its_worker_is_quarantined_and_takes_no_other_camera_along() {
    let mut world = settled(21, WorldSettings { cameras: 12, ..WorldSettings::default() }, 3);
    let poison = CameraKey::new("camera-0005");
    let mut killed = 0;
    for _ in 0..600 {
        run_for(&mut world, 1);
        if let Some(worker) = world.runner(&poison) {
            crash(&mut world, worker);
            world.at(world.now_ms + 2_000, WorldEvent::Join);
            killed += 1;
        }
    }
    println!("quarantine: the camera killed {killed} workers in ten minutes");
    assert!((3..=9).contains(&killed), "{killed} workers killed");
    assert_eq!(world.table.item(&poison).owner, None);
    run_for(&mut world, 700);
    assert!(world.unowned().is_empty(), "every camera has another try after the quarantine");
    run_for(&mut world, 700);
    assert_eq!(world.table.item(&poison).strikes, 0, "two minutes without a death clear the strikes");
    assert!(world.verdict.faults.is_empty(), "{:?}", world.verdict.faults);
}

#[test]
fn the_death_of_a_majority_is_believed_only_after_a_second_wait() {
    let mut world = settled(22, WorldSettings::default(), 5);
    run_for(&mut world, 20);
    let leader = world.leader().unwrap();
    let victims: Vec<_> = world.living().into_iter().filter(|worker| *worker != leader).take(3).collect();
    victims.iter().for_each(|worker| crash(&mut world, *worker));
    // The last beat may be 2 s old at the death: late after 2 s at the earliest, and then one more silence of 6 s.
    run_for(&mut world, 7);
    assert_eq!(world.table.members().workers.len(), 5, "no worker is expelled yet");
    run_for(&mut world, 13);
    assert_eq!(world.table.members().workers.len(), 2);
    assert!(world.unowned().is_empty());
}

#[test]
fn a_table_that_is_away_expels_no_worker_and_moves_no_camera() {
    let mut world = settled(23, WorldSettings::default(), 4);
    run_for(&mut world, 20);
    let before = epochs(&world);
    world.at(world.now_ms, WorldEvent::TableAway { for_ms: 30_000 });
    run_for(&mut world, 60);
    assert_eq!((world.table.members().workers.len(), epochs(&world)), (4, before));
    assert!(world.unowned().is_empty());
}

#[test]
fn the_leader_knows_the_load_the_workers_and_the_cameras_without_one() {
    let settings = WorldSettings { is_replaced: false, capacity_milli: 100, ..WorldSettings::default() };
    let mut world = settled(28, settings, 3);
    run_for(&mut world, 20);
    let cost: u64 = world.config.cameras.values().map(|camera| camera.cost.gpu_milli).sum();
    let load_percent =
        |workers: u64| u32::try_from(cost * 100 / (workers * world.settings.capacity_milli)).unwrap();
    let three =
        PoolFigures { load_percent: load_percent(3), workers: 3, cameras: 6, unassigned: 0, moving: 0 };
    let two = PoolFigures { load_percent: load_percent(2), workers: 2, ..three };
    assert_eq!(world.figures(), Some(three));
    let leader = world.leader().unwrap();
    let runners = world.cameras().into_iter().filter_map(|camera| world.runner(&camera));
    let victim = runners.filter(|worker| *worker != leader).last().unwrap();
    crash(&mut world, victim);
    let mut most = 0;
    for _ in 0..1_500 {
        world.run_until(world.now_ms + 10);
        most = most.max(world.figures().map_or(0, |figures| figures.unassigned));
    }
    assert_eq!((world.figures(), most > 0), (Some(two), true));
}

#[test]
fn the_last_worker_frees_its_cameras_and_the_next_one_takes_them() {
    let settings = WorldSettings { is_replaced: false, ..WorldSettings::default() };
    let mut world = settled(24, settings, 1);
    world.at(world.now_ms, WorldEvent::Drain(0));
    run_for(&mut world, 5);
    let cameras = world.cameras();
    assert!(cameras.iter().all(|camera| world.table.item(camera).owner.is_none()), "not all are free");
    assert!(world.living().is_empty());
    world.join();
    run_for(&mut world, 10);
    assert!(world.unowned().is_empty());
    assert!(
        cameras.iter().all(|camera| world.table.item(camera).strikes == 0),
        "an orderly end is no strike"
    );
}

#[test]
fn a_leader_that_drains_gives_the_lead_up_at_once() {
    let mut world = settled(25, WorldSettings::default(), 3);
    run_for(&mut world, 20);
    let leader = world.leader().unwrap();
    world.at(world.now_ms, WorldEvent::Drain(leader));
    world.run_until(world.now_ms + 2_500);
    assert!(world.leader().is_some_and(|next| next != leader), "no new leader after 2.5 s");
    run_for(&mut world, 20);
    assert!(!world.living().contains(&leader) && world.unowned().is_empty());
}

#[test]
fn a_leader_that_freezes_is_replaced_and_expelled_and_does_no_harm_when_it_wakes() {
    let mut world = settled(26, WorldSettings::default(), 3);
    run_for(&mut world, 20);
    let leader = world.leader().unwrap();
    world.at(world.now_ms, WorldEvent::Pause { worker: leader, for_ms: 20_000 });
    run_for(&mut world, 12);
    assert!(world.unowned().is_empty(), "taken over while the leader sleeps");
    let before = epochs(&world);
    run_for(&mut world, 20);
    assert_eq!(epochs(&world), before, "the sleeper changes nothing");
    assert!(!world.living().contains(&leader), "it was expelled");
    assert!(world.verdict.faults.is_empty(), "{:?}", world.verdict.faults);
}

#[test]
fn state_goes_to_no_worker_that_cannot_read_it() {
    let settings = WorldSettings { is_replaced: false, ..WorldSettings::default() };
    let mut world = settled(27, settings, 1);
    world.join_as(&[7]);
    run_for(&mut world, 20);
    crash(&mut world, 0);
    run_for(&mut world, 30);
    assert_eq!(world.unowned().len(), world.cameras().len());
    world.join();
    run_for(&mut world, 10);
    assert!(world.unowned().is_empty());
}

#[test]
fn a_worker_that_does_not_keep_up_loses_its_cameras() {
    let mut world = settled(28, WorldSettings::default(), 3);
    run_for(&mut world, 20);
    let camera = world.cameras().swap_remove(0);
    let slow = world.runner(&camera).unwrap();
    let count =
        |world: &World| world.cameras().iter().filter(|camera| world.runner(camera) == Some(slow)).count();
    let before = count(&world);
    world.set_load(slow, true);
    // The leader knows after 3 s at the latest, and moves another camera every 10 s.
    run_for(&mut world, 15);
    assert_eq!(before - count(&world), 2, "one after the other");
    run_for(&mut world, 60);
    assert!(world.cameras().iter().all(|camera| world.runner(camera).is_some_and(|worker| worker != slow)));
    assert_eq!(world.verdict.repeats, 0);
}

#[test]
fn a_changed_camera_goes_to_workers_with_the_new_file_and_a_removed_one_is_freed() {
    let mut world = settled(29, WorldSettings::default(), 3);
    run_for(&mut world, 20);
    let [changed, removed] = [CameraKey::new("camera-0001"), CameraKey::new("camera-0002")];
    let mut cameras = world.config.cameras.clone();
    cameras.get_mut(&changed).unwrap().spec = "2".into();
    cameras.remove(&removed);
    let version = ConfigVersion { modified_ms: 2, digest: "e".into() };
    let newer = Arc::new(PoolConfig { version, cameras });
    let reloaded = world.living().into_iter().find(|worker| world.runner(&changed) != Some(*worker)).unwrap();
    world.config = Arc::clone(&newer);
    world.feed(reloaded, WorkerInput::Config(newer));
    run_for(&mut world, 15);
    assert_eq!(world.leader(), Some(reloaded), "the leader has the newest file");
    assert_eq!(world.runner(&changed), Some(reloaded));
    assert_eq!(&*world.table.item(&changed).spec, "2");
    run_for(&mut world, 70);
    assert_eq!(world.table.item(&removed).owner, None, "freed by force after a minute");
    assert!(world.unowned().is_empty() && world.verdict.faults.is_empty(), "{:?}", world.verdict.faults);
}

#[test]
fn workers_with_an_older_file_take_over_from_the_only_one_with_the_newest() {
    let mut world = settled(32, WorldSettings::default(), 4);
    run_for(&mut world, 20);
    let mut newer = (*world.config).clone();
    newer.version = ConfigVersion { modified_ms: 2, digest: "e".into() };
    let reloaded = world.living().into_iter().find(|worker| world.leader() != Some(*worker)).unwrap();
    world.feed(reloaded, WorkerInput::Config(Arc::new(newer)));
    run_for(&mut world, 15);
    assert_eq!(world.leader(), Some(reloaded), "the leader has the newest file");
    crash(&mut world, reloaded);
    run_for(&mut world, 25);
    assert!(world.leader().is_some_and(|leader| leader != reloaded));
    assert!(world.unowned().is_empty() && world.verdict.faults.is_empty(), "{:?}", world.verdict.faults);
}

#[test]
fn a_new_worker_gets_its_part_by_moves_that_repeat_nothing() {
    let mut world = settled(30, WorldSettings { cameras: 40, ..WorldSettings::default() }, 2);
    run_for(&mut world, 200);
    let (max, mean) = shares(&world);
    assert!(max <= mean + 150, "{max} with a mean of {mean}");
    let offers = world.requests.offers;
    world.join();
    run_for(&mut world, 600);
    let (max, mean) = shares(&world);
    let moves = world.requests.offers - offers;
    println!("balance: {moves} moves, highest share {max}, mean {mean}");
    assert!(max <= mean + 150, "{max} with a mean of {mean}");
    assert!((1..=20).contains(&moves), "{moves} moves");
    assert_eq!(world.verdict.repeats, 0);
    assert!(world.verdict.faults.is_empty(), "{:?}", world.verdict.faults);
}

#[test]
fn a_worker_that_does_not_release_its_cameras_loses_them_by_force() {
    let mut world = settled(31, WorldSettings::default(), 3);
    run_for(&mut world, 20);
    let camera = world.cameras().swap_remove(0);
    let slow = world.runner(&camera).unwrap();
    world.stuck.insert(slow);
    world.set_load(slow, true);
    run_for(&mut world, 12);
    assert_eq!(world.runner(&camera), Some(slow), "not before the time of a hand-over is over");
    run_for(&mut world, 120);
    assert!(world.cameras().iter().all(|camera| world.runner(camera).is_some_and(|worker| worker != slow)));
    assert!(world.verdict.faults.is_empty(), "{:?}", world.verdict.faults);
}

#[test]
fn a_next_owner_that_never_becomes_ready_is_passed_over() {
    let mut world = settled(32, WorldSettings { cameras: 12, ..WorldSettings::default() }, 3);
    run_for(&mut world, 60);
    let leaver = world.living().into_iter().find(|worker| Some(*worker) != world.leader()).unwrap();
    let stuck = world.living().into_iter().find(|worker| *worker != leaver).unwrap();
    world.stuck.insert(stuck);
    world.set_load(leaver, true);
    run_for(&mut world, 90);
    assert!(world.cameras().iter().all(|camera| world.runner(camera).is_some_and(|worker| worker != leaver)));
    assert!(world.verdict.faults.is_empty(), "{:?}", world.verdict.faults);
}
