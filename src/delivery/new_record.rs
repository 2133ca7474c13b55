//! A commit of a camera, before it is taken in.

use std::sync::Arc;

use super::delivery_progress::UnacceptedRecord;
use crate::checkpoint::Checkpoint;
use crate::media::{CameraId, Event};

/// An event with its pictures, to be committed.
#[derive(Debug)]
pub struct NewRecord {
    pub(super) event: Event,
    pub(super) entry: ::outbox::NewEntry,
    pub(super) sinks: Vec<Arc<str>>,
}

impl NewRecord {
    /// Returns the event as it is delivered.
    #[must_use]
    pub fn event(&self) -> &Event {
        &self.event
    }

    /// Returns the bytes that the record takes in memory.
    pub(super) fn len_bytes(&self) -> usize {
        let pictures: usize = self.entry.attachments.iter().map(bytes::Bytes::len).sum();
        self.entry.payload.len() + pictures
    }

    /// Returns the record as no sink has accepted it yet.
    pub(super) fn unaccepted(&self) -> UnacceptedRecord {
        let Self { event, entry, sinks } = self;
        let payload = entry.payload.clone();
        UnacceptedRecord { seq: event.seq, holder: None, payload, sinks: sinks.clone() }
    }
}

/// A camera's checkpoint, and the events that were made up to it: committed together or not at all.
#[derive(Debug)]
pub struct CameraCommit {
    /// The camera.
    pub camera: CameraId,
    /// The epoch under which this worker owns a shared camera; `None` in single mode.
    pub epoch: Option<u64>,
    /// The state after these events.
    pub checkpoint: Checkpoint,
    /// Events, in the order of their `seq`.
    pub events: Vec<NewRecord>,
}
