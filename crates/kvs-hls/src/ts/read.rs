//! Reading a segment.

use bytes::Bytes;
use h26x::{Codec, Kind, picture_size, private_of, push_prefixed, split_annex_b};

use super::packet::{Packet, packets};
use super::tables::{Sections, pmt_pid, video};
use super::{CLOCK, CLOCK_MASK, PAT_PID, pes};
use crate::timing::to_ms;
use crate::{AccessUnit, Error, Limits, VideoTrack};

/// What a segment carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Its track; the private data is made from the parameter sets in band, with lengths of 4 bytes.
    pub track: VideoTrack,
    /// In decoding order, without delimiters and without the parameter sets that the private data holds.
    pub units: Vec<AccessUnit>,
}

/// Parameter sets in one access unit, of all kinds.
const MOST_SETS: usize = 255;

/// Reads a segment of one program with H.264 or H.265, one access unit a PES packet (as Kinesis Video Streams, FFmpeg
/// and [`write`](super::write()) make it) or in several of which the first has the time.
///
/// Errors: it is larger than the limits, damaged, lacks packets, or has no such video with its parameter sets.
pub fn read(segment: &[u8], limits: &Limits) -> Result<Segment, Error> {
    limits.check_segment(segment)?;
    let mut reader = Reader::default();
    for packet in packets(segment) {
        reader.take(&packet?, limits)?;
    }
    reader.end_packet(limits)?;
    let (_, codec) = reader.video.ok_or(Error::Missing { whole: "segment", part: "PAT and PMT" })?;
    assemble(codec, &reader.units)
}

#[derive(Default)]
struct Reader {
    pat: Sections,
    pmt: Sections,
    pmt_pid: Option<u16>,
    video: Option<(u16, Codec)>,
    counter: Option<u8>,
    /// The PES packet that is coming.
    open: Option<Open>,
    units: Vec<Unit>,
}

struct Open {
    offset: usize,
    key: bool,
    bytes: Vec<u8>,
}

/// An access unit in Annex B.
struct Unit {
    pts: u64,
    key: bool,
    bytes: Vec<u8>,
}

impl Reader {
    fn take(&mut self, packet: &Packet<'_>, limits: &Limits) -> Result<(), Error> {
        if packet.pid == PAT_PID {
            if let Some(pat) = self.pat.push(packet)? {
                self.pmt_pid = pmt_pid(&pat);
            }
        } else if Some(packet.pid) == self.pmt_pid {
            if let Some(pmt) = self.pmt.push(packet)?.filter(|_| self.video.is_none()) {
                self.video = Some(video(&pmt)?);
            }
        } else if self.video.is_some_and(|(pid, _)| pid == packet.pid) {
            return self.take_video(packet, limits);
        }
        Ok(())
    }

    fn take_video(&mut self, packet: &Packet<'_>, limits: &Limits) -> Result<(), Error> {
        let Some(payload) = packet.payload else { return Ok(()) };
        let last = self.counter.replace(packet.counter);
        if last == Some(packet.counter) && !packet.discontinuity {
            return Ok(());
        }
        let follows = last.is_none_or(|last| (last + 1) & 0x0F == packet.counter);
        if !follows && !packet.discontinuity {
            let expected = "the next continuity counter: packets were lost";
            return Err(Error::Invalid { offset: packet.offset, part: "a transport packet", expected });
        }
        if packet.begins {
            self.end_packet(limits)?;
            self.open = Some(Open { offset: packet.offset, key: packet.random_access, bytes: Vec::new() });
        }
        if let Some(open) = &mut self.open {
            open.bytes.extend_from_slice(payload);
        }
        Ok(())
    }

    fn end_packet(&mut self, limits: &Limits) -> Result<(), Error> {
        let Some(open) = self.open.take() else { return Ok(()) };
        let packet = pes::read(&open.bytes, open.offset)?;
        match (packet.pts, self.units.last_mut()) {
            (Some(pts), _) => {
                crate::limits::check("a segment", "access units", self.units.len() + 1, limits.units)?;
                self.units.push(Unit { pts, key: open.key, bytes: packet.payload.to_vec() });
            }
            (None, Some(unit)) => unit.bytes.extend_from_slice(packet.payload),
            (None, None) => {
                let expected = "a presentation time in the first of a segment";
                return Err(Error::Invalid { offset: open.offset, part: "a PES packet", expected });
            }
        }
        Ok(())
    }
}

fn assemble(codec: Codec, raw: &[Unit]) -> Result<Segment, Error> {
    let sets = first_parameter_sets(codec, raw)?;
    let track = track_of(codec, &sets)?;
    let mut units = Vec::with_capacity(raw.len());
    let mut first = None;
    for unit in raw {
        let (data, random) = repack(codec, &unit.bytes, &sets);
        if !data.is_empty() {
            units.push(AccessUnit {
                index: u32::try_from(units.len()).unwrap_or(u32::MAX),
                relative_ms: to_ms(after(*first.get_or_insert(unit.pts), unit.pts), CLOCK),
                key: unit.key || random,
                data: Bytes::from(data),
            });
        }
    }
    Ok(Segment { track, units })
}

/// All that are in the first access unit that has any.
fn first_parameter_sets(codec: Codec, raw: &[Unit]) -> Result<Vec<&[u8]>, Error> {
    for unit in raw {
        let mut sets: Vec<&[u8]> = Vec::new();
        for nal in
            split_annex_b(&unit.bytes).into_iter().filter(|nal| Kind::of(codec, nal).is_parameter_set())
        {
            if !sets.contains(&nal) {
                crate::limits::check("an access unit", "parameter sets", sets.len() + 1, MOST_SETS)?;
                sets.push(nal);
            }
        }
        if !sets.is_empty() {
            return Ok(sets);
        }
    }
    Err(Error::Missing { whole: "segment", part: "parameter set" })
}

/// A track from the parameter sets that came in band.
fn track_of(codec: Codec, sets: &[&[u8]]) -> Result<VideoTrack, Error> {
    let private = private_of(codec, sets)?;
    let (width_px, height_px) = picture_size(codec, &private)?;
    Ok(VideoTrack { codec, private: Bytes::from(private), width_px, height_px })
}

/// The unit with lengths, and whether it has a slice that needs no other picture.
fn repack(codec: Codec, unit: &[u8], sets: &[&[u8]]) -> (Vec<u8>, bool) {
    let mut data = Vec::with_capacity(unit.len() + 16);
    let mut random = false;
    for nal in split_annex_b(unit) {
        let kind = Kind::of(codec, nal);
        random |= kind == Kind::Random;
        if kind != Kind::Delimiter && !(kind.is_parameter_set() && sets.contains(&nal)) {
            push_prefixed(&mut data, nal);
        }
    }
    (data, random)
}

/// Ticks from one time to another that is less than half a turn of the clock away.
fn after(first: u64, pts: u64) -> i128 {
    let ticks = pts.wrapping_sub(first) & CLOCK_MASK;
    let turn = i128::from(CLOCK_MASK) + 1;
    let ticks = i128::from(ticks);
    if ticks >= turn / 2 { ticks - turn } else { ticks }
}
