//! This host's clock jumps; its credentials are rotated.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use axum::routing::get;
use axum::{Json, Router};
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use kvs_sim::Faults;
use serde_json::{Value, json};
use test_support::fault_proxy::Seen;
use test_support::footage::{LOCAL, StoredFootage, camera, config, records_of};
use test_support::kvs_infer_command;
use test_support::program::Program;

use super::sinks::{Aws, PUBLISHERS, assert_delivered, delivered};
use super::table::{CLOCK, KEYS, Row};
use super::watch::{events, figure, metric, metrics, of_camera, reasons, until};

/// Debian's libfaketime; the loader knows what `$LIB` is here.
const FAKETIME: &str = "/usr/$LIB/faketime/libfaketimeMT.so.1";
const FILMS: u32 = 3;
/// At the start, and after each film: an hour ago, right, an hour ahead, in the words of libfaketime.
const JUMPS: [&str; 3] = ["-3600", "+0", "+3600"];
/// The number of keys to be seen while films are read.
const KEYS_SEEN: usize = 3;
const MANY_FILMS: u32 = 40;

/// The program, whose clock `file` sets; what it measures by the monotonic clock stays right.
fn under_faketime(file: &Path) -> Command {
    let mut command = kvs_infer_command!();
    command
        .env("LD_PRELOAD", FAKETIME)
        .env("FAKETIME_TIMESTAMP_FILE", file)
        .env("FAKETIME_NO_CACHE", "1")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    command
}

/// The program, which gets its credentials as a task with a role does.
fn with_role(url: &str) -> Command {
    let mut shell = Command::new("sh");
    let unset = "unset AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY; exec \"$0\" \"$@\"";
    shell.args(["-c", unset, env!("CARGO_BIN_EXE_kvs-infer")]);
    shell.env("AWS_CONTAINER_CREDENTIALS_FULL_URI", url);
    shell
}

fn set_clock(file: &Path, offset: &str) {
    let part = file.with_extension("part");
    std::fs::write(&part, format!("{offset}\n")).unwrap();
    std::fs::rename(part, file).unwrap();
}

fn moved(program: &Program, row: &Row) -> f64 {
    let (name, label) = row.metric.trim_end_matches('}').split_once('{').unwrap();
    metric(&metrics(program), name, &[label])
}

/// Waits until a camera has reported this many objects.
fn events_of(program: &Program, camera: &str, count: u64) {
    program.camera_when(camera, |row| row["events"].as_u64() >= Some(count));
}

/// By how much the last line of a log is dated later than its first.
fn span(log: &[String]) -> TimeDelta {
    let date = |line: &String| {
        let line: Value = serde_json::from_str(line).unwrap();
        DateTime::parse_from_rfc3339(line["timestamp"].as_str().unwrap()).unwrap()
    };
    date(log.last().unwrap()) - date(log.first().unwrap())
}

/// One camera by each interface; footage of the second comes while the clock is wrong.
async fn run(footage: &StoredFootage, jumps: bool) -> Vec<Value> {
    let dir = tempfile::tempdir().unwrap();
    let clock = dir.path().join("clock");
    set_clock(&clock, if jumps { JUMPS[0] } else { "+0" });
    let cameras = camera("front") + &camera("back").replace("{ start:", "{ mode: HLS, start:");
    let (config, kvs) = (config(LOCAL, &cameras), footage.sim.endpoint());
    let program = Program::start_in(under_faketime(&clock), dir, &config, &kvs, None);
    for (film, offset) in (1..FILMS).zip(&JUMPS[1..]) {
        for camera in ["front", "back"] {
            events_of(&program, camera, records_of(film));
        }
        if jumps {
            let before = moved(&program, &CLOCK);
            set_clock(&clock, offset);
            footage.store_films("back", film..film + 1).await;
            until("fragment after the jump", || (moved(&program, &CLOCK) > before).then_some(())).await;
            assert_eq!(reasons(&program), [CLOCK.reason; 0], "{offset}");
        }
    }
    for camera in ["front", "back"] {
        events_of(&program, camera, records_of(FILMS));
    }
    let ended = program.stop();
    assert!(ended.status.success(), "{:#?}", ended.log);
    assert_eq!(span(&ended.log) > TimeDelta::minutes(50), jumps, "{:#?}", ended.log);
    events(ended.dir.path())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumps_changes_no_event() {
    let footage = StoredFootage::made(SystemTime::now() - Duration::from_secs(1800), 4);
    footage.store("front", FILMS).await;
    footage.store("back", 1).await;
    let seen = run(&footage, true).await;
    let expected = run(&footage, false).await;
    for camera in ["front", "back"] {
        let expected = of_camera(&expected, camera);
        assert_eq!(expected.len() as u64, records_of(FILMS));
        assert_eq!(of_camera(&seen, camera), expected, "{camera}");
    }
    figure(
        "R11 clock: 1 of 1 faults changes nothing: from an hour back to an hour ahead, through GetMedia and HLS",
    );
    footage.sim.stop().await;
}

/// Gives other keys each time, which are used for a second: the SDK renews them 10 s before they expire.
async fn role() -> (String, tokio::task::JoinHandle<()>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/role", listener.local_addr().unwrap());
    let given = Arc::new(AtomicU64::new(0));
    let answer = move || async move {
        let key = format!("KEY{}", given.fetch_add(1, Ordering::Relaxed));
        let expires = DateTime::<Utc>::from(SystemTime::now() + Duration::from_secs(11));
        Json(json!({
            "AccessKeyId": key, "SecretAccessKey": "secret", "Token": "token",
            "Expiration": expires.to_rfc3339_opts(SecondsFormat::Secs, true),
        }))
    };
    let routes = Router::new().route("/role", get(answer));
    (url, tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() }))
}

fn keys(seen: &[Seen]) -> BTreeSet<&str> {
    seen.iter().map(|seen| seen.key.as_str()).filter(|key| key.starts_with("KEY")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn rotated_credentials_are_taken_up_and_cost_nothing() {
    let (url, server) = role().await;
    let footage = StoredFootage::new(4);
    footage.store("front", MANY_FILMS).await;
    footage.stream("front").set_faults("end=2f".parse::<Faults>().unwrap());
    let aws = Aws::start().await;
    let dir = tempfile::tempdir().unwrap();
    let config = config(PUBLISHERS, &camera("front"));
    let program =
        Program::start_in(with_role(&url), dir, &config, &footage.sim.endpoint(), Some(&aws.proxy.url));
    aws.proxy.until(|seen| keys(seen).len() >= KEYS_SEEN).await;
    until("delivery of an event", || (moved(&program, &KEYS) > 0.0).then_some(())).await;
    let others: Vec<_> =
        reasons(&program).into_iter().filter(|reason| !reason.contains("connection ended")).collect();
    assert_eq!(others, [KEYS.reason; 0]);
    let ended = program.stop();
    assert!(ended.status.success(), "{:#?}", ended.log);
    assert_delivered(&delivered(&aws).await, &events(ended.dir.path()), &["front"], false);
    let used = keys(&aws.proxy.seen()).len();
    figure(&format!("R11 keys: 1 of 1 faults costs nothing: {used} keys were used one after the other"));
    aws.proxy.stop().await;
    footage.sim.stop().await;
    server.abort();
}
