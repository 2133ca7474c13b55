//! A model that never loads: at the start, and for a configuration that is to be taken over.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use test_support::colours::model;
use test_support::footage::{LOCAL, StoredFootage, camera, camera_with, records_of};
use test_support::http;
use test_support::kvs_infer_command;
use test_support::program::{Program, configure_run};

use super::table::{NEVER_LOADS, RELOAD_HANGS, Row};
use super::watch::{events, figure, is_full, metric, metrics, reason_of, reasons, until, until_within};

/// The least that a start may be given, s.
const LIMIT_S: u64 = 10;
/// The longest time after its limit until a fault shows.
const SHOWS_WITHIN: Duration = Duration::from_secs(10);
/// The longest time that a process which loads a model takes to end.
const ENDS_WITHIN: Duration = Duration::from_secs(20);

fn endless_model(folder: &Path) -> PathBuf {
    let endless = folder.join("endless.onnx");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults/endless_model.py");
    let python = std::env::var_os("KVS_INFER_PYTHON").unwrap_or_else(|| "python3".into());
    let made = Command::new(python).arg(script).arg(model()).arg(&endless).status();
    assert!(made.unwrap().success(), "onnx for Python is needed: run scripts/setup test");
    endless
}

fn config(cameras: &str) -> String {
    format!(
        "{LOCAL}service: {{ reconnect_delay_seconds: 1, model_load_seconds: {LIMIT_S} }}\ndevice: cpu\ncameras:\n{cameras}"
    )
}

/// A program that may never be ready; killed when dropped.
struct Starting {
    child: Child,
    http: SocketAddr,
    _dir: TempDir,
}

impl Starting {
    /// Starts it, and waits until HTTP answers.
    fn begin(config: &str, kvs: &str) -> Self {
        let (mut command, dir) = (kvs_infer_command!(), TempDir::new().unwrap());
        configure_run(&mut command, dir.path(), config, kvs, None);
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let http = lines.find_map(|line| {
            let line: Value = serde_json::from_str(&line.unwrap()).unwrap();
            (line["message"] == "HTTP server listening")
                .then(|| line["addr"].as_str().unwrap().parse().unwrap())
        });
        // Few lines follow, which the pipe holds.
        std::mem::forget(lines);
        Self { child, http: http.unwrap(), _dir: dir }
    }

    fn get(&self, path: &str) -> (u16, String) {
        let request = format!("GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n", self.http);
        let (status, _, body) = http::answer(http::send(self.http, &request));
        (status, String::from_utf8(body).unwrap())
    }

    /// SIGTERM, and how it ended, after how long.
    fn stop(mut self) -> (ExitStatus, Duration) {
        let asked = Instant::now();
        let sent = Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        assert!(sent.success());
        (self.child.wait().unwrap(), asked.elapsed())
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        // It fails where the process has ended.
        let _killed = self.child.kill();
        self.child.wait().unwrap();
    }
}

fn has_moved(program: &Program, row: &Row) -> bool {
    metric(&metrics(program), row.metric, &[]) > 0.0
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_never_loads_fails_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let footage = StoredFootage::new(4);
    let endless = camera_with("front", &endless_model(folder.path()), "EARLIEST", "");
    let program = Starting::begin(&config(&endless), &footage.sim.endpoint());
    assert_eq!(program.get("/healthz").0, 200, "it is being loaded, and may be in time");
    let (_, took) = until("503", || (program.get("/healthz").0 == 503).then_some(())).await;
    let least = Duration::from_secs(LIMIT_S - 1);
    assert!(took >= least && took <= least + SHOWS_WITHIN, "{took:?}");
    let health: Value = serde_json::from_str(&program.get("/healthz").1).unwrap();
    let reason = health["reasons"][0].as_str().unwrap();
    assert!(health["status"] == "failed" && reason.contains(NEVER_LOADS.reason), "{health:#}");
    assert!(reason.starts_with("model endless.onnx "), "{reason}");
    assert_eq!(program.get("/readyz").0, 503);
    assert!(metric(&program.get("/metrics").1, NEVER_LOADS.metric, &[]) > 0.0);
    let (status, ended) = program.stop();
    assert!(status.success() && ended <= ENDS_WITHIN, "{status:?} after {ended:?}");

    footage.store("front", 1).await;
    let program =
        Program::start(kvs_infer_command!(), &config(&camera("front")), &footage.sim.endpoint(), None);
    program.camera_when("front", |row| row["events"].as_u64() == Some(records_of(1)));
    assert_eq!(reasons(&program), [""; 0]);
    assert!(program.stop().status.success());
    figure(&format!(
        "R11 start: 1 of 1 faults shows and goes away; it shows after {:.1} s",
        took.as_secs_f64()
    ));
    footage.sim.stop().await;
}

/// A newer configuration takes the place of one that hangs, and what runs loses nothing by either. Only at full length: that a hanging
/// one shows after a minute.
#[tokio::test(flavor = "multi_thread")]
async fn a_reload_that_hangs_shows_and_gives_way_to_a_newer_one() {
    let folder = tempfile::tempdir().unwrap();
    let footage = StoredFootage::new(4);
    footage.store("front", 1).await;
    footage.store("back", 1).await;
    let program =
        Program::start(kvs_infer_command!(), &config(&camera("front")), &footage.sim.endpoint(), None);
    let endless = camera_with("endless", &endless_model(folder.path()), "EARLIEST", "");
    program.rewrite(&config(&(camera("front") + &endless)));
    until("load", || has_moved(&program, &RELOAD_HANGS).then_some(())).await;
    let mut showed = None;
    if is_full() {
        let patience = Duration::from_secs(60) + SHOWS_WITHIN;
        let (_, took) = until_within(patience, "reason of the reload", || {
            let reasons = reasons(&program);
            reason_of(&reasons, "a newer configuration")
                .is_some_and(|shown| shown.contains(RELOAD_HANGS.reason))
                .then_some(())
        })
        .await;
        showed = Some(took);
    }
    program.rewrite(&config(&(camera("front") + &camera("back"))));
    program.metric_when("kvs_infer_config_reloads_total", 1);
    for camera in ["front", "back"] {
        program.camera_when(camera, |row| row["events"].as_u64() == Some(records_of(1)));
    }
    let left = reasons(&program);
    assert!(left.len() == 1 && left[0].contains("its thread `load-endless.onnx` still runs"), "{left:?}");

    // One is left behind already: another that hangs is not given up for a newer one, and that is not passed over in silence.
    program.rewrite(&config(&(camera("front") + &endless)));
    until("reload", || program.get("/readyz").1.contains("endless").then_some(())).await;
    program.rewrite(&config(&camera("back")));
    program.metric_when("kvs_infer_config_reload_failures_total", 1);
    let shown = reasons(&program);
    assert!(shown.iter().any(|reason| reason.contains("does not end: restart kvs-infer")), "{shown:?}");
    let ended = program.stop();
    assert!(ended.status.success() && ended.took <= ENDS_WITHIN, "{:?} {:#?}", ended.status, ended.log);
    let said = |text: &str| ended.log.iter().any(|line| line.contains(text));
    assert!(said("reload replaced by a newer configuration"), "{:#?}", ended.log);
    assert_eq!(events(ended.dir.path()).len() as u64, 2 * records_of(1));
    if let Some(showed) = showed {
        figure(&format!(
            "R11 reload: 1 of 1 faults shows and goes away; it shows after {:.1} s",
            showed.as_secs_f64()
        ));
    }
    footage.sim.stop().await;
}
