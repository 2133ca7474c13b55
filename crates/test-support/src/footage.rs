//! Stored footage that flows at a pace of its own, the same for all who read it.

#![expect(clippy::unwrap_used, reason = "what a test cannot set up, it fails on")]

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use kvs_sim::{ClipPace, Clock, Sim, SimConfig, append_clip, epoch_ms};
use tempfile::TempDir;

use crate::colours::{film, model};

/// The time at which the footage was made, ms since 1970; any day would do.
const MADE_MS: u64 = 1_795_000_000_000;
/// The length of a film.
const FILM: Duration = Duration::from_secs(9);
/// Fragments, of a second each, in a film.
pub const FILM_FRAGMENTS: u64 = 9;

/// Returns the number of records of this number of films: each shows three objects, one after the other, which come and go; the last is there at the end.
pub const fn records_of(films: u32) -> u64 {
    films as u64 * 6 - 1
}

/// A local KVS whose clock moves from film to film: its readers are far behind the live edge until the last film, and get
/// fragments faster than they were made, so they do not become live, no frame is dropped and the events are always the same.
pub struct StoredFootage {
    /// The local KVS that serves it.
    pub sim: Sim,
    clock: Clock,
    made: SystemTime,
    clip: PathBuf,
    _clips: TempDir,
}

impl StoredFootage {
    /// Starts without footage; a connection gets this number of fragments per second.
    pub fn new(fragments_per_s: u32) -> Self {
        Self::made(SystemTime::UNIX_EPOCH + Duration::from_millis(MADE_MS), fragments_per_s)
    }

    /// Starts the same with footage that is made from then on.
    pub fn made(made: SystemTime, fragments_per_s: u32) -> Self {
        let clips = tempfile::tempdir().unwrap();
        let clip = film(clips.path(), 0);
        let clock = Clock::standing_at(epoch_ms(made));
        let sim = Sim::start(SimConfig { clock: clock.clone(), fragments_per_s, ..SimConfig::default() });
        Self { sim: sim.unwrap(), clock, made, clip, _clips: clips }
    }

    /// Puts so many films, one behind the other, into the stream of a camera.
    pub async fn store(&self, camera: &str, films: u32) {
        self.store_films(camera, 0..films).await;
    }

    /// Stores the films that follow what is stored.
    pub async fn store_films(&self, camera: &str, films: Range<u32>) {
        let stream = self.sim.store().stream_or_create(&format!("{camera}-stream")).unwrap();
        for film in films {
            self.clock.advance(FILM);
            append_clip(&stream, &self.clip, ClipPace::Asap, self.made + FILM * film).await.unwrap();
        }
    }

    /// Returns the stream of a camera.
    pub fn stream(&self, camera: &str) -> std::sync::Arc<kvs_sim::KvsStream> {
        self.sim.store().stream(&format!("{camera}-stream")).unwrap()
    }
}

/// Returns the configuration of a camera that reads all of its stream and reports each object each time that it comes into view.
pub fn camera(id: &str) -> String {
    camera_with(id, &model(), "EARLIEST", "")
}

/// Returns the same with another model and start, and more keys.
pub fn camera_with(id: &str, model: &Path, start: &str, keys: &str) -> String {
    format!(
        "  - id: {id}\n    kvs_stream_name: {id}-stream\n    playback: {{ start: {start} }}\n{keys}    pipeline:\n      \
         - type: objects\n        objects: {{ yolo_weights: {}, max_disappeared_seconds: 1 }}\n",
        model.display()
    )
}

/// Returns a configuration with these cameras; `more` stands before them.
pub fn config(more: &str, cameras: &str) -> String {
    format!("{more}service: {{ reconnect_delay_seconds: 1 }}\ndevice: cpu\ncameras:\n{cameras}")
}

/// The part of a configuration by which events go into a folder alone, without pictures.
pub const LOCAL: &str = "publishers: { local_dir: events }\nsnapshots: { enabled: false }\n";
