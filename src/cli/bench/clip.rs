//! A clip in the form in which GetMedia sends it.

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

/// Start time of the clip, ms since the epoch. It is a whole second, so the sampler's first tick is the first frame.
pub(in crate::cli) const START_MS: i64 = 1_700_000_000_000;

/// A clip in memory, as Matroska bytes of GetMedia.
pub(in crate::cli) struct BenchClip {
    /// The bytes in the chunks of the local KVS.
    pub(in crate::cli) chunks: Vec<Bytes>,
    /// Number of access units.
    pub(in crate::cli) packets: usize,
    /// Number of frames that the sampler picks.
    pub(in crate::cli) picks: usize,
}

impl BenchClip {
    /// Reads the first `fragments` fragments of the file, by default all. `fps` is the target of the sampler.
    pub(in crate::cli) async fn read(
        path: &Path,
        fragments: Option<usize>,
        fps: f64,
    ) -> anyhow::Result<Self> {
        // No limit of the size: the whole clip must be stored.
        let limits = StreamLimits { stream_bytes: u64::MAX, readers: 1, delivery: LiveDelivery::Block };
        let clock = Clock::standing_at(START_MS);
        let stream = StreamStore::open(clock, limits, None)?.stream_or_create("bench")?;
        let start = UNIX_EPOCH + Duration::from_millis(START_MS.unsigned_abs());
        append_clip(&stream, path, ClipPace::Asap, start).await?;
        let chunks = read_chunks(&stream, fragments.unwrap_or(usize::MAX));
        let mut media = media_times(&chunks)?;
        ensure!(!media.is_empty(), "{}: the requested part has no frame", path.display());
        // Blocks are in decoding order, and the sampler expects the order of display.
        media.sort_unstable();
        let mut sampler = Sampler::new(Some(fps), SamplerState::default());
        let picks = media.iter().filter(|time| sampler.picks(**time)).count();
        Ok(Self { chunks, packets: media.len(), picks })
    }
}

fn read_chunks(stream: &KvsStream, fragments: usize) -> Vec<Bytes> {
    let mut cursor = StreamCursor::new(Seek::Earliest);
    let (mut chunks, mut ended) = (Vec::new(), 0);
    while ended < fragments
        && let kvs_sim::ReadStep::Bytes(chunk) = stream.step(&mut cursor)
    {
        chunks.push(chunk);
        // A chunk ends either inside or at the end of a fragment, so only whole fragments are taken.
        ended += usize::from(cursor.is_between_fragments());
    }
    chunks
}

fn media_times(chunks: &[Bytes]) -> anyhow::Result<Vec<MediaMs>> {
    let (mut demuxer, mut media) = (Demuxer::default(), Vec::new());
    for chunk in chunks {
        demuxer.push(chunk);
        while let Some(step) =
            demuxer.next(Instant::now()).context("the demuxer rejects what the local KVS wrote")?
        {
            if let DemuxEvent::Packet(packet) = step {
                media.push(packet.media);
            }
        }
    }
    Ok(media)
}
