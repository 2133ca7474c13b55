//! The clip as GetMedia would send it.

use std::path::Path;
use std::time::{Duration, Instant, UNIX_EPOCH};

use anyhow::{Context, ensure};
use bytes::Bytes;
use kvs_sim::{
    ClipPace, Clock, KvsStream, LiveDelivery, Seek, StreamCursor, StreamLimits, StreamStore, append_clip,
};

use crate::decode::Sampler;
use crate::demux::{DemuxEvent, Demuxer};
use crate::media::{MediaMs, SamplerState};

/// When the clip begins, ms since the epoch: a whole second, so that ticks of the sampler begin with it.
const START_MS: i64 = 1_700_000_000_000;

/// A clip in memory.
pub(super) struct Clip {
    /// What the reader of a stream gets, piece by piece.
    pub(super) pieces: Vec<Bytes>,
    /// Its access units.
    pub(super) packets: usize,
    /// How many frames the sampler picks.
    pub(super) picks: usize,
}

impl Clip {
    /// The first `fragments` of the file's fragments, all by default; `fps` is the target of the sampler.
    pub(super) async fn read(path: &Path, fragments: Option<usize>, fps: f64) -> anyhow::Result<Self> {
        let limits = StreamLimits { stream_bytes: u64::MAX, readers: 1, delivery: LiveDelivery::Block };
        let clock = Clock::standing_at(START_MS);
        let stream = StreamStore::open(clock, limits, None)?.stream_or_create("bench")?;
        let start = UNIX_EPOCH + Duration::from_millis(START_MS.unsigned_abs());
        append_clip(&stream, path, ClipPace::Asap, start).await?;
        let pieces = pieces(&stream, fragments.unwrap_or(usize::MAX));
        let mut media = media_times(&pieces)?;
        ensure!(!media.is_empty(), "{}: no frame is in what was asked for", path.display());
        media.sort_unstable();
        let mut sampler = Sampler::new(Some(fps), SamplerState::default());
        let picks = media.iter().filter(|time| sampler.picks(**time)).count();
        Ok(Self { pieces, packets: media.len(), picks })
    }
}

fn pieces(stream: &KvsStream, fragments: usize) -> Vec<Bytes> {
    let mut cursor = StreamCursor::new(Seek::Earliest);
    let (mut pieces, mut ended) = (Vec::new(), 0);
    while ended < fragments
        && let kvs_sim::ReadStep::Bytes(piece) = stream.step(&mut cursor)
    {
        pieces.push(piece);
        ended += usize::from(cursor.is_between_fragments());
    }
    pieces
}

fn media_times(pieces: &[Bytes]) -> anyhow::Result<Vec<MediaMs>> {
    let (mut demuxer, mut media) = (Demuxer::default(), Vec::new());
    for piece in pieces {
        demuxer.push(piece);
        while let Some(step) = demuxer.next(Instant::now()).context("the local KVS wrote it")? {
            if let DemuxEvent::Packet(packet) = step {
                media.push(packet.media);
            }
        }
    }
    Ok(media)
}
