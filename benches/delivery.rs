//! The cost of an event and the pace of the sinks: `make bench-delivery`, or `cargo bench --bench delivery -- FRAME`, where FRAME holds a
//! picture of 1920x1080 as planar YUV 4:2:0.
//!
//! The sinks deliver what waits in an outbox to a server on loopback that answers each request 60 ms later.

#![expect(clippy::unwrap_used, reason = "what the benchmark cannot set up, it fails on")]
#![expect(clippy::print_stdout, reason = "the table is its output")]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use kvs_infer::checkpoint::Checkpoint;
use kvs_infer::decide::DecidedEvent;
use kvs_infer::delivery::{
    CameraCommit, Clients, EventOutbox, FrameEvents, OutboxSpec, Route, SinkStatus, StateSpec,
};
use kvs_infer::media::{
    BBox, CameraId, Color, Event, Fragment, Frame, HostPicture, Matrix, MediaMs, Surface,
};
use kvs_infer::render::{Label, SnapshotFormat, SnapshotSpec};
use kvs_infer::sinks::{DdbSpec, PublishSpec, S3Spec, Sse};
use kvs_infer::snapshot::SnapshotRoute;
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};
use tempfile::TempDir;
use test_support::{moto, sample_event};

const WIDTH_PX: usize = 1920;
const HEIGHT_PX: usize = 1080;
/// The time between a request and its answer.
const ROUND_TRIP: Duration = Duration::from_millis(60);
/// Nothing listens there: what is committed stays in the outbox.
const NOWHERE: &str = "http://127.0.0.1:1";
/// Events whose cost is measured.
const COSTED: u32 = 50;

#[tokio::main]
async fn main() {
    let frame = std::env::args().skip(1).find(|arg| !arg.starts_with("--"));
    let frame = Arc::new(frame_of(&std::fs::read(frame.unwrap()).unwrap()));
    costs(&frame).await;
    let server = serve().await;
    println!("\n| events wait for | events | events per second at 60 ms |\n| --- | ---: | ---: |");
    for (name, sinks, cameras, events) in [
        ("S3: picture with boxes, without boxes, crop", s3(), 50, 400),
        ("DynamoDB", dynamodb(), 50, 2_000),
        ("KDS, of 50 cameras", kinesis(), 50, 4_000),
        ("KDS, of one camera", kinesis(), 1, 200),
    ] {
        let per_s = pace(&sinks, &frame, cameras, events, &server).await;
        println!("| {name} | {events} | {per_s:.0} |");
    }
}

fn frame_of(pixels: &[u8]) -> Frame {
    let luma = WIDTH_PX * HEIGHT_PX;
    assert_eq!(pixels.len(), luma * 3 / 2, "a picture of 1920x1080 as planar YUV 4:2:0");
    let planes = [&pixels[..luma], &pixels[luma..luma * 5 / 4], &pixels[luma * 5 / 4..]].map(<[u8]>::to_vec);
    let strides = [WIDTH_PX, WIDTH_PX / 2, WIDTH_PX / 2];
    let color = Color { matrix: Matrix::Bt709, full_range: false };
    let picture = HostPicture::from_planes((WIDTH_PX as u32, HEIGHT_PX as u32), planes, strides, color);
    Frame {
        camera: CameraId::new("camera"),
        fragment: Arc::new(Fragment { number: "1".into(), producer_ms: Some(1), server_ms: None }),
        index: 0,
        media: MediaMs(1),
        arrived: Instant::now(),
        surface: Surface::Host(picture.unwrap()),
    }
}

fn s3() -> PublishSpec {
    PublishSpec {
        s3: Some(S3Spec { bucket: "pictures".into(), prefix: "snapshots".into(), sse: Sse::Aes256 }),
        snapshots: Some(SnapshotSpec { format: SnapshotFormat::Jpg, jpeg_quality: 90 }),
        ..PublishSpec::default()
    }
}

fn dynamodb() -> PublishSpec {
    PublishSpec { ddb: Some(DdbSpec { table: "events".into(), ttl_days: None }), ..PublishSpec::default() }
}

fn kinesis() -> PublishSpec {
    PublishSpec { kds_stream: Some("events".into()), ..PublishSpec::default() }
}

fn route(sinks: &PublishSpec) -> Arc<Route> {
    let snapshot = sinks.s3.as_ref().map(|_| SnapshotRoute { prefix: String::new(), upload_crops: true });
    Arc::new(Route { kds_stream: sinks.kds_stream.clone(), snapshot, clip: None })
}

async fn open(sinks: &PublishSpec, folder: &Path, url: &str) -> EventOutbox {
    let spec = OutboxSpec {
        sinks: sinks.sinks(vec![route(sinks)]),
        state: StateSpec { dir: folder.join("state"), max_bytes: 4 << 30, ddb_table: None },
        dead_letter: folder.join("dead-letter.jsonl"),
        clients: Some(Clients::new(&moto::config(url), true)),
        sharing: None,
    };
    EventOutbox::start(spec).await.unwrap()
}

/// Prints the CPU time and the bytes that the pictures of an event take.
async fn costs(frame: &Arc<Frame>) {
    let (folder, sinks) = (TempDir::new().unwrap(), s3());
    println!(
        "| pictures of an event, 1920x1080, quality 90 | CPU ms | kB in the outbox |\n| --- | ---: | ---: |"
    );
    for (name, crops) in [("with boxes and without", false), ("with boxes, without boxes, crop", true)] {
        let folder = folder.path().join(name);
        let outbox = open(&sinks, &folder, NOWHERE).await;
        let snapshot = SnapshotRoute { prefix: String::new(), upload_crops: crops };
        let route = Arc::new(Route { kds_stream: None, snapshot: Some(snapshot), clip: None });
        let mut cpu = Duration::ZERO;
        for seq in 0..COSTED {
            let events = frame_events("camera", seq, frame, &route);
            let before = cpu_time();
            let records = outbox.pack(events).await.unwrap();
            cpu += cpu_time() - before;
            commit(&outbox, "camera", records.events).await;
        }
        let kilobytes = sink(&outbox.statuses()).queued_bytes / 1000 / u64::from(COSTED);
        println!("| {name} | {:.1} | {kilobytes} |", cpu.as_secs_f64() * 1e3 / f64::from(COSTED));
        outbox.flush(Duration::ZERO).await;
    }
}

/// Returns the events per second at which an outbox with this number of waiting events is emptied.
async fn pace(sinks: &PublishSpec, frame: &Arc<Frame>, cameras: u32, events: u32, url: &str) -> f64 {
    let (folder, route) = (TempDir::new().unwrap(), route(sinks));
    let outbox = open(sinks, folder.path(), NOWHERE).await;
    for seq in 0..events {
        let camera = format!("camera-{}", seq % cameras);
        let records = outbox.pack(frame_events(&camera, seq, frame, &route)).await.unwrap();
        commit(&outbox, &camera, records.events).await;
    }
    outbox.flush(Duration::ZERO).await;
    drop(outbox);
    let outbox = open(sinks, folder.path(), url).await;
    let start = Instant::now();
    outbox.until(|all| sink(all).delivered == u64::from(events)).await;
    let per_s = f64::from(events) / start.elapsed().as_secs_f64();
    assert_eq!(outbox.flush(Duration::ZERO).await, []);
    per_s
}

/// Returns the status of the only sink: the first one is that of the disk.
fn sink(all: &[SinkStatus]) -> &SinkStatus {
    &all[1]
}

fn frame_events(camera: &str, seq: u32, frame: &Arc<Frame>, route: &Arc<Route>) -> FrameEvents {
    let mut event: Event = sample_event(camera, &format!("{seq:032x}"));
    event.seq = u64::from(seq);
    event.payload.bbox = [900.0, 300.0, 1020.0, 620.0];
    let [x1, y1, x2, y2] = event.payload.bbox;
    FrameEvents {
        boxes: vec![Label::of("person", 0.87, BBox { x1, y1, x2, y2 })],
        events: vec![DecidedEvent { event, pictured_by: None, sighted: None }],
        route: Arc::clone(route),
        frame: Some(Arc::clone(frame)),
        arrived: Instant::now(),
        epoch: None,
    }
}

async fn commit(outbox: &EventOutbox, camera: &str, events: Vec<kvs_infer::delivery::NewRecord>) {
    let checkpoint = Checkpoint::new("stream");
    outbox
        .commit(CameraCommit { camera: CameraId::new(camera), epoch: None, checkpoint, events }, || ())
        .await
        .unwrap();
}

fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap())
}

/// Starts the server, and returns its URL.
async fn serve() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async { axum::serve(listener, axum::Router::new().fallback(answer)).await.unwrap() });
    url
}

/// Answers as S3, DynamoDB and Kinesis do when they accept everything.
async fn answer(request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    tokio::time::sleep(ROUND_TRIP).await;
    let Some(operation) = head.headers.get("x-amz-target") else {
        return ([("etag", "\"0\"")], Body::empty()).into_response();
    };
    let answer = if operation.as_bytes().ends_with(b"PutRecords") { put_records(&body) } else { json!({}) };
    ([("content-type", "application/x-amz-json-1.1")], answer.to_string()).into_response()
}

fn put_records(body: &[u8]) -> Value {
    let call: Value = serde_json::from_slice(body).unwrap();
    let result = json!({ "SequenceNumber": "1", "ShardId": "shardId-000000000000" });
    let results = vec![result; call["Records"].as_array().unwrap().len()];
    json!({ "FailedRecordCount": 0, "Records": results })
}
