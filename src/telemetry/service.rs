//! Events of the service as a whole: start, reload, stop.

use std::error::Error;
use std::fmt::Display;
use std::net::SocketAddr;
use std::time::Duration;

use tracing::{error, info, warn};

use super::{Metric, MetricKind};

const STAGE: &str = "service";
const RELOADS: &str = "kvs_infer_config_reloads_total";
const RELOAD_FAILURES: &str = "kvs_infer_config_reload_failures_total";

/// The metrics of the service as a whole.
pub(super) const METRICS: &[Metric] = &[
    Metric {
        name: RELOADS,
        kind: MetricKind::Counter,
        labels: &[],
        help: "Configurations that were applied while the service ran.",
    },
    Metric {
        name: RELOAD_FAILURES,
        kind: MetricKind::Counter,
        labels: &[],
        help: "Configurations that were rejected while the service ran; the previous one stays in effect, and the log has the reason.",
    },
];

/// Everything has started.
pub(crate) struct ServiceReady {
    pub(crate) cameras: usize,
    pub(crate) http: SocketAddr,
}

impl ServiceReady {
    pub(crate) fn emit(self) {
        info!(stage = STAGE, version = env!("CARGO_PKG_VERSION"), cameras = self.cameras, http = %self.http, "ready");
    }
}

/// A newer configuration was applied.
pub(crate) struct ConfigApplied<'a> {
    pub(crate) changes: &'a dyn Display,
}

impl ConfigApplied<'_> {
    pub(crate) fn emit(self) {
        metrics::counter!(RELOADS).increment(1);
        info!(stage = STAGE, "configuration applied: {}", self.changes);
    }
}

/// A newer configuration was rejected.
pub(crate) struct ConfigRejected<'a> {
    pub(crate) reason: &'a str,
}

impl ConfigRejected<'_> {
    pub(crate) fn emit(self) {
        // For an alert: the service itself keeps working, so nothing else would attract attention.
        metrics::counter!(RELOAD_FAILURES).increment(1);
        warn!(stage = STAGE, "configuration rejected, the previous one stays in effect: {}", self.reason);
    }
}

/// A newer configuration replaces one that still waits for its models.
pub(crate) struct ReloadReplaced {
    /// The time that the replaced one has waited.
    pub(crate) after: Duration,
    /// The models that it waited for.
    pub(crate) loading: String,
}

impl ReloadReplaced {
    pub(crate) fn emit(self) {
        warn!(
            stage = STAGE,
            elapsed_s = self.after.as_secs(),
            loading = self.loading,
            "reload replaced by a newer configuration while it waited for its models"
        );
    }
}

/// A reload was requested again for the configuration that already waits for its models.
pub(crate) struct ReloadWaits {
    /// The time that it has waited.
    pub(crate) after: Duration,
    /// The models that it waits for.
    pub(crate) loading: String,
}

impl ReloadWaits {
    pub(crate) fn emit(self) {
        info!(
            stage = STAGE,
            elapsed_s = self.after.as_secs(),
            loading = self.loading,
            "reload already under way: it waits for its models"
        );
    }
}

/// A model load was abandoned: nothing waits for the model any more.
pub(crate) struct LoadAbandoned<'a> {
    pub(crate) model: &'a str,
    pub(crate) after: Duration,
}

impl LoadAbandoned<'_> {
    pub(crate) fn emit(self) {
        warn!(
            stage = STAGE,
            model = self.model,
            elapsed_s = self.after.as_secs(),
            "model load abandoned: its thread cannot be interrupted and runs on"
        );
    }
}

/// The thread of an abandoned model load has ended.
pub(crate) struct AbandonedLoadEnded<'a> {
    pub(crate) model: &'a str,
    pub(crate) after: Duration,
}

impl AbandonedLoadEnded<'_> {
    pub(crate) fn emit(self) {
        // Logged, so that a restart that was planned to free its core can be dropped.
        let elapsed_s = self.after.as_secs();
        info!(stage = STAGE, model = self.model, elapsed_s, "thread of an abandoned model load ended");
    }
}

/// An allowed setting with a surprising effect.
pub(crate) struct ConfigAdvice<'a> {
    pub(crate) text: &'a str,
}

impl ConfigAdvice<'_> {
    pub(crate) fn emit(self) {
        warn!(stage = STAGE, "configuration: {}", self.text);
    }
}

/// A camera is no longer in the configuration.
pub(crate) struct CameraRemoved<'a> {
    pub(crate) camera: &'a str,
}

impl CameraRemoved<'_> {
    pub(crate) fn emit(self) {
        // A gauge without updates keeps its last value for ever, and would show the removed camera as up.
        super::http::forget_camera(self.camera);
        info!(stage = STAGE, camera = self.camera, "camera stops: it is no longer in the configuration");
    }
}

/// The service was asked to stop.
pub(crate) struct ServiceStopping;

impl ServiceStopping {
    pub(crate) fn emit(self) {
        info!(stage = STAGE, "stopping: no more footage is read; what was read is still processed");
    }
}

/// A camera ended with an error.
pub(crate) struct CameraFailed<'a> {
    pub(crate) camera: &'a str,
    pub(crate) error: &'a dyn Error,
}

impl CameraFailed<'_> {
    pub(crate) fn emit(self) {
        error!(stage = STAGE, camera = self.camera, "camera failed: {}", self.error);
    }
}

/// A part of the service did not end in time, and is left running.
pub(crate) struct StopTimedOut {
    pub(crate) part: &'static str,
}

impl StopTimedOut {
    pub(crate) fn emit(self) {
        // An error although the stop continues: the part holds memory or a thread until the process ends.
        error!(stage = STAGE, part = self.part, "stop timed out: this part is left running");
    }
}

/// The service was asked to stop a second time, and ends at once.
pub(crate) struct StopForced;

impl StopForced {
    pub(crate) fn emit(self) {
        error!(
            stage = STAGE,
            "stop forced by a second signal: undelivered events stay in the outbox, frames under way are read again"
        );
    }
}

/// Everything has stopped.
pub(crate) struct ServiceStopped {
    pub(crate) duration: Duration,
}

impl ServiceStopped {
    pub(crate) fn emit(self) {
        info!(stage = STAGE, duration_s = self.duration.as_secs_f64(), "stopped");
    }
}
