//! HLS: the same events as through GetMedia, live too, over sessions that expire and cameras that pause.

use std::time::Duration;

use kvs_sim::{Play, Sim, SimConfig, StreamSettings};
use serde_json::Value;
use test_support::colours::{LABELS, camera, film, sim, store};
use test_support::kvs_infer_command;
use test_support::program::{Ended, Program};

fn config(playback: &str) -> String {
    let camera = camera("front").replace("{ start: EARLIEST }", playback);
    assert!(camera.contains(playback), "{camera}");
    format!("publishers:\n  local_dir: events\ndevice: cpu\ncameras:\n{camera}")
}

/// The events of the local sink; GetMedia has the server's time of a fragment and HLS does not.
fn events(ended: &Ended) -> Vec<Value> {
    assert!(ended.status.success(), "{:#?}", ended.log);
    let text = std::fs::read_to_string(ended.dir.path().join("events/events.jsonl")).unwrap();
    let event = |line: &str| {
        let mut event: Value = serde_json::from_str(line).unwrap();
        event["payload"]["extras"].as_object_mut().unwrap().remove("server_ts_ms");
        event
    };
    text.lines().map(event).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_stored_fragments_give_the_same_events_as_through_get_media() {
    let clips = tempfile::tempdir().unwrap();
    for b_frames in [0, 2] {
        let sim = sim();
        store(&sim, "front-stream", &film(clips.path(), b_frames)).await;
        let mut runs = Vec::new();
        for mode in ["GETMEDIA", "HLS"] {
            let config = config(&format!("{{ mode: {mode}, start: EARLIEST }}"));
            let program = Program::start(kvs_infer_command!(), &config, &sim.endpoint(), None);
            program.events_until(&LABELS.map(|label| ("front", label)));
            assert_eq!(program.camera("front")["mode"], "catch_up");
            runs.push(events(&program.stop()));
        }
        assert_eq!(runs[0].len(), 3, "{:#?}", runs[0]);
        assert_eq!(runs[0], runs[1], "{b_frames} B-frames");
        sim.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_camera_is_read_on_over_sessions_that_expire() {
    let clips = tempfile::tempdir().unwrap();
    let max_hls_session = Duration::from_secs(2);
    let sim = Sim::start(SimConfig { max_hls_session, ..SimConfig::default() }).unwrap();
    let path = film(clips.path(), 0);
    sim.play(Play { stream: "front-stream".to_owned(), path, looped: true }).await.unwrap();
    let program =
        Program::start(kvs_infer_command!(), &config("{ mode: HLS, start: NOW }"), &sim.endpoint(), None);
    let before = program.camera_when("front", |row| row["state"] == "streaming");
    program.events_until(&LABELS.map(|label| ("front", label)));
    let row = program.camera("front");
    let (_, metrics) = program.get("/metrics");
    let ended = program.stop();
    assert!(ended.status.success(), "{:#?}", ended.log);
    assert_eq!((row["mode"].as_str(), row["state"].as_str()), (Some("live"), Some("streaming")), "{row:#}");
    assert_eq!(
        row["reconnects"], before["reconnects"],
        "a new session is no new connection: {:#?}",
        ended.log
    );
    assert!(!metrics.contains("kvs_infer_source_gaps_total{camera=\"front\"}"), "no fragment is missing");
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stored_footage_is_caught_up_with_and_the_live_edge_follows_without_a_gap() {
    let clips = tempfile::tempdir().unwrap();
    let sim = sim();
    let path = film(clips.path(), 0);
    store(&sim, "front-stream", &path).await;
    sim.play(Play { stream: "front-stream".to_owned(), path, looped: true }).await.unwrap();
    let program = Program::start(
        kvs_infer_command!(),
        &config("{ mode: HLS, start: EARLIEST }"),
        &sim.endpoint(),
        None,
    );
    let row = program.camera_when("front", |row| row["mode"] == "live");
    assert_eq!(row["state"], "streaming", "{row:#}");
    let stream = sim.store().stream("front-stream").unwrap();
    let stored = stream.fragment_numbers().len() as u64;
    program.camera_when("front", |row| row["frames"]["read"].as_u64() >= Some(stored * 10 - 20));
    let (_, metrics) = program.get("/metrics");
    assert!(program.stop().status.success());
    assert!(!metrics.contains("kvs_infer_source_gaps_total{camera=\"front\"}"), "no fragment is missing");
    assert!(!metrics.contains("result=\"duplicate\""), "none comes twice");
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_without_footage_waits_and_is_read_when_the_camera_sends() {
    let clips = tempfile::tempdir().unwrap();
    let sim = sim();
    sim.store().stream_or_create("front-stream").unwrap();
    let program =
        Program::start(kvs_infer_command!(), &config("{ mode: HLS, start: NOW }"), &sim.endpoint(), None);
    program.camera_when("front", |row| row["state"] == "waiting");
    let path = film(clips.path(), 0);
    sim.play(Play { stream: "front-stream".to_owned(), path, looped: true }).await.unwrap();
    program.camera_when("front", |row| row["state"] == "streaming");
    assert!(program.stop().status.success());
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_are_refused_one_after_the_other_are_a_fault_that_is_shown() {
    let clips = tempfile::tempdir().unwrap();
    let sim = Sim::start(SimConfig { max_hls_session: Duration::ZERO, ..SimConfig::default() }).unwrap();
    store(&sim, "front-stream", &film(clips.path(), 0)).await;
    let program = Program::start(
        kvs_infer_command!(),
        &config("{ mode: HLS, start: EARLIEST }"),
        &sim.endpoint(),
        None,
    );
    let row = program.camera_when("front", |row| row["state"] == "down");
    assert!(row["error"].as_str().unwrap().contains("3 sessions in a row were refused"), "{row:#}");
    assert!(program.stop().status.success());
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_asks_for_a_session_and_for_retention() {
    let clips = tempfile::tempdir().unwrap();
    let sim = sim();
    store(&sim, "front-stream", &film(clips.path(), 0)).await;
    let kept = StreamSettings { retention_hours: 0, ..StreamSettings::default() };
    sim.store().create("back-stream", kept).unwrap();
    let cameras = ["front", "back"].map(|id| camera(id).replace("EARLIEST", "EARLIEST, mode: HLS")).concat();
    let folder = tempfile::tempdir().unwrap();
    let config =
        format!("publishers:\n  local_dir: events\nstate:\n  dir: state\ndevice: cpu\ncameras:\n{cameras}");
    std::fs::write(folder.path().join("cameras.yaml"), config).unwrap();
    let endpoint = sim.endpoint();
    let checked = tokio::task::spawn_blocking(move || {
        kvs_infer_command!()
            .args(["check", "--live", "--config", "cameras.yaml"])
            .current_dir(folder.path())
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ENDPOINT_URL", endpoint)
            .output()
            .unwrap()
    });
    let output = checked.await.unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let of = |name: &str| {
        said.lines().find(|line| line.contains(name)).unwrap_or_else(|| panic!("{name}: {said}"))
    };
    assert!(of("stream front-stream by HLS").starts_with("ok"), "{said}");
    assert!(!of("stream front-stream HLS").starts_with("FAIL"), "an hour old is not live: {said}");
    assert!(of("stream back-stream by HLS").starts_with("FAIL"), "{said}");
    assert!(of("stream back-stream by HLS").contains("retention"), "{said}");
    assert_eq!(output.status.code(), Some(69), "{said}");
    sim.stop().await;
}
