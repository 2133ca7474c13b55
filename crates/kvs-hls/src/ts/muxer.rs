//! Muxer of MPEG-TS segments, for a local Kinesis Video Streams.

use h26x::{Codec, DecoderConfig};

use super::packet::PacketWriter;
use super::pes::push_pes_header;
use super::psi::build_section;
use super::{
    CLOCK_MASK, PACKET_HEADER_LEN, PACKET_LEN, PAT_PID, STREAM_TYPE_H264, STREAM_TYPE_H265, TICKS_PER_MS,
    adaptation_flags,
};
use crate::timing::DecodeSchedule;
use crate::{AccessUnit, HlsError, HlsTrack};

const PMT_PID: u16 = 0x1000;
const VIDEO_PID: u16 = 0x100;
const PAT_TABLE_ID: u8 = 0;
const PMT_TABLE_ID: u8 = 2;
const PROGRAM_NUMBER: u16 = 1;
const START_CODE: [u8; 4] = [0, 0, 0, 1];
/// Time by which an access unit is in the stream before its decoding time: 100 ms.
const PCR_LEAD_TICKS: u64 = 9000;

/// Returns a segment of access units in decoding order, with parameter sets before each keyframe.
///
/// `start_ms` is the time to which the units' times are relative, on the timeline of all segments.
///
/// # Errors
///
/// The codec private data or a unit is damaged.
pub fn write(track: &HlsTrack, start_ms: i64, units: &[AccessUnit]) -> Result<Vec<u8>, HlsError> {
    let config = DecoderConfig::read(track.codec, &track.codec_private)?;
    let schedule = DecodeSchedule::of(units);
    let mut out = Vec::new();
    push_tables(&mut out, track.codec);
    let mut video = PacketWriter::new(VIDEO_PID);
    for (index, unit) in units.iter().enumerate() {
        // MPEG-TS has no negative composition offset, so decoding is moved forward by the delay.
        let slot_ms = schedule.decode_ms.get(index).copied().unwrap_or(unit.relative_ms);
        let decode_ms = slot_ms.saturating_sub(schedule.delay_ms);
        let (pts, dts) = (to_ticks(start_ms, unit.relative_ms), to_ticks(start_ms, decode_ms));
        let mut pes = Vec::with_capacity(unit.data.len() + 256);
        push_pes_header(&mut pes, pts, (schedule.delay_ms != 0).then_some(dts));
        push_annex_b(&mut pes, track.codec, &config, unit)?;
        video.write(&mut out, &pes, &build_adaptation(dts, index == 0, unit.key));
    }
    Ok(out)
}

fn to_ticks(start_ms: i64, relative_ms: i64) -> u64 {
    (start_ms.wrapping_add(relative_ms).wrapping_mul(TICKS_PER_MS)) as u64 & CLOCK_MASK
}

/// Appends a PAT and a PMT, with one packet each.
fn push_tables(out: &mut Vec<u8>, codec: Codec) {
    // The bits above a PID and a descriptor length are reserved and set.
    let [pmt_high, pmt_low] = (0xE000 | PMT_PID).to_be_bytes();
    let [program_high, program_low] = PROGRAM_NUMBER.to_be_bytes();
    let pat = build_section(PAT_TABLE_ID, 1, &[program_high, program_low, pmt_high, pmt_low]);
    push_table(out, PAT_PID, &pat);
    let stream_type = if codec == Codec::H264 { STREAM_TYPE_H264 } else { STREAM_TYPE_H265 };
    let [high, low] = (0xE000 | VIDEO_PID).to_be_bytes();
    // PCR_PID, program_info_length 0, stream_type, elementary_PID, ES_info_length 0.
    let body = [high, low, 0xF0, 0, stream_type, high, low, 0xF0, 0];
    push_table(out, PMT_PID, &build_section(PMT_TABLE_ID, PROGRAM_NUMBER, &body));
}

fn push_table(out: &mut Vec<u8>, pid: u16, section: &[u8]) {
    let mut payload = section.to_vec();
    // The payload is stuffed after the section; two bytes are the adaptation field.
    payload.resize(PACKET_LEN - PACKET_HEADER_LEN - 2, 0xFF);
    // Each segment begins with a counter of 0, so the flag announces the jump from the segment before.
    PacketWriter::new(pid).write(out, &payload, &[adaptation_flags::DISCONTINUITY]);
}

/// Returns the adaptation field of an access unit's first packet: its flags and the PCR.
fn build_adaptation(dts: u64, is_first: bool, key: bool) -> Vec<u8> {
    let discontinuity = if is_first { adaptation_flags::DISCONTINUITY } else { 0 };
    let random_access = if key { adaptation_flags::RANDOM_ACCESS } else { 0 };
    let pcr_base = dts.wrapping_sub(PCR_LEAD_TICKS) & CLOCK_MASK;
    let mut out = vec![adaptation_flags::PCR | discontinuity | random_access];
    // program_clock_reference_base (33 bits), 6 reserved bits, program_clock_reference_extension (9) of 0.
    out.extend_from_slice(&((pcr_base >> 1) as u32).to_be_bytes());
    out.push(((pcr_base & 1) as u8) << 7 | 0x7E);
    out.push(0);
    out
}

/// Appends an access unit with start codes, after a delimiter and, for a keyframe, the parameter sets.
fn push_annex_b(
    out: &mut Vec<u8>,
    codec: Codec,
    config: &DecoderConfig<'_>,
    unit: &AccessUnit,
) -> Result<(), HlsError> {
    // 2.14.1 and 2.17.1 require a delimiter in each access unit. primary_pic_type 7 and pic_type 2 allow any
    // slice.
    let delimiter: &[u8] = if codec == Codec::H264 { &[9, 0xF0] } else { &[0x46, 1, 0x50] };
    let sets = if unit.key { &config.parameter_sets[..] } else { &[] };
    let before = [delimiter].into_iter().chain(sets.iter().copied()).map(Ok);
    for nal in before.chain(config.nal_units(&unit.data)) {
        let nal = nal?;
        out.extend_from_slice(&START_CODE);
        out.extend_from_slice(nal);
    }
    Ok(())
}
