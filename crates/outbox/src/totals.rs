//! The sizes of the queues, and the limits that a transaction keeps them to.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The pending entries of one sink.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct QueueTotals {
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
    /// The time at which the oldest of them was committed.
    pub(crate) oldest: Option<SystemTime>,
}

/// The pending entries by sink name. A sink without any may be missing.
pub(crate) type PendingTotals = BTreeMap<String, QueueTotals>;

/// The part of a [`SinkSpec`](crate::SinkSpec) that a transaction needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SinkQuota {
    pub(crate) name: String,
    pub(crate) takes_attachments: bool,
    /// Beyond this the oldest entries are dropped; `None`: never.
    pub(crate) max_bytes: Option<u64>,
}

impl QueueTotals {
    pub(crate) fn add(&mut self, bytes: u64) {
        self.entries += 1;
        self.bytes = self.bytes.saturating_add(bytes);
    }

    pub(crate) fn remove(&mut self, bytes: u64) {
        self.entries = self.entries.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

/// Returns the time of a row. A time that the system cannot represent is taken as 1970: it only dates the queue.
pub(crate) fn time_of(millis: u64) -> SystemTime {
    UNIX_EPOCH.checked_add(Duration::from_millis(millis)).unwrap_or(UNIX_EPOCH)
}
