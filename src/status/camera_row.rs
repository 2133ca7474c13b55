//! The figures of one camera, as `/api/cameras` serves them.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::lag::ExcessLag;
use super::load::CameraLoad;
use crate::media::Mode;

/// The state of a camera's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CameraState {
    /// A connection is being opened.
    Connecting,
    /// Footage arrives.
    Streaming,
    /// Connected, and the camera sends nothing.
    Waiting,
    /// The stream cannot be read, and is retried later.
    Down,
}

/// The number of frames that reached each stage, since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FrameCounts {
    /// Access units that were read.
    pub read: u64,
    /// Frames that the decoder returned.
    pub decoded: u64,
    /// Access units that were not decoded, because nothing needs their frames.
    pub undecoded: u64,
    /// Frames that the sampler picked.
    pub sampled: u64,
    /// Frames that every detector inferred.
    pub inferred: u64,
    /// Frames that needed no inference: the motion gate found no change in them.
    pub skipped: u64,
    /// Dropped frames, by reason.
    pub dropped: BTreeMap<&'static str, u64>,
}

/// The work of a camera since it is on the board, from which its cost follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CameraWork {
    /// The length of its complete fragments.
    pub footage: Duration,
    /// CPU time of its decode thread.
    pub decode_cpu: Duration,
    /// Frames that every detector inferred.
    pub inferred: u64,
    /// Sampled frames that a newer one replaced before inference.
    pub superseded: u64,
}

impl CameraWork {
    /// Returns the work since `before`; all of it if the camera was removed from the board and added again.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        if self.footage < before.footage || self.decode_cpu < before.decode_cpu {
            return *self;
        }
        Self {
            footage: self.footage - before.footage,
            decode_cpu: self.decode_cpu - before.decode_cpu,
            inferred: self.inferred.saturating_sub(before.inferred),
            superseded: self.superseded.saturating_sub(before.superseded),
        }
    }
}

/// The current figures of a camera.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CameraRow {
    /// The camera's id in the configuration.
    pub id: String,
    /// The name of its Kinesis video stream.
    pub stream: String,
    /// Live or catch-up.
    pub mode: Mode,
    /// `true` while only keyframes are decoded, because nothing moves.
    pub idle: bool,
    /// The device of the models that inferred its last frame: `cuda:1`, `cpu`; `None` before the first one.
    pub device: Option<String>,
    /// The decoder of its frames: `nvdec` or `cpu`; `None` before the first frame.
    pub decoder: Option<&'static str>,
    /// The reason why it is not NVDEC, where that was to be used.
    pub decoder_note: Option<String>,
    /// The state of its connection.
    pub state: CameraState,
    /// Time in that state, ms.
    pub state_for_ms: u64,
    /// The reason why it is not read or analyzed; `None` where it is.
    pub error: Option<String>,
    /// Time since that error began, ms.
    pub error_for_ms: Option<u64>,
    /// Time until the next attempt, ms.
    pub retry_in_ms: Option<u64>,
    /// The most recent error, also where it is over.
    pub last_error: Option<String>,
    /// Lag of the newest decoded footage behind the live edge, ms; `None` while it is unknown.
    pub behind_ms: Option<u64>,
    /// The lag of a live camera where it is large enough for a reason of `/healthz`.
    #[serde(skip)]
    pub(crate) excess_lag: Option<ExcessLag>,
    /// The shares of the last minute's footage that were dropped.
    #[serde(skip)]
    pub(crate) load: CameraLoad,
    /// Its work since it is on the board.
    #[serde(skip)]
    pub work: CameraWork,
    /// Inferences per second, over the last five seconds.
    pub fps: f64,
    /// Width of the decoded frame, px.
    pub width_px: Option<u32>,
    /// Height of the decoded frame, px.
    pub height_px: Option<u32>,
    /// Media time of the last inferred frame, ms since the epoch.
    pub last_frame_ts_ms: Option<i64>,
    /// Time since its inference, ms.
    pub last_frame_age_ms: Option<u64>,
    /// Time since an access unit was read, ms.
    pub last_read_age_ms: Option<u64>,
    /// The number of frames that reached each stage.
    pub frames: FrameCounts,
    /// Number of complete fragments.
    pub fragments: u64,
    /// Number of events.
    pub events: u64,
    /// Median latency of the latest events, ms: from the arrival of the confirming frame until the outbox accepted the event.
    pub latency_p50_ms: Option<f64>,
    /// 99th percentile of the same latency, ms.
    pub latency_p99_ms: Option<f64>,
    /// Number of connections after the first.
    pub reconnects: u64,
    /// Number of connections that delivered footage and were lost within the last 15 s, 100 at most.
    pub connections_lost: usize,
    /// The reason of the last lost connection.
    pub last_connection_loss: Option<String>,
    /// Footage that jumps to NOW skipped, ms.
    pub skipped_ms: u64,
}
