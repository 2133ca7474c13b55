//! The events of a simulated world, in the order of their times.

use sharing::{CameraKey, PendingRecord, TableAnswer, TableCall};

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum WorldEvent {
    Wake(usize),
    Request { call: TableCall, asker: Option<usize> },
    Answer { worker: usize, call: TableCall, answer: TableAnswer },
    Deliver { camera: CameraKey, epoch: u64, records: Vec<PendingRecord> },
    Sent { worker: usize, camera: CameraKey, epoch: u64, up_to: u64 },
    Step { worker: usize, camera: CameraKey, instance: u64 },
    Warmed { worker: usize, camera: CameraKey, instance: u64 },
    Join,
    Crash { worker: usize, is_restarted: bool },
    Pause { worker: usize, for_ms: u64 },
    Continue(usize),
    Drain(usize),
    Cut { worker: usize, for_ms: u64 },
    TableAway { for_ms: u64 },
    SinkAway { for_ms: u64 },
}

/// An event and its time; the number keeps events of one time in order.
pub(crate) struct Scheduled(pub(crate) u64, pub(crate) u64, pub(crate) WorldEvent);

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        (self.0, self.1) == (other.0, other.1)
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.0, self.1).cmp(&(other.0, other.1))
    }
}

/// Returns the worker that an event is for.
pub(crate) fn target(event: &WorldEvent) -> Option<usize> {
    match event {
        WorldEvent::Wake(worker)
        | WorldEvent::Answer { worker, .. }
        | WorldEvent::Sent { worker, .. }
        | WorldEvent::Step { worker, .. }
        | WorldEvent::Warmed { worker, .. }
        | WorldEvent::Crash { worker, .. }
        | WorldEvent::Pause { worker, .. }
        | WorldEvent::Continue(worker)
        | WorldEvent::Drain(worker)
        | WorldEvent::Cut { worker, .. } => Some(*worker),
        WorldEvent::Request { .. }
        | WorldEvent::Deliver { .. }
        | WorldEvent::Join
        | WorldEvent::TableAway { .. }
        | WorldEvent::SinkAway { .. } => None,
    }
}
