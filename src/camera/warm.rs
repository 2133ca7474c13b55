//! A camera whose stream is read and not decoded yet, because this worker is about to own it.
//!
//! Reading begins after the position of the present owner, which continues meanwhile. Of what arrives, the newest fragments are kept.
//! With the ownership decoding begins, with the fragment after the owner's last position: no connection has to be opened then,
//! and no footage has to arrive. Where the kept footage does not reach back to that position, the camera starts from a connection of
//! its own.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::ingest::{IngestParts, IngestTask};
use super::{CameraError, CameraResources, MAX_QUEUED_PACKETS, choose_start, continued, new_source};
use crate::checkpoint::Checkpoint;
use crate::config::CameraSpec;
use crate::decode::{MAX_QUEUED_BYTES, PacketReceiver, packet_queue};
use crate::media::{Demuxed, FragmentEnd, ModeCell, Position, fragment_order};
use crate::status::CameraStatus;

/// Number of complete fragments that are kept, the one under way not counted. The owner's last position is behind one of them.
const KEPT_FRAGMENTS: usize = 2;
/// Lag up to which reading counts as having reached the live edge, ms.
const EDGE_MS: u64 = 1_000;
/// Limit on the wait until reading has reached the live edge. A camera that sends nothing, or that is far behind, is handed over
/// without.
const WARM_LIMIT: Duration = Duration::from_secs(2);
/// Limit on the wait for footage that the former owner has read already.
const BEHIND_LIMIT: Duration = Duration::from_secs(1);

/// A camera that is read and not decoded yet.
pub struct WarmCamera {
    ingest: JoinHandle<()>,
    mode: Arc<ModeCell>,
    holding: JoinHandle<HeldFootage>,
    release: oneshot::Sender<Option<Position>>,
    /// Ends reading.
    stop: CancellationToken,
    at_edge: Option<oneshot::Receiver<()>>,
}

/// The reading of a camera that was warm, with the footage so far.
pub(super) struct WarmReading {
    pub(super) ingest: JoinHandle<()>,
    pub(super) mode: Arc<ModeCell>,
    pub(super) packets: PacketReceiver,
}

/// The footage that a warm camera has kept.
struct HeldFootage {
    /// The position after which reading began, while nothing is left out.
    after: Option<Position>,
    is_cut: bool,
    kept: VecDeque<Demuxed>,
    bytes: usize,
    receiver: PacketReceiver,
}

impl WarmCamera {
    /// Starts to read after the position of `checkpoint`; `stop` ends that, also once the camera runs.
    ///
    /// # Errors
    /// The source cannot be created.
    pub fn start(
        spec: &CameraSpec,
        checkpoint: Option<Checkpoint>,
        status: CameraStatus,
        stop: &CancellationToken,
        resources: &CameraResources,
    ) -> Result<Self, CameraError> {
        // A camera that starts from a connection of its own ends this reading, and not itself.
        let stop = stop.child_token();
        let checkpoint = continued(checkpoint.unwrap_or_default(), spec);
        let (start, mode) = choose_start(spec.start, checkpoint.position.clone());
        let mode = Arc::new(ModeCell::new(mode));
        let (out, receiver) = packet_queue(MAX_QUEUED_PACKETS);
        let ingest = IngestTask::new(IngestParts {
            source: new_source(spec, resources)?,
            start,
            reconnect_delay: resources.reconnect_delay,
            max_behind: resources.max_behind,
            mode: Arc::clone(&mode),
            out,
            status,
            stop: stop.clone(),
        });
        let ((release, released), (reached, at_edge)) = (oneshot::channel(), oneshot::channel());
        let held = HeldFootage {
            after: checkpoint.position,
            is_cut: false,
            kept: VecDeque::new(),
            bytes: 0,
            receiver,
        };
        let holding = tokio::spawn(held.hold(reached, released));
        let (ingest, at_edge) = (tokio::spawn(ingest.run()), Some(at_edge));
        Ok(Self { ingest, mode, holding, release, stop, at_edge })
    }

    /// Returns a future that waits until reading has reached the live edge, for a short time at most. To be called once.
    pub fn warmed(&mut self) -> impl Future<Output = ()> + Send + use<> {
        let at_edge = self.at_edge.take();
        async move {
            if let Some(at_edge) = at_edge {
                // An error means that reading has ended: the camera starts from a connection of its own.
                let _reached = timeout(WARM_LIMIT, at_edge).await;
            }
        }
    }

    /// Ends reading, and waits until it has ended.
    pub async fn end(self) {
        self.stop.cancel();
        drop(self.release);
        // The panic hook has logged a panic.
        let _ended = self.ingest.await;
        let _held = self.holding.await;
    }

    /// Returns what was read after `position`, with the reading; `None` after the end of reading if not all of that is there.
    pub(super) async fn release(self, position: Option<&Position>) -> Option<WarmReading> {
        // An error means that holding has ended, since reading has.
        let _asked = self.release.send(position.cloned());
        let held = self.holding.await.ok();
        if let Some(packets) = held.and_then(|held| held.after(position)) {
            return Some(WarmReading { ingest: self.ingest, mode: self.mode, packets });
        }
        self.stop.cancel();
        let _ended = self.ingest.await;
        None
    }
}

impl HeldFootage {
    /// Keeps the newest footage until it is `released` for a position, and reports when it has `reached` the live edge.
    async fn hold(
        mut self,
        reached: oneshot::Sender<()>,
        mut released: oneshot::Receiver<Option<Position>>,
    ) -> Self {
        let mut reached = Some(reached);
        let position = loop {
            let item = tokio::select! {
                position = &mut released => break position.ok().flatten(),
                item = self.receiver.recv() => item,
            };
            let Some(item) = item else { break released.await.ok().flatten() };
            if let Some(reached) = reached.take_if(|_| is_at_edge(&item)) {
                // The receiver is gone once it took too long.
                let _waits = reached.send(());
            }
            self.keep(item);
        };
        if let Some(position) = position {
            // Without it the camera starts from a connection of its own.
            let _complete = timeout(BEHIND_LIMIT, self.catch_up(&position)).await;
        }
        self
    }

    /// Waits until the fragment before the position has ended, if its owner was faster.
    async fn catch_up(&mut self, position: &Position) {
        while self.is_behind(position) {
            let Some(item) = self.receiver.recv().await else { return };
            self.keep(item);
        }
    }

    fn is_behind(&self, position: &Position) -> bool {
        let newest = self.kept.iter().rev().find_map(|item| match item {
            Demuxed::FragmentEnd(end) => Some(&end.fragment.number),
            _ => None,
        });
        let newest = newest.or(self.after.as_ref().map(|after| &after.fragment));
        newest.is_some_and(|newest| fragment_order(newest, &position.fragment).is_lt())
    }

    fn keep(&mut self, item: Demuxed) {
        self.bytes += size(&item);
        let is_end = matches!(item, Demuxed::FragmentEnd(_));
        self.kept.push_back(item);
        if is_end
            && self.kept.iter().filter(|item| matches!(item, Demuxed::FragmentEnd(_))).count()
                > KEPT_FRAGMENTS
        {
            self.drop_fragment();
        }
        while self.bytes > MAX_QUEUED_BYTES as usize && !self.kept.is_empty() {
            self.drop_fragment();
        }
    }

    /// Drops the oldest fragment, or all of one that has not ended.
    fn drop_fragment(&mut self) {
        self.is_cut = true;
        while let Some(item) = self.kept.pop_front() {
            self.bytes -= size(&item);
            if matches!(item, Demuxed::FragmentEnd(_)) {
                return;
            }
        }
    }

    /// Returns the queue of all footage after `position`; `None` if it is not all there.
    fn after(mut self, position: Option<&Position>) -> Option<PacketReceiver> {
        let ends_at = |item: &Demuxed| {
            matches!(item, Demuxed::FragmentEnd(FragmentEnd { fragment, .. })
                if position.is_some_and(|position| position.fragment == fragment.number))
        };
        if let Some(end) = self.kept.iter().position(ends_at) {
            let before: Vec<Demuxed> = self.kept.drain(..=end).collect();
            // The next fragment may refer to the pictures of this one.
            let has_open_gops = position.is_some_and(|position| position.primer.is_some());
            let primer = before.into_iter().filter_map(|item| primer_of(item, position)).rev();
            if has_open_gops {
                primer.for_each(|item| self.kept.push_front(item));
            }
        } else if self.is_cut || self.after.as_ref() != position {
            return None;
        }
        Some(self.receiver.preceded_by(self.kept))
    }
}

/// Returns a packet of the fragment before `position` as one that only primes the decoder.
fn primer_of(item: Demuxed, position: Option<&Position>) -> Option<Demuxed> {
    match item {
        Demuxed::Packet(packet) if position.is_some_and(|at| at.fragment == packet.fragment.number) => {
            Some(Demuxed::Primer(packet))
        }
        _ => None,
    }
}

fn is_at_edge(item: &Demuxed) -> bool {
    matches!(item, Demuxed::FragmentEnd(end) if end.caught_up || end.behind_ms.is_some_and(|ms| ms <= EDGE_MS))
}

fn size(item: &Demuxed) -> usize {
    match item {
        Demuxed::Packet(packet) | Demuxed::Primer(packet) => packet.unit.len(),
        Demuxed::FragmentEnd(_) | Demuxed::Discontinuity => 0,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use bytes::Bytes;

    use super::*;
    use crate::media::{ArrivalLag, Codec, Fragment, MediaMs, Packet, VideoTrack};

    fn fragment(number: u32) -> Arc<Fragment> {
        Arc::new(Fragment { number: number.to_string().into(), producer_ms: None, server_ms: None })
    }

    fn at(number: u32, primer: Option<&str>) -> Position {
        Position { fragment: number.to_string().into(), media: MediaMs(0), primer: primer.map(Arc::from) }
    }

    fn packet(number: u32, index: u32, bytes: usize) -> Demuxed {
        let track = VideoTrack { codec: Codec::H264, codec_private: Bytes::new(), width_px: 2, height_px: 2 };
        Demuxed::Packet(Packet {
            fragment: fragment(number),
            track: Arc::new(track),
            index,
            media: MediaMs(0),
            key: index == 0,
            unit: vec![0; bytes].into(),
            arrived: Instant::now(),
            lag: ArrivalLag::default(),
        })
    }

    fn end(number: u32) -> Demuxed {
        end_behind(number, None)
    }

    fn end_behind(number: u32, behind_ms: Option<u64>) -> Demuxed {
        let position = at(number, None);
        let fragment = fragment(number);
        Demuxed::FragmentEnd(FragmentEnd { fragment, position, behind_ms, caught_up: false })
    }

    /// Footage of two packets per fragment, read after fragment 0: fragments `1..=complete`, and a packet of the next.
    fn held(complete: u32, bytes: usize) -> HeldFootage {
        let (_, receiver) = packet_queue(1);
        let (kept, after) = (VecDeque::new(), Some(at(0, None)));
        let mut held = HeldFootage { after, is_cut: false, kept, bytes: 0, receiver };
        for number in 1..=complete {
            (0..2).for_each(|index| held.keep(packet(number, index, bytes)));
            held.keep(end(number));
        }
        held.keep(packet(complete + 1, 0, bytes));
        held
    }

    /// Returns the queue in short: `p3` is a packet of fragment 3, `r3` a primer, `e3` the end.
    async fn short(receiver: Option<PacketReceiver>) -> Option<String> {
        let mut receiver = receiver?;
        let mut items = Vec::new();
        while let Some(item) = receiver.recv().await {
            items.push(match item {
                Demuxed::Packet(packet) => format!("p{}", packet.fragment.number),
                Demuxed::Primer(packet) => format!("r{}", packet.fragment.number),
                Demuxed::FragmentEnd(end) => format!("e{}", end.fragment.number),
                Demuxed::Discontinuity => "-".to_owned(),
            });
        }
        Some(items.join(" "))
    }

    #[tokio::test]
    async fn decoding_begins_after_the_owners_last_position() {
        for (name, complete, position, expected) in [
            ("nothing has ended", 0, at(0, None), Some("p1")),
            ("the owner has moved", 1, at(1, None), Some("p2")),
            ("two fragments are kept", 4, at(3, None), Some("p4 p4 e4 p5")),
            ("the next one may refer to this one", 4, at(3, Some("2")), Some("r3 r3 p4 p4 e4 p5")),
            ("the newest one", 4, at(4, None), Some("p5")),
            ("an older one is gone", 4, at(2, None), None),
            ("the owner is ahead", 4, at(5, None), None),
            ("the owner has not moved, and the beginning is gone", 4, at(0, None), None),
        ] {
            let found = short(held(complete, 1).after(Some(&position))).await;
            assert_eq!(found.as_deref(), expected, "{name}");
        }
        assert_eq!(short(held(1, 1).after(None)).await, None, "the camera was never decided");
    }

    #[tokio::test]
    async fn the_bytes_are_bounded() {
        let quarter = MAX_QUEUED_BYTES as usize / 4;
        let full = held(2, quarter);
        assert_eq!((full.bytes, full.is_cut), (3 * quarter, true));
        assert_eq!(short(full.after(Some(&at(1, None)))).await, None, "the first fragment had to go");
        let huge = held(0, MAX_QUEUED_BYTES as usize + 1);
        assert_eq!((huge.bytes, huge.kept.len(), huge.is_cut), (0, 0, true));
    }

    #[tokio::test]
    async fn the_live_edge_is_reported_and_what_comes_later_follows() {
        let (sender, receiver) = packet_queue(8);
        let ((reached, at_edge), (release, released)) = (oneshot::channel(), oneshot::channel());
        let (kept, after) = (VecDeque::new(), Some(at(0, None)));
        let held = HeldFootage { after, is_cut: false, kept, bytes: 0, receiver };
        let holding = tokio::spawn(held.hold(reached, released));
        for item in [packet(1, 0, 1), end(1), packet(2, 0, 1)] {
            sender.send(item).await.unwrap();
        }
        sender.send(end_behind(2, Some(900))).await.unwrap();
        at_edge.await.unwrap();
        // The owner has read a fragment more.
        release.send(Some(at(3, None))).unwrap();
        for item in [packet(3, 0, 1), end(3), packet(4, 0, 1)] {
            sender.send(item).await.unwrap();
        }
        let held = holding.await.unwrap();
        drop(sender);
        assert_eq!(short(held.after(Some(&at(3, None)))).await.as_deref(), Some("p4"));
    }
}
