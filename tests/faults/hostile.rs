//! One of four streams brings damaged bytes for as long as it is read.

use kvs_sim::Faults;
use test_support::footage::{FILM_FRAGMENTS, LOCAL, StoredFootage, camera, config};
use test_support::kvs_infer_command;
use test_support::program::Program;

use super::watch::{figure, is_full};

const GOOD: [&str; 3] = ["front", "back", "side"];

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_damaged_bytes_costs_the_others_no_frame() {
    let films = if is_full() { 20 } else { 4 };
    let footage = StoredFootage::new(4);
    for camera in GOOD.into_iter().chain(["hostile"]) {
        footage.store(camera, films).await;
    }
    footage.stream("hostile").set_faults("flip=0.003,seed=11".parse::<Faults>().unwrap());
    let cameras: String = GOOD.into_iter().chain(["hostile"]).map(camera).collect();
    let program =
        Program::start(kvs_infer_command!(), &config(LOCAL, &cameras), &footage.sim.endpoint(), None);
    let frames = u64::from(films) * FILM_FRAGMENTS * 10;
    for good in GOOD {
        let row = program.camera_after(good, frames);
        assert_eq!(row["frames"]["read"], frames, "{row:#}");
        assert_eq!(row["frames"]["dropped"], serde_json::json!({}), "{row:#}");
        assert_eq!(row["last_error"], serde_json::Value::Null, "{row:#}");
    }
    let hostile = program.camera("hostile");
    assert!(hostile["reconnects"].as_u64() >= Some(2), "{hostile:#}");
    let (status, health) = program.get("/healthz");
    assert_eq!(status, 200, "{health}");
    assert!(program.stop().status.success());
    figure(&format!(
        "R7 beside a stream of damaged bytes ({} connections): 0 of {} frames lost by the others",
        hostile["reconnects"],
        frames * GOOD.len() as u64
    ));
    footage.sim.stop().await;
}
