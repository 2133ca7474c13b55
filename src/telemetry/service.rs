//! What happens to the service as a whole.

use std::net::SocketAddr;
use std::time::Duration;

use tracing::{error, info};

use crate::camera::CameraError;
use crate::publish::Remains;

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

/// Everything has stopped.
pub(crate) struct Stopped<'a> {
    pub(crate) took: Duration,
    pub(crate) remains: &'a [Remains],
}

impl Stopped<'_> {
    pub(crate) fn emit(self) {
        for Remains { sink, count } in self.remains {
            error!(stage = "publish", sink, count, "not delivered before the time to stop ran out");
        }
        info!(took_s = self.took.as_secs_f64(), "stopped");
    }
}
