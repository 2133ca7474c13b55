//! The delay of events while clips are made: `make bench-clips`, or `cargo bench --bench clips`.
//!
//! 200 incidents of 200 cameras end at once. Their end records go to Kinesis, without clips, with clips that are made of footage in a
//! local KVS, and with clips whose footage cannot be listed. The figures are the times from the arrival of the confirming frame to the
//! request that brings the record to a server on loopback.

#![expect(clippy::unwrap_used, reason = "what the benchmark cannot set up, it fails on")]
#![expect(clippy::print_stdout, reason = "the table is its output")]

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use futures_util::future::join_all;
use kvs_infer::checkpoint::Checkpoint;
use kvs_infer::clips::{ClipRoute, ClipSettings};
use kvs_infer::decide::DecidedEvent;
use kvs_infer::delivery::{CameraCommit, Clients, EventOutbox, FrameEvents, OutboxSpec, Route, StateSpec};
use kvs_infer::media::{CameraId, Event, MediaMs, Phase};
use kvs_infer::sinks::PublishSpec;
use kvs_sim::{ClipPace, Faults, Sim, SimConfig, append_clip, epoch_ms};
use serde_json::{Value, json};
use tempfile::TempDir;
use test_support::{colours, moto, sample_event};

const INCIDENTS: usize = 200;
/// Streams with footage: the cameras share them, since KVS is not what is measured.
const STREAMS: usize = 8;
const ROUNDS: usize = 5;
const STUCK: &str = "unauthorized,on=listFragments";

/// The clips of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Clips {
    Off,
    Made,
    Stuck,
}

/// The times at which records reached the server, by camera.
type Received = Arc<Mutex<HashMap<String, Instant>>>;

/// The server, and the footage behind it.
struct World {
    url: String,
    received: Received,
    sim: Sim,
    /// Start of the footage, ms since the epoch.
    start_ms: i64,
    _films: TempDir,
}

#[tokio::main]
async fn main() {
    let world = World::start().await;
    println!("| 200 incidents end at once | p50 ms | p99 ms | clips stored |\n| --- | ---: | ---: | ---: |");
    let mut delays: [Vec<Duration>; 3] = Default::default();
    let mut stored = [0; 3];
    let runs = [Clips::Off, Clips::Made, Clips::Stuck];
    // By turns, so that a load of the machine that comes and goes meets all of them.
    for round in 0..ROUNDS {
        for (index, clips) in runs.into_iter().enumerate() {
            let (times, count) = world.run(round, clips).await;
            delays[index].extend(times);
            stored[index] += count;
        }
    }
    for (index, name) in ["without clips", "with clips", "with clips that are stuck"].into_iter().enumerate()
    {
        let times = &mut delays[index];
        times.sort_unstable();
        let ms = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
        println!("| {name} | {:.1} | {:.1} | {} |", ms(0.5), ms(0.99), stored[index]);
    }
    world.sim.stop().await;
}

impl World {
    async fn start() -> Self {
        let films = TempDir::new().unwrap();
        let film = colours::film(films.path(), 2);
        let sim = Sim::start(SimConfig::default()).unwrap();
        let start = SystemTime::now() - Duration::from_secs(600);
        for stream in 0..STREAMS {
            let stream = sim.store().stream_or_create(&format!("stream-{stream}")).unwrap();
            append_clip(&stream, &film, ClipPace::Asap, start).await.unwrap();
        }
        let (received, endpoint) = (Received::default(), sim.endpoint());
        let url = serve(Arc::clone(&received), endpoint).await;
        Self { url, received, sim, start_ms: epoch_ms(start), _films: films }
    }

    /// Returns the delays of the records of one round, and the clips that were stored.
    async fn run(&self, round: usize, clips: Clips) -> (Vec<Duration>, u64) {
        let folder = TempDir::new().unwrap();
        let faults = if clips == Clips::Stuck { STUCK.parse().unwrap() } else { Faults::default() };
        self.sim.store().set_faults(&faults);
        let outbox = self.open(folder.path(), clips).await;
        let arrived = Instant::now();
        let cameras: Vec<String> =
            (0..INCIDENTS).map(|number| format!("{clips:?}-{round}-{number}")).collect();
        join_all(cameras.iter().enumerate().map(|(number, camera)| self.end(&outbox, camera, number, clips)))
            .await;
        outbox.until(|all| all.iter().all(|sink| !sink.name.starts_with("kds") || sink.queued == 0)).await;
        let delays = {
            let received = self.received.lock().unwrap();
            cameras.iter().map(|camera| received[camera].duration_since(arrived)).collect()
        };
        if clips == Clips::Made {
            outbox.until(|all| all.iter().all(|sink| sink.queued == 0)).await;
        }
        let stored =
            outbox.statuses().iter().find(|sink| sink.name == "clips").map_or(0, |sink| sink.delivered);
        outbox.flush(Duration::ZERO).await;
        (delays, stored)
    }

    async fn open(&self, folder: &Path, clips: Clips) -> EventOutbox {
        let settings = ClipSettings { to_local: clips != Clips::Off, ..ClipSettings::default() };
        let publish = PublishSpec {
            kds_stream: Some("events".into()),
            local_dir: Some(folder.join("events")),
            clips: settings,
            ..PublishSpec::default()
        };
        let routes = (0..STREAMS).map(|stream| self.route(stream, clips)).collect();
        let spec = OutboxSpec {
            sinks: publish.sinks(routes),
            state: StateSpec { dir: folder.join("state"), max_bytes: 1 << 30, ddb_table: None },
            dead_letter: folder.join("dead-letter.jsonl"),
            clients: Some(Clients::new(&moto::config(&self.url), true)),
            sharing: None,
        };
        EventOutbox::start(spec).await.unwrap()
    }

    fn route(&self, number: usize, clips: Clips) -> Arc<Route> {
        let rules = ClipSettings::default().rules;
        let stream = format!("stream-{}", number % STREAMS);
        let clip = (clips != Clips::Off).then_some(ClipRoute { stream, rules, bucket: None, local: true });
        Arc::new(Route { kds_stream: Some("events".into()), snapshot: None, clip })
    }

    /// Commits the end of a camera's incident.
    async fn end(&self, outbox: &EventOutbox, camera: &str, number: usize, clips: Clips) {
        let mut event: Event = sample_event(camera, &format!("{number:032x}"));
        event.payload.ts_ms = self.start_ms + 4_000;
        event.payload.extras.phase = Phase::End;
        let sighted = Some((MediaMs(self.start_ms + 1_000), MediaMs(self.start_ms + 3_000)));
        let events = FrameEvents {
            boxes: Vec::new(),
            events: vec![DecidedEvent { event, pictured_by: None, sighted }],
            route: self.route(number, clips),
            frame: None,
            arrived: Instant::now(),
            epoch: None,
        };
        let events = outbox.pack(events).await.unwrap().events;
        let (camera, checkpoint) = (CameraId::new(camera), Checkpoint::new("stream"));
        outbox.commit(CameraCommit { camera, epoch: None, checkpoint, events }, || ()).await.unwrap();
    }
}

/// Starts the server, and returns its URL. `kvs`: where the footage is.
async fn serve(received: Received, kvs: String) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let routes = Router::new().fallback(answer).with_state((received, kvs));
    tokio::spawn(async { axum::serve(listener, routes).await.unwrap() });
    url
}

/// Answers as Kinesis does when it accepts everything, and GetDataEndpoint with the address of the footage.
async fn answer(State((received, kvs)): State<(Received, String)>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    if head.uri.path() == "/getDataEndpoint" {
        let endpoint = json!({ "DataEndpoint": kvs }).to_string();
        return ([("content-type", "application/json")], endpoint).into_response();
    }
    let answer = put_records(&body, &received, Instant::now());
    ([("content-type", "application/x-amz-json-1.1")], Body::from(answer.to_string())).into_response()
}

fn put_records(body: &[u8], received: &Received, now: Instant) -> Value {
    let call: Value = serde_json::from_slice(body).unwrap();
    let records = call["Records"].as_array().unwrap();
    let mut received = received.lock().unwrap();
    for record in records {
        received.entry(record["PartitionKey"].as_str().unwrap().to_owned()).or_insert(now);
    }
    let result = json!({ "SequenceNumber": "1", "ShardId": "shardId-000000000000" });
    json!({ "FailedRecordCount": 0, "Records": vec![result; records.len()] })
}
