//! Catch-up and live: how a camera gets from one to the other, and what a broken connection does in catch-up.

use std::path::Path;

use kvs_sim::{LiveDelivery, Play, Sim, SimConfig};
use test_support::colours::{LABELS, camera, film, sim, store};
use test_support::kvs_infer_command;
use test_support::program::Program;

fn config() -> String {
    format!("publishers:\n  local_dir: events\ndevice: cpu\ncameras:\n{}", camera("front"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_that_catches_up_becomes_live_however_the_fragments_are_delivered() {
    let clips = tempfile::tempdir().unwrap();
    let clip = film(clips.path(), 0);
    for delivery in [LiveDelivery::Block, LiveDelivery::Fragment] {
        let sim = Sim::start(SimConfig { delivery, ..SimConfig::default() }).unwrap();
        store(&sim, "front-stream", &clip).await;
        sim.play(Play { stream: "front-stream".to_owned(), path: clip.clone(), looped: true }).await.unwrap();
        let program = Program::start(kvs_infer_command!(), &config(), &sim.endpoint(), None);
        assert_eq!(program.camera("front")["mode"], "catch_up", "{delivery:?}");
        let row = program.camera_when("front", |row| row["mode"] == "live");
        assert_eq!(row["state"], "streaming", "{delivery:?}: {row:#}");
        assert!(program.stop().status.success());
        sim.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_cut_in_catch_up_changes_no_event() {
    let clips = tempfile::tempdir().unwrap();
    assert_cuts_change_nothing(&film(clips.path(), 2), &config()).await;
}

/// Asserts that cuts of the connection leave the events of the camera `front` as they are, to the byte.
pub(crate) async fn assert_cuts_change_nothing(clip: &Path, config: &str) {
    let sim = sim();
    store(&sim, "front-stream", clip).await;
    let stream = sim.store().stream("front-stream").unwrap();
    let mut runs = Vec::new();
    for cuts in [0, 3] {
        let program = Program::start(kvs_infer_command!(), config, &sim.endpoint(), None);
        for _ in 0..cuts {
            let before = program.camera("front")["reconnects"].as_u64();
            program.camera_when("front", |row| row["frames"]["read"].as_u64() > Some(0));
            stream.cut_readers();
            program.camera_when("front", |row| row["reconnects"].as_u64() > before);
        }
        program.events_until(&LABELS.map(|label| ("front", label)));
        let ended = program.stop();
        assert!(ended.status.success(), "{:#?}", ended.log);
        runs.push(std::fs::read_to_string(ended.dir.path().join("events/events.jsonl")).unwrap());
    }
    assert_eq!(runs[0], runs[1]);
    sim.stop().await;
}
