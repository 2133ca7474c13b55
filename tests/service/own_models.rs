//! A user's own models for `weapon` and `fire_smoke`, on one camera, the whole way to Kinesis, S3 and DynamoDB.

use std::collections::{BTreeSet, HashMap};

use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_s3::types::ServerSideEncryption;
use serde_json::Value;
use test_support::colours::{paint, sim, store};
use test_support::kvs_infer_command;
use test_support::moto::{Moto, records};
use test_support::program::Program;
use test_support::setup::cached;

use super::delivery::{event, schema};
use super::live_check::{RECORDS_KEY, table};

/// Ten frames per second.
const LENGTH_S: u32 = 11;
const TTL_DAYS: i64 = 30;

/// An object of the scene: entry of the pipeline and reported label, if it is listed; left, top, width, height, px;
/// colour; first and last second.
type SceneObject = (Option<(&'static str, &'static str)>, [u32; 4], [u8; 3], [f64; 2]);

const OBJECTS: [SceneObject; 6] = [
    (None, [96, 64, 32, 16], [0, 0, 255], [0.0, 11.0]),
    (None, [0, 112, 32, 16], [255, 0, 255], [0.0, 11.0]),
    (Some(("weapon", "gun")), [16, 16, 32, 32], [255, 0, 0], [1.0, 2.95]),
    (Some(("weapon", "knife")), [64, 16, 48, 32], [0, 255, 0], [3.0, 4.95]),
    (Some(("fire_smoke", "smoke")), [16, 64, 32, 32], [0, 255, 255], [5.0, 6.95]),
    (Some(("fire_smoke", "fire")), [64, 80, 48, 32], [255, 255, 0], [6.0, 8.95]),
];

/// The events of each camera, in order. The phone (blue) and the lamp (magenta) are known to the models and not listed.
const EXPECTED: [(&str, &str, &str); 8] = [
    ("weapon", "gun", "start"),
    ("weapon", "knife", "start"),
    ("weapon", "gun", "end"),
    ("fire_smoke", "smoke", "start"),
    ("weapon", "knife", "end"),
    ("fire_smoke", "fire", "start"),
    ("fire_smoke", "smoke", "end"),
    ("fire_smoke", "fire", "end"),
];

fn scene() -> String {
    let drawn = OBJECTS.map(|(_, [x, y, w, h], [r, g, b], [from, to])| {
        format!("drawbox=x={x}:y={y}:w={w}:h={h}:c=0x{r:02X}{g:02X}{b:02X}:t=fill:enable='between(t,{from},{to})',")
    });
    drawn.concat() + "format=yuv420p"
}

fn camera(id: &str, snapshot: &str) -> String {
    let models = cached("models/tiny");
    format!(
        "  - id: {id}
    kvs_stream_name: {id}-stream
    playback: {{ start: EARLIEST }}
    pipeline:
      - type: weapon
        weapon: {{ yolo_weights: {0}/weapon.onnx, classes: [gun, knife], max_disappeared_seconds: 1 }}
      - type: fire_smoke
        fire_smoke: {{ yolo_weights: {0}/fire_smoke.onnx, classes: [fire, smoke], max_disappeared_seconds: 1 }}
    routing: {{ snapshot: {{ {snapshot} }} }}
",
        models.display()
    )
}

fn config() -> String {
    let (front, back) =
        (camera("front", "upload_crops: true"), camera("back", "upload_crops: false, prefix: yard/"));
    format!(
        "publishers: {{ kds_stream: events, s3_bucket: pictures, ddb_table: records, ddb_ttl_days: {TTL_DAYS} }}\n\
         device: cpu\ncameras:\n{front}{back}"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn weapons_fire_and_smoke_come_to_kinesis_s3_and_dynamodb() {
    let clips = tempfile::tempdir().unwrap();
    let clip = clips.path().join("scene.mp4");
    paint(&clip, LENGTH_S, &scene(), 0);
    let sim = sim();
    for camera in ["front", "back"] {
        store(&sim, &format!("{camera}-stream"), &clip).await;
    }
    let moto = Moto::start();
    let (kinesis, s3) = (moto.stream("events").await, moto.bucket("pictures").await);
    let dynamodb = aws_sdk_dynamodb::Client::new(&moto.config());
    table(&dynamodb, "records", &RECORDS_KEY, Some("camera_id-ts_ms-index")).await;

    let program = Program::start(kvs_infer_command!(), &config(), &sim.endpoint(), Some(&moto.url));
    for camera in ["front", "back"] {
        program.camera_after(camera, u64::from(LENGTH_S) * 10);
    }
    let ended = program.stop();
    assert!(ended.status.success(), "{:#?}", ended.log);

    let reported: Vec<Value> = records(&kinesis, "events").await.iter().map(event).collect();
    let mut keys = BTreeSet::new();
    for (camera, prefix, has_crops) in
        [("front", "snapshots/front/", true), ("back", "snapshots/yard/", false)]
    {
        let own: Vec<&Value> = reported.iter().filter(|record| record["camera_id"] == camera).collect();
        assert_records(&own);
        for record in own.iter().filter(|record| record["payload"]["extras"]["phase"] == "start") {
            keys.extend(assert_pictures(&s3, record, prefix, has_crops).await);
        }
        assert_items(&dynamodb, camera, &own).await;
    }
    let objects = s3.list_objects_v2().bucket("pictures").send().await.unwrap();
    let there: BTreeSet<_> =
        objects.contents().iter().map(|object| object.key().unwrap().to_owned()).collect();
    assert_eq!(there, keys, "an end has its start's picture, and there is nothing else");
    sim.stop().await;
}

/// The records of a camera are as the schema says, those that are true, in their order.
fn assert_records(records: &[&Value]) {
    let schema = schema();
    for (record, number) in records.iter().zip(1..) {
        let faults: Vec<_> = schema.iter_errors(record).map(|fault| fault.to_string()).collect();
        assert!(faults.is_empty(), "{faults:?} in {record:#}");
        assert_eq!(record["seq"], number);
        let (payload, (_, place, ..)) = (&record["payload"], object_of(record));
        let [x, y, w, h] = place.map(f64::from);
        for (edge, truth) in payload["bbox"].as_array().unwrap().iter().zip([x, y, x + w, y + h]) {
            assert!((edge.as_f64().unwrap() - truth).abs() <= 2.0, "{place:?}: {payload:#}");
        }
    }
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let row = |record: &&Value| {
        let payload = &record["payload"];
        (text(&payload["type"]), text(&payload["label"]), text(&payload["extras"]["phase"]))
    };
    let rows: Vec<_> = records.iter().map(row).collect();
    assert_eq!(
        rows,
        EXPECTED.map(|(kind, label, phase)| (kind.to_owned(), label.to_owned(), phase.to_owned()))
    );
}

/// Returns the object of the scene that a record is about.
fn object_of(record: &Value) -> SceneObject {
    let is_it =
        |object: &&SceneObject| object.0.is_some_and(|(_, label)| record["payload"]["label"] == label);
    *OBJECTS.iter().find(is_it).unwrap_or_else(|| panic!("nothing of the scene: {record:#}"))
}

/// The pictures of a start are there, with what they say of themselves and the colour in them; gives their keys.
async fn assert_pictures(
    s3: &aws_sdk_s3::Client,
    record: &Value,
    prefix: &str,
    has_crops: bool,
) -> Vec<String> {
    let (payload, id) = (&record["payload"], record["event_id"].as_str().unwrap());
    let stem = format!("{prefix}{}-{}", payload["ts_ms"], &id[..12]);
    assert_eq!(payload["extras"]["snapshot"], format!("s3://pictures/{stem}.jpg"));
    let (_, [x, y, w, h], colour, _) = object_of(record);
    let mut pictures =
        vec![(format!("{stem}.jpg"), None), (format!("{stem}_clean.jpg"), Some((x + w / 2, y + h / 2)))];
    if has_crops {
        pictures.push((format!("{stem}_crop.jpg"), Some((w / 2, h / 2))));
    }
    let mut seen = BTreeSet::new();
    for (key, at) in &pictures {
        let object = s3.get_object().bucket("pictures").key(key).send().await.unwrap();
        assert_eq!(object.server_side_encryption, Some(ServerSideEncryption::Aes256), "{key}");
        assert_eq!(object.content_type(), Some("image/jpeg"), "{key}");
        let said = HashMap::from([
            ("camera".to_owned(), record["camera_id"].as_str().unwrap().to_owned()),
            ("ts".to_owned(), payload["ts_ms"].to_string()),
            ("event_id".to_owned(), id.to_owned()),
            ("incident_id".to_owned(), id.to_owned()),
        ]);
        assert_eq!(object.metadata(), Some(&said), "{key}");
        let jpeg = object.body.collect().await.unwrap().into_bytes();
        assert!(seen.insert(jpeg.clone()), "{key}: the same as another, which it must not be");
        let picture = turbojpeg::decompress(&jpeg, turbojpeg::PixelFormat::RGB).unwrap();
        assert_eq!((picture.width, picture.height) == (128, 128), !key.contains("_crop"), "{key}");
        if let Some((x, y)) = *at {
            let pixel = &picture.pixels[y as usize * picture.pitch + x as usize * 3..][..3];
            assert!(
                pixel.iter().zip(colour).all(|(have, want)| have.abs_diff(want) < 30),
                "{key}: {pixel:?}"
            );
        }
    }
    pictures.into_iter().map(|(key, _)| key).collect()
}

/// Asked by the index, the table has one item per record, in the order of time, each with what queries and expiry go by.
async fn assert_items(dynamodb: &aws_sdk_dynamodb::Client, camera: &str, records: &[&Value]) {
    let query = dynamodb
        .query()
        .table_name("records")
        .index_name("camera_id-ts_ms-index")
        .key_condition_expression("camera_id = :camera")
        .expression_attribute_values(":camera", AttributeValue::S(camera.to_owned()));
    let items = query.send().await.unwrap().items.unwrap();
    assert_eq!(items.len(), records.len(), "{items:#?}");
    for (item, record) in items.iter().zip(records) {
        let payload = &record["payload"];
        let text = |value: &Value| AttributeValue::S(value.as_str().unwrap().to_owned());
        let number = |value: i64| AttributeValue::N(value.to_string());
        let ts_ms = payload["ts_ms"].as_i64().unwrap();
        for (name, wanted) in [
            ("event_id", text(&record["event_id"])),
            ("camera_id", text(&record["camera_id"])),
            ("ts_ms", number(ts_ms)),
            ("ttl", number(ts_ms / 1000 + TTL_DAYS * 86_400)),
            ("seq", number(record["seq"].as_i64().unwrap())),
            ("type", text(&payload["type"])),
            ("label", text(&payload["label"])),
        ] {
            assert_eq!(item.get(name), Some(&wanted), "{name} of {item:#?}");
        }
        let extras = item["extras"].as_m().unwrap();
        assert_eq!(extras["incident_id"], text(&payload["extras"]["incident_id"]));
        assert_eq!(extras["snapshot"], text(&payload["extras"]["snapshot"]));
    }
}
