//! `events --stream`: all shards, in order, over splits, throttling and iterators that expire; what is no event is passed over.

use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_kinesis::primitives::Blob;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use test_support::fault_proxy::{AwsService, FaultProxy, Mishap, Seen};
use test_support::kvs_infer_command;
use test_support::moto::Moto;

/// A longer wait fails the test.
const PATIENCE: Duration = Duration::from_secs(60);

fn event(camera: &str, seq: u64) -> String {
    let extras = json!({
        "incident_id": "a", "phase": "start", "fragment_number": "1", "frame_index": 0, "producer_ts_ms": null,
        "server_ts_ms": 1, "time_source": "server", "frame_width": 1, "frame_height": 1, "zones": [],
        "model": { "name": "m", "sha256": "0" }, "snapshot": null,
    });
    let payload = json!({
        "camera_id": camera, "type": "objects", "label": "person", "conf": 0.5, "bbox": [1.0, 2.0, 3.0, 4.0],
        "ts_ms": 1_795_447_534_123_u64, "extras": extras,
    });
    json!({ "event_id": format!("{camera}-{seq}"), "camera_id": camera, "producer": "p", "schema": "1", "seq": seq,
            "payload": payload })
    .to_string()
}

fn events(url: &str, stream: &str, options: &[&str]) -> Child {
    kvs_infer_command!()
        .args(["events", "--stream", stream])
        .args(options)
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .env("AWS_REGION", "us-east-1")
        .env("AWS_ENDPOINT_URL_KINESIS", url)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Waits for the end of the process. Returns its exit code, standard output and standard error.
fn ended(child: Child) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

async fn put(kinesis: &aws_sdk_kinesis::Client, camera: &str, text: &str) {
    let call = kinesis.put_record().stream_name("events").partition_key(camera);
    call.data(Blob::new(text)).send().await.unwrap();
}

/// Waits until a shard is being read. Records that are put afterwards are after the iterator.
async fn being_read(proxy: &FaultProxy) {
    until(proxy, |seen| seen.iter().any(|seen| seen.operation == "GetRecords")).await;
}

async fn until(proxy: &FaultProxy, met: impl Fn(&[Seen]) -> bool) {
    tokio::time::timeout(PATIENCE, proxy.until(met)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn existing_events_are_printed_and_other_records_are_reported_and_skipped() {
    let moto = Moto::start();
    let kinesis = aws_sdk_kinesis::Client::new(&moto.config());
    kinesis.create_stream().stream_name("events").shard_count(3).send().await.unwrap();
    let cameras = ["a", "b", "c", "d"];
    for camera in cameras {
        put(&kinesis, camera, &event(camera, 1)).await;
        put(&kinesis, camera, "no event").await;
        put(&kinesis, camera, &event(camera, 2).replace("\"payload\"", "\n\"payload\"")).await;
    }

    let (code, out, err) = ended(events(&moto.url, "events", &["--no-follow", "--json"]));
    assert_eq!(code, Some(0), "{err}");
    let shown: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for camera in cameras {
        let own = shown.iter().filter(|event| event["camera_id"] == camera);
        let order: Vec<u64> = own.map(|event| event["seq"].as_u64().unwrap()).collect();
        assert_eq!(order, [1, 2], "{camera}");
    }
    assert_eq!((shown.len(), err.matches("is not an event").count()), (8, 4), "{err}");

    let (code, out, _) = ended(events(&moto.url, "events", &["--from-start", "--count", "3"]));
    assert_eq!((code, out.lines().count()), (Some(0), 4), "the head and three rows: {out}");
    assert!(out.starts_with("TIME (UTC)") && out.contains("2026-11-23 15:25:34.123"), "{out}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_is_followed_over_throttling() {
    let moto = Moto::start();
    let kinesis = moto.stream("events").await;
    put(&kinesis, "a", &event("a", 1)).await;
    let proxy = FaultProxy::start(&moto.url).await;
    let following = events(&proxy.url, "events", &["--json", "--count", "1"]);
    being_read(&proxy).await;
    proxy.rule(AwsService::Kinesis, Mishap::Throttled, Some(3));
    let throttled = |seen: &Seen| seen.mishap == Some(Mishap::Throttled);
    until(&proxy, |seen| seen.iter().filter(|seen| throttled(seen)).count() == 3).await;
    put(&kinesis, "a", &event("a", 2)).await;

    let (code, out, err) = ended(following);
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(out, format!("{}\n", event("a", 2)), "only what came after its start");
    assert_eq!(err.matches("ProvisionedThroughputExceededException").count(), 1, "reported once: {err}");
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn control_c_and_the_time_limit_end_it_with_success() {
    let moto = Moto::start();
    moto.stream("events").await;
    let proxy = FaultProxy::start(&moto.url).await;
    let following = events(&proxy.url, "events", &[]);
    being_read(&proxy).await;
    let sent = Command::new("kill").args(["-INT", &following.id().to_string()]).status().unwrap();
    assert!(sent.success());
    let (code, out, err) = ended(following);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(out.starts_with("TIME (UTC)") && out.lines().count() == 1, "{out}");
    assert_eq!(ended(events(&moto.url, "events", &["--seconds", "1"])).0, Some(0));
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_cannot_be_followed_is_reported_with_a_remedy() {
    let moto = Moto::start();
    moto.stream("events").await;
    let proxy = FaultProxy::start(&moto.url).await;
    proxy.rule(None, Mishap::Denied, None);
    let nowhere = "http://127.0.0.1:1";
    let table = [
        ("missing", &*moto.url, "none", &[][..], 69, "correct the name or the region"),
        ("refused", &proxy.url, "events", &[], 69, "allow kinesis:ListShards on it"),
        ("unreachable", nowhere, "events", &[], 69, "check the network"),
        ("no time", &moto.url, "events", &["--since", "noon"], 64, "write it as 2026-11-23T15:25:34Z"),
    ];
    for (name, url, stream, options, expected, words) in table {
        let (code, _, err) = ended(events(url, stream, options));
        assert_eq!(code, Some(expected), "{name}: {err}");
        assert!(err.contains(words), "{name}: {err}");
    }
    proxy.stop().await;
}

/// A stream whose shard `old` was split into `left` and `right`, and whose first iterator expires after one record.
#[derive(Default)]
struct Split {
    /// The requested iterators in order.
    asked: Mutex<Vec<String>>,
}

impl Split {
    fn answer(&self, operation: &str, body: &Value) -> (StatusCode, Value) {
        match operation {
            "ListShards" => (
                StatusCode::OK,
                json!({ "Shards": [shard("old", None), shard("left", Some("old")),
                                                                shard("right", Some("old"))] }),
            ),
            "GetShardIterator" => {
                let shard = body["ShardId"].as_str().unwrap();
                let after = body["StartingSequenceNumber"].as_str().unwrap_or_default();
                let kind = body["ShardIteratorType"].as_str().unwrap();
                self.asked.lock().unwrap().push(format!("{shard} {kind} {after}").trim().to_owned());
                (StatusCode::OK, json!({ "ShardIterator": format!("{shard}{after}") }))
            }
            _ => records(body["ShardIterator"].as_str().unwrap()),
        }
    }
}

fn shard(id: &str, parent: Option<&str>) -> Value {
    let end = parent.is_none().then_some("9");
    json!({ "ShardId": id, "ParentShardId": parent, "HashKeyRange": { "StartingHashKey": "0", "EndingHashKey": "1" },
            "SequenceNumberRange": { "StartingSequenceNumber": "0", "EndingSequenceNumber": end } })
}

/// `old` gives one record, expires, gives another one, is empty once and ends; its children give one each.
fn records(iterator: &str) -> (StatusCode, Value) {
    let (given, next) = match iterator {
        "old" => (Some(("old", 1)), Some("expired")),
        "expired" => {
            let kind = json!({ "__type": "ExpiredIteratorException", "message": "Iterator expired." });
            return (StatusCode::BAD_REQUEST, kind);
        }
        "old1" => (Some(("old", 2)), Some("old-empty")),
        "old-empty" => (None, None),
        "left" => (Some(("left", 3)), Some("left-empty")),
        "right" => (Some(("right", 4)), Some("right-empty")),
        other => (None, Some(other)),
    };
    let record = given.map(|(camera, seq)| {
        json!({ "SequenceNumber": seq.to_string(), "PartitionKey": camera, "Data": base64(event(camera, seq).as_bytes()) })
    });
    let records: Vec<Value> = record.into_iter().collect();
    (StatusCode::OK, json!({ "Records": records, "NextShardIterator": next, "MillisBehindLatest": 0 }))
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = bytes.chunks(3).flat_map(|three| {
        let bits =
            three.iter().fold(0_u32, |bits, &byte| bits << 8 | u32::from(byte)) << (8 * (3 - three.len()));
        (0..4).map(move |digit| match digit <= three.len() {
            true => char::from(ALPHABET[(bits >> (18 - 6 * digit) & 63) as usize]),
            false => '=',
        })
    });
    digits.collect()
}

async fn serve(
    State(split): State<Arc<Split>>,
    headers: HeaderMap,
    body: String,
) -> (StatusCode, [(&'static str, &'static str); 1], String) {
    let operation = headers["x-amz-target"].to_str().unwrap().split_once('.').unwrap().1.to_owned();
    let (status, answer) = split.answer(&operation, &serde_json::from_str(&body).unwrap());
    (status, [("content-type", "application/x-amz-json-1.1")], answer.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn children_follow_their_parents_and_an_expired_iterator_resumes_after_the_last_record() {
    let split = Arc::<Split>::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let app = axum::Router::new().fallback(serve).with_state(Arc::clone(&split));
    let server = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });

    let (code, out, err) = ended(events(&url, "events", &["--no-follow", "--json"]));
    server.abort();
    assert_eq!((code, err.as_str()), (Some(0), ""));
    let shown: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut order: Vec<u64> = shown.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
    assert_eq!(order[..2], [1, 2], "the parent first");
    order.sort_unstable();
    assert_eq!(order, [1, 2, 3, 4], "each once");
    let asked = split.asked.lock().unwrap().clone();
    assert_eq!(asked[..2], ["old TRIM_HORIZON", "old AFTER_SEQUENCE_NUMBER 1"]);
    assert_eq!(asked.len(), 4, "{asked:?}");
    assert!(
        asked.contains(&"left TRIM_HORIZON".to_owned()) && asked.contains(&"right TRIM_HORIZON".to_owned())
    );
}
