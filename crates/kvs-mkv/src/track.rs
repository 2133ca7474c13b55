//! Tracks elements: the tracks of a document.

use std::sync::Arc;

use bytes::Bytes;

use crate::ebml::{EbmlElement, read_header};
use crate::{ElementId, MkvError, MkvLimits};

/// The kind of media in a track: TrackType (RFC 9559, 5.1.4.1.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrackKind {
    /// TrackType 1, video.
    Video,
    /// TrackType 2, audio.
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

    /// Returns the TrackType as it is coded in the stream.
    pub fn code(self) -> u64 {
        match self {
            Self::Video => 1,
            Self::Audio => 2,
            Self::Other(code) => code,
        }
    }
}

/// The description of one track: a TrackEntry element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackEntry {
    /// TrackNumber, by which blocks refer to the track.
    pub number: u64,
    /// TrackType.
    pub kind: TrackKind,
    /// CodecID, for example `V_MPEG4/ISO/AVC`, without the NULs with which some producers pad it.
    pub codec_id: String,
    /// CodecPrivate (avcC, hvcC, AudioSpecificConfig, ...) as it was received; empty if absent.
    pub codec_private: Bytes,
    /// PixelWidth; 0 if the track has no Video element.
    pub width_px: u32,
    /// PixelHeight; 0 if the track has no Video element.
    pub height_px: u32,
    /// DefaultDuration, the time from one frame to the next, if the producer sends it.
    pub default_duration_ns: Option<u64>,
    /// The complete TrackEntry as it was received, header included; empty in a track built by hand.
    pub raw: Bytes,
}

impl TrackEntry {
    /// Returns true if the track's frames are compressed or encrypted once more (ContentEncodings), so that
    /// the payload of a block is not what the codec expects.
    pub fn is_encoded(&self) -> bool {
        let Ok(Some(header)) = read_header(&self.raw, 0) else { return false };
        let entry = EbmlElement { id: header.id, offset: 0, raw: &self.raw, header_len: header.len };
        entry.children().flatten().any(|child| child.id == ElementId::CONTENT_ENCODINGS)
    }

    fn read(entry: &EbmlElement<'_>) -> Result<Self, MkvError> {
        let mut number = None;
        // A copy, because a slice would keep the whole received buffer alive for as long as the track.
        let mut track = Self::without_fields(Bytes::copy_from_slice(entry.raw));
        for child in entry.children() {
            let child = child?;
            match child.id {
                ElementId::TRACK_NUMBER => number = Some(child.uint(0)?),
                ElementId::TRACK_TYPE => track.kind = TrackKind::from_code(child.uint(0)?),
                ElementId::CODEC_ID => track.codec_id = child.text(),
                ElementId::CODEC_PRIVATE => track.codec_private = Bytes::copy_from_slice(child.body()),
                ElementId::DEFAULT_DURATION => track.default_duration_ns = Some(child.uint(0)?),
                ElementId::VIDEO => track.read_video(&child)?,
                // Ignored: TrackUID, the Flag elements, Name, Language, Audio and others. They stay in `raw`.
                _ => {}
            }
        }
        // The only child without which the track is useless: no block could refer to it.
        track.number = number.ok_or_else(|| entry.missing(ElementId::TRACK_NUMBER))?;
        Ok(track)
    }

    fn without_fields(raw: Bytes) -> Self {
        Self {
            number: 0,
            kind: TrackKind::Other(0),
            codec_id: String::new(),
            codec_private: Bytes::new(),
            width_px: 0,
            height_px: 0,
            default_duration_ns: None,
            raw,
        }
    }

    fn read_video(&mut self, video: &EbmlElement<'_>) -> Result<(), MkvError> {
        for child in video.children() {
            let child = child?;
            match child.id {
                ElementId::PIXEL_WIDTH => self.width_px = read_side_px(&child)?,
                ElementId::PIXEL_HEIGHT => self.height_px = read_side_px(&child)?,
                // Ignored: FlagInterlaced, PixelCrop, Display and Colour elements. The decoder reads the
                // bitstream's.
                _ => {}
            }
        }
        Ok(())
    }
}

fn read_side_px(element: &EbmlElement<'_>) -> Result<u32, MkvError> {
    u32::try_from(element.uint(0)?).map_err(|_| element.invalid("a length in pixels below 2^32"))
}

/// Reads the tracks of a Tracks element.
pub(crate) fn read_tracks(
    element: &EbmlElement<'_>,
    limits: &MkvLimits,
) -> Result<Arc<[TrackEntry]>, MkvError> {
    let mut tracks = Vec::new();
    for child in element.children() {
        let child = child?;
        if child.id != ElementId::TRACK_ENTRY {
            continue;
        }
        if tracks.len() >= limits.tracks {
            let (offset, element) = (child.offset, child.id);
            return Err(MkvError::TooMany { offset, element, limit: "tracks", count: limits.tracks });
        }
        tracks.push(TrackEntry::read(&child)?);
    }
    Ok(tracks.into())
}
