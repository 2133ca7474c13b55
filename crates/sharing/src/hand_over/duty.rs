//! The stages of a worker's side of one camera.

use crate::item::OwnerAfter;
use crate::limits::{FORCE_MS, HAND_OVER_READ_MS};
use crate::owner::Owner;

/// Interval at which a next owner reads the item when the hand-over takes longer than expected.
const SLOW_READ_MS: u64 = 1_000;

/// A worker's side of one camera.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum CameraDuty {
    /// The item is being read.
    Reading {
        retry_at_ms: Option<u64>,
    },
    Warm(WarmDuty),
    Running(Box<RunningDuty>),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct WarmDuty {
    pub(super) epoch: u64,
    pub(super) since_ms: u64,
    pub(super) is_warm: bool,
    /// The time of the next call on the item; `None` while one is under way or none is needed.
    pub(super) call_due_ms: Option<u64>,
    pub(super) is_announced: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct RunningDuty {
    pub(super) owner: Owner,
    /// The time of the next read of the item; `None` while one is under way or none is needed.
    pub(super) read_due_ms: Option<u64>,
    pub(super) is_releasing: bool,
    pub(super) is_held: bool,
    pub(super) stop: StopStage,
}

/// The stages of a running camera's end.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum StopStage {
    Running,
    /// The camera was asked to stop; this is the owner after the final write.
    Stopping(OwnerAfter),
    /// The owner makes the final write.
    Ending,
}

impl CameraDuty {
    /// Returns `true` if a call on the item is due, and counts it as made.
    pub(super) fn take_due(&mut self, now_ms: u64) -> bool {
        let due_ms = match self {
            Self::Reading { retry_at_ms } => retry_at_ms,
            Self::Warm(duty) => &mut duty.call_due_ms,
            Self::Running(duty) => &mut duty.read_due_ms,
        };
        due_ms.take_if(|at| now_ms >= *at).is_some()
    }

    pub(super) fn wake_at(&self) -> Option<u64> {
        match self {
            Self::Reading { retry_at_ms } => *retry_at_ms,
            Self::Warm(duty) => duty.call_due_ms,
            Self::Running(duty) => [duty.read_due_ms, duty.owner.wake_at()].into_iter().flatten().min(),
        }
    }
}

impl WarmDuty {
    pub(super) fn read_interval_ms(&self, now_ms: u64) -> u64 {
        if now_ms < self.since_ms + FORCE_MS { HAND_OVER_READ_MS } else { SLOW_READ_MS }
    }
}
