//! A clip as the packets of a camera that plays it again and again.

use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use kvs_infer::demux::{DemuxEvent, Demuxer};
use kvs_infer::media::{Fragment, FragmentEnd, MediaMs, Packet, Position};
use kvs_sim::{
    ClipPace, Clock, LiveDelivery, ReadStep, Seek, StreamCursor, StreamLimits, StreamStore, append_clip,
};

const START_MS: i64 = 1_700_000_000_000;

/// The packets of a clip by fragment.
pub(crate) struct Clip {
    fragments: Vec<Vec<Packet>>,
    length_ms: i64,
}

impl Clip {
    /// Reads a clip as GetMedia sends it.
    ///
    /// # Errors
    /// It cannot be read, or has no frame.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let limits = StreamLimits { stream_bytes: u64::MAX, readers: 1, delivery: LiveDelivery::Block };
        let store = StreamStore::open(Clock::standing_at(START_MS), limits, None).map_err(text)?;
        let stream = store.stream_or_create("clip").map_err(text)?;
        let start = UNIX_EPOCH + Duration::from_millis(START_MS.unsigned_abs());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(text)?;
        runtime.block_on(append_clip(&stream, path, ClipPace::Asap, start)).map_err(text)?;
        let (mut cursor, mut demuxer) = (StreamCursor::new(Seek::Earliest), Demuxer::default());
        let mut packets: Vec<Packet> = Vec::new();
        while let ReadStep::Bytes(chunk) = stream.step(&mut cursor) {
            demuxer.push(&chunk);
            while let Some(event) = demuxer.next(Instant::now()).map_err(text)? {
                if let DemuxEvent::Packet(packet) = event {
                    packets.push(packet);
                }
            }
        }
        let times = packets.iter().map(|packet| packet.media.0);
        let (Some(first), Some(last)) = (times.clone().min(), times.max()) else {
            return Err("the clip has no frame".to_owned());
        };
        // The last frame lasts as long as the others.
        let frames = i64::try_from(packets.len()).unwrap();
        let length_ms = (last - first) * frames / (frames - 1).max(1);
        let is_together = |one: &Packet, next: &Packet| Arc::ptr_eq(&one.fragment, &next.fragment);
        let fragments = packets.chunk_by(is_together).map(<[Packet]>::to_vec).collect();
        Ok(Self { fragments, length_ms })
    }

    /// Returns its frames per second.
    pub(crate) fn fps(&self) -> f64 {
        let frames: usize = self.fragments.iter().map(Vec::len).sum();
        frames as f64 * 1e3 / self.length_ms as f64
    }

    /// Returns the fragments without end, each later than the one before it.
    pub(crate) fn played(&self) -> impl Iterator<Item = (Vec<Packet>, FragmentEnd)> {
        (0..).flat_map(move |round| {
            self.fragments.iter().map(move |packets| later(packets, round, self.length_ms))
        })
    }
}

fn text(error: impl Display) -> String {
    error.to_string()
}

/// Returns the packets of a fragment `round` rounds later, and its end.
fn later(packets: &[Packet], round: i64, length_ms: i64) -> (Vec<Packet>, FragmentEnd) {
    let shift_ms = round * length_ms;
    let before = &packets[0].fragment;
    let fragment = Arc::new(Fragment {
        number: format!("{}-{round}", before.number).into(),
        producer_ms: before.producer_ms.map(|ms| ms + shift_ms),
        server_ms: None,
    });
    let shifted = |packet: &Packet| Packet {
        fragment: Arc::clone(&fragment),
        media: MediaMs(packet.media.0 + shift_ms),
        ..packet.clone()
    };
    let packets = packets.iter().map(shifted).collect();
    let position = Position::after(&fragment);
    (packets, FragmentEnd { fragment, position, behind_ms: Some(0), caught_up: true })
}
