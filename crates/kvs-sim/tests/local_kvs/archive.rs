//! ListFragments and GetMediaForFragmentList over real HTTP.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use kvs_mkv::{FragmentEvent, FragmentReader, MkvLimits};
use kvs_sim::{Clock, FragmentWriter, KvsStream, Sim, SimConfig, StreamSettings};
use serde_json::{Value, json};

use crate::camera::{NOON_MS, append, block, head};
use crate::http::{assert_error, begin, dechunked, json, post};

/// The producer's clock, which is an hour behind.
const PRODUCER_MS: i64 = NOON_MS - 3_600_000;

/// Starts a local KVS with a stream of `count` fragments, received 2 s apart.
async fn stored(count: i64, retention_hours: u32) -> (Sim, Arc<KvsStream>, Vec<String>) {
    let config = SimConfig { clock: Clock::standing_at(NOON_MS), ..SimConfig::default() };
    let sim = Sim::start(config).expect("a free port");
    let settings = StreamSettings { retention_hours, ..StreamSettings::default() };
    let stream = sim.store().create("cam", settings).expect("a valid name");
    let mut numbers = Vec::new();
    for fragment in 0..count {
        numbers.push(append(&stream, PRODUCER_MS + fragment * 2000).await.to_string());
        stream.clock().advance(Duration::from_secs(2));
    }
    (sim, stream, numbers)
}

fn span(kind: &str, first_ms: i64, last_ms: i64) -> Value {
    let seconds = |ms: i64| ms as f64 / 1000.0;
    json!({
        "FragmentSelectorType": kind,
        "TimestampRange": { "StartTimestamp": seconds(first_ms), "EndTimestamp": seconds(last_ms) },
    })
}

async fn list(sim: &Sim, request: &Value) -> Value {
    json(&post(sim, "/listFragments", &request.to_string()).await)
}

fn numbers(page: &Value) -> Vec<String> {
    let list = page["Fragments"].as_array().expect("a list");
    list.iter().map(|one| one["FragmentNumber"].as_str().expect("a number").to_owned()).collect()
}

/// Returns the body of a GetMediaForFragmentList answer.
async fn media(sim: &Sim, fragments: &[String]) -> Vec<u8> {
    let request = json!({ "StreamName": "cam", "Fragments": fragments }).to_string();
    let close = "Connection: close\r\n";
    let mut connection = begin(sim, "POST", "/getMediaForFragmentList", &request, close).await;
    assert!(connection.read_until("\r\n\r\n").await.starts_with("HTTP/1.1 200 "));
    dechunked(&connection.read_all().await)
}

fn events(body: &[u8]) -> Vec<FragmentEvent> {
    let mut reader = FragmentReader::new(MkvLimits::default());
    reader.push(body);
    std::iter::from_fn(|| reader.next().expect("valid Matroska")).collect()
}

#[tokio::test]
async fn fragments_are_listed_by_their_start_both_ends_included() {
    let (sim, _, all) = stored(4, 1).await;
    for (kind, first_ms) in [("SERVER_TIMESTAMP", NOON_MS), ("PRODUCER_TIMESTAMP", PRODUCER_MS)] {
        for (from, to, expected) in [
            (0, 6000, 0..4),
            (1, 6000, 1..4),
            (1000, 4000, 1..3),
            (2000, 2000, 1..2),
            (2001, 3999, 0..0),
            (-9000, 1, 0..1),
        ] {
            let selector = span(kind, first_ms + from, first_ms + to);
            let page = list(&sim, &json!({ "StreamName": "cam", "FragmentSelector": selector })).await;
            let listed: BTreeSet<String> = numbers(&page).into_iter().collect();
            assert_eq!(listed, all[expected].iter().cloned().collect(), "{kind} {from}..={to}");
            assert_eq!(page["NextToken"], json!(null));
        }
    }
    sim.stop().await;
}

#[tokio::test]
async fn a_listed_fragment_has_its_number_size_times_and_length() {
    let (sim, stream, all) = stored(1, 1).await;
    let arn = &stream.identity().arn;
    let selector = span("SERVER_TIMESTAMP", NOON_MS, NOON_MS);
    let page = list(&sim, &json!({ "StreamARN": arn, "FragmentSelector": selector })).await;
    let expected = json!({
        "FragmentNumber": all[0],
        "FragmentSizeInBytes": media(&sim, &all).await.len(),
        "ProducerTimestamp": PRODUCER_MS as f64 / 1000.0,
        "ServerTimestamp": NOON_MS as f64 / 1000.0,
        "FragmentLengthInMilliseconds": 1200,
    });
    assert_eq!(page["Fragments"], json!([expected]));
    sim.stop().await;
}

#[tokio::test]
async fn pages_hold_every_fragment_once_in_no_particular_order() {
    let (sim, _, all) = stored(25, 1).await;
    let everything = span("SERVER_TIMESTAMP", 0, NOON_MS * 2);
    let mut request = json!({ "StreamName": "cam", "FragmentSelector": everything, "MaxResults": 10 });
    let (mut listed, mut pages) = (Vec::new(), Vec::new());
    loop {
        let page = list(&sim, &request).await;
        pages.push(numbers(&page).len());
        listed.extend(numbers(&page));
        let Some(token) = page["NextToken"].as_str() else { break };
        assert!(token.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{token}");
        request = json!({ "StreamName": "cam", "NextToken": token, "MaxResults": 10 });
    }
    assert_eq!(pages, [10, 10, 5]);
    assert_ne!(listed, all, "not in order");
    assert!(!listed[..10].is_sorted() && listed[..10].iter().max() > listed[10..].iter().min());
    listed.sort();
    assert_eq!(listed, all);
    let selector = span("PRODUCER_TIMESTAMP", 0, NOON_MS * 2);
    let usual = list(&sim, &json!({ "StreamName": "cam", "FragmentSelector": selector })).await;
    assert_eq!(numbers(&usual).len(), 25);
    sim.stop().await;
}

#[tokio::test]
async fn a_listing_continues_while_fragments_come_and_expire() {
    let (sim, stream, all) = stored(20, 1).await;
    let everything = span("SERVER_TIMESTAMP", 0, NOON_MS * 2);
    let request = json!({ "StreamName": "cam", "FragmentSelector": everything, "MaxResults": 8 });
    let first = list(&sim, &request).await;
    stream.expire_oldest(Some(5)).await;
    append(&stream, NOON_MS).await;
    let mut seen: BTreeSet<String> = numbers(&first).into_iter().collect();
    let mut token = first["NextToken"].clone();
    while !token.is_null() {
        let page = list(&sim, &json!({ "StreamName": "cam", "NextToken": token, "MaxResults": 8 })).await;
        for number in numbers(&page) {
            assert!(seen.insert(number), "none comes twice");
        }
        token = page["NextToken"].clone();
    }
    assert!(
        all[5..].iter().all(|number| seen.contains(number)),
        "fragments that were there all the time are listed"
    );
    sim.stop().await;
}

#[tokio::test]
async fn media_is_sent_as_documents_in_the_order_asked_for() {
    let (sim, _, all) = stored(3, 1).await;
    let wanted = [all[2].clone(), all[0].clone(), all[2].clone()];
    let body = media(&sim, &wanted).await;
    let (mut begun, mut frames) = (Vec::new(), 0);
    for event in events(&body) {
        match event {
            FragmentEvent::Start(start) => {
                let index = all.iter().position(|number| *number == start.number).expect("a stored fragment");
                assert_eq!(start.server_ms, Some(NOON_MS + 2000 * index as i64));
                assert_eq!(start.producer_ms, Some(PRODUCER_MS + 2000 * index as i64));
                begun.push(start.number);
            }
            FragmentEvent::Block(_) => frames += 1,
            FragmentEvent::End(end) => {
                assert!(end.complete);
                assert_eq!((end.millis_behind_now, end.tags.len()), (None, 1));
            }
            FragmentEvent::Error(error) => panic!("{error:?}"),
        }
    }
    assert_eq!((begun, frames), (wanted.to_vec(), 9));
    let behind = body.windows(17).any(|bytes| bytes == b"MILLIS_BEHIND_NOW");
    assert!(!behind, "only GetMedia reports how far behind a reader is");
    sim.stop().await;
}

#[tokio::test]
async fn a_missing_fragment_ends_the_media_with_an_exception() {
    let (sim, stream, all) = stored(3, 1).await;
    let open = FragmentWriter::begin(&stream, head(0)).expect("the stream exists");
    let unfinished = open.number().to_string();
    stream.clock().advance(Duration::from_secs(3600 - 5));
    for (name, number) in [("never there", "7"), ("expired", &all[0]), ("unfinished", &unfinished)] {
        let events = events(&media(&sim, &[all[1].clone(), number.to_owned(), all[2].clone()]).await);
        let whole = events.iter().filter(|event| matches!(event, FragmentEvent::End(_))).count();
        let Some(FragmentEvent::Error(error)) = events.last() else { panic!("{name}: {events:?}") };
        assert_eq!((whole, error.id, error.fragment.as_deref()), (1, Some(4000), Some(number)), "{name}");
        assert!(error.code.as_deref().is_some_and(|code| code.contains("not there")), "{name}: {error:?}");
    }
    sim.stop().await;
}

#[tokio::test]
async fn nothing_is_archived_without_retention() {
    let (sim, _, all) = stored(2, 0).await;
    let everything = span("SERVER_TIMESTAMP", 0, NOON_MS * 2);
    let page = list(&sim, &json!({ "StreamName": "cam", "FragmentSelector": everything })).await;
    assert_eq!(page["Fragments"], json!([]));
    assert!(
        matches!(&events(&media(&sim, &all).await)[..], [FragmentEvent::Error(error)] if error.id == Some(4000))
    );
    sim.stop().await;
}

#[tokio::test]
async fn invalid_and_unfinished_fragments_are_not_listed() {
    let (sim, stream, all) = stored(1, 1).await;
    stream.append_raw_document(&b"no Matroska"[..]).expect("the stream exists");
    let mut open = FragmentWriter::begin(&stream, head(0)).expect("the stream exists");
    open.push(&block(0, b"first")).expect("the stream exists");
    let everything = span("SERVER_TIMESTAMP", 0, NOON_MS * 2);
    let page = list(&sim, &json!({ "StreamName": "cam", "FragmentSelector": everything })).await;
    assert_eq!(numbers(&page), all);
    sim.stop().await;
}

#[tokio::test]
async fn invalid_requests_are_refused() {
    let (sim, _, all) = stored(2, 1).await;
    let everything = span("SERVER_TIMESTAMP", 0, NOON_MS * 2);
    let of_cam = |field: &str, value: Value| json!({ "StreamName": "cam", field: value });
    for (path, request, status, kind) in [
        ("/listFragments", json!({ "FragmentSelector": everything }), 400, "InvalidArgumentException"),
        ("/listFragments", json!({ "StreamName": "absent" }), 404, "ResourceNotFoundException"),
        ("/listFragments", json!({ "StreamName": "cam" }), 400, "InvalidArgumentException"),
        ("/listFragments", of_cam("FragmentSelector", span("OTHER", 0, 1)), 400, "InvalidArgumentException"),
        (
            "/listFragments",
            of_cam("FragmentSelector", span("SERVER_TIMESTAMP", 2, 1)),
            400,
            "InvalidArgumentException",
        ),
        ("/listFragments", of_cam("NextToken", json!("abc")), 400, "InvalidArgumentException"),
        (
            "/listFragments",
            json!({ "StreamName": "cam", "FragmentSelector": everything, "MaxResults": 1001 }),
            400,
            "InvalidArgumentException",
        ),
        (
            "/listFragments",
            json!({ "StreamName": "cam", "FragmentSelector": everything, "MaxResults": 0 }),
            400,
            "InvalidArgumentException",
        ),
        ("/getMediaForFragmentList", of_cam("Fragments", json!([])), 400, "InvalidArgumentException"),
        ("/getMediaForFragmentList", of_cam("Fragments", json!(["12x"])), 400, "InvalidArgumentException"),
        (
            "/getMediaForFragmentList",
            of_cam("Fragments", json!(vec![all[0].clone(); 1001])),
            400,
            "InvalidArgumentException",
        ),
        (
            "/getMediaForFragmentList",
            json!({ "StreamName": "absent", "Fragments": all }),
            404,
            "ResourceNotFoundException",
        ),
    ] {
        assert_error(&post(&sim, path, &request.to_string()).await, status, kind);
    }
    sim.stop().await;
}

#[tokio::test]
async fn a_token_is_valid_for_one_stream() {
    let (sim, stream, _) = stored(2, 1).await;
    stream.clock().advance(Duration::from_secs(1));
    sim.store().stream_or_create("other").expect("a valid name");
    let everything = span("SERVER_TIMESTAMP", 0, NOON_MS * 2);
    let one = json!({ "StreamName": "cam", "FragmentSelector": everything, "MaxResults": 1 });
    let token = list(&sim, &one).await["NextToken"].clone();
    let request = json!({ "StreamName": "other", "NextToken": token }).to_string();
    assert_error(&post(&sim, "/listFragments", &request).await, 400, "InvalidArgumentException");
    sim.stop().await;
}

#[tokio::test]
async fn faults_apply_to_the_archive() {
    let (sim, stream, all) = stored(2, 1).await;
    let whole = media(&sim, &all).await;
    stream.set_faults("throttle,count=1,end=1f".parse::<kvs_sim::Faults>().expect("faults"));
    let request = json!({ "StreamName": "cam", "Fragments": all }).to_string();
    let refused = post(&sim, "/getMediaForFragmentList", &request).await;
    assert_error(&refused, 400, "ClientLimitExceededException");
    assert_eq!(media(&sim, &all).await, whole[..whole.len() / 2]);
    sim.stop().await;
}

#[tokio::test]
async fn the_archive_allows_five_connections() {
    let (sim, stream, all) = stored(2, 1).await;
    stream.set_faults("stall=1f".parse::<kvs_sim::Faults>().expect("faults"));
    let request = json!({ "StreamName": "cam", "Fragments": all }).to_string();
    let mut readers = Vec::new();
    for _ in 0..5 {
        let mut reader = begin(&sim, "POST", "/getMediaForFragmentList", &request, "").await;
        reader.read_until("\r\n\r\n").await;
        readers.push(reader);
    }
    let refused = post(&sim, "/getMediaForFragmentList", &request).await;
    assert_error(&refused, 400, "ClientLimitExceededException");
    stream.cut_readers();
    for reader in &mut readers {
        reader.read_until("\r\n0\r\n\r\n").await;
    }
    stream.set_faults(kvs_sim::Faults::default());
    assert!(post(&sim, "/getMediaForFragmentList", &request).await.starts_with("HTTP/1.1 200 "));
    sim.stop().await;
}

#[tokio::test]
async fn get_data_endpoint_offers_the_archive() {
    let (sim, ..) = stored(0, 1).await;
    for name in ["LIST_FRAGMENTS", "GET_MEDIA_FOR_FRAGMENT_LIST", "GET_HLS_STREAMING_SESSION_URL"] {
        let request = json!({ "StreamName": "cam", "APIName": name }).to_string();
        let answer = json(&post(&sim, "/getDataEndpoint", &request).await);
        assert_eq!(answer["DataEndpoint"], "http://kvs.test:80", "{name}");
    }
    sim.stop().await;
}
