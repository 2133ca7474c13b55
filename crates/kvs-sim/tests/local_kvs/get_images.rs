//! GetImages over real HTTP, with a maker whose images are the text of its request.

use std::sync::Arc;
use std::time::Duration;

use kvs_hls::{AccessUnit, HlsTrack};
use kvs_mkv::writer;
use kvs_sim::{Clock, ImageFormat, ImageMaker, KvsStream, Sim, SimConfig, StreamSettings};
use serde_json::{Value, json};

use crate::camera::NOON_MS;
use crate::hls_player::{AVCC, append, track};
use crate::http::{assert_error, json as json_of, post};

/// Makes images of the times of their frames, and none of the frames at 1000 ms.
#[derive(Debug)]
struct Labels;

impl ImageMaker for Labels {
    fn images(
        &self,
        track: &HlsTrack,
        units: &[AccessUnit],
        wanted: &[usize],
        format: ImageFormat,
    ) -> Vec<Option<Vec<u8>>> {
        assert_eq!((track.width_px, track.height_px), (320, 178));
        let label = |at: &usize| match units[*at].relative_ms {
            1000 => None,
            ms => Some(format!("{ms} {format:?}").into_bytes()),
        };
        wanted.iter().map(label).collect()
    }
}

fn sim(retention_hours: u32) -> (Sim, Arc<KvsStream>) {
    let images: Option<Arc<dyn ImageMaker>> = Some(Arc::new(Labels));
    let config = SimConfig { clock: Clock::standing_at(NOON_MS), images, ..SimConfig::default() };
    let sim = Sim::start(config).expect("a free port");
    let settings = StreamSettings { retention_hours, ..StreamSettings::default() };
    let stream = sim.store().create("cam", settings).expect("the first of its name");
    (sim, stream)
}

fn request(from_ms: i64, to_ms: i64, options: &Value) -> Value {
    let seconds = |after_noon_ms: i64| (NOON_MS + after_noon_ms) as f64 / 1000.0;
    let mut request = json!({
        "StreamName": "cam", "ImageSelectorType": "PRODUCER_TIMESTAMP", "Format": "JPEG",
        "StartTimestamp": seconds(from_ms), "EndTimestamp": seconds(to_ms), "SamplingInterval": 500,
    });
    for (key, value) in options.as_object().expect("an object") {
        request[key] = value.clone();
    }
    request
}

/// Returns the time of each image in ms after noon, and the time of its frame or its error.
fn frames_of(page: &Value) -> Vec<(i64, String)> {
    let images = page["Images"].as_array().unwrap_or_else(|| panic!("{page}"));
    let one = |image: &Value| {
        let ms = (image["TimeStamp"].as_f64().expect("a time") * 1000.0).round() as i64 - NOON_MS;
        match image["ImageContent"].as_str() {
            Some(content) => (ms, decoded(content).split_whitespace().next().unwrap_or("").to_owned()),
            None => (ms, image["Error"].as_str().expect("an error").to_owned()),
        }
    };
    images.iter().map(one).collect()
}

/// Decodes Base64 into a text.
fn decoded(content: &str) -> String {
    let digit = |c: u8| match c {
        b'A'..=b'Z' => c - b'A',
        b'a'..=b'z' => c - b'a' + 26,
        b'0'..=b'9' => c - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let bits =
        content.bytes().filter(|c| *c != b'=').flat_map(|c| (0..6).rev().map(move |bit| digit(c) >> bit & 1));
    let bits: Vec<u8> = bits.collect();
    bits.chunks_exact(8).map(|byte| char::from(byte.iter().fold(0, |sum, bit| sum << 1 | bit))).collect()
}

async fn images(sim: &Sim, request: &Value) -> Value {
    json_of(&post(sim, "/getImages", &request.to_string()).await)
}

fn expected(list: &[(i64, &str)]) -> Vec<(i64, String)> {
    list.iter().map(|(ms, text)| (*ms, (*text).to_owned())).collect()
}

#[tokio::test]
async fn the_image_of_a_time_is_the_frame_on_screen_then() {
    let (sim, stream) = sim(1);
    // 2 s each, with frames at 0, 500, 1000 and 1500 ms, and a gap of 2 s between them.
    append(&stream, &[track(&AVCC)], NOON_MS).await;
    stream.clock().advance(Duration::from_secs(100));
    append(&stream, &[track(&AVCC)], NOON_MS + 4000).await;
    let page = images(&sim, &request(-500, 4700, &json!({}))).await;
    let frames = [
        (-500, "NO_MEDIA"),
        (0, "0"),
        (500, "500"),
        (1000, "MEDIA_ERROR"),
        (1500, "1500"),
        (2000, "1500"),
        (2500, "NO_MEDIA"),
        (3000, "NO_MEDIA"),
        (3500, "NO_MEDIA"),
        (4000, "0"),
        (4500, "500"),
    ];
    assert_eq!((frames_of(&page), &page["NextToken"]), (expected(&frames), &json!(null)));
    let between = images(&sim, &request(499, 499, &json!({}))).await;
    assert_eq!(frames_of(&between), expected(&[(499, "0")]));
    let server = json!({ "ImageSelectorType": "SERVER_TIMESTAMP", "SamplingInterval": 100_000 });
    let page = images(&sim, &request(600, 100_600, &server)).await;
    assert_eq!(frames_of(&page), expected(&[(600, "500"), (100_600, "500")]));
    sim.stop().await;
}

#[tokio::test]
async fn pages_continue_and_formats_reach_the_maker() {
    let (sim, stream) = sim(1);
    append(&stream, &[track(&AVCC)], NOON_MS).await;
    let mut query =
        request(0, 1800, &json!({ "SamplingInterval": 600, "MaxResults": 3, "HeightPixels": 90 }));
    let first = images(&sim, &query).await;
    assert_eq!(frames_of(&first), expected(&[(0, "0"), (600, "500"), (1200, "MEDIA_ERROR")]));
    let content = decoded(first["Images"][0]["ImageContent"].as_str().expect("a picture"));
    assert_eq!(content, "0 Jpeg { quality: 80, size: High(90) }");
    query["NextToken"] = first["NextToken"].clone();
    let second = images(&sim, &query).await;
    assert_eq!((frames_of(&second), &second["NextToken"]), (expected(&[(1800, "1500")]), &json!(null)));
    query["SamplingInterval"] = json!(500);
    assert_error(&post(&sim, "/getImages", &query.to_string()).await, 400, "InvalidArgumentException");
    sim.stop().await;
}

#[tokio::test]
async fn footage_without_video_gives_an_error_per_image() {
    let (sim, stream) = sim(1);
    append(&stream, &[writer::video_track(1, "V_VP9", &AVCC, 320, 178)], NOON_MS).await;
    let page = images(&sim, &request(0, 0, &json!({}))).await;
    assert_eq!(frames_of(&page), expected(&[(0, "MEDIA_ERROR")]));
    sim.stop().await;
}

#[tokio::test]
async fn invalid_requests_are_refused() {
    let (sim, stream) = sim(0);
    append(&stream, &[track(&AVCC)], NOON_MS).await;
    let endpoint = post(&sim, "/getDataEndpoint", r#"{"StreamName":"cam","APIName":"GET_IMAGES"}"#).await;
    assert_eq!(json_of(&endpoint)["DataEndpoint"], "http://kvs.test:80");
    for (request, status, kind) in [
        (request(0, 1000, &json!({})), 400, "NoDataRetentionException"),
        (request(0, 1000, &json!({ "StreamName": "none" })), 404, "ResourceNotFoundException"),
        (request(0, 300_001, &json!({})), 400, "InvalidArgumentException"),
        (request(0, 1000, &json!({ "Format": null })), 400, "InvalidArgumentException"),
        (request(0, 1000, &json!({ "WidthPixels": 100 })), 400, "InvalidArgumentException"),
        (
            request(0, 1000, &json!({ "StartTimestamp": 1e300, "EndTimestamp": 1e300 })),
            400,
            "NoDataRetentionException",
        ),
    ] {
        let answer = post(&sim, "/getImages", &request.to_string()).await;
        assert!(answer.contains(kind), "{request}: {answer}");
        assert_error(&answer, status, kind);
    }
    sim.stop().await;
}
