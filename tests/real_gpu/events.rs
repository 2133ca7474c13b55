//! The events of stored footage, on a GPU and on the CPU.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use kvs_sim::{ClipPace, Sim, SimConfig, append_clip};
use serde_json::Value;
use test_support::kvs_infer_command;
use test_support::program::Program;
use test_support::setup::cached;

fn config(device: &str) -> String {
    let street = cached("models/street.onnx");
    format!(
        "publishers: {{ local_dir: events }}\ndevice: {device}\ncameras:\n  - id: front\n    kvs_stream_name: front-stream\n    \
         playback: {{ start: EARLIEST }}\n    pipeline:\n      - type: objects\n        objects: {{ max_disappeared_seconds: 30, \
         yolo_weights: {} }}\n",
        street.display()
    )
}

/// Returns the events of a camera that has read all footage.
fn events(device: &str, sim: &Sim, frames: u64) -> Vec<Value> {
    let program = Program::start(kvs_infer_command!(), &config(device), &sim.endpoint(), None);
    program.camera_after("front", frames);
    let ended = program.stop();
    assert!(ended.status.success());
    let lines = std::fs::read_to_string(ended.dir.path().join("events/events.jsonl")).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a GPU: make gpu-test"]
async fn footage_has_the_same_events_on_a_gpu_and_on_the_cpu() {
    let sim = Sim::start(SimConfig::default()).unwrap();
    let stream = sim.store().stream_or_create("front-stream").unwrap();
    let start = SystemTime::now() - Duration::from_secs(3600);
    append_clip(&stream, &cached("clips/street.mp4"), ClipPace::Asap, start).await.unwrap();
    let frames = 250;
    let ids = |events: &[Value]| -> BTreeSet<String> {
        events.iter().map(|event| event["event_id"].as_str().unwrap().to_owned()).collect()
    };
    let (by_gpu, by_cpu) = (events("cuda:0", &sim, frames), events("cpu", &sim, frames));
    assert_eq!(ids(&by_gpu), ids(&by_cpu));
    println!("figure: {} events on both devices", by_gpu.len());
    assert!(!by_gpu.is_empty());
    sim.stop().await;
}
