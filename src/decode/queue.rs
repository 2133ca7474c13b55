//! The hand-over from the decode thread to the camera's task.
//!
//! Bounded in both modes. Live: at most one frame waits, a newer one replaces it. Catch-up: at most
//! four wait, and the decode thread with them. Markers are never dropped and keep their place among the
//! frames; where nothing stands between two of them they become one that means the same: of two ends the later counts (and the camera has caught up if it had at either),
//! of two discontinuities one is enough, and a discontinuity right after an end says nothing new.
//!
//! Ends: when the [`FrameSender`] goes, the receiver gets what waits and then `None`; when the [`FrameReceiver`] goes,
//! a push fails with [`Closed`], also one that waits.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::frame::Decoded;
use crate::telemetry::CameraBoard;
use crate::telemetry::decode::{DropReason, FramesDropped};

/// How many frames wait in catch-up before the decode thread does.
const CATCH_UP_FRAMES: usize = 4;

/// How a camera keeps up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// The newest frame wins; frames may be dropped.
    #[default]
    Live,
    /// No sampled frame is dropped; decoding waits.
    CatchUp,
}

/// A camera's mode, shared by those who set it and those who follow it.
#[derive(Debug)]
pub struct ModeCell(AtomicBool);

impl ModeCell {
    /// A cell that holds `mode`.
    #[must_use]
    pub fn new(mode: Mode) -> Self {
        Self(AtomicBool::new(mode == Mode::Live))
    }

    /// The mode now.
    #[must_use]
    pub fn get(&self) -> Mode {
        if self.0.load(Ordering::Acquire) { Mode::Live } else { Mode::CatchUp }
    }

    /// Changes the mode; a push that waits follows when the next frame is taken.
    pub fn set(&self, mode: Mode) {
        self.0.store(mode == Mode::Live, Ordering::Release);
    }
}

/// The other side of the queue is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the receiver of the decoded frames is gone")]
pub struct Closed;

/// The decode thread's side.
pub struct FrameSender(Arc<Queue>);

/// The camera task's side.
pub struct FrameReceiver(Arc<Queue>);

struct Queue {
    camera: CameraBoard,
    mode: Arc<ModeCell>,
    waiting: Mutex<Waiting>,
    /// Something came, or the sender went: for the one receiver.
    came: Notify,
    /// Something was taken, or the receiver went: for the one sender.
    left: Condvar,
}

#[derive(Default)]
struct Waiting {
    items: VecDeque<Decoded>,
    closed: bool,
}

/// An empty queue for `camera`.
#[must_use]
pub fn frame_queue(camera: CameraBoard, mode: Arc<ModeCell>) -> (FrameSender, FrameReceiver) {
    let waiting = Mutex::default();
    let queue = Arc::new(Queue { camera, mode, waiting, came: Notify::new(), left: Condvar::new() });
    (FrameSender(Arc::clone(&queue)), FrameReceiver(queue))
}

impl FrameSender {
    /// Puts `item` in; in catch-up, a frame waits until there is room. Blocks: not for async code.
    ///
    /// # Errors
    /// [`Closed`] when the receiver is gone.
    pub fn push(&self, item: Decoded) -> Result<(), Closed> {
        let queue = &self.0;
        let mut waiting = queue.lock();
        if matches!(item, Decoded::Frame(_)) {
            let is_full = |now: &mut Waiting| {
                !now.closed && queue.mode.get() == Mode::CatchUp && now.frames() >= CATCH_UP_FRAMES
            };
            waiting = queue.left.wait_while(waiting, is_full).unwrap_or_else(PoisonError::into_inner);
        }
        if waiting.closed {
            return Err(Closed);
        }
        let dropped = waiting.put(item, queue.mode.get());
        drop(waiting);
        queue.came.notify_one();
        if let Some((frames, reason)) = dropped {
            FramesDropped { camera: &queue.camera, frames, reason }.emit();
        }
        Ok(())
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
                    return Some(item);
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
}

impl Waiting {
    fn frames(&self) -> usize {
        self.items.iter().filter(|item| matches!(item, Decoded::Frame(_))).count()
    }

    /// Appends `item` in its normal form; tells how many frames went for it, and why.
    fn put(&mut self, item: Decoded, mode: Mode) -> Option<(usize, DropReason)> {
        match item {
            Decoded::Frame(_) => {
                let dropped = if mode == Mode::Live { self.drop_frames_where(|_| true) } else { 0 };
                self.items.push_back(item);
                Some((dropped, DropReason::Newer))
            }
            Decoded::FragmentEnd { .. } => {
                self.put_marker(item);
                None
            }
            Decoded::Discontinuity => {
                let last_marker = self.items.iter().rposition(|item| !matches!(item, Decoded::Frame(_)));
                let dropped = self.drop_frames_where(|at| Some(at) > last_marker);
                self.put_marker(item);
                Some((dropped, DropReason::Discontinuity))
            }
        }
    }

    /// Removes the frames at the places for which `goes` holds, and joins the markers that meet thereby.
    fn drop_frames_where(&mut self, goes: impl Fn(usize) -> bool) -> usize {
        let before = self.frames();
        for (at, item) in std::mem::take(&mut self.items).into_iter().enumerate() {
            match item {
                Decoded::Frame(_) if goes(at) => {}
                Decoded::Frame(_) => self.items.push_back(item),
                marker => self.put_marker(marker),
            }
        }
        before - self.frames()
    }

    fn put_marker(&mut self, marker: Decoded) {
        match (self.items.back(), &marker) {
            (Some(Decoded::FragmentEnd { end, .. }), Decoded::FragmentEnd { .. }) => {
                let caught_up = end.caught_up;
                self.items.pop_back();
                self.items.push_back(having_caught_up(marker, caught_up));
            }
            (Some(Decoded::FragmentEnd { .. } | Decoded::Discontinuity), Decoded::Discontinuity) => {}
            (Some(Decoded::Frame(_) | Decoded::Discontinuity) | None, _) | (_, Decoded::Frame(_)) => {
                self.items.push_back(marker);
            }
        }
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
    use std::time::Instant;

    use proptest::prelude::*;

    use super::*;
    use crate::decode::{Color, HostPicture, Matrix, SamplerState, Surface};
    use crate::frame::{CameraId, Fragment, FragmentEnd, Frame, MediaMs};

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

    fn item(seen: Seen) -> Decoded {
        match seen {
            F(number) => {
                let color = Color { matrix: Matrix::Bt601, full_range: false };
                let planes = [vec![0; 4], vec![0], vec![0]];
                let picture = HostPicture::from_planes((2, 2), planes, [2, 1, 1], color).expect("a picture");
                Decoded::Frame(Arc::new(Frame {
                    camera: CameraId::new("gate"),
                    fragment: fragment(0),
                    index: 0,
                    media: MediaMs(number),
                    arrived: Instant::now(),
                    surface: Surface::Host(picture),
                }))
            }
            End(number) => Decoded::FragmentEnd {
                end: FragmentEnd { fragment: fragment(number), behind_ms: None, caught_up: false },
                sampler: SamplerState::default(),
            },
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
        queue.items.iter().map(seen).collect()
    }

    fn put_all(mode: Mode, items: &[Seen]) -> Waiting {
        let mut queue = Waiting::default();
        for seen in items {
            queue.put(item(*seen), mode);
        }
        queue
    }

    #[test]
    fn what_waits_after_what_was_put() {
        use Mode::{CatchUp, Live};
        let cases: [(&str, Mode, &[Seen], &[Seen]); 8] = [
            ("newest frame wins", Live, &[F(1), F(2), F(3)], &[F(3)]),
            ("markers keep their place", Live, &[End(1), F(2), End(2)], &[End(1), F(2), End(2)]),
            ("ends that meet are the last", Live, &[End(1), F(2), End(2), F(3)], &[End(2), F(3)]),
            ("no frame is lost in catch-up", CatchUp, &[F(1), End(1), F(2)], &[F(1), End(1), F(2)]),
            ("ends without frames between", CatchUp, &[F(1), End(1), End(2)], &[F(1), End(2)]),
            (
                "the broken fragment goes",
                CatchUp,
                &[F(1), End(1), F(2), F(3), Discontinuity],
                &[F(1), End(1)],
            ),
            ("taken frames may be of it", CatchUp, &[F(2), Discontinuity, Discontinuity], &[Discontinuity]),
            ("read again", CatchUp, &[F(2), Discontinuity, F(2), End(2)], &[Discontinuity, F(2), End(2)]),
        ];
        for (name, mode, put, left) in cases {
            assert_eq!(waiting(&put_all(mode, put)), left, "{name}");
        }
    }

    #[test]
    fn frames_that_go_are_counted_with_their_reason() {
        let mut queue = put_all(Mode::CatchUp, &[F(1), F(2), F(3)]);
        assert_eq!(queue.put(item(F(4)), Mode::Live), Some((3, DropReason::Newer)));
        assert_eq!(queue.put(item(Discontinuity), Mode::Live), Some((1, DropReason::Discontinuity)));
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
        /// In catch-up the taker ends where it would without a queue; in live with a subset of those frames.
        #[test]
        fn the_taker_ends_as_without_a_queue(steps in any_items(), live in any::<bool>()) {
            let mode = if live { Mode::Live } else { Mode::CatchUp };
            let (mut queue, mut put, mut taken) = (Waiting::default(), Vec::new(), Vec::new());
            for (number, (kind, takes)) in (1..).zip(steps) {
                let next = match kind { 0 => Discontinuity, 1 | 2 => End(number), _ => F(number) };
                while mode == Mode::CatchUp && queue.frames() >= CATCH_UP_FRAMES {
                    taken.extend(queue.items.pop_front().as_ref().map(seen));
                }
                queue.put(item(next), mode);
                put.push(next);
                let (frames, most) = if live { (1, 4) } else { (CATCH_UP_FRAMES, 3 * CATCH_UP_FRAMES + 2) };
                prop_assert!(queue.frames() <= frames && queue.items.len() <= most, "{:?}", waiting(&queue));
                if takes {
                    taken.extend(queue.items.pop_front().as_ref().map(seen));
                }
            }
            taken.extend(waiting(&queue));
            let (got, wanted) = (follow(taken), follow(put));
            prop_assert_eq!(got.0, wanted.0);
            if live {
                prop_assert!(got.1.iter().all(|frame| wanted.1.contains(frame)));
                prop_assert_eq!(got.2.last(), wanted.2.last());
            } else {
                prop_assert_eq!(got, wanted);
            }
        }
    }

    #[tokio::test]
    async fn a_push_in_catch_up_waits_for_room() {
        let mode = Arc::new(ModeCell::new(Mode::CatchUp));
        let (sender, receiver) = frame_queue(CameraBoard::alone(&CameraId::new("gate")), mode);
        let pushing =
            std::thread::spawn(move || (0..100).try_for_each(|number| sender.push(item(F(number)))));
        let mut numbers = Vec::new();
        while let Some(item) = receiver.next().await {
            numbers.push(seen(&item));
        }
        assert_eq!(pushing.join().expect("no panic"), Ok(()));
        assert_eq!(numbers, (0..100).map(F).collect::<Vec<_>>());
    }

    #[test]
    fn a_push_fails_when_the_receiver_is_gone_also_one_that_waits() {
        let mode = Arc::new(ModeCell::new(Mode::CatchUp));
        let (sender, receiver) = frame_queue(CameraBoard::alone(&CameraId::new("gate")), mode);
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
