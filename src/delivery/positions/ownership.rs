//! The cameras that this process owns, and the writes of their positions.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OwnedMutexGuard;
use tokio_util::sync::CancellationToken;

use super::ahead::AheadRecord;
use super::table::{Fence, ItemChange, PositionItem, PositionTable, WriteError, resource};
use crate::aws::AwsFailure;
use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::delivery::delivery_progress::DeliveryProgress;
use crate::delivery::status::SinkGauge;
use crate::media::{CameraId, Position};
use crate::telemetry::publish as telemetry;

/// Limit on the cameras that are claimed at once when they start: more connections would be slower than the timeouts of
/// [`PositionTable`].
pub(in crate::delivery) const CLAIMS_AT_ONCE: usize = 64;
/// Limit on the writes of a camera in one round, where each of them finds that an earlier one had happened; and on the claims of one
/// camera.
pub(super) const MAX_TRIES: usize = 3;

/// The table of positions, and the cameras of this process in it.
pub(in crate::delivery) struct Positions {
    pub(in crate::delivery) table: PositionTable,
    /// Id of this outbox.
    pub(in crate::delivery) own: Arc<str>,
    pub(in crate::delivery) store: ::outbox::Outbox,
    /// All sinks of the outbox, with their names.
    pub(in crate::delivery) sinks: Vec<(Arc<str>, ::outbox::SinkHandle)>,
    pub(in crate::delivery) progress: Arc<DeliveryProgress>,
    pub(in crate::delivery) gauge: Arc<SinkGauge>,
    pub(in crate::delivery) cameras: Mutex<HashMap<CameraId, CameraOwnership>>,
    /// Permits to start a camera.
    pub(in crate::delivery) turns: tokio::sync::Semaphore,
}

/// A camera of this process and the part of it that is in the table.
#[derive(Debug, Default)]
pub(in crate::delivery) struct CameraOwnership {
    pub(super) claim: CameraClaim,
    /// Delivered checkpoint that is not in the table yet.
    pub(super) due: Option<Checkpoint>,
    /// The latest state that the table may hold: a successor resumes from it or from an earlier one. `None`: not known.
    pub(super) base: Option<Checkpoint>,
    /// The resumption whose records are not taken in yet.
    pub(super) adoption: Option<Resumption>,
    /// `seq` of the state that the table may hold ahead of its delivery.
    pub(super) ahead_seq: Option<u64>,
    /// `true` from a failed write-ahead until the table takes a write again: no event waits for it meanwhile.
    pub(super) is_table_away: bool,
    /// `true`: a successor starts at NOW and reads no older footage, so records that wait here are not left to it.
    starts_at_now: bool,
    /// `true` once the waiting records are left to the successor.
    pub(super) surrendered: bool,
    /// Cancelled to end the camera.
    stop: Option<CancellationToken>,
    taken_over: CancellationToken,
    /// Held during a commit of the camera.
    pub(super) committing: Arc<tokio::sync::Mutex<()>>,
    /// Held during a write of the camera's item: what is written last is what was decided last.
    writing: Arc<tokio::sync::Mutex<()>>,
}

/// The state at which a camera resumes, and the records that its last owner left in the table.
#[derive(Clone, Debug, Default)]
pub(in crate::delivery) struct Resumption {
    /// `None`: the camera's configuration decides.
    pub(in crate::delivery) checkpoint: Option<Checkpoint>,
    /// Records of the table that this outbox lacks.
    pub(in crate::delivery) adopted: Vec<AheadRecord>,
    /// The delivered state in the table, from which the footage of `adopted` is read.
    pub(in crate::delivery) delivered: Option<Checkpoint>,
}

/// The outcome of a write of a camera's item.
pub(super) enum Sent {
    /// The table has it.
    Done,
    /// Another process owns the camera.
    TakenOver(Takeover),
    /// The table may have it later, or never.
    Failed,
}

/// The owner of a camera, as far as this process knows.
#[derive(Clone, Debug, Default)]
pub(super) enum CameraClaim {
    /// This process has not started the camera.
    #[default]
    Unclaimed,
    /// The camera was started from this outbox while the table did not answer.
    Unfenced(Beginning),
    /// This process owns the camera.
    Held(Fence),
    /// Another process owns the camera.
    TakenOver(Takeover),
}

/// The state at which a camera was started without the table.
#[derive(Clone, Debug, Default)]
pub(super) struct Beginning {
    pub(super) position: Option<Position>,
    pub(super) seq: u64,
}

/// The process that owns a camera in place of this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Takeover {
    /// The id of its outbox.
    pub owner: String,
    /// The name of its host; empty in an item of an earlier version.
    pub host: String,
    /// The epoch of its claim.
    pub epoch: u64,
}

/// Reason why a position could not be claimed.
#[derive(Debug, thiserror::Error)]
pub(in crate::delivery) enum ClaimError {
    /// The table did not answer or refused; the claim is tried again.
    #[error("{0}")]
    Refused(String),
    /// This program cannot read the item.
    #[error("the position of camera {camera} in table {table} cannot be used: {source}")]
    Checkpoint { camera: String, table: String, source: CheckpointError },
    /// Another process owns the camera; this one does not claim it again.
    #[error("{0}")]
    TakenOver(Takeover),
}

impl CameraOwnership {
    /// Returns the state after which records are left to a successor; `None`: the camera is not taken over, or its successor possibly
    /// does not read the footage from there.
    pub(super) fn left_from(&self) -> Option<&Checkpoint> {
        let is_left = matches!(self.claim, CameraClaim::TakenOver(_)) && !self.starts_at_now;
        self.base.as_ref().filter(|_| is_left)
    }
}

impl fmt::Display for Takeover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { owner, host, epoch } = self;
        let host = if host.is_empty() { "another host" } else { host };
        write!(
            f,
            "it was taken over by {host} (outbox {owner}, epoch {epoch}), and this process has stopped reading and \
             publishing it; end one of the two, or restart this one to take the camera back"
        )
    }
}

impl Positions {
    /// Connects a running camera: `stop` is cancelled when another process takes it over. `starts_at_now`: a successor starts at NOW.
    pub(in crate::delivery) fn attach(
        &self,
        camera: &CameraId,
        stop: CancellationToken,
        starts_at_now: bool,
    ) {
        let mut cameras = self.lock();
        let ownership = cameras.entry(camera.clone()).or_default();
        // The takeover may have been found after `resume`, when there was no token to cancel yet.
        if let CameraClaim::TakenOver(_) = ownership.claim {
            stop.cancel();
        }
        (ownership.stop, ownership.starts_at_now) = (Some(stop), starts_at_now);
    }

    /// Returns the process that took the camera over, if any.
    pub(in crate::delivery) fn taken_over(&self, camera: &CameraId) -> Option<Takeover> {
        match &self.lock().get(camera)?.claim {
            CameraClaim::TakenOver(by) => Some(by.clone()),
            _ => None,
        }
    }

    /// Admits a commit of the camera while the guard lives, and returns the token that a takeover cancels. `None`: the camera was taken
    /// over.
    pub(in crate::delivery) async fn admit(
        &self,
        camera: &CameraId,
    ) -> Option<(OwnedMutexGuard<()>, CancellationToken)> {
        let (committing, taken_over) = {
            let mut cameras = self.lock();
            let ownership = cameras.entry(camera.clone()).or_default();
            (Arc::clone(&ownership.committing), ownership.taken_over.clone())
        };
        // Checked with the guard: a takeover may end while this commit waits for the one before.
        let guard = committing.lock_owned().await;
        (!taken_over.is_cancelled()).then_some((guard, taken_over))
    }

    /// Returns the lock under which the camera's item is written.
    pub(super) fn writing(&self, camera: &CameraId) -> Arc<tokio::sync::Mutex<()>> {
        Arc::clone(&self.lock().entry(camera.clone()).or_default().writing)
    }

    /// Changes the item of a camera that this process owns. To be called under the lock of [`Self::writing`].
    pub(super) async fn send(&self, camera: &CameraId, change: &ItemChange) -> Sent {
        let Some(mut fence) = self.fence(camera) else { return self.no_owner(camera) };
        for _ in 0..MAX_TRIES {
            match self.table.write(camera, fence, change).await {
                Ok(_) => return self.sent(camera, fence.next()),
                Err(WriteError::Failure(failure)) => {
                    self.failed(&failure);
                    return Sent::Failed;
                }
                // An operator has deleted the item: it is claimed again, as after an outage.
                Err(WriteError::Fenced(None)) => return self.is_gone(camera),
                Err(WriteError::Fenced(Some(item))) if !self.is_ours(&item, fence) => {
                    return Sent::TakenOver(self.replaced(camera, &item));
                }
                // The answer to an earlier write was lost; if to this one, it is done.
                Err(WriteError::Fenced(Some(item))) if change.is_in(&item) => {
                    return self.sent(camera, item.fence());
                }
                Err(WriteError::Fenced(Some(item))) => fence = item.fence(),
            }
        }
        // Keeps the newest fence for the next write.
        self.sent(camera, fence);
        Sent::Failed
    }

    fn fence(&self, camera: &CameraId) -> Option<Fence> {
        match self.lock().get(camera)?.claim {
            CameraClaim::Held(fence) => Some(fence),
            _ => None,
        }
    }

    /// Returns the outcome for a camera that this process does not own, or not yet.
    fn no_owner(&self, camera: &CameraId) -> Sent {
        self.taken_over(camera).map_or(Sent::Failed, Sent::TakenOver)
    }

    fn sent(&self, camera: &CameraId, fence: Fence) -> Sent {
        let mut cameras = self.lock();
        let ownership = cameras.entry(camera.clone()).or_default();
        if let CameraClaim::Held(_) = ownership.claim {
            ownership.claim = CameraClaim::Held(fence);
        }
        ownership.is_table_away = false;
        Sent::Done
    }

    /// Returns whether the item belongs to the same claim as `fence`, which no other process can have.
    fn is_ours(&self, item: &PositionItem, fence: Fence) -> bool {
        self.table.is_own(item) && item.epoch == fence.epoch
    }

    fn is_gone(&self, camera: &CameraId) -> Sent {
        let mut cameras = self.lock();
        let ownership = cameras.entry(camera.clone()).or_default();
        // Compared with an item that another process may create before this one claims again.
        let beginning = Beginning::of(ownership.base.take().as_ref());
        (ownership.claim, ownership.ahead_seq) = (CameraClaim::Unfenced(beginning), None);
        Sent::Failed
    }

    pub(super) fn failed(&self, failure: &AwsFailure) -> bool {
        self.gauge.failing(&failure.code, &self.advice(failure), 1);
        false
    }

    /// Ends a camera that another process owns: no commit of it is taken in any more.
    pub(super) fn replaced(&self, camera: &CameraId, item: &PositionItem) -> Takeover {
        let by = Takeover { owner: item.owner.clone(), host: item.host.clone(), epoch: item.epoch };
        let mut cameras = self.lock();
        let ownership = cameras.entry(camera.clone()).or_default();
        if let CameraClaim::TakenOver(by) = &ownership.claim {
            return by.clone();
        }
        ownership.claim = CameraClaim::TakenOver(by.clone());
        // First the token that health checks read, so that the ended task does not count as a failure.
        ownership.stop.iter().for_each(CancellationToken::cancel);
        ownership.taken_over.cancel();
        if let Some(base) = ownership.left_from() {
            self.progress.leave_out(camera, base.decide.seq());
        }
        drop(cameras);
        telemetry::CameraTakenOver { camera, by: &by.to_string() }.emit();
        by
    }

    pub(super) fn advice(&self, failure: &AwsFailure) -> String {
        resource(&self.table.name).explain(failure)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, HashMap<CameraId, CameraOwnership>> {
        self.cameras.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
