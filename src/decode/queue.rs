//! The hand-over from the decode thread to the camera's task.
//!
//! Bounded in both modes. Live: at most one frame waits, a newer one replaces it. Catch-up: at most
//! four wait, and the decode thread with them. Markers are never dropped and keep their place among the
//! frames; where nothing stands between two of them they become one that means the same: of two ends the later counts,
//! of two discontinuities one is enough, and a discontinuity right after an end says nothing new.
//!
//! Ends: when the [`FrameSender`] goes, the receiver gets what waits and then `None`; when the [`FrameReceiver`] goes,
//! a push fails with [`Closed`], also one that waits.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::frame::{CameraId, Decoded};
use crate::telemetry::decode::{DropReason, FramesDropped};

/// How many frames wait in catch-up before the decode thread does.
const CATCH_UP_FRAMES: usize = 4;

/// How a camera keeps up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// The newest frame wins; frames may be dropped.
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
    camera: CameraId,
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
pub fn frame_queue(camera: CameraId, mode: Arc<ModeCell>) -> (FrameSender, FrameReceiver) {
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
            (Some(Decoded::FragmentEnd { .. }), Decoded::FragmentEnd { .. }) => {
                self.items.pop_back();
                self.items.push_back(marker);
            }
            (Some(Decoded::FragmentEnd { .. } | Decoded::Discontinuity), Decoded::Discontinuity) => {}
            (Some(Decoded::Frame(_) | Decoded::Discontinuity) | None, _) | (_, Decoded::Frame(_)) => {
                self.items.push_back(marker)
            }
        }
    }
}
