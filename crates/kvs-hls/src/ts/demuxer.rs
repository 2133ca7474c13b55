//! Demuxer of MPEG-TS segments.

use bytes::Bytes;
use h26x::{Codec, NalKind, build_codec_private, picture_size, push_length_prefixed, split_annex_b};

use super::packet::{TsPacket, packets};
use super::pes::read_pes;
use super::psi::{SectionAssembler, find_pmt_pid, find_video};
use super::{CLOCK_HZ, CLOCK_MASK, PAT_PID};
use crate::limits::check_limit;
use crate::timing::ticks_to_ms;
use crate::{AccessUnit, HlsError, HlsLimits, HlsTrack};

/// The track and access units of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TsSegment {
    /// The track; its codec private data is built from the in-band parameter sets, for lengths of 4 bytes.
    pub track: HlsTrack,
    /// Access units in decoding order, without delimiters and without the parameter sets that are in the
    /// codec private data.
    pub units: Vec<AccessUnit>,
}

/// Maximum number of parameter sets of all kinds in one access unit.
const MAX_PARAMETER_SETS: usize = 255;

/// Reads a segment of one program with H.264 or H.265.
///
/// Each PES packet holds one access unit, as Kinesis Video Streams, FFmpeg and [`write`](super::write())
/// write it, or an access unit spans several PES packets of which the first has the PTS.
///
/// # Errors
///
/// The segment exceeds the limits, is damaged, lacks packets, or has no such video with its parameter sets.
pub fn read(segment: &[u8], limits: &HlsLimits) -> Result<TsSegment, HlsError> {
    limits.check_segment(segment)?;
    let mut demuxer = TsDemuxer::default();
    for packet in packets(segment) {
        demuxer.push(&packet?, limits)?;
    }
    demuxer.end_pes(limits)?;
    let (_, codec) = demuxer.video.ok_or(HlsError::Missing { whole: "segment", part: "PAT and PMT" })?;
    assemble(codec, &demuxer.units)
}

/// The relation of a transport packet to the one before.
enum Continuity {
    /// Its payload follows.
    New,
    /// It repeats that one.
    Repeated,
}

#[derive(Default)]
struct TsDemuxer {
    pat: SectionAssembler,
    pmt: SectionAssembler,
    pmt_pid: Option<u16>,
    /// PID and codec of the video.
    video: Option<(u16, Codec)>,
    /// continuity_counter of the last video packet.
    continuity_counter: Option<u8>,
    /// The PES packet whose end has not arrived.
    partial_pes: Option<PartialPes>,
    units: Vec<AnnexBUnit>,
}

/// The start of a PES packet.
struct PartialPes {
    offset: usize,
    random_access: bool,
    bytes: Vec<u8>,
}

/// An access unit with start codes.
struct AnnexBUnit {
    pts: u64,
    random_access: bool,
    bytes: Vec<u8>,
}

impl TsDemuxer {
    fn push(&mut self, packet: &TsPacket<'_>, limits: &HlsLimits) -> Result<(), HlsError> {
        if packet.pid == PAT_PID {
            if let Some(pat) = self.pat.push(packet)? {
                self.pmt_pid = find_pmt_pid(&pat);
            }
        } else if Some(packet.pid) == self.pmt_pid {
            // PAT and PMT are repeated; the first PMT holds for the whole segment.
            if let Some(pmt) = self.pmt.push(packet)?.filter(|_| self.video.is_none()) {
                self.video = Some(find_video(&pmt)?);
            }
        } else if self.video.is_some_and(|(pid, _)| pid == packet.pid) {
            return self.push_video(packet, limits);
        }
        // Packets of other PIDs are ignored: audio, service information, null packets.
        Ok(())
    }

    fn push_video(&mut self, packet: &TsPacket<'_>, limits: &HlsLimits) -> Result<(), HlsError> {
        // 2.4.3.3: the counter does not advance for packets without payload.
        let Some(payload) = packet.payload else { return Ok(()) };
        let Continuity::New = self.follow_continuity(packet)? else { return Ok(()) };
        if packet.starts_unit {
            self.end_pes(limits)?;
            let random_access = packet.random_access;
            self.partial_pes = Some(PartialPes { offset: packet.offset, random_access, bytes: Vec::new() });
        }
        // Payload before the first start belongs to a packet of the segment before, and is ignored.
        if let Some(partial_pes) = &mut self.partial_pes {
            partial_pes.bytes.extend_from_slice(payload);
        }
        Ok(())
    }

    /// Follows the continuity counter. An error means that packets were lost before this one.
    fn follow_continuity(&mut self, packet: &TsPacket<'_>) -> Result<Continuity, HlsError> {
        let last = self.continuity_counter.replace(packet.continuity_counter);
        // 2.4.3.3: a packet may be sent twice, with the same counter.
        if last == Some(packet.continuity_counter) && !packet.discontinuity {
            return Ok(Continuity::Repeated);
        }
        let follows = last.is_none_or(|last| (last + 1) & 0x0F == packet.continuity_counter);
        if !follows && !packet.discontinuity {
            let expected = "the next continuity counter: packets were lost";
            return Err(HlsError::Invalid { offset: packet.offset, part: "a transport packet", expected });
        }
        Ok(Continuity::New)
    }

    /// Reads the PES packet that ends here, if there is one.
    fn end_pes(&mut self, limits: &HlsLimits) -> Result<(), HlsError> {
        let Some(PartialPes { offset, random_access, bytes }) = self.partial_pes.take() else {
            return Ok(());
        };
        let pes = read_pes(&bytes, offset)?;
        match (pes.pts, self.units.last_mut()) {
            (Some(pts), _) => {
                check_limit("a segment", "access units", self.units.len() + 1, limits.units)?;
                self.units.push(AnnexBUnit { pts, random_access, bytes: pes.payload.to_vec() });
            }
            (None, Some(unit)) => unit.bytes.extend_from_slice(pes.payload),
            (None, None) => {
                let expected = "a presentation time in the first of a segment";
                return Err(HlsError::Invalid { offset, part: "a PES packet", expected });
            }
        }
        Ok(())
    }
}

fn assemble(codec: Codec, annex_b_units: &[AnnexBUnit]) -> Result<TsSegment, HlsError> {
    let sets = first_parameter_sets(codec, annex_b_units)?;
    let track = build_track(codec, &sets)?;
    let mut units = Vec::with_capacity(annex_b_units.len());
    let mut first_pts = None;
    for unit in annex_b_units {
        let (data, has_random_access_slice) = to_length_prefixed(codec, &unit.bytes, &sets);
        if !data.is_empty() {
            let ticks = ticks_after(*first_pts.get_or_insert(unit.pts), unit.pts);
            units.push(AccessUnit {
                index: u32::try_from(units.len()).unwrap_or(u32::MAX),
                relative_ms: ticks_to_ms(ticks, CLOCK_HZ),
                // random_access_indicator is optional, so the slices count as well.
                key: unit.random_access || has_random_access_slice,
                data: Bytes::from(data),
            });
        }
    }
    Ok(TsSegment { track, units })
}

/// Returns all different parameter sets of the first access unit that has any.
fn first_parameter_sets(codec: Codec, units: &[AnnexBUnit]) -> Result<Vec<&[u8]>, HlsError> {
    for unit in units {
        let mut sets: Vec<&[u8]> = Vec::new();
        let nals = split_annex_b(&unit.bytes);
        for nal in nals.into_iter().filter(|nal| NalKind::of(codec, nal).is_parameter_set()) {
            if !sets.contains(&nal) {
                check_limit("an access unit", "parameter sets", sets.len() + 1, MAX_PARAMETER_SETS)?;
                sets.push(nal);
            }
        }
        if !sets.is_empty() {
            return Ok(sets);
        }
    }
    Err(HlsError::Missing { whole: "segment", part: "parameter set" })
}

fn build_track(codec: Codec, sets: &[&[u8]]) -> Result<HlsTrack, HlsError> {
    let codec_private = build_codec_private(codec, sets)?;
    let (width_px, height_px) = picture_size(codec, &codec_private)?;
    Ok(HlsTrack { codec, codec_private: Bytes::from(codec_private), width_px, height_px })
}

/// Converts an access unit from start codes to lengths; also returns true if it has a slice of a random
/// access picture.
fn to_length_prefixed(codec: Codec, unit: &[u8], sets: &[&[u8]]) -> (Vec<u8>, bool) {
    let mut data = Vec::with_capacity(unit.len() + 16);
    let mut has_random_access_slice = false;
    for nal in split_annex_b(unit) {
        let kind = NalKind::of(codec, nal);
        has_random_access_slice |= kind == NalKind::RandomAccess;
        // Delimiters and known parameter sets are left out, as in MP4 and Matroska. A set that changes in the
        // middle of the segment stays in band.
        if kind != NalKind::Delimiter && !(kind.is_parameter_set() && sets.contains(&nal)) {
            push_length_prefixed(&mut data, nal);
        }
    }
    (data, has_random_access_slice)
}

/// Returns the ticks from `first` to `pts`, which are less than half a period of the 33-bit clock apart.
fn ticks_after(first: u64, pts: u64) -> i128 {
    let ticks = pts.wrapping_sub(first) & CLOCK_MASK;
    let period = i128::from(CLOCK_MASK) + 1;
    let ticks = i128::from(ticks);
    // A difference in the upper half is a PTS before the first one: a leading picture.
    if ticks >= period / 2 { ticks - period } else { ticks }
}
