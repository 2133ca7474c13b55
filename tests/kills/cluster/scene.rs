//! The footage of all rounds, its servers, and the events of one undisturbed process.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use kvs_sim::{Clock, FaultKind, Faults, KvsStream, Play, Sim, SimConfig, epoch_ms};
use serde_json::Value;
use tempfile::TempDir;
use test_support::kvs_infer_command;
use test_support::moto::Moto;
use test_support::program::Program;

use crate::aws::{Aws, Item};
use crate::footage::{CLOSED_GOPS, Camera, Footage, cameras, stream};
use crate::killing::finish;

/// The cameras, and by how much their objects come earlier than those of the first, s.
const CAMERAS: [Camera; 6] =
    [("front", 0.0), ("back", 0.4), ("side", 0.9), ("gate", 1.2), ("yard", 1.6), ("hall", 2.1)];
/// The number under which the footage is stored; each round reads it again.
const FOOTAGE: usize = 0;
/// Bytes of a fragment beside its frames: tags and headers.
const FRAGMENT_HEADER_BYTES: u64 = 700;
/// The worker whose wall clock is wrong, and by how much, in the words of libfaketime.
const WRONG_CLOCK: (usize, &str) = (1, "-47m");

/// The footage, and what is right.
pub(crate) struct PoolScene {
    _clips: TempDir,
    pub(crate) sim: Sim,
    pub(crate) moto: Moto,
    /// The records of one undisturbed process, in the order of the stream.
    pub(crate) right: Vec<Value>,
    /// Media time of the last fragment, ms.
    pub(crate) end_ms: i64,
    /// The rate at which connections deliver stored footage; `None`: the cameras are live.
    bytes_per_s: Option<u64>,
    faketime: Option<PathBuf>,
}

/// A camera as it is configured now. Nothing that changes has an effect on its events.
#[derive(Debug, Clone)]
pub(crate) struct PoolCamera {
    pub(crate) id: &'static str,
    priority: u32,
    max_pixels: u32,
}

impl PoolScene {
    /// Stores `fragments` seconds of footage, and has one process read them. With [`Self::slow_down`] connections deliver about `pace`
    /// times as fast as a camera does.
    pub(crate) async fn make(fragments: u32, pace: f64) -> Self {
        let clips = tempfile::tempdir().unwrap();
        let footage = Footage::paint(clips.path(), CLOSED_GOPS, &CAMERAS, fragments);
        let clock = Clock::standing_at(epoch_ms(SystemTime::now()));
        let sim = Sim::start(SimConfig { clock: clock.clone(), ..SimConfig::default() }).unwrap();
        footage.store(&sim, &clock, FOOTAGE).await;
        let end_ms = footage.end(&sim, FOOTAGE).await;
        let faketime = faketime();
        if faketime.is_none() {
            println!("cluster: libfaketime is not installed, every worker has the right clock");
        }
        let right = events_of_one(&sim, end_ms).await;
        let bytes_per_s = footage.largest_clip() / u64::from(fragments) + FRAGMENT_HEADER_BYTES;
        let bytes_per_s = Some((bytes_per_s as f64 * pace) as u64);
        Self { _clips: clips, sim, moto: Moto::start(), right, end_ms, bytes_per_s, faketime }
    }

    /// Plays `seconds` of footage of each camera again and again, as cameras do. No event is expected of it.
    pub(crate) async fn live(seconds: u32) -> Self {
        let clips = tempfile::tempdir().unwrap();
        let footage = Footage::paint(clips.path(), CLOSED_GOPS, &CAMERAS, seconds);
        let sim = Sim::start(SimConfig::default()).unwrap();
        for (camera, clip) in footage.clips() {
            let play = Play { stream: stream(camera, FOOTAGE), path: clip.clone(), looped: true };
            sim.play(play).await.unwrap();
        }
        let (right, moto) = (Vec::new(), Moto::start());
        Self { _clips: clips, sim, moto, right, end_ms: 0, bytes_per_s: None, faketime: faketime() }
    }

    /// Lets connections deliver stored footage as fast as cameras do, more or less.
    pub(crate) fn slow_down(&self) {
        if let Some(bytes_per_s) = self.bytes_per_s {
            self.set_faults(&FaultKind::Drip(bytes_per_s).into());
        }
    }

    /// Lets connections deliver as fast as they can, and ends those of now.
    pub(crate) fn hurry(&self) {
        self.set_faults(&Faults::default());
        CAMERAS.iter().for_each(|(camera, _)| self.stream(camera).cut_readers());
    }

    fn set_faults(&self, faults: &Faults) {
        CAMERAS.iter().for_each(|(camera, _)| self.stream(camera).set_faults(faults.clone()));
    }

    fn stream(&self, camera: &str) -> Arc<KvsStream> {
        self.sim.store().stream(&stream(camera, FOOTAGE)).unwrap()
    }

    /// Returns whether a camera's item says that all footage with events was decided.
    pub(crate) fn is_end(&self, camera: &str, item: Option<&Item>) -> bool {
        let Some(position) = item.and_then(|item| item.get("position")) else { return false };
        // The last two fragments are empty, and the last one is complete only once another one follows.
        let numbers = self.stream(camera).fragment_numbers();
        let mut last = numbers.iter().rev().take(2);
        last.any(|number| position.as_s().ok() == Some(&number.to_string()))
    }

    /// Returns the cameras as they are configured at first.
    pub(crate) fn cameras(&self) -> Vec<PoolCamera> {
        CAMERAS.map(|(id, _)| PoolCamera { id, priority: 100, max_pixels: 9_437_184 }).into()
    }

    /// Returns the configuration of a pool.
    pub(crate) fn config(
        &self,
        aws: &Aws,
        workers: &str,
        pool: &str,
        when_away: &str,
        of: &[PoolCamera],
    ) -> String {
        let sharing =
            format!("sharing: {{ table: {workers}, pool: {pool}, when_table_is_away: {when_away} }}\n");
        let state = format!("state: {{ dir: state, ddb_table: {} }}\n", aws.positions());
        let mut cameras = cameras(&CAMERAS, FOOTAGE, CLOSED_GOPS);
        if self.bytes_per_s.is_none() {
            cameras = cameras.replace("start: EARLIEST", "start: NOW");
        }
        for PoolCamera { id, priority, max_pixels } in of {
            let name = format!("  - id: {id}\n");
            let with = format!("{name}    priority: {priority}\n    max_pixels: {max_pixels}\n");
            cameras = cameras.replace(&name, &with);
        }
        format!("{}{sharing}{state}device: cpu\ncameras:\n{cameras}", aws.stream_and_items())
    }

    /// Returns the variables that give a worker its clock.
    pub(crate) fn clock_of(&self, worker: usize) -> Vec<(String, String)> {
        let Some(library) = self.faketime.as_ref().filter(|_| worker == WRONG_CLOCK.0) else {
            return Vec::new();
        };
        let variables = [
            ("LD_PRELOAD", library.to_str().unwrap()),
            ("FAKETIME", WRONG_CLOCK.1),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            ("DONT_FAKE_MONOTONIC", "1"),
            // The time of a file is that of its store, not of this host.
            ("NO_FAKE_STAT", "1"),
        ];
        variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
    }
}

impl PoolCamera {
    /// Changes a key of it: one that restarts the camera, or one that does not.
    pub(crate) fn change(&mut self, restarts: bool) {
        if restarts {
            self.max_pixels -= 1;
        } else {
            self.priority += 1;
        }
    }
}

/// Returns the records of one process that reads all footage, undisturbed and without others.
async fn events_of_one(sim: &Sim, end_ms: i64) -> Vec<Value> {
    let moto = Moto::start();
    let aws = Aws::make(&moto, FOOTAGE).await;
    let cameras = cameras(&CAMERAS, FOOTAGE, CLOSED_GOPS);
    let config =
        format!("{}state: {{ dir: state }}\ndevice: cpu\ncameras:\n{cameras}", aws.stream_and_items());
    let program = Program::start(kvs_infer_command!(), &config, &sim.endpoint(), Some(&aws.url));
    finish(program, &CAMERAS, end_ms);
    let right = aws.delivered().await.records;
    let few = CAMERAS.len() * 20;
    assert!(right.len() > few, "{} events", right.len());
    right
}

/// Returns Debian's libfaketime for threads, if it is installed.
fn faketime() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").ok()?.filter_map(Result::ok);
    let libraries = folders.map(|folder| folder.path().join("faketime/libfaketimeMT.so.1"));
    libraries.into_iter().find(|library| library.exists())
}
