//! HLS sessions: their start, their segments, their end.

use std::time::Duration;

use kvs_mkv::{TrackEntry, writer};
use kvs_sim::{Clock, Sim, SimConfig, StreamSettings, append_fragment};
use serde_json::{Value, json};

use crate::camera::NOON_MS;
use crate::hls_player::{AVCC, Player, append, ask_session, frame, head, standing, track};
use crate::http::{ask, assert_error, begin, json as json_of, post};

/// Converts a time after noon to seconds since 1970.
fn seconds(after_noon_ms: i64) -> f64 {
    (NOON_MS + after_noon_ms) as f64 / 1000.0
}

fn range(line: &str, from_ms: i64, to_ms: i64) -> Value {
    let range = json!({ "StartTimestamp": seconds(from_ms), "EndTimestamp": seconds(to_ms) });
    json!({ "FragmentSelectorType": line, "TimestampRange": range })
}

#[tokio::test]
async fn the_url_has_the_address_of_the_request() {
    let (sim, stream) = standing();
    append(&stream, &[track(&AVCC)], NOON_MS).await;
    let request = r#"{"StreamName":"cam","APIName":"GET_HLS_STREAMING_SESSION_URL"}"#;
    let endpoint = json_of(&post(&sim, "/getDataEndpoint", request).await)["DataEndpoint"].clone();
    assert_eq!(endpoint, "http://kvs.test:80");
    let player = Player::open(&sim, json!({})).await;
    let path = "http://kvs.test:80/hls/v1/getHLSMasterPlaylist.m3u8?SessionToken=";
    assert!(player.url.starts_with(path), "{}", player.url);
    let (_, master) = player.master().await;
    let master = String::from_utf8(master).expect("text");
    assert!(master.contains("CODECS=\"avc1.64000c\",RESOLUTION=320x178"), "{master}");
    sim.stop().await;
}

#[tokio::test]
async fn a_session_expires() {
    let (sim, stream) = standing();
    append(&stream, &[track(&AVCC)], NOON_MS).await;
    let options = |expires: i64| {
        json!({
            "Expires": expires,
            "PlaybackMode": "ON_DEMAND",
            "HLSFragmentSelector": range("PRODUCER_TIMESTAMP", 0, 10_000),
        })
    };
    let (short, long) = (Player::open(&sim, options(300)).await, Player::open(&sim, options(301)).await);
    let segment = short.playlist().await.segments.remove(0);
    stream.clock().advance(Duration::from_millis(299_999));
    assert_eq!(short.master().await.0, 200);
    stream.clock().advance(Duration::from_millis(1));
    for (status, body) in [short.master().await, short.media().await, short.fetch(&segment.link).await] {
        let body = String::from_utf8_lossy(&body).into_owned();
        assert_eq!(status, 403, "{body}");
        assert!(body.contains("ask for a new session"), "{body}");
    }
    assert_eq!(long.media().await.0, 200);
    sim.stop().await;
}

#[tokio::test]
async fn the_lifetime_of_sessions_can_be_limited() {
    let clock = Clock::standing_at(NOON_MS);
    let max_hls_session = Duration::from_millis(2500);
    let sim = Sim::start(SimConfig { clock: clock.clone(), max_hls_session, ..SimConfig::default() });
    let sim = sim.expect("a free port");
    append(&sim.store().stream_or_create("cam").expect("a valid name"), &[track(&AVCC)], NOON_MS).await;
    let player = Player::open(&sim, json!({})).await;
    clock.advance(Duration::from_millis(2499));
    assert_eq!(player.media().await.0, 200);
    clock.advance(Duration::from_millis(1));
    assert_eq!(player.media().await.0, 403);
    sim.stop().await;
}

#[tokio::test]
async fn an_unknown_token_is_not_authorized() {
    let (sim, stream) = standing();
    let number = append(&stream, &[track(&AVCC)], NOON_MS).await;
    Player::open(&sim, json!({})).await;
    for path in [
        "getHLSMasterPlaylist.m3u8".to_owned(),
        "getHLSMediaPlaylist.m3u8".to_owned(),
        format!("getMP4InitFragment.mp4?FragmentNumber={number}"),
        format!("getMP4MediaFragment.mp4?FragmentNumber={number}"),
        format!("getTSFragment.ts?FragmentNumber={number}"),
    ] {
        for token in ["", "x"] {
            let sign = if path.contains('?') { '&' } else { '?' };
            let path = format!("/hls/v1/{path}{sign}SessionToken={token}");
            let answer = ask(&sim, "GET", &path, "").await;
            assert_error(&answer, 403, "NotAuthorizedException");
        }
    }
    sim.stop().await;
}

#[tokio::test]
async fn a_live_session_lists_the_newest_fragments_and_continues() {
    let (sim, stream) = standing();
    let mut numbers = Vec::new();
    let player = {
        for at in 0..3 {
            numbers.push(append(&stream, &[track(&AVCC)], NOON_MS + at * 2000).await.to_string());
            stream.clock().advance(Duration::from_secs(2));
        }
        Player::open(&sim, json!({ "MaxMediaPlaylistFragmentResults": 2 })).await
    };
    let listed = player.playlist().await;
    assert_eq!((listed.media_sequence, listed.target_duration_s, listed.ended), (0, 2, false));
    assert_eq!(player.numbers().await, numbers[1..]);
    let old = &listed.segments[0];
    for at in 3..6 {
        numbers.push(append(&stream, &[track(&AVCC)], NOON_MS + at * 2000).await.to_string());
        stream.clock().advance(Duration::from_secs(2));
    }
    let listed = player.playlist().await;
    assert_eq!(
        player.numbers().await,
        numbers[4..],
        "fragments that no player asked for in time are not listed"
    );
    assert_eq!(listed.media_sequence, 3, "but they are counted");
    let text = String::from_utf8(player.media().await.1).expect("text");
    assert!(
        text.contains("#EXT-X-DISCONTINUITY-SEQUENCE:2\n"),
        "and the two discontinuities between them: {text}"
    );
    assert_eq!(player.fetch(&old.link).await.0, 200, "a segment that was listed can still be fetched");
    let init = old.init.as_ref().expect("an initialization segment");
    for listed in [&old.link, init] {
        let other = listed.secret().replace(&numbers[1], &numbers[0]);
        let other = listed.join(&other).expect("the same server");
        assert_eq!(player.fetch(&other).await.0, 404, "nothing else can: {other}");
    }
    sim.stop().await;
}

#[tokio::test]
async fn a_live_session_needs_a_fragment_of_the_last_30_s() {
    let (sim, stream) = standing();
    let none = || ask_session(&sim, json!({ "PlaybackMode": "LIVE" }));
    assert_error(&none().await, 404, "ResourceNotFoundException");
    append(&stream, &[track(&AVCC)], NOON_MS).await;
    stream.clock().advance(Duration::from_secs(32));
    assert!(json_of(&none().await)["HLSStreamingSessionURL"].is_string(), "it ended 30 s ago");
    stream.clock().advance(Duration::from_millis(1));
    assert_error(&none().await, 404, "ResourceNotFoundException");
    sim.stop().await;
}

#[tokio::test]
async fn a_pause_of_the_camera_ends_a_live_session_permanently() {
    for fetched_meanwhile in [true, false] {
        let (sim, stream) = standing();
        append(&stream, &[track(&AVCC)], NOON_MS).await;
        let player = Player::open(&sim, json!({})).await;
        assert_eq!(player.media().await.0, 200);
        stream.clock().advance(Duration::from_millis(32_001));
        if fetched_meanwhile {
            assert_eq!(player.media().await.0, 404);
        }
        let number = append(&stream, &[track(&AVCC)], NOON_MS + 32_001).await;
        assert_eq!((player.media().await.0, player.master().await.0), (404, 404), "{fetched_meanwhile}");
        let again = Player::open(&sim, json!({})).await;
        assert_eq!(again.numbers().await, [number.to_string()], "a new one begins after the pause");
        sim.stop().await;
    }
}

#[tokio::test]
async fn discontinuities_are_marked_as_asked_for() {
    let (sim, stream) = standing();
    for start_ms in [0, 2050, 4101, 6050] {
        append(&stream, &[track(&AVCC)], NOON_MS + start_ms).await;
    }
    let cases = [
        ("PRODUCER_TIMESTAMP", None, [false, false, false, false]),
        ("PRODUCER_TIMESTAMP", Some("NEVER"), [false, false, false, false]),
        ("PRODUCER_TIMESTAMP", Some("ALWAYS"), [false, true, true, true]),
        ("PRODUCER_TIMESTAMP", Some("ON_DISCONTINUITY"), [false, false, true, true]),
        ("SERVER_TIMESTAMP", None, [false, true, true, true]),
        ("SERVER_TIMESTAMP", Some("NEVER"), [false, false, false, false]),
    ];
    for (line, mode, expected) in cases {
        let mut options = json!({ "HLSFragmentSelector": { "FragmentSelectorType": line } });
        if let Some(mode) = mode {
            options["DiscontinuityMode"] = json!(mode);
        }
        let playlist = Player::open(&sim, options).await.playlist().await;
        let marked: Vec<bool> = playlist.segments.iter().map(|segment| segment.discontinuity).collect();
        assert_eq!(marked, expected, "{line} {mode:?}");
    }
    sim.stop().await;
}

#[tokio::test]
async fn playlists_are_dated_by_the_clock_that_was_chosen() {
    let (sim, stream) = standing();
    append(&stream, &[track(&AVCC)], NOON_MS - 5000).await;
    for (line, shown, date_ms) in [
        ("PRODUCER_TIMESTAMP", "ALWAYS", Some(NOON_MS - 5000)),
        ("SERVER_TIMESTAMP", "ALWAYS", Some(NOON_MS)),
        ("PRODUCER_TIMESTAMP", "NEVER", None),
    ] {
        let selector = json!({ "FragmentSelectorType": line });
        let options = json!({ "HLSFragmentSelector": selector, "DisplayFragmentTimestamp": shown });
        let playlist = Player::open(&sim, options).await.playlist().await;
        assert_eq!(playlist.segments[0].program_date_time_ms, date_ms, "{line} {shown}");
    }
    sim.stop().await;
}

#[tokio::test]
async fn missing_sizes_and_lengths_are_derived() {
    let (sim, stream) = standing();
    let sizeless = writer::video_track(1, "V_MPEG4/ISO/AVC", &AVCC, 0, 0);
    let lone = [frame(0, true, b"lone")];
    append_fragment(&stream, head(&[sizeless], NOON_MS), &lone, Vec::new()).await.expect("a stream");
    let player = Player::open(&sim, json!({})).await;
    let master = String::from_utf8(player.master().await.1).expect("text");
    assert!(master.contains("RESOLUTION=320x178"), "{master}");
    assert_eq!(player.playlist().await.segments[0].duration_ms, 1000, "a lone frame lasts a second");
    sim.stop().await;
}

#[tokio::test]
async fn a_change_of_codec_private_data_has_a_new_initialization_segment() {
    let (sim, stream) = standing();
    let mut other = AVCC;
    other[3] = 0x0D;
    for (at, private) in [(0, AVCC), (1, AVCC), (2, other), (3, AVCC)] {
        append(&stream, &[track(&private)], NOON_MS + at * 2000).await;
    }
    let selector = json!({ "FragmentSelectorType": "PRODUCER_TIMESTAMP" });
    let player = Player::open(&sim, json!({ "HLSFragmentSelector": selector })).await;
    let playlist = player.playlist().await;
    let marked: Vec<bool> = playlist.segments.iter().map(|segment| segment.discontinuity).collect();
    assert_eq!(marked, [false, false, true, true]);
    let init = |at: usize| playlist.segments[at].init.as_ref().map(|link| link.secret());
    assert_eq!(init(0), init(1));
    for (at, private) in [(0, AVCC), (1, AVCC), (2, other), (3, AVCC)] {
        assert_eq!(player.segment(&playlist.segments[at]).await.0[..], private, "segment {at}");
    }
    sim.stop().await;
}

#[tokio::test]
async fn on_demand_lists_the_range_once() {
    let (sim, stream) = standing();
    let mut numbers = Vec::new();
    for start_ms in [0, 2000, 4000, 4000, 6000] {
        numbers.push(append(&stream, &[track(&AVCC)], NOON_MS + start_ms).await.to_string());
        stream.clock().advance(Duration::from_secs(10));
    }
    let cases = [
        ("all, of two at one time the newer", range("PRODUCER_TIMESTAMP", 0, 6000), 9, vec![0, 1, 3, 4]),
        ("the oldest of too many", range("PRODUCER_TIMESTAMP", 0, 6000), 2, vec![0, 1]),
        ("none that began before", range("PRODUCER_TIMESTAMP", 1, 2000), 9, vec![1]),
        ("by the server's clock", range("SERVER_TIMESTAMP", 10_000, 30_000), 9, vec![1, 2, 3]),
    ];
    for (name, selector, most, expected) in cases {
        let options = json!({
            "PlaybackMode": "ON_DEMAND",
            "HLSFragmentSelector": selector,
            "MaxMediaPlaylistFragmentResults": most,
        });
        let player = Player::open(&sim, options).await;
        let expected: Vec<String> = expected.into_iter().map(|at: usize| numbers[at].clone()).collect();
        assert_eq!(player.numbers().await, expected, "{name}");
        assert!(player.playlist().await.ended, "{name}");
    }
    let open =
        json!({ "PlaybackMode": "ON_DEMAND", "HLSFragmentSelector": range("PRODUCER_TIMESTAMP", 0, 6000) });
    let player = Player::open(&sim, open).await;
    let before = player.numbers().await;
    append(&stream, &[track(&AVCC)], NOON_MS + 1000).await;
    assert_eq!(player.numbers().await, before, "the list does not change");
    let nothing = json!({ "PlaybackMode": "ON_DEMAND", "HLSFragmentSelector": range("PRODUCER_TIMESTAMP", 7000, 8000) });
    assert_error(&ask_session(&sim, nothing).await, 404, "ResourceNotFoundException");
    sim.stop().await;
}

#[tokio::test]
async fn live_replay_lists_fragments_at_the_pace_of_playback() {
    let (sim, stream) = standing();
    let mut numbers = Vec::new();
    for at in 0..4 {
        numbers.push(append(&stream, &[track(&AVCC)], NOON_MS + at * 2000).await.to_string());
    }
    stream.clock().advance(Duration::from_secs(100));
    let open = |selector| {
        Player::open(&sim, json!({ "PlaybackMode": "LIVE_REPLAY", "HLSFragmentSelector": selector }))
    };
    let bounded = open(range("PRODUCER_TIMESTAMP", 2000, 6000)).await;
    let selector = json!({ "FragmentSelectorType": "PRODUCER_TIMESTAMP", "TimestampRange": { "StartTimestamp": seconds(0) } });
    let endless = open(selector).await;
    assert_eq!(bounded.numbers().await, numbers[1..2]);
    stream.clock().advance(Duration::from_millis(1999));
    assert_eq!(bounded.numbers().await, numbers[1..2]);
    stream.clock().advance(Duration::from_millis(1));
    assert_eq!(bounded.numbers().await, numbers[1..3]);
    assert!(!bounded.playlist().await.ended);
    stream.clock().advance(Duration::from_secs(6));
    assert_eq!(bounded.numbers().await, numbers[1..]);
    assert!(bounded.playlist().await.ended);
    assert_eq!(endless.numbers().await, numbers);
    assert!(!endless.playlist().await.ended);
    numbers.push(append(&stream, &[track(&AVCC)], NOON_MS + 8000).await.to_string());
    assert_eq!(endless.numbers().await, numbers);
    sim.stop().await;
}

#[tokio::test]
async fn each_reason_against_a_session_has_its_error() {
    let avc = |private: &[u8]| vec![track(private)];
    let vp9 = vec![writer::video_track(1, "V_VP9", &AVCC, 320, 178)];
    let cases: [(&str, u32, Vec<TrackEntry>, u16, &str); 6] = [
        ("no retention", 0, avc(&AVCC), 400, "NoDataRetentionException"),
        ("another codec", 1, vp9, 400, "UnsupportedStreamMediaTypeException"),
        ("no tracks", 1, Vec::new(), 400, "UnsupportedStreamMediaTypeException"),
        ("no private data", 1, avc(b""), 400, "MissingCodecPrivateDataException"),
        ("Annex B as private data", 1, avc(&[0, 0, 0, 1, 0x67]), 400, "InvalidCodecPrivateDataException"),
        ("cut private data", 1, avc(&AVCC[..20]), 400, "InvalidCodecPrivateDataException"),
    ];
    for (name, retention_hours, tracks, status, kind) in cases {
        let sim = Sim::start(SimConfig::default()).expect("a free port");
        let settings = StreamSettings { retention_hours, ..StreamSettings::default() };
        let stream = sim.store().create("cam", settings).expect("the first of its name");
        append(&stream, &tracks, NOON_MS).await;
        let answer = ask_session(&sim, json!({})).await;
        assert!(answer.contains(kind), "{name}: {answer}");
        assert_error(&answer, status, kind);
        sim.stop().await;
    }
}

#[tokio::test]
async fn invalid_requests_are_refused() {
    let (sim, stream) = standing();
    append(&stream, &[track(&AVCC)], NOON_MS).await;
    let producer = |from, to| range("PRODUCER_TIMESTAMP", from, to);
    let mut unnamed = producer(-10_000, -5000);
    unnamed.as_object_mut().expect("an object").remove("FragmentSelectorType");
    let on_demand = |selector: Value| json!({ "PlaybackMode": "ON_DEMAND", "HLSFragmentSelector": selector });
    let cases = [
        json!({ "PlaybackMode": "live" }),
        json!({ "ContainerFormat": "MP4" }),
        json!({ "DiscontinuityMode": "SOMETIMES" }),
        json!({ "DisplayFragmentTimestamp": true }),
        json!({ "Expires": 299 }),
        json!({ "Expires": 43_201 }),
        json!({ "MaxMediaPlaylistFragmentResults": 0 }),
        json!({ "MaxMediaPlaylistFragmentResults": 5001 }),
        json!({ "HLSFragmentSelector": { "FragmentSelectorType": "NOW" } }),
        json!({ "HLSFragmentSelector": producer(0, 1000) }),
        json!({ "PlaybackMode": "ON_DEMAND" }),
        json!({ "PlaybackMode": "LIVE_REPLAY" }),
        on_demand(unnamed),
        on_demand(
            json!({ "FragmentSelectorType": "PRODUCER_TIMESTAMP", "TimestampRange": { "StartTimestamp": 1 } }),
        ),
        on_demand(producer(0, 0)),
        on_demand(producer(0, 86_400_001)),
        on_demand(range("SERVER_TIMESTAMP", 0, 1000)),
    ];
    for options in cases {
        let answer = ask_session(&sim, options.clone()).await;
        assert!(answer.contains("InvalidArgumentException"), "{options}: {answer}");
        assert_error(&answer, 400, "InvalidArgumentException");
    }
    let missing = post(&sim, "/getHLSStreamingSessionURL", r#"{"StreamName":"none"}"#).await;
    assert_error(&missing, 404, "ResourceNotFoundException");
    sim.stop().await;
}

#[tokio::test]
async fn an_initialization_segment_outlives_its_fragment() {
    let (sim, stream) = standing();
    append(&stream, &[track(&AVCC)], NOON_MS).await;
    let player = Player::open(&sim, json!({ "Expires": 43_200 })).await;
    for at in 1..=125 {
        stream.clock().advance(Duration::from_secs(30));
        append(&stream, &[track(&AVCC)], NOON_MS + at * 30_000).await;
        assert_eq!(player.media().await.0, 200);
    }
    let playlist = player.playlist().await;
    let newest = playlist.segments.last().expect("a segment");
    assert_eq!(player.segment(newest).await.0[..], AVCC, "the first fragment is gone after an hour");
    sim.stop().await;
}

#[tokio::test]
async fn pages_of_other_servers_are_allowed_to_play_hls() {
    let (sim, stream) = standing();
    append(&stream, &[track(&AVCC)], NOON_MS).await;
    let player = Player::open(&sim, json!({})).await;
    let any = "access-control-allow-origin: *\r\n";
    for path in [
        "getHLSMasterPlaylist.m3u8",
        "getHLSMediaPlaylist.m3u8",
        "getMP4InitFragment.mp4",
        "getMP4MediaFragment.mp4",
        "getTSFragment.ts",
    ] {
        let path = format!("/hls/v1/{path}");
        let headers = "Origin: http://page.test\r\nAccess-Control-Request-Method: GET\r\n\
                       Access-Control-Request-Headers: x-player\r\nConnection: close\r\n";
        let answer = begin(&sim, "OPTIONS", &path, "", headers).await.read_to_end().await;
        assert!(answer.starts_with("HTTP/1.1 204 ") && answer.contains(any), "{path}: {answer}");
        assert!(answer.contains("access-control-allow-methods: GET, HEAD, OPTIONS\r\n"), "{path}: {answer}");
        assert!(answer.contains("access-control-allow-headers: x-player\r\n"), "{path}: {answer}");
        let refused = ask(&sim, "GET", &path, "").await;
        assert!(refused.contains(any), "a page is allowed to read an error: {refused}");
    }
    let master = player.url.strip_prefix("http://kvs.test:80").expect("its own address");
    assert!(ask(&sim, "GET", master, "").await.contains(any));
    for path in ["/listStreams", "/getHLSStreamingSessionURL"] {
        let answer = ask(&sim, "OPTIONS", path, "").await;
        assert_error(&answer, 404, "UnknownOperationException");
        assert!(!answer.contains("access-control"), "pages have no access to the operations: {answer}");
    }
    sim.stop().await;
}
