//! Media segments.

use bytes::Bytes;

use super::boxes::{Boxes, Fields, Mp4Box};
use super::flags;
use super::init::{Defaults, Init};
use crate::timing::to_ms;
use crate::{AccessUnit, Error, Limits};

/// The access units of a media segment, in decoding order; none where it has no video. They share its memory.
///
/// Errors: it is larger than the limits, or damaged.
pub fn read_media(init: &Init, segment: &Bytes, limits: &Limits) -> Result<Vec<AccessUnit>, Error> {
    limits.check_segment(segment)?;
    let mut reader =
        Reader { init, segment, limits, seen: 0, bytes: 0, clock: 0, first: None, units: Vec::new() };
    let mut any = false;
    for found in Boxes::of_segment(segment) {
        let found = found?;
        if found.kind == *b"moof" {
            any = true;
            reader.read_moof(&found)?;
        }
    }
    if !any {
        return Err(Error::Missing { whole: "media segment", part: "moof box" });
    }
    Ok(reader.units)
}

struct Reader<'a> {
    init: &'a Init,
    segment: &'a Bytes,
    limits: &'a Limits,
    /// Samples of all tracks.
    seen: usize,
    /// Bytes of the track's samples.
    bytes: usize,
    /// Decoding time of the next sample of the track, ticks.
    clock: u64,
    /// Presentation time of the track's first sample, ticks.
    first: Option<i128>,
    units: Vec<AccessUnit>,
}

/// A traf while its runs are read.
struct Run {
    ours: bool,
    defaults: Defaults,
    base: u64,
    /// Where the next sample's bytes are.
    position: u64,
}

/// A sample as a trun describes it.
struct Sample {
    duration: u32,
    size: u32,
    flags: u32,
    composition: i32,
}

impl Reader<'_> {
    fn read_moof(&mut self, moof: &Mp4Box<'_>) -> Result<(), Error> {
        let start = moof.offset as u64;
        let mut end_of_last = start;
        for traf in moof.children() {
            let traf = traf?;
            if traf.kind == *b"traf" {
                end_of_last = self.read_traf(&traf, start, end_of_last)?;
            }
        }
        Ok(())
    }

    /// Gives the place where its samples' bytes end.
    fn read_traf(&mut self, traf: &Mp4Box<'_>, moof: u64, end_of_last: u64) -> Result<u64, Error> {
        let tfhd = traf.children().need(b"tfhd", "tfhd box")?;
        let mut run = self.read_head(&tfhd, moof, end_of_last)?;
        for child in traf.children() {
            let child = child?;
            match &child.kind {
                b"tfdt" if run.ours => self.clock = read_decode_time(&child)?,
                b"trun" => self.read_run(&child, &mut run)?,
                _ => {}
            }
        }
        Ok(run.position)
    }

    fn read_head(&self, tfhd: &Mp4Box<'_>, moof: u64, end_of_last: u64) -> Result<Run, Error> {
        let mut fields = tfhd.fields("tfhd");
        let (_, given) = fields.version_and_flags()?;
        let track_id = fields.u32()?;
        let known = self.init.defaults.iter().find(|defaults| defaults.track_id == track_id);
        let mut defaults = known.copied().unwrap_or_default();
        let base = match given {
            _ if given & flags::BASE_DATA_OFFSET != 0 => fields.u64()?,
            _ if given & flags::BASE_IS_MOOF != 0 => moof,
            _ => end_of_last,
        };
        if given & flags::DESCRIPTION != 0 {
            fields.skip(4)?;
        }
        defaults.duration = field(&mut fields, given, flags::DEFAULT_DURATION, defaults.duration)?;
        defaults.size = field(&mut fields, given, flags::DEFAULT_SIZE, defaults.size)?;
        defaults.flags = field(&mut fields, given, flags::DEFAULT_FLAGS, defaults.flags)?;
        Ok(Run { ours: track_id == self.init.track_id, defaults, base, position: base })
    }

    fn read_run(&mut self, trun: &Mp4Box<'_>, run: &mut Run) -> Result<(), Error> {
        let mut fields = trun.fields("trun");
        let (_, given) = fields.version_and_flags()?;
        let count = fields.u32()? as usize;
        self.seen = self.seen.saturating_add(count);
        crate::limits::check("a media segment", "samples", self.seen, self.limits.units)?;
        if given & flags::DATA_OFFSET != 0 {
            let offset = i64::from(fields.u32()? as i32);
            let outside = || fields.error("a data offset inside the segment");
            run.position = run.base.checked_add_signed(offset).ok_or_else(outside)?;
        }
        let first_flags = field(&mut fields, given, flags::FIRST_FLAGS, run.defaults.flags)?;
        for index in 0..count {
            let flags = if index == 0 { first_flags } else { run.defaults.flags };
            let sample = read_sample(&mut fields, given, &Defaults { flags, ..run.defaults })?;
            let start = run.position;
            run.position = start.saturating_add(u64::from(sample.size));
            if run.ours {
                self.push(&sample, start, trun.offset)?;
            }
        }
        Ok(())
    }

    fn push(&mut self, sample: &Sample, start: u64, offset: usize) -> Result<(), Error> {
        let cut = || Error::Truncated { offset, part: "a sample" };
        let start = usize::try_from(start).map_err(|_| cut())?;
        let end = start.checked_add(sample.size as usize).filter(|&end| end <= self.segment.len());
        self.bytes = self.bytes.saturating_add(sample.size as usize);
        crate::limits::check("a media segment", "bytes of samples", self.bytes, self.segment.len())?;
        let shown = i128::from(self.clock) + i128::from(sample.composition);
        let first = *self.first.get_or_insert(shown);
        self.units.push(AccessUnit {
            index: u32::try_from(self.units.len()).unwrap_or(u32::MAX),
            relative_ms: to_ms(shown - first, self.init.timescale),
            key: sample.flags & flags::NOT_SYNC == 0,
            data: self.segment.slice(start..end.ok_or_else(cut)?),
        });
        self.clock = self.clock.saturating_add(u64::from(sample.duration));
        Ok(())
    }
}

fn read_decode_time(tfdt: &Mp4Box<'_>) -> Result<u64, Error> {
    let mut fields = tfdt.fields("tfdt");
    let (version, _) = fields.version_and_flags()?;
    fields.by_version(version)
}

/// A field that is there if `flag` is `given`.
fn field(fields: &mut Fields<'_>, given: u32, flag: u32, otherwise: u32) -> Result<u32, Error> {
    if given & flag != 0 { fields.u32() } else { Ok(otherwise) }
}

/// Composition offsets are taken as signed in version 0 too, since some write them so and none is over 2^31.
fn read_sample(fields: &mut Fields<'_>, given: u32, defaults: &Defaults) -> Result<Sample, Error> {
    Ok(Sample {
        duration: field(fields, given, flags::DURATION, defaults.duration)?,
        size: field(fields, given, flags::SIZE, defaults.size)?,
        flags: field(fields, given, flags::FLAGS, defaults.flags)?,
        composition: field(fields, given, flags::COMPOSITION, 0)? as i32,
    })
}
