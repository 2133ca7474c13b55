//! Handmade segments that are valid but unusual, or damaged in one place.

use bytes::Bytes;
use kvs_hls::{AccessUnit, HlsError, HlsLimits, mp4, ts};

use crate::seeds::{h264_track, h265_track, units};

fn boxed(kind: &[u8; 4], parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    [&(body.len() as u32 + 8).to_be_bytes(), &kind[..], &body].concat()
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

/// Returns a traf of a track: its tfhd, then boxes.
fn traf(flags: u32, track: u32, fields: &[u8], boxes: &[Vec<u8>]) -> Vec<u8> {
    boxed(b"traf", &[&boxed(b"tfhd", &[&words(&[flags, track]), fields]), &boxes.concat()])
}

fn tfdt(ticks: u32) -> Vec<u8> {
    boxed(b"tfdt", &[&words(&[0, ticks])])
}

/// Returns a trun with sample sizes alone.
fn trun(sizes: &[u32]) -> Vec<u8> {
    boxed(b"trun", &[&words(&[0x200, sizes.len() as u32]), &words(sizes)])
}

const BASE: u32 = 0x01;
const DURATION: u32 = 0x08;
const SIZE: u32 = 0x10;
const FROM_MOOF: u32 = 0x02_0000;

fn read(segment: Vec<u8>) -> Result<Vec<AccessUnit>, HlsError> {
    read_within(segment, &HlsLimits::default())
}

fn read_within(segment: Vec<u8>, limits: &HlsLimits) -> Result<Vec<AccessUnit>, HlsError> {
    let init = mp4::read_init(&mp4::write_init(&h264_track()), limits)?;
    mp4::read_media(&init, &Bytes::from(segment), limits)
}

fn times_and_data(units: &[AccessUnit]) -> Vec<(i64, &[u8])> {
    units.iter().map(|unit| (unit.relative_ms, &unit.data[..])).collect()
}

/// Returns a segment in which only the audio run has a data offset: two samples of 3 bytes, before those of
/// the video.
fn audio_first(data: &[u8]) -> Vec<u8> {
    let moof = |data_offset: u32| {
        let audio_run = boxed(b"trun", &[&words(&[1, 2, data_offset])]);
        let audio = traf(SIZE, 2, &words(&[3]), &[tfdt(9000), audio_run]);
        let video = traf(DURATION, 1, &words(&[40]), &[trun(&[2, 1])]);
        boxed(b"moof", &[&audio, &video])
    };
    let head = moof(0).len() + 8;
    [moof(head as u32), boxed(b"mdat", &[data])].concat()
}

#[test]
fn samples_follow_those_of_the_track_before_without_a_data_offset() {
    let segment = [audio_first(b"aaaaaavvw"), audio_first(b"bbbbbbxxy")].concat();
    let expected = [(0, &b"vv"[..]), (40, b"w"), (80, b"xx"), (120, b"y")];
    assert_eq!(
        times_and_data(&read(segment).expect("a segment")),
        expected,
        "without a tfdt the decoding time continues"
    );
}

#[test]
fn samples_may_be_anywhere_in_the_segment() {
    let video = traf(BASE, 1, &9u64.to_be_bytes(), &[trun(&[2])]);
    let segment = [&boxed(b"mdat", &[b"xvvx"])[..], &boxed(b"moof", &[&video])].concat();
    assert_eq!(times_and_data(&read(segment).expect("a segment")), [(0, &b"vv"[..])]);
}

#[test]
fn boxes_may_have_64_bit_sizes_and_the_last_may_have_none() {
    let video = traf(FROM_MOOF, 1, &[], &[boxed(b"trun", &[&words(&[0x201, 1, 8 + 76, 2])])]);
    let moof = boxed(b"moof", &[&video]);
    for (name, mdat) in [
        ("long", [&words(&[1])[..], b"mdat", &18u64.to_be_bytes(), b"vv"].concat()),
        ("none", { [&words(&[0])[..], b"mdat", &[0; 8], b"vv"].concat() }),
    ] {
        let mut segment = [&moof[..], &mdat].concat();
        let place = moof.len() as u32 + 16;
        let at = segment.windows(4).position(|word| word == 84u32.to_be_bytes()).expect("the data offset");
        segment[at..at + 4].copy_from_slice(&place.to_be_bytes());
        assert_eq!(times_and_data(&read(segment).expect(name)), [(0, &b"vv"[..])], "{name}");
    }
}

#[test]
fn a_box_size_includes_its_header() {
    for size in 2..8u32 {
        let result = read([words(&[size]), b"moof".to_vec()].concat());
        assert!(matches!(result, Err(HlsError::Invalid { .. })), "{size}: {result:?}");
    }
}

#[test]
fn samples_cannot_cost_more_than_their_segment() {
    let many = traf(SIZE, 1, &words(&[0]), &[boxed(b"trun", &[&words(&[0, 201])])]);
    let limits = HlsLimits { units: 200, ..HlsLimits::default() };
    let result = read_within(boxed(b"moof", &[&many]), &limits);
    assert!(matches!(result, Err(HlsError::TooMuch { count: 201, limit: 200, .. })), "{result:?}");
    let again = boxed(b"trun", &[&words(&[0x201, 1, 0, 100])]);
    let over = traf(FROM_MOOF, 1, &[], &[again.clone(), again.clone(), again]);
    let result = read(boxed(b"moof", &[&over]));
    assert!(matches!(result, Err(HlsError::TooMuch { unit: "bytes of samples", .. })), "{result:?}");
}

#[test]
fn a_timescale_of_0_is_rejected() {
    let mut init = mp4::write_init(&h264_track());
    let mdhd = init.windows(4).position(|kind| kind == b"mdhd").expect("an mdhd");
    init[mdhd + 16..mdhd + 20].copy_from_slice(&[0; 4]);
    let result = mp4::read_init(&init, &HlsLimits::default());
    assert!(matches!(result, Err(HlsError::Invalid { part: "mdhd", .. })), "{result:?}");
}

/// Returns the packets of an H.264 segment: PAT, PMT, then video.
fn packets() -> Vec<Vec<u8>> {
    let track = h264_track();
    let written = ts::write(&track, 5000, &units(track.codec)).expect("valid units");
    written.chunks(188).map(<[u8]>::to_vec).collect()
}

#[test]
fn a_repeated_packet_is_ignored_and_a_lost_one_is_reported() {
    let good = packets();
    let expected = ts::read(&good.concat(), &HlsLimits::default()).expect("it was just written");
    let mut doubled = good.clone();
    doubled.insert(4, good[3].clone());
    assert_eq!(
        ts::read(&doubled.concat(), &HlsLimits::default()),
        Ok(expected),
        "a packet may be sent twice"
    );
    let mut lost = good;
    lost.remove(4);
    let result = ts::read(&lost.concat(), &HlsLimits::default());
    assert!(matches!(result, Err(HlsError::Invalid { part: "a transport packet", .. })), "{result:?}");
}

#[test]
fn tables_are_checked_and_may_span_several_packets() {
    let good = packets();
    for table in 0..2 {
        let mut damaged = good.clone();
        let table_body = damaged[table].len() - 182;
        damaged[table][table_body + 9] ^= 1;
        let result = ts::read(&damaged.concat(), &HlsLimits::default());
        assert!(matches!(result, Err(HlsError::Invalid { part: "a PAT or PMT", .. })), "{table}: {result:?}");
    }
    let (head, section) = good[1].split_at(6);
    let cut = 10;
    let mut first = [&[head[0], head[1], head[2], 0x30, (183 - cut) as u8, 0x80][..]].concat();
    first.resize(188 - cut, 0xFF);
    first.extend_from_slice(&section[..cut]);
    let mut second = vec![head[0], head[1] & !0x40, head[2], 0x11];
    second.extend_from_slice(&section[cut..]);
    second.resize(188, 0xFF);
    let split = [&good[..1], &[first, second], &good[2..]].concat();
    let read = ts::read(&split.concat(), &HlsLimits::default());
    assert_eq!(read, ts::read(&good.concat(), &HlsLimits::default()), "a PMT in two packets");
    assert!(read.is_ok());
}

#[test]
fn keyframes_are_recognised_by_their_slices_too() {
    for track in [h264_track(), h265_track()] {
        let mut written = ts::write(&track, 5000, &units(track.codec)).expect("valid units");
        for packet in written.chunks_mut(188).filter(|packet| packet[3] & 0x20 != 0 && packet[4] > 0) {
            packet[5] &= !0x40;
        }
        let read = ts::read(&written, &HlsLimits::default()).expect("a segment");
        let keys: Vec<bool> = read.units.iter().map(|unit| unit.key).collect();
        assert_eq!(keys, [true, false, false, false], "{:?}", track.codec);
    }
}

#[test]
fn each_keyframe_has_its_parameter_sets_before_it() {
    let track = h264_track();
    let first = units(track.codec).remove(0);
    let again = AccessUnit { index: 1, relative_ms: 40, ..first.clone() };
    let written = ts::write(&track, 5000, &[first, again]).expect("valid units");
    let sets = written.windows(5).filter(|bytes| *bytes == [0, 0, 1, 0x67, 0x64]).count();
    assert_eq!(sets, 2);
}

#[test]
fn access_units_per_ts_segment_are_limited() {
    let limits = HlsLimits { units: 3, ..HlsLimits::default() };
    let result = ts::read(&packets().concat(), &limits);
    assert!(matches!(result, Err(HlsError::TooMuch { count: 4, limit: 3, .. })), "{result:?}");
}
