//! GetClip over real HTTP: the fragments of a clip, and the requests that are refused.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kvs_mkv::{Block, TrackEntry, TrackKind, writer};
use kvs_sim::{Clock, KvsStream, Sim, SimConfig, StreamSettings, append_fragment};
use serde_json::{Value, json};

use crate::camera::NOON_MS;
use crate::hls_player::{AVCC, append, frame, head, standing, track};
use crate::http::{assert_error, begin, post};

fn range(line: &str, from_ms: i64, to_ms: i64) -> Value {
    let seconds = |after_noon_ms: i64| (NOON_MS + after_noon_ms) as f64 / 1000.0;
    let range = json!({ "StartTimestamp": seconds(from_ms), "EndTimestamp": seconds(to_ms) });
    json!({ "FragmentSelectorType": line, "TimestampRange": range })
}

/// Returns head and body of the answer.
async fn clip(sim: &Sim, selector: Value) -> (String, Vec<u8>) {
    let request = json!({ "StreamName": "cam", "ClipFragmentSelector": selector }).to_string();
    let answer = begin(sim, "POST", "/getClip", &request, "Connection: close\r\n").await.read_all().await;
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("a head") + 4;
    (String::from_utf8_lossy(&answer[..end]).into_owned(), answer[end..].to_vec())
}

/// Appends a fragment of one frame whose payload can be found in a file.
async fn append_marked(stream: &Arc<KvsStream>, producer_ms: i64, mark: &str) {
    let frames = [frame(0, true, mark.as_bytes())];
    append_fragment(stream, head(&[track(&AVCC)], producer_ms), &frames, Vec::new()).await.expect("a stream");
}

/// Appends a fragment whose frames are a million times this byte.
async fn append_large(stream: &Arc<KvsStream>, producer_ms: i64, filler: u8, frames: i16) {
    let payload = vec![filler; 1_000_000];
    let frames: Vec<Block> = (0..frames).map(|at| frame(at * 40, at == 0, &payload)).collect();
    append_fragment(stream, head(&[track(&AVCC)], producer_ms), &frames, Vec::new()).await.expect("a stream");
}

fn holds(file: &[u8], mark: &str) -> bool {
    file.windows(mark.len()).any(|bytes| bytes == mark.as_bytes())
}

#[tokio::test]
async fn a_clip_has_the_fragments_that_begin_in_the_range() {
    let (sim, stream) = standing();
    let marks = ["<0>", "<1>", "<old>", "<2>", "<3>"];
    for (start_ms, mark) in [0, 2000, 4000, 4000, 6000].into_iter().zip(marks) {
        append_marked(&stream, NOON_MS + start_ms, mark).await;
        stream.clock().advance(Duration::from_secs(10));
    }
    let cases = [
        (
            "both ends included, of two at one time the newer",
            range("PRODUCER_TIMESTAMP", 0, 6000),
            [1, 1, 0, 1, 1],
        ),
        ("none that began before", range("PRODUCER_TIMESTAMP", 1, 5999), [0, 1, 0, 1, 0]),
        ("by the server's clock", range("SERVER_TIMESTAMP", 10_000, 30_000), [0, 1, 1, 1, 0]),
    ];
    for (name, selector, expected) in cases {
        let (head, body) = clip(&sim, selector).await;
        assert!(
            head.starts_with("HTTP/1.1 200 ") && head.contains("content-type: video/mp4\r\n"),
            "{name}: {head}"
        );
        assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{name}: {head}");
        assert_eq!(&body[4..8], b"ftyp", "{name}");
        assert_eq!(marks.map(|mark| i32::from(holds(&body, mark))), expected, "{name}");
    }
    sim.stop().await;
}

#[tokio::test]
async fn a_clip_ends_with_200_fragments_or_100_mb() {
    let (sim, stream) = standing();
    for at in 0..201 {
        append_marked(&stream, NOON_MS + at * 100, &format!("<{at}>")).await;
    }
    let (_, body) = clip(&sim, range("PRODUCER_TIMESTAMP", 0, 60_000)).await;
    assert_eq!((holds(&body, "<0>"), holds(&body, "<199>"), holds(&body, "<200>")), (true, true, false));
    for at in 0..3 {
        append_large(&stream, NOON_MS + 100_000 + i64::from(at) * 1000, b'0' + at, 49).await;
    }
    let (_, body) = clip(&sim, range("PRODUCER_TIMESTAMP", 100_000, 200_000)).await;
    assert_eq!((body.len() / 1_000_000, holds(&body, "11111"), holds(&body, "22222")), (98, true, false));
    sim.stop().await;
}

#[tokio::test]
async fn each_reason_against_a_clip_has_its_error() {
    let avc = |private: &[u8]| vec![track(private)];
    let mut other = AVCC;
    other[3] = 0x0D;
    let sound =
        TrackEntry { number: 2, kind: TrackKind::Audio, ..writer::video_track(2, "A_AAC", b"x", 0, 0) };
    let with_sound = vec![track(&AVCC), TrackEntry { raw: Bytes::new(), ..sound }];
    let cases: [(&str, Vec<Vec<TrackEntry>>, u16, &str); 6] = [
        ("nothing in the range", vec![], 404, "ResourceNotFoundException"),
        (
            "another codec",
            vec![vec![writer::video_track(1, "V_VP9", &AVCC, 320, 178)]],
            400,
            "UnsupportedStreamMediaTypeException",
        ),
        ("no private data", vec![avc(b"")], 400, "MissingCodecPrivateDataException"),
        ("cut private data", vec![avc(&AVCC[..20])], 400, "InvalidCodecPrivateDataException"),
        ("changed private data", vec![avc(&AVCC), avc(&other)], 400, "InvalidCodecPrivateDataException"),
        ("sound from somewhere on", vec![avc(&AVCC), with_sound], 400, "UnsupportedStreamMediaTypeException"),
    ];
    for (name, fragments, status, kind) in cases {
        let (sim, stream) = standing();
        for (at, tracks) in fragments.iter().enumerate() {
            append(&stream, tracks, NOON_MS + at as i64 * 2000).await;
        }
        let (head, body) = clip(&sim, range("PRODUCER_TIMESTAMP", 0, 60_000)).await;
        let answer = format!("{head}{}", String::from_utf8_lossy(&body));
        assert!(answer.contains(kind), "{name}: {answer}");
        assert_error(&answer, status, kind);
        sim.stop().await;
    }
}

#[tokio::test]
async fn invalid_frames_are_refused() {
    let (sim, stream) = standing();
    let mut broken = frame(0, true, b"key");
    broken.data = Bytes::from_static(b"\0\0\0\x20short");
    append_fragment(&stream, head(&[track(&AVCC)], NOON_MS), &[broken], Vec::new()).await.expect("a stream");
    let (head, body) = clip(&sim, range("PRODUCER_TIMESTAMP", 0, 1000)).await;
    assert_error(&format!("{head}{}", String::from_utf8_lossy(&body)), 400, "InvalidMediaFrameException");
    sim.stop().await;
}

#[tokio::test]
async fn a_stream_without_retention_has_no_clips() {
    let sim = Sim::start(SimConfig { clock: Clock::standing_at(NOON_MS), ..SimConfig::default() })
        .expect("a free port");
    let stream = sim.store().create("cam", StreamSettings::default()).expect("the first of its name");
    append(&stream, &[track(&AVCC)], NOON_MS).await;
    let (head, body) = clip(&sim, range("PRODUCER_TIMESTAMP", 0, 1000)).await;
    assert_error(&format!("{head}{}", String::from_utf8_lossy(&body)), 400, "NoDataRetentionException");
    sim.stop().await;
}

#[tokio::test]
async fn invalid_requests_are_refused() {
    let (sim, stream) = standing();
    append(&stream, &[track(&AVCC)], NOON_MS).await;
    let good = range("PRODUCER_TIMESTAMP", 0, 1000);
    let endless =
        json!({ "FragmentSelectorType": "PRODUCER_TIMESTAMP", "TimestampRange": { "StartTimestamp": 1 } });
    for (request, status, kind) in [
        (json!({ "StreamName": "cam" }), 400, "InvalidArgumentException"),
        (json!({ "ClipFragmentSelector": good }), 400, "InvalidArgumentException"),
        (json!({ "StreamName": "none", "ClipFragmentSelector": good }), 404, "ResourceNotFoundException"),
        (json!({ "StreamName": "cam", "ClipFragmentSelector": endless }), 400, "InvalidArgumentException"),
        (
            json!({ "StreamName": "cam", "ClipFragmentSelector": range("NOW", 0, 1) }),
            400,
            "InvalidArgumentException",
        ),
        (
            json!({ "StreamName": "cam", "ClipFragmentSelector": range("PRODUCER_TIMESTAMP", 0, 0) }),
            400,
            "InvalidArgumentException",
        ),
        (
            json!({ "StreamName": "cam", "ClipFragmentSelector": range("PRODUCER_TIMESTAMP", 0, 86_400_001) }),
            400,
            "InvalidArgumentException",
        ),
        (
            json!({ "StreamName": "cam", "ClipFragmentSelector": range("SERVER_TIMESTAMP", 0, 1000) }),
            400,
            "InvalidArgumentException",
        ),
    ] {
        let answer = post(&sim, "/getClip", &request.to_string()).await;
        assert!(answer.contains(kind), "{request}: {answer}");
        assert_error(&answer, status, kind);
    }
    sim.stop().await;
}

#[tokio::test]
async fn the_sixth_connection_to_the_archive_is_refused() {
    let (sim, stream) = standing();
    append_large(&stream, NOON_MS, b'x', 30).await;
    let selector = range("PRODUCER_TIMESTAMP", 0, 1000);
    let request = json!({ "StreamName": "cam", "ClipFragmentSelector": selector }).to_string();
    let mut open = Vec::new();
    for _ in 0..5 {
        let mut connection = begin(&sim, "POST", "/getClip", &request, "").await;
        connection.read_until("ftyp").await;
        open.push(connection);
    }
    assert_error(&post(&sim, "/getClip", &request).await, 400, "ClientLimitExceededException");
    drop(open);
    sim.stop().await;
}
