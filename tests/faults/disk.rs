//! The disk of the outbox fills up; the folder of the local sink breaks.

use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use test_support::footage::{StoredFootage, camera, config, records_of};
use test_support::program::Program;

use super::table::{FOLDER, OUTBOX, Row};
use super::watch::{events, figure, metric, metrics, reason_of, reasons, sink, until};

const FILMS: u32 = 6;
const EVENTS: u64 = records_of(FILMS);
/// The maximum time from the begin of a fault to its reason in `/healthz`.
const SHOWS_WITHIN: Duration = Duration::from_secs(5);
const CONFIG: &str = "publishers: { local_dir: events }\n";

/// The program, which takes a file that may grow no more for an error and does not die of it.
fn program() -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_kvs-infer")]);
    shell.arg0("sh");
    shell
}

/// Lets no file be written beyond so many bytes, as on a disk that is full.
fn limit_files(program: &Program, bytes: &str) {
    let limits = Command::new("prlimit")
        .args([format!("--pid={}", program.pid()), format!("--fsize={bytes}:unlimited")])
        .status();
    assert!(limits.unwrap().success(), "prlimit (util-linux) is needed");
}

/// The metric of the row; a gauge of what is up falls, a counter rises.
fn metric_of(program: &Program, row: &Row) -> f64 {
    let (name, label) = row.metric.trim_end_matches('}').split_once('{').unwrap();
    metric(&metrics(program), name, &[label])
}

fn is_up(program: &Program, sink: &str) -> bool {
    metric(&metrics(program), "kvs_infer_sink_up", &[&format!("sink=\"{sink}\"")]) > 0.5
}

async fn shows(program: &Program, row: &Row, name: &str) -> f64 {
    let subject = format!("sink {name}");
    let (_, took) = until(&format!("reason of {subject}"), || {
        let reasons = reasons(program);
        reason_of(&reasons, &subject).is_some_and(|shown| shown.contains(row.reason)).then_some(())
    })
    .await;
    assert!(took <= SHOWS_WITHIN, "{subject}: {took:?}");
    assert!(!is_up(program, name), "{name}");
    let is_gauge = row.metric.starts_with("kvs_infer_sink_up");
    assert_eq!(metric_of(program, row) > 0.0, !is_gauge, "{}", row.metric);
    took.as_secs_f64()
}

async fn goes(program: &Program, name: &str) -> f64 {
    let (_, took) = until("end of the reasons", || reasons(program).is_empty().then_some(())).await;
    assert!(is_up(program, name), "{name}");
    took.as_secs_f64()
}

async fn run(footage: &StoredFootage, breaks: bool) -> Vec<serde_json::Value> {
    let dir = tempfile::tempdir().unwrap();
    let snapshots = dir.path().join("events/snapshots");
    let aside = dir.path().join("aside");
    let program =
        Program::start_in(program(), dir, &config(CONFIG, &camera("front")), &footage.sim.endpoint(), None);
    program.camera_when("front", |row| row["events"].as_u64() >= Some(2));
    if breaks {
        limit_files(&program, "0");
        let full = shows(&program, &OUTBOX, "outbox").await;
        limit_files(&program, "unlimited");
        let room = goes(&program, "outbox").await;
        std::fs::rename(&snapshots, &aside).unwrap();
        std::fs::write(&snapshots, "no folder").unwrap();
        let broken = shows(&program, &FOLDER, "local").await;
        std::fs::remove_file(&snapshots).unwrap();
        std::fs::rename(&aside, &snapshots).unwrap();
        let recovered = goes(&program, "local").await;
        figure(&format!(
            "R11 disk: 2 of 2 faults show and go away; state.dir full shows after {full:.1} s and goes after {room:.1} s, \
             local_dir broken after {broken:.1} s and {recovered:.1} s"
        ));
    }
    program.camera_when("front", |row| row["events"].as_u64() == Some(EVENTS));
    until("delivery of all events", || (sink(&program, "local")["queued"] == 0).then_some(())).await;
    let ended = program.stop();
    assert!(ended.status.success(), "{:#?}", ended.log);
    events(ended.dir.path())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fails_shows_and_costs_no_event() {
    let footage = StoredFootage::new(4);
    footage.store("front", FILMS).await;
    let seen = run(&footage, true).await;
    let expected = run(&footage, false).await;
    assert_eq!(seen.len() as u64, EVENTS);
    assert_eq!(seen, expected);
    footage.sim.stop().await;
}
