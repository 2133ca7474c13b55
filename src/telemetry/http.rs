//! What happens at the HTTP server, and what is read off the board when `/metrics` is asked for.

use std::net::{IpAddr, SocketAddr};

use metrics::{counter, gauge};

use super::publish::{SINK_LOST, SINK_OLDEST_SECONDS, SINK_QUEUED, SINK_QUEUED_BYTES};
use super::{Kind, Metric};
use crate::status::{CameraRow, SinkRow, StatusBoard};

const BUILD_INFO: &str = "kvs_infer_build_info";
const PROCESS_START_TIME_SECONDS: &str = "kvs_infer_process_start_time_seconds";
const UPTIME_SECONDS: &str = "kvs_infer_uptime_seconds";
const RESIDENT_MEMORY_BYTES: &str = "kvs_infer_resident_memory_bytes";
const MODEL_LOADING_SECONDS: &str = "kvs_infer_model_loading_seconds";
const MODEL_LOADS_LEFT_BEHIND: &str = "kvs_infer_model_loads_left_behind";
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
    gauge_of(BUILD_INFO, &["version"], "Always 1; the label tells the version."),
    gauge_of(PROCESS_START_TIME_SECONDS, &[], "When the service started, since the Unix epoch."),
    gauge_of(UPTIME_SECONDS, &[], "How long the service has run."),
    gauge_of(RESIDENT_MEMORY_BYTES, &[], "Memory of the process that is in RAM."),
    gauge_of(
        MODEL_LOADING_SECONDS,
        &[],
        "How long the model that has taken longest is being fetched or loaded; 0 while none is.",
    ),
    gauge_of(
        MODEL_LOADS_LEFT_BEHIND,
        &[],
        "Loads of models that were given up and whose threads run on until a restart.",
    ),
    gauge_of(
        CAMERA_UP,
        &["camera"],
        "0 where it cannot be read or seen, loses its connections, or has sent nothing for a minute; else 1.",
    ),
    gauge_of(
        CAMERA_BEHIND_SECONDS,
        &["camera"],
        "How far the newest decoded footage is behind the live edge; NaN while no footage comes.",
    ),
    gauge_of(
        CAMERA_LAST_FRAME_AGE_SECONDS,
        &["camera"],
        "How long ago a frame was looked at; NaN before the first.",
    ),
    gauge_of(SINK_UP, &["sink"], "1 where the sink takes what it is given, 0 where it fails."),
    counter_of(HTTP_SIGN_INS_REFUSED, &[], "Wrong tokens."),
    counter_of(
        HTTP_CONNECTIONS_REFUSED,
        &[],
        "Connections closed at once because as many as are allowed were being answered.",
    ),
    counter_of(HTTP_ACCEPT_ERRORS, &[], "Connections that could not be accepted."),
    counter_of(HTTP_PICTURE_ERRORS, &["camera"], "Live pictures that could not be encoded."),
];

const fn gauge_of(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: Kind::Gauge, labels, help }
}

const fn counter_of(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: Kind::Counter, labels, help }
}

/// The server listens.
pub(crate) struct Listening {
    pub(crate) addr: SocketAddr,
    /// Who may see the page.
    pub(crate) access: &'static str,
}

impl Listening {
    pub(crate) fn emit(self) {
        tracing::info!(stage = "http", addr = %self.addr, access = self.access, "HTTP listens");
    }
}

/// The token is so short that it could be found by trying.
pub(crate) struct ShortToken {
    pub(crate) characters: usize,
}

impl ShortToken {
    pub(crate) fn emit(self) {
        tracing::warn!(
            stage = "http",
            characters = self.characters,
            "HTTP_TOKEN is short: use 16 random characters or more, such as openssl rand -hex 16 prints"
        );
    }
}

/// A token was wrong.
pub(crate) struct SignInRefused;

impl SignInRefused {
    pub(crate) fn emit(self) {
        counter!(HTTP_SIGN_INS_REFUSED).increment(1);
    }
}

/// Wrong tokens since the last warning.
pub(crate) struct SignInsRefused {
    pub(crate) count: u64,
    /// The address that sent the last of them.
    pub(crate) peer: IpAddr,
}

impl SignInsRefused {
    pub(crate) fn emit(self) {
        tracing::warn!(stage = "http", count = self.count, peer = %self.peer, "wrong tokens were refused");
    }
}

/// A connection was closed at once, since there was no room for it.
pub(crate) struct ConnectionRefused;

impl ConnectionRefused {
    pub(crate) fn emit(self) {
        counter!(HTTP_CONNECTIONS_REFUSED).increment(1);
    }
}

/// Connections that were closed at once since the last warning.
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
            "connections were closed: too many are being answered"
        );
    }
}

/// The system gave no connection.
pub(crate) struct AcceptFailed;

impl AcceptFailed {
    pub(crate) fn emit(self) {
        counter!(HTTP_ACCEPT_ERRORS).increment(1);
    }
}

/// Connections that the system did not give since the last warning.
pub(crate) struct AcceptsFailed<'a> {
    pub(crate) count: u64,
    pub(crate) error: &'a std::io::Error,
}

impl AcceptsFailed<'_> {
    pub(crate) fn emit(self) {
        tracing::warn!(stage = "http", count = self.count, error = %self.error, "HTTP could not accept connections");
    }
}

/// A live picture could not be encoded.
pub(crate) struct EncodeFailed<'a> {
    pub(crate) camera: &'a str,
    pub(crate) error: &'a dyn std::fmt::Display,
}

impl EncodeFailed<'_> {
    pub(crate) fn emit(self) {
        counter!(HTTP_PICTURE_ERRORS, "camera" => self.camera.to_owned()).increment(1);
        tracing::warn!(stage = "http", camera = self.camera, error = %self.error, "a live picture could not be encoded");
    }
}

/// `/metrics` is asked for: the gauges take what the board says now.
pub(crate) struct Scrape<'a> {
    pub(crate) board: &'a StatusBoard,
}

impl Scrape<'_> {
    pub(crate) fn emit(self) {
        about_process(self.board);
        self.board.snapshot().iter().for_each(about_camera);
        self.board.sinks().iter().for_each(about_sink);
    }
}

#[expect(clippy::cast_precision_loss, reason = "bytes of memory fit f64 up to 8 PiB")]
fn about_process(board: &StatusBoard) {
    gauge!(MODEL_LOADING_SECONDS).set(board.loading_for().as_secs_f64());
    gauge!(MODEL_LOADS_LEFT_BEHIND).set(board.loads_left_behind() as f64);
    gauge!(BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    gauge!(PROCESS_START_TIME_SECONDS).set(board.started_epoch().as_secs_f64());
    gauge!(UPTIME_SECONDS).set(board.uptime().as_secs_f64());
    if let Some(bytes) = resident_bytes() {
        gauge!(RESIDENT_MEMORY_BYTES).set(bytes as f64);
    }
}

fn about_camera(row: &CameraRow) {
    let camera = || row.id.clone();
    gauge!(CAMERA_UP, "camera" => camera()).set(f64::from(u8::from(row.is_well())));
    gauge!(CAMERA_BEHIND_SECONDS, "camera" => camera()).set(seconds(row.behind_ms));
    gauge!(CAMERA_LAST_FRAME_AGE_SECONDS, "camera" => camera()).set(seconds(row.last_frame_age_ms));
}

/// Nobody knows any more how a camera fares that was taken out.
pub(super) fn forget_camera(id: &str) {
    let camera = || id.to_owned();
    gauge!(CAMERA_UP, "camera" => camera()).set(f64::NAN);
    gauge!(CAMERA_BEHIND_SECONDS, "camera" => camera()).set(f64::NAN);
    gauge!(CAMERA_LAST_FRAME_AGE_SECONDS, "camera" => camera()).set(f64::NAN);
}

/// A gauge keeps its last value for ever: what nobody knows any more is not a number.
#[expect(clippy::cast_precision_loss, reason = "retention is at most ten years of ms")]
fn seconds(ms: Option<u64>) -> f64 {
    ms.map_or(f64::NAN, |ms| ms as f64 / 1000.0)
}

#[expect(clippy::cast_precision_loss, reason = "queues are bounded")]
fn about_sink(row: &SinkRow) {
    gauge!(SINK_UP, "sink" => row.name.clone()).set(f64::from(u8::from(row.ok)));
    gauge!(SINK_QUEUED, "sink" => row.name.clone()).set(row.queued as f64);
    gauge!(SINK_QUEUED_BYTES, "sink" => row.name.clone()).set(row.queued_bytes as f64);
    gauge!(SINK_OLDEST_SECONDS, "sink" => row.name.clone()).set(row.oldest_ms.unwrap_or(0) as f64 / 1000.0);
    gauge!(SINK_LOST, "sink" => row.name.clone()).set(row.failed as f64);
}

fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
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
        board.set_sinks(|| vec![SinkRow { name: "kds".into(), ok: true, queued: 3, ..SinkRow::default() }]);
        assert!(board.add_load_thread("street").give_up());
        let text = rendered(|| Scrape { board: &board }.emit());
        for line in [
            concat!("kvs_infer_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
            "kvs_infer_model_loads_left_behind 1",
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
            about_camera(&silent);
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
