//! Adopted records that wait for their pictures.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::outbox_record::OutboxRecord;
use crate::media::{CameraId, Event};

/// The adopted records of all cameras whose pictures are to be made again.
#[derive(Debug, Default)]
pub(super) struct Unpictured {
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
}

impl Unpictured {
    /// Adds the records of a camera that starts.
    pub(super) fn add(&self, camera: &CameraId, records: Vec<UnpicturedRecord>) {
        self.any.fetch_or(!records.is_empty(), Ordering::Release);
        self.lock().insert(camera.clone(), records);
    }

    /// Removes and returns the camera's records for which `is_wanted` holds.
    pub(super) fn take(
        &self,
        camera: &CameraId,
        is_wanted: impl Fn(&Event) -> bool,
    ) -> Vec<UnpicturedRecord> {
        // Asked for each frame.
        if !self.any.load(Ordering::Acquire) {
            return Vec::new();
        }
        let mut all = self.lock();
        let Some(records) = all.remove(camera) else { return Vec::new() };
        let (wanted, others): (Vec<_>, Vec<_>) =
            records.into_iter().partition(|record| is_wanted(&record.event));
        if !others.is_empty() {
            all.insert(camera.clone(), others);
        }
        self.any.store(!all.is_empty(), Ordering::Release);
        wanted
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<CameraId, Vec<UnpicturedRecord>>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
