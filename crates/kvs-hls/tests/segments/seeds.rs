//! Replays the seeds of the fuzz targets, and every input they found, from `testdata/`.
//!
//! The seeds are built here; `BLESS=1` writes them to `testdata/` again.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use h26x::Codec;
use kvs_hls::{AccessUnit, HlsTrack, mp4, ts};
use test_support::invariants::segments;
use test_support::parameter_sets::{H264_SETS, H265_SETS, bytes_of};

fn sized(set: &[u8]) -> Vec<u8> {
    [&(set.len() as u16).to_be_bytes(), set].concat()
}

/// Returns an H.264 track with an avcC as a producer sends it.
pub(crate) fn h264_track() -> HlsTrack {
    let [sps, pps] = H264_SETS.map(bytes_of);
    let head = [1, 0x64, 0, 0x0C, 0xFF, 0xE1];
    let private = [&head[..], &sized(&sps), &[1], &sized(&pps), &[0xFD, 0xF8, 0xF8, 0]].concat();
    HlsTrack { codec: Codec::H264, codec_private: private.into(), width_px: 320, height_px: 178 }
}

/// Returns an H.265 track with an hvcC as a producer sends it.
pub(crate) fn h265_track() -> HlsTrack {
    let mut private = bytes_of("01 01 60000000 900000000000 3c f000 fc fd f8 f8 0000 0f 03");
    for (kind, set) in [0xA0, 0xA1, 0xA2].into_iter().zip(H265_SETS.map(bytes_of)) {
        private.extend_from_slice(&[kind, 0, 1]);
        private.extend_from_slice(&sized(&set));
    }
    HlsTrack { codec: Codec::H265, codec_private: private.into(), width_px: 320, height_px: 178 }
}

/// Returns a keyframe and three other frames, with B-frames.
pub(crate) fn units(codec: Codec) -> Vec<AccessUnit> {
    let heads: [&[u8]; 2] = if codec == Codec::H264 { [&[0x65], &[0x41]] } else { [&[0x26, 1], &[2, 1]] };
    let times = [0, 120, 40, 80];
    let unit = |(index, relative_ms): (usize, i64)| {
        let nal = [heads[usize::from(index > 0)], &[7; 20][..5 + index]].concat();
        let data = [&(nal.len() as u32).to_be_bytes()[..], &nal].concat();
        AccessUnit { index: index as u32, relative_ms, key: index == 0, data: Bytes::from(data) }
    };
    times.into_iter().enumerate().map(unit).collect()
}

const MASTER: &str = "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-INDEPENDENT-SEGMENTS\n\
    #EXT-X-STREAM-INF:BANDWIDTH=90000,CODECS=\"avc1.64000c\",RESOLUTION=320x178,FRAME-RATE=25.000\n\
    getHLSMediaPlaylist.m3u8?SessionToken=t&TrackNumber=1\n";
const MEDIA: &str = "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:7\n\
    #EXT-X-DISCONTINUITY-SEQUENCE:1\n#EXT-X-MAP:URI=\"getMP4InitFragment.mp4?SessionToken=t\"\n\
    #EXT-X-PROGRAM-DATE-TIME:2023-11-14T22:13:20.123Z\n#EXTINF:1.999,\n\
    getMP4MediaFragment.mp4?FragmentNumber=91343852333181432392682062607743920146159169392&SessionToken=t\n\
    #EXT-X-DISCONTINUITY\n#EXT-X-PROGRAM-DATE-TIME:2023-11-14T22:13:23Z\n#EXTINF:2,title\n\
    /hls/v1/getMP4MediaFragment.mp4?SessionToken=t\n#EXT-X-ENDLIST\n";

fn fmp4_segments(track: &HlsTrack) -> Vec<u8> {
    let units = units(track.codec);
    let second = mp4::write_media(2, 1_000_120, &units);
    [mp4::write_init(track), mp4::write_media(1, 1_000_000, &units), second].concat()
}

fn ts_segment(track: &HlsTrack) -> Vec<u8> {
    ts::write(track, 1_000_000, &units(track.codec)).expect("valid units")
}

/// Returns target, name and bytes of each seed.
fn seeds() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let (h264, h265) = (h264_track(), h265_track());
    let odd = "#EXTM3U\r\n#EXT-X-TARGETDURATION:6\r\n#EXT-X-KEY:METHOD=NONE\r\n\
        #EXT-X-DATERANGE:ID=\"a\",START-DATE=\"2023-11-14T22:13:20Z\",X-B=\"=,\"\r\n#comment\r\n\r\n\
        #EXT-X-BYTERANGE:7@0\r\n#EXTINF:6\r\nhttps://kvs.test/a.ts";
    vec![
        ("playlist", "master", MASTER.into()),
        ("playlist", "media", MEDIA.into()),
        ("playlist", "odd", odd.into()),
        ("playlist", "no-playlist", "<html>".into()),
        ("fmp4", "h264", fmp4_segments(&h264)),
        ("fmp4", "h265", fmp4_segments(&h265)),
        ("fmp4", "cut", fmp4_segments(&h264)[..900].to_vec()),
        ("ts", "h264", ts_segment(&h264)),
        ("ts", "h265", ts_segment(&h265)),
        ("ts", "lost-packet", [&ts_segment(&h264)[..188 * 3], &ts_segment(&h264)[188 * 4..]].concat()),
    ]
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata")
}

fn write_or_compare_seeds() {
    for (target, name, seed) in seeds() {
        let path = folder().join(target).join(format!("{name}.seed"));
        if std::env::var_os("BLESS").is_some() {
            std::fs::create_dir_all(folder().join(target)).expect("the folder is created");
            std::fs::write(&path, &seed).expect("the file exists");
        }
        assert_eq!(
            std::fs::read(&path).ok(),
            Some(seed),
            "{target}/{name}: run with BLESS=1 to write it again"
        );
    }
}

#[test]
fn stored_seeds_equal_the_built_ones_and_keep_the_invariants() {
    write_or_compare_seeds();
    type Check = fn(&[u8]);
    let checks: [(&str, Check); 3] =
        [("playlist", segments::check_playlist), ("fmp4", segments::check_fmp4), ("ts", segments::check_ts)];
    let mut replayed = 0;
    for (target, check) in checks {
        for entry in std::fs::read_dir(folder().join(target)).expect("the folder has seeds") {
            let seed = std::fs::read(entry.expect("the file exists").path()).expect("the seed is readable");
            for len in 0..=seed.len() {
                check(&seed[..len]);
            }
            replayed += 1;
        }
    }
    assert!(replayed >= seeds().len());
}
