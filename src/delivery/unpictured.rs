//! Adopted records that wait for their pictures.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::outbox_record::OutboxRecord;
use crate::media::{CameraId, Event};

/// The adopted records of all cameras whose pictures are to be made again.
#[derive(Debug, Default)]
pub(super) struct UnpicturedRecords {
    /// `false`: there are none.
    any: AtomicBool,
    records: Mutex<HashMap<CameraId, Vec<UnpicturedRecord>>>,
}

/// An adopted record whose pictures are to be made again.
#[derive(Debug)]
pub(super) struct UnpicturedRecord {
    pub(super) record: OutboxRecord,
    pub(super) event: Event,
    /// The names of the sinks that store pictures.
    pub(super) sinks: Vec<Arc<str>>,
    /// The time at which it was adopted.
    pub(super) since: Instant,
}

impl UnpicturedRecords {
    /// Sets the records of a camera that starts.
    pub(super) fn set(&self, camera: &CameraId, records: Vec<UnpicturedRecord>) {
        let mut all = self.lock();
        if records.is_empty() {
            all.remove(camera);
        } else {
            all.insert(camera.clone(), records);
        }
        self.any.store(!all.is_empty(), Ordering::Release);
    }

    /// Returns whether records of the camera wait for their pictures.
    pub(super) fn has(&self, camera: &CameraId) -> bool {
        // Asked for each frame.
        self.any.load(Ordering::Acquire) && self.lock().contains_key(camera)
    }

    /// Returns the cameras with records that were adopted before `time`.
    pub(super) fn cameras_before(&self, time: Instant) -> Vec<CameraId> {
        let is_due = |records: &[UnpicturedRecord]| records.iter().any(|record| record.since < time);
        let all = self.lock();
        all.iter().filter(|(_, records)| is_due(records)).map(|(camera, _)| camera.clone()).collect()
    }

    /// Removes and returns the camera's records for which `is_wanted` holds.
    pub(super) fn take(
        &self,
        camera: &CameraId,
        is_wanted: impl Fn(&Event) -> bool,
    ) -> Vec<UnpicturedRecord> {
        if !self.has(camera) {
            return Vec::new();
        }
        let records = self.lock().remove(camera).unwrap_or_default();
        let (wanted, others) = records.into_iter().partition(|record| is_wanted(&record.event));
        self.set(camera, others);
        wanted
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<CameraId, Vec<UnpicturedRecord>>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
