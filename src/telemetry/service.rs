//! What happens to the service as a whole.

use std::net::SocketAddr;
use std::time::Duration;

use tracing::{error, info, warn};

use super::{Kind, Metric};
use crate::camera::CameraError;
use crate::service::Changes;

const RELOADS: &str = "kvs_infer_config_reloads_total";
const RELOAD_FAILURES: &str = "kvs_infer_config_reload_failures_total";

/// The metrics of the service as a whole.
pub(super) const METRICS: &[Metric] = &[
    Metric {
        name: RELOADS,
        kind: Kind::Counter,
        labels: &[],
        help: "Configurations that were taken over while the service ran.",
    },
    Metric {
        name: RELOAD_FAILURES,
        kind: Kind::Counter,
        labels: &[],
        help: "Configurations that could not be taken over; the one before goes on, and the log says why.",
    },
];

/// Everything has started.
pub(crate) struct Ready {
    pub(crate) cameras: usize,
    pub(crate) http: SocketAddr,
}

impl Ready {
    pub(crate) fn emit(self) {
        info!(stage = "service", version = env!("CARGO_PKG_VERSION"), cameras = self.cameras, http = %self.http, "ready");
    }
}

/// Another configuration was taken over.
pub(crate) struct Reloaded<'a> {
    pub(crate) changes: &'a Changes,
}

impl Reloaded<'_> {
    pub(crate) fn emit(self) {
        metrics::counter!(RELOADS).increment(1);
        info!(stage = "service", "the configuration was taken over: {}", self.changes);
    }
}

/// Another configuration was not taken over.
pub(crate) struct WasRefused<'a> {
    pub(crate) why: &'a str,
}

impl WasRefused<'_> {
    pub(crate) fn emit(self) {
        metrics::counter!(RELOAD_FAILURES).increment(1);
        warn!(
            stage = "service",
            "the configuration was not taken over, and the one before goes on: {}", self.why
        );
    }
}

/// A camera is not in the configuration any more.
pub(crate) struct CameraGone<'a> {
    pub(crate) camera: &'a str,
}

impl CameraGone<'_> {
    pub(crate) fn emit(self) {
        super::http::forget_camera(self.camera);
        info!(
            stage = "service",
            camera = self.camera,
            "the camera is not in the configuration any more: it ends"
        );
    }
}

/// The service was told to stop.
pub(crate) struct Stopping;

impl Stopping {
    pub(crate) fn emit(self) {
        info!(stage = "service", "stopping: no more reading; what was read is still dealt with");
    }
}

/// A camera did not end as it should.
pub(crate) struct CameraBroke {
    pub(crate) error: CameraError,
}

impl CameraBroke {
    pub(crate) fn emit(self) {
        error!(stage = "service", "{}", self.error);
    }
}

/// A part did not end in its time, and is left behind.
pub(crate) struct Stuck {
    pub(crate) part: &'static str,
}

impl Stuck {
    pub(crate) fn emit(self) {
        error!(stage = "service", part = self.part, "did not end in time, and is left behind");
    }
}

/// The service was told to stop a second time.
pub(crate) struct StoppedAtOnce;

impl StoppedAtOnce {
    pub(crate) fn emit(self) {
        error!(
            stage = "service",
            "told to stop again: stopped at once; what was not delivered is in the outbox, what was being looked at is read again"
        );
    }
}

/// Everything has stopped.
pub(crate) struct Stopped {
    pub(crate) took: Duration,
}

impl Stopped {
    pub(crate) fn emit(self) {
        info!(stage = "service", took_s = self.took.as_secs_f64(), "stopped");
    }
}
