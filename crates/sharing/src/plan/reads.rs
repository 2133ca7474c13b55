//! The leader's reads of items: those that it does not know yet, those in a hand-over, and a slow audit of all.

use super::PoolDirector;
use crate::ids::CameraKey;
use crate::limits::{AUDIT_MS, MAX_ITEMS_PER_READ, MOVE_READ_MS};
use crate::table::TableCall;

/// Delay after a failed read of many items.
pub(super) const BULK_RETRY_MS: u64 = 500;
/// Number of reads of many items under way.
const MAX_BULK_READS: usize = 4;
/// Interval between two parts of the audit.
pub(super) const AUDIT_STEP_MS: u64 = 10_000;

impl PoolDirector {
    pub(super) fn read_unknown(&mut self, now_ms: u64) -> Vec<TableCall> {
        let mut calls = Vec::new();
        if now_ms < self.bulk_retry_ms {
            return calls;
        }
        while self.bulk_reads < MAX_BULK_READS {
            let unknown =
                self.cameras.iter_mut().filter(|(_, view)| view.item.is_none() && !view.is_being_read);
            let cameras: Vec<_> = unknown
                .take(MAX_ITEMS_PER_READ)
                .map(|(camera, view)| {
                    view.is_being_read = true;
                    camera.clone()
                })
                .collect();
            if cameras.is_empty() {
                break;
            }
            self.bulk_reads += 1;
            calls.push(TableCall::ReadItems { cameras });
        }
        calls
    }

    pub(super) fn read_offers(&mut self, now_ms: u64) -> Vec<TableCall> {
        let mut calls = Vec::new();
        for (camera, view) in &mut self.cameras {
            let Some(offer) = view.offer.as_mut().filter(|offer| now_ms >= offer.read_due_ms) else {
                continue;
            };
            offer.read_due_ms = now_ms + MOVE_READ_MS;
            if !view.is_being_read {
                view.is_being_read = true;
                calls.push(TableCall::ReadItem { camera: camera.clone() });
            }
        }
        calls
    }

    /// Reads a part of the items again, so that each is read once per [`AUDIT_MS`].
    pub(super) fn audit(&mut self, now_ms: u64) -> Vec<TableCall> {
        if now_ms < self.audit_due_ms {
            return Vec::new();
        }
        self.audit_due_ms = now_ms + AUDIT_STEP_MS;
        let steps = usize::try_from(AUDIT_MS / AUDIT_STEP_MS).unwrap_or(1).max(1);
        let cameras = self.next_for_audit(self.cameras.len().div_ceil(steps));
        let calls =
            cameras.chunks(MAX_ITEMS_PER_READ).map(|part| TableCall::ReadItems { cameras: part.to_vec() });
        let calls: Vec<_> = calls.collect();
        self.bulk_reads += calls.len();
        calls
    }

    pub(super) fn next_for_audit(&mut self, count: usize) -> Vec<CameraKey> {
        let after = self.audit_after.take();
        let is_later = |camera: &&CameraKey| after.as_ref().is_none_or(|after| *camera > after);
        let cameras: Vec<_> = self.cameras.keys().filter(is_later).take(count).cloned().collect();
        self.audit_after = cameras.last().cloned().filter(|_| cameras.len() == count);
        cameras
    }
}
