//! Events arrive: at Kinesis as the schema says, at S3 as pictures, and the same footage gives the same events.

use std::collections::BTreeSet;

use aws_sdk_s3::types::ServerSideEncryption;
use serde_json::Value;
use test_support::colours::{FRAMES, LABELS, camera, film, model, sim, store};
use test_support::kvs_infer_command;
use test_support::moto::{Moto, records};
use test_support::program::Program;

const PUBLISHERS: &str = "publishers:\n  kds_stream: events\n  s3_bucket: pictures\n  local_dir: events\n";

fn config(cameras: &[&str]) -> String {
    let cameras: String = cameras.iter().map(|id| camera(id)).collect();
    format!("{PUBLISHERS}device: cpu\ncameras:\n{cameras}")
}

fn all_of<'a>(cameras: &[&'a str]) -> Vec<(&'a str, &'static str)> {
    cameras.iter().flat_map(|camera| LABELS.map(|label| (*camera, label))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_cameras_deliver_records_to_kinesis_and_encrypted_pictures_to_s3() {
    let clips = tempfile::tempdir().unwrap();
    let sim = sim();
    store(&sim, "front-stream", &film(clips.path(), 0)).await;
    store(&sim, "back-stream", &film(clips.path(), 2)).await;
    let moto = Moto::start();
    let (kinesis, s3) = (moto.stream("events").await, moto.bucket("pictures").await);

    let program =
        Program::start(kvs_infer_command!(), &config(&["front", "back"]), &sim.endpoint(), Some(&moto.url));
    let seen = program.events_until(&all_of(&["front", "back"]));
    let front = program.camera("front");
    let sinks = program.overview()["sinks"].take();
    let ended = program.stop();

    assert!(ended.status.success(), "{:#?}", ended.log);
    let names: Vec<_> = sinks.as_array().unwrap().iter().map(|sink| sink["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["outbox", "local", "kds/events", "s3"]);
    assert_eq!(front["frames"]["dropped"], serde_json::json!({}), "catch-up drops nothing");
    let records: Vec<Value> = records(&kinesis, "events").await.iter().map(event).collect();
    assert_eq!(ids(&records), ids(&seen));
    assert_eq!(records.len(), 6, "each object once: {records:#?}");
    let schema = schema();
    for record in &records {
        let faults: Vec<_> = schema.iter_errors(record).map(|fault| fault.to_string()).collect();
        assert!(faults.is_empty(), "{faults:?} in {record:#}");
        assert_is_exact(record);
    }
    assert_in_order(&records, "front");
    assert_in_order(&records, "back");
    assert_pictures(&s3, &records).await;
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_stored_fragments_give_the_same_events_under_the_same_ids() {
    let clips = tempfile::tempdir().unwrap();
    let sim = sim();
    store(&sim, "front-stream", &film(clips.path(), 2)).await;
    let config = format!("publishers:\n  local_dir: events\ndevice: cpu\ncameras:\n{}", camera("front"));
    let mut runs = Vec::new();
    for _ in 0..2 {
        let program = Program::start(kvs_infer_command!(), &config, &sim.endpoint(), None);
        program.events_until(&all_of(&["front"]));
        let ended = program.stop();
        assert!(ended.status.success(), "{:#?}", ended.log);
        runs.push(std::fs::read_to_string(ended.dir.path().join("events/events.jsonl")).unwrap());
    }
    assert_eq!(runs[0].lines().count(), 3, "{}", runs[0]);
    assert_eq!(runs[0], runs[1]);
    sim.stop().await;
}

pub(super) fn event((key, json): &(String, String)) -> Value {
    let event: Value = serde_json::from_str(json).unwrap();
    assert_eq!(event["camera_id"], *key);
    event
}

pub(super) fn schema() -> jsonschema::Validator {
    let printed = kvs_infer_command!().args(["schema", "event"]).output();
    jsonschema::validator_for(&serde_json::from_slice(&printed.unwrap().stdout).unwrap()).unwrap()
}

fn ids(events: &[Value]) -> BTreeSet<&str> {
    events.iter().map(|event| event["event_id"].as_str().unwrap()).collect()
}

/// The box, the label and the model are those of the painted rectangle.
fn assert_is_exact(record: &Value) {
    let payload = &record["payload"];
    let painted = match payload["label"].as_str().unwrap() {
        "red" => [16.0, 16.0, 48.0, 48.0],
        "green" => [64.0, 16.0, 112.0, 48.0],
        _ => [32.0, 64.0, 64.0, 112.0],
    };
    let bbox: Vec<f64> =
        payload["bbox"].as_array().unwrap().iter().map(|edge| edge.as_f64().unwrap()).collect();
    let off = bbox.iter().zip(painted).map(|(edge, truth)| (edge - truth).abs()).fold(0.0, f64::max);
    assert!(off <= 2.0, "one pixel of the model's input is two of the frame: {bbox:?} against {painted:?}");
    let file = std::fs::read(model()).unwrap();
    assert_eq!(payload["extras"]["model"]["sha256"], hex(&file));
    assert!(payload["extras"]["frame_index"].as_u64().unwrap() < FRAMES);
}

fn hex(bytes: &[u8]) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn assert_in_order(records: &[Value], camera: &str) {
    let own = records.iter().filter(|record| record["camera_id"] == camera);
    let reported: Vec<_> = own
        .map(|record| (record["seq"].as_u64().unwrap(), record["payload"]["label"].as_str().unwrap()))
        .collect();
    assert_eq!(reported, [(1, "red"), (2, "green"), (3, "blue")], "{camera}");
}

async fn assert_pictures(s3: &aws_sdk_s3::Client, records: &[Value]) {
    for record in records {
        let snapshot = record["payload"]["extras"]["snapshot"].as_str().unwrap();
        let key = snapshot.strip_prefix("s3://pictures/").unwrap();
        for key in [key.to_owned(), key.replace(".jpg", "_crop.jpg")] {
            let object = s3.get_object().bucket("pictures").key(&key).send().await.unwrap();
            assert_eq!(object.server_side_encryption, Some(ServerSideEncryption::Aes256), "{key}");
            let jpeg = object.body.collect().await.unwrap().into_bytes();
            let header = turbojpeg::read_header(&jpeg).unwrap();
            assert_eq!(header.width == 128, !key.ends_with("_crop.jpg"), "{key}: {header:?}");
        }
    }
}
