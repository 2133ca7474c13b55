//! What happens while a camera is read.

use std::time::Duration;

use metrics::counter;
use tracing::{debug, info, warn};

use super::{Kind, Metric};
use crate::base::LogLine;
use crate::status::{CameraStatus, UnitRead};

const SOURCE_BYTES: &str = "kvs_infer_source_bytes_total";
const SOURCE_CONNECTIONS: &str = "kvs_infer_source_connections_total";
const SOURCE_ENDINGS: &str = "kvs_infer_source_endings_total";
const SOURCE_GAPS: &str = "kvs_infer_source_gaps_total";
const SOURCE_SKIPPED_SECONDS: &str = "kvs_infer_source_skipped_seconds_total";
const DEMUX_FRAMES: &str = "kvs_infer_demux_frames_total";
const DEMUX_FRAGMENTS: &str = "kvs_infer_demux_fragments_total";

/// The metrics of source and demux.
pub(crate) const METRICS: &[Metric] = &[
    Metric {
        name: SOURCE_BYTES,
        kind: Kind::Counter,
        labels: &["camera"],
        help: "Bytes read from the stream, by GetMedia or HLS.",
    },
    Metric {
        name: SOURCE_CONNECTIONS,
        kind: Kind::Counter,
        labels: &["camera"],
        help: "Connections opened: of GetMedia, or sessions of HLS.",
    },
    Metric {
        name: SOURCE_ENDINGS,
        kind: Kind::Counter,
        labels: &["camera", "reason"],
        help: "Connections that ended or could not be opened, by reason.",
    },
    Metric {
        name: SOURCE_GAPS,
        kind: Kind::Counter,
        labels: &["camera"],
        help: "Gaps: fragments that were not kept long enough to be read.",
    },
    Metric {
        name: SOURCE_SKIPPED_SECONDS,
        kind: Kind::Counter,
        labels: &["camera"],
        help: "Footage passed over by jumps to NOW in live mode.",
    },
    Metric { name: DEMUX_FRAMES, kind: Kind::Counter, labels: &["camera"], help: "Video frames read." },
    Metric {
        name: DEMUX_FRAGMENTS,
        kind: Kind::Counter,
        labels: &["camera", "result"],
        help: "Fragments read: complete, incomplete, repeated, no_video or passed_over.",
    },
];

/// Bytes came.
pub(crate) struct BytesRead<'a> {
    /// The camera.
    pub(crate) camera: &'a CameraStatus,
    /// How many.
    pub(crate) bytes: usize,
}

impl BytesRead<'_> {
    /// Counts it.
    pub(crate) fn emit(self) {
        counter!(SOURCE_BYTES, "camera" => self.camera.id().to_string()).increment(self.bytes as u64);
    }
}

/// A connection was opened.
pub(crate) struct Connected<'a> {
    /// The camera.
    pub(crate) camera: &'a CameraStatus,
    /// Its stream.
    pub(crate) stream: &'a str,
    /// Where it starts.
    pub(crate) start: &'a str,
}

impl Connected<'_> {
    /// Logs and counts it.
    pub(crate) fn emit(self) {
        let Self { camera, stream, start } = &self;
        match camera.log_line("reading") {
            LogLine::Shown(left_out) => {
                info!(stage = "source", camera = %camera.id(), stream, start, left_out, "reading");
            }
            LogLine::LeftOut => debug!(stage = "source", camera = %camera.id(), stream, start, "reading"),
        }
        counter!(SOURCE_CONNECTIONS, "camera" => self.camera.id().to_string()).increment(1);
        self.camera.connected();
    }
}

/// A connection ended, or could not be opened.
pub(crate) struct Ended<'a> {
    /// The camera.
    pub(crate) camera: &'a CameraStatus,
    /// A short name of the reason.
    pub(crate) reason: &'static str,
    /// The whole of it.
    pub(crate) detail: &'a str,
    /// How long until the next one.
    pub(crate) retry_in: Duration,
    /// Whether it is part of a connection's normal life.
    pub(crate) expected: bool,
    /// Whether it had brought footage.
    pub(crate) brought: bool,
    /// Whether the end before it had the same reason.
    pub(crate) repeated: bool,
}

impl Ended<'_> {
    /// Counts it, and puts it on the board where footage came; logs it loudly when the reason is a new one.
    pub(crate) fn emit(self) {
        let (reason, camera) = (self.reason, self.camera.id());
        let retry_in_s = (self.retry_in.as_secs_f64() * 10.0).round() / 10.0;
        let line = if self.repeated { LogLine::LeftOut } else { self.camera.log_line(reason) };
        match (self.expected, line) {
            (_, LogLine::LeftOut) => debug!(stage = "source", %camera, reason, retry_in_s, "{}", self.detail),
            (true, LogLine::Shown(left_out)) => {
                info!(stage = "source", %camera, reason, retry_in_s, left_out, "{}", self.detail);
            }
            (false, LogLine::Shown(left_out)) => {
                warn!(stage = "source", %camera, reason, retry_in_s, left_out, "{}", self.detail);
            }
        }
        if self.brought {
            self.camera.lost(self.detail);
        }
        counter!(SOURCE_ENDINGS, "camera" => self.camera.id().to_string(), "reason" => self.reason)
            .increment(1);
    }
}

/// A video frame was read.
pub(crate) struct FrameRead<'a> {
    /// The camera.
    pub(crate) camera: &'a CameraStatus,
    /// When, and how far behind the live edge.
    pub(crate) unit: UnitRead,
}

impl FrameRead<'_> {
    /// Counts it; logs once when frames have been read for a while and none was seen.
    pub(crate) fn emit(self) {
        counter!(DEMUX_FRAMES, "camera" => self.camera.id().to_string()).increment(1);
        if let Some(reason) = self.camera.frame_read() {
            warn!(stage = "demux", camera = %self.camera.id(), "the camera is read and nothing is seen: {reason}");
        }
        self.camera.unit_read(self.unit);
    }
}

/// A fragment was read.
pub(crate) struct FragmentRead<'a> {
    /// The camera.
    pub(crate) camera: &'a CameraStatus,
    /// What became of it.
    pub(crate) result: FragmentResult,
    /// How far it was behind the live edge, ms.
    pub(crate) behind_ms: Option<u64>,
}

/// What became of a fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FragmentResult {
    /// Its trailing tags arrived.
    Complete,
    /// It ended without them.
    Incomplete,
    /// It had been read before.
    Repeated,
    /// It holds no video that can be decoded.
    NoVideo,
    /// It broke the reader three times.
    PassedOver,
}

impl FragmentResult {
    fn label(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Incomplete => "incomplete",
            Self::Repeated => "repeated",
            Self::NoVideo => "no_video",
            Self::PassedOver => "passed_over",
        }
    }
}

impl FragmentRead<'_> {
    /// Counts it; logs it unless it is whole.
    pub(crate) fn emit(self) {
        let camera = self.camera.id().to_string();
        let result = self.result.label();
        if self.result == FragmentResult::Complete {
            self.camera.fragment(self.behind_ms);
        } else {
            debug!(stage = "demux", camera = %self.camera.id(), result, "a fragment was not read as a whole");
        }
        counter!(DEMUX_FRAGMENTS, "camera" => camera, "result" => result).increment(1);
    }
}

/// Fragments are not kept any more, and were not read.
pub(crate) struct GapFound<'a> {
    /// The camera.
    pub(crate) camera: &'a CameraStatus,
    /// Which ones.
    pub(crate) what: &'a str,
}

impl GapFound<'_> {
    /// Logs and counts it.
    pub(crate) fn emit(self) {
        match self.camera.log_line("footage is missing") {
            LogLine::Shown(left_out) => {
                warn!(stage = "source", camera = %self.camera.id(), left_out, "footage is missing: {}", self.what);
            }
            LogLine::LeftOut => {
                debug!(stage = "source", camera = %self.camera.id(), "footage is missing: {}", self.what);
            }
        }
        counter!(SOURCE_GAPS, "camera" => self.camera.id().to_string()).increment(1);
    }
}

/// A producer's timestamps are out of the calendar, or are in it again: `None`.
pub(crate) struct TimeRefused<'a> {
    /// The camera.
    pub(crate) camera: &'a CameraStatus,
    /// The timestamp that it sent, ms since the epoch.
    pub(crate) refused_ms: Option<i64>,
}

impl TimeRefused<'_> {
    /// Logs it.
    pub(crate) fn emit(self) {
        let camera = self.camera.id();
        match self.refused_ms {
            Some(producer_ts_ms) => warn!(
                stage = "demux", %camera, producer_ts_ms,
                "the producer's timestamp is out of the years 1970 to 9999: the server's is used; set the producer's clock"
            ),
            None => info!(stage = "demux", %camera, "the producer's timestamps are used again"),
        }
    }
}

/// Footage was passed over to be live again.
pub(crate) struct JumpedToNow<'a> {
    /// The camera.
    pub(crate) camera: &'a CameraStatus,
    /// How much.
    pub(crate) skipped: Duration,
}

impl JumpedToNow<'_> {
    /// Logs and counts it.
    pub(crate) fn emit(self) {
        let skipped_s = self.skipped.as_secs();
        warn!(stage = "source", camera = %self.camera.id(), skipped_s, "too far behind: jumped to NOW");
        counter!(SOURCE_SKIPPED_SECONDS, "camera" => self.camera.id().to_string()).increment(skipped_s);
        self.camera.skipped(self.skipped);
    }
}
