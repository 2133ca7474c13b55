//! The hand-over from the decode thread to the camera's task.
//!
//! Bounded in both modes: at most four frames wait, and the decode thread with them. In catch-up that is all. Live, frames
//! are replaced by newer ones where the machine is behind, and only there: when a frame has waited for a second more than its
//! delivery explains. A segment of HLS, a fragment that is delivered as a whole and the footage after a pause arrive at once and
//! may take as long as they last ([`Playout`]).
//!
//! Markers are never dropped and keep their place among the frames; where nothing stands between two of them they become one that means the same: of two ends the later counts (and the camera has caught up if it had at either),
//! of two discontinuities one is enough, and a discontinuity right after an end says nothing new.
//!
//! Ends: when the [`FrameSender`] goes, the receiver gets what waits and then `None`; when the [`FrameReceiver`] goes,
//! a push fails with [`Closed`], also one that waits.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::media::{Decoded, Frame, MediaMs, Mode, ModeCell};
use crate::status::CameraStatus;
use crate::telemetry::decode::{DropReason, FramesDropped};

/// How many frames wait before the decode thread does.
const FRAMES_MAX: usize = 4;

/// How long after it is due a live frame may wait. The lag of delivered events stays under 2 s, inference included.
const PATIENCE: Duration = Duration::from_secs(1);

/// The longest fragment, so the most that is delivered at once. Source: Kinesis Video Streams quotas, 2026.
const BURST_MAX: Duration = Duration::from_secs(20);

/// The other side of the queue is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the receiver of the decoded frames is gone")]
pub struct Closed;

/// The decode thread's side.
pub struct FrameSender(Arc<Queue>);

/// The camera task's side.
pub struct FrameReceiver(Arc<Queue>);

struct Queue {
    camera: CameraStatus,
    mode: Arc<ModeCell>,
    waiting: Mutex<Waiting>,
    /// Something came, or the sender went: for the one receiver.
    came: Notify,
    /// Something was taken, or the receiver went: for the one sender.
    left: Condvar,
}

#[derive(Default)]
struct Waiting {
    items: VecDeque<Item>,
    closed: bool,
    playout: Playout,
}

struct Item {
    decoded: Decoded,
    /// Of a frame: from then on the machine is behind if it still waits.
    late_at: Option<Instant>,
}

/// When frames are due, if they are taken as fast as they were filmed from their arrival on.
///
/// Each is due when it arrives, or nine tenths of a frame's length after the one before, whichever is later: so a burst may take
/// as long as it lasts, and its delay is worked off by a tenth of the time.
#[derive(Default)]
struct Playout {
    last: Option<(Instant, MediaMs)>,
}

impl Playout {
    /// When the next frame is due.
    fn due(&mut self, frame: &Frame) -> Instant {
        let step = self.last.and_then(|(due, media)| {
            let step_ms = u64::try_from(frame.media.0.saturating_sub(media.0)).ok()?;
            Some(due + Duration::from_millis(step_ms).min(BURST_MAX) * 9 / 10)
        });
        let due = step.map_or(frame.arrived, |due| due.clamp(frame.arrived, frame.arrived + BURST_MAX));
        self.last = Some((due, frame.media));
        due
    }
}

/// An empty queue for `camera`.
#[must_use]
pub fn frame_queue(camera: CameraStatus, mode: Arc<ModeCell>) -> (FrameSender, FrameReceiver) {
    let waiting = Mutex::default();
    let queue = Arc::new(Queue { camera, mode, waiting, came: Notify::new(), left: Condvar::new() });
    (FrameSender(Arc::clone(&queue)), FrameReceiver(queue))
}

impl FrameSender {
    /// Puts `decoded` in. A frame waits until there is room, or, live, until the machine is behind. Blocks: not for async code.
    ///
    /// # Errors
    /// [`Closed`] when the receiver is gone.
    pub fn push(&self, decoded: Decoded) -> Result<(), Closed> {
        let queue = &self.0;
        let mut waiting = queue.lock();
        if matches!(decoded, Decoded::Frame(_)) {
            waiting = queue.wait_for_room(waiting);
        }
        if waiting.closed {
            return Err(Closed);
        }
        let dropped = waiting.put(decoded, queue.mode.get(), Instant::now());
        drop(waiting);
        queue.came.notify_one();
        if let Some((frames, reason)) = dropped {
            FramesDropped { camera: &queue.camera, frames, reason }.emit();
        }
        Ok(())
    }

    /// How the camera keeps up now.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.0.mode.get()
    }
}

impl Drop for FrameSender {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.came.notify_one();
    }
}

impl FrameReceiver {
    /// The next item, when it comes; `None` when the sender is gone and nothing waits. May be cancelled without loss.
    pub async fn next(&self) -> Option<Decoded> {
        loop {
            {
                let mut waiting = self.0.lock();
                if let Some(item) = waiting.items.pop_front() {
                    self.0.left.notify_one();
                    return Some(item.decoded);
                }
                if waiting.closed {
                    return None;
                }
            }
            self.0.came.notified().await;
        }
    }
}

impl Drop for FrameReceiver {
    fn drop(&mut self) {
        let mut waiting = self.0.lock();
        waiting.closed = true;
        waiting.items.clear();
        self.0.left.notify_one();
    }
}

impl Queue {
    /// A panic elsewhere leaves the items whole, so a poisoned lock is as good.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until another frame may be put in.
    fn wait_for_room<'a>(&self, mut waiting: MutexGuard<'a, Waiting>) -> MutexGuard<'a, Waiting> {
        while !waiting.closed && waiting.frames() >= FRAMES_MAX {
            let late_in = match self.mode.get() {
                Mode::Live => waiting.late_in(Instant::now()),
                Mode::CatchUp => None,
            };
            waiting = match late_in {
                Some(Duration::ZERO) => return waiting,
                Some(wait) => self.left.wait_timeout(waiting, wait).unwrap_or_else(PoisonError::into_inner).0,
                None => self.left.wait(waiting).unwrap_or_else(PoisonError::into_inner),
            };
        }
        waiting
    }
}

impl Waiting {
    fn frames(&self) -> usize {
        self.items.iter().filter(|item| item.late_at.is_some()).count()
    }

    /// How long until the machine is behind with the oldest frame; zero: it is.
    fn late_in(&self, now: Instant) -> Option<Duration> {
        let oldest = self.items.iter().find_map(|item| item.late_at)?;
        Some(oldest.saturating_duration_since(now))
    }

    /// Appends `decoded` in its normal form; returns how many frames were dropped for it, and why.
    fn put(&mut self, decoded: Decoded, mode: Mode, now: Instant) -> Option<(usize, DropReason)> {
        match &decoded {
            Decoded::Frame(frame) => {
                let late_at = Some(self.playout.due(frame) + PATIENCE);
                let is_behind = mode == Mode::Live && self.late_in(now) == Some(Duration::ZERO);
                let dropped = if is_behind { self.fall_behind() } else { 0 };
                self.items.push_back(Item { decoded, late_at });
                Some((dropped, DropReason::Superseded))
            }
            Decoded::FragmentEnd { .. } => {
                self.put_marker(decoded);
                None
            }
            Decoded::Discontinuity => {
                let last_marker = self.items.iter().rposition(|item| item.late_at.is_none());
                let dropped = self.drop_frames_where(|at| Some(at) > last_marker);
                self.put_marker(decoded);
                Some((dropped, DropReason::Discontinuity))
            }
        }
    }

    /// Drops all frames. What a burst explained is used up: from here on a frame is due when it arrives.
    fn fall_behind(&mut self) -> usize {
        self.playout = Playout::default();
        self.drop_frames_where(|_| true)
    }

    /// Removes the frames at the places for which `goes` holds, and joins the markers that meet thereby.
    fn drop_frames_where(&mut self, goes: impl Fn(usize) -> bool) -> usize {
        let before = self.frames();
        for (at, item) in std::mem::take(&mut self.items).into_iter().enumerate() {
            match item.late_at {
                Some(_) if goes(at) => {}
                Some(_) => self.items.push_back(item),
                None => self.put_marker(item.decoded),
            }
        }
        before - self.frames()
    }

    fn put_marker(&mut self, marker: Decoded) {
        let joined = match (self.items.back().map(|item| &item.decoded), &marker) {
            (Some(Decoded::FragmentEnd { end, .. }), Decoded::FragmentEnd { .. }) => {
                let caught_up = end.caught_up;
                self.items.pop_back();
                having_caught_up(marker, caught_up)
            }
            (Some(Decoded::FragmentEnd { .. } | Decoded::Discontinuity), Decoded::Discontinuity) => return,
            (Some(Decoded::Frame(_) | Decoded::Discontinuity) | None, _) | (_, Decoded::Frame(_)) => marker,
        };
        self.items.push_back(Item { decoded: joined, late_at: None });
    }
}

/// A camera that had caught up at an earlier end has at the later one too.
fn having_caught_up(marker: Decoded, earlier: bool) -> Decoded {
    match marker {
        Decoded::FragmentEnd { mut end, sampler } => {
            end.caught_up |= earlier;
            Decoded::FragmentEnd { end, sampler }
        }
        Decoded::Frame(_) | Decoded::Discontinuity => marker,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::media::{
        CameraId, Color, Fragment, FragmentEnd, HostPicture, Matrix, Position, SamplerState, Surface,
    };

    /// An item of the queue, to compare.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Seen {
        Frame(i64),
        End(i64),
        Discontinuity,
    }
    use Seen::{Discontinuity, End, Frame as F};

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
                Decoded::FragmentEnd { end, sampler: SamplerState::default() }
            }
            Discontinuity => Decoded::Discontinuity,
        }
    }

    fn seen(item: &Decoded) -> Seen {
        match item {
            Decoded::Frame(frame) => F(frame.media.0),
            Decoded::FragmentEnd { end, .. } => End(end.fragment.number.parse().expect("a number")),
            Decoded::Discontinuity => Discontinuity,
        }
    }

    fn waiting(queue: &Waiting) -> Vec<Seen> {
        queue.items.iter().map(|item| seen(&item.decoded)).collect()
    }

    /// When frames that arrive now are late.
    fn too_late() -> Instant {
        Instant::now() + PATIENCE + BURST_MAX
    }

    fn put_all(mode: Mode, now: Instant, items: &[Seen]) -> Waiting {
        let mut queue = Waiting::default();
        for seen in items {
            queue.put(item(*seen), mode, now);
        }
        queue
    }

    #[test]
    fn what_waits_after_what_was_put() {
        use Mode::{CatchUp, Live};
        let (in_time, too_late) = (Instant::now(), too_late());
        type Case<'a> = (&'a str, Mode, Instant, &'a [Seen], &'a [Seen]);
        let cases: [Case; 9] = [
            ("in time nothing is replaced", Live, in_time, &[F(1), F(2), F(3)], &[F(1), F(2), F(3)]),
            ("newest frame wins", Live, too_late, &[F(1), F(2), F(3)], &[F(3)]),
            ("markers keep their place", Live, too_late, &[End(1), F(2), End(2)], &[End(1), F(2), End(2)]),
            ("ends that meet are the last", Live, too_late, &[End(1), F(2), End(2), F(3)], &[End(2), F(3)]),
            ("no frame is lost in catch-up", CatchUp, too_late, &[F(1), End(1), F(2)], &[F(1), End(1), F(2)]),
            ("ends without frames between", CatchUp, in_time, &[F(1), End(1), End(2)], &[F(1), End(2)]),
            (
                "the broken fragment goes",
                CatchUp,
                in_time,
                &[F(1), End(1), F(2), F(3), Discontinuity],
                &[F(1), End(1)],
            ),
            (
                "taken frames may be of it",
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
    fn frames_that_go_are_counted_with_their_reason() {
        let mut queue = put_all(Mode::CatchUp, Instant::now(), &[F(1), F(2), F(3)]);
        assert_eq!(queue.put(item(F(4)), Mode::Live, too_late()), Some((3, DropReason::Superseded)));
        assert_eq!(
            queue.put(item(Discontinuity), Mode::Live, too_late()),
            Some((1, DropReason::Discontinuity))
        );
    }

    /// By how much the last of the frames is late when it is due, ms after the first arrived: (media, arrived) in ms.
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
    fn a_burst_is_due_as_it_was_filmed_and_its_delay_is_worked_off() {
        type Case<'a> = (&'a str, &'a [(i64, u64)], &'a [u128]);
        let cases: [Case; 6] = [
            ("as filmed", &[(0, 0), (100, 100), (200, 210)], &[0, 100, 210]),
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

    /// What a task that follows the items has: committed end, and frames since then.
    fn follow(items: impl IntoIterator<Item = Seen>) -> (i64, Vec<i64>, Vec<i64>) {
        let (mut committed, mut kept, mut open) = (0, Vec::new(), Vec::new());
        for item in items {
            match item {
                F(number) => open.push(number),
                End(number) => {
                    committed = number;
                    kept.append(&mut open);
                }
                Discontinuity => open.clear(),
            }
        }
        (committed, kept, open)
    }

    fn any_items() -> impl Strategy<Value = Vec<(u8, bool)>> {
        prop::collection::vec((0..8_u8, any::<bool>()), 0..80)
    }

    proptest! {
        /// The taker ends where it would without a queue; live and behind, with a subset of those frames.
        #[test]
        fn the_taker_ends_as_without_a_queue(steps in any_items(), live in any::<bool>(), late in any::<bool>()) {
            let mode = if live { Mode::Live } else { Mode::CatchUp };
            let (mut queue, mut put, mut taken) = (Waiting::default(), Vec::new(), Vec::new());
            for (number, (kind, takes)) in (1..).zip(steps) {
                let next = match kind { 0 => Discontinuity, 1 | 2 => End(number), _ => F(number) };
                let now = if late { too_late() } else { Instant::now() };
                while !(live && late) && queue.frames() >= FRAMES_MAX {
                    taken.extend(queue.items.pop_front().map(|item| seen(&item.decoded)));
                }
                queue.put(item(next), mode, now);
                put.push(next);
                let (frames, most) = if live && late { (1, 4) } else { (FRAMES_MAX, 3 * FRAMES_MAX + 2) };
                prop_assert!(queue.frames() <= frames && queue.items.len() <= most, "{:?}", waiting(&queue));
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

    /// Live, all are in time: they arrive together, and last 100 s.
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
    async fn a_live_push_that_waits_replaces_what_is_late_and_then_waits_no_more() {
        let mode = Arc::new(ModeCell::new(Mode::Live));
        let (sender, receiver) = frame_queue(CameraStatus::alone(&CameraId::new("gate")), mode);
        let arrived =
            Instant::now().checked_sub(Duration::from_millis(980)).expect("the host runs for a second");
        let pushing =
            std::thread::spawn(move || (0..100).try_for_each(|number| sender.push(frame(number, arrived))));
        assert_eq!(pushing.join().expect("no panic"), Ok(()), "nobody takes any");
        let mut numbers = Vec::new();
        while let Some(item) = receiver.next().await {
            numbers.push(seen(&item));
        }
        assert!(numbers.len() <= FRAMES_MAX && numbers.last() == Some(&F(99)), "{numbers:?}");
    }

    #[test]
    fn a_push_fails_when_the_receiver_is_gone_also_one_that_waits() {
        let mode = Arc::new(ModeCell::new(Mode::CatchUp));
        let (sender, receiver) = frame_queue(CameraStatus::alone(&CameraId::new("gate")), mode);
        (0..4).try_for_each(|number| sender.push(item(F(number)))).expect("room");
        let (waits, is_waiting) = std::sync::mpsc::channel();
        let pushing = std::thread::spawn(move || {
            waits.send(()).expect("somebody listens");
            sender.push(item(F(4)))
        });
        is_waiting.recv().expect("the thread runs");
        drop(receiver);
        assert_eq!(pushing.join().expect("no panic"), Err(Closed));
    }
}
