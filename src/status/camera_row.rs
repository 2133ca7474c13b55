//! The row of a camera on the board.

use std::collections::BTreeMap;

use serde::Serialize;

use super::lag::Concern;
use super::load::CameraLoad;
use crate::media::Mode;

/// What a camera's reader does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It asks for a connection.
    Connecting,
    /// Footage comes.
    Streaming,
    /// It is connected, and the camera sends nothing.
    Waiting,
    /// It cannot read, and tries again later.
    Down,
}

/// Frames by how far they came. Each number is the total since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FrameCounts {
    /// Access units that were read.
    pub read: u64,
    /// Pictures that came out of the decoder.
    pub decoded: u64,
    /// Pictures that the sampler picked.
    pub sampled: u64,
    /// Pictures that every detector looked at.
    pub inferred: u64,
    /// Pictures that needed no look: the motion gate found nothing new in them.
    pub skipped: u64,
    /// Pictures that were left out, by reason.
    pub dropped: BTreeMap<&'static str, u64>,
}

/// A camera as it stands.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CameraRow {
    /// Its id in the configuration.
    pub id: String,
    /// Its Kinesis video stream.
    pub stream: String,
    /// How it is read.
    pub mode: Mode,
    /// What its reader does.
    pub state: State,
    /// For how long, ms.
    pub state_for_ms: u64,
    /// What keeps it from being read; `None` when all is well.
    pub error: Option<String>,
    /// For how long, ms.
    pub error_for_ms: Option<u64>,
    /// When it is tried again, ms from now.
    pub retry_in_ms: Option<u64>,
    /// The last error, past ones too.
    pub last_error: Option<String>,
    /// How far the newest decoded footage is behind the live edge, ms; `None` while nobody knows.
    pub behind_ms: Option<u64>,
    /// How far a live camera is behind, where that is worth a reason.
    #[serde(skip)]
    pub(crate) concern: Option<Concern>,
    /// How much of its footage was dropped in the last minute.
    #[serde(skip)]
    pub(crate) load: CameraLoad,
    /// Looks a second, over the last five seconds.
    pub fps: f64,
    /// Width of the decoded frame, px.
    pub width_px: Option<u32>,
    /// Height of the decoded frame, px.
    pub height_px: Option<u32>,
    /// Media time of the newest frame that was looked at, ms since the epoch.
    pub last_frame_ts_ms: Option<i64>,
    /// How long ago it was looked at, ms.
    pub last_frame_age_ms: Option<u64>,
    /// How long ago an access unit was read, ms.
    pub last_read_age_ms: Option<u64>,
    /// Frames by how far they came.
    pub frames: FrameCounts,
    /// Complete fragments.
    pub fragments: u64,
    /// Events.
    pub events: u64,
    /// From the arrival of the confirming frame until its event was taken in: median of the latest events, ms.
    pub latency_p50_ms: Option<f64>,
    /// The same, 99th percentile, ms.
    pub latency_p99_ms: Option<f64>,
    /// Connections after the first.
    pub reconnects: u64,
    /// Connections that brought footage and were lost within the last 15 s, 100 at most.
    pub losses: usize,
    /// Why the last of them was lost.
    pub last_loss: Option<String>,
    /// Footage that was jumped over, ms.
    pub skipped_ms: u64,
}
