//! The tracks of a document.

use std::sync::Arc;

use bytes::Bytes;

use crate::ebml::{Element, read_header};
use crate::{Error, Id, Limits};

/// What a track carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrackKind {
    /// Pictures.
    Video,
    /// Sound.
    Audio,
    /// Any other TrackType.
    Other(u64),
}

impl TrackKind {
    fn from_code(code: u64) -> Self {
        match code {
            1 => Self::Video,
            2 => Self::Audio,
            other => Self::Other(other),
        }
    }

    /// The TrackType that stands in the stream.
    pub fn code(self) -> u64 {
        match self {
            Self::Video => 1,
            Self::Audio => 2,
            Self::Other(code) => code,
        }
    }
}

/// One TrackEntry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Track {
    /// The number by which blocks name it.
    pub number: u64,
    /// What it carries.
    pub kind: TrackKind,
    /// The codec, for example `V_MPEG4/ISO/AVC`, without the NULs that some producers pad it with.
    pub codec_id: String,
    /// The codec's own head (avcC, hvcC, AudioSpecificConfig, ...) as it came; empty where absent.
    pub codec_private: Bytes,
    /// Width of the coded picture; 0 where the track has no Video element.
    pub width_px: u32,
    /// Height of the coded picture; 0 where the track has no Video element.
    pub height_px: u32,
    /// Time from one frame to the next, where the producer says it.
    pub default_duration_ns: Option<u64>,
    /// The whole TrackEntry as it came, head included; empty in a track made by hand.
    pub raw: Bytes,
}

impl Track {
    /// Whether the frames are compressed or encrypted once more (ContentEncodings), so that the payload of a
    /// block is not what the codec expects.
    pub fn is_encoded(&self) -> bool {
        let Ok(Some(head)) = read_header(&self.raw, 0) else { return false };
        let entry = Element { id: head.id, offset: 0, raw: &self.raw, head_len: head.len };
        entry.children().flatten().any(|child| child.id == Id::CONTENT_ENCODINGS)
    }

    fn read(entry: &Element<'_>) -> Result<Self, Error> {
        let mut number = None;
        let mut track = Self {
            number: 0,
            kind: TrackKind::Other(0),
            codec_id: String::new(),
            codec_private: Bytes::new(),
            width_px: 0,
            height_px: 0,
            default_duration_ns: None,
            raw: Bytes::copy_from_slice(entry.raw),
        };
        for child in entry.children() {
            let child = child?;
            match child.id {
                Id::TRACK_NUMBER => number = Some(child.uint(0)?),
                Id::TRACK_TYPE => track.kind = TrackKind::from_code(child.uint(0)?),
                Id::CODEC_ID => track.codec_id = child.text(),
                Id::CODEC_PRIVATE => track.codec_private = Bytes::copy_from_slice(child.body()),
                Id::DEFAULT_DURATION => track.default_duration_ns = Some(child.uint(0)?),
                Id::VIDEO => track.read_video(&child)?,
                _ => {}
            }
        }
        track.number = number.ok_or_else(|| entry.missing(Id::TRACK_NUMBER))?;
        Ok(track)
    }

    fn read_video(&mut self, video: &Element<'_>) -> Result<(), Error> {
        for child in video.children() {
            let child = child?;
            match child.id {
                Id::PIXEL_WIDTH => self.width_px = side_px(&child)?,
                Id::PIXEL_HEIGHT => self.height_px = side_px(&child)?,
                _ => {}
            }
        }
        Ok(())
    }
}

fn side_px(element: &Element<'_>) -> Result<u32, Error> {
    u32::try_from(element.uint(0)?).map_err(|_| element.invalid("a length in pixels below 2^32"))
}

/// The tracks of a Tracks element.
pub(crate) fn read(tracks: &Element<'_>, limits: &Limits) -> Result<Arc<[Track]>, Error> {
    let mut read = Vec::new();
    for child in tracks.children() {
        let child = child?;
        if child.id != Id::TRACK_ENTRY {
            continue;
        }
        if read.len() >= limits.tracks {
            let (offset, element) = (child.offset, child.id);
            return Err(Error::TooMany { offset, element, limit: "tracks", count: limits.tracks });
        }
        read.push(Track::read(&child)?);
    }
    Ok(read.into())
}
