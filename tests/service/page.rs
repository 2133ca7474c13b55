//! The page of the running program in a real browser: the stored footage of an incident plays, or the reason is shown why it does not.

use test_support::colours::{self, LABELS, sim};
use test_support::kvs_infer_command;
use test_support::program::Program;

use crate::web::run_checks;

fn config() -> String {
    let masks = "    masks: [{ points: [[0, 0], [8, 0], [8, 8]] }]\n    pipeline:";
    let masked = colours::camera("masked").replace("    pipeline:", masks);
    format!(
        "publishers: {{ local_dir: events }}\ndevice: cpu\ncameras:\n{}{masked}",
        colours::camera("front")
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn the_video_of_an_incident_plays_and_a_camera_with_masks_says_why_it_has_none() {
    let folder = tempfile::tempdir().unwrap();
    let (sim, film) = (sim(), colours::film(folder.path(), 2));
    for stream in ["front-stream", "masked-stream"] {
        colours::store(&sim, stream, &film).await;
    }
    let program = Program::start(kvs_infer_command!(), &config(), &sim.endpoint(), None);
    let wanted = ["front", "masked"].map(|camera| LABELS.map(|label| (camera, label)));
    let events = program.events_until(&wanted.concat());
    let incident = |camera: &str| {
        let of =
            events.iter().find(|event| event["camera_id"] == camera && event["payload"]["label"] == "green");
        of.unwrap()["payload"]["extras"]["incident_id"].as_str().unwrap().to_owned()
    };
    let (url, front, masked) =
        (format!("http://{}", program.address()), incident("front"), incident("masked"));
    let run = move || {
        run_checks("incidents.py", &["--url", &url, "--video", &front, "--no-video", &masked, "masks"]);
    };
    tokio::task::spawn_blocking(run).await.unwrap();
    assert!(program.stop().status.success());
    sim.stop().await;
}
