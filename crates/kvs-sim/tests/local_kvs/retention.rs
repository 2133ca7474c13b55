//! UpdateDataRetention.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kvs_sim::{Clock, KvsStream, Sim, SimConfig, StreamSettings};
use serde_json::{Value, json};

use crate::camera::{NOON_MS, append};
use crate::http::{assert_error, json as json_of, post};

fn start(folder: &Path, now_ms: i64) -> Sim {
    let data_dir = Some(folder.to_owned());
    Sim::start(SimConfig { clock: Clock::standing_at(now_ms), data_dir, ..SimConfig::default() })
        .expect("a free port")
}

fn stream(sim: &Sim, retention_hours: u32) -> Arc<KvsStream> {
    let settings = StreamSettings { retention_hours, ..StreamSettings::default() };
    sim.store().create("cam", settings).expect("the first of its name")
}

async fn update(sim: &Sim, version: &str, operation: &str, hours: i64) -> String {
    let request = json!({
        "StreamName": "cam",
        "CurrentVersion": version,
        "Operation": format!("{operation}_DATA_RETENTION"),
        "DataRetentionChangeInHours": hours,
    });
    post(sim, "/updateDataRetention", &request.to_string()).await
}

async fn listed(sim: &Sim) -> usize {
    let range = json!({ "StartTimestamp": 0, "EndTimestamp": 1e10 });
    let selector = json!({ "FragmentSelectorType": "SERVER_TIMESTAMP", "TimestampRange": range });
    let request = json!({ "StreamName": "cam", "FragmentSelector": selector }).to_string();
    json_of(&post(sim, "/listFragments", &request).await)["Fragments"].as_array().expect("a list").len()
}

fn files(folder: &Path) -> usize {
    std::fs::read_dir(folder.join("cam.stream")).expect("the stream's folder").count() - 1
}

#[tokio::test]
async fn footage_beyond_a_shorter_retention_is_removed_at_once() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let sim = start(folder.path(), NOON_MS);
    let stream = stream(&sim, 7);
    for _ in 0..5 {
        append(&stream, 0).await;
        stream.clock().advance(Duration::from_secs(3600));
    }
    assert_eq!((listed(&sim).await, files(folder.path())), (5, 5));
    let version = stream.identity().version.clone();
    assert_eq!(json_of(&update(&sim, &version, "DECREASE", 5).await), json!({}));
    assert_eq!((listed(&sim).await, files(folder.path())), (2, 2), "the fragments of the last two hours");
    let described = json_of(&post(&sim, "/describeStream", r#"{"StreamName":"cam"}"#).await);
    assert_eq!(described["StreamInfo"]["DataRetentionInHours"], 2);
    let newer = described["StreamInfo"]["Version"].as_str().expect("a version");
    assert_ne!(newer, version, "a change replaces the version");
    assert_error(&update(&sim, &version, "INCREASE", 1).await, 400, "VersionMismatchException");
    assert_eq!(json_of(&update(&sim, newer, "INCREASE", 98).await), json!({}));
    assert_eq!(listed(&sim).await, 2, "removed footage does not come back");
    sim.stop().await;
    let sim = start(folder.path(), NOON_MS + 99 * 3_600_000);
    let kept = sim.store().stream("cam").expect("it was kept");
    assert_eq!(kept.identity().settings.retention_hours, 100, "the change survives a restart");
    assert_eq!(listed(&sim).await, 2);
    sim.stop().await;
}

#[tokio::test]
async fn a_stream_without_retention_gets_an_archive_and_loses_it() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let sim = start(folder.path(), NOON_MS);
    let stream = stream(&sim, 0);
    append(&stream, 0).await;
    for (operation, expected) in [("INCREASE", 1), ("DECREASE", 0)] {
        let version = stream.identity().version.clone();
        assert_eq!(json_of(&update(&sim, &version, operation, 3).await), json!({}), "{operation}");
        assert_eq!(listed(&sim).await, expected, "{operation}");
    }
    sim.stop().await;
}

#[tokio::test]
async fn an_invalid_change_has_no_effect() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let sim = start(folder.path(), NOON_MS);
    let before = stream(&sim, 2).identity();
    let request = |field: &str, value: Value| {
        let mut request = json!({
            "StreamName": "cam", "CurrentVersion": before.version, "Operation": "DECREASE_DATA_RETENTION",
            "DataRetentionChangeInHours": 1,
        });
        request[field] = value;
        request
    };
    let invalid = (400, "InvalidArgumentException");
    for (request, (status, kind)) in [
        (request("DataRetentionChangeInHours", json!(3)), invalid),
        (request("DataRetentionChangeInHours", json!(0)), invalid),
        (request("DataRetentionChangeInHours", json!(-1)), invalid),
        (request("DataRetentionChangeInHours", json!(i64::MAX)), invalid),
        (request("DataRetentionChangeInHours", json!(null)), invalid),
        (request("Operation", json!("DELETE")), invalid),
        (request("CurrentVersion", json!(null)), invalid),
        (request("CurrentVersion", json!("abc")), (400, "VersionMismatchException")),
        (request("StreamName", json!("absent")), (404, "ResourceNotFoundException")),
    ] {
        let answer = post(&sim, "/updateDataRetention", &request.to_string()).await;
        assert!(answer.contains(kind), "{request}: {answer}");
        assert_error(&answer, status, kind);
    }
    assert_error(&update(&sim, &before.version, "INCREASE", 87_599).await, 400, "InvalidArgumentException");
    let after = sim.store().stream("cam").expect("it exists").identity();
    assert_eq!((&after.version, after.settings.retention_hours), (&before.version, 2));
    assert_eq!(json_of(&update(&sim, &before.version, "INCREASE", 87_598).await), json!({}));
    sim.stop().await;
}
