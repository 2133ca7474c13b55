//! A real plate that comes into view, passes and comes back, through the whole binary: one incident with its text.

use std::time::{Duration, SystemTime};

use kvs_infer::detect::cache_dir;
use kvs_sim::{ClipPace, append_clip};
use serde_json::Value;
use test_support::colours::sim;
use test_support::kvs_infer_command;
use test_support::program::Program;

/// Frames of the gate clip: 12 s of 25.
const FRAMES: u64 = 300;

/// Returns the time an hour ago in whole seconds since 1970.
fn hour_ago_s() -> u64 {
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap();
    now.as_secs() - 3600
}

#[tokio::test(flavor = "multi_thread")]
async fn the_plate_at_the_gate_is_one_incident_with_its_text() {
    let (cache, sim) = (cache_dir().unwrap(), sim());
    let stream = sim.store().stream_or_create("gate-stream").unwrap();
    // A whole second is a tick of the sampler. So every fifth frame is picked, beginning with the first; of other times, one more may be.
    let made = SystemTime::UNIX_EPOCH + Duration::from_secs(hour_ago_s());
    append_clip(&stream, &cache.join("clips/gate.mp4"), ClipPace::Asap, made).await.unwrap();
    let config = format!(
        "publishers: {{ local_dir: events }}
snapshots: {{ enabled: false }}
device: cpu
models:
  plate: {{ path: {0}/models/plate.onnx, classes: [plate] }}
cameras:
  - id: gate
    kvs_stream_name: gate-stream
    playback: {{ start: EARLIEST }}
    fps_target: 5
    pipeline:
      - type: alpr
        alpr:
          plate_detector_weights: plate
          ocr_weights: {0}/models/plate-text.onnx
          ocr_conf_threshold: 0.8
          plate_patterns: [\"[0-9][A-Z0-9]{{2}}[0-9]{{4}}\"]
          max_disappeared_seconds: 2
",
        cache.display()
    );
    let program = Program::start(kvs_infer_command!(), &config, &sim.endpoint(), None);
    program.camera_after("gate", FRAMES / 5);
    let ended = program.stop();
    assert!(ended.status.success(), "{:#?}", ended.log);
    let text = std::fs::read_to_string(ended.dir.path().join("events/events.jsonl")).unwrap();
    let events: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |phase: &str| events.iter().filter(|event| event["payload"]["extras"]["phase"] == phase).count();
    assert_eq!((of("start"), of("end")), (1, 1), "{events:#?}");
    let incident = &events[0]["event_id"];
    for event in &events {
        let (payload, extras) = (&event["payload"], &event["payload"]["extras"]);
        assert_eq!((&payload["type"], &payload["label"]), (&"alpr".into(), &"plate".into()));
        assert_eq!(&extras["incident_id"], incident, "{event:#?}");
        assert_eq!(extras["text"], "5AU5341", "{event:#?}");
        assert!(extras["ocr_conf"].as_f64().unwrap() > 0.95, "{event:#?}");
    }
    sim.stop().await;
}
