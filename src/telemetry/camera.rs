//! What happens where a camera's frames are looked at and decided upon.

use std::sync::Arc;
use std::time::Duration;

use metrics::{counter, histogram};
use tracing::{error, info, warn};

use super::{Kind, Metric};
use crate::delivery::OfferError;
use crate::detect::DetectError;
use crate::media::{Event, Frame, Mode};
use crate::render::Label;
use crate::status::CameraStatus;

const STAGE: &str = "detect";
const INFERRED: &str = "kvs_infer_frames_inferred_total";
const SKIPPED: &str = "kvs_infer_frames_skipped_total";
const FAILED: &str = "kvs_infer_looks_failed_total";
const REFUSED: &str = "kvs_infer_events_refused_total";
const LATENCY: &str = "kvs_infer_event_latency_seconds";

pub(super) const METRICS: &[Metric] = &[
    Metric {
        name: INFERRED,
        kind: Kind::Counter,
        labels: &["camera"],
        help: "Frames that the detectors looked at.",
    },
    Metric {
        name: SKIPPED,
        kind: Kind::Counter,
        labels: &["camera"],
        help: "Frames that needed no look: the motion gate found nothing new in them.",
    },
    Metric {
        name: FAILED,
        kind: Kind::Counter,
        labels: &["camera"],
        help: "Frames on which a detector failed.",
    },
    Metric {
        name: REFUSED,
        kind: Kind::Counter,
        labels: &["camera"],
        help: "Events that the outbox did not take in.",
    },
    Metric {
        name: LATENCY,
        kind: Kind::Histogram,
        labels: &["camera"],
        help: "From the arrival of the confirming frame's last byte until its event was taken in by the outbox.",
    },
];

/// Every detector looked at a frame.
pub(crate) struct Looked<'a> {
    pub(crate) camera: &'a CameraStatus,
    pub(crate) frame: Arc<Frame>,
    pub(crate) labels: Vec<Label>,
}

impl Looked<'_> {
    pub(crate) fn emit(self) {
        counter!(INFERRED, "camera" => self.camera.id().to_string()).increment(1);
        if self.camera.looked(self.frame, self.labels) {
            seen_again(self.camera);
        }
    }
}

/// The motion gate spared a frame its look.
pub(crate) struct FrameSkipped<'a> {
    pub(crate) camera: &'a CameraStatus,
}

impl FrameSkipped<'_> {
    pub(crate) fn emit(self) {
        counter!(SKIPPED, "camera" => self.camera.id().to_string()).increment(1);
        if self.camera.frame_skipped() {
            seen_again(self.camera);
        }
    }
}

/// Frames are seen again, after [`FrameRead`](super::source::FrameRead) reported that none was.
fn seen_again(camera: &CameraStatus) {
    info!(stage = STAGE, camera = %camera.id(), "frames are inferred again");
}

/// The detectors were asked about a frame; `error`: what one of them said instead of an answer.
pub(crate) struct LookResult<'a> {
    pub(crate) camera: &'a CameraStatus,
    pub(crate) error: Option<&'a DetectError>,
}

impl LookResult<'_> {
    /// Counts a failure; tells of it when it begins and when it ends.
    pub(crate) fn emit(self) {
        let was_blind = self.camera.is_blind(STAGE);
        if let Some(error) = self.error {
            counter!(FAILED, "camera" => self.camera.id().to_string()).increment(1);
            if !was_blind {
                error!(stage = STAGE, camera = %self.camera.id(), "{error}");
            }
            self.camera.blind(STAGE, Some(error.to_string()));
        } else if was_blind {
            info!(stage = STAGE, camera = %self.camera.id(), "sees again");
            self.camera.blind(STAGE, None);
        }
    }
}

/// A new event was taken in.
pub(crate) struct EventMade<'a> {
    pub(crate) camera: &'a CameraStatus,
    pub(crate) event: &'a Event,
    /// Since the last byte of the confirming frame was read.
    pub(crate) latency: Duration,
}

impl EventMade<'_> {
    pub(crate) fn emit(self) {
        histogram!(LATENCY, "camera" => self.camera.id().to_string()).record(self.latency.as_secs_f64());
        self.camera.event(self.event, self.latency);
    }
}

/// The outbox did not take an event in.
pub(crate) struct OfferFailed<'a> {
    pub(crate) camera: &'a CameraStatus,
    pub(crate) error: OfferError,
}

impl OfferFailed<'_> {
    pub(crate) fn emit(self) {
        error!(stage = "publish", camera = %self.camera.id(), "{}", self.error);
        counter!(REFUSED, "camera" => self.camera.id().to_string()).increment(1);
    }
}

/// A required sink is full, and a camera waits for it.
pub(crate) struct FellBehind<'a> {
    pub(crate) camera: &'a CameraStatus,
}

impl FellBehind<'_> {
    pub(crate) fn emit(self) {
        warn!(
            stage = "publish", camera = %self.camera.id(),
            "a required sink is full: reading waits for it, and nothing is dropped"
        );
        self.camera.set_mode(Mode::CatchUp);
    }
}

/// A camera reached the live edge.
pub(crate) struct CaughtUp<'a> {
    pub(crate) camera: &'a CameraStatus,
}

impl CaughtUp<'_> {
    pub(crate) fn emit(self) {
        info!(stage = "decide", camera = %self.camera.id(), "caught up: live from here on");
        self.camera.set_mode(Mode::Live);
    }
}
