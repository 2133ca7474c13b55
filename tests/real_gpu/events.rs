//! The events of stored footage, on a GPU and on the CPU.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, SystemTime};

use kvs_sim::{ClipPace, Sim, SimConfig, append_clip};
use serde_json::Value;
use test_support::kvs_infer_command;
use test_support::program::Program;
use test_support::setup::cached;

/// Frames of the footage.
pub(super) const FRAMES: u64 = 250;
/// The largest difference of confidence: TensorFloat-32 of newer GPUs rounds more than `f32`.
const MAX_DIFFERENCE: f64 = 0.02;

/// Returns a configuration of the camera `front`, without its sinks.
pub(super) fn camera_on(device: &str, decode: &str) -> String {
    let street = cached("models/street.onnx");
    format!(
        "device: {device}\ndecode: {decode}\ncameras:\n  - id: front\n    kvs_stream_name: front-stream\n    \
         playback: {{ start: EARLIEST }}\n    pipeline:\n      - type: objects\n        objects: {{ max_disappeared_seconds: 30, \
         yolo_weights: {} }}\n",
        street.display()
    )
}

/// Starts a local KVS with the footage of the camera.
pub(super) async fn footage() -> Sim {
    let sim = Sim::start(SimConfig::default()).unwrap();
    let stream = sim.store().stream_or_create("front-stream").unwrap();
    let start = SystemTime::now() - Duration::from_secs(3600);
    append_clip(&stream, &cached("clips/street.mp4"), ClipPace::Asap, start).await.unwrap();
    sim
}

/// Returns the events of a camera that has read all footage: the confidence by id.
pub(super) fn events(command: Command, device: &str, decode: &str, sim: &Sim) -> BTreeMap<String, f64> {
    let config = format!("publishers: {{ local_dir: events }}\n{}", camera_on(device, decode));
    let program = Program::start(command, &config, &sim.endpoint(), None);
    let row = program.camera_after("front", FRAMES);
    match decode {
        "cuda" => assert_eq!((&row["decoder"], &row["decoder_note"]), (&Value::from("nvdec"), &Value::Null)),
        _ => println!(
            "figure: device: {device}, decode: {decode}: decoder {}, {}",
            row["decoder"], row["decoder_note"]
        ),
    }
    let ended = program.stop();
    assert!(ended.status.success());
    let lines = std::fs::read_to_string(ended.dir.path().join("events/events.jsonl")).unwrap();
    let event = |line: &str| {
        let event: Value = serde_json::from_str(line).unwrap();
        (event["event_id"].as_str().unwrap().to_owned(), event["payload"]["conf"].as_f64().unwrap())
    };
    lines.lines().map(event).collect()
}

/// Asserts that the events on a GPU with this decoder are those of the CPU.
async fn assert_events_of_the_cpu(decode: &str) {
    let sim = footage().await;
    let by_gpu = events(kvs_infer_command!(), "cuda:0", decode, &sim);
    let by_cpu = events(kvs_infer_command!(), "cpu", "cpu", &sim);
    assert_eq!(by_gpu.keys().collect::<Vec<_>>(), by_cpu.keys().collect::<Vec<_>>());
    assert!(!by_gpu.is_empty());
    let furthest = by_gpu.iter().map(|(id, conf)| (conf - by_cpu[id]).abs()).fold(0.0, f64::max);
    println!(
        "figure: decode: {decode}: {} events on both devices, confidence within {furthest:.4}",
        by_gpu.len()
    );
    assert!(furthest <= MAX_DIFFERENCE, "{by_gpu:?} on the GPU, {by_cpu:?} on the CPU");
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a GPU: make gpu-test"]
async fn footage_has_the_same_events_on_a_gpu_and_on_the_cpu() {
    assert_events_of_the_cpu("cpu").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a GPU: make gpu-test"]
async fn footage_has_the_same_events_with_nvdec_and_on_the_cpu() {
    assert_events_of_the_cpu("cuda").await;
}
