//! Logs and metrics of a worker that shares the cameras with others.

use std::error::Error;

use ::sharing::PoolFigures;
use metrics::{counter, gauge};
use tracing::{error, info, warn};

use super::{Metric, MetricKind};
use crate::media::CameraId;

const STAGE: &str = "sharing";
const LOAD_PERCENT: &str = "kvs_infer_pool_load_percent";
const WORKERS: &str = "kvs_infer_pool_workers";
const CAMERAS_UNASSIGNED: &str = "kvs_infer_pool_cameras_unassigned";
const CAMERAS_MOVING: &str = "kvs_infer_pool_cameras_moving";
const EXPULSIONS: &str = "kvs_infer_worker_expulsions_total";

/// The metrics of a worker that shares the cameras with others.
pub(super) const METRICS: &[Metric] = &[
    Metric {
        name: LOAD_PERCENT,
        kind: MetricKind::Gauge,
        labels: &[],
        help: "Cost of all cameras in percent of what the ready workers of the pool can carry; NaN where another worker leads.",
    },
    Metric {
        name: WORKERS,
        kind: MetricKind::Gauge,
        labels: &[],
        help: "Ready workers of the pool; NaN where another worker leads.",
    },
    Metric {
        name: CAMERAS_UNASSIGNED,
        kind: MetricKind::Gauge,
        labels: &[],
        help: "Cameras that no worker of the pool has; NaN where another worker leads.",
    },
    Metric {
        name: CAMERAS_MOVING,
        kind: MetricKind::Gauge,
        labels: &[],
        help: "Cameras on their way to another worker of the pool; NaN where another worker leads.",
    },
    Metric {
        name: EXPULSIONS,
        kind: MetricKind::Counter,
        labels: &[],
        help: "Times that the pool took this worker for dead.",
    },
];

/// The figures of the pool were computed; `None`: another worker leads it.
pub(crate) struct PoolMeasured(pub(crate) Option<PoolFigures>);

impl PoolMeasured {
    #[expect(clippy::cast_precision_loss, reason = "numbers of workers and cameras")]
    pub(crate) fn emit(self) {
        let value = |of: fn(&PoolFigures) -> f64| self.0.as_ref().map_or(f64::NAN, of);
        gauge!(LOAD_PERCENT).set(value(|figures| f64::from(figures.load_percent)));
        gauge!(WORKERS).set(value(|figures| figures.workers as f64));
        gauge!(CAMERAS_UNASSIGNED).set(value(|figures| figures.unassigned as f64));
        gauge!(CAMERAS_MOVING).set(value(|figures| figures.moving as f64));
    }
}

/// The worker has joined the pool.
pub(crate) struct WorkerJoined<'a> {
    pub(crate) worker: &'a str,
}

impl WorkerJoined<'_> {
    pub(crate) fn emit(self) {
        info!(stage = STAGE, worker = self.worker, "joins the pool");
    }
}

/// The leader took the worker for dead.
pub(crate) struct WorkerExpelled<'a> {
    pub(crate) worker: &'a str,
}

impl WorkerExpelled<'_> {
    pub(crate) fn emit(self) {
        counter!(EXPULSIONS).increment(1);
        warn!(
            stage = STAGE,
            worker = self.worker,
            "expelled from the pool, because no beat of this worker reached the table in time: its cameras have other workers, and it \
             joins again"
        );
    }
}

/// The worker has left the pool.
pub(crate) struct WorkerLeft<'a> {
    pub(crate) worker: &'a str,
}

impl WorkerLeft<'_> {
    pub(crate) fn emit(self) {
        info!(stage = STAGE, worker = self.worker, "has left the pool");
    }
}

/// The worker owns a camera from now on.
pub(crate) struct CameraGained<'a> {
    pub(crate) camera: &'a CameraId,
    pub(crate) epoch: u64,
}

impl CameraGained<'_> {
    pub(crate) fn emit(self) {
        info!(stage = STAGE, camera = %self.camera, epoch = self.epoch, "camera gained");
    }
}

/// The first frame of a camera that the worker owns is about to be decided.
pub(crate) struct FirstFrame<'a> {
    pub(crate) camera: &'a CameraId,
    pub(crate) epoch: u64,
}

impl FirstFrame<'_> {
    pub(crate) fn emit(self) {
        info!(stage = STAGE, camera = %self.camera, epoch = self.epoch, "first frame of the camera here");
    }
}

/// A camera was stopped after its current frame, because it is handed over or has another owner.
pub(crate) struct CameraHalted<'a> {
    pub(crate) camera: &'a CameraId,
}

impl CameraHalted<'_> {
    pub(crate) fn emit(self) {
        info!(stage = STAGE, camera = %self.camera, "last frame of the camera here");
    }
}

/// The worker owns a camera no longer.
pub(crate) struct CameraLost<'a> {
    pub(crate) camera: &'a CameraId,
    pub(crate) why: &'static str,
}

impl CameraLost<'_> {
    pub(crate) fn emit(self) {
        info!(stage = STAGE, camera = %self.camera, reason = self.why, "camera left");
    }
}

/// The state in a camera's item cannot be read.
pub(crate) struct StateUnreadable<'a> {
    pub(crate) camera: &'a CameraId,
    pub(crate) error: &'a dyn Error,
}

impl StateUnreadable<'_> {
    pub(crate) fn emit(self) {
        error!(stage = STAGE, camera = %self.camera, error = %self.error, "the state in the table of positions cannot be used");
    }
}
