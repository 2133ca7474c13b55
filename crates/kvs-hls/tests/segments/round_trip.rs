//! Any units that a fragment may have come back from both containers, and damage is an error or units, never a panic.

use bytes::Bytes;
use h26x::Codec;
use kvs_hls::{AccessUnit, Limits, VideoTrack, mp4, ts};
use proptest::prelude::*;

use crate::invariants;
use crate::seeds::{h264_track, h265_track};

fn track() -> impl Strategy<Value = VideoTrack> {
    prop_oneof![Just(h264_track()), Just(h265_track())]
}

/// The body of a NAL unit without start codes in it or zeros at its end.
fn nal_body() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(1u8.., 1..300)
}

/// Units whose first is a key frame at 0, in any order of showing.
fn units(codec: Codec) -> impl Strategy<Value = Vec<AccessUnit>> {
    let one = (prop::collection::vec(nal_body(), 1..3), any::<bool>(), -2000i64..30_000);
    prop::collection::vec(one, 1..30).prop_map(move |parts| {
        let unit = |(index, (nals, key, relative_ms)): (usize, (Vec<Vec<u8>>, bool, i64))| AccessUnit {
            index: index as u32,
            relative_ms: if index == 0 { 0 } else { relative_ms },
            key: key || index == 0,
            data: prefixed(codec, key || index == 0, &nals),
        };
        parts.into_iter().enumerate().map(unit).collect()
    })
}

/// NAL units of slices, after their lengths.
fn prefixed(codec: Codec, key: bool, nals: &[Vec<u8>]) -> Bytes {
    let head: &[u8] = match (codec, key) {
        (Codec::H264, true) => &[0x65],
        (Codec::H264, false) => &[0x41],
        (Codec::H265, true) => &[0x26, 1],
        (Codec::H265, false) => &[0x02, 1],
    };
    let mut out = Vec::new();
    for nal in nals {
        out.extend_from_slice(&((head.len() + nal.len()) as u32).to_be_bytes());
        out.extend_from_slice(head);
        out.extend_from_slice(nal);
    }
    out.into()
}

fn fragment() -> impl Strategy<Value = (VideoTrack, Vec<AccessUnit>)> {
    track().prop_flat_map(|track| {
        let codec = track.codec;
        (Just(track), units(codec))
    })
}

/// Times of fragments: since 1970, and where the 33 bits of MPEG-TS begin anew.
fn start_ms() -> impl Strategy<Value = i64> {
    prop_oneof![10_000i64..4_000_000_000_000, 95_443_700i64..95_443_720]
}

fn write_mp4(track: &VideoTrack, start_ms: i64, units: &[AccessUnit]) -> Vec<u8> {
    [mp4::write_init(track), mp4::write_media(7, start_ms, units)].concat()
}

proptest! {
    #[test]
    fn fmp4_comes_back((track, units) in fragment(), start_ms in start_ms()) {
        let init = mp4::read_init(&mp4::write_init(&track), &Limits::default()).expect("it was just written");
        prop_assert_eq!(&init.track, &track);
        let media = Bytes::from(mp4::write_media(7, start_ms, &units));
        let read = mp4::read_media(&init, &media, &Limits::default()).expect("it was just written");
        prop_assert_eq!(read, units);
    }

    #[test]
    fn mpeg_ts_comes_back((track, units) in fragment(), start_ms in start_ms()) {
        let written = ts::write(&track, start_ms, &units).expect("good units");
        let read = ts::read(&written, &Limits::default()).expect("it was just written");
        prop_assert_eq!(read.units, units);
        prop_assert_eq!(read.track, track);
    }

    #[test]
    fn both_containers_tell_the_same((track, units) in fragment()) {
        let from_ts = ts::read(&ts::write(&track, 5000, &units).expect("good units"), &Limits::default());
        let file = Bytes::from(write_mp4(&track, 5000, &units));
        let init = mp4::read_init(&file, &Limits::default()).expect("it was just written");
        let from_mp4 = mp4::read_media(&init, &file, &Limits::default()).expect("it was just written");
        prop_assert_eq!(from_ts.expect("it was just written").units, from_mp4);
    }

    #[test]
    fn any_bytes_keep_the_invariants(input in prop::collection::vec(any::<u8>(), 0..2000)) {
        invariants::check_playlist(&input);
        invariants::check_fmp4(&input);
        invariants::check_ts(&input);
    }

    #[test]
    fn damage_keeps_the_invariants(
        (track, units) in fragment(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let good = [write_mp4(&track, 5000, &units), ts::write(&track, 5000, &units).expect("good units")];
        for mut bytes in good {
            for (at, byte) in &damage {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            bytes.truncate(cut.index(bytes.len()) + 1);
            invariants::check_fmp4(&bytes);
            invariants::check_ts(&bytes);
        }
    }
}
