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
mod tests;
