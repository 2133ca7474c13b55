//! Media segments.

use bytes::Bytes;

use super::boxes::{BoxFields, Boxes, Mp4Box};
use super::flags;
use super::init_segment::{InitSegment, TrackDefaults};
use crate::limits::check_limit;
use crate::timing::ticks_to_ms;
use crate::{AccessUnit, HlsError, HlsLimits};

/// Reads the access units of a media segment in decoding order; the list is empty if the segment has no
/// video.
///
/// The units are slices of the segment, not copies.
///
/// # Errors
///
/// The segment exceeds the limits or is damaged.
pub fn read_media(
    init: &InitSegment,
    segment: &Bytes,
    limits: &HlsLimits,
) -> Result<Vec<AccessUnit>, HlsError> {
    limits.check_segment(segment)?;
    let mut reader = MediaSegmentReader::new(init, segment, limits);
    let mut has_moof = false;
    for child in Boxes::of_segment(segment) {
        let child = child?;
        if child.kind == *b"moof" {
            has_moof = true;
            reader.read_moof(&child)?;
        }
    }
    if !has_moof {
        return Err(HlsError::Missing { whole: "media segment", part: "moof box" });
    }
    Ok(reader.units)
}

struct MediaSegmentReader<'a> {
    init: &'a InitSegment,
    segment: &'a Bytes,
    limits: &'a HlsLimits,
    /// Number of samples of all tracks.
    sample_count: usize,
    /// Bytes of the video track's samples.
    sample_bytes: usize,
    /// Decoding time of the next video sample.
    decode_ticks: u64,
    /// Presentation time of the first video sample.
    first_ticks: Option<i128>,
    units: Vec<AccessUnit>,
}

/// The properties of a traf box that apply to its runs.
struct TrackFragment {
    is_video: bool,
    defaults: TrackDefaults,
    /// Offset from which the data offsets of its runs count.
    base: u64,
    /// Offset of the next sample.
    position: u64,
}

/// A sample as a trun box describes it.
struct Mp4Sample {
    duration: u32,
    size: u32,
    flags: u32,
    composition_offset: i32,
}

impl<'a> MediaSegmentReader<'a> {
    fn new(init: &'a InitSegment, segment: &'a Bytes, limits: &'a HlsLimits) -> Self {
        Self {
            init,
            segment,
            limits,
            sample_count: 0,
            sample_bytes: 0,
            decode_ticks: 0,
            first_ticks: None,
            units: Vec::new(),
        }
    }

    fn read_moof(&mut self, moof: &Mp4Box<'_>) -> Result<(), HlsError> {
        let moof_start = moof.offset as u64;
        let mut previous_end = moof_start;
        for child in moof.children() {
            let child = child?;
            if child.kind == *b"traf" {
                previous_end = self.read_traf(&child, moof_start, previous_end)?;
            }
        }
        Ok(())
    }

    /// Reads a traf box and returns the offset at which its samples end.
    fn read_traf(&mut self, traf: &Mp4Box<'_>, moof_start: u64, previous_end: u64) -> Result<u64, HlsError> {
        let tfhd = traf.children().require(b"tfhd", "tfhd box")?;
        let mut fragment = self.read_tfhd(&tfhd, moof_start, previous_end)?;
        for child in traf.children() {
            let child = child?;
            match &child.kind {
                b"tfdt" if fragment.is_video => self.decode_ticks = read_decode_time(&child)?,
                b"trun" => self.read_trun(&child, &mut fragment)?,
                // Ignored: sdtp, sbgp, sgpd, subs, saiz, saio, senc. None changes where samples are or when.
                _ => {}
            }
        }
        Ok(fragment.position)
    }

    fn read_tfhd(
        &self,
        tfhd: &Mp4Box<'_>,
        moof_start: u64,
        previous_end: u64,
    ) -> Result<TrackFragment, HlsError> {
        let mut fields = tfhd.fields("tfhd");
        let (_, present) = fields.version_and_flags()?;
        let track_id = fields.u32()?;
        let known = self.init.defaults.iter().find(|defaults| defaults.track_id == track_id);
        let mut defaults = known.copied().unwrap_or_default();
        // 8.8.7: without an explicit base, offsets count from the moof, or from the end of the track fragment
        // before.
        let base = match present {
            _ if present & flags::TFHD_BASE_DATA_OFFSET != 0 => fields.u64()?,
            _ if present & flags::TFHD_DEFAULT_BASE_IS_MOOF != 0 => moof_start,
            _ => previous_end,
        };
        if present & flags::TFHD_SAMPLE_DESCRIPTION_INDEX != 0 {
            let _sample_description_index = fields.u32()?;
        }
        defaults.duration =
            optional_u32(&mut fields, present, flags::TFHD_DEFAULT_DURATION, defaults.duration)?;
        defaults.size = optional_u32(&mut fields, present, flags::TFHD_DEFAULT_SIZE, defaults.size)?;
        defaults.flags = optional_u32(&mut fields, present, flags::TFHD_DEFAULT_FLAGS, defaults.flags)?;
        let is_video = track_id == self.init.track_id;
        Ok(TrackFragment { is_video, defaults, base, position: base })
    }

    /// Reads a trun box (8.8.8). The runs of other tracks are read too, for the offset at which they end.
    fn read_trun(&mut self, trun: &Mp4Box<'_>, fragment: &mut TrackFragment) -> Result<(), HlsError> {
        let mut fields = trun.fields("trun");
        let (_, present) = fields.version_and_flags()?;
        let count = fields.u32()? as usize;
        // A run without per-sample fields describes any number of samples in 8 bytes, so the count is limited
        // first.
        self.sample_count = self.sample_count.saturating_add(count);
        check_limit("a media segment", "samples", self.sample_count, self.limits.units)?;
        if present & flags::TRUN_DATA_OFFSET != 0 {
            let offset = i64::from(fields.u32()? as i32);
            let outside = || fields.invalid("a data offset inside the segment");
            fragment.position = fragment.base.checked_add_signed(offset).ok_or_else(outside)?;
        }
        let first_flags =
            optional_u32(&mut fields, present, flags::TRUN_FIRST_SAMPLE_FLAGS, fragment.defaults.flags)?;
        for index in 0..count {
            let flags = if index == 0 { first_flags } else { fragment.defaults.flags };
            let sample = read_sample(&mut fields, present, &TrackDefaults { flags, ..fragment.defaults })?;
            let start = fragment.position;
            fragment.position = start.saturating_add(u64::from(sample.size));
            if fragment.is_video {
                self.push_unit(&sample, start, trun.offset)?;
            }
        }
        Ok(())
    }

    fn push_unit(&mut self, sample: &Mp4Sample, start: u64, trun_offset: usize) -> Result<(), HlsError> {
        let cut = || HlsError::Truncated { offset: trun_offset, part: "a sample" };
        let start = usize::try_from(start).map_err(|_| cut())?;
        let end = start.checked_add(sample.size as usize).filter(|&end| end <= self.segment.len());
        // Runs may point at the same bytes again and again, and each sample costs its size when it is
        // decoded.
        self.sample_bytes = self.sample_bytes.saturating_add(sample.size as usize);
        check_limit("a media segment", "bytes of samples", self.sample_bytes, self.segment.len())?;
        let ticks = i128::from(self.decode_ticks) + i128::from(sample.composition_offset);
        let first_ticks = *self.first_ticks.get_or_insert(ticks);
        self.units.push(AccessUnit {
            index: u32::try_from(self.units.len()).unwrap_or(u32::MAX),
            relative_ms: ticks_to_ms(ticks - first_ticks, self.init.timescale),
            key: sample.flags & flags::SAMPLE_IS_NON_SYNC == 0,
            data: self.segment.slice(start..end.ok_or_else(cut)?),
        });
        self.decode_ticks = self.decode_ticks.saturating_add(u64::from(sample.duration));
        Ok(())
    }
}

/// Reads baseMediaDecodeTime of a tfdt box (8.8.12).
fn read_decode_time(tfdt: &Mp4Box<'_>) -> Result<u64, HlsError> {
    let mut fields = tfdt.fields("tfdt");
    let (version, _) = fields.version_and_flags()?;
    fields.by_version(version)
}

/// Reads a field if `flag` is set in `present`, and returns `default` otherwise.
fn optional_u32(fields: &mut BoxFields<'_>, present: u32, flag: u32, default: u32) -> Result<u32, HlsError> {
    if present & flag != 0 { fields.u32() } else { Ok(default) }
}

fn read_sample(
    fields: &mut BoxFields<'_>,
    present: u32,
    defaults: &TrackDefaults,
) -> Result<Mp4Sample, HlsError> {
    Ok(Mp4Sample {
        duration: optional_u32(fields, present, flags::TRUN_DURATION, defaults.duration)?,
        size: optional_u32(fields, present, flags::TRUN_SIZE, defaults.size)?,
        flags: optional_u32(fields, present, flags::TRUN_FLAGS, defaults.flags)?,
        // 8.8.8: unsigned in version 0, signed in version 1. Taken as signed in both, since some muxers write
        // negative offsets in version 0 and no real offset is over 2^31.
        composition_offset: optional_u32(fields, present, flags::TRUN_COMPOSITION_OFFSET, 0)? as i32,
    })
}
