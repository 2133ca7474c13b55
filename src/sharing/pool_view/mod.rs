//! The pool as people see it: which worker has which camera, since when, and why.
//!
//! [`PoolView::of`] makes the view of rows that were read, without I/O; [`PoolViewReader`] reads them. No worker decides anything by
//! a view: its rows may be stale, and its times come from the clocks of several hosts.

mod assessment;
mod reader;

use std::collections::BTreeMap;

use ::sharing::{CameraKey, CameraLoads};
use serde::Serialize;

use super::pool_table::{DatedMembers, ItemOutline};
use assessment::PoolAssessment;
pub use reader::{PoolViewError, PoolViewReader};

/// Time without a beat, by the clocks of the worker and of the reader, from which a worker is shown as silent.
///
/// A leader expels a silent worker after 6 s. So this is seen where no leader is left, and hosts whose clocks differ by some seconds
/// cause no false alarm.
const SILENT_AFTER_MS: i64 = 60_000;

/// A pool, its workers and the cameras of a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PoolView {
    /// The pool's name.
    pub pool: String,
    /// The worker that leads; `None`: none does.
    pub leader: Option<String>,
    /// The number of leaders so far.
    pub term: u64,
    /// The generation of the newest configuration.
    pub generation: u64,
    /// The workers, by id.
    pub workers: Vec<PoolWorkerView>,
    /// The cameras of the reader's configuration, by id.
    pub cameras: Vec<PoolCameraView>,
}

/// The state of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PoolWorkerState {
    /// Its models are loading.
    Joining,
    /// It takes cameras.
    Ready,
    /// It hands its cameras over, and ends.
    Draining,
    /// It has not beaten for a minute, and no leader has removed it.
    Silent,
}

/// One worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PoolWorkerView {
    /// The worker's id.
    pub id: String,
    /// The availability zone; empty: unknown.
    pub zone: String,
    /// The state.
    pub state: PoolWorkerState,
    /// `true` if it leads the pool.
    pub leads: bool,
    /// Number of the configuration's cameras that it owns.
    pub cameras: usize,
    /// The share that its cameras take of its usable capacity, of the scarcest resource, percent; at most 1000. A camera that was not
    /// measured counts as the mean of those that were; `None`: none was.
    pub load_percent: Option<u32>,
    /// `true` if it does not keep up, so that cameras are moved away.
    pub overloaded: bool,
    /// The generation of its configuration.
    pub generation: u64,
    /// The last beat, ms since 1970 by its own clock, cut to seconds.
    pub beat_ms: Option<i64>,
}

/// The state of a camera in a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PoolCameraState {
    /// A worker has it.
    Running,
    /// A worker has it, and hands it over.
    Moving,
    /// No worker has it.
    Free,
    /// No worker gets it for a while, because several in a row ended while they had it.
    Quarantined,
    /// Its worker is gone.
    Orphaned,
}

/// The measured cost of a camera.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct PoolCameraCost {
    /// Busy time of GPUs, thousandths of one GPU.
    pub gpu_milli: u64,
    /// Processor time, thousandths of one core.
    pub cpu_milli: u64,
    /// Memory, MiB.
    pub memory_mib: u64,
}

/// One camera.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PoolCameraView {
    /// The camera's id.
    pub id: String,
    /// The worker that owns it.
    pub worker: Option<String>,
    /// The state.
    pub state: PoolCameraState,
    /// The worker that is about to get it.
    pub next_worker: Option<String>,
    /// The number of changes of owner.
    pub epoch: u64,
    /// The last change of owner, ms since 1970 by the clock of the worker that made it.
    pub since_ms: Option<i64>,
    /// The cost; `None` before it was measured.
    pub cost: Option<PoolCameraCost>,
    /// Number of workers in a row that ended while they had it.
    pub strikes: u32,
    /// The reason for the state, for people; `None`: it runs where it should.
    pub why: Option<String>,
}

/// The rows of a pool, as they were read.
#[derive(Clone, Debug, Default)]
pub(super) struct PoolRows {
    pub(super) members: DatedMembers,
    pub(super) loads: CameraLoads,
    /// The items of the configuration's cameras that have one.
    pub(super) items: BTreeMap<CameraKey, ItemOutline>,
}

impl PoolView {
    /// Returns the view of a pool at `now_ms` since 1970, by its rows and the cameras of the configuration.
    pub(super) fn of(pool: &str, cameras: &[CameraKey], rows: &PoolRows, now_ms: i64) -> Self {
        let assessment = PoolAssessment::new(rows, now_ms);
        let mut sorted: Vec<&CameraKey> = cameras.iter().collect();
        sorted.sort_unstable();
        Self {
            pool: pool.to_owned(),
            leader: assessment.leader().map(ToString::to_string),
            term: rows.members.members.leader.as_ref().map_or(0, |row| row.term),
            generation: assessment.generation(),
            workers: assessment.workers(cameras),
            cameras: sorted.into_iter().map(|camera| assessment.camera(camera)).collect(),
        }
    }

    /// Returns the cameras that no worker has.
    pub fn unassigned(&self) -> impl Iterator<Item = &PoolCameraView> {
        use PoolCameraState::{Free, Orphaned, Quarantined};
        self.cameras.iter().filter(|camera| matches!(camera.state, Free | Quarantined | Orphaned))
    }

    /// Returns the workers that have an older configuration than the newest one.
    pub fn outdated(&self) -> impl Iterator<Item = &PoolWorkerView> {
        self.workers.iter().filter(|worker| worker.generation < self.generation)
    }
}
