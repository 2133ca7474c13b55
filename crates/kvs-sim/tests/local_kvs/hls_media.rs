//! HLS delivers the frames of GetMedia: of the same fragments, at the same times.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use kvs_mkv::{FragmentEvent, TrackEntry, writer};
use kvs_sim::{ClipPace, KvsStream, Sim, SimConfig, append_clip, append_fragment, epoch_ms};
use serde_json::{Value, json};

use crate::camera::{NOON_MS, Viewer, selector};
use crate::hls_player::{AVCC, Player, append, frame, head, standing, track};

/// Fragment, index in it, time, keyframe, and the frame itself.
type Frame = (String, u32, i64, bool, Bytes);

/// Returns all frames of track 1 by GetMedia; the index counts the frames of that track.
async fn by_get_media(stream: &Arc<KvsStream>) -> Vec<Frame> {
    let mut viewer = Viewer::new(stream, &selector("EARLIEST")).expect("a free place");
    let (mut frames, mut number, mut start_ms, mut index) = (Vec::new(), String::new(), 0, 0);
    for _ in 0..stream.fragment_numbers().len() {
        loop {
            match viewer.next().await.expect("the stream stays open") {
                FragmentEvent::Start(start) => {
                    (number, start_ms, index) = (start.number, start.producer_ms.expect("a time"), 0);
                }
                FragmentEvent::Block(got) if got.block.track == 1 => {
                    let media_ms = start_ms + got.relative_ms;
                    frames.push((number.clone(), index, media_ms, got.block.key, got.block.data));
                    index += 1;
                }
                FragmentEvent::Block(_) => {}
                FragmentEvent::End(_) => break,
                FragmentEvent::Error(error) => panic!("{error:?}"),
            }
        }
    }
    frames
}

/// Returns the same by HLS.
async fn by_hls(sim: &Sim, container: &str) -> Vec<Frame> {
    let selector = json!({
        "FragmentSelectorType": "PRODUCER_TIMESTAMP",
        "TimestampRange": { "StartTimestamp": 1, "EndTimestamp": 2 },
    });
    let mut options = json!({
        "PlaybackMode": "ON_DEMAND",
        "HLSFragmentSelector": selector,
        "ContainerFormat": container,
        "DisplayFragmentTimestamp": "ALWAYS",
    });
    let range = &mut options["HLSFragmentSelector"]["TimestampRange"];
    range["StartTimestamp"] = json!(NOON_MS as f64 / 1000.0);
    range["EndTimestamp"] = json!(NOON_MS as f64 / 1000.0 + 3600.0);
    let player = Player::open(sim, options).await;
    let playlist = player.playlist().await;
    assert!(playlist.ended);
    let mut frames = Vec::new();
    for segment in &playlist.segments {
        let number = segment.fragment_number.clone().expect("a number");
        let date_ms = segment.program_date_time_ms.expect("a date");
        let (_, units) = player.segment(segment).await;
        frames.extend(
            units.into_iter().map(|u| (number.clone(), u.index, date_ms + u.relative_ms, u.key, u.data)),
        );
    }
    frames
}

/// Fills a stream with unusual times: B-frames, leading pictures, a first block that is not at 0, audio in between.
async fn fill(stream: &Arc<KvsStream>) {
    let sound = TrackEntry {
        number: 2,
        kind: kvs_mkv::TrackKind::Audio,
        ..writer::video_track(2, "A_AAC", b"x", 0, 0)
    };
    let tracks = [track(&AVCC), TrackEntry { raw: Bytes::new(), ..sound }];
    append(stream, &tracks, NOON_MS + 123).await;
    let mut noise = frame(10, true, b"sound");
    noise.track = 2;
    let blocks = [frame(40, true, b"key"), noise, frame(0, false, b"leading"), frame(97, false, b"next")];
    append_fragment(stream, head(&tracks, NOON_MS + 2100), &blocks, Vec::new()).await.expect("a stream");
    append_fragment(stream, head(&tracks, NOON_MS + 9001), &[frame(0, true, b"lone")], Vec::new())
        .await
        .expect("a stream");
}

#[tokio::test]
async fn frames_have_the_fragments_indices_and_times_of_get_media() {
    let (sim, stream) = standing();
    fill(&stream).await;
    let expected = by_get_media(&stream).await;
    assert_eq!(expected.len(), 8);
    assert_eq!(by_hls(&sim, "FRAGMENTED_MP4").await, expected);
    assert_eq!(by_hls(&sim, "MPEG_TS").await, expected);
    sim.stop().await;
}

/// Makes a clip of three seconds with B-frames.
fn clip(folder: &Path, codec: &[&str]) -> std::path::PathBuf {
    let path = folder.join("clip.mp4");
    let input = ["-v", "error", "-y", "-f", "lavfi", "-i", "testsrc2=size=160x120:rate=25", "-t", "3"];
    let made =
        Command::new("ffmpeg").args(input).args(codec).args(["-pix_fmt", "yuv420p"]).arg(&path).status();
    assert!(made.expect("the ffmpeg command is installed by scripts/setup test").success());
    path
}

const H264: &[&str] = &["-c:v", "libx264", "-g", "25", "-bf", "3"];
const H265: &[&str] = &["-c:v", "libx265", "-x265-params", "log-level=error:keyint=25:bframes=3:open-gop=0"];

/// Returns the hashes of the first frames that the ffmpeg command decodes from a file or a URL.
async fn pictures(input: &str, most: usize) -> Vec<String> {
    let (input, most) = (input.to_owned(), most.to_string());
    let output = tokio::task::spawn_blocking(move || {
        let mut ffmpeg = Command::new("ffmpeg");
        ffmpeg.args(["-v", "error"]);
        if input.starts_with("http") {
            ffmpeg.args(["-live_start_index", "0"]);
        }
        ffmpeg
            .args(["-i", &input, "-frames:v", &most, "-vsync", "passthrough", "-f", "framemd5", "-"])
            .output()
    });
    let output = output.await.expect("no panic").expect("ffmpeg is installed");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{errors}");
    let text = String::from_utf8(output.stdout).expect("text");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.rsplit(',').next().unwrap_or_default().trim().to_owned()).collect()
}

fn live(container: &str) -> Value {
    let selector = json!({ "FragmentSelectorType": "PRODUCER_TIMESTAMP" });
    json!({ "ContainerFormat": container, "HLSFragmentSelector": selector })
}

fn on_demand(container: &str) -> Value {
    let now_s = epoch_ms(SystemTime::now()) as f64 / 1000.0;
    let range = json!({ "StartTimestamp": now_s - 60.0, "EndTimestamp": now_s });
    let selector = json!({ "FragmentSelectorType": "PRODUCER_TIMESTAMP", "TimestampRange": range });
    json!({ "PlaybackMode": "ON_DEMAND", "ContainerFormat": container, "HLSFragmentSelector": selector })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ffmpeg_command_plays_a_session_from_its_url() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, codec) in [("H.264", H264), ("H.265", H265)] {
        let sim = Sim::start(SimConfig::default()).expect("a free port");
        let stream = sim.store().stream_or_create("cam").expect("a valid name");
        let path = clip(folder.path(), codec);
        let start = SystemTime::now() - Duration::from_secs(3);
        append_clip(&stream, &path, ClipPace::Asap, start).await.expect("a clip");
        let expected = pictures(path.to_str().expect("a name"), 100).await;
        assert_eq!(expected.len(), 75);
        for container in ["FRAGMENTED_MP4", "MPEG_TS"] {
            for (options, most) in [(live(container), 50), (on_demand(container), 75)] {
                let player = Player::open(&sim, options.clone()).await;
                let url = player.url.replace("http://kvs.test:80", &sim.endpoint());
                assert_eq!(pictures(&url, most).await, expected[..most], "{name}: {options}");
            }
        }
        sim.stop().await;
    }
}
