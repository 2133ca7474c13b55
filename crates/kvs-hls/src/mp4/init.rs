//! Initialisation segments.

use bytes::Bytes;
use h26x::Codec;

use super::boxes::{Boxes, Mp4Box};
use crate::{Error, Limits, VideoTrack};

/// What an initialisation segment says of the media segments that it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Init {
    /// The track of video.
    pub track: VideoTrack,
    /// Its number in media segments.
    pub track_id: u32,
    /// Ticks a second of its times.
    pub timescale: u32,
    /// Of all tracks: where a media segment says less, the place of its samples depends on the tracks before.
    pub(crate) defaults: Vec<Defaults>,
}

/// What holds for the samples of a track unless a media segment says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Defaults {
    pub(crate) track_id: u32,
    pub(crate) duration: u32,
    pub(crate) size: u32,
    pub(crate) flags: u32,
}

const MOST_TRACKS: usize = 64;
/// Bytes of a VisualSampleEntry before its boxes.
const VISUAL_ENTRY: usize = 78;
const KNOWN: &str = "avc1, avc3, hvc1 and hev1 in the clear";

/// Reads an initialisation segment; what stands after its `moov` does not matter.
///
/// Errors: it is larger than the limits, damaged, or has no track of H.264 or H.265.
pub fn read_init(segment: &[u8], limits: &Limits) -> Result<Init, Error> {
    limits.check_segment(segment)?;
    let moov = Boxes::of_segment(segment).need(b"moov", "moov box")?;
    for found in moov.children() {
        let found = found?;
        if found.kind == *b"trak" && is_video(&found)? {
            return read_track(&found, &moov);
        }
    }
    Err(Error::Missing { whole: "initialisation segment", part: "video track" })
}

fn is_video(trak: &Mp4Box<'_>) -> Result<bool, Error> {
    let mdia = trak.children().need(b"mdia", "mdia box")?;
    let mut hdlr = mdia.children().need(b"hdlr", "hdlr box")?.fields("hdlr");
    hdlr.skip(8)?;
    Ok(hdlr.array::<4>()? == *b"vide")
}

fn read_track(trak: &Mp4Box<'_>, moov: &Mp4Box<'_>) -> Result<Init, Error> {
    let mdia = trak.children().need(b"mdia", "mdia box")?;
    let minf = mdia.children().need(b"minf", "minf box")?;
    let stbl = minf.children().need(b"stbl", "stbl box")?;
    let stsd = stbl.children().need(b"stsd", "stsd box")?;
    let entry = stsd.children_after(8, "stsd")?.next();
    let entry = entry.ok_or(Error::Missing { whole: "initialisation segment", part: "sample entry" })??;
    Ok(Init {
        track: read_entry(&entry)?,
        track_id: track_id(trak)?,
        timescale: timescale(&mdia)?,
        defaults: read_defaults(moov)?,
    })
}

fn track_id(trak: &Mp4Box<'_>) -> Result<u32, Error> {
    let mut tkhd = trak.children().need(b"tkhd", "tkhd box")?.fields("tkhd");
    let (version, _) = tkhd.version_and_flags()?;
    tkhd.skip(if version == 1 { 16 } else { 8 })?;
    tkhd.u32()
}

fn timescale(mdia: &Mp4Box<'_>) -> Result<u32, Error> {
    let mut mdhd = mdia.children().need(b"mdhd", "mdhd box")?.fields("mdhd");
    let (version, _) = mdhd.version_and_flags()?;
    mdhd.skip(if version == 1 { 16 } else { 8 })?;
    match mdhd.u32()? {
        0 => Err(mdhd.error("a timescale other than 0")),
        timescale => Ok(timescale),
    }
}

fn read_entry(entry: &Mp4Box<'_>) -> Result<VideoTrack, Error> {
    let found = || String::from_utf8_lossy(&entry.kind).escape_default().to_string();
    let (codec, config) = match &entry.kind {
        b"avc1" | b"avc3" => (Codec::H264, b"avcC"),
        b"hvc1" | b"hev1" => (Codec::H265, b"hvcC"),
        _ => return Err(Error::Unsupported { part: "the sample entry", found: found(), known: KNOWN }),
    };
    let mut fields = entry.fields("a sample entry");
    fields.skip(24)?;
    let (width_px, height_px) = (u32::from(fields.u16()?), u32::from(fields.u16()?));
    let boxes = entry.children_after(VISUAL_ENTRY, "a sample entry")?;
    let private = boxes.need(config, "codec private data")?.body;
    Ok(VideoTrack { codec, private: Bytes::copy_from_slice(private), width_px, height_px })
}

fn read_defaults(moov: &Mp4Box<'_>) -> Result<Vec<Defaults>, Error> {
    let mut all = Vec::new();
    let Some(mvex) = moov.children().find(b"mvex")? else { return Ok(all) };
    for trex in mvex.children() {
        let trex = trex?;
        if trex.kind == *b"trex" {
            crate::limits::check("an initialisation segment", "tracks", all.len() + 1, MOST_TRACKS)?;
            all.push(read_trex(&trex)?);
        }
    }
    Ok(all)
}

fn read_trex(trex: &Mp4Box<'_>) -> Result<Defaults, Error> {
    let mut fields = trex.fields("trex");
    fields.skip(4)?;
    let track_id = fields.u32()?;
    fields.skip(4)?;
    Ok(Defaults { track_id, duration: fields.u32()?, size: fields.u32()?, flags: fields.u32()? })
}
