//! Written segments and files are played by FFmpeg with the right times, keyframes and pictures.

use std::path::Path;

use bytes::Bytes;
use h26x::picture_size;
use kvs_hls::{AccessUnit, HlsLimits, HlsTrack, mp4, ts};

use crate::ffmpeg::{Clip, probe_duration_ms, probe_frames, probe_packets};

const NOON_MS: i64 = 1_700_000_000_000;

fn clip(encoder: &'static str, b_frames: u32) -> (HlsTrack, Vec<AccessUnit>) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let clip = Clip { encoder, b_frames, gop: 25, audio: false };
    let flags = ["-movflags", "frag_keyframe+empty_moov+default_base_moof"];
    let file = Bytes::from(clip.write(folder.path(), &flags, "clip.mp4"));
    let init = mp4::read_init(&file, &HlsLimits::default()).expect("an initialisation segment");
    let units = mp4::read_media(&init, &file, &HlsLimits::default()).expect("a media segment");
    (init.track, units)
}

fn assert_played(name: &str, file: &Path, units: &[AccessUnit]) {
    let expected: Vec<(i64, bool)> = units.iter().map(|unit| (unit.relative_ms, unit.key)).collect();
    let packets = probe_packets(file);
    let first = packets.first().expect(name).pts_ms;
    let read: Vec<(i64, bool)> = packets.iter().map(|packet| (packet.pts_ms - first, packet.key)).collect();
    assert_eq!(read, expected, "{name}");
    assert_eq!(probe_frames(file), (units.len(), "320x178".to_owned()), "{name}");
}

#[test]
fn ffmpeg_plays_each_codec_in_both_containers() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for encoder in ["libx264", "libx265"] {
        for b_frames in [0, 3] {
            let (track, units) = clip(encoder, b_frames);
            let name = format!("{encoder} with {b_frames} B-frames");
            assert_eq!(picture_size(track.codec, &track.codec_private), Ok((320, 178)), "{name}");
            let file = folder.path().join("clip.mp4");
            let media = mp4::write_media(1, NOON_MS, &units);
            std::fs::write(&file, [mp4::write_init(&track), media].concat()).expect("the folder is writable");
            assert_played(&format!("{name}, fMP4"), &file, &units);
            if b_frames == 0 {
                assert_eq!(probe_packets(&file)[0].pts_ms, NOON_MS, "{name}");
            }
            let file = folder.path().join("clip.ts");
            std::fs::write(&file, ts::write(&track, NOON_MS, &units).expect(&name))
                .expect("the folder is writable");
            assert_played(&format!("{name}, MPEG-TS"), &file, &units);
        }
    }
}

#[test]
fn consecutive_segments_play_as_one() {
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
    std::fs::write(&file, [mp4::write_init(&track), media].concat()).expect("the folder is writable");
    assert_played("fMP4", &file, &units);
    let file = folder.path().join("clip.ts");
    let parts = [ts::write(&track, NOON_MS, first), ts::write(&track, NOON_MS + 1000, &second)];
    let parts: Vec<Vec<u8>> = parts.into_iter().map(|part| part.expect("a segment")).collect();
    std::fs::write(&file, parts.concat()).expect("the folder is writable");
    assert_played("MPEG-TS", &file, &units);
}

#[test]
fn a_complete_file_plays_with_its_gaps_and_without_overlaps() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("clip.mp4");
    for (encoder, b_frames) in [("libx264", 0), ("libx264", 3), ("libx265", 3)] {
        let (track, units) = clip(encoder, b_frames);
        let (first, rest) = units.split_at(25);
        let second: Vec<AccessUnit> = rest
            .iter()
            .map(|unit| AccessUnit { relative_ms: unit.relative_ms - 1000, ..unit.clone() })
            .collect();
        for (name, second_ms, expected_ms) in
            [("without a gap", 1000, 1000), ("after a gap", 61_000, 61_000), ("with an overlap", 700, 1000)]
        {
            let name = format!("{encoder} with {b_frames} B-frames, {name}");
            let fragments = [(NOON_MS, first), (NOON_MS + second_ms, &second[..])];
            let mut bytes = mp4::write_file_head(&track, &fragments);
            units.iter().for_each(|unit| bytes.extend_from_slice(&unit.data));
            std::fs::write(&file, &bytes).expect("the folder is writable");
            let moved = second
                .iter()
                .map(|unit| AccessUnit { relative_ms: unit.relative_ms + expected_ms, ..unit.clone() });
            let expected: Vec<AccessUnit> = first.iter().cloned().chain(moved).collect();
            assert_played(&name, &file, &expected);
            assert_eq!(probe_packets(&file)[0].pts_ms, 0, "{name}");
            assert_eq!(probe_duration_ms(&file), expected_ms + 1000, "{name}");
        }
    }
}
