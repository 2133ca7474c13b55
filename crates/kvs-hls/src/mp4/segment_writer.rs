//! Writer of initialisation and media segments, for a local Kinesis Video Streams.

use h26x::Codec;

use super::{TIMESCALE, flags};
use crate::timing::DecodeSchedule;
use crate::{AccessUnit, HlsTrack};

const TRACK_ID: u32 = 1;
/// Fixed-point matrix of mvhd and tkhd that leaves the picture as it is.
const IDENTITY_MATRIX: [u32; 9] = [0x1_0000, 0, 0, 0, 0x1_0000, 0, 0, 0, 0x4000_0000];
/// Language code "und" of mdhd, three letters of 5 bits each.
const UNDETERMINED_LANGUAGE: u16 = 0x55C4;

/// Returns the initialisation segment of a track.
pub fn write_init(track: &HlsTrack) -> Vec<u8> {
    let mut out = Vec::new();
    write_box(&mut out, b"ftyp", |out| out.extend_from_slice(b"iso6\0\0\0\0iso6mp41dash"));
    write_box(&mut out, b"moov", |out| {
        write_movie(out, track, 0, write_empty_sample_table);
        // trex (8.8.3): default_sample_description_index 1, and no defaults: each trun has all fields.
        write_box(out, b"mvex", |out| {
            write_full_box(out, b"trex", 0, 0, |out| write_words(out, &[TRACK_ID, 1, 0, 0, 0]));
        });
    });
    out
}

/// Writes the content of a moov box with one track; `write_samples` writes its sample table.
pub(super) fn write_movie(
    out: &mut Vec<u8>,
    track: &HlsTrack,
    duration_ms: u32,
    write_samples: impl FnOnce(&mut Vec<u8>),
) {
    write_full_box(out, b"mvhd", 0, 0, |out| write_mvhd(out, duration_ms));
    write_box(out, b"trak", |out| {
        // Flags of tkhd: track_enabled and track_in_movie.
        write_full_box(out, b"tkhd", 0, 3, |out| write_tkhd(out, track, duration_ms));
        write_box(out, b"mdia", |out| write_mdia(out, track, duration_ms, write_samples));
    });
}

/// Returns a media segment of access units in decoding order.
///
/// `start_ms` is the time to which the units' times are relative, on the timeline of all segments. `sequence`
/// must rise from one segment to the next.
pub fn write_media(sequence: u32, start_ms: i64, units: &[AccessUnit]) -> Vec<u8> {
    let schedule = DecodeSchedule::of(units);
    let first_ms = schedule.decode_ms.first().copied().unwrap_or(0);
    let decode_ms = u64::try_from(start_ms.saturating_add(first_ms)).unwrap_or(0);
    let mut out = Vec::new();
    write_box(&mut out, b"styp", |out| out.extend_from_slice(b"msdh\0\0\0\0msdhmsix"));
    let moof_start = out.len();
    let mut data_offset_at = 0;
    write_box(&mut out, b"moof", |out| {
        write_full_box(out, b"mfhd", 0, 0, |out| write_words(out, &[sequence]));
        data_offset_at = write_traf(out, decode_ms, units, &schedule);
    });
    // The samples begin after the 8-byte header of the mdat; this is known only when the moof is complete.
    let data_offset = out.len() - moof_start + 8;
    out[data_offset_at..data_offset_at + 4].copy_from_slice(&len_to_u32(data_offset).to_be_bytes());
    write_box(&mut out, b"mdat", |out| units.iter().for_each(|unit| out.extend_from_slice(&unit.data)));
    out
}

/// Writes a traf box without the data offset of its trun, and returns the position of that field in `out`.
fn write_traf(out: &mut Vec<u8>, decode_ms: u64, units: &[AccessUnit], schedule: &DecodeSchedule) -> usize {
    let mut data_offset_at = 0;
    write_box(out, b"traf", |out| {
        write_full_box(out, b"tfhd", 0, flags::TFHD_DEFAULT_BASE_IS_MOOF, |out| {
            write_words(out, &[TRACK_ID]);
        });
        write_full_box(out, b"tfdt", 1, 0, |out| out.extend_from_slice(&decode_ms.to_be_bytes()));
        data_offset_at = write_trun(out, units, schedule);
    });
    data_offset_at
}

/// Writes a trun box without its data offset, and returns the position of that field in `out`.
fn write_trun(out: &mut Vec<u8>, units: &[AccessUnit], schedule: &DecodeSchedule) -> usize {
    let present = flags::TRUN_DATA_OFFSET
        | flags::TRUN_DURATION
        | flags::TRUN_SIZE
        | flags::TRUN_FLAGS
        | flags::TRUN_COMPOSITION_OFFSET;
    let mut data_offset_at = 0;
    // Version 1, in which composition offsets are signed: a picture may be presented before its decoding
    // time.
    write_full_box(out, b"trun", 1, present, |out| {
        write_words(out, &[len_to_u32(units.len())]);
        data_offset_at = out.len();
        write_words(out, &[0]);
        for (index, unit) in units.iter().enumerate() {
            let decode_ms = schedule.decode_ms.get(index).copied().unwrap_or(unit.relative_ms);
            let duration = u32::try_from(schedule.duration_ms(index)).unwrap_or(u32::MAX);
            write_run_sample(out, unit, decode_ms, duration);
        }
    });
    data_offset_at
}

/// Writes the fields of a sample in a trun box.
fn write_run_sample(out: &mut Vec<u8>, unit: &AccessUnit, decode_ms: i64, duration: u32) {
    let composition_offset = i32::try_from(unit.relative_ms.saturating_sub(decode_ms)).unwrap_or(0);
    let sample_flags = if unit.key {
        flags::SAMPLE_DEPENDS_ON_NONE
    } else {
        flags::SAMPLE_DEPENDS_ON_OTHERS | flags::SAMPLE_IS_NON_SYNC
    };
    write_words(out, &[duration, len_to_u32(unit.data.len()), sample_flags, composition_offset as u32]);
}

/// Writes the fields of mvhd (8.2.2).
fn write_mvhd(out: &mut Vec<u8>, duration_ms: u32) {
    let [creation_time, modification_time] = [0, 0];
    let (rate, volume, reserved) = (0x1_0000, 0x0100_0000, [0, 0]);
    write_words(out, &[creation_time, modification_time, TIMESCALE, duration_ms, rate, volume]);
    write_words(out, &reserved);
    write_words(out, &IDENTITY_MATRIX);
    // Six pre_defined words, then next_track_ID.
    write_words(out, &[0, 0, 0, 0, 0, 0, TRACK_ID + 1]);
}

/// Writes the fields of tkhd (8.3.2).
fn write_tkhd(out: &mut Vec<u8>, track: &HlsTrack, duration_ms: u32) {
    // creation_time, modification_time, track_ID, reserved, duration, two reserved words, layer with
    // alternate_group, volume with reserved.
    write_words(out, &[0, 0, TRACK_ID, 0, duration_ms, 0, 0, 0, 0]);
    write_words(out, &IDENTITY_MATRIX);
    // Width and height are 16.16 fixed-point numbers.
    write_words(out, &[track.width_px << 16, track.height_px << 16]);
}

fn write_mdia(
    out: &mut Vec<u8>,
    track: &HlsTrack,
    duration_ms: u32,
    write_samples: impl FnOnce(&mut Vec<u8>),
) {
    write_full_box(out, b"mdhd", 0, 0, |out| {
        // creation_time, modification_time, timescale, duration.
        write_words(out, &[0, 0, TIMESCALE, duration_ms]);
        write_shorts(out, &[UNDETERMINED_LANGUAGE, 0]);
    });
    write_full_box(out, b"hdlr", 0, 0, |out| {
        // pre_defined, handler_type, three reserved words, name.
        write_words(out, &[0]);
        out.extend_from_slice(b"vide\0\0\0\0\0\0\0\0\0\0\0\0video\0");
    });
    write_box(out, b"minf", |out| write_minf(out, track, write_samples));
}

fn write_minf(out: &mut Vec<u8>, track: &HlsTrack, write_samples: impl FnOnce(&mut Vec<u8>)) {
    // vmhd (12.1.2): graphicsmode copy and no opcolor; its flags are always 1.
    write_full_box(out, b"vmhd", 0, 1, |out| write_words(out, &[0, 0]));
    write_box(out, b"dinf", |out| {
        write_full_box(out, b"dref", 0, 0, |out| {
            write_words(out, &[1]);
            // Flag 1: the media is in the same file, so there is no URL.
            write_full_box(out, b"url ", 0, 1, |_| {});
        });
    });
    write_box(out, b"stbl", |out| {
        write_full_box(out, b"stsd", 0, 0, |out| {
            write_words(out, &[1]);
            write_sample_entry(out, track);
        });
        write_samples(out);
    });
}

/// Writes the sample table of a moov whose samples are all in media segments.
fn write_empty_sample_table(out: &mut Vec<u8>) {
    write_full_box(out, b"stts", 0, 0, |out| write_words(out, &[0]));
    write_full_box(out, b"stsc", 0, 0, |out| write_words(out, &[0]));
    write_full_box(out, b"stsz", 0, 0, |out| write_words(out, &[0, 0]));
    write_full_box(out, b"stco", 0, 0, |out| write_words(out, &[0]));
}

/// Writes a VisualSampleEntry (12.1.3) with its avcC or hvcC.
fn write_sample_entry(out: &mut Vec<u8>, track: &HlsTrack) {
    let (entry, config) = match track.codec {
        Codec::H264 => (b"avc1", b"avcC"),
        Codec::H265 => (b"hvc1", b"hvcC"),
    };
    let side = |px: u32| u16::try_from(px).unwrap_or(u16::MAX);
    write_box(out, entry, |out| {
        // reserved (6 bytes), data_reference_index, pre_defined, reserved, pre_defined (12 bytes).
        write_shorts(out, &[0, 0, 0, 1, 0, 0]);
        write_words(out, &[0, 0, 0]);
        write_shorts(out, &[side(track.width_px), side(track.height_px)]);
        // Both resolutions are 72 dpi in 16.16 fixed-point, then reserved and a frame_count of 1.
        write_words(out, &[0x48_0000, 0x48_0000, 0]);
        write_shorts(out, &[1]);
        let compressor_name = [0; 32];
        out.extend_from_slice(&compressor_name);
        let (depth, pre_defined) = (0x18, 0xFFFF);
        write_shorts(out, &[depth, pre_defined]);
        write_box(out, config, |out| out.extend_from_slice(&track.codec_private));
    });
}

/// Writes a box: its size, its type, and the body that `write_body` appends.
pub(super) fn write_box(out: &mut Vec<u8>, kind: &[u8; 4], write_body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    write_words(out, &[0]);
    out.extend_from_slice(kind);
    write_body(out);
    let size = len_to_u32(out.len() - start);
    out[start..start + 4].copy_from_slice(&size.to_be_bytes());
}

/// Writes a full box: a box whose body begins with version and flags.
pub(super) fn write_full_box(
    out: &mut Vec<u8>,
    kind: &[u8; 4],
    version: u8,
    flags: u32,
    write_body: impl FnOnce(&mut Vec<u8>),
) {
    write_box(out, kind, |out| {
        write_words(out, &[u32::from(version) << 24 | flags]);
        write_body(out);
    });
}

pub(super) fn write_words(out: &mut Vec<u8>, words: &[u32]) {
    words.iter().for_each(|word| out.extend_from_slice(&word.to_be_bytes()));
}

fn write_shorts(out: &mut Vec<u8>, shorts: &[u16]) {
    shorts.iter().for_each(|short| out.extend_from_slice(&short.to_be_bytes()));
}

/// Converts a length to 32 bits; a fragment has at most 50 MB, so no length comes near 4 GiB.
pub(super) fn len_to_u32(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}
