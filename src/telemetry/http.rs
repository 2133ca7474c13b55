//! Events of the HTTP server, and the gauges that a scrape of `/metrics` sets from the status board.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use metrics::{counter, gauge};

use super::publish::{SINK_LOST, SINK_OLDEST_SECONDS, SINK_QUEUED, SINK_QUEUED_BYTES};
use super::{Metric, MetricKind};
use crate::status::{CameraRow, SinkState, SinkStatus, StatusBoard};

const BUILD_INFO: &str = "kvs_infer_build_info";
const PROCESS_START_TIME_SECONDS: &str = "kvs_infer_process_start_time_seconds";
const UPTIME_SECONDS: &str = "kvs_infer_uptime_seconds";
const RESIDENT_MEMORY_BYTES: &str = "kvs_infer_resident_memory_bytes";
const MODEL_LOADING_SECONDS: &str = "kvs_infer_model_loading_seconds";
const MODEL_LOADS_ABANDONED: &str = "kvs_infer_model_loads_abandoned";
const CAMERA_UP: &str = "kvs_infer_camera_up";
const CAMERA_BEHIND_SECONDS: &str = "kvs_infer_camera_behind_seconds";
const CAMERA_LAST_FRAME_AGE_SECONDS: &str = "kvs_infer_camera_last_frame_age_seconds";
const SINK_UP: &str = "kvs_infer_sink_up";
const HTTP_SIGN_INS_REFUSED: &str = "kvs_infer_http_sign_ins_refused_total";
const HTTP_CONNECTIONS_REFUSED: &str = "kvs_infer_http_connections_refused_total";
const HTTP_ACCEPT_ERRORS: &str = "kvs_infer_http_accept_errors_total";
const HTTP_PICTURE_ERRORS: &str = "kvs_infer_http_picture_errors_total";

/// The metrics of this file.
pub(crate) const METRICS: &[Metric] = &[
    gauge_of(BUILD_INFO, &["version"], "Always 1; the label has the version."),
    gauge_of(PROCESS_START_TIME_SECONDS, &[], "Start time of the service, since the Unix epoch."),
    gauge_of(UPTIME_SECONDS, &[], "Time since the service started."),
    gauge_of(RESIDENT_MEMORY_BYTES, &[], "Resident memory of the process (RSS)."),
    gauge_of(
        MODEL_LOADING_SECONDS,
        &[],
        "Time that the slowest fetch or load of a model has taken so far; 0 while none is under way.",
    ),
    gauge_of(
        MODEL_LOADS_ABANDONED,
        &[],
        "Abandoned model loads whose threads still run; only a restart ends them.",
    ),
    gauge_of(
        CAMERA_UP,
        &["camera"],
        "0 where the camera cannot be read or decoded, keeps losing its connections, or has sent nothing for a minute; else 1.",
    ),
    gauge_of(
        CAMERA_BEHIND_SECONDS,
        &["camera"],
        "Lag of the newest decoded footage behind the live edge; NaN while no footage comes.",
    ),
    gauge_of(
        CAMERA_LAST_FRAME_AGE_SECONDS,
        &["camera"],
        "Time since the last inference of a frame; NaN before the first.",
    ),
    gauge_of(SINK_UP, &["sink"], "1 where the last delivery to the sink succeeded, 0 where it failed."),
    counter_of(HTTP_SIGN_INS_REFUSED, &[], "Requests with a wrong token."),
    counter_of(
        HTTP_CONNECTIONS_REFUSED,
        &[],
        "Connections closed at once because the maximum number was being served.",
    ),
    counter_of(HTTP_ACCEPT_ERRORS, &[], "Failed calls of accept(), as a rule for want of file descriptors."),
    counter_of(HTTP_PICTURE_ERRORS, &["camera"], "Live pictures that could not be encoded."),
];

const fn gauge_of(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: MetricKind::Gauge, labels, help }
}

const fn counter_of(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: MetricKind::Counter, labels, help }
}

/// The HTTP server listens.
pub(crate) struct Listening {
    pub(crate) addr: SocketAddr,
    /// A description of the clients that may see the page.
    pub(crate) access: &'static str,
}

impl Listening {
    pub(crate) fn emit(self) {
        tracing::info!(stage = "http", addr = %self.addr, access = self.access, "HTTP server listening");
    }
}

/// The token is so short that it can be guessed.
pub(crate) struct ShortToken {
    pub(crate) characters: usize,
}

impl ShortToken {
    pub(crate) fn emit(self) {
        tracing::warn!(
            stage = "http",
            characters = self.characters,
            "HTTP_TOKEN is too short: use 16 random characters or more, such as openssl rand -hex 16 prints"
        );
    }
}

/// The index of the local history cannot be used, and is built again from the files of events.
pub(crate) struct HistoryIndexRebuilt<'a> {
    pub(crate) folder: &'a Path,
    pub(crate) reason: &'a str,
}

impl HistoryIndexRebuilt<'_> {
    pub(crate) fn emit(self) {
        tracing::warn!(
            stage = "http",
            folder = %self.folder.display(),
            reason = self.reason,
            "history index unusable: it is built again"
        );
    }
}

/// A request had a wrong token.
pub(crate) struct SignInRefused;

impl SignInRefused {
    pub(crate) fn emit(self) {
        counter!(HTTP_SIGN_INS_REFUSED).increment(1);
    }
}

/// Requests had wrong tokens since the last warning.
pub(crate) struct SignInsRefused {
    pub(crate) count: u64,
    /// The address that sent the last of them.
    pub(crate) peer: IpAddr,
}

impl SignInsRefused {
    pub(crate) fn emit(self) {
        tracing::warn!(stage = "http", count = self.count, peer = %self.peer, "requests with wrong tokens refused");
    }
}

/// A connection was closed at once because the maximum number was being served.
pub(crate) struct ConnectionRefused;

impl ConnectionRefused {
    pub(crate) fn emit(self) {
        counter!(HTTP_CONNECTIONS_REFUSED).increment(1);
    }
}

/// Connections were closed at once since the last warning.
pub(crate) struct ConnectionsRefused {
    pub(crate) count: u64,
    /// The address of the last of them.
    pub(crate) peer: IpAddr,
}

impl ConnectionsRefused {
    pub(crate) fn emit(self) {
        tracing::warn!(
            stage = "http",
            count = self.count,
            peer = %self.peer,
            "connections refused: the maximum number is being served"
        );
    }
}

/// A call of `accept` failed.
pub(crate) struct AcceptFailed;

impl AcceptFailed {
    pub(crate) fn emit(self) {
        counter!(HTTP_ACCEPT_ERRORS).increment(1);
    }
}

/// Calls of `accept` failed since the last warning.
pub(crate) struct AcceptsFailed<'a> {
    pub(crate) count: u64,
    pub(crate) error: &'a std::io::Error,
}

impl AcceptsFailed<'_> {
    pub(crate) fn emit(self) {
        tracing::warn!(stage = "http", count = self.count, error = %self.error, "HTTP accept failed");
    }
}

/// A live picture could not be encoded.
pub(crate) struct EncodeFailed<'a> {
    pub(crate) camera: &'a str,
    pub(crate) error: &'a dyn std::fmt::Display,
}

impl EncodeFailed<'_> {
    pub(crate) fn emit(self) {
        // Not an event of the camera: its frames are inferred all the same.
        counter!(HTTP_PICTURE_ERRORS, "camera" => self.camera.to_owned()).increment(1);
        tracing::warn!(stage = "http", camera = self.camera, error = %self.error, "live picture not encoded");
    }
}

/// `/metrics` was requested: the gauges take the current values of the status board.
pub(crate) struct Scrape<'a> {
    pub(crate) board: &'a StatusBoard,
}

impl Scrape<'_> {
    pub(crate) fn emit(self) {
        set_process_gauges(self.board);
        self.board.snapshot().iter().for_each(set_camera_gauges);
        self.board.sinks().iter().for_each(set_sink_gauges);
    }
}

#[expect(clippy::cast_precision_loss, reason = "bytes of memory fit f64 up to 8 PiB")]
fn set_process_gauges(board: &StatusBoard) {
    gauge!(MODEL_LOADING_SECONDS).set(board.loading_for().as_secs_f64());
    gauge!(MODEL_LOADS_ABANDONED).set(board.abandoned_loads() as f64);
    gauge!(BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    gauge!(PROCESS_START_TIME_SECONDS).set(board.started_epoch().as_secs_f64());
    gauge!(UPTIME_SECONDS).set(board.uptime().as_secs_f64());
    if let Some(bytes) = resident_bytes() {
        // Without a value the gauge keeps the previous one, or stays absent.
        gauge!(RESIDENT_MEMORY_BYTES).set(bytes as f64);
    }
}

fn set_camera_gauges(row: &CameraRow) {
    let camera = || row.id.clone();
    gauge!(CAMERA_UP, "camera" => camera()).set(f64::from(u8::from(row.is_well())));
    gauge!(CAMERA_BEHIND_SECONDS, "camera" => camera()).set(seconds(row.behind_ms));
    gauge!(CAMERA_LAST_FRAME_AGE_SECONDS, "camera" => camera()).set(seconds(row.last_frame_age_ms));
}

/// Sets the gauges of a removed camera to NaN.
pub(super) fn forget_camera(id: &str) {
    // The recorder keeps a time series for as long as the process runs; a graph shows nothing for NaN.
    let camera = || id.to_owned();
    gauge!(CAMERA_UP, "camera" => camera()).set(f64::NAN);
    gauge!(CAMERA_BEHIND_SECONDS, "camera" => camera()).set(f64::NAN);
    gauge!(CAMERA_LAST_FRAME_AGE_SECONDS, "camera" => camera()).set(f64::NAN);
}

/// Returns the time in seconds, or NaN: a gauge would keep the last known value for ever.
#[expect(clippy::cast_precision_loss, reason = "retention is at most ten years of ms")]
fn seconds(ms: Option<u64>) -> f64 {
    ms.map_or(f64::NAN, |ms| ms as f64 / 1000.0)
}

#[expect(clippy::cast_precision_loss, reason = "queues are bounded")]
fn set_sink_gauges(row: &SinkStatus) {
    gauge!(SINK_UP, "sink" => row.name.clone()).set(f64::from(u8::from(row.state == SinkState::Ok)));
    gauge!(SINK_QUEUED, "sink" => row.name.clone()).set(row.queued as f64);
    gauge!(SINK_QUEUED_BYTES, "sink" => row.name.clone()).set(row.queued_bytes as f64);
    gauge!(SINK_OLDEST_SECONDS, "sink" => row.name.clone())
        .set(row.oldest_age().unwrap_or_default().as_secs_f64());
    gauge!(SINK_LOST, "sink" => row.name.clone()).set(row.failed as f64);
}

/// Returns the resident memory of this process; `None` where the system has no `/proc`.
fn resident_bytes() -> Option<u64> {
    // Not `/proc/self/statm`: its unit is the page, whose size differs between machines.
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    // The line is `VmRSS:     1234 kB`, where the kernel means KiB (proc_pid_status(5)).
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::CameraId;
    use crate::telemetry::metrics::testing::rendered;

    #[test]
    fn a_scrape_shows_the_process_the_cameras_and_the_sinks() {
        let board = StatusBoard::new();
        board.add_camera(&CameraId::new("gate"), "gate-stream").fragment(Some(1_500));
        board.add_camera(&CameraId::new("yard"), "yard-stream").down("no such stream", None);
        board.set_sinks(|| vec![SinkStatus { name: "kds".into(), queued: 3, ..SinkStatus::default() }]);
        assert!(board.add_load_thread("load", "street").abandon());
        let text = rendered(|| Scrape { board: &board }.emit());
        for line in [
            concat!("kvs_infer_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
            "kvs_infer_model_loads_abandoned 1",
            "kvs_infer_camera_up{camera=\"gate\"} 1",
            "kvs_infer_camera_up{camera=\"yard\"} 0",
            "kvs_infer_camera_behind_seconds{camera=\"gate\"} 1.5",
            "kvs_infer_sink_up{sink=\"kds\"} 1",
            "kvs_infer_sink_queued{sink=\"kds\"} 3",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn a_camera_that_fell_silent_is_neither_up_nor_live() {
        let board = StatusBoard::new();
        let gate = board.add_camera(&CameraId::new("gate"), "gate-stream");
        gate.streaming();
        gate.fragment(Some(1_500));
        let text = rendered(|| {
            Scrape { board: &board }.emit();
            gate.waiting();
            let silent = CameraRow { state_for_ms: 61_000, ..gate.row() };
            set_camera_gauges(&silent);
        });
        for line in [
            "kvs_infer_camera_up{camera=\"gate\"} 0",
            "kvs_infer_camera_behind_seconds{camera=\"gate\"} NaN",
            "kvs_infer_camera_last_frame_age_seconds{camera=\"gate\"} NaN",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn resident_memory_is_plausible() {
        let bytes = resident_bytes().unwrap();
        assert!((1 << 20..1 << 40).contains(&bytes), "{bytes}");
    }
}
