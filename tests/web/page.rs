//! The page in a real browser: a picture changes, an event arrives, and off loopback the token is required.
//!
//! `PAGE_SCREENSHOTS=folder` saves what the browser shows.

use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::show;
use kvs_infer::http::{HttpServer, ReadPool};
use kvs_infer::media::{ActivityCounts, CameraId, Extras, Mode, Phase};
use kvs_infer::render::{Label, color_of};
use kvs_infer::sharing::{PoolCameraState, PoolCameraView, PoolView, PoolWorkerState, PoolWorkerView};
use kvs_infer::status::{ModelRow, SinkState, SinkStatus, StatusBoard};

const TOKEN: &str = "correct horse battery staple";

/// Cameras that live until it is dropped.
struct Footage {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Footage {
    fn start(board: &StatusBoard) -> Self {
        let board = board.clone();
        let (stop, stopped) = channel();
        let thread = std::thread::spawn(move || {
            let tick = Duration::from_millis(100);
            let mut n = 0;
            while stopped.recv_timeout(tick) == Err(RecvTimeoutError::Timeout) {
                n += 1;
                ["street", "gate"].iter().for_each(|id| one_frame(&board, id, n));
            }
        });
        Self { stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Footage {
    fn drop(&mut self) {
        drop(self.stop.take());
        self.thread.take().unwrap().join().unwrap();
    }
}

fn one_frame(board: &StatusBoard, id: &str, n: u32) {
    let (camera, id) = (board.camera(id).unwrap(), CameraId::new(id));
    let label = Label::of("person", 0.87, show::bbox(n));
    camera.frame_read();
    camera.frame_decoded();
    camera.frame_sampled();
    camera.frame_inferred(show::frame(&id, n), vec![label]);
    if n.is_multiple_of(10) {
        camera.fragment(Some(420));
        let label = ["person", "car", "bicycle", "traffic light"][(n / 10) as usize % 4];
        camera.event(&show::event(&id, &format!("{id}-{n}"), label), Duration::ZERO);
    }
}

fn board() -> StatusBoard {
    let board = StatusBoard::new();
    let add = |id: &str| board.add_camera(&CameraId::new(id), &format!("{id}-stream"));
    add("street").streaming();
    add("gate").streaming();
    add("gate").frames_dropped("superseded", 4);
    add("yard").down(
        "stream yard-stream does not exist: create it, or correct kvs_stream_name",
        Some(Duration::from_secs(600)),
    );
    add("dock").waiting();
    add("roof").set_mode(Mode::CatchUp);
    let since = Instant::now();
    board.set_sinks(move || {
        vec![
            SinkStatus { name: "local".into(), required: true, delivered: 1_204, ..SinkStatus::default() },
            SinkStatus {
                name: "kds".into(),
                required: true,
                state: SinkState::Failing {
                    reason: "access denied: the role lacks kinesis:PutRecords".into(),
                    since,
                },
                queued: 14,
                failed: 3,
                delivered: 1_190,
                ..SinkStatus::default()
            },
        ]
    });
    board.set_models(vec![ModelRow {
        name: "street.onnx".into(),
        layout: "nms".into(),
        device: "cpu".into(),
        engine: "OpenVINO int8".into(),
        nodes: Some("cpu 7 of 7 nodes".to_owned()),
        engine_note: None,
        input_px: (640, 640),
        classes: 80,
        warm_up_ms: 48,
        degraded: None,
        fell_back: false,
    }]);
    board.ready();
    board
}

/// Runs a script of `tests/browser`, and fails with its output where it fails.
pub(crate) fn run_checks(script: &str, arguments: &[&str]) {
    let mut command = Command::new("python3");
    command.arg(format!("{}/tests/browser/{script}", env!("CARGO_MANIFEST_DIR"))).args(arguments);
    if let Some(folder) = std::env::var_os("PAGE_SCREENSHOTS") {
        command.arg("--screenshots").arg(folder);
    }
    let seen = command.output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&seen.stdout), String::from_utf8_lossy(&seen.stderr));
    assert!(seen.status.success(), "{said}");
}

pub(super) fn url(server: &HttpServer) -> String {
    format!("http://127.0.0.1:{}", server.local_addr().port())
}

#[test]
fn a_picture_changes_and_an_event_arrives() {
    let board = board();
    let server = show::serve("127.0.0.1", None, &board, show::encode());
    let _footage = Footage::start(&board);
    let [red, green, blue] = color_of("car");
    let car = format!("rgb({red}, {green}, {blue})");
    let id = CameraId::new("gate");
    let mut activity = show::event(&id, "activity-1", "activity");
    let by_label = [("car".to_owned(), 2), ("person".to_owned(), 5)].into();
    activity.payload.extras = Extras {
        phase: Phase::End,
        duration_ms: Some(75_000),
        activity: Some(ActivityCounts { incidents: 7, by_label, peak: 3 }),
        ..activity.payload.extras
    };
    // A time that is no date does not keep the page from showing it.
    activity.payload.ts_ms = 9_000_000_000_000_000;
    board.camera("gate").unwrap().event(&activity, Duration::ZERO);
    let counted = "2 car, 5 person · 3 at once · over after 75 s";
    run_checks(
        "page.py",
        &["--url", &url(&server), "--stripe", "car", &car, "--explained", "--activity", counted],
    );
}

/// A pool with a camera of this worker and some of others. Its ids are markup.
fn pool() -> PoolView {
    let worker = |id: &str, leads| PoolWorkerView {
        id: id.to_owned(),
        zone: "us-east-1a".to_owned(),
        state: PoolWorkerState::Ready,
        leads,
        cameras: 2,
        load_percent: Some(if leads { 45 } else { 130 }),
        overloaded: !leads,
        generation: if leads { 2 } else { 1 },
        beat_ms: Some(1_700_000_000_000),
    };
    let camera = |id: &str, worker: Option<&str>, state, why: Option<&str>| PoolCameraView {
        id: id.to_owned(),
        worker: worker.map(str::to_owned),
        state,
        next_worker: None,
        epoch: 3,
        since_ms: worker.map(|_| show::now_ms() - 7_500_000),
        cost: None,
        strikes: 0,
        why: why.map(str::to_owned),
    };
    PoolView {
        pool: "north".to_owned(),
        leader: Some("host-a".to_owned()),
        term: 1,
        generation: 2,
        workers: vec![worker("host-a", true), worker("<b id=injected>host-b</b>", false)],
        cameras: vec![
            camera("gate", Some("host-a"), PoolCameraState::Running, None),
            camera(
                "<img src=x id=injected>",
                Some("<b id=injected>host-b</b>"),
                PoolCameraState::Running,
                None,
            ),
            camera("attic", None, PoolCameraState::Free, Some("no worker has room")),
        ],
    }
}

#[test]
fn the_workers_of_a_pool_and_the_cameras_of_all_of_them_are_listed() {
    let board = board();
    board.set_worker("host-a");
    let shown = board.clone();
    let read: ReadPool = Arc::new(move || {
        // Another worker takes the camera over while the page is open, which does not read the pool in its first view.
        shown.remove_camera(&CameraId::new("dock"));
        Box::pin(async { Ok(pool()) })
    });
    let server = show::serve_pool("127.0.0.1", None, &board, show::encode(), Some(read));
    let _footage = Footage::start(&board);
    run_checks("page.py", &["--url", &url(&server), "--pool"]);
}

#[test]
fn off_loopback_the_token_opens_the_page_and_nothing_else_does() {
    let board = board();
    let closed = show::serve("0.0.0.0", None, &board, show::encode());
    let guarded = show::serve("0.0.0.0", Some(TOKEN), &board, show::encode());
    let _footage = Footage::start(&board);
    run_checks("page.py", &["--refused", &url(&closed)]);
    run_checks("page.py", &["--refused", &url(&guarded), "--url", &url(&guarded), "--token", TOKEN]);
}
