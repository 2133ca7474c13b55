//! What happens to the service as a whole.

use std::net::SocketAddr;
use std::time::Duration;

use tracing::{error, info};

use crate::camera::CameraError;

/// Everything has started.
pub(crate) struct Ready {
    pub(crate) cameras: usize,
    pub(crate) http: SocketAddr,
}

impl Ready {
    pub(crate) fn emit(self) {
        info!(version = env!("CARGO_PKG_VERSION"), cameras = self.cameras, http = %self.http, "ready");
    }
}

/// The service was told to stop.
pub(crate) struct Stopping;

impl Stopping {
    pub(crate) fn emit(self) {
        info!("stopping: no more reading; what was read is still dealt with");
    }
}

/// A camera did not end as it should.
pub(crate) struct CameraBroke {
    pub(crate) error: CameraError,
}

impl CameraBroke {
    pub(crate) fn emit(self) {
        error!("{}", self.error);
    }
}

/// A part did not end in its time, and is left behind.
pub(crate) struct Stuck {
    pub(crate) part: &'static str,
}

impl Stuck {
    pub(crate) fn emit(self) {
        error!(part = self.part, "did not end in time, and is left behind");
    }
}

/// The service was told to stop a second time.
pub(crate) struct StoppedAtOnce;

impl StoppedAtOnce {
    pub(crate) fn emit(self) {
        error!(
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
        info!(took_s = self.took.as_secs_f64(), "stopped");
    }
}
