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

/// Another configuration came while one waits for its models, and takes its place.
pub(crate) struct ReloadReplaced {
    /// The time for which that one has waited.
    pub(crate) after: Duration,
    /// The models that it waited for.
    pub(crate) loading: String,
}

impl ReloadReplaced {
    pub(crate) fn emit(self) {
        warn!(
            stage = "service",
            after_s = self.after.as_secs(),
            loading = self.loading,
            "a newer configuration takes the place of the one that waits for its models"
        );
    }
}

/// The configuration that waits for its models was asked for again.
pub(crate) struct ReloadWaits {
    /// The time for which it has waited.
    pub(crate) after: Duration,
    /// The models that it waits for.
    pub(crate) loading: String,
}

impl ReloadWaits {
    pub(crate) fn emit(self) {
        info!(
            stage = "service",
            after_s = self.after.as_secs(),
            loading = self.loading,
            "this configuration waits for its models already"
        );
    }
}

/// Nothing waits for a model any more that is being loaded.
pub(crate) struct LoadGivenUp<'a> {
    pub(crate) model: &'a str,
    pub(crate) after: Duration,
}

impl LoadGivenUp<'_> {
    pub(crate) fn emit(self) {
        warn!(
            stage = "service",
            model = self.model,
            after_s = self.after.as_secs(),
            "loading a model was given up: its thread cannot be interrupted and runs on"
        );
    }
}

/// The thread of such a model has ended.
pub(crate) struct GivenUpLoadEnded<'a> {
    pub(crate) model: &'a str,
    pub(crate) after: Duration,
}

impl GivenUpLoadEnded<'_> {
    pub(crate) fn emit(self) {
        let after_s = self.after.as_secs();
        info!(
            stage = "service",
            model = self.model,
            after_s,
            "the thread of a model that was given up has ended"
        );
    }
}

/// An allowed setting with a surprising effect.
pub(crate) struct Advice<'a> {
    pub(crate) text: &'a str,
}

impl Advice<'_> {
    pub(crate) fn emit(self) {
        warn!(stage = "service", "configuration: {}", self.text);
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
