//! What is written here is read by FFmpeg: times, key frames, pictures.

use std::path::Path;

use bytes::Bytes;
use h26x::picture_size;
use kvs_hls::{AccessUnit, Limits, VideoTrack, mp4, ts};

use crate::ffmpeg::{Clip, probe_frames, probe_packets};

const NOON_MS: i64 = 1_700_000_000_000;

fn clip(encoder: &'static str, b_frames: u32) -> (VideoTrack, Vec<AccessUnit>) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let clip = Clip { encoder, b_frames, gop: 25, sound: false };
    let flags = ["-movflags", "frag_keyframe+empty_moov+default_base_moof"];
    let file = Bytes::from(clip.write(folder.path(), &flags, "clip.mp4"));
    let init = mp4::read_init(&file, &Limits::default()).expect("an initialisation segment");
    let units = mp4::read_media(&init, &file, &Limits::default()).expect("a media segment");
    (init.track, units)
}

fn assert_played(name: &str, file: &Path, units: &[AccessUnit]) {
    let told: Vec<(i64, bool)> = units.iter().map(|unit| (unit.relative_ms, unit.key)).collect();
    let packets = probe_packets(file);
    let first = packets.first().expect(name).pts_ms;
    let read: Vec<(i64, bool)> = packets.iter().map(|packet| (packet.pts_ms - first, packet.key)).collect();
    assert_eq!(read, told, "{name}");
    assert_eq!(probe_frames(file), (units.len(), "320x178".to_owned()), "{name}");
}

#[test]
fn ffmpeg_plays_every_codec_in_both_containers() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for encoder in ["libx264", "libx265"] {
        for b_frames in [0, 3] {
            let (track, units) = clip(encoder, b_frames);
            let name = format!("{encoder} with {b_frames} B-frames");
            assert_eq!(picture_size(track.codec, &track.private), Ok((320, 178)), "{name}");
            let file = folder.path().join("clip.mp4");
            let media = mp4::write_media(1, NOON_MS, &units);
            std::fs::write(&file, [mp4::write_init(&track), media].concat()).expect("a folder");
            assert_played(&format!("{name}, fMP4"), &file, &units);
            if b_frames == 0 {
                assert_eq!(probe_packets(&file)[0].pts_ms, NOON_MS, "{name}");
            }
            let file = folder.path().join("clip.ts");
            std::fs::write(&file, ts::write(&track, NOON_MS, &units).expect(&name)).expect("a folder");
            assert_played(&format!("{name}, MPEG-TS"), &file, &units);
        }
    }
}

#[test]
fn segments_one_after_another_play_as_one() {
    let (track, units) = clip("libx264", 3);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (first, second) = units.split_at(25);
    let second: Vec<AccessUnit> = second
        .iter()
        .map(|unit| AccessUnit {
            relative_ms: unit.relative_ms - 1000,
            index: unit.index - 25,
            ..unit.clone()
        })
        .collect();
    let file = folder.path().join("clip.mp4");
    let media = [mp4::write_media(1, NOON_MS, first), mp4::write_media(2, NOON_MS + 1000, &second)].concat();
    std::fs::write(&file, [mp4::write_init(&track), media].concat()).expect("a folder");
    assert_played("fMP4", &file, &units);
    let file = folder.path().join("clip.ts");
    let parts = [ts::write(&track, NOON_MS, first), ts::write(&track, NOON_MS + 1000, &second)];
    let parts: Vec<Vec<u8>> = parts.into_iter().map(|part| part.expect("a segment")).collect();
    std::fs::write(&file, parts.concat()).expect("a folder");
    assert_played("MPEG-TS", &file, &units);
}
