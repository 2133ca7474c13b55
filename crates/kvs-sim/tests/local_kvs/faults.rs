//! Faults over real HTTP: they are set, take effect, and are used up.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kvs_mkv::{FragmentEvent, FragmentReader, MkvLimits};
use kvs_sim::{FaultKind, FragmentNumber, KvsStream, Sim, SimConfig};
use serde_json::{Value, json};

use crate::camera::append;
use crate::http::{Connection, ask, assert_error, begin, dechunked, json, post};

const EARLIEST: &str = r#"{"StreamName":"cam","StartSelector":{"StartSelectorType":"EARLIEST"}}"#;
const OF_CAM: &str = r#"{"StreamName":"cam"}"#;

/// Starts a local KVS with a stream of three fragments.
async fn three_fragments() -> (Sim, Arc<KvsStream>, [FragmentNumber; 3]) {
    let sim = Sim::start(SimConfig { fragments_per_s: 1000, ..SimConfig::default() }).expect("a free port");
    let stream = sim.store().stream_or_create("cam").expect("a valid name");
    let mut numbers = Vec::new();
    for fragment in 0..3 {
        numbers.push(append(&stream, 1_000_000 + fragment * 2000).await);
    }
    (sim, stream, numbers.try_into().expect("three"))
}

fn set(stream: &KvsStream, faults: &str) {
    stream.set_faults(faults.parse::<kvs_sim::Faults>().expect(faults));
}

async fn connect(sim: &Sim, body: &str) -> Connection {
    begin(sim, "POST", "/getMedia", body, "Connection: close\r\n").await
}

/// Returns the body of a GetMedia answer, read to the end of the connection.
async fn media(sim: &Sim, body: &str) -> Vec<u8> {
    let mut connection = connect(sim, body).await;
    connection.read_until("\r\n\r\n").await;
    dechunked(&connection.read_all().await)
}

/// Returns the bytes of all three fragments without faults.
async fn intact(sim: &Sim, stream: &KvsStream) -> Vec<u8> {
    set(stream, "end=3f");
    media(sim, EARLIEST).await
}

fn events(body: &[u8]) -> Vec<FragmentEvent> {
    let mut reader = FragmentReader::new(MkvLimits::default());
    reader.push(body);
    std::iter::from_fn(|| reader.next().expect("valid Matroska")).collect()
}

/// Returns the numbers of the fragments that begin, and how many of them are whole.
fn fragments(body: &[u8]) -> (Vec<String>, usize) {
    let events = events(body);
    let begun = events.iter().filter_map(|event| match event {
        FragmentEvent::Start(start) => Some(start.number.clone()),
        _ => None,
    });
    let whole =
        events.iter().filter(|event| matches!(event, FragmentEvent::End(end) if end.complete)).count();
    (begun.collect(), whole)
}

#[tokio::test]
async fn a_connection_ends_properly_at_the_limit_of_its_fault() {
    let (sim, stream, _) = three_fragments().await;
    let good = intact(&sim, &stream).await;
    assert_eq!(fragments(&good).1, 3);
    for (faults, len) in [("end=100b", 100), ("end=0b", 0), ("end=1f", good.len() / 3)] {
        set(&stream, faults);
        assert_eq!(media(&sim, EARLIEST).await, good[..len], "{faults}");
    }
    set(&stream, "end=0.01s");
    let some = media(&sim, EARLIEST).await;
    assert!(good.starts_with(&some), "the bytes before the end are intact");
    sim.stop().await;
}

#[tokio::test]
async fn a_broken_connection_lacks_the_last_chunk() {
    let (sim, stream, _) = three_fragments().await;
    let good = intact(&sim, &stream).await;
    let last_chunk = b"\r\n0\r\n\r\n";
    for (faults, len, whole) in [("end=100b", 100, true), ("break=100b", 100, false), ("break=0b", 0, false)]
    {
        set(&stream, faults);
        let answer = connect(&sim, EARLIEST).await.read_all().await;
        assert_eq!(dechunked(&answer), good[..len], "{faults}");
        assert_eq!(answer.ends_with(last_chunk), whole, "{faults}");
    }
    set(&stream, "break=0.01s");
    assert!(!connect(&sim, EARLIEST).await.read_all().await.ends_with(last_chunk), "after a time");
    sim.stop().await;
}

#[tokio::test]
async fn a_cut_is_inside_a_block() {
    let (sim, stream, _) = three_fragments().await;
    let good = intact(&sim, &stream).await;
    for (faults, whole, after) in [("cut=0", 0, 0), ("cut=0,after=2", 2, good.len() / 3 * 2)] {
        set(&stream, faults);
        let body = media(&sim, EARLIEST).await;
        assert!(body.len() > after && good.starts_with(&body), "{faults}");
        let (begun, ended) = fragments(&body);
        assert_eq!((begun.len(), ended), (whole + 1, whole), "{faults}");
        let frames = events(&body).iter().filter(|event| matches!(event, FragmentEvent::Block(_))).count();
        assert_eq!(frames, whole * 3, "{faults}: the block that was cut is no frame");
        assert_eq!(body[body.len() - 1], 0xA3, "{faults}: one byte of a block was sent, its id");
    }
    sim.stop().await;
}

#[tokio::test]
async fn a_stalled_connection_stays_open_and_the_next_is_intact() {
    let (sim, stream, _) = three_fragments().await;
    let good = intact(&sim, &stream).await;
    for (faults, len) in [("stall=2f,count=1", good.len() / 3 * 2), ("stall=70b,count=1", 70)] {
        set(&stream, faults);
        let mut stalled = connect(&sim, EARLIEST).await;
        while dechunked(&stalled.read).len() < len {
            stalled.read_more().await;
        }
        set(&stream, "end=3f");
        assert_eq!(media(&sim, EARLIEST).await, good, "{faults}: another connection");
        assert!(stalled.is_open_and_silent().await, "{faults}");
        stream.cut_readers();
        assert_eq!(dechunked(&stalled.read_all().await), good[..len], "{faults}: nothing more was sent");
    }
    sim.stop().await;
}

#[tokio::test]
async fn damage_depends_on_the_seed_and_the_connection() {
    let (sim, stream, _) = three_fragments().await;
    let good = intact(&sim, &stream).await;
    let mut bodies = Vec::new();
    for faults in ["flip=0.1,seed=5,end=3f", "flip=0.1,seed=5,end=3f", "flip=0.1,seed=6,end=3f"] {
        set(&stream, faults);
        bodies.push([media(&sim, EARLIEST).await, media(&sim, EARLIEST).await]);
    }
    let damaged = good.iter().zip(&bodies[0][0]).filter(|(good, bad)| good != bad).count();
    assert_eq!(good.len(), bodies[0][0].len());
    assert!((good.len() / 20..good.len() / 5).contains(&damaged), "{damaged} of {}", good.len());
    assert_eq!(bodies[0], bodies[1], "the same seed");
    assert_ne!(bodies[0], bodies[2], "another seed");
    assert_ne!(bodies[0][0], bodies[0][1], "another connection");
    sim.stop().await;
}

#[tokio::test]
async fn an_error_record_ends_an_answer_with_status_200() {
    let (sim, stream, [_, second, _]) = three_fragments().await;
    for (id, code) in [(4000, "FRAGMENT_NOT_FOUND"), (5000, "INTERNAL_ERROR"), (1, "UNKNOWN_ERROR")] {
        set(&stream, &format!("error={id},after=1"));
        let events = events(&media(&sim, EARLIEST).await);
        assert!(matches!(&events[events.len() - 2], FragmentEvent::End(end) if end.complete), "{id}");
        let Some(FragmentEvent::Error(error)) = events.last() else { panic!("{id}: {events:?}") };
        assert_eq!((error.id, error.code.as_deref()), (Some(id), Some(code)));
        assert_eq!(error.fragment, Some(second.to_string()));
    }
    sim.stop().await;
}

#[tokio::test]
async fn a_new_connection_repeats_earlier_fragments() {
    let (sim, stream, [first, second, third]) = three_fragments().await;
    let after = |number: FragmentNumber| {
        let selector =
            json!({ "StartSelectorType": "FRAGMENT_NUMBER", "AfterFragmentNumber": number.to_string() });
        json!({ "StreamName": "cam", "StartSelector": selector }).to_string()
    };
    for (repeats, request, begins) in [
        ("repeat=1", after(second), second),
        ("repeat=2", after(second), first),
        ("repeat=9", after(second), first),
        ("repeat=1", after(third), third),
        ("repeat=1", EARLIEST.to_owned(), first),
    ] {
        set(&stream, &format!("{repeats},end=1f"));
        let (numbers, _) = fragments(&media(&sim, &request).await);
        assert_eq!(numbers, [begins.to_string()], "{repeats} {request}");
    }
    sim.stop().await;
}

#[tokio::test]
async fn timecodes_of_new_fragments_are_moved_back() {
    let (sim, stream, _) = three_fragments().await;
    set(&stream, "time-back=10s,count=1,end=5f");
    append(&stream, 1_006_000).await;
    append(&stream, 1_008_000).await;
    let starts: Vec<(Option<i64>, Option<u64>)> = events(&media(&sim, EARLIEST).await)
        .into_iter()
        .filter_map(|event| match event {
            FragmentEvent::Start(start) => Some((start.producer_ms, start.cluster_timestamp)),
            _ => None,
        })
        .collect();
    let at = |ms: i64| (Some(ms), Some(ms.unsigned_abs()));
    assert_eq!(starts, [1_000_000, 1_002_000, 1_004_000, 996_000, 1_008_000].map(at));
    sim.stop().await;
}

#[tokio::test]
async fn a_slow_connection_sends_everything_slowly() {
    let (sim, stream, _) = three_fragments().await;
    let good = intact(&sim, &stream).await;
    set(&stream, "drip=1000,end=200b");
    let started = Instant::now();
    assert_eq!(media(&sim, EARLIEST).await, good[..200]);
    assert!(started.elapsed() >= Duration::from_millis(200), "{:?}", started.elapsed());
    set(&stream, "drip=1");
    let mut slow = [connect(&sim, EARLIEST).await, connect(&sim, EARLIEST).await];
    for connection in &mut slow {
        connection.read_until("\r\n\r\n").await;
    }
    stream.cut_readers();
    for connection in slow {
        assert_eq!(dechunked(&connection.read_all().await), b"", "a cut does not wait for pending bytes");
    }
    let mut stopped = connect(&sim, EARLIEST).await;
    stopped.read_until("\r\n\r\n").await;
    let (body, ()) = tokio::join!(stopped.read_all(), sim.stop());
    assert_eq!(dechunked(&body), b"", "the stop of the server does not wait, either");
}

#[tokio::test]
async fn calls_are_refused_by_count_and_by_every() {
    let (sim, stream, _) = three_fragments().await;
    for (fault, status, kind) in [
        ("throttle", 400, "ClientLimitExceededException"),
        ("connection-limit", 400, "ConnectionLimitExceededException"),
        ("unauthorized", 401, "NotAuthorizedException"),
        ("expired-token", 403, "ExpiredTokenException"),
    ] {
        set(&stream, &format!("{fault},count=2,end=0b"));
        for _ in 0..2 {
            assert_error(&post(&sim, "/getMedia", EARLIEST).await, status, kind);
        }
        assert!(post(&sim, "/getMedia", EARLIEST).await.starts_with("HTTP/1.1 200 "), "{fault} is used up");
        set(&stream, &format!("{fault},every=2,end=0b"));
        let mut refused = Vec::new();
        for _ in 0..4 {
            refused.push(!post(&sim, "/getMedia", EARLIEST).await.starts_with("HTTP/1.1 200 "));
        }
        assert_eq!(refused, [false, true, false, true], "{fault}");
    }
    set(&stream, "throttle,on=getDataEndpoint,count=1");
    let endpoint = r#"{"StreamName":"cam","APIName":"GET_MEDIA"}"#;
    let refused = post(&sim, "/getDataEndpoint", endpoint).await;
    assert_error(&refused, 400, "ClientLimitExceededException");
    assert!(post(&sim, "/getDataEndpoint", endpoint).await.starts_with("HTTP/1.1 200 "));
    sim.stop().await;
}

#[tokio::test]
async fn get_data_endpoint_finds_a_stream_that_moved() {
    let (sim, stream, _) = three_fragments().await;
    set(&stream, "moved,end=0b");
    for _ in 0..2 {
        assert_error(&post(&sim, "/getMedia", EARLIEST).await, 400, "InvalidEndpointException");
    }
    let wrong = r#"{"StreamName":"cam","APIName":"GET_EVERYTHING"}"#;
    assert_error(&post(&sim, "/getDataEndpoint", wrong).await, 400, "InvalidArgumentException");
    assert_error(&post(&sim, "/getMedia", EARLIEST).await, 400, "InvalidEndpointException");
    let answer = post(&sim, "/getDataEndpoint", r#"{"StreamName":"cam","APIName":"GET_MEDIA"}"#).await;
    assert_eq!(json(&answer)["DataEndpoint"], "http://kvs.test:80");
    assert!(post(&sim, "/getMedia", EARLIEST).await.starts_with("HTTP/1.1 200 "));
    sim.stop().await;
}

#[tokio::test]
async fn footage_expires_before_a_call() {
    let (sim, stream, [first, second, third]) = three_fragments().await;
    let after_first = json!({
        "StreamName": "cam",
        "StartSelector": { "StartSelectorType": "FRAGMENT_NUMBER", "AfterFragmentNumber": first.to_string() },
    });
    set(&stream, "expire=1,count=1");
    let events = events(&media(&sim, &after_first.to_string()).await);
    assert!(matches!(&events[..], [FragmentEvent::Error(error)] if error.id == Some(4000)), "{events:?}");
    assert_eq!(stream.fragment_numbers(), [second, third]);
    set(&stream, "expire,end=1f");
    assert_eq!(fragments(&media(&sim, EARLIEST).await).0, [third.to_string()], "the newest stays");
    sim.stop().await;
}

#[tokio::test]
async fn faults_are_set_read_and_removed_over_http() {
    let (sim, stream, _) = three_fragments().await;
    let quiet = sim.store().stream_or_create("quiet").expect("a valid name");
    let faults = json!({ "faults": [{ "kind": "throttle", "count": 2 }, { "kind": "end", "value": "0b" }] });
    let answer = json(&ask(&sim, "PUT", "/sim/faults/cam", &faults.to_string()).await);
    assert_eq!((&answer["stream"], &answer["faults"]), (&json!("cam"), &faults["faults"]));
    assert_error(&post(&sim, "/getMedia", EARLIEST).await, 400, "ClientLimitExceededException");
    let left = json(&ask(&sim, "GET", "/sim/faults/cam", "").await);
    assert_eq!(left["faults"][0]["count"], 1, "one of two remains");
    assert_eq!(quiet.faults(), kvs_sim::Faults::default(), "another stream has no faults");

    let all = r#"{"faults":[{"kind":"moved"}]}"#;
    let answer = json(&ask(&sim, "PUT", "/sim/faults", all).await);
    let moved = json!([{ "kind": "moved" }]);
    let of = |stream: &str| json!({ "stream": stream, "faults": moved });
    assert_eq!(answer, json!({ "streams": [of("cam"), of("quiet")], "new_streams": moved }));
    let created = sim.store().stream_or_create("made").expect("a valid name");
    assert_eq!(created.faults(), FaultKind::Moved.into(), "a new stream has them, too");
    ask(&sim, "DELETE", "/sim/faults/cam", "").await;
    let left = (stream.faults().0.len(), quiet.faults().0.len());
    assert_eq!(left, (0, 1), "only those of one stream are removed");
    let none = json(&ask(&sim, "DELETE", "/sim/faults", "").await);
    assert_eq!(none["new_streams"], json!([]));
    assert_eq!((created.faults().0.len(), quiet.faults().0.len()), (0, 0));
    sim.stop().await;
}

#[tokio::test]
async fn an_invalid_fault_changes_nothing() {
    let (sim, stream, _) = three_fragments().await;
    set(&stream, "moved");
    for (path, body, expected) in [
        ("/sim/faults/cam", r#"{"faults":[{"kind":"explode"}]}"#, "is not a fault; the faults are end"),
        ("/sim/faults/cam", r#"{"faults":[{"kind":"end","value":"5"}]}"#, "such as 5s"),
        ("/sim/faults/cam", r#"{"faults":[{"kind":"moved","coun":5}]}"#, "coun"),
        ("/sim/faults/cam", "", "missing field `faults`"),
        ("/sim/faults", r#"{"fault":[]}"#, "unknown field `fault`"),
    ] {
        let answer = ask(&sim, "PUT", path, body).await;
        assert_error(&answer, 400, "InvalidArgumentException");
        let message = json(&answer)["Message"].clone();
        assert!(message.as_str().is_some_and(|message| message.contains(expected)), "{body}: {message}");
    }
    assert_eq!(stream.faults(), FaultKind::Moved.into());
    let absent = ask(&sim, "PUT", "/sim/faults/absent", r#"{"faults":[]}"#).await;
    assert_error(&absent, 404, "ResourceNotFoundException");
    sim.stop().await;
}

#[tokio::test]
async fn plans_at_the_start_apply_to_streams_created_later() {
    let plans = ["gate:throttle", "end=1f", "gate:moved"];
    let faults = plans.map(|plan| plan.parse().expect(plan)).to_vec();
    let sim = Sim::start(SimConfig { faults, ..SimConfig::default() }).expect("a free port");
    for (name, faults) in [("gate", "end=1f,throttle,moved"), ("other", "end=1f")] {
        let created = post(&sim, "/createStream", &json!({ "StreamName": name }).to_string()).await;
        assert!(created.starts_with("HTTP/1.1 200 "), "{created}");
        let stream = sim.store().stream(name).expect("it was created");
        assert_eq!(stream.faults().to_string(), faults, "{name}");
    }
    sim.stop().await;
}

#[tokio::test]
async fn faults_do_not_apply_to_the_control_plane() {
    let (sim, stream, _) = three_fragments().await;
    set(&stream, "throttle,unauthorized");
    for path in ["/describeStream", "/listStreams"] {
        let answer = post(&sim, path, OF_CAM).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{path}: {answer}");
    }
    let described: Value = json(&post(&sim, "/describeStream", OF_CAM).await);
    assert_eq!(described["StreamInfo"]["StreamName"], "cam");
    sim.stop().await;
}

#[test]
fn the_document_lists_every_fault() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/kvs.md");
    let text = std::fs::read_to_string(path).expect("the document of the local KVS");
    let (_, section) = text.split_once("## Inject faults").expect("its chapter");
    let rows = section.lines().take_while(|line| !line.starts_with("| option"));
    let shown = rows.filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let shown: Vec<&str> = shown.map(|(fault, _)| fault).collect();
    for fault in &shown {
        assert!(fault.parse::<kvs_sim::Faults>().is_ok(), "{fault}");
    }
    let unknown = "?".parse::<kvs_sim::Faults>().expect_err("no fault").to_string();
    let (_, known) = unknown.split_once("the faults are ").expect("a list of them");
    let kinds: Vec<&str> = shown.iter().filter_map(|fault| fault.split(['=', ',']).next()).collect();
    assert_eq!(kinds, known.split(", ").collect::<Vec<_>>());
}
