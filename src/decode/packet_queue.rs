//! The hand-over from a camera's reader to its decode thread.
//!
//! Bounded in number and in bytes: so many items wait, and [`MAX_QUEUED_BYTES`] of access units. An access unit that is larger than that
//! waits alone. When the queue is full the reader waits in both modes, and its connection with it; nothing is dropped here. In catch-up
//! that is back-pressure as it should be. Live, the decode thread takes access units that waited too long off without decoding
//! them (`worker`), so there is room again at once, unless a single picture takes it longer.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::queue::Closed;
use crate::media::Demuxed;

/// Limit on the bytes of access units that wait: two of the largest that GetMedia brings, or two seconds at 128 Mbit/s.
pub const MAX_QUEUED_BYTES: u32 = 32 << 20;

/// The reader's side.
pub struct PacketSender {
    items: mpsc::Sender<QueuedItem>,
    room: Arc<Semaphore>,
}

/// The decode thread's side.
pub struct PacketReceiver(mpsc::Receiver<QueuedItem>);

struct QueuedItem {
    demuxed: Demuxed,
    /// Its bytes of the queue's; given back when it is taken out.
    _room: OwnedSemaphorePermit,
}

/// Returns an empty queue for `max_items`, at least 1.
#[must_use]
pub fn packet_queue(max_items: usize) -> (PacketSender, PacketReceiver) {
    let (items, taken) = mpsc::channel(max_items);
    let room = Arc::new(Semaphore::new(MAX_QUEUED_BYTES as usize));
    (PacketSender { items, room }, PacketReceiver(taken))
}

impl PacketSender {
    /// Puts `demuxed` in once there is room. Cancelled, it is not in.
    ///
    /// # Errors
    /// [`Closed`] when the receiver is gone.
    pub async fn send(&self, demuxed: Demuxed) -> Result<(), Closed> {
        let room = Arc::clone(&self.room).acquire_many_owned(bytes_of(&demuxed)).await;
        let item = QueuedItem { demuxed, _room: room.map_err(|_| Closed)? };
        self.items.send(item).await.map_err(|_| Closed)
    }
}

impl PacketReceiver {
    /// The next item, when it comes; `None` when the sender is gone and nothing waits. May be cancelled without loss.
    pub async fn recv(&mut self) -> Option<Demuxed> {
        self.0.recv().await.map(|item| item.demuxed)
    }

    /// The same for a thread that may block.
    pub fn blocking_recv(&mut self) -> Option<Demuxed> {
        self.0.blocking_recv().map(|item| item.demuxed)
    }
}

/// The bytes that it takes in the queue, all of them at most.
fn bytes_of(demuxed: &Demuxed) -> u32 {
    let bytes = match demuxed {
        Demuxed::Packet(packet) | Demuxed::Primer(packet) => packet.unit.len(),
        Demuxed::FragmentEnd(_) | Demuxed::Discontinuity => 0,
    };
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
    async fn bytes_bound_the_queue_and_what_is_taken_out_makes_room() {
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
    async fn the_number_of_items_bounds_it_too_and_a_gone_receiver_ends_a_wait() {
        let (sender, receiver) = packet_queue(3);
        assert!((0..3).all(|_| is_sent(&sender, packet(1))));
        assert!(!is_sent(&sender, packet(1)));
        let (large, gone) = packet_queue(3);
        assert!(is_sent(&large, packet(40 << 20)));
        let waiting = tokio::spawn(async move { large.send(packet(1)).await });
        tokio::task::yield_now().await;
        drop((receiver, gone));
        assert_eq!(waiting.await.unwrap(), Err(Closed));
        assert_eq!(sender.send(packet(1)).await, Err(Closed));
    }
}
