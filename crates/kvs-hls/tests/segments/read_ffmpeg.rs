//! Files of FFmpeg's muxers are read as FFmpeg reads them.

use std::path::Path;

use bytes::Bytes;
use h26x::{Codec, DecoderConfig};
use kvs_hls::{AccessUnit, HlsLimits, mp4, ts};

use crate::ffmpeg::{Clip, ProbedPacket, probe_packets};

const CLIPS: [Clip; 4] = [
    Clip { encoder: "libx264", b_frames: 0, gop: 25, audio: false },
    Clip { encoder: "libx264", b_frames: 3, gop: 50, audio: false },
    Clip { encoder: "libx265", b_frames: 0, gop: 50, audio: false },
    Clip { encoder: "libx265", b_frames: 3, gop: 25, audio: false },
];

fn codec(clip: Clip) -> Codec {
    if clip.encoder == "libx264" { Codec::H264 } else { Codec::H265 }
}

/// Checks times, keyframes and indices.
fn assert_same(name: &str, units: &[AccessUnit], packets: &[ProbedPacket]) {
    let first = packets.first().expect("packets").pts_ms;
    let expected: Vec<(i64, bool)> =
        packets.iter().map(|packet| (packet.pts_ms - first, packet.key)).collect();
    let read: Vec<(i64, bool)> = units.iter().map(|unit| (unit.relative_ms, unit.key)).collect();
    assert_eq!(read, expected, "{name}");
    assert!(units.iter().enumerate().all(|(at, unit)| unit.index as usize == at), "{name}");
}

fn assert_lengths(name: &str, units: &[AccessUnit], packets: &[ProbedPacket]) {
    let read: Vec<usize> = units.iter().map(|unit| unit.data.len()).collect();
    let expected: Vec<usize> = packets.iter().map(|packet| packet.bytes).collect();
    assert_eq!(read, expected, "{name}");
}

#[test]
fn fragmented_mp4_in_one_file_is_read_with_each_base_of_offsets() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let layouts = [
        "frag_keyframe+empty_moov+default_base_moof",
        "frag_keyframe+empty_moov",
        "frag_keyframe+empty_moov+omit_tfhd_offset",
        "frag_every_frame+empty_moov+negative_cts_offsets",
    ];
    for clip in CLIPS {
        for flags in layouts {
            let name = format!("{clip:?} {flags}");
            let file = Bytes::from(clip.write(folder.path(), &["-movflags", flags], "clip.mp4"));
            let init = mp4::read_init(&file, &HlsLimits::default()).expect(&name);
            assert_eq!(init.track.codec, codec(clip), "{name}");
            assert_eq!((init.track.width_px, init.track.height_px), (320, 178), "{name}");
            let config = DecoderConfig::read(codec(clip), &init.track.codec_private).expect(&name);
            assert!(config.parameter_sets.len() >= 2, "{name}");
            let units = mp4::read_media(&init, &file, &HlsLimits::default()).expect(&name);
            let packets = probe_packets(&folder.path().join("clip.mp4"));
            assert_eq!(packets.len(), 50, "{name}");
            assert_same(&name, &units, &packets);
            assert_lengths(&name, &units, &packets);
        }
    }
}

#[test]
fn audio_beside_the_video_is_ignored() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let clip = Clip { audio: true, ..CLIPS[1] };
    for flags in ["frag_keyframe+empty_moov+default_base_moof", "frag_keyframe+empty_moov+omit_tfhd_offset"] {
        let file = Bytes::from(clip.write(folder.path(), &["-movflags", flags], "clip.mp4"));
        let init = mp4::read_init(&file, &HlsLimits::default()).expect(flags);
        let units = mp4::read_media(&init, &file, &HlsLimits::default()).expect(flags);
        let packets = probe_packets(&folder.path().join("clip.mp4"));
        assert_same(flags, &units, &packets);
        assert_lengths(flags, &units, &packets);
    }
    let file = clip.write(folder.path(), &["-f", "mpegts"], "clip.ts");
    let segment = ts::read(&file, &HlsLimits::default()).expect("a segment");
    assert_same("clip.ts", &segment.units, &probe_packets(&folder.path().join("clip.ts")));
}

#[test]
fn segments_of_the_hls_muxer_are_read_one_by_one() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for clip in CLIPS {
        let name = format!("{clip:?}");
        let output =
            ["-f", "hls", "-hls_time", "1", "-hls_segment_type", "fmp4", "-hls_playlist_type", "vod"];
        clip.write(folder.path(), &output, "list.m3u8");
        let read =
            |file: &str| Bytes::from(std::fs::read(folder.path().join(file)).expect("ffmpeg wrote it"));
        let init = mp4::read_init(&read("init.mp4"), &HlsLimits::default()).expect(&name);
        let mut units = 0;
        for index in 0..50 / clip.gop {
            let media = read(&format!("list{index}.m4s"));
            let segment = mp4::read_media(&init, &media, &HlsLimits::default()).expect(&name);
            assert!(segment[0].key && segment[0].relative_ms == 0, "{name}");
            assert_eq!(segment.len(), clip.gop as usize, "{name}");
            units += segment.len();
        }
        assert_eq!(units, 50, "{name}");
    }
}

#[test]
fn mpeg_ts_is_read() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for clip in CLIPS {
        let name = format!("{clip:?}");
        let file = clip.write(folder.path(), &["-f", "mpegts"], "clip.ts");
        let segment = ts::read(&file, &HlsLimits::default()).expect(&name);
        assert_eq!(segment.track.codec, codec(clip), "{name}");
        assert_eq!((segment.track.width_px, segment.track.height_px), (320, 178), "{name}");
        assert_same(&name, &segment.units, &probe_packets(&folder.path().join("clip.ts")));
    }
}

#[test]
fn codec_private_data_built_from_in_band_sets_equals_that_of_ffmpeg() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for clip in CLIPS {
        let name = format!("{clip:?}");
        let file = clip.write(folder.path(), &["-f", "mpegts"], "clip.ts");
        let ours = ts::read(&file, &HlsLimits::default()).expect(&name).track;
        remux(folder.path());
        let mp4 = std::fs::read(folder.path().join("remuxed.mp4")).expect("ffmpeg wrote it");
        let theirs = mp4::read_init(&mp4, &HlsLimits::default()).expect(&name).track;
        assert_eq!((ours.width_px, ours.height_px), (theirs.width_px, theirs.height_px), "{name}");
        match ours.codec {
            Codec::H264 => assert_eq!(ours.codec_private, theirs.codec_private, "{name}"),
            Codec::H265 => assert_same_hvcc(&name, &ours.codec_private, &theirs.codec_private),
        }
    }
}

fn remux(folder: &Path) {
    let flags = ["-c", "copy", "-movflags", "frag_keyframe+empty_moov", "remuxed.mp4"];
    let mut command = std::process::Command::new("ffmpeg");
    let status =
        command.args(["-v", "error", "-y", "-i", "clip.ts"]).args(flags).current_dir(folder).status();
    assert!(status.expect("ffmpeg is installed").success());
}

/// Compares two hvcC. FFmpeg also fills in fields from the VUI, and keeps NAL units other than parameter
/// sets.
fn assert_same_hvcc(name: &str, ours: &[u8], theirs: &[u8]) {
    assert_eq!(ours[..13], theirs[..13], "{name}: profile, tier, level");
    assert_eq!(ours[16..19], theirs[16..19], "{name}: chroma format, depths");
    assert_eq!(ours[21], theirs[21], "{name}: layers, nesting, size of lengths");
    let theirs = DecoderConfig::read(Codec::H265, theirs).expect(name).parameter_sets;
    let ours = DecoderConfig::read(Codec::H265, ours).expect(name).parameter_sets;
    assert!(ours.iter().all(|set| theirs.contains(set)) && ours.len() == 3, "{name}");
}
