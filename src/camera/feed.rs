//! An open connection with its bytes taken apart, by whichever interface: source and demux, joined.

use std::time::Instant;

use crate::demux::{DemuxError, Demuxer, SegmentDemuxer, Step};
use crate::media::MediaMs;
use crate::source::{HlsItem, HlsMedia, Media, Opened, SourceError};

/// What a connection brings.
pub(super) enum Feed {
    GetMedia { media: Media, demuxer: Box<Demuxer> },
    Hls { media: Box<HlsMedia>, demuxer: SegmentDemuxer },
}

/// What came.
pub(super) enum Brought {
    /// So many bytes.
    Bytes(usize),
    /// A segment.
    Segment(BroughtSegment),
    /// Word of fragments that cannot be had any more.
    Gap(String),
    /// The end, as if all were well.
    End,
}

/// A segment, whose access units are the next steps.
pub(super) struct BroughtSegment {
    pub(super) bytes: usize,
    /// The media time of its newest access unit; `None` where it has none.
    pub(super) newest: Option<MediaMs>,
    /// Its lag behind the live edge, ms.
    pub(super) behind_ms: u64,
}

impl Feed {
    pub(super) fn new(opened: Opened) -> Self {
        match opened {
            Opened::GetMedia(media) => Self::GetMedia { media, demuxer: Box::default() },
            Opened::Hls(media) => Self::Hls { media, demuxer: SegmentDemuxer::default() },
        }
    }

    /// Whether silence means that the connection is dead; an HLS session asks again and again by itself.
    pub(super) fn can_stall(&self) -> bool {
        matches!(self, Self::GetMedia { .. })
    }

    /// Waits for more. An error of demux comes out of [`Feed::step`], after the steps before it.
    pub(super) async fn more(&mut self) -> Result<Brought, SourceError> {
        match self {
            Self::GetMedia { media, demuxer } => {
                let Some(bytes) = media.next().await.transpose()? else { return Ok(Brought::End) };
                demuxer.push(&bytes);
                Ok(Brought::Bytes(bytes.len()))
            }
            Self::Hls { media, demuxer } => match media.next().await? {
                HlsItem::Gap(told) => Ok(Brought::Gap(told)),
                HlsItem::Segment(segment) => {
                    demuxer.push(&segment, Instant::now());
                    let (bytes, newest) = (segment.media.len(), demuxer.newest());
                    Ok(Brought::Segment(BroughtSegment { bytes, newest, behind_ms: segment.behind_ms }))
                }
            },
        }
    }

    /// See [`Demuxer::refused_ms`].
    pub(super) fn refused_ms(&self) -> Option<i64> {
        match self {
            Self::GetMedia { demuxer, .. } => demuxer.refused_ms(),
            Self::Hls { .. } => None,
        }
    }

    /// The next step of what came.
    pub(super) fn step(&mut self, arrived: Instant) -> Result<Option<Step>, DemuxError> {
        match self {
            Self::GetMedia { demuxer, .. } => demuxer.next(arrived),
            Self::Hls { demuxer, .. } => demuxer.next_step(),
        }
    }
}
