//! Leaves waiting records to the process that took their camera over.
//!
//! Required sinks have all records up to the delivered state in the table, the camera's `base`. The new owner finds the records that
//! still wait in the table (`ahead`) and makes all later ones itself; where nothing was written ahead, it makes all records after
//! `base` again, in catch-up under the same ids. Delivered from here too, they would arrive twice. Records up to `base` are still
//! delivered to the best-effort sinks: no one else has them. First the camera's own checkpoint goes back to `base`, and only when that is durable are records
//! dropped: a restart of this process never resumes after records that were never made.
//!
//! All records are still delivered from here where the successor might not read that footage: it starts at NOW, or the table has no
//! position yet, or this process has not claimed the camera so far. Those that it finds in the table then arrive twice, under one id.

use std::collections::HashMap;
use std::sync::Arc;

use super::ownership::Positions;
use super::round::INTERVAL;
use crate::checkpoint::Checkpoint;
use crate::delivery::backlog::each_waiting;
use crate::delivery::delivery_progress::DeliveryProgress;
use crate::media::CameraId;
use crate::telemetry::publish as telemetry;

/// A camera whose waiting records are left to its new owner.
struct Surrender {
    camera: CameraId,
    /// The latest state at which the new owner resumes.
    base: Checkpoint,
    committing: Arc<tokio::sync::Mutex<()>>,
}

impl Positions {
    /// Leaves the waiting records of cameras that were taken over to their new owners, once per camera.
    pub(super) async fn surrender(&self) {
        let surrenders = self.surrenders();
        if surrenders.is_empty() || !self.step_back(&surrenders).await {
            return;
        }
        let (store, sinks) = (self.store.clone(), self.sinks.clone());
        let progress = Arc::clone(&self.progress);
        let drop_records = move || drop_left_out(&store, &sinks, &progress);
        if let Ok(Ok(dropped)) = tokio::task::spawn_blocking(drop_records).await {
            let mut cameras = self.lock();
            for Surrender { camera, .. } in &surrenders {
                cameras.entry(camera.clone()).or_default().surrendered = true;
                let records = dropped.get(camera).copied().unwrap_or(0);
                telemetry::RecordsLeft { camera, records }.emit();
            }
        }
    }

    fn surrenders(&self) -> Vec<Surrender> {
        let mut surrenders = Vec::new();
        for (camera, ownership) in &*self.lock() {
            if let Some(base) = ownership.left_from().filter(|_| !ownership.surrendered) {
                let (camera, committing) = (camera.clone(), Arc::clone(&ownership.committing));
                surrenders.push(Surrender { camera, base: base.clone(), committing });
            }
        }
        surrenders
    }

    /// Sets the cameras' own checkpoints back to their bases, and returns whether that is durable.
    async fn step_back(&self, surrenders: &[Surrender]) -> bool {
        for Surrender { camera, base, committing } in surrenders {
            // A commit that is under way would replace the checkpoint that is set back here.
            let _no_commit = committing.lock().await;
            let Ok(bytes) = base.to_bytes() else { return false };
            let source = camera.as_str().to_owned();
            let back =
                ::outbox::OutboxCommit { source, checkpoint: Some(bytes), entries: Vec::new(), urgent: true };
            if self.store.commit(back).await.is_err() {
                // The outbox is closed.
                return false;
            }
        }
        // A failing disk does not hold up the other cameras: this is repeated with the next round.
        tokio::time::timeout(INTERVAL, self.store.flush()).await.is_ok()
    }
}

/// Removes the records that are left out (see [`DeliveryProgress::leave_out`]) from the queue of every sink, and returns their number
/// per camera. Blocks for the disk.
fn drop_left_out(
    store: &::outbox::Outbox,
    sinks: &[(Arc<str>, ::outbox::SinkHandle)],
    progress: &DeliveryProgress,
) -> Result<HashMap<CameraId, u64>, ::outbox::ReadError> {
    let mut dropped = HashMap::new();
    for (name, sink) in sinks {
        each_waiting(store, *sink, |record| {
            if progress.is_left_out(&record.camera, record.header.seq, name) {
                store.ack(*sink, &[record.id]);
                *dropped.entry(record.camera).or_default() += 1;
            }
        })?;
    }
    Ok(dropped)
}
