//! A stream connection joined with the demuxer of its format: Matroska by GetMedia, segments by HLS.

use std::time::Instant;

use crate::demux::{DemuxError, DemuxEvent, Demuxer, SegmentDemuxer};
use crate::media::MediaMs;
use crate::source::{GetMediaConnection, HlsConnection, HlsItem, SourceError, StreamConnection};

/// An open connection whose input is demuxed.
pub(super) enum DemuxedConnection {
    GetMedia { connection: GetMediaConnection, demuxer: Box<Demuxer> },
    Hls { connection: Box<HlsConnection>, demuxer: SegmentDemuxer },
}

/// One piece of input from a connection.
pub(super) enum InputChunk {
    /// This number of bytes.
    Bytes(usize),
    /// A whole segment.
    Segment(InputSegment),
    /// A description of fragments that have expired before this place.
    Gap(String),
    /// The end of the response, without an error.
    End,
}

/// A segment whose access units are the next events.
pub(super) struct InputSegment {
    pub(super) bytes: usize,
    /// The media time of its newest access unit; `None` if it has none.
    pub(super) newest: Option<MediaMs>,
    /// Its lag behind the live edge, ms.
    pub(super) behind_ms: u64,
}

impl DemuxedConnection {
    pub(super) fn new(connection: StreamConnection) -> Self {
        match connection {
            StreamConnection::GetMedia(connection) => Self::GetMedia { connection, demuxer: Box::default() },
            StreamConnection::Hls(connection) => Self::Hls { connection, demuxer: SegmentDemuxer::default() },
        }
    }

    /// Returns true if silence means that the connection is dead.
    pub(super) fn can_stall(&self) -> bool {
        // An HLS connection is a series of requests, each with its own timeout.
        matches!(self, Self::GetMedia { .. })
    }

    /// Waits for the next input and passes it to the demuxer.
    pub(super) async fn receive(&mut self) -> Result<InputChunk, SourceError> {
        match self {
            Self::GetMedia { connection, demuxer } => {
                let Some(bytes) = connection.next().await.transpose()? else { return Ok(InputChunk::End) };
                demuxer.push(&bytes);
                Ok(InputChunk::Bytes(bytes.len()))
            }
            Self::Hls { connection, demuxer } => match connection.next().await? {
                HlsItem::Gap(description) => Ok(InputChunk::Gap(description)),
                HlsItem::Segment(segment) => {
                    demuxer.push(&segment, Instant::now());
                    let (bytes, newest) = (segment.media.len(), demuxer.newest());
                    Ok(InputChunk::Segment(InputSegment { bytes, newest, behind_ms: segment.behind_ms }))
                }
            },
        }
    }

    /// Returns [`Demuxer::refused_ms`]; HLS has none, since its dates come from the service.
    pub(super) fn refused_ms(&self) -> Option<i64> {
        match self {
            Self::GetMedia { demuxer, .. } => demuxer.refused_ms(),
            Self::Hls { .. } => None,
        }
    }

    /// Returns the next event of the input so far. An error follows the events before it.
    pub(super) fn next_event(&mut self, arrived: Instant) -> Result<Option<DemuxEvent>, DemuxError> {
        match self {
            Self::GetMedia { demuxer, .. } => demuxer.next(arrived),
            Self::Hls { demuxer, .. } => demuxer.next_event(),
        }
    }
}
