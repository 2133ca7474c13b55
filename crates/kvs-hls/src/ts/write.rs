//! Writing what the reader reads, for a local Kinesis Video Streams.

use h26x::{Codec, DecoderConfig};

use super::packet::Packets;
use super::tables::section;
use super::{CLOCK_MASK, H264, H265, PACKET, PAT_PID, TICKS_PER_MS, pes};
use crate::timing::Schedule;
use crate::{AccessUnit, Error, VideoTrack};

const PMT_PID: u16 = 0x1000;
const VIDEO_PID: u16 = 0x100;
const START_CODE: [u8; 4] = [0, 0, 0, 1];
/// Adaptation field: discontinuity_indicator, random_access_indicator, PCR_flag.
const DISCONTINUITY: u8 = 0x80;
const RANDOM_ACCESS: u8 = 0x40;
const PCR: u8 = 0x10;
/// How long a unit is there before it is decoded.
const LEAD_TICKS: u64 = 9000;

/// A segment of units in decoding order, parameter sets before every key frame.
///
/// `start_ms`: the time to which the units' times are relative, on the time line of all segments.
///
/// Errors: the private data or a unit is damaged.
pub fn write(track: &VideoTrack, start_ms: i64, units: &[AccessUnit]) -> Result<Vec<u8>, Error> {
    let config = DecoderConfig::read(track.codec, &track.private)?;
    let schedule = Schedule::of(units);
    let mut out = Vec::new();
    push_tables(&mut out, track.codec);
    let mut packets = Packets::new(VIDEO_PID);
    for (index, unit) in units.iter().enumerate() {
        let shown_ms = schedule.decode_ms.get(index).copied().unwrap_or(unit.relative_ms);
        let decode_ms = shown_ms.saturating_sub(schedule.delay_ms);
        let (pts, dts) = (ticks(start_ms, unit.relative_ms), ticks(start_ms, decode_ms));
        let mut packet = Vec::with_capacity(unit.data.len() + 256);
        pes::push_head(&mut packet, pts, (schedule.delay_ms != 0).then_some(dts));
        push_unit(&mut packet, track.codec, &config, unit)?;
        packets.write(&mut out, &packet, &adaptation(dts, index == 0, unit.key));
    }
    Ok(out)
}

fn ticks(start_ms: i64, relative_ms: i64) -> u64 {
    (start_ms.wrapping_add(relative_ms).wrapping_mul(TICKS_PER_MS)) as u64 & CLOCK_MASK
}

/// PAT and PMT. Their counters begin anew with each segment, as the flag says.
fn push_tables(out: &mut Vec<u8>, codec: Codec) {
    let [pmt_high, pmt_low] = (0xE000 | PMT_PID).to_be_bytes();
    push_table(out, PAT_PID, &section(0, 1, &[0, 1, pmt_high, pmt_low]));
    let kind = if codec == Codec::H264 { H264 } else { H265 };
    let [high, low] = (0xE000 | VIDEO_PID).to_be_bytes();
    push_table(out, PMT_PID, &section(2, 1, &[high, low, 0xF0, 0, kind, high, low, 0xF0, 0]));
}

fn push_table(out: &mut Vec<u8>, pid: u16, section: &[u8]) {
    let mut payload = section.to_vec();
    payload.resize(PACKET - 4 - 2, 0xFF);
    Packets::new(pid).write(out, &payload, &[DISCONTINUITY]);
}

/// Flags and clock of a unit's first packet.
fn adaptation(dts: u64, first: bool, key: bool) -> Vec<u8> {
    let flags = PCR | if first { DISCONTINUITY } else { 0 } | if key { RANDOM_ACCESS } else { 0 };
    let base = dts.wrapping_sub(LEAD_TICKS) & CLOCK_MASK;
    let mut out = vec![flags];
    out.extend_from_slice(&((base >> 1) as u32).to_be_bytes());
    out.push(((base & 1) as u8) << 7 | 0x7E);
    out.push(0);
    out
}

fn push_unit(
    out: &mut Vec<u8>,
    codec: Codec,
    config: &DecoderConfig<'_>,
    unit: &AccessUnit,
) -> Result<(), Error> {
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
