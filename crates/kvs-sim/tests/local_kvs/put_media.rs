//! PutMedia on the wire: acknowledgements during the request, limits, invalid data.

use std::sync::Arc;

use kvs_mkv::{Tag, writer};
use kvs_sim::{KvsStream, Sim, StreamSettings};
use proptest::prelude::*;

use crate::camera::{Viewer, selector};
use crate::http::{Connection, assert_error, sim};

/// Returns a producer's header, as AWS's producer SDK writes it.
fn header() -> Vec<u8> {
    let mut out = Vec::new();
    writer::document_header(&mut out);
    writer::info(&mut out, 1_000_000, "a producer");
    writer::tracks(&mut out, &[writer::video_track(1, "V_MPEG4/ISO/AVC", b"\x01private", 640, 360)]);
    out
}

fn cluster(timestamp: u64, frames: &[(i16, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    writer::cluster_start(&mut out, timestamp);
    for &(relative, payload) in frames {
        writer::simple_block(&mut out, 1, relative, relative == 0, payload);
    }
    out
}

fn tags(tags: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    let tags: Vec<Tag> = tags.iter().map(|&(name, value)| Tag::new(name, value)).collect();
    writer::tags(&mut out, &tags);
    out
}

fn end_of_fragment() -> Vec<u8> {
    tags(&[("AWS_KINESISVIDEO_END_OF_FRAGMENT", "")])
}

async fn begin(sim: &Sim, headers: &str) -> Connection {
    let mut connection = Connection::open(sim.address()).await;
    let head = format!(
        "POST /putMedia HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\
         x-amzn-stream-name: cam\r\n{headers}\r\n"
    );
    connection.write(head.as_bytes()).await;
    connection
}

const ABSOLUTE: &str = "x-amzn-fragment-timecode-type: ABSOLUTE\r\n";

fn kept(sim: &Sim) -> Arc<KvsStream> {
    let settings = StreamSettings { retention_hours: 1, ..StreamSettings::default() };
    sim.store().create("cam", settings).expect("the first of its name")
}

#[tokio::test]
async fn a_fragment_is_acknowledged_at_its_end_during_the_request() {
    let sim = sim();
    let stream = kept(&sim);
    let mut producer = begin(&sim, &format!("{ABSOLUTE}Expect: 100-continue\r\n")).await;
    producer.read_until("HTTP/1.1 100 Continue\r\n\r\n").await;
    producer.write_chunk(&header()).await;
    producer.write_chunk(&cluster(5000, &[(0, b"first"), (40, b"second")])).await;
    producer.read_until(r#"{"EventType":"BUFFERING","FragmentTimecode":5000,"FragmentNumber":"#).await;
    producer.write_chunk(&tags(&[("door", "open")])).await;
    producer.write_chunk(&end_of_fragment()).await;
    producer.read_until(r#"{"EventType":"RECEIVED","FragmentTimecode":5000,"FragmentNumber":"#).await;
    producer.read_until(r#"{"EventType":"PERSISTED","FragmentTimecode":5000,"FragmentNumber":"#).await;

    let mut viewer = Viewer::new(&stream, &selector("EARLIEST")).expect("a free place");
    let (start, end) = viewer.next_fragment().await;
    assert_eq!((start.producer_ms, start.cluster_timestamp), (Some(5000), Some(5000)));
    assert_eq!(&start.tracks[0].codec_private[..], b"\x01private");
    assert_eq!((end.complete, end.tags), (true, vec![Tag::new("door", "open")]));

    let second = begin(&sim, ABSOLUTE).await;
    assert_error(&second.read_to_end().await, 400, "ConnectionLimitExceededException");

    producer.write_chunk(&cluster(7000, &[(0, b"last")])).await;
    producer.write_chunk(b"").await;
    let answer = producer.read_to_end().await;
    assert!(answer.contains(r#"{"EventType":"RECEIVED","FragmentTimecode":7000,"#), "{answer}");
    assert_eq!(stream.fragment_numbers().len(), 2, "the end of the request completes its last fragment");
    sim.stop().await;
}

#[tokio::test]
async fn relative_timecodes_count_from_the_producers_start() {
    let sim = sim();
    let stream = kept(&sim);
    let headers =
        "x-amzn-fragment-timecode-type: RELATIVE\r\nx-amzn-producer-start-timestamp: 1700000000.250\r\n";
    let mut producer = begin(&sim, headers).await;
    producer.write_chunk(&[header(), cluster(2000, &[(0, b"first")])].concat()).await;
    producer.write_chunk(b"").await;
    producer.read_to_end().await;
    let mut viewer = Viewer::new(&stream, &selector("EARLIEST")).expect("a free place");
    let start = viewer.next_start().await;
    assert_eq!((start.producer_ms, start.cluster_timestamp), (Some(1_700_000_002_250), Some(2000)));
    sim.stop().await;
}

#[tokio::test]
async fn invalid_headers_are_refused() {
    let sim = sim();
    kept(&sim);
    let invalid = [
        "",
        "x-amzn-fragment-timecode-type: absolute\r\n",
        "x-amzn-fragment-timecode-type: RELATIVE\r\nx-amzn-producer-start-timestamp: noon\r\n",
    ];
    for headers in invalid {
        let producer = begin(&sim, headers).await;
        assert_error(&producer.read_to_end().await, 400, "InvalidArgumentException");
    }
    sim.stop().await;
}

/// A name, a body, and the id and code of its error.
type BrokenLimit = (&'static str, Vec<u8>, u32, &'static str);

/// Returns requests that break a limit. "time goes back" begins with the only whole fragment.
fn broken_limits() -> Vec<BrokenLimit> {
    let tag = |name: &str| tags(&[(name, "x")]);
    let whole = [cluster(5000, &[(0, b"kept")]), end_of_fragment()].concat();
    let mut other_track = Vec::new();
    writer::simple_block(&mut other_track, 2, 0, true, b"sound");
    let too_large = cluster(0, &[(0, &[0; 13 << 20][..]); 4]);
    let mut four_tracks = Vec::new();
    let tracks: Vec<_> = (1..=4).map(|number| writer::video_track(number, "V_X", b"", 1, 1)).collect();
    writer::document_header(&mut four_tracks);
    writer::tracks(&mut four_tracks, &tracks);
    let mut cut = [header(), cluster(0, &[(0, b"x")])].concat();
    cut.pop();
    vec![
        ("no Matroska", b"\x00\x00no Matroska".to_vec(), 4006, "INVALID_MKV_DATA"),
        ("no tracks", cluster(5000, &[(0, b"x")]), 4006, "INVALID_MKV_DATA"),
        (
            "time goes back",
            [header(), whole, cluster(4999, &[])].concat(),
            4004,
            "FRAGMENT_TIMECODE_LESSER_THAN_PREVIOUS",
        ),
        (
            "too long",
            [header(), cluster(0, &[(0, b"x"), (20_001, b"y")])].concat(),
            4002,
            "MAX_FRAGMENT_DURATION_REACHED",
        ),
        (
            "eleven tags",
            [header(), cluster(0, &[]), tag("a").repeat(11)].concat(),
            4009,
            "FRAGMENT_METADATA_LIMIT_REACHED",
        ),
        (
            "a long name",
            [header(), cluster(0, &[]), tag(&"n".repeat(129))].concat(),
            4009,
            "FRAGMENT_METADATA_LIMIT_REACHED",
        ),
        (
            "an unknown track",
            [header(), cluster(0, &[]), other_track].concat(),
            4010,
            "TRACK_NUMBER_MISMATCH",
        ),
        ("too large", [header(), too_large].concat(), 4001, "MAX_FRAGMENT_SIZE_REACHED"),
        ("four tracks", four_tracks, 4012, "MORE_THAN_ALLOWED_TRACKS_FOUND"),
        ("cut inside a block", cut, 4006, "INVALID_MKV_DATA"),
    ]
}

#[tokio::test]
async fn each_limit_has_its_error_code() {
    let sim = sim();
    let stream = kept(&sim);
    for (name, body, id, code) in broken_limits() {
        let mut producer = begin(&sim, ABSOLUTE).await;
        producer.write_chunk(&body).await;
        producer.write(b"0\r\n\r\n").await;
        let answer = producer.read_to_end().await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{name}: {answer}");
        assert!(answer.contains(&format!(r#""ErrorId":{id},"ErrorCode":"{code}"}}"#)), "{name}: {answer}");
    }
    assert_eq!(stream.fragment_numbers().len(), 1, "only the one whole fragment is kept");
    sim.stop().await;
}

#[tokio::test]
async fn a_broken_connection_leaves_no_partial_fragment_and_frees_the_stream() {
    let sim = sim();
    let stream = kept(&sim);
    let mut producer = begin(&sim, ABSOLUTE).await;
    producer.write_chunk(&[header(), cluster(0, &[(0, b"half")])].concat()).await;
    producer.read_until("BUFFERING").await;
    drop(producer);
    while stream.claim_producer().is_err() {
        tokio::task::yield_now().await;
    }
    assert_eq!(stream.fragment_numbers(), []);
    sim.stop().await;
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// With any bytes of a producer, the answer ends, whole fragments stay readable, and the stream accepts the next producer.
    #[test]
    fn invalid_bytes_have_no_other_effect(at in 0usize..400, byte: u8, cut in 1usize..64) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let sim = sim();
            let stream = kept(&sim);
            let good = [header(), cluster(0, &[(0, b"first"), (40, b"second")]), end_of_fragment()].concat();
            let mut bad = [good.clone(), cluster(1000, &[(0, b"third")]), end_of_fragment()].concat();
            let at = at % bad.len();
            bad[at] = byte;
            let mut producer = begin(&sim, ABSOLUTE).await;
            let chunks: Vec<u8> = bad.chunks(cut).flat_map(chunk).chain(*b"0\r\n\r\n").collect();
            producer.write(&chunks).await;
            producer.read_to_end().await;
            drop(stream.claim_producer().expect("the stream is free again"));
            let mut viewer = Viewer::new(&stream, &selector("EARLIEST")).expect("a free place");
            for _ in stream.fragment_numbers() {
                viewer.next_fragment().await;
            }
            sim.stop().await;
        });
    }
}

fn chunk(bytes: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}
