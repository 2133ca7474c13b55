//! The history against what the sinks wrote: a table and a bucket of moto, and a local folder.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_dynamodb::types::{BillingMode, KeyType, ScalarAttributeType};
use kvs_infer::delivery::{Clients, EventOutbox, FrameEvents, OutboxSpec, Route};
use kvs_infer::history::{
    HistorySpec, IncidentFilter, IncidentHistory, IncidentQuery, PictureKind, PictureMissing,
};
use kvs_infer::media::{Event, Phase};
use kvs_infer::render::{SnapshotFormat, SnapshotSpec};
use kvs_infer::sinks::{DdbSpec, PublishSpec, S3Spec, Sse};
use kvs_infer::snapshot::SnapshotRoute;
use serde_json::Value;
use test_support::fault_proxy::{AwsService, FaultProxy, Mishap};
use test_support::moto::{self, Moto};
use tokio::runtime::Handle;

use super::dynamodb::{attribute, key, tables};
use super::event::{self, event, frame, pending, state};

const SECOND: Duration = Duration::from_secs(1);
const CAMERAS: [&str; 3] = ["gate", "front", "street"];
const BEGIN_MS: i64 = 1_700_000_000_000;

fn local(folder: &Path) -> PublishSpec {
    PublishSpec { local_dir: Some(folder.join("events")), ..PublishSpec::default() }
}

fn table() -> PublishSpec {
    PublishSpec {
        ddb: Some(DdbSpec { table: "events".into(), ttl_days: Some(30) }),
        ..PublishSpec::default()
    }
}

fn history(publish: &PublishSpec, aws: &SdkConfig) -> IncidentHistory {
    let cameras = CAMERAS.map(str::to_owned).into();
    let clients = Clients::new(aws, true);
    let spec =
        HistorySpec { publish, is_shared: false, cameras, clients: &clients, runtime: Handle::current() };
    IncidentHistory::new(spec).unwrap()
}

async fn outbox(folder: &Path, config: &SdkConfig, publish: &PublishSpec, route: &Arc<Route>) -> EventOutbox {
    let spec = OutboxSpec {
        sinks: publish.sinks(vec![Arc::clone(route)]),
        state: state(folder),
        dead_letter: folder.join("dead-letter.jsonl"),
        clients: Some(Clients::new(config, true)),
        sharing: None,
    };
    EventOutbox::start(spec).await.unwrap()
}

/// Returns the records of a camera: 8 incidents that begin every 4 s and last up to 32 s, some of them open.
fn records(camera: &str) -> Vec<Event> {
    let mut records = Vec::new();
    for number in 0..8_u64 {
        let start = event(camera, number);
        let begin_ms = BEGIN_MS + i64::try_from(number).unwrap() * 4_000;
        for (step, phase) in [Phase::Start, Phase::Update, Phase::End].into_iter().enumerate() {
            if number % 5 == 4 && phase == Phase::End {
                continue;
            }
            let mut record = start.clone();
            record.payload.ts_ms = begin_ms + step as i64 * (number as i64 % 4 * 5_000 + 1_000);
            record.payload.extras.phase = phase;
            record.payload.extras.incident_id = start.event_id.clone();
            record.payload.label = if number % 3 == 0 { "car".into() } else { "person".into() };
            if phase != Phase::Start {
                record.event_id = format!("{step}{}", &start.event_id[1..]);
                record.payload.conf = 0.9;
                record.payload.extras.zones = vec!["yard".into()];
                record.payload.extras.text = (number % 4 == 0).then(|| format!("AB-{number}"));
            }
            records.push(record);
        }
    }
    records.sort_by_key(|record| record.payload.ts_ms);
    for (seq, record) in records.iter_mut().enumerate() {
        record.seq = seq as u64 + 1;
    }
    records
}

fn filters() -> Vec<(&'static str, IncidentFilter)> {
    let (none, own) = (IncidentFilter::default, |text: &str| Some(text.to_owned()));
    vec![
        ("none", none()),
        ("one camera", IncidentFilter { cameras: vec!["street".into()], ..none() }),
        ("label", IncidentFilter { label: own("car"), ..none() }),
        (
            "zone",
            IncidentFilter { zone: own("yard"), cameras: vec!["street".into(), "gate".into()], ..none() },
        ),
        ("text", IncidentFilter { text: own("ab4"), ..none() }),
        ("from", IncidentFilter { from_ms: Some(BEGIN_MS + 30_000), ..none() }),
        ("to", IncidentFilter { to_ms: Some(BEGIN_MS + 20_000), ..none() }),
        (
            "span",
            IncidentFilter { from_ms: Some(BEGIN_MS + 15_000), to_ms: Some(BEGIN_MS + 22_000), ..none() },
        ),
        ("nothing", IncidentFilter { label: own("boat"), ..none() }),
    ]
}

async fn all(history: &IncidentHistory, filter: &IncidentFilter, limit: usize) -> Vec<Value> {
    let (mut cursor, mut all) = (None, Vec::new());
    loop {
        let query = IncidentQuery { filter: filter.clone(), limit, cursor: cursor.clone() };
        let page = history.page(query).await.unwrap();
        assert!(page.incidents.len() <= limit);
        all.extend(page.incidents.iter().map(|incident| serde_json::to_value(incident).unwrap()));
        let Some(next) = page.next else { return all };
        cursor = Some(next.parse().unwrap());
    }
}

#[tokio::test]
async fn a_table_gives_the_incidents_of_the_folder_by_query_alone() {
    let (moto, folder) = (Moto::start(), tempfile::tempdir().unwrap());
    tables(&moto).await;
    let proxy = FaultProxy::start(&moto.url).await;
    let route = Arc::new(Route { kds_stream: None, snapshot: None, clip: None });
    let publish = PublishSpec { local_dir: local(folder.path()).local_dir, ..table() };
    let outbox = outbox(folder.path(), &moto.config(), &publish, &route).await;
    for camera in CAMERAS {
        for record in records(camera) {
            event::offer(&outbox, pending(record, &route)).await.unwrap();
        }
    }
    assert_eq!(outbox.flush(60 * SECOND).await, []);
    let aws = moto::config(&proxy.url);
    let (local, table) = (history(&local(folder.path()), &aws), history(&table(), &aws));
    for (name, filter) in filters() {
        let expected = all(&local, &filter, 200).await;
        assert_eq!(expected.is_empty(), name == "nothing", "{name}");
        // Each page is a few calls, and moto is slow.
        for limit in if ["none", "span"].contains(&name) { vec![5, 200] } else { vec![200] } {
            assert_eq!(all(&table, &filter, limit).await, expected, "{name}, {limit} per page");
        }
    }
    let id = records("street")[0].event_id.clone();
    let detail = |history: IncidentHistory, id: String| async move {
        let detail = history.incident(&id).await.unwrap();
        detail.map(|detail| serde_json::to_value(detail).unwrap())
    };
    let expected = detail(local.clone(), id.clone()).await;
    assert!(expected.is_some() && detail(table.clone(), id.clone()).await == expected);
    let update =
        records("street").into_iter().find(|record| record.payload.extras.phase == Phase::Update).unwrap();
    assert_eq!(detail(table.clone(), update.event_id).await, None, "a record that starts no incident");
    let operations: Vec<String> = proxy.seen().into_iter().map(|seen| seen.operation).collect();
    assert!(
        !operations.is_empty() && operations.iter().all(|operation| operation == "Query"),
        "{operations:?}"
    );
    proxy.stop().await;
}

#[tokio::test]
async fn what_a_table_lacks_is_named_with_its_remedy() {
    let moto = Moto::start();
    let query = || IncidentQuery { filter: IncidentFilter::default(), limit: 5, cursor: None };
    let proxy = FaultProxy::start(&moto.url).await;
    let history = history(&table(), &moto::config(&proxy.url));
    let error = history.page(query()).await.unwrap_err().to_string();
    assert!(error.contains("table events") && error.contains("create the table"), "{error}");
    let client = aws_sdk_dynamodb::Client::new(&moto.config());
    let create = client
        .create_table()
        .table_name("events")
        .attribute_definitions(attribute("event_id", ScalarAttributeType::S))
        .attribute_definitions(attribute("ts_ms", ScalarAttributeType::N))
        .key_schema(key("event_id", KeyType::Hash))
        .key_schema(key("ts_ms", KeyType::Range))
        .billing_mode(BillingMode::PayPerRequest);
    create.send().await.unwrap();
    let error = history.page(query()).await.unwrap_err().to_string();
    assert!(
        error.contains("Invalid index") && error.contains("with the index camera_id-ts_ms-index"),
        "{error}"
    );
    assert!(history.incident("unknown").await.unwrap().is_none());
    proxy.rule(AwsService::DynamoDb, Mishap::Denied, None);
    let error = history.page(query()).await.unwrap_err().to_string();
    assert!(error.contains("allow dynamodb:Query on the table and on its index"), "{error}");
    proxy.stop().await;
}

#[tokio::test]
async fn pictures_come_from_the_folder_and_else_from_the_bucket() {
    let (moto, folder) = (Moto::start(), tempfile::tempdir().unwrap());
    let s3 = moto.bucket("pictures").await;
    let snapshot = Some(SnapshotRoute { prefix: "front/".into(), upload_crops: true });
    let route = Arc::new(Route { kds_stream: None, snapshot, clip: None });
    let publish = PublishSpec {
        s3: Some(S3Spec { bucket: "pictures".into(), prefix: "snapshots".into(), sse: Sse::Aes256 }),
        snapshots: Some(SnapshotSpec { format: SnapshotFormat::Jpg, jpeg_quality: 90 }),
        ..local(folder.path())
    };
    let aws = moto.config();
    let outbox = outbox(folder.path(), &aws, &publish, &route).await;
    let sent = event("front", 1);
    let offered = FrameEvents { frame: Some(frame("front")), ..pending(sent.clone(), &route) };
    event::offer(&outbox, offered).await.unwrap();
    assert_eq!(outbox.flush(20 * SECOND).await, []);
    let history = history(&publish, &aws);
    let get = async |kind| history.picture(&sent.event_id, &sent.event_id, kind).await;
    let whole = get(PictureKind::Snapshot).await.unwrap();
    assert_eq!(whole.content_type, "image/jpeg");
    let files: Vec<_> = std::fs::read_dir(folder.path().join("events/snapshots/front")).unwrap().collect();
    for file in files {
        std::fs::remove_file(file.unwrap().path()).unwrap();
    }
    assert_eq!(get(PictureKind::Snapshot).await.unwrap().bytes, whole.bytes, "S3 has the same");
    for (kind, size_px) in [(PictureKind::Clean, (320, 180)), (PictureKind::Crop, (52, 104))] {
        let header = turbojpeg::read_header(&get(kind).await.unwrap().bytes).unwrap();
        assert_eq!((header.width, header.height), size_px, "{kind:?}");
    }
    let stem = format!("snapshots/front/1700000000123-{}", &sent.event_id[..12]);
    s3.delete_object().bucket("pictures").key(format!("{stem}_crop.jpg")).send().await.unwrap();
    let PictureMissing::NotFound(why) = get(PictureKind::Crop).await.unwrap_err() else {
        panic!("it is gone")
    };
    assert!(why.contains("not uploaded yet, was deleted, or was never made"), "{why}");
    // The index has one reader.
    drop(history);
    assert_foreign_places_are_refused(folder.path(), &publish, &aws).await;
}

/// Asserts that a record cannot name an object of another bucket or outside the prefix.
async fn assert_foreign_places_are_refused(folder: &Path, publish: &PublishSpec, aws: &SdkConfig) {
    let mut lines = String::new();
    let places = [
        ("s3://others/snapshots/front/2.jpg", "publishers.s3_bucket is pictures"),
        ("s3://pictures/secrets/2.jpg", "not below publishers.s3_prefix"),
        ("s3://pictures/snapshots-of-others/2.jpg", "not below publishers.s3_prefix"),
    ];
    for (number, (place, _)) in places.iter().enumerate() {
        let mut record = event("front", 100 + number as u64);
        record.payload.extras.snapshot = Some((*place).to_owned());
        lines += &(serde_json::to_string(&record).unwrap() + "\n");
    }
    std::fs::write(folder.join("events/events.jsonl"), lines).unwrap();
    let history = history(publish, aws);
    for (number, (place, expected)) in places.into_iter().enumerate() {
        let id = event("front", 100 + number as u64).event_id;
        let why = history.picture(&id, &id, PictureKind::Snapshot).await.unwrap_err().to_string();
        assert!(why.contains(expected), "{place}: {why}");
    }
}
