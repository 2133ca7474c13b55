//! Events of source and demux.

use std::time::Duration;

use metrics::counter;
use tracing::{debug, info, warn};

use super::{Metric, MetricKind};
use crate::base::LogLine;
use crate::status::{CameraStatus, UnitRead};

const SOURCE_BYTES: &str = "kvs_infer_source_bytes_total";
const SOURCE_CONNECTIONS: &str = "kvs_infer_source_connections_total";
const SOURCE_DISCONNECTS: &str = "kvs_infer_source_disconnects_total";
const SOURCE_GAPS: &str = "kvs_infer_source_gaps_total";
const SOURCE_SKIPPED_SECONDS: &str = "kvs_infer_source_skipped_seconds_total";
const DEMUX_FRAMES: &str = "kvs_infer_demux_frames_total";
const DEMUX_FRAGMENTS: &str = "kvs_infer_demux_fragments_total";

/// The metrics of source and demux.
pub(crate) const METRICS: &[Metric] = &[
    Metric {
        name: SOURCE_BYTES,
        kind: MetricKind::Counter,
        labels: &["camera"],
        help: "Bytes read from the stream, by GetMedia or HLS.",
    },
    Metric {
        name: SOURCE_CONNECTIONS,
        kind: MetricKind::Counter,
        labels: &["camera"],
        help: "Connections opened: GetMedia calls, or HLS sessions.",
    },
    Metric {
        name: SOURCE_DISCONNECTS,
        kind: MetricKind::Counter,
        labels: &["camera", "reason"],
        help: "Connections that ended or could not be opened, by reason.",
    },
    Metric {
        name: SOURCE_GAPS,
        kind: MetricKind::Counter,
        labels: &["camera"],
        help: "Gaps: fragments that expired before they were read.",
    },
    Metric {
        name: SOURCE_SKIPPED_SECONDS,
        kind: MetricKind::Counter,
        labels: &["camera"],
        help: "Footage skipped by jumps to NOW in live mode.",
    },
    Metric { name: DEMUX_FRAMES, kind: MetricKind::Counter, labels: &["camera"], help: "Access units read." },
    Metric {
        name: DEMUX_FRAGMENTS,
        kind: MetricKind::Counter,
        labels: &["camera", "result"],
        help: "Fragments read: complete, incomplete, duplicate, no_video or skipped.",
    },
];

/// Bytes arrived from the stream.
pub(crate) struct BytesRead<'a> {
    pub(crate) camera: &'a CameraStatus,
    pub(crate) bytes: usize,
}

impl BytesRead<'_> {
    /// Counts the bytes.
    pub(crate) fn emit(self) {
        counter!(SOURCE_BYTES, "camera" => self.camera.id().to_string()).increment(self.bytes as u64);
    }
}

/// A connection to the stream was opened.
pub(crate) struct ConnectionOpened<'a> {
    pub(crate) camera: &'a CameraStatus,
    pub(crate) stream: &'a str,
    /// The position at which it starts.
    pub(crate) start: &'a str,
}

impl ConnectionOpened<'_> {
    /// Logs and counts the connection.
    pub(crate) fn emit(self) {
        let Self { camera, stream, start } = &self;
        match camera.log_line("connected") {
            LogLine::Shown(suppressed) => {
                info!(stage = "source", camera = %camera.id(), stream, start, suppressed, "connected");
            }
            LogLine::Suppressed => {
                debug!(stage = "source", camera = %camera.id(), stream, start, "connected");
            }
        }
        counter!(SOURCE_CONNECTIONS, "camera" => self.camera.id().to_string()).increment(1);
        // Only the count: the state changes with the first footage, since a connection may stay empty.
        self.camera.connected();
    }
}

/// A connection ended, or could not be opened.
pub(crate) struct ConnectionEnded<'a> {
    pub(crate) camera: &'a CameraStatus,
    /// The reason as a label: one of few.
    pub(crate) reason: &'static str,
    /// The reason as a sentence.
    pub(crate) detail: &'a str,
    /// The delay before the next attempt.
    pub(crate) retry_in: Duration,
    /// `true` where connections end like this as a rule, such as at the end of an HLS session.
    pub(crate) expected: bool,
    /// `true` where the connection had delivered footage.
    pub(crate) brought_footage: bool,
    /// `true` where the connection before it ended for the same reason.
    pub(crate) repeated: bool,
}

impl ConnectionEnded<'_> {
    /// Counts the end, records it on the status board where footage had come, and logs only a reason that differs from the one before:
    /// a stream that is down is retried for hours.
    pub(crate) fn emit(self) {
        let (reason, camera) = (self.reason, self.camera.id());
        // Jitter gives delays of many digits: a tenth of a second is enough for a log line.
        let retry_in_s = (self.retry_in.as_secs_f64() * 10.0).round() / 10.0;
        let line = if self.repeated { LogLine::Suppressed } else { self.camera.log_line(reason) };
        match (self.expected, line) {
            (_, LogLine::Suppressed) => {
                debug!(stage = "source", %camera, reason, retry_in_s, "disconnected: {}", self.detail);
            }
            (true, LogLine::Shown(suppressed)) => {
                info!(stage = "source", %camera, reason, retry_in_s, suppressed, "disconnected: {}", self.detail);
            }
            (false, LogLine::Shown(suppressed)) => {
                warn!(stage = "source", %camera, reason, retry_in_s, suppressed, "disconnected: {}", self.detail);
            }
        }
        // An end without footage counts as an outage instead, which `camera.down` reports.
        if self.brought_footage {
            self.camera.connection_lost(self.detail);
        }
        counter!(SOURCE_DISCONNECTS, "camera" => self.camera.id().to_string(), "reason" => self.reason)
            .increment(1);
    }
}

/// An access unit was read.
pub(crate) struct FrameRead<'a> {
    pub(crate) camera: &'a CameraStatus,
    /// Its arrival time and its lag behind the live edge.
    pub(crate) unit: UnitRead,
}

impl FrameRead<'_> {
    /// Counts the access unit; logs once when frames have been read for some time and none was inferred.
    pub(crate) fn emit(self) {
        counter!(DEMUX_FRAMES, "camera" => self.camera.id().to_string()).increment(1);
        // The order matters: the counts that the board compares are those before this access unit.
        if let Some(reason) = self.camera.frame_read() {
            warn!(stage = "demux", camera = %self.camera.id(), "footage is read but no frame is inferred: {reason}");
        }
        self.camera.unit_read(self.unit);
    }
}

/// A fragment was read.
pub(crate) struct FragmentRead<'a> {
    pub(crate) camera: &'a CameraStatus,
    pub(crate) result: FragmentResult,
    /// Its lag behind the live edge, ms.
    pub(crate) behind_ms: Option<u64>,
}

/// The outcome of a fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FragmentResult {
    /// Its trailing AWS tags arrived.
    Complete,
    /// It ended without them.
    Incomplete,
    /// It had been read before.
    Duplicate,
    /// It has no video that can be decoded.
    NoVideo,
    /// The demuxer failed on it three times, and reading resumes after it.
    Skipped,
}

impl FragmentResult {
    fn label(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Incomplete => "incomplete",
            Self::Duplicate => "duplicate",
            Self::NoVideo => "no_video",
            Self::Skipped => "skipped",
        }
    }
}

impl FragmentRead<'_> {
    /// Counts the fragment; logs it unless it is complete.
    pub(crate) fn emit(self) {
        let camera = self.camera.id().to_string();
        let result = self.result.label();
        // Only a complete fragment moves the checkpoint, so only that one dates the camera's lag.
        if self.result == FragmentResult::Complete {
            self.camera.fragment(self.behind_ms);
        } else {
            debug!(stage = "demux", camera = %self.camera.id(), result, "fragment not complete");
        }
        counter!(DEMUX_FRAGMENTS, "camera" => camera, "result" => result).increment(1);
    }
}

/// Fragments expired before they were read.
pub(crate) struct GapFound<'a> {
    pub(crate) camera: &'a CameraStatus,
    /// The description of the missing footage.
    pub(crate) what: &'a str,
}

impl GapFound<'_> {
    /// Logs and counts the gap.
    pub(crate) fn emit(self) {
        match self.camera.log_line("footage is missing") {
            LogLine::Shown(suppressed) => {
                warn!(stage = "source", camera = %self.camera.id(), suppressed, "footage is missing: {}", self.what);
            }
            LogLine::Suppressed => {
                debug!(stage = "source", camera = %self.camera.id(), "footage is missing: {}", self.what);
            }
        }
        counter!(SOURCE_GAPS, "camera" => self.camera.id().to_string()).increment(1);
    }
}

/// A producer's timestamps left the years 1970 to 9999, or are valid again.
pub(crate) struct TimestampRejected<'a> {
    pub(crate) camera: &'a CameraStatus,
    /// The rejected timestamp, ms since the epoch; `None` where they are valid again.
    pub(crate) refused_ms: Option<i64>,
}

impl TimestampRejected<'_> {
    /// Logs the change.
    pub(crate) fn emit(self) {
        let camera = self.camera.id();
        match self.refused_ms {
            // Logged at the change only: a producer with a wrong clock sends such a timestamp with each frame.
            Some(producer_ts_ms) => warn!(
                stage = "demux", %camera, producer_ts_ms,
                "producer timestamp outside the years 1970 to 9999: the server's is used; set the producer's clock"
            ),
            None => info!(stage = "demux", %camera, "producer timestamps are used again"),
        }
    }
}

/// Footage was skipped to return to the live edge.
pub(crate) struct JumpedToNow<'a> {
    pub(crate) camera: &'a CameraStatus,
    /// The media time between the last frame and NOW.
    pub(crate) skipped: Duration,
}

impl JumpedToNow<'_> {
    /// Logs and counts the skipped footage.
    pub(crate) fn emit(self) {
        let skipped_s = self.skipped.as_secs();
        warn!(stage = "source", camera = %self.camera.id(), skipped_s, "too far behind: jumped to NOW");
        // Whole seconds: Prometheus counters of this exporter are integers.
        counter!(SOURCE_SKIPPED_SECONDS, "camera" => self.camera.id().to_string()).increment(skipped_s);
        self.camera.skipped(self.skipped);
    }
}
