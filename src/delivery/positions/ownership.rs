//! The cameras that this process owns, and the writes of their positions.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::OwnedMutexGuard;
use tokio_util::sync::CancellationToken;

use super::table::{Fence, PackedPosition, PositionItem, PositionTable, WriteError, resource};
use crate::aws::AwsFailure;
use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::delivery::delivery_progress::DeliveryProgress;
use crate::delivery::status::SinkGauge;
use crate::media::{CameraId, Position, fragment_order};
use crate::telemetry::publish as telemetry;

/// Interval between two writes of a camera. A lost disk costs this much footage read again, and DynamoDB charges each write: at 10 s,
/// a camera causes 260,000 writes per month.
pub(super) const INTERVAL: Duration = Duration::from_secs(10);
/// Delay of a round from which on the process or its host counts as suspended: it may have been replaced meanwhile.
const LATE: Duration = Duration::from_secs(2);
/// Limit on the writes under way at once.
const WRITES_AT_ONCE: usize = 16;
/// Limit on the cameras that are claimed at once when they start: more connections would be slower than the timeouts of
/// [`PositionTable`].
pub(in crate::delivery) const CLAIMS_AT_ONCE: usize = 64;
/// Limit on the writes of a camera in one round, where each of them finds that an earlier one had happened; and on the claims of one
/// camera.
const MAX_TRIES: usize = 3;

/// The table of positions, and the cameras of this process in it.
pub(in crate::delivery) struct Positions {
    pub(in crate::delivery) table: PositionTable,
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
    claim: CameraClaim,
    /// Delivered checkpoint that is not in the table yet.
    due: Option<Checkpoint>,
    /// The latest state that the table may hold: a successor resumes from it or from an earlier one. `None`: not known.
    pub(super) base: Option<Checkpoint>,
    /// `true`: a successor starts at NOW and reads no older footage, so records that wait here are not left to it.
    starts_at_now: bool,
    /// `true` once the waiting records are left to the successor.
    pub(super) surrendered: bool,
    /// Cancelled to end the camera.
    stop: Option<CancellationToken>,
    taken_over: CancellationToken,
    /// Held during a commit of the camera.
    pub(super) committing: Arc<tokio::sync::Mutex<()>>,
}

/// The owner of a camera, as far as this process knows.
#[derive(Clone, Debug, Default)]
enum CameraClaim {
    /// This process has not started the camera.
    #[default]
    Unclaimed,
    /// The camera was started from this outbox, at `began`, while the table did not answer.
    Unfenced { began: Option<Position> },
    /// This process owns the camera.
    Held(Fence),
    /// Another process owns the camera.
    TakenOver(Takeover),
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

/// A camera whose item is to be written.
struct PositionWrite {
    camera: CameraId,
    fence: Fence,
    at: Option<Checkpoint>,
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
    /// Claims the camera if need be, and returns where it resumes: `own` or the table's checkpoint, whichever is further. A
    /// table that does not answer is no error where `own` is known.
    pub(in crate::delivery) async fn resume(
        &self,
        camera: &CameraId,
        own: Option<Checkpoint>,
    ) -> Result<Option<Checkpoint>, ClaimError> {
        // The semaphore is never closed.
        let _turn = self.turns.acquire().await;
        let claim = self.lock().entry(camera.clone()).or_default().claim.clone();
        match claim {
            CameraClaim::TakenOver(by) => Err(ClaimError::TakenOver(by)),
            // Its configuration changed. The table gets the last position first, since it may be further than `own`.
            CameraClaim::Held(_) => {
                self.write_some(self.due(|other| other == camera)).await;
                self.owned(camera, own)
            }
            CameraClaim::Unclaimed => match self.claim(camera, None).await {
                // An outage of DynamoDB must not keep a camera from starting whose position is known here.
                Err(ClaimError::Refused(_)) if own.is_some() => Ok(self.start_unfenced(camera, own)),
                claimed => claimed.and_then(|()| self.owned(camera, own)),
            },
            CameraClaim::Unfenced { began } => match self.claim(camera, Some(began.as_ref())).await {
                Err(ClaimError::Refused(_)) => Ok(own),
                claimed => claimed.and_then(|()| self.owned(camera, own)),
            },
        }
    }

    /// Returns the checkpoint at which a camera of this process resumes.
    fn owned(&self, camera: &CameraId, own: Option<Checkpoint>) -> Result<Option<Checkpoint>, ClaimError> {
        let cameras = self.lock();
        let Some(ownership) = cameras.get(camera) else { return Ok(own) };
        match &ownership.claim {
            CameraClaim::TakenOver(by) => Err(ClaimError::TakenOver(by.clone())),
            _ => Ok(later(own, ownership.base.clone())),
        }
    }

    fn start_unfenced(&self, camera: &CameraId, own: Option<Checkpoint>) -> Option<Checkpoint> {
        let mut cameras = self.lock();
        let ownership = cameras.entry(camera.clone()).or_default();
        let began = own.as_ref().and_then(|own| own.position.clone());
        ownership.claim = CameraClaim::Unfenced { began };
        own
    }

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

    /// Claims the camera's item, whichever process owns it; `began`: of a running camera, the position at which it started. An item
    /// beyond that position belongs to a successor.
    async fn claim(&self, camera: &CameraId, began: Option<Option<&Position>>) -> Result<(), ClaimError> {
        // A refused creation returns the item with its fence, so no read comes before a claim.
        let mut claimed = self.table.create(camera).await;
        for _ in 0..MAX_TRIES {
            let Err(WriteError::Fenced(there)) = claimed else { break };
            claimed = match there {
                None => self.table.create(camera).await,
                Some(item)
                    if began.is_some_and(|began| !self.table.is_own(&item) && is_beyond(&item, began)) =>
                {
                    return Err(ClaimError::TakenOver(self.replaced(camera, &item)));
                }
                Some(item) => {
                    // Before the claim: a state that this program cannot read is not taken from a program that can.
                    self.readable(camera, &item)?;
                    self.table.claim(camera, item.fence()).await
                }
            };
        }
        match claimed {
            Ok(item) => self.claimed(camera, &item),
            Err(WriteError::Failure(failure)) => Err(self.refused(&failure)),
            Err(WriteError::Fenced(_)) => {
                let text = "another process wrote the item between each two tries";
                Err(self.refused(&AwsFailure::new("contended", text)))
            }
        }
    }

    fn claimed(&self, camera: &CameraId, item: &PositionItem) -> Result<(), ClaimError> {
        self.gauge.works();
        let checkpoint = self.readable(camera, item)?;
        let mut cameras = self.lock();
        let ownership = cameras.entry(camera.clone()).or_default();
        (ownership.claim, ownership.base) = (CameraClaim::Held(item.fence()), checkpoint);
        Ok(())
    }

    fn readable(&self, camera: &CameraId, item: &PositionItem) -> Result<Option<Checkpoint>, ClaimError> {
        item.checkpoint().map_err(|source| {
            let (camera, table) = (camera.to_string(), self.table.name.clone());
            ClaimError::Checkpoint { camera, table, source }
        })
    }

    fn refused(&self, failure: &AwsFailure) -> ClaimError {
        let advice = self.advice(failure);
        self.gauge.failing(&failure.code, &advice, 1);
        ClaimError::Refused(advice)
    }

    /// Writes positions as they move, until `closed`.
    pub(in crate::delivery) async fn run(self: Arc<Self>, closed: CancellationToken) {
        let mut last = boot_time();
        while closed.run_until_cancelled(tokio::time::sleep(INTERVAL)).await.is_some() {
            // The monotonic clock stands still while a host is suspended, the boot clock does not.
            let held_up = boot_time().saturating_sub(last) > INTERVAL + LATE;
            closed.run_until_cancelled(self.write(held_up)).await;
            last = boot_time();
        }
    }

    /// Writes the positions that moved since the last time, and proves the ownership of cameras with undelivered records; of `all`
    /// cameras after a suspension, in which they may have been taken over unnoticed.
    pub(in crate::delivery) async fn write(&self, all: bool) {
        let claimed = self.claim_unfenced().await;
        let written = self.write_some(self.due(|_| all)).await;
        if claimed && written {
            self.gauge.works();
        }
    }

    /// Writes these cameras, and returns whether all of them are written.
    async fn write_some(&self, due: Vec<PositionWrite>) -> bool {
        let mut written = true;
        let mut due = due.into_iter().peekable();
        while due.peek().is_some() {
            let some = due.by_ref().take(WRITES_AT_ONCE).map(|due| self.put(due));
            written &= join_all(some).await.into_iter().all(|written| written);
        }
        // After the writes: it is a refused write that reveals a takeover.
        self.surrender().await;
        written
    }

    /// Claims cameras that were started while the table did not answer, and returns whether it answers now.
    async fn claim_unfenced(&self) -> bool {
        let unfenced = |(camera, ownership): (&CameraId, &CameraOwnership)| match &ownership.claim {
            CameraClaim::Unfenced { began } => Some((camera.clone(), began.clone())),
            _ => None,
        };
        let unfenced: Vec<_> = self.lock().iter().filter_map(unfenced).collect();
        for (camera, began) in unfenced {
            match self.claim(&camera, Some(began.as_ref())).await {
                Ok(()) | Err(ClaimError::TakenOver(_)) => {}
                Err(ClaimError::Refused(_)) => return false,
                Err(error @ ClaimError::Checkpoint { .. }) => {
                    self.gauge.failing("checkpoint", &error.to_string(), 1);
                    return false;
                }
            }
        }
        true
    }

    /// Returns the cameras to write: those that moved, that have undelivered records, or for which `is_wanted` holds.
    fn due(&self, is_wanted: impl Fn(&CameraId) -> bool) -> Vec<PositionWrite> {
        let mut cameras = self.lock();
        let due = cameras.iter_mut().filter_map(|(camera, ownership)| {
            if let Some(moved) = self.progress.moved(camera) {
                ownership.due = Some(moved);
            }
            let CameraClaim::Held(fence) = ownership.claim else { return None };
            let is_due = ownership.due.is_some() || is_wanted(camera) || self.progress.waits(camera);
            is_due.then(|| PositionWrite { camera: camera.clone(), fence, at: ownership.due.clone() })
        });
        due.collect()
    }

    /// Writes one camera, and returns whether the table has it now or will never have it from this process.
    async fn put(&self, due: PositionWrite) -> bool {
        let PositionWrite { camera, mut fence, at } = due;
        let packed = match at.as_ref().map(|at| PackedPosition::of(&camera, at)).transpose() {
            Ok(packed) => packed.flatten(),
            Err(failure) => return self.failed(&failure),
        };
        if at.is_some() && packed.is_some() {
            // Before the write: its answer may be lost, and then the table holds this state all the same.
            self.lock().entry(camera.clone()).or_default().base.clone_from(&at);
        }
        for _ in 0..MAX_TRIES {
            match self.table.write(&camera, fence, packed.as_ref()).await {
                Ok(_) => return self.written(&camera, fence.next(), at.as_ref()),
                Err(WriteError::Failure(failure)) => return self.failed(&failure),
                // An operator has deleted the item: it is claimed again, as after an outage.
                Err(WriteError::Fenced(None)) => return self.is_gone(&camera),
                Err(WriteError::Fenced(Some(item))) if !self.is_ours(&item, fence) => {
                    self.replaced(&camera, &item);
                    return true;
                }
                // The answer to an earlier write was lost; if to this one, it is done.
                Err(WriteError::Fenced(Some(item))) => match &packed {
                    Some(packed) if !packed.is_in(&item) => fence = item.fence(),
                    _ => return self.written(&camera, item.fence(), at.as_ref()),
                },
            }
        }
        // Keeps the newest fence for the next round; the checkpoint stays due.
        self.written(&camera, fence, None);
        false
    }

    /// Returns whether the item belongs to the same claim as `fence`, which no other process can have.
    fn is_ours(&self, item: &PositionItem, fence: Fence) -> bool {
        self.table.is_own(item) && item.epoch == fence.epoch
    }

    fn written(&self, camera: &CameraId, fence: Fence, at: Option<&Checkpoint>) -> bool {
        let mut cameras = self.lock();
        let ownership = cameras.entry(camera.clone()).or_default();
        if let CameraClaim::Held(_) = ownership.claim {
            ownership.claim = CameraClaim::Held(fence);
        }
        // A checkpoint that became due during the write stays due.
        ownership.due.take_if(|due| Some(&*due) == at);
        true
    }

    fn is_gone(&self, camera: &CameraId) -> bool {
        let mut cameras = self.lock();
        let ownership = cameras.entry(camera.clone()).or_default();
        // Compared with an item that another process may create before this one claims again.
        let began = ownership.base.take().and_then(|base| base.position);
        ownership.claim = CameraClaim::Unfenced { began };
        true
    }

    fn failed(&self, failure: &AwsFailure) -> bool {
        self.gauge.failing(&failure.code, &self.advice(failure), 1);
        false
    }

    /// Ends a camera that another process owns: no commit of it is taken in any more.
    fn replaced(&self, camera: &CameraId, item: &PositionItem) -> Takeover {
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

    fn advice(&self, failure: &AwsFailure) -> String {
        resource(&self.table.name).explain(failure)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, HashMap<CameraId, CameraOwnership>> {
        self.cameras.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the later of two checkpoints, by position. This outbox is never behind its own deliveries, but another process may have
/// delivered more meanwhile.
fn later(own: Option<Checkpoint>, delivered: Option<Checkpoint>) -> Option<Checkpoint> {
    match (own, delivered) {
        (Some(own), Some(delivered)) if is_behind(&own, &delivered) => Some(delivered),
        (Some(own), _) => Some(own),
        (None, delivered) => delivered,
    }
}

fn is_behind(own: &Checkpoint, delivered: &Checkpoint) -> bool {
    match (&own.position, &delivered.position) {
        (Some(own), Some(delivered)) => fragment_order(&own.fragment, &delivered.fragment).is_lt(),
        (None, delivered) => delivered.is_some(),
        (Some(_), None) => false,
    }
}

/// Returns whether the item's position is further than `began`.
fn is_beyond(item: &PositionItem, began: Option<&Position>) -> bool {
    let began = began.map(|began| &*began.fragment);
    match (&item.position, began) {
        (Some(item), Some(began)) => fragment_order(began, item).is_lt(),
        (item, None) => item.is_some(),
        (None, Some(_)) => false,
    }
}

/// Returns the time since boot, suspension included.
fn boot_time() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    let (seconds, nanos) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
    Duration::new(seconds.unwrap_or(0), nanos.unwrap_or(0))
}
