//! Writing what the reader reads, for a local Kinesis Video Streams.

use h26x::Codec;

use super::{TIMESCALE, flags};
use crate::timing::Schedule;
use crate::{AccessUnit, VideoTrack};

const TRACK_ID: u32 = 1;
const IDENTITY_MATRIX: [u32; 9] = [0x1_0000, 0, 0, 0, 0x1_0000, 0, 0, 0, 0x4000_0000];
/// "und" in three times five bits.
const NO_LANGUAGE: u16 = 0x55C4;

/// The initialisation segment of a track.
pub fn write_init(track: &VideoTrack) -> Vec<u8> {
    let mut out = Vec::new();
    boxed(&mut out, b"ftyp", |out| out.extend_from_slice(b"iso6\0\0\0\0iso6mp41dash"));
    boxed(&mut out, b"moov", |out| {
        movie(out, track, 0, no_samples);
        boxed(out, b"mvex", |out| full(out, b"trex", 0, 0, |out| words(out, &[TRACK_ID, 1, 0, 0, 0])));
    });
    out
}

/// What a moov says of its only track: its length in ms, and by `samples` where its samples are.
pub(super) fn movie(
    out: &mut Vec<u8>,
    track: &VideoTrack,
    length_ms: u32,
    samples: impl FnOnce(&mut Vec<u8>),
) {
    full(out, b"mvhd", 0, 0, |out| movie_header(out, length_ms));
    boxed(out, b"trak", |out| {
        full(out, b"tkhd", 0, 3, |out| track_header(out, track, length_ms));
        boxed(out, b"mdia", |out| media(out, track, length_ms, samples));
    });
}

/// A media segment of units in decoding order.
///
/// `start_ms`: the time to which the units' times are relative, on the time line of all segments. `sequence`: rises
/// from one segment to the next.
pub fn write_media(sequence: u32, start_ms: i64, units: &[AccessUnit]) -> Vec<u8> {
    let schedule = Schedule::of(units);
    let first_ms = schedule.decode_ms.first().copied().unwrap_or(0);
    let decode_ms = u64::try_from(start_ms.saturating_add(first_ms)).unwrap_or(0);
    let mut out = Vec::new();
    boxed(&mut out, b"styp", |out| out.extend_from_slice(b"msdh\0\0\0\0msdhmsix"));
    let moof = out.len();
    let mut data_offset = 0;
    boxed(&mut out, b"moof", |out| {
        full(out, b"mfhd", 0, 0, |out| words(out, &[sequence]));
        boxed(out, b"traf", |out| {
            full(out, b"tfhd", 0, flags::BASE_IS_MOOF, |out| words(out, &[TRACK_ID]));
            full(out, b"tfdt", 1, 0, |out| out.extend_from_slice(&decode_ms.to_be_bytes()));
            data_offset = run(out, units, &schedule);
        });
    });
    let data = out.len() - moof + 8;
    out[data_offset..data_offset + 4].copy_from_slice(&clamped(data).to_be_bytes());
    boxed(&mut out, b"mdat", |out| units.iter().for_each(|unit| out.extend_from_slice(&unit.data)));
    out
}

/// Gives the place of its data offset, which is not known yet.
fn run(out: &mut Vec<u8>, units: &[AccessUnit], schedule: &Schedule) -> usize {
    let given = flags::DATA_OFFSET | flags::DURATION | flags::SIZE | flags::FLAGS | flags::COMPOSITION;
    let mut data_offset = 0;
    full(out, b"trun", 1, given, |out| {
        words(out, &[clamped(units.len())]);
        data_offset = out.len();
        words(out, &[0]);
        for (index, unit) in units.iter().enumerate() {
            let decode_ms = schedule.decode_ms.get(index).copied().unwrap_or(unit.relative_ms);
            let composition = i32::try_from(unit.relative_ms.saturating_sub(decode_ms)).unwrap_or(0);
            let duration = u32::try_from(schedule.length_ms(index)).unwrap_or(u32::MAX);
            let depends = if unit.key { flags::INDEPENDENT } else { flags::DEPENDENT | flags::NOT_SYNC };
            words(out, &[duration, clamped(unit.data.len()), depends, composition as u32]);
        }
    });
    data_offset
}

fn movie_header(out: &mut Vec<u8>, length_ms: u32) {
    words(out, &[0, 0, TIMESCALE, length_ms, 0x1_0000, 0x0100_0000, 0, 0]);
    words(out, &IDENTITY_MATRIX);
    words(out, &[0, 0, 0, 0, 0, 0, TRACK_ID + 1]);
}

fn track_header(out: &mut Vec<u8>, track: &VideoTrack, length_ms: u32) {
    words(out, &[0, 0, TRACK_ID, 0, length_ms, 0, 0, 0, 0]);
    words(out, &IDENTITY_MATRIX);
    words(out, &[track.width_px << 16, track.height_px << 16]);
}

fn media(out: &mut Vec<u8>, track: &VideoTrack, length_ms: u32, samples: impl FnOnce(&mut Vec<u8>)) {
    full(out, b"mdhd", 0, 0, |out| {
        words(out, &[0, 0, TIMESCALE, length_ms]);
        shorts(out, &[NO_LANGUAGE, 0]);
    });
    full(out, b"hdlr", 0, 0, |out| {
        words(out, &[0]);
        out.extend_from_slice(b"vide\0\0\0\0\0\0\0\0\0\0\0\0video\0");
    });
    boxed(out, b"minf", |out| {
        full(out, b"vmhd", 0, 1, |out| words(out, &[0, 0]));
        boxed(out, b"dinf", |out| {
            full(out, b"dref", 0, 0, |out| {
                words(out, &[1]);
                full(out, b"url ", 0, 1, |_| {});
            });
        });
        boxed(out, b"stbl", |out| {
            full(out, b"stsd", 0, 0, |out| {
                words(out, &[1]);
                sample_entry(out, track);
            });
            samples(out);
        });
    });
}

fn no_samples(out: &mut Vec<u8>) {
    full(out, b"stts", 0, 0, |out| words(out, &[0]));
    full(out, b"stsc", 0, 0, |out| words(out, &[0]));
    full(out, b"stsz", 0, 0, |out| words(out, &[0, 0]));
    full(out, b"stco", 0, 0, |out| words(out, &[0]));
}

fn sample_entry(out: &mut Vec<u8>, track: &VideoTrack) {
    let (entry, config) = match track.codec {
        Codec::H264 => (b"avc1", b"avcC"),
        Codec::H265 => (b"hvc1", b"hvcC"),
    };
    let side = |px: u32| u16::try_from(px).unwrap_or(u16::MAX);
    boxed(out, entry, |out| {
        shorts(out, &[0, 0, 0, 1, 0, 0]);
        words(out, &[0, 0, 0]);
        shorts(out, &[side(track.width_px), side(track.height_px)]);
        words(out, &[0x48_0000, 0x48_0000, 0]);
        shorts(out, &[1]);
        out.extend_from_slice(&[0; 32]);
        shorts(out, &[0x18, 0xFFFF]);
        boxed(out, config, |out| out.extend_from_slice(&track.private));
    });
}

pub(super) fn boxed(out: &mut Vec<u8>, kind: &[u8; 4], body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    words(out, &[0]);
    out.extend_from_slice(kind);
    body(out);
    let size = clamped(out.len() - start);
    out[start..start + 4].copy_from_slice(&size.to_be_bytes());
}

pub(super) fn full(
    out: &mut Vec<u8>,
    kind: &[u8; 4],
    version: u8,
    flags: u32,
    body: impl FnOnce(&mut Vec<u8>),
) {
    boxed(out, kind, |out| {
        words(out, &[u32::from(version) << 24 | flags]);
        body(out);
    });
}

pub(super) fn words(out: &mut Vec<u8>, words: &[u32]) {
    words.iter().for_each(|word| out.extend_from_slice(&word.to_be_bytes()));
}

fn shorts(out: &mut Vec<u8>, shorts: &[u16]) {
    shorts.iter().for_each(|short| out.extend_from_slice(&short.to_be_bytes()));
}

/// A fragment has at most 50 MB, so nothing comes near 4 GiB.
pub(super) fn clamped(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}
