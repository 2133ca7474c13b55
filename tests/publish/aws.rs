//! Kinesis and S3 through the real SDKs: against moto, and where no real server can be made to fail, against a fake one.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_s3::types::ServerSideEncryption;
use kvs_infer::delivery::{
    Clients, EventOutbox, FrameEvents, OutboxSpec, Route, SinkState, SinkStatus, UndeliveredRecords,
};
use kvs_infer::media::{BBox, Event};
use kvs_infer::render::Label;
use kvs_infer::render::{SnapshotFormat, SnapshotSpec};
use kvs_infer::sinks::{PublishSpec, S3Spec, Sse};
use kvs_infer::snapshot::SnapshotRoute;
use test_support::moto::{self, Moto, records};

use super::event::{self, event, frame, pending, state};
use super::fake_kinesis::FakeKinesis;

const SECOND: Duration = Duration::from_secs(1);
/// Nothing listens there: the port is reserved.
const NOWHERE: &str = "http://127.0.0.1:1";

fn to_kinesis(stream: &str) -> Arc<Route> {
    Arc::new(Route { kds_stream: Some(stream.into()), snapshot: None, clip: None })
}

fn to_s3() -> Arc<Route> {
    let snapshot = SnapshotRoute { prefix: "front/".into(), upload_crops: true };
    Arc::new(Route { kds_stream: None, snapshot: Some(snapshot), clip: None })
}

/// An outbox with a local sink in `folder` and the sinks of `route`.
async fn outbox(folder: &Path, config: &SdkConfig, routes: &[&Arc<Route>]) -> EventOutbox {
    let s3 = S3Spec { bucket: "pictures".into(), prefix: "snapshots".into(), sse: Sse::Aes256 };
    let publish = PublishSpec {
        s3: Some(s3),
        local_dir: Some(folder.to_owned()),
        snapshots: Some(SnapshotSpec { format: SnapshotFormat::Jpg, jpeg_quality: 90 }),
        ..PublishSpec::default()
    };
    let spec = OutboxSpec {
        sinks: publish.sinks(routes.iter().map(|&route| Arc::clone(route)).collect()),
        dead_letter: folder.join("dead-letter.jsonl"),
        state: state(folder),
        clients: Some(Clients::new(config, true)),
        sharing: None,
    };
    EventOutbox::start(spec).await.unwrap()
}

async fn offer(outbox: &EventOutbox, event: Event, route: &Arc<Route>) {
    event::offer(outbox, pending(event, route)).await.unwrap();
}

fn status<'a>(statuses: &'a [SinkStatus], name: &str) -> &'a SinkStatus {
    statuses.iter().find(|status| status.name == name).unwrap()
}

/// The keys of the value and of what is in it are those of the schema, and none that is required is absent.
fn assert_fits(value: &serde_json::Value, schema: &serde_json::Value, root: &serde_json::Value) {
    if let Some(name) = schema["$ref"].as_str() {
        return assert_fits(value, root.pointer(name.trim_start_matches('#')).unwrap(), root);
    }
    let Some(object) = value.as_object() else { return };
    let properties = schema["properties"].as_object().unwrap();
    for name in schema["required"].as_array().unwrap() {
        assert!(object.contains_key(name.as_str().unwrap()), "{name} is absent");
    }
    for (name, value) in object {
        let schema = properties.get(name).unwrap_or_else(|| panic!("{name} is not in the schema"));
        assert_fits(value, schema, root);
    }
}

#[tokio::test]
async fn records_reach_kinesis_in_order_by_camera_and_fit_the_schema() {
    let (moto, folder) = (Moto::start(), tempfile::tempdir().unwrap());
    let (config, route) = (moto.config(), to_kinesis("events"));
    let kinesis = moto.stream("events").await;
    let outbox = outbox(folder.path(), &config, &[&route]).await;
    for number in 1..=20 {
        for camera in ["front", "back"] {
            offer(&outbox, event(camera, number), &route).await;
        }
    }
    assert_eq!(outbox.flush(20 * SECOND).await, []);
    let schema = serde_json::to_value(schemars::schema_for!(Event)).unwrap();
    let mut seqs = std::collections::BTreeMap::<String, Vec<u64>>::new();
    for (key, json) in records(&kinesis, "events").await {
        assert_fits(&serde_json::from_str(&json).unwrap(), &schema, &schema);
        let record: Event = serde_json::from_str(&json).unwrap();
        assert_eq!(record, event(&key, record.seq), "it comes as it was offered, under its camera's key");
        seqs.entry(key).or_default().push(record.seq);
    }
    let ordered: Vec<u64> = (1..=20).collect();
    assert_eq!(seqs, [("back".into(), ordered.clone()), ("front".into(), ordered)].into());
    assert_eq!(status(&outbox.statuses(), "kds/events").delivered, 40);
}

#[tokio::test]
async fn a_stream_that_is_missing_is_shown_and_served_once_it_is_there() {
    let (moto, folder) = (Moto::start(), tempfile::tempdir().unwrap());
    let (config, route) = (moto.config(), to_kinesis("later"));
    let outbox = outbox(folder.path(), &config, &[&route]).await;
    offer(&outbox, event("front", 1), &route).await;
    let failing =
        |statuses: &[SinkStatus]| matches!(status(statuses, "kds/later").state, SinkState::Failing { .. });
    let statuses = outbox.until(failing).await;
    let SinkState::Failing { reason, .. } = &status(&statuses, "kds/later").state else { unreachable!() };
    assert!(
        reason.contains("later: ResourceNotFoundException") && reason.contains("create the stream"),
        "{reason}"
    );
    let kinesis = moto.stream("later").await;
    let statuses = outbox.until(|statuses| status(statuses, "kds/later").delivered == 1).await;
    assert_eq!(status(&statuses, "kds/later").state, SinkState::Ok);
    assert_eq!(records(&kinesis, "later").await.len(), 1);
    assert_eq!(outbox.flush(SECOND).await, []);
}

#[tokio::test]
async fn a_sink_out_of_reach_holds_up_no_other_and_reports_the_undelivered() {
    let folder = tempfile::tempdir().unwrap();
    let dead =
        outbox(folder.path(), &moto::config(NOWHERE), &[&to_kinesis("dead"), &to_kinesis("other")]).await;
    for number in 1..=3 {
        offer(&dead, event("front", number), &to_kinesis("dead")).await;
    }
    let statuses = dead
        .until(|all| status(all, "local").delivered == 3 && status(all, "kds/dead").state != SinkState::Ok)
        .await;
    let SinkState::Failing { reason, .. } = &status(&statuses, "kds/dead").state else { unreachable!() };
    assert!(reason.contains("unreachable") && reason.contains("AWS_ENDPOINT_URL_KINESIS"), "{reason}");
    assert_eq!(status(&statuses, "kds/other").state, SinkState::Ok);
    assert_eq!(
        dead.flush(Duration::ZERO).await,
        [UndeliveredRecords { sink: "kds/dead".into(), required: true, count: 3 }]
    );
}

#[tokio::test]
async fn snapshots_reach_s3_encrypted_and_the_record_says_where() {
    let (moto, folder) = (Moto::start(), tempfile::tempdir().unwrap());
    let (config, route) = (moto.config(), to_s3());
    let s3 = moto.bucket("pictures").await;
    let outbox = outbox(folder.path(), &config, &[&route]).await;
    let boxes = vec![Label::of("car", 0.5, BBox { x1: 200.0, y1: 90.0, x2: 300.0, y2: 170.0 })];
    let sent = event("front", 1);
    let offered = FrameEvents { frame: Some(frame("front")), boxes, ..pending(sent.clone(), &route) };
    let record = event::offer(&outbox, offered).await.unwrap();
    let stem = format!("snapshots/front/1700000000123-{}", &sent.event_id[..12]);
    assert_eq!(record.payload.extras.snapshot, Some(format!("s3://pictures/{stem}.jpg")));
    assert_eq!(outbox.flush(20 * SECOND).await, []);

    let mut pictures = Vec::new();
    for (end, size_px) in [("", (320, 180)), ("_clean", (320, 180)), ("_crop", (52, 104))] {
        let key = format!("{stem}{end}.jpg");
        let object = s3.get_object().bucket("pictures").key(&key).send().await.unwrap();
        assert_eq!(object.server_side_encryption(), Some(&ServerSideEncryption::Aes256), "{key}");
        assert_eq!(object.content_type(), Some("image/jpeg"));
        let metadata = object.metadata().unwrap().clone();
        let stored = ["camera", "ts", "event_id", "incident_id"].map(|name| metadata[name].clone());
        let incident_id = sent.payload.extras.incident_id.as_str();
        assert_eq!(stored, ["front", "1700000000123", sent.event_id.as_str(), incident_id]);
        let jpeg = object.body.collect().await.unwrap().into_bytes();
        let header = turbojpeg::read_header(&jpeg).unwrap();
        assert_eq!((header.width, header.height), size_px, "{key}");
        pictures.push(jpeg);
    }
    assert_ne!(pictures[0], pictures[1], "only the first has boxes");
    let local = folder.path().join(format!("{stem}.jpg"));
    assert!(local.exists(), "the local sink keeps it too");
    assert_eq!(status(&outbox.statuses(), "s3").delivered, 1);
}

#[tokio::test]
async fn a_bucket_that_is_missing_holds_no_record_up() {
    let (moto, folder) = (Moto::start(), tempfile::tempdir().unwrap());
    let (config, mut route) = (moto.config(), to_s3());
    Arc::make_mut(&mut route).kds_stream = Some("events".into());
    moto.stream("events").await;
    let outbox = outbox(folder.path(), &config, &[&route]).await;
    let offered = FrameEvents { frame: Some(frame("front")), ..pending(event("front", 1), &route) };
    event::offer(&outbox, offered).await.unwrap();
    let statuses = outbox
        .until(|all| status(all, "kds/events").delivered == 1 && status(all, "s3").state != SinkState::Ok)
        .await;
    let SinkState::Failing { reason, .. } = &status(&statuses, "s3").state else { unreachable!() };
    assert!(reason.contains("pictures: NoSuchBucket") && reason.contains("create the bucket"), "{reason}");
    assert_eq!(
        outbox.flush(Duration::ZERO).await,
        [UndeliveredRecords { sink: "s3".into(), required: false, count: 1 }]
    );
}

/// No real server can be made to refuse some records of a call.
#[tokio::test]
async fn only_refused_records_are_sent_again_and_order_holds() {
    let (fake, folder) = (FakeKinesis::start().await, tempfile::tempdir().unwrap());
    let route = to_kinesis("events");
    let outbox = outbox(folder.path(), &moto::config(&fake.url), &[&route]).await;
    for number in 1..=10 {
        for camera in ["back", "front", "side"] {
            offer(&outbox, event(camera, number), &route).await;
        }
    }
    assert_eq!(outbox.flush(60 * SECOND).await, []);
    let calls = fake.stop().await;
    let mut accepted = std::collections::BTreeMap::<String, Vec<u64>>::new();
    for call in &calls {
        let cameras: std::collections::BTreeSet<_> = call.iter().map(|put| &put.event.camera_id).collect();
        assert_eq!(cameras.len(), call.len(), "one record per camera is under way");
        for put in call.iter().filter(|put| !put.refused) {
            accepted.entry(put.event.camera_id.clone()).or_default().push(put.event.seq);
        }
    }
    let refused = calls.iter().flatten().filter(|put| put.refused).count();
    assert!(refused >= 10, "{refused} of {} calls", calls.len());
    let ordered: Vec<u64> = (1..=10).collect();
    let expected = ["back", "front", "side"].map(|camera| (camera.to_owned(), ordered.clone()));
    assert_eq!(accepted, expected.into(), "each once, in order");
}

#[tokio::test]
async fn a_record_that_is_too_large_becomes_a_dead_letter_and_the_next_one_passes() {
    let (fake, folder) = (FakeKinesis::start().await, tempfile::tempdir().unwrap());
    let route = to_kinesis("events");
    let outbox = outbox(folder.path(), &moto::config(&fake.url), &[&route]).await;
    let mut large = event("large", 1);
    large.payload.extras.zones = vec!["z".repeat(1024 * 1024)];
    offer(&outbox, large.clone(), &route).await;
    offer(&outbox, event("large", 2), &route).await;
    assert_eq!(outbox.flush(60 * SECOND).await, []);
    let put: Vec<_> = fake.stop().await.into_iter().flatten().map(|put| put.event.seq).collect();
    assert_eq!(put.last(), Some(&2));
    assert!(!put.contains(&1));
    let line = std::fs::read_to_string(folder.path().join("dead-letter.jsonl")).unwrap();
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(serde_json::from_value::<Event>(line["event"].clone()).unwrap(), large);
    assert_eq!(line["sink"], "kds/events");
    assert!(line["reason"].as_str().unwrap().ends_with("of at most 1048576"), "{}", line["reason"]);
    assert_eq!(status(&outbox.statuses(), "kds/events").failed, 1);
}
