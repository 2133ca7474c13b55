//! A dead, a hostile and a good camera side by side: the good one loses nothing, and each is reported as it is.

use test_support::colours::{FRAMES, LABELS, camera, film, sim, store};
use test_support::kvs_infer_command;
use test_support::program::Program;

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_and_a_hostile_stream_cost_a_good_one_no_frame() {
    let clips = tempfile::tempdir().unwrap();
    let sim = sim();
    store(&sim, "good-stream", &film(clips.path(), 2)).await;
    let hostile = sim.store().stream_or_create("hostile-stream").unwrap();
    hostile.append_raw_document(b"\x1a\x45\xdf\xa3\xff this is no Matroska".repeat(1000)).unwrap();
    let cameras = ["hostile", "missing", "good"].map(camera).concat();
    let config = format!("publishers:\n  local_dir: events\ndevice: cpu\ncameras:\n{cameras}");

    let program = Program::start(kvs_infer_command!(), &config, &sim.endpoint(), None);
    program.events_until(&LABELS.map(|label| ("good", label)));
    let good = program.camera_after("good", FRAMES);
    assert_eq!(good["frames"]["dropped"], serde_json::json!({}), "{good:#}");
    assert_eq!(good["frames"]["read"], FRAMES, "{good:#}");
    assert_eq!(good["error"], serde_json::Value::Null, "{good:#}");

    let missing = program.camera("missing");
    assert_eq!(missing["state"], "down", "{missing:#}");
    let said = missing["error"].as_str().unwrap();
    assert!(said.contains("missing-stream") && said.contains("does not exist"), "{said}");
    let hostile = program.camera("hostile");
    let said = hostile["last_error"].as_str().unwrap();
    assert!(said.contains("not GetMedia output"), "{said}");

    let (status, health) = program.get("/healthz");
    assert_eq!(status, 200, "a restart would not help: {health}");
    assert!(
        health.contains("\"degraded\"") && health.contains("missing") && health.contains("hostile"),
        "{health}"
    );
    assert!(!health.contains("good"), "{health}");
    assert!(program.stop().status.success());
    sim.stop().await;
}
