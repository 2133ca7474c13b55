//! Leaves records that wait here to the process that took their camera over.
//!
//! A new owner resumes from the table's state, which is the camera's `base` or an earlier one. Required sinks have all
//! records up to `base`; so what waits for them, and records after `base` wherever they wait, the new owner makes itself, in
//! catch-up under the same ids. Delivered from here too, they would come twice. Records up to `base` are still delivered to
//! the best-effort sinks: they are not made again. First the camera's own checkpoint goes back to `base`, and only when that
//! is durable are records forgotten: a restart of this process never resumes after records that were never made.
//!
//! All is still delivered from here where the successor may not read that footage: it starts at NOW, or the table has no
//! position yet, or this process has not claimed the camera so far.

use std::collections::HashMap;
use std::sync::Arc;

use super::{INTERVAL, Positions};
use crate::checkpoint::Checkpoint;
use crate::delivery::delivery_progress::DeliveryProgress;
use crate::delivery::outbox_record::OutboxRecord;
use crate::media::CameraId;
use crate::telemetry::publish as telemetry;

/// Entries read in one go.
const MAX_ENTRIES: usize = 1_000;
/// Their bytes.
const MAX_BYTES: u64 = 16 * 1024 * 1024;

/// A camera whose waiting records are left to its new owner.
struct Surrender {
    camera: CameraId,
    /// Where the new owner resumes at the latest.
    base: Checkpoint,
    committing: Arc<tokio::sync::Mutex<()>>,
}

impl Positions {
    /// Leaves what waits here of cameras that were taken over to their new owners, each once.
    pub(crate) async fn surrender(&self) {
        let surrenders = self.surrenders();
        if surrenders.is_empty() || !self.step_back(&surrenders).await {
            return;
        }
        let (store, sinks) = (self.store.clone(), self.sinks.clone());
        let progress = Arc::clone(&self.progress);
        let forget = move || forget(&store, &sinks, &progress);
        if let Ok(Ok(forgotten)) = tokio::task::spawn_blocking(forget).await {
            let mut cameras = self.lock();
            for Surrender { camera, .. } in &surrenders {
                cameras.entry(camera.clone()).or_default().surrendered = true;
                let records = forgotten.get(camera).copied().unwrap_or(0);
                telemetry::RecordsLeft { camera, records }.emit();
            }
        }
    }

    fn surrenders(&self) -> Vec<Surrender> {
        let mut surrenders = Vec::new();
        for (camera, standing) in &*self.lock() {
            if let Some(base) = standing.left_from().filter(|_| !standing.surrendered) {
                let (camera, committing) = (camera.clone(), Arc::clone(&standing.committing));
                surrenders.push(Surrender { camera, base: base.clone(), committing });
            }
        }
        surrenders
    }

    /// Puts the cameras' own checkpoints back to their bases; whether that is durable.
    async fn step_back(&self, surrenders: &[Surrender]) -> bool {
        for Surrender { camera, base, committing } in surrenders {
            let _no_commit = committing.lock().await;
            let Ok(bytes) = base.to_bytes() else { return false };
            let source = camera.as_str().to_owned();
            let back =
                ::outbox::Commit { source, checkpoint: Some(bytes), entries: Vec::new(), urgent: true };
            if self.store.commit(back).await.is_err() {
                // The outbox is closed.
                return false;
            }
        }
        // A disk in trouble does not hold up the other cameras: again with the next round.
        tokio::time::timeout(INTERVAL, self.store.settled()).await.is_ok()
    }
}

/// Takes the records that are left out (see [`DeliveryProgress::leave_out`]) off the queue of every sink, and returns how many
/// that were, by camera. Blocks for the disk.
fn forget(
    store: &::outbox::Outbox,
    sinks: &[(Arc<str>, ::outbox::Sink)],
    progress: &DeliveryProgress,
) -> Result<HashMap<CameraId, u64>, ::outbox::ReadError> {
    let mut forgotten = HashMap::new();
    for (name, sink) in sinks {
        each_waiting(store, *sink, |record| {
            if progress.is_left_out(&record.camera, record.header.seq, name) {
                store.ack(*sink, &[record.id]);
                *forgotten.entry(record.camera).or_default() += 1;
            }
        })?;
    }
    Ok(forgotten)
}

/// Calls `act` with each event that waits for a sink. Blocks for the disk.
pub(crate) fn each_waiting(
    store: &::outbox::Outbox,
    sink: ::outbox::Sink,
    mut act: impl FnMut(OutboxRecord),
) -> Result<(), ::outbox::ReadError> {
    let mut after = None;
    loop {
        let entries = store.pending(sink, after, MAX_ENTRIES, MAX_BYTES)?;
        let Some(last) = entries.last() else { return Ok(()) };
        after = Some(last.id);
        entries.into_iter().filter_map(|entry| OutboxRecord::decode(entry).ok()).for_each(&mut act);
    }
}
