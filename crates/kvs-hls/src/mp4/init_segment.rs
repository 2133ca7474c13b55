//! Initialisation segments.

use bytes::Bytes;
use h26x::Codec;

use super::boxes::{Boxes, Mp4Box};
use crate::limits::check_limit;
use crate::{HlsError, HlsLimits, HlsTrack};

/// The content of an initialisation segment, by which its media segments are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitSegment {
    /// The video track.
    pub track: HlsTrack,
    /// track_ID of the video track in media segments.
    pub track_id: u32,
    /// Ticks per second of the track's times.
    pub timescale: u32,
    /// Sample defaults of all tracks, not only of the video: where a media segment has no data offset, a
    /// track's samples begin after those of the track before it.
    pub(crate) defaults: Vec<TrackDefaults>,
}

/// The sample properties of a track that apply unless a media segment overrides them: a trex box.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct TrackDefaults {
    pub(crate) track_id: u32,
    pub(crate) duration: u32,
    pub(crate) size: u32,
    pub(crate) flags: u32,
}

const MAX_TRACKS: usize = 64;
/// Length of a VisualSampleEntry before its boxes (12.1.3).
const VISUAL_SAMPLE_ENTRY_LEN: usize = 78;
const SUPPORTED_ENTRIES: &str = "avc1, avc3, hvc1 and hev1 in the clear";

/// Reads an initialisation segment; boxes after its `moov` are ignored.
///
/// # Errors
///
/// The segment exceeds the limits, is damaged, or has no H.264 or H.265 track.
pub fn read_init(segment: &[u8], limits: &HlsLimits) -> Result<InitSegment, HlsError> {
    limits.check_segment(segment)?;
    let moov = Boxes::of_segment(segment).require(b"moov", "moov box")?;
    for child in moov.children() {
        let child = child?;
        if child.kind == *b"trak" && is_video(&child)? {
            return read_track(&child, &moov);
        }
    }
    Err(HlsError::Missing { whole: "initialisation segment", part: "video track" })
}

fn is_video(trak: &Mp4Box<'_>) -> Result<bool, HlsError> {
    let mdia = trak.children().require(b"mdia", "mdia box")?;
    let mut hdlr = mdia.children().require(b"hdlr", "hdlr box")?.fields("hdlr");
    // hdlr (8.4.3): version and flags, pre_defined.
    hdlr.skip(8)?;
    let handler_type = hdlr.array::<4>()?;
    Ok(handler_type == *b"vide")
}

fn read_track(trak: &Mp4Box<'_>, moov: &Mp4Box<'_>) -> Result<InitSegment, HlsError> {
    let mdia = trak.children().require(b"mdia", "mdia box")?;
    let minf = mdia.children().require(b"minf", "minf box")?;
    let stbl = minf.children().require(b"stbl", "stbl box")?;
    let stsd = stbl.children().require(b"stsd", "stsd box")?;
    // stsd (8.5.2): version and flags, entry_count. Only the first entry is used: a track of KVS has one.
    let entry = stsd.children_after(8, "stsd")?.next();
    let entry =
        entry.ok_or(HlsError::Missing { whole: "initialisation segment", part: "sample entry" })??;
    Ok(InitSegment {
        track: read_sample_entry(&entry)?,
        track_id: read_track_id(trak)?,
        timescale: read_timescale(&mdia)?,
        defaults: read_all_defaults(moov)?,
    })
}

fn read_track_id(trak: &Mp4Box<'_>) -> Result<u32, HlsError> {
    let mut tkhd = trak.children().require(b"tkhd", "tkhd box")?.fields("tkhd");
    let (version, _) = tkhd.version_and_flags()?;
    // tkhd (8.3.2): creation_time and modification_time, of 64 bits each in version 1.
    tkhd.skip(if version == 1 { 16 } else { 8 })?;
    tkhd.u32()
}

fn read_timescale(mdia: &Mp4Box<'_>) -> Result<u32, HlsError> {
    let mut mdhd = mdia.children().require(b"mdhd", "mdhd box")?.fields("mdhd");
    let (version, _) = mdhd.version_and_flags()?;
    // mdhd (8.4.2): creation_time and modification_time.
    mdhd.skip(if version == 1 { 16 } else { 8 })?;
    match mdhd.u32()? {
        0 => Err(mdhd.invalid("a timescale other than 0")),
        timescale => Ok(timescale),
    }
}

fn read_sample_entry(entry: &Mp4Box<'_>) -> Result<HlsTrack, HlsError> {
    let found = || String::from_utf8_lossy(&entry.kind).escape_default().to_string();
    let (codec, config) = match &entry.kind {
        b"avc1" | b"avc3" => (Codec::H264, b"avcC"),
        b"hvc1" | b"hev1" => (Codec::H265, b"hvcC"),
        _ => {
            let part = "the sample entry";
            return Err(HlsError::Unsupported { part, found: found(), known: SUPPORTED_ENTRIES });
        }
    };
    let mut fields = entry.fields("a sample entry");
    // 8.5.2 and 12.1.3: reserved (6 bytes), data_reference_index (2), pre_defined (2), reserved (2),
    // pre_defined (12).
    fields.skip(24)?;
    let (width_px, height_px) = (u32::from(fields.u16()?), u32::from(fields.u16()?));
    // Skipped up to the boxes: horizresolution, vertresolution, reserved, frame_count, compressorname, depth,
    // pre_defined.
    let boxes = entry.children_after(VISUAL_SAMPLE_ENTRY_LEN, "a sample entry")?;
    let codec_private = boxes.require(config, "codec private data")?.body;
    Ok(HlsTrack { codec, codec_private: Bytes::copy_from_slice(codec_private), width_px, height_px })
}

fn read_all_defaults(moov: &Mp4Box<'_>) -> Result<Vec<TrackDefaults>, HlsError> {
    let mut all = Vec::new();
    let Some(mvex) = moov.children().find(b"mvex")? else { return Ok(all) };
    for child in mvex.children() {
        let child = child?;
        if child.kind == *b"trex" {
            check_limit("an initialisation segment", "tracks", all.len() + 1, MAX_TRACKS)?;
            all.push(read_trex(&child)?);
        }
    }
    Ok(all)
}

/// Reads a trex box (8.8.3).
fn read_trex(trex: &Mp4Box<'_>) -> Result<TrackDefaults, HlsError> {
    let mut fields = trex.fields("trex");
    let _version_and_flags = fields.u32()?;
    let track_id = fields.u32()?;
    let _default_sample_description_index = fields.u32()?;
    Ok(TrackDefaults { track_id, duration: fields.u32()?, size: fields.u32()?, flags: fields.u32()? })
}
