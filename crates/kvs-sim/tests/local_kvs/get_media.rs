//! GetMedia without HTTP: selectors, tags, delivery, retention, limits.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use kvs_mkv::FragmentEvent;
use kvs_sim::{ApiError, FragmentNumber, FragmentWriter, KvsStream, LiveDelivery, StartSelector};
use tokio_util::sync::CancellationToken;

use crate::camera::{self, NOON_MS, Viewer, after_fragment, append, block, head, selector, stream};

/// Returns a stream of three fragments, received 2 s apart. Their producer's clock is an hour behind.
async fn three_fragments() -> (Arc<KvsStream>, [FragmentNumber; 3]) {
    let stream = stream(LiveDelivery::Block);
    let mut numbers = Vec::new();
    for fragment in 0..3 {
        numbers.push(append(&stream, NOON_MS - 3_600_000 + fragment * 2000).await);
        stream.clock().advance(Duration::from_secs(2));
    }
    let numbers = numbers.try_into().expect("three");
    (stream, numbers)
}

fn timestamp(kind: &str, ms: i64) -> StartSelector {
    StartSelector { start_timestamp: Some(ms as f64 / 1000.0), ..selector(kind) }
}

#[tokio::test]
async fn each_selector_begins_at_its_place() {
    let (stream, [first, second, third]) = three_fragments().await;
    let token =
        StartSelector { continuation_token: Some(second.to_string()), ..selector("CONTINUATION_TOKEN") };
    let producer_ms = NOON_MS - 3_600_000;
    let cases = [
        ("EARLIEST", selector("EARLIEST"), first),
        ("NOW", selector("NOW"), third),
        ("FRAGMENT_NUMBER", after_fragment(&first.to_string()), second),
        ("CONTINUATION_TOKEN", token, third),
        ("server time before all", timestamp("SERVER_TIMESTAMP", 0), first),
        ("server time of a fragment", timestamp("SERVER_TIMESTAMP", NOON_MS + 2000), second),
        ("server time inside a fragment", timestamp("SERVER_TIMESTAMP", NOON_MS + 3199), second),
        ("server time between two", timestamp("SERVER_TIMESTAMP", NOON_MS + 3500), third),
        ("producer time inside a fragment", timestamp("PRODUCER_TIMESTAMP", producer_ms + 500), first),
        ("producer time of a fragment", timestamp("PRODUCER_TIMESTAMP", producer_ms + 4000), third),
    ];
    for (name, selector, expected) in cases {
        let mut viewer = Viewer::new(&stream, &selector).expect(name);
        assert_eq!(viewer.next_start().await.number, expected.to_string(), "{name}");
    }
}

fn after_token(token: &str) -> StartSelector {
    StartSelector { continuation_token: Some(token.to_owned()), ..selector("CONTINUATION_TOKEN") }
}

#[tokio::test]
async fn a_malformed_selector_is_refused() {
    let (stream, _) = three_fragments().await;
    for (selector, expected) in [
        (selector("LATEST"), "StartSelectorType \"LATEST\""),
        (selector("FRAGMENT_NUMBER"), "AfterFragmentNumber is needed"),
        (after_fragment("12x"), "AfterFragmentNumber \"12x\" is not valid; 1 to 128 of the characters 0-9"),
        (after_fragment(""), "AfterFragmentNumber \"\""),
        (selector("CONTINUATION_TOKEN"), "ContinuationToken is needed"),
        (after_token("a b"), "ContinuationToken \"a b\" is not valid; 1 to 128 of the characters a-z"),
        (after_token(&"a".repeat(129)), "1 to 128 of the characters a-z"),
        (selector("SERVER_TIMESTAMP"), "StartTimestamp is needed"),
        (
            StartSelector { start_timestamp: Some(f64::NAN), ..selector("PRODUCER_TIMESTAMP") },
            "StartTimestamp is needed",
        ),
    ] {
        let refused = Viewer::new(&stream, &selector).err();
        let Some(ApiError::InvalidArgument(reason)) = &refused else { panic!("{selector:?}: {refused:?}") };
        assert!(reason.contains(expected), "{selector:?}: {reason}");
    }
}

#[tokio::test]
async fn a_missing_fragment_is_an_error_inside_the_answer() {
    let (stream, [first, ..]) = three_fragments().await;
    stream.clock().advance(Duration::from_secs(3600));
    append(&stream, 0).await;
    for (name, number) in [("never there", "7".to_owned()), ("expired", first.to_string())] {
        let mut viewer = Viewer::new(&stream, &after_fragment(&number)).expect(name);
        let Some(FragmentEvent::Error(error)) = viewer.next().await else { panic!("{name}: no error") };
        assert_eq!((error.id, error.fragment), (Some(4000), Some(number)), "{name}");
        assert!(viewer.next().await.is_none(), "{name}: the connection ends");
    }
    let mut viewer =
        Viewer::new(&stream, &after_token("any-Token_1.")).expect("a token of the right pattern");
    assert!(matches!(viewer.next().await, Some(FragmentEvent::Error(error)) if error.id == Some(4000)));
}

#[tokio::test]
async fn every_fragment_has_its_tags_before_and_after() {
    let (stream, [first, ..]) = three_fragments().await;
    let mut viewer = Viewer::new(&stream, &selector("EARLIEST")).expect("a free place");
    let (start, end) = viewer.next_fragment().await;
    assert_eq!(start.server_ms, Some(NOON_MS));
    assert_eq!(start.producer_ms, Some(NOON_MS - 3_600_000));
    assert_eq!(&start.tracks[0].codec_private[..], b"\x01private");
    assert!(end.complete);
    assert_eq!(end.millis_behind_now, Some(4000));
    assert_eq!(end.continuation_token, Some(first.to_string()));
    assert_eq!((end.frames, end.keyframes, end.bytes), (3, 1, 16));
    assert_eq!(end.tags, [kvs_mkv::Tag::new("door", "open")]);
    viewer.next_fragment().await;
    assert_eq!(viewer.next_fragment().await.1.millis_behind_now, Some(0), "caught up");
}

#[tokio::test]
async fn blocks_are_sent_as_they_arrive_or_with_their_fragment() {
    for delivery in [LiveDelivery::Block, LiveDelivery::Fragment] {
        let stream = stream(delivery);
        let mut viewer = Viewer::new(&stream, &selector("NOW")).expect("a free place");
        assert!(viewer.is_idle().await, "{delivery:?}: the stream is empty");
        let mut fragment = FragmentWriter::begin(&stream, head(0)).expect("the stream exists");
        fragment.push(&block(0, b"first")).expect("the stream exists");
        if delivery == LiveDelivery::Block {
            viewer.next_start().await;
            assert_eq!(viewer.next_frame().await, "first");
        }
        assert!(viewer.is_idle().await, "{delivery:?}: no more than one block has arrived");
        fragment.push(&block(40, b"second")).expect("the stream exists");
        fragment.finish(Vec::new()).await.expect("the stream exists");
        if delivery == LiveDelivery::Fragment {
            viewer.next_start().await;
            assert_eq!(viewer.next_frame().await, "first");
        }
        assert_eq!(viewer.next_frame().await, "second");
        assert!(matches!(viewer.next().await, Some(FragmentEvent::End(end)) if end.complete));
        assert!(viewer.is_idle().await, "{delivery:?}: the stream idles and stays open");
        let unknown_size = viewer.bytes.windows(5).any(|bytes| bytes == [0x1F, 0x43, 0xB6, 0x75, 0xFF]);
        assert_eq!(unknown_size, delivery == LiveDelivery::Block, "{delivery:?}: size of the cluster");
    }
}

#[tokio::test]
async fn a_fragment_that_its_producer_gives_up_ends_the_connection() {
    let stream = stream(LiveDelivery::Block);
    let kept = append(&stream, 0).await;
    let mut viewer = Viewer::new(&stream, &after_fragment(&kept.to_string())).expect("a free place");
    let mut fragment = FragmentWriter::begin(&stream, head(0)).expect("the stream exists");
    fragment.push(&block(0, b"first")).expect("the stream exists");
    viewer.next_start().await;
    viewer.next_frame().await;
    drop(fragment);
    assert!(viewer.next().await.is_none());
    assert_eq!(stream.fragment_numbers(), [kept]);
}

#[tokio::test]
async fn a_fourth_viewer_is_refused_until_one_leaves() {
    let (stream, _) = three_fragments().await;
    let mut viewers: Vec<Viewer> =
        (0..3).map(|_| Viewer::new(&stream, &selector("NOW")).expect("three places")).collect();
    let refused = Viewer::new(&stream, &selector("NOW")).err();
    assert!(matches!(refused, Some(ApiError::ConnectionLimitExceeded { limit: 3, .. })), "{refused:?}");
    viewers.pop();
    assert!(Viewer::new(&stream, &selector("NOW")).is_ok());
}

#[tokio::test]
async fn fragments_expire_by_age_and_by_bytes() {
    let (stream, [_, second, third]) = three_fragments().await;
    stream.clock().advance(Duration::from_secs(3600 - 5));
    assert_eq!(stream.fragment_numbers(), [second, third], "an hour is kept");
    let mut viewer = Viewer::new(&stream, &selector("EARLIEST")).expect("a free place");
    assert_eq!(viewer.next_start().await.number, second.to_string());

    let small = stream_of_bytes(100);
    let mut numbers = Vec::new();
    for _ in 0..9 {
        numbers.push(append(&small, 0).await);
    }
    let kept = small.fragment_numbers();
    assert!(kept.len() < 9 && numbers.ends_with(&kept), "the newest stay: {kept:?}");
}

fn stream_of_bytes(stream_bytes: u64) -> Arc<KvsStream> {
    let limits = kvs_sim::StreamLimits { stream_bytes, readers: 3, delivery: LiveDelivery::Block };
    let store =
        kvs_sim::StreamStore::open(kvs_sim::Clock::standing_at(NOON_MS), limits, None).expect("in memory");
    store.create("cam", kvs_sim::StreamSettings::default()).expect("the first of its name")
}

#[tokio::test]
async fn a_stream_without_retention_keeps_five_minutes() {
    let stream = stream_of_bytes(1 << 20);
    let number = append(&stream, 0).await;
    stream.clock().advance(Duration::from_secs(299));
    assert_eq!(stream.fragment_numbers(), [number]);
    stream.clock().advance(Duration::from_secs(2));
    assert_eq!(stream.fragment_numbers(), []);
}

#[tokio::test]
async fn stored_fragments_are_held_to_the_rate() {
    let (stream, _) = three_fragments().await;
    let started = Instant::now();
    let chunks =
        kvs_sim::open_media(&stream, &selector("EARLIEST"), 20, CancellationToken::new()).expect("a place");
    let mut chunks = std::pin::pin!(chunks);
    for _ in 0..3 * 5 {
        chunks.next().await;
    }
    assert!(started.elapsed() >= Duration::from_millis(100), "two gaps of 50 ms: {:?}", started.elapsed());
}

#[tokio::test]
async fn a_waiting_viewer_ends_with_the_server_or_the_stream() {
    let stop = CancellationToken::new();
    let stopped = stream(LiveDelivery::Block);
    let mut viewer = Viewer::with_stop(&stopped, &selector("NOW"), stop.clone()).expect("a free place");
    assert!(viewer.is_idle().await);
    stop.cancel();
    assert!(viewer.next().await.is_none());

    let store = camera::store(LiveDelivery::Block);
    let deleted = store.stream_or_create("cam").expect("a valid name");
    let mut viewer = Viewer::new(&deleted, &selector("NOW")).expect("a free place");
    assert!(viewer.is_idle().await);
    store.delete("cam", None).await.expect("it exists");
    assert!(viewer.next().await.is_none());
}

#[tokio::test]
async fn a_cut_ends_the_open_viewers_and_the_next_reads_the_fragment_again() {
    let (stream, [first, second, _]) = three_fragments().await;
    let mut viewer = Viewer::new(&stream, &after_fragment(&first.to_string())).expect("a free place");
    viewer.next_start().await;
    viewer.next_frame().await;
    stream.cut_readers();
    assert!(viewer.next().await.is_none());
    let mut again = Viewer::new(&stream, &after_fragment(&first.to_string())).expect("a free place");
    assert_eq!(again.next_fragment().await.0.number, second.to_string());
}

#[tokio::test]
async fn invalid_bytes_are_sent_unchanged() {
    let stream = stream(LiveDelivery::Fragment);
    stream.append_raw_document(&b"\x00\xFFno Matroska"[..]).expect("the stream exists");
    let chunks =
        kvs_sim::open_media(&stream, &selector("EARLIEST"), 5, CancellationToken::new()).expect("a place");
    let sent = std::pin::pin!(chunks).next().await;
    let sent = sent.expect("a document").expect("no fault");
    assert_eq!(sent, &b"\x00\xFFno Matroska"[..]);
}
