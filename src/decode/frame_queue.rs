//! The queue from the decode thread of a camera to its analysis task.
//!
//! It is bounded in both modes: at most four frames wait, and the decode thread with them. In catch-up that is all. In
//! live mode newer frames replace older ones if the machine is behind, that is, if a frame has waited for a second more
//! than its delivery explains. An HLS segment, a fragment that is delivered as a whole and the footage after a pause
//! arrive at once, and may take as long as they last ([`Playout`]).
//!
//! Markers are never dropped and keep their place among the frames. Markers without a frame between them are joined to
//! an equivalent one: of two fragment ends the later counts (and the camera has caught up if it had at either), of two
//! discontinuities one is enough, and a discontinuity right after an end adds nothing.
//!
//! If the [`FrameSender`] is dropped, the receiver gets the items that wait and then `None`. If the [`FrameReceiver`] is
//! dropped, a push fails with [`QueueClosed`], even one that waits.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::media::{Decoded, Frame, MediaMs, Mode, ModeCell};
use crate::status::CameraStatus;
use crate::telemetry::decode::{DropReason, FramesDropped};

/// The number of frames in the queue at which the decode thread waits.
const MAX_FRAMES: usize = 4;

/// The maximum wait of a live frame after it is due: the lag of delivered events stays below 2 s, with inference.
const MAX_LATENESS: Duration = Duration::from_secs(1);

/// The longest fragment, and so the longest burst of a delivery. Source: Kinesis Video Streams quotas, 2026.
const MAX_BURST: Duration = Duration::from_secs(20);

/// The other end of the queue was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the receiver of the queue was dropped")]
pub struct QueueClosed;

/// The sender of a frame queue, for the decode thread.
pub struct FrameSender(Arc<FrameQueue>);

/// The receiver of a frame queue, for the analysis task.
pub struct FrameReceiver(Arc<FrameQueue>);

struct FrameQueue {
    camera: CameraStatus,
    mode: Arc<ModeCell>,
    state: Mutex<FrameQueueState>,
    /// Wakes the one receiver: an item was put in, or the sender was dropped.
    item_added: Notify,
    /// Wakes the one sender: an item was taken, or the receiver was dropped.
    item_taken: Condvar,
}

#[derive(Default)]
struct FrameQueueState {
    items: VecDeque<FrameQueueItem>,
    closed: bool,
    playout: Playout,
}

struct FrameQueueItem {
    decoded: Decoded,
    kind: ItemKind,
}

/// The treatment of an item when the machine is behind.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ItemKind {
    /// Kept, and takes no room.
    Marker,
    /// A frame that newer ones replace from this time on.
    Frame(Instant),
    /// A frame that is never replaced.
    LastingFrame,
}

/// Computes when frames are due if they are taken in real time from their arrival on.
///
/// A frame is due when it arrives, or nine tenths of a frame's length after the previous one, whichever is later. So a
/// burst may take as long as it lasts, and the delay that it causes is recovered by a tenth of that time.
#[derive(Default)]
struct Playout {
    last: Option<(Instant, MediaMs)>,
}

impl Playout {
    /// Returns the time at which the next frame is due.
    fn due(&mut self, frame: &Frame) -> Instant {
        let step = self.last.and_then(|(due, media)| {
            // A step back in time is other footage, which is due at its arrival.
            let step_ms = u64::try_from(frame.media.0.saturating_sub(media.0)).ok()?;
            Some(due + Duration::from_millis(step_ms).min(MAX_BURST) * 9 / 10)
        });
        let due = step.map_or(frame.arrived, |due| due.clamp(frame.arrived, frame.arrived + MAX_BURST));
        self.last = Some((due, frame.media));
        due
    }
}

/// Creates an empty frame queue for `camera`.
#[must_use]
pub fn frame_queue(camera: CameraStatus, mode: Arc<ModeCell>) -> (FrameSender, FrameReceiver) {
    let queue = Arc::new(FrameQueue {
        camera,
        mode,
        state: Mutex::default(),
        item_added: Notify::new(),
        item_taken: Condvar::new(),
    });
    (FrameSender(Arc::clone(&queue)), FrameReceiver(queue))
}

impl FrameSender {
    /// Appends `decoded`. A frame waits for room, in live mode until the machine is behind. Blocks the thread.
    ///
    /// # Errors
    /// [`QueueClosed`] if the receiver was dropped.
    pub fn push(&self, decoded: Decoded) -> Result<(), QueueClosed> {
        self.push_item(decoded, true)
    }

    /// Appends `decoded`. A frame waits for room as in catch-up, and is not replaced by newer frames.
    ///
    /// # Errors
    /// [`QueueClosed`] if the receiver was dropped.
    pub fn push_lasting(&self, decoded: Decoded) -> Result<(), QueueClosed> {
        self.push_item(decoded, false)
    }

    fn push_item(&self, decoded: Decoded, is_replaceable: bool) -> Result<(), QueueClosed> {
        let queue = &self.0;
        let mut state = queue.lock();
        // Markers do not wait: they take no memory, and waiting ones are joined.
        if matches!(decoded, Decoded::Frame(_)) {
            state = queue.wait_for_room(state, is_replaceable);
        }
        if state.closed {
            return Err(QueueClosed);
        }
        let dropped = state.put(decoded, is_replaceable, queue.mode.get(), Instant::now());
        drop(state);
        queue.item_added.notify_one();
        if let Some((frames, reason)) = dropped {
            FramesDropped { camera: &queue.camera, frames, reason }.emit();
        }
        Ok(())
    }

    /// Returns the camera's current mode.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.0.mode.get()
    }
}

impl Drop for FrameSender {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.item_added.notify_one();
    }
}

impl FrameReceiver {
    /// Waits for the next item; returns `None` if the sender was dropped and the queue is empty. Cancel-safe.
    pub async fn next(&self) -> Option<Decoded> {
        loop {
            // The guard must not live across the await: the decode thread needs the lock to put an item in.
            {
                let mut state = self.0.lock();
                if let Some(item) = state.items.pop_front() {
                    self.0.item_taken.notify_one();
                    return Some(item.decoded);
                }
                if state.closed {
                    return None;
                }
            }
            // `Notify` stores one permit, so a push between the check and this line is not missed.
            self.0.item_added.notified().await;
        }
    }
}

impl Drop for FrameReceiver {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.closed = true;
        state.items.clear();
        self.0.item_taken.notify_one();
    }
}

impl FrameQueue {
    fn lock(&self) -> MutexGuard<'_, FrameQueueState> {
        // A panic elsewhere leaves the items whole, so a poisoned lock is usable.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until another frame may be put in.
    fn wait_for_room<'a>(
        &self,
        mut state: MutexGuard<'a, FrameQueueState>,
        is_replaceable: bool,
    ) -> MutexGuard<'a, FrameQueueState> {
        while !state.closed && state.frames() >= MAX_FRAMES {
            let late_in = match self.mode.get() {
                Mode::Live if is_replaceable => state.late_in(Instant::now()),
                Mode::Live | Mode::CatchUp => None,
            };
            state = match late_in {
                // The machine is behind: the frame needs no room, since it replaces those that wait.
                Some(Duration::ZERO) => return state,
                Some(wait) => {
                    self.item_taken.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.item_taken.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
        state
    }
}

impl FrameQueueState {
    /// Returns the number of frames in the queue.
    fn frames(&self) -> usize {
        self.items.iter().filter(|item| item.kind != ItemKind::Marker).count()
    }

    /// Returns the time until the oldest frame is late; zero if it is, `None` without frames.
    fn late_in(&self, now: Instant) -> Option<Duration> {
        let oldest = self.items.iter().find_map(|item| match item.kind {
            ItemKind::Frame(late_at) => Some(late_at),
            ItemKind::Marker | ItemKind::LastingFrame => None,
        })?;
        Some(oldest.saturating_duration_since(now))
    }

    /// Appends `decoded`; returns the number of frames that were dropped for it, and the reason.
    fn put(
        &mut self,
        decoded: Decoded,
        is_replaceable: bool,
        mode: Mode,
        now: Instant,
    ) -> Option<(usize, DropReason)> {
        match &decoded {
            Decoded::Frame(_) if !is_replaceable => self.append(decoded, ItemKind::LastingFrame),
            Decoded::IdleQuery(_) => self.append(decoded, ItemKind::Marker),
            Decoded::FragmentEnd { .. } => self.put_marker(decoded),
            Decoded::Frame(frame) => {
                let kind = ItemKind::Frame(self.playout.due(frame) + MAX_LATENESS);
                let is_behind = mode == Mode::Live && self.late_in(now) == Some(Duration::ZERO);
                let dropped = if is_behind { self.drop_late_frames() } else { 0 };
                self.append(decoded, kind);
                return Some((dropped, DropReason::Superseded));
            }
            Decoded::Discontinuity => {
                let dropped = self.drop_broken_fragment();
                self.put_marker(decoded);
                return Some((dropped, DropReason::Discontinuity));
            }
        }
        None
    }

    fn append(&mut self, decoded: Decoded, kind: ItemKind) {
        self.items.push_back(FrameQueueItem { decoded, kind });
    }

    /// Drops the frames since the last marker and returns their number.
    fn drop_broken_fragment(&mut self) -> usize {
        // Frames since the last end are of the broken fragment, which is read again.
        let is_marker = |item: &FrameQueueItem| item.kind == ItemKind::Marker;
        let last_marker = self.items.iter().rposition(is_marker);
        self.drop_frames_where(|at, _| Some(at) > last_marker)
    }

    /// Drops all frames that may be replaced and returns their number.
    fn drop_late_frames(&mut self) -> usize {
        // The delay that a burst explains is used up: from here on a frame is due when it arrives.
        self.playout = Playout::default();
        self.drop_frames_where(|_, kind| kind != ItemKind::LastingFrame)
    }

    /// Drops the frames at the places that `is_dropped` selects, and joins the markers that then meet.
    fn drop_frames_where(&mut self, is_dropped: impl Fn(usize, ItemKind) -> bool) -> usize {
        let before = self.frames();
        for (at, item) in std::mem::take(&mut self.items).into_iter().enumerate() {
            match (item.kind, &item.decoded) {
                (ItemKind::Marker, Decoded::FragmentEnd { .. } | Decoded::Discontinuity) => {
                    self.put_marker(item.decoded);
                }
                (ItemKind::Marker, Decoded::Frame(_) | Decoded::IdleQuery(_)) => self.items.push_back(item),
                (kind, _) if is_dropped(at, kind) => {}
                (ItemKind::Frame(_) | ItemKind::LastingFrame, _) => self.items.push_back(item),
            }
        }
        before - self.frames()
    }

    fn put_marker(&mut self, marker: Decoded) {
        let joined = match (self.items.back().map(|item| &item.decoded), &marker) {
            (Some(Decoded::FragmentEnd { end, .. }), Decoded::FragmentEnd { .. }) => {
                let caught_up = end.caught_up;
                self.items.pop_back();
                with_caught_up(marker, caught_up)
            }
            (Some(Decoded::FragmentEnd { .. } | Decoded::Discontinuity), Decoded::Discontinuity) => return,
            (Some(Decoded::Frame(_) | Decoded::IdleQuery(_) | Decoded::Discontinuity) | None, _)
            | (_, Decoded::Frame(_) | Decoded::IdleQuery(_)) => marker,
        };
        self.append(joined, ItemKind::Marker);
    }
}

/// Returns `marker`, caught up also if an earlier end was: the switch to live mode must not get lost with that end.
fn with_caught_up(marker: Decoded, earlier: bool) -> Decoded {
    match marker {
        Decoded::FragmentEnd { mut end, sampler } => {
            end.caught_up |= earlier;
            Decoded::FragmentEnd { end, sampler }
        }
        Decoded::Frame(_) | Decoded::IdleQuery(_) | Decoded::Discontinuity => marker,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::media::{
        CameraId, Color, Fragment, FragmentEnd, HostPicture, IdleQuery, Matrix, Position, Surface,
    };

    /// An item of the queue that can be compared.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Seen {
        Frame(i64),
        End(i64),
        Query,
        Discontinuity,
    }
    use Seen::{Discontinuity, End, Frame as F, Query};

    fn fragment(number: i64) -> Arc<Fragment> {
        Arc::new(Fragment { number: number.to_string().into(), producer_ms: None, server_ms: None })
    }

    fn frame(media_ms: i64, arrived: Instant) -> Decoded {
        let color = Color { matrix: Matrix::Bt601, full_range: false };
        let planes = [vec![0; 4], vec![0], vec![0]];
        let picture = HostPicture::from_planes((2, 2), planes, [2, 1, 1], color).expect("a picture");
        Decoded::Frame(Arc::new(Frame {
            camera: CameraId::new("gate"),
            fragment: fragment(0),
            index: 0,
            media: MediaMs(media_ms),
            arrived,
            surface: Surface::Host(picture),
        }))
    }

    fn item(seen: Seen) -> Decoded {
        match seen {
            F(number) => frame(number, Instant::now()),
            End(number) => {
                let fragment = fragment(number);
                let position = Position::after(&fragment);
                let end = FragmentEnd { fragment, position, behind_ms: None, caught_up: false };
                Decoded::FragmentEnd { end, sampler: Box::default() }
            }
            Query => Decoded::IdleQuery(IdleQuery::Woke { media: MediaMs(0), by_size: false }),
            Discontinuity => Decoded::Discontinuity,
        }
    }

    fn seen(item: &Decoded) -> Seen {
        match item {
            Decoded::Frame(frame) => F(frame.media.0),
            Decoded::FragmentEnd { end, .. } => End(end.fragment.number.parse().expect("a number")),
            Decoded::IdleQuery(_) => Query,
            Decoded::Discontinuity => Discontinuity,
        }
    }

    fn waiting(queue: &FrameQueueState) -> Vec<Seen> {
        queue.items.iter().map(|item| seen(&item.decoded)).collect()
    }

    /// Returns a time at which frames that arrive now are late.
    fn too_late() -> Instant {
        Instant::now() + MAX_LATENESS + MAX_BURST
    }

    fn put_all(mode: Mode, now: Instant, items: &[Seen]) -> FrameQueueState {
        let mut queue = FrameQueueState::default();
        for seen in items {
            queue.put(item(*seen), true, mode, now);
        }
        queue
    }

    #[test]
    fn a_lasting_frame_is_not_replaced_by_newer_ones() {
        let mut queue = FrameQueueState::default();
        for (seen, is_replaceable) in [(F(1), false), (F(2), true), (F(3), false), (F(4), true), (F(5), true)]
        {
            queue.put(item(seen), is_replaceable, Mode::Live, too_late());
        }
        assert_eq!(waiting(&queue), [F(1), F(3), F(5)]);
    }

    #[test]
    fn queue_contents_by_table() {
        use Mode::{CatchUp, Live};
        let (in_time, too_late) = (Instant::now(), too_late());
        type Case<'a> = (&'a str, Mode, Instant, &'a [Seen], &'a [Seen]);
        let cases: [Case; 10] = [
            (
                "questions keep their place",
                Live,
                too_late,
                &[F(1), Query, Query, F(2)],
                &[Query, Query, F(2)],
            ),
            ("in time nothing is replaced", Live, in_time, &[F(1), F(2), F(3)], &[F(1), F(2), F(3)]),
            ("newest frame wins", Live, too_late, &[F(1), F(2), F(3)], &[F(3)]),
            ("markers keep their place", Live, too_late, &[End(1), F(2), End(2)], &[End(1), F(2), End(2)]),
            ("ends that meet are the last", Live, too_late, &[End(1), F(2), End(2), F(3)], &[End(2), F(3)]),
            ("no frame is lost in catch-up", CatchUp, too_late, &[F(1), End(1), F(2)], &[F(1), End(1), F(2)]),
            ("ends without frames between", CatchUp, in_time, &[F(1), End(1), End(2)], &[F(1), End(2)]),
            (
                "the broken fragment is dropped",
                CatchUp,
                in_time,
                &[F(1), End(1), F(2), F(3), Discontinuity],
                &[F(1), End(1)],
            ),
            (
                "frames of it may have been taken",
                CatchUp,
                in_time,
                &[F(2), Discontinuity, Discontinuity],
                &[Discontinuity],
            ),
            (
                "read again",
                CatchUp,
                in_time,
                &[F(2), Discontinuity, F(2), End(2)],
                &[Discontinuity, F(2), End(2)],
            ),
        ];
        for (name, mode, now, put, left) in cases {
            assert_eq!(waiting(&put_all(mode, now, put)), left, "{name}");
        }
    }

    #[test]
    fn dropped_frames_are_counted_with_their_reason() {
        let mut queue = put_all(Mode::CatchUp, Instant::now(), &[F(1), F(2), F(3)]);
        assert_eq!(queue.put(item(F(4)), true, Mode::Live, too_late()), Some((3, DropReason::Superseded)));
        assert_eq!(
            queue.put(item(Discontinuity), true, Mode::Live, too_late()),
            Some((1, DropReason::Discontinuity))
        );
    }

    /// Returns when each frame is due, ms after the start; `frames` are (media, arrived) in ms.
    fn due_ms(frames: &[(i64, u64)]) -> Vec<u128> {
        let (start, mut playout) = (Instant::now(), Playout::default());
        let due = |(media_ms, arrived_ms): &(i64, u64)| {
            let Decoded::Frame(frame) = frame(*media_ms, start + Duration::from_millis(*arrived_ms)) else {
                panic!("a frame")
            };
            playout.due(&frame).duration_since(start).as_millis()
        };
        frames.iter().map(due).collect()
    }

    #[test]
    fn a_burst_is_due_as_it_was_recorded_and_its_delay_is_recovered() {
        type Case<'a> = (&'a str, &'a [(i64, u64)], &'a [u128]);
        let cases: [Case; 6] = [
            ("in real time", &[(0, 0), (100, 100), (200, 210)], &[0, 100, 210]),
            ("at once", &[(0, 0), (100, 0), (200, 0)], &[0, 90, 180]),
            ("the next segment", &[(0, 0), (900, 0), (1000, 1000), (1900, 1000)], &[0, 810, 1000, 1810]),
            ("after a burst", &[(0, 0), (1000, 0), (2000, 0), (3000, 1000)], &[0, 900, 1800, 2700]),
            ("other footage, back in time", &[(5000, 0), (0, 10)], &[0, 10]),
            ("hours at once", &[(0, 0), (7_200_000, 5)], &[0, 18_000]),
        ];
        for (name, frames, due) in cases {
            assert_eq!(due_ms(frames), due, "{name}");
        }
        let long: Vec<_> = (0..100).map(|second| (second * 1000, 0)).collect();
        assert_eq!(due_ms(&long).last(), Some(&20_000), "no burst is longer than a fragment");
    }

    /// Returns the state of a task that follows the items: the committed end, the frames before it and those after it.
    fn follow(items: impl IntoIterator<Item = Seen>) -> (i64, Vec<i64>, Vec<i64>) {
        let (mut committed, mut kept, mut open) = (0, Vec::new(), Vec::new());
        for item in items {
            match item {
                F(number) => open.push(number),
                End(number) => {
                    committed = number;
                    kept.append(&mut open);
                }
                Query => {}
                Discontinuity => open.clear(),
            }
        }
        (committed, kept, open)
    }

    fn any_items() -> impl Strategy<Value = Vec<(u8, bool)>> {
        prop::collection::vec((0..8_u8, any::<bool>()), 0..80)
    }

    proptest! {
        /// The receiver ends where it would without a queue; live and behind, with a subset of those frames.
        #[test]
        fn the_receiver_ends_as_without_a_queue(steps in any_items(), live in any::<bool>(), late in any::<bool>()) {
            let mode = if live { Mode::Live } else { Mode::CatchUp };
            let (mut queue, mut put, mut taken) = (FrameQueueState::default(), Vec::new(), Vec::new());
            for (number, (kind, takes)) in (1..).zip(steps) {
                let next = match kind { 0 => Discontinuity, 1 | 2 => End(number), _ => F(number) };
                let now = if late { too_late() } else { Instant::now() };
                while !(live && late) && queue.frames() >= MAX_FRAMES {
                    taken.extend(queue.items.pop_front().map(|item| seen(&item.decoded)));
                }
                queue.put(item(next), true, mode, now);
                put.push(next);
                let (max_frames, max_items) = if live && late { (1, 4) } else { (MAX_FRAMES, 3 * MAX_FRAMES + 2) };
                prop_assert!(queue.frames() <= max_frames && queue.items.len() <= max_items, "{:?}", waiting(&queue));
                if takes {
                    taken.extend(queue.items.pop_front().map(|item| seen(&item.decoded)));
                }
            }
            taken.extend(waiting(&queue));
            let (got, wanted) = (follow(taken), follow(put));
            prop_assert_eq!(got.0, wanted.0);
            if live && late {
                prop_assert!(got.1.iter().all(|frame| wanted.1.contains(frame)));
                prop_assert_eq!(got.2.last(), wanted.2.last());
            } else {
                prop_assert_eq!(got, wanted);
            }
        }
    }

    /// In live mode all are in time: they arrive together, and last 100 s.
    #[tokio::test]
    async fn a_push_waits_for_room() {
        for mode in [Mode::CatchUp, Mode::Live] {
            let mode = Arc::new(ModeCell::new(mode));
            let (sender, receiver) = frame_queue(CameraStatus::alone(&CameraId::new("gate")), mode);
            let pushing = std::thread::spawn(move || {
                (0..100).try_for_each(|number| sender.push(item(F(number * 1000))))
            });
            let mut numbers = Vec::new();
            while let Some(item) = receiver.next().await {
                numbers.push(seen(&item));
            }
            assert_eq!(pushing.join().expect("no panic"), Ok(()));
            assert_eq!(numbers, (0..100).map(|number| F(number * 1000)).collect::<Vec<_>>());
        }
    }

    #[tokio::test]
    async fn a_live_push_that_waits_replaces_late_frames_and_then_never_waits() {
        let mode = Arc::new(ModeCell::new(Mode::Live));
        let (sender, receiver) = frame_queue(CameraStatus::alone(&CameraId::new("gate")), mode);
        let arrived =
            Instant::now().checked_sub(Duration::from_millis(980)).expect("the host runs for a second");
        let pushing =
            std::thread::spawn(move || (0..100).try_for_each(|number| sender.push(frame(number, arrived))));
        assert_eq!(pushing.join().expect("no panic"), Ok(()), "no item is taken");
        let mut numbers = Vec::new();
        while let Some(item) = receiver.next().await {
            numbers.push(seen(&item));
        }
        assert!(numbers.len() <= MAX_FRAMES && numbers.last() == Some(&F(99)), "{numbers:?}");
    }

    #[test]
    fn a_push_fails_when_the_receiver_is_dropped_even_one_that_waits() {
        let mode = Arc::new(ModeCell::new(Mode::CatchUp));
        let (sender, receiver) = frame_queue(CameraStatus::alone(&CameraId::new("gate")), mode);
        (0..4).try_for_each(|number| sender.push(item(F(number)))).expect("room");
        let (waits, is_waiting) = std::sync::mpsc::channel();
        let pushing = std::thread::spawn(move || {
            waits.send(()).expect("the test listens");
            sender.push(item(F(4)))
        });
        is_waiting.recv().expect("the thread runs");
        drop(receiver);
        assert_eq!(pushing.join().expect("no panic"), Err(QueueClosed));
    }
}
