//! Any access units that a fragment may have are read back from both containers, and damage never causes a
//! panic.

use bytes::Bytes;
use h26x::Codec;
use kvs_hls::{AccessUnit, HlsLimits, HlsTrack, mp4, ts};
use proptest::prelude::*;
use test_support::invariants::segments;

use crate::seeds::{h264_track, h265_track};

fn track() -> impl Strategy<Value = HlsTrack> {
    prop_oneof![Just(h264_track()), Just(h265_track())]
}

/// Bodies of NAL units without start codes inside or zeros at the end.
fn nal_body() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(1u8.., 1..300)
}

/// Access units whose first is a keyframe at 0, in any presentation order.
fn units(codec: Codec) -> impl Strategy<Value = Vec<AccessUnit>> {
    let one = (prop::collection::vec(nal_body(), 1..3), any::<bool>(), -2000i64..30_000);
    prop::collection::vec(one, 1..30).prop_map(move |parts| {
        let unit = |(index, (nals, key, relative_ms)): (usize, (Vec<Vec<u8>>, bool, i64))| AccessUnit {
            index: index as u32,
            relative_ms: if index == 0 { 0 } else { relative_ms },
            key: key || index == 0,
            data: length_prefixed(codec, key || index == 0, &nals),
        };
        parts.into_iter().enumerate().map(unit).collect()
    })
}

/// Returns NAL units of slices, each after its length.
fn length_prefixed(codec: Codec, key: bool, nals: &[Vec<u8>]) -> Bytes {
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

fn fragment() -> impl Strategy<Value = (HlsTrack, Vec<AccessUnit>)> {
    track().prop_flat_map(|track| {
        let codec = track.codec;
        (Just(track), units(codec))
    })
}

/// Times of fragments: since 1970, and around the wrap of the 33-bit clock of MPEG-TS.
fn start_ms() -> impl Strategy<Value = i64> {
    prop_oneof![10_000i64..4_000_000_000_000, 95_443_700i64..95_443_720]
}

fn write_mp4(track: &HlsTrack, start_ms: i64, units: &[AccessUnit]) -> Vec<u8> {
    [mp4::write_init(track), mp4::write_media(7, start_ms, units)].concat()
}

proptest! {
    #[test]
    fn fmp4_is_read_back((track, units) in fragment(), start_ms in start_ms()) {
        let init = mp4::read_init(&mp4::write_init(&track), &HlsLimits::default()).expect("it was just written");
        prop_assert_eq!(&init.track, &track);
        let media = Bytes::from(mp4::write_media(7, start_ms, &units));
        let read = mp4::read_media(&init, &media, &HlsLimits::default()).expect("it was just written");
        prop_assert_eq!(read, units);
    }

    #[test]
    fn mpeg_ts_is_read_back((track, units) in fragment(), start_ms in start_ms()) {
        let written = ts::write(&track, start_ms, &units).expect("valid units");
        let read = ts::read(&written, &HlsLimits::default()).expect("it was just written");
        prop_assert_eq!(read.units, units);
        prop_assert_eq!(read.track, track);
    }

    #[test]
    fn both_containers_give_the_same_units((track, units) in fragment()) {
        let from_ts = ts::read(&ts::write(&track, 5000, &units).expect("valid units"), &HlsLimits::default());
        let file = Bytes::from(write_mp4(&track, 5000, &units));
        let init = mp4::read_init(&file, &HlsLimits::default()).expect("it was just written");
        let from_mp4 = mp4::read_media(&init, &file, &HlsLimits::default()).expect("it was just written");
        prop_assert_eq!(from_ts.expect("it was just written").units, from_mp4);
    }

    #[test]
    fn any_bytes_keep_the_invariants(input in prop::collection::vec(any::<u8>(), 0..2000)) {
        segments::check_playlist(&input);
        segments::check_fmp4(&input);
        segments::check_ts(&input);
    }

    #[test]
    fn damage_keeps_the_invariants(
        (track, units) in fragment(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let valid = [write_mp4(&track, 5000, &units), ts::write(&track, 5000, &units).expect("valid units")];
        for mut bytes in valid {
            for (at, byte) in &damage {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            bytes.truncate(cut.index(bytes.len()) + 1);
            segments::check_fmp4(&bytes);
            segments::check_ts(&bytes);
        }
    }
}
