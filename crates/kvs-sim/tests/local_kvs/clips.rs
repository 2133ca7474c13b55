//! Clips made by the ffmpeg command: a stream has the packets that ffprobe finds in the file.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use kvs_mkv::{FragmentEvent, Tag, writer};
use kvs_sim::{
    ClipError, ClipFile, ClipPace, KvsStream, LiveDelivery, Sim, SimConfig, SimError, append_clip,
};

use crate::camera::{self, Viewer, selector};

/// Makes a clip of three seconds with 25 frames per second and a keyframe per second.
fn clip(folder: &Path, name: &str, options: &[&str]) -> PathBuf {
    let path = folder.join(name);
    let input = ["-v", "error", "-y", "-f", "lavfi", "-i", "testsrc2=size=160x120:rate=25"];
    let made = Command::new("ffmpeg").args(input).args(options).args(["-t", "3"]).arg(&path).status();
    let made = made.expect("the ffmpeg command is installed by scripts/setup test");
    assert!(made.success(), "ffmpeg makes {name}");
    path
}

const H264: [&str; 6] = ["-c:v", "libx264", "-g", "25", "-pix_fmt", "yuv420p"];

/// Returns the video packets that ffprobe finds in a clip, in the order of the file: presentation time in ms and size of each,
/// and the number of packets from one keyframe to the next.
fn packets(path: &Path) -> (Vec<(i64, usize)>, Vec<u32>) {
    let entries = ["-show_entries", "packet=pts_time,size,flags", "-of", "csv=p=0"];
    let mut ffprobe = Command::new("ffprobe");
    let output = ffprobe.args(["-v", "error", "-select_streams", "v"]).args(entries).arg(path).output();
    let text = String::from_utf8(output.expect("ffprobe is installed").stdout).expect("ffprobe prints text");
    let (mut packets, mut groups) = (Vec::new(), Vec::new());
    for line in text.lines() {
        let fields: Vec<&str> = line.split(',').collect();
        let pts_s: f64 = fields[0].parse().expect("a time");
        packets.push(((pts_s * 1000.0).round() as i64, fields[1].parse().expect("a size")));
        match groups.last_mut() {
            Some(count) if !fields[2].starts_with('K') => *count += 1,
            _ => groups.push(1),
        }
    }
    let first_ms = packets.first().expect("a clip with packets").0;
    (packets.into_iter().map(|(pts_ms, size)| (pts_ms - first_ms, size)).collect(), groups)
}

/// Returns the frames that a viewer gets: time since the first one in ms and size of each, and the number of frames and
/// keyframes per fragment.
async fn viewed(stream: &Arc<KvsStream>) -> (Vec<(i64, usize)>, Vec<(u32, u32)>) {
    let mut viewer = Viewer::new(stream, &selector("EARLIEST")).expect("a free place");
    let (mut frames, mut fragments, mut cluster_ms) = (Vec::new(), Vec::new(), 0);
    while fragments.len() < stream.fragment_numbers().len() {
        match viewer.next().await.expect("the stream stays open") {
            FragmentEvent::Start(start) => {
                cluster_ms = start.cluster_timestamp.map_or(0, |ms| ms as i64);
                assert_eq!(start.producer_ms, Some(cluster_ms));
            }
            FragmentEvent::Block(frame) => {
                frames.push((cluster_ms + frame.relative_ms, frame.block.data.len()));
            }
            FragmentEvent::End(end) => fragments.push((end.frames, end.keyframes)),
            FragmentEvent::Error(error) => panic!("{error:?}"),
        }
    }
    let first_ms = frames.first().expect("a frame").0;
    (frames.into_iter().map(|(ms, len)| (ms - first_ms, len)).collect(), fragments)
}

async fn appended(path: &Path, start: SystemTime) -> Arc<KvsStream> {
    let stream = camera::stream(LiveDelivery::Block);
    append_clip(&stream, path, ClipPace::Asap, start).await.expect("a clip that can be played");
    stream
}

#[tokio::test]
async fn packets_keep_their_times_in_fragments_cut_at_keyframes() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let b_frames = [&H264[..], &["-bf", "2"]].concat();
    let with_sound = [&["-f", "lavfi", "-i", "sine", "-c:a", "aac"], &H264[..]].concat();
    let hevc =
        ["-c:v", "libx265", "-x265-params", "keyint=25:min-keyint=25:log-level=none", "-pix_fmt", "yuv420p"];
    for (name, options) in [
        ("plain.mp4", &H264[..]),
        ("b-frames.mp4", &b_frames),
        ("b-frames.mkv", &b_frames),
        ("sound.mp4", &with_sound),
        ("hevc.mp4", &hevc),
    ] {
        let path = clip(folder.path(), name, options);
        let stream = appended(&path, SystemTime::UNIX_EPOCH + Duration::from_secs(60)).await;
        let (frames, fragments) = viewed(&stream).await;
        let (expected, groups) = packets(&path);
        assert_eq!(frames.len(), 75, "{name}");
        for (frame, packet) in frames.iter().zip(&expected) {
            assert_eq!(frame.1, packet.1, "{name}: size");
            assert!((frame.0 - packet.0).abs() <= 1, "{name}: {frame:?} against {packet:?}");
        }
        let groups: Vec<(u32, u32)> = groups.into_iter().map(|frames| (frames, 1)).collect();
        assert_eq!(
            (fragments.len(), fragments),
            (3, groups),
            "{name}: frames and keyframes of each fragment"
        );
    }
}

#[tokio::test]
async fn a_dump_plays_with_its_own_fragments() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = clip(folder.path(), "clip.mp4", &[&H264[..], &["-bf", "2"]].concat());
    let stream = appended(&path, SystemTime::UNIX_EPOCH + Duration::from_secs(60)).await;
    let mut viewer = Viewer::new(&stream, &selector("EARLIEST")).expect("a free place");
    for _ in 0..3 {
        viewer.next_fragment().await;
    }
    let dump = folder.path().join("dump.mkv");
    std::fs::write(&dump, &viewer.bytes).expect("a folder that can be written");
    let replayed = appended(&dump, SystemTime::UNIX_EPOCH + Duration::from_secs(90)).await;
    assert_eq!(viewed(&replayed).await, viewed(&stream).await);
}

#[tokio::test]
async fn a_dump_keeps_the_producers_tags_and_tracks() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let stream = camera::stream(LiveDelivery::Block);
    camera::append(&stream, 0).await;
    let mut viewer = Viewer::new(&stream, &selector("EARLIEST")).expect("a free place");
    let (start, end) = viewer.next_fragment().await;
    // Some producers write tags before their frames.
    let mut early = Vec::new();
    writer::tags(&mut early, &[Tag::new("early", "bird")]);
    let number =
        viewer.bytes.windows(4).position(|id| id == [0x12, 0x54, 0xC3, 0x67]).expect("a Tags element");
    viewer.bytes.splice(number..number, early);
    let dump = folder.path().join("dump.mkv");
    std::fs::write(&dump, &viewer.bytes).expect("a folder that can be written");
    let replayed = appended(&dump, SystemTime::UNIX_EPOCH).await;
    let mut viewer = Viewer::new(&replayed, &selector("EARLIEST")).expect("a free place");
    let (again, replayed_end) = viewer.next_fragment().await;
    assert_eq!(again.tracks, start.tracks);
    assert_eq!(replayed_end.tags, [vec![Tag::new("early", "bird")], end.tags].concat());
}

#[tokio::test]
async fn a_looped_clip_continues_with_rising_times_and_ends_with_the_server() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("short.mp4");
    let input = ["-v", "error", "-f", "lavfi", "-i", "testsrc2=size=64x64:rate=25", "-t", "0.2"];
    let made =
        Command::new("ffmpeg").args(input).args(H264).arg(&path).status().expect("ffmpeg is installed");
    assert!(made.success());
    let sim = Sim::start(SimConfig::default()).expect("a free port");
    let play = format!("cam={},loop", path.display()).parse().expect("a play");
    sim.play(play).await.expect("a clip that can be played");
    let stream = sim.store().stream("cam").expect("the player created it");
    assert!(stream.claim_producer().is_err(), "the player is the stream's producer");
    let mut viewer = Viewer::new(&stream, &selector("EARLIEST")).expect("a free place");
    let (first, second) = (viewer.next_fragment().await, viewer.next_fragment().await);
    assert_eq!((first.1.frames, second.1.frames), (5, 5), "the clip once, and once more");
    let producer_ms = first.0.producer_ms.expect("a producer's time");
    assert_eq!(second.0.producer_ms, Some(producer_ms + 200), "the second begins at the end of the first");
    let wall_ms = sim.store().clock().now_ms();
    assert!((wall_ms - 60_000..=wall_ms).contains(&producer_ms), "the time of the start: {producer_ms}");
    sim.stop().await;
    assert!(stream.claim_producer().is_ok(), "the player has ended");
}

#[tokio::test]
async fn a_clip_that_cannot_be_played_is_named() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let sound = folder.path().join("sound.mp4");
    let input = ["-v", "error", "-f", "lavfi", "-i", "sine", "-t", "1", "-c:a", "aac"];
    assert!(Command::new("ffmpeg").args(input).arg(&sound).status().expect("ffmpeg is installed").success());
    let mpeg4 = clip(folder.path(), "old.mp4", &["-c:v", "mpeg4"]);
    let text = folder.path().join("text.mp4");
    std::fs::write(&text, "no clip").expect("a folder that can be written");
    let absent = folder.path().join("absent.mp4");
    let whole =
        std::fs::read(clip(folder.path(), "whole.mp4", &[&H264[..], &["-movflags", "faststart"]].concat()));
    let whole = whole.expect("a clip");
    let media = whole.windows(4).position(|four| four == b"mdat").expect("an mp4") + 4;
    let cut = folder.path().join("cut.mp4");
    std::fs::write(&cut, &whole[..media]).expect("a folder that can be written");
    let kind = |error: &ClipError| match error {
        ClipError::Unreadable { .. } => "unreadable",
        ClipError::NoVideo { .. } => "no video",
        ClipError::Codec { .. } => "codec",
        ClipError::Stream { .. } => "stream",
    };
    for (path, expected) in [
        (sound, "no video"),
        (mpeg4, "codec"),
        (text, "unreadable"),
        (absent, "unreadable"),
        (cut, "unreadable"),
    ] {
        let error = ClipFile::open(&path).expect_err("not playable");
        assert_eq!(kind(&error), expected, "{error}");
        assert!(error.to_string().starts_with(&path.display().to_string()), "{error}");
    }
}

#[tokio::test]
async fn two_clips_cannot_play_into_one_stream() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = clip(folder.path(), "clip.mp4", &H264);
    let sim = Sim::start(SimConfig::default()).expect("a free port");
    let play: kvs_sim::Play = format!("cam={}", path.display()).parse().expect("a play");
    sim.play(play.clone()).await.expect("a clip that can be played");
    let refused = sim.play(play).await.expect_err("the stream has its producer");
    assert!(matches!(refused, SimError::Clip(ClipError::Stream { .. })), "{refused}");
    sim.stop().await;
}
