//! The views Incidents and Incident in a real browser, over the files of a local sink.
//!
//! `PAGE_SCREENSHOTS=folder` saves what the browser shows.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use kvs_infer::delivery::Clients;
use kvs_infer::history::{HistorySpec, IncidentHistory};
use kvs_infer::http::{HttpServer, HttpSpec};
use kvs_infer::media::{ActivityCounts, CameraId, Event, Phase};
use kvs_infer::render::Label;
use kvs_infer::sinks::PublishSpec;
use kvs_infer::status::StatusBoard;
use tempfile::TempDir;
use test_support::moto;
use tokio::runtime::Runtime;

use super::page::{run_checks, url};
use super::server::TOKEN;
use super::show;

/// A text that is markup: of a label, a camera, a zone and a plate.
const HOSTILE: &str = r#"<img src=x onerror="window.hostile=1" id=injected>"#;
/// Number of incidents: more than two pages of the list.
const INCIDENTS: i64 = 110;
/// Time from the start of one incident to that of the next, ms: they are of three days.
const APART_MS: i64 = 30 * 60_000;

/// The folder of a local sink, and a server of its history.
struct PageOfHistory {
    folder: TempDir,
    board: StatusBoard,
    server: HttpServer,
    /// The runtime of the calls of AWS.
    _runtime: Runtime,
}

impl PageOfHistory {
    fn start(host: &str, token: Option<&str>) -> Self {
        let (folder, runtime, board) =
            (tempfile::tempdir().unwrap(), Runtime::new().unwrap(), StatusBoard::new());
        for id in ["gate", "street"] {
            board.add_camera(&CameraId::new(id), &format!("{id}-stream")).streaming();
        }
        board.ready();
        (0..INCIDENTS).for_each(|number| add_incident(folder.path(), number));
        let history = IncidentHistory::new(HistorySpec {
            publish: &PublishSpec { local_dir: Some(folder.path().to_owned()), ..PublishSpec::default() },
            is_shared: false,
            cameras: vec!["gate".to_owned(), "street".to_owned()],
            clients: &Clients::new(&moto::config("http://127.0.0.1:1"), true),
            runtime: runtime.handle().clone(),
        });
        let server = HttpServer::start(HttpSpec { history, ..show::spec(host, token, &board) }).unwrap();
        Self { folder, board, server, _runtime: runtime }
    }
}

/// Adds the records of an incident, the newest of which is of now, and its pictures.
fn add_incident(folder: &Path, number: i64) {
    let start_ms = show::now_ms() - (INCIDENTS - number) * APART_MS;
    let phases = match number % 3 {
        0 => vec![(Phase::Start, 0), (Phase::Update, 6_000), (Phase::End, 15_000)],
        1 => vec![(Phase::Start, 0), (Phase::End, 4_000)],
        _ => vec![(Phase::Start, 0)],
    };
    let mut snapshot = None;
    for (at, (phase, after_ms)) in phases.into_iter().enumerate() {
        let mut event = record(number, at, phase);
        event.payload.ts_ms = start_ms + after_ms;
        event.payload.extras.duration_ms = (phase != Phase::Start).then_some(after_ms);
        if phase != Phase::End && number % 11 != 5 && event.camera_id != HOSTILE {
            snapshot = Some(save_snapshot(folder, &event));
        }
        event.payload.extras.snapshot.clone_from(&snapshot);
        append(folder, &event);
    }
}

/// Returns a record of an incident: labels, zones, texts and cameras take turns, some of them hostile.
fn record(number: i64, at: usize, phase: Phase) -> Event {
    let incident = format!("{number:08x}{:024x}", 7);
    let camera = match number % 9 {
        0 => HOSTILE,
        n if n % 2 == 0 => "gate",
        _ => "street",
    };
    let id = if at == 0 { incident.clone() } else { format!("{number:08x}{at:024x}") };
    let mut event = show::event(&CameraId::new(camera), &id, "person");
    event.seq = u64::try_from(number).unwrap() * 3 + u64::try_from(at).unwrap() + 1;
    let payload = &mut event.payload;
    payload.extras.incident_id = incident;
    payload.extras.phase = phase;
    payload.extras.zones = match number % 4 {
        _ if phase == Phase::End => vec![],
        0 => vec!["drive".into()],
        1 => vec!["door".into(), HOSTILE.into()],
        _ => vec![],
    };
    match number % 7 {
        1 => payload.label = "car".into(),
        2 => {
            (payload.kind, payload.label) = ("alpr".into(), "plate".into());
            let text = if number % 2 == 0 { "B-AX 4711" } else { HOSTILE };
            (payload.extras.text, payload.extras.ocr_conf) = (Some(text.into()), Some(0.93));
        }
        3 => payload.label = HOSTILE.into(),
        4 => {
            payload.label = "activity".into();
            let by_label = [("car".to_owned(), 2), (HOSTILE.to_owned(), 1)].into();
            payload.extras.activity = Some(ActivityCounts { incidents: 3, by_label, peak: 2 });
        }
        _ => {}
    }
    event
}

/// Saves the picture of a record, and returns its address in the folder.
fn save_snapshot(folder: &Path, event: &Event) -> String {
    let camera = CameraId::new(&event.camera_id);
    let n = u32::try_from(event.seq).unwrap();
    let labels = [Label::of(&event.payload.label, event.payload.conf, show::bbox(n))];
    let jpeg = show::encode()(&show::frame(&camera, n), &labels, None).unwrap();
    let address = format!("snapshots/{}/{}.jpg", event.camera_id, event.event_id);
    let path = folder.join(&address);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, jpeg).unwrap();
    address
}

fn append(folder: &Path, event: &Event) {
    let mut file = OpenOptions::new().create(true).append(true).open(folder.join("events.jsonl")).unwrap();
    writeln!(file, "{}", serde_json::to_string(event).unwrap()).unwrap();
}

#[test]
fn incidents_are_found_and_opened_and_hostile_texts_are_no_markup() {
    let page = PageOfHistory::start("127.0.0.1", None);
    run_checks("incidents.py", &["--url", &url(&page.server), "--hostile"]);
}

#[test]
fn new_incidents_are_announced_and_do_not_move_the_list() {
    let page = PageOfHistory::start("127.0.0.1", None);
    let (board, folder) = (page.board.clone(), page.folder.path().to_owned());
    let (stop, stopped) = channel::<()>();
    let adding = std::thread::spawn(move || {
        let mut number = INCIDENTS;
        while stopped.recv_timeout(Duration::from_millis(700)) == Err(RecvTimeoutError::Timeout) {
            number += 1;
            let mut event = record(number, 0, Phase::Start);
            event.camera_id = "gate".into();
            event.payload.camera_id = "gate".into();
            append(&folder, &event);
            board.camera("gate").unwrap().event(&event, Duration::ZERO);
        }
    });
    run_checks("incidents.py", &["--url", &url(&page.server), "--arriving"]);
    drop(stop);
    adding.join().unwrap();
}

#[test]
fn off_loopback_the_address_of_an_incident_asks_for_the_token_and_returns_to_it() {
    let page = PageOfHistory::start("0.0.0.0", Some(TOKEN));
    run_checks("incidents.py", &["--url", &url(&page.server), "--token", TOKEN]);
}
