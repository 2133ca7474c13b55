//! The queue from the ingest task of a camera to its decode thread.
//!
//! It is bounded by the number of items and by [`MAX_QUEUED_BYTES`] of access units; a larger access unit waits alone.
//!
//! A full queue makes ingest wait in both modes, and the connection with it; nothing is dropped here. In catch-up that is
//! the intended back-pressure. In live mode the decode thread takes access units that are late off without decoding
//! them, so there is room at once unless a single picture takes longer than that.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::frame_queue::QueueClosed;
use crate::media::Demuxed;

/// The maximum size of the access units in the queue, bytes.
///
/// That is two of the largest that GetMedia brings, or two seconds at 128 Mbit/s.
pub const MAX_QUEUED_BYTES: u32 = 32 << 20;

/// The sender of a packet queue, for the ingest task.
pub struct PacketSender {
    items: mpsc::Sender<PacketQueueItem>,
    room: Arc<Semaphore>,
}

/// The receiver of a packet queue, for the decode thread.
pub struct PacketReceiver {
    /// Items that were taken before and come first.
    first: VecDeque<Demuxed>,
    items: mpsc::Receiver<PacketQueueItem>,
}

struct PacketQueueItem {
    demuxed: Demuxed,
    /// Its share of the queue's bytes, which is returned when the item is taken.
    _room: OwnedSemaphorePermit,
}

/// Creates an empty packet queue for `max_items`, at least 1.
#[must_use]
pub fn packet_queue(max_items: usize) -> (PacketSender, PacketReceiver) {
    let (items, receiver) = mpsc::channel(max_items);
    let room = Arc::new(Semaphore::new(MAX_QUEUED_BYTES as usize));
    (PacketSender { items, room }, PacketReceiver { first: VecDeque::new(), items: receiver })
}

impl PacketSender {
    /// Appends `demuxed` once there is room. If the call is cancelled, the item is not in the queue.
    ///
    /// # Errors
    /// [`QueueClosed`] if the receiver was dropped.
    pub async fn send(&self, demuxed: Demuxed) -> Result<(), QueueClosed> {
        let room = Arc::clone(&self.room).acquire_many_owned(bytes_in_queue(&demuxed)).await;
        let item = PacketQueueItem { demuxed, _room: room.map_err(|_| QueueClosed)? };
        self.items.send(item).await.map_err(|_| QueueClosed)
    }
}

impl PacketReceiver {
    /// Returns the queue with these items before all others. They do not count for its bounds.
    #[must_use]
    pub fn preceded_by(self, first: VecDeque<Demuxed>) -> Self {
        Self { first, ..self }
    }

    /// Waits for the next item; returns `None` if the sender was dropped and the queue is empty. Cancel-safe.
    pub async fn recv(&mut self) -> Option<Demuxed> {
        match self.first.pop_front() {
            Some(first) => Some(first),
            None => self.items.recv().await.map(|item| item.demuxed),
        }
    }

    /// Blocks until the next item; returns `None` if the sender was dropped and the queue is empty.
    pub fn blocking_recv(&mut self) -> Option<Demuxed> {
        self.first.pop_front().or_else(|| self.items.blocking_recv().map(|item| item.demuxed))
    }
}

/// Returns the bytes that an item occupies, at most the whole queue.
fn bytes_in_queue(demuxed: &Demuxed) -> u32 {
    let bytes = match demuxed {
        Demuxed::Packet(packet) | Demuxed::Primer(packet) => packet.unit.len(),
        Demuxed::FragmentEnd(_) | Demuxed::Discontinuity => 0,
    };
    // A semaphore never grants more than its permits: without the limit a larger access unit would wait for ever.
    u32::try_from(bytes).unwrap_or(u32::MAX).min(MAX_QUEUED_BYTES)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use bytes::Bytes;
    use futures_util::FutureExt;

    use super::*;
    use crate::media::{ArrivalLag, Codec, Fragment, MediaMs, Packet, VideoTrack};

    fn packet(bytes: usize) -> Demuxed {
        let track = VideoTrack { codec: Codec::H264, codec_private: Bytes::new(), width_px: 2, height_px: 2 };
        Demuxed::Packet(Packet {
            fragment: Arc::new(Fragment { number: "1".into(), producer_ms: None, server_ms: None }),
            track: Arc::new(track),
            index: 0,
            media: MediaMs(0),
            key: true,
            unit: vec![0; bytes].into(),
            arrived: Instant::now(),
            lag: ArrivalLag::default(),
        })
    }

    fn is_sent(sender: &PacketSender, item: Demuxed) -> bool {
        sender.send(item).now_or_never().is_some()
    }

    #[tokio::test]
    async fn bytes_bound_the_queue_and_taken_items_make_room() {
        const MIB: usize = 1 << 20;
        let (sender, mut receiver) = packet_queue(9);
        assert!(is_sent(&sender, packet(16 * MIB)) && is_sent(&sender, packet(15 * MIB)));
        assert!(!is_sent(&sender, packet(2 * MIB)), "33 MiB");
        assert!(
            is_sent(&sender, packet(MIB)) && is_sent(&sender, Demuxed::Discontinuity),
            "32 MiB and a marker"
        );
        assert!(receiver.recv().await.is_some());
        assert!(!is_sent(&sender, packet(40 * MIB)), "larger than all, and not alone");
        while let Some(Some(_)) = receiver.recv().now_or_never() {}
        assert!(is_sent(&sender, packet(40 * MIB)), "alone");
        assert!(!is_sent(&sender, packet(1)));
    }

    #[tokio::test]
    async fn the_number_of_items_bounds_it_too_and_a_dropped_receiver_ends_a_wait() {
        let (sender, receiver) = packet_queue(3);
        assert!((0..3).all(|_| is_sent(&sender, packet(1))));
        assert!(!is_sent(&sender, packet(1)));
        let (large, gone) = packet_queue(3);
        assert!(is_sent(&large, packet(40 << 20)));
        let waiting = tokio::spawn(async move { large.send(packet(1)).await });
        tokio::task::yield_now().await;
        drop((receiver, gone));
        assert_eq!(waiting.await.unwrap(), Err(QueueClosed));
        assert_eq!(sender.send(packet(1)).await, Err(QueueClosed));
    }
}
