//! Events of a camera between its sampled frames and the outbox: inference, decision, commit.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use metrics::{counter, histogram};
use tracing::{error, info, warn};

use super::{Metric, MetricKind};
use crate::media::{Event, Frame, Mode};
use crate::render::Label;
use crate::status::CameraStatus;

const STAGE: &str = "detect";
const INFERRED: &str = "kvs_infer_frames_inferred_total";
const SKIPPED: &str = "kvs_infer_frames_skipped_total";
const FAILED: &str = "kvs_infer_inference_failures_total";
const REFUSED: &str = "kvs_infer_events_refused_total";
const LATENCY: &str = "kvs_infer_event_latency_seconds";
const WAKE_DELAY: &str = "kvs_infer_wake_delay_seconds";

pub(super) const METRICS: &[Metric] = &[
    Metric {
        name: INFERRED,
        kind: MetricKind::Counter,
        labels: &["camera"],
        help: "Frames that every detector of the camera has inferred.",
    },
    Metric {
        name: SKIPPED,
        kind: MetricKind::Counter,
        labels: &["camera"],
        help: "Frames that needed no inference: the motion gate found no change in them.",
    },
    Metric {
        name: FAILED,
        kind: MetricKind::Counter,
        labels: &["camera"],
        help: "Frames on which a detector failed.",
    },
    Metric {
        name: REFUSED,
        kind: MetricKind::Counter,
        labels: &["camera"],
        help: "Events that the outbox refused.",
    },
    Metric {
        name: LATENCY,
        kind: MetricKind::Histogram,
        labels: &["camera"],
        help: "From the arrival of the confirming frame's last byte until the outbox accepted its event.",
    },
    Metric {
        name: WAKE_DELAY,
        kind: MetricKind::Histogram,
        labels: &["camera"],
        help: "At the end of idle decode, from the arrival of the first frame that the motion gate passes until it is inferred.",
    },
];

/// Every detector of the camera has inferred a frame.
pub(crate) struct FrameInferred<'a> {
    pub(crate) camera: &'a CameraStatus,
    pub(crate) frame: Arc<Frame>,
    pub(crate) labels: Vec<Label>,
}

impl FrameInferred<'_> {
    pub(crate) fn emit(self) {
        counter!(INFERRED, "camera" => self.camera.id().to_string()).increment(1);
        // The board decides: only it knows whether the gap had been reported.
        if self.camera.frame_inferred(self.frame, self.labels) {
            inference_resumed(self.camera);
        }
    }
}

/// The first frame that the motion gate passes after the end of idle decode was inferred.
pub(crate) struct WakeInferred<'a> {
    pub(crate) camera: &'a CameraStatus,
    pub(crate) delay: Duration,
}

impl WakeInferred<'_> {
    pub(crate) fn emit(self) {
        histogram!(WAKE_DELAY, "camera" => self.camera.id().to_string()).record(self.delay.as_secs_f64());
    }
}

/// The motion gate skipped the inference of a frame.
pub(crate) struct FrameSkipped<'a> {
    pub(crate) camera: &'a CameraStatus,
}

impl FrameSkipped<'_> {
    pub(crate) fn emit(self) {
        counter!(SKIPPED, "camera" => self.camera.id().to_string()).increment(1);
        if self.camera.frame_skipped() {
            inference_resumed(self.camera);
        }
    }
}

/// Logs that frames reach the detectors again, after [`FrameRead`](super::source::FrameRead) reported that none did.
fn inference_resumed(camera: &CameraStatus) {
    info!(stage = STAGE, camera = %camera.id(), "frames are inferred again");
}

/// All detectors of the camera have answered for a frame.
pub(crate) struct InferenceResult<'a> {
    pub(crate) camera: &'a CameraStatus,
    /// The error of the first detector that failed.
    pub(crate) error: Option<&'a dyn Error>,
}

impl InferenceResult<'_> {
    /// Counts each failure, and logs only the first one and the recovery, so that a broken model does not fill the log.
    pub(crate) fn emit(self) {
        // One flag per stage, so that a decoder that fails does not hide a detector that recovers.
        let was_blind = self.camera.is_blind(STAGE);
        if let Some(error) = self.error {
            counter!(FAILED, "camera" => self.camera.id().to_string()).increment(1);
            if !was_blind {
                error!(stage = STAGE, camera = %self.camera.id(), "detector failed: {error}");
            }
            // Written for each failure: `/healthz` shows the latest reason, and the time of the first one.
            self.camera.blind(STAGE, Some(error.to_string()));
        } else if was_blind {
            info!(stage = STAGE, camera = %self.camera.id(), "detector recovered");
            self.camera.blind(STAGE, None);
        }
    }
}

/// The outbox accepted a new event.
pub(crate) struct EventRecorded<'a> {
    pub(crate) camera: &'a CameraStatus,
    pub(crate) event: &'a Event,
    /// The time since the last byte of the confirming frame was read.
    pub(crate) latency: Duration,
}

impl EventRecorded<'_> {
    pub(crate) fn emit(self) {
        histogram!(LATENCY, "camera" => self.camera.id().to_string()).record(self.latency.as_secs_f64());
        // The feed of the page drops an event that it has already, which is read again after a reconnect.
        self.camera.event(self.event, self.latency);
    }
}

/// The outbox refused an event.
pub(crate) struct OfferFailed<'a> {
    pub(crate) camera: &'a CameraStatus,
    pub(crate) error: &'a dyn Error,
}

impl OfferFailed<'_> {
    pub(crate) fn emit(self) {
        // The refusal is of the stage publish, although the camera reports it.
        error!(stage = "publish", camera = %self.camera.id(), "event refused by the outbox: {}", self.error);
        counter!(REFUSED, "camera" => self.camera.id().to_string()).increment(1);
    }
}

/// A live camera waits for a required sink that is full, and becomes a camera in catch-up.
pub(crate) struct FellBehind<'a> {
    pub(crate) camera: &'a CameraStatus,
}

impl FellBehind<'_> {
    pub(crate) fn emit(self) {
        warn!(
            stage = "publish", camera = %self.camera.id(),
            "required sink full: reading waits for it, no frame is dropped"
        );
        // On the board as well: `/healthz` expects a camera in catch-up to be behind and silent.
        self.camera.set_mode(Mode::CatchUp);
    }
}

/// A camera in catch-up reached the live edge.
pub(crate) struct CaughtUp<'a> {
    pub(crate) camera: &'a CameraStatus,
}

impl CaughtUp<'_> {
    pub(crate) fn emit(self) {
        info!(stage = "decide", camera = %self.camera.id(), "caught up: mode is now live");
        self.camera.set_mode(Mode::Live);
    }
}
