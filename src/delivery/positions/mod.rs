//! Ownership of cameras, and how far each is delivered, in a DynamoDB table that outlives this host.
//!
//! An item per camera: key `camera_id`; `position` (the last delivered fragment: see `progress`), `checkpoint` (the state to
//! resume with, packed), `epoch`, `rev`, `owner` (the outbox's id), `host`, `updated_at` (ms since the epoch, for people).
//!
//! **Claim.** The process that starts a camera last owns it: its claim raises `epoch`. So a new task of a rolling deployment
//! replaces the old one, also a healthy one. A camera that this process owns already (its configuration changed) is not
//! claimed again, and one that was taken over is not claimed until this process is restarted: two processes never take a
//! camera from one another in turns.
//!
//! **Late claim.** Where the table does not answer, a camera with a checkpoint in this outbox starts without a claim. When the
//! table answers, another process may own the camera: if the item's position is beyond the one that this process started from,
//! the other one has worked since, and this process is the replaced one. Else nothing in the table is newer than what is
//! here, and the camera is claimed. Without the answer to a claim nothing of the item is known, so no clock and no count
//! could decide better; both ways exactly one owner is left.
//!
//! **Takeover.** A write of an owner that was replaced is refused, whatever it holds. Then the camera's reading and publishing
//! stop, and what waits for a sink here is left to the new owner (`surrender`).

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::OwnedMutexGuard;
use tokio_util::sync::CancellationToken;

mod surrender;
mod table;

pub(crate) use surrender::each_waiting;
pub(crate) use table::PositionTable;

use self::table::{Fence, PackedPosition, PositionItem, WriteError};
use crate::aws::AwsFailure;
use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::delivery::delivery_progress::DeliveryProgress;
use crate::delivery::status::SinkGauge;
use crate::media::{CameraId, Position, fragment_order};
use crate::sinks::dynamodb::place;
use crate::telemetry::publish as telemetry;

/// Between two writes of a camera. Losing the disk costs so much reading again, and a write is paid for: at 10 s a camera writes
/// 260,000 times a month.
pub(crate) const INTERVAL: Duration = Duration::from_secs(10);
/// A round that is later than this was held up: the process or its host stood still, and may have been replaced meanwhile.
const LATE: Duration = Duration::from_secs(2);
/// Writes under way at once.
const AT_ONCE: usize = 16;
/// Cameras that are claimed at once when they start: more connections would be slower than [`PositionTable`] waits.
pub(crate) const CLAIMS_AT_ONCE: usize = 64;
/// Writes of a camera in one round, where each of them finds that an earlier one had happened; and claims of one camera.
const MAX_TRIES: usize = 3;

/// The table of positions, and the cameras of this process in it.
pub(crate) struct Positions {
    pub(crate) table: PositionTable,
    pub(crate) store: ::outbox::Outbox,
    /// All sinks of the outbox, by name.
    pub(crate) sinks: Vec<(Arc<str>, ::outbox::Sink)>,
    pub(crate) progress: Arc<DeliveryProgress>,
    pub(crate) gauge: Arc<SinkGauge>,
    pub(crate) cameras: Mutex<HashMap<CameraId, CameraOwnership>>,
    /// Turns to start a camera.
    pub(crate) turns: tokio::sync::Semaphore,
}

/// A camera of this process.
#[derive(Debug, Default)]
pub(crate) struct CameraOwnership {
    claim: CameraClaim,
    /// Delivered here, and not in the table yet.
    due: Option<Checkpoint>,
    /// The latest state that the table may hold: the state that a successor resumes from is not later. `None`: not known.
    pub(crate) base: Option<Checkpoint>,
    /// Whether a successor starts at NOW and does not read what lies before: then what waits here is not left to it.
    starts_at_now: bool,
    /// What waits here has been left to the successor.
    pub(crate) surrendered: bool,
    /// Ends the camera.
    stop: Option<CancellationToken>,
    taken_over: CancellationToken,
    /// Held during a commit of the camera.
    pub(crate) committing: Arc<tokio::sync::Mutex<()>>,
}

/// Whose a camera is, as far as this process knows.
#[derive(Clone, Debug, Default)]
enum CameraClaim {
    /// This process has not started it.
    #[default]
    Unclaimed,
    /// It was started from this outbox, at `began`, while the table did not answer.
    Unfenced { began: Option<Position> },
    /// This process owns it.
    Held(Fence),
    /// Another process does.
    TakenOver(Takeover),
}

/// The process that owns a camera in place of this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Takeover {
    /// The id of its outbox.
    pub owner: String,
    /// The name of its host; empty where a version wrote the item that did not say it.
    pub host: String,
    /// The epoch of its claim.
    pub epoch: u64,
}

/// Why a position could not be claimed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClaimError {
    /// It is tried again.
    #[error("{0}")]
    Refused(String),
    /// The item is not ours to read.
    #[error("the position of camera {camera} in table {table} cannot be used: {source}")]
    Checkpoint { camera: String, table: String, source: CheckpointError },
    /// Another process owns the camera; this one does not claim it again.
    #[error("{0}")]
    TakenOver(Takeover),
}

/// A camera that is to be written.
struct PositionWrite {
    camera: CameraId,
    fence: Fence,
    at: Option<Checkpoint>,
}

impl CameraOwnership {
    /// The state behind which records are left to a successor; `None`: the camera is not taken over, or its successor may
    /// not read the footage from there.
    pub(crate) fn left_from(&self) -> Option<&Checkpoint> {
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
    pub(crate) async fn resume(
        &self,
        camera: &CameraId,
        own: Option<Checkpoint>,
    ) -> Result<Option<Checkpoint>, ClaimError> {
        // The semaphore is never closed.
        let _turn = self.turns.acquire().await;
        let claim = self.lock().entry(camera.clone()).or_default().claim.clone();
        match claim {
            CameraClaim::TakenOver(by) => Err(ClaimError::TakenOver(by)),
            CameraClaim::Held(_) => {
                self.write_some(self.due(|other| other == camera)).await;
                self.owned(camera, own)
            }
            CameraClaim::Unclaimed => match self.claim(camera, None).await {
                Err(ClaimError::Refused(_)) if own.is_some() => Ok(self.start_unfenced(camera, own)),
                claimed => claimed.and_then(|()| self.owned(camera, own)),
            },
            CameraClaim::Unfenced { began } => match self.claim(camera, Some(began.as_ref())).await {
                Err(ClaimError::Refused(_)) => Ok(own),
                claimed => claimed.and_then(|()| self.owned(camera, own)),
            },
        }
    }

    /// Where a camera of this process resumes.
    fn owned(&self, camera: &CameraId, own: Option<Checkpoint>) -> Result<Option<Checkpoint>, ClaimError> {
        let cameras = self.lock();
        let Some(standing) = cameras.get(camera) else { return Ok(own) };
        match &standing.claim {
            CameraClaim::TakenOver(by) => Err(ClaimError::TakenOver(by.clone())),
            _ => Ok(later(own, standing.base.clone())),
        }
    }

    fn start_unfenced(&self, camera: &CameraId, own: Option<Checkpoint>) -> Option<Checkpoint> {
        let mut cameras = self.lock();
        let standing = cameras.entry(camera.clone()).or_default();
        let began = own.as_ref().and_then(|own| own.position.clone());
        standing.claim = CameraClaim::Unfenced { began };
        own
    }

    /// Connects a camera that runs: `stop` is cancelled when another process takes it over. `starts_at_now`: whether a
    /// successor starts at NOW.
    pub(crate) fn attach(&self, camera: &CameraId, stop: CancellationToken, starts_at_now: bool) {
        let mut cameras = self.lock();
        let standing = cameras.entry(camera.clone()).or_default();
        if let CameraClaim::TakenOver(_) = standing.claim {
            stop.cancel();
        }
        (standing.stop, standing.starts_at_now) = (Some(stop), starts_at_now);
    }

    /// The process that took the camera over, if any.
    pub(crate) fn taken_over(&self, camera: &CameraId) -> Option<Takeover> {
        match &self.lock().get(camera)?.claim {
            CameraClaim::TakenOver(by) => Some(by.clone()),
            _ => None,
        }
    }

    /// Admits a commit of the camera for as long as the guard lives, and returns what is cancelled at a takeover. `None`: it
    /// was taken over.
    pub(crate) async fn admit(&self, camera: &CameraId) -> Option<(OwnedMutexGuard<()>, CancellationToken)> {
        let (committing, taken_over) = {
            let mut cameras = self.lock();
            let standing = cameras.entry(camera.clone()).or_default();
            (Arc::clone(&standing.committing), standing.taken_over.clone())
        };
        let guard = committing.lock_owned().await;
        (!taken_over.is_cancelled()).then_some((guard, taken_over))
    }

    /// Claims the camera's item whoever has it; `began`: of a camera that runs, the place at which it started. Then an item
    /// that is beyond it belongs to a successor.
    async fn claim(&self, camera: &CameraId, began: Option<Option<&Position>>) -> Result<(), ClaimError> {
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
                    // Before the claim: what this program cannot read is not taken from one that can.
                    self.readable(camera, &item)?;
                    self.table.claim(camera, item.fence()).await
                }
            };
        }
        match claimed {
            Ok(item) => self.claimed(camera, &item),
            Err(WriteError::Failure(fault)) => Err(self.refused(&fault)),
            Err(WriteError::Fenced(_)) => {
                let text = "another process wrote the item between each two tries".to_owned();
                Err(self.refused(&AwsFailure::new("contended", &text)))
            }
        }
    }

    fn claimed(&self, camera: &CameraId, item: &PositionItem) -> Result<(), ClaimError> {
        self.gauge.works();
        let checkpoint = self.readable(camera, item)?;
        let mut cameras = self.lock();
        let standing = cameras.entry(camera.clone()).or_default();
        (standing.claim, standing.base) = (CameraClaim::Held(item.fence()), checkpoint);
        Ok(())
    }

    fn readable(&self, camera: &CameraId, item: &PositionItem) -> Result<Option<Checkpoint>, ClaimError> {
        item.checkpoint().map_err(|source| {
            let (camera, table) = (camera.to_string(), self.table.name.clone());
            ClaimError::Checkpoint { camera, table, source }
        })
    }

    fn refused(&self, fault: &AwsFailure) -> ClaimError {
        let advice = self.advice(fault);
        self.gauge.failing(&fault.code, &advice, 1);
        ClaimError::Refused(advice)
    }

    /// Writes positions as they move, until `closed`.
    pub(crate) async fn run(self: Arc<Self>, closed: CancellationToken) {
        let mut last = boot_time();
        while closed.run_until_cancelled(tokio::time::sleep(INTERVAL)).await.is_some() {
            let held_up = boot_time().saturating_sub(last) > INTERVAL + LATE;
            closed.run_until_cancelled(self.write(held_up)).await;
            last = boot_time();
        }
    }

    /// Writes what moved since the last time, and proves the ownership of cameras with records on their way; of `all`
    /// cameras, where they may have been taken over without a sign.
    pub(crate) async fn write(&self, all: bool) {
        let claimed = self.claim_unfenced().await;
        let written = self.write_some(self.due(|_| all)).await;
        if claimed && written {
            self.gauge.works();
        }
    }

    /// Whether all of it is written.
    async fn write_some(&self, due: Vec<PositionWrite>) -> bool {
        let mut written = true;
        let mut due = due.into_iter().peekable();
        while due.peek().is_some() {
            let some = due.by_ref().take(AT_ONCE).map(|due| self.put(due));
            written &= join_all(some).await.into_iter().all(|written| written);
        }
        self.surrender().await;
        written
    }

    /// Claims cameras that were started while the table did not answer; whether it answers now.
    async fn claim_unfenced(&self) -> bool {
        let unfenced = |(camera, standing): (&CameraId, &CameraOwnership)| match &standing.claim {
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

    /// Cameras to write: those that moved, that have records on their way, or that are `asked` for.
    fn due(&self, asked: impl Fn(&CameraId) -> bool) -> Vec<PositionWrite> {
        let mut cameras = self.lock();
        let due = cameras.iter_mut().filter_map(|(camera, standing)| {
            if let Some(moved) = self.progress.moved(camera) {
                standing.due = Some(moved);
            }
            let CameraClaim::Held(fence) = standing.claim else { return None };
            let is_due = standing.due.is_some() || asked(camera) || self.progress.waits(camera);
            is_due.then(|| PositionWrite { camera: camera.clone(), fence, at: standing.due.clone() })
        });
        due.collect()
    }

    /// Writes one camera; whether the table has it now, or will never have it from this process.
    async fn put(&self, due: PositionWrite) -> bool {
        let PositionWrite { camera, mut fence, at } = due;
        let packed = match at.as_ref().map(|at| PackedPosition::of(&camera, at)).transpose() {
            Ok(packed) => packed.flatten(),
            Err(fault) => return self.failed(&fault),
        };
        if at.is_some() && packed.is_some() {
            self.lock().entry(camera.clone()).or_default().base.clone_from(&at);
        }
        for _ in 0..MAX_TRIES {
            match self.table.write(&camera, fence, packed.as_ref()).await {
                Ok(_) => return self.written(&camera, fence.next(), at.as_ref()),
                Err(WriteError::Failure(fault)) => return self.failed(&fault),
                // An operator has deleted it: it is claimed again, as after an outage.
                Err(WriteError::Fenced(None)) => return self.is_gone(&camera),
                Err(WriteError::Fenced(Some(item))) if self.is_ours(&item, fence) => {
                    // The answer to an earlier write was lost; if to this one, it is done.
                    let is_done = packed.as_ref().is_none_or(|packed| packed.is_in(&item));
                    if is_done {
                        return self.written(&camera, item.fence(), at.as_ref());
                    }
                    fence = item.fence();
                }
                Err(WriteError::Fenced(Some(item))) => {
                    self.replaced(&camera, &item);
                    return true;
                }
            }
        }
        self.written(&camera, fence, None);
        false
    }

    /// Whether the item is of the claim that `fence` is of, which no other process can have.
    fn is_ours(&self, item: &PositionItem, fence: Fence) -> bool {
        self.table.is_own(item) && item.epoch == fence.epoch
    }

    fn written(&self, camera: &CameraId, fence: Fence, at: Option<&Checkpoint>) -> bool {
        let mut cameras = self.lock();
        let standing = cameras.entry(camera.clone()).or_default();
        if let CameraClaim::Held(_) = standing.claim {
            standing.claim = CameraClaim::Held(fence);
        }
        standing.due.take_if(|due| Some(&*due) == at);
        true
    }

    fn is_gone(&self, camera: &CameraId) -> bool {
        let mut cameras = self.lock();
        let standing = cameras.entry(camera.clone()).or_default();
        let began = standing.base.take().and_then(|base| base.position);
        standing.claim = CameraClaim::Unfenced { began };
        true
    }

    fn failed(&self, fault: &AwsFailure) -> bool {
        self.gauge.failing(&fault.code, &self.advice(fault), 1);
        false
    }

    /// The camera is another process's: it ends here, and no commit of it is taken in any more.
    fn replaced(&self, camera: &CameraId, item: &PositionItem) -> Takeover {
        let by = Takeover { owner: item.owner.clone(), host: item.host.clone(), epoch: item.epoch };
        let mut cameras = self.lock();
        let standing = cameras.entry(camera.clone()).or_default();
        if let CameraClaim::TakenOver(by) = &standing.claim {
            return by.clone();
        }
        standing.claim = CameraClaim::TakenOver(by.clone());
        // First the token that health checks go by, so that no ended task counts as a fault.
        standing.stop.iter().for_each(CancellationToken::cancel);
        standing.taken_over.cancel();
        if let Some(base) = standing.left_from() {
            self.progress.leave_out(camera, base.decide.seq());
        }
        drop(cameras);
        telemetry::CameraTakenOver { camera, by: &by.to_string() }.emit();
        by
    }

    fn advice(&self, fault: &AwsFailure) -> String {
        fault.told(&place(&self.table.name), remedy(&fault.code))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, HashMap<CameraId, CameraOwnership>> {
        self.cameras.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What somebody can do about a fault.
pub(crate) fn remedy(code: &str) -> Option<&'static str> {
    Some(match code {
        "ResourceNotFoundException" => "create the table, or correct state.ddb_table",
        "AccessDeniedException" | "UnrecognizedClientException" => {
            "allow dynamodb:UpdateItem on it, or correct the credentials"
        }
        "ValidationException" => "its key must be camera_id (S)",
        "unreachable" | "timeout" => "check the network, and AWS_ENDPOINT_URL_DYNAMODB where it is set",
        "too_large" => {
            "follow fewer objects (conf_threshold, classes, roi); its position stays where it is meanwhile"
        }
        _ => return None,
    })
}

/// The later of two checkpoints, by position. The same outbox is never behind what it delivered; another process may have
/// gone on meanwhile.
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

/// Whether the item's position is further than `began`.
fn is_beyond(item: &PositionItem, began: Option<&Position>) -> bool {
    let began = began.map(|began| &*began.fragment);
    match (&item.position, began) {
        (Some(item), Some(began)) => fragment_order(began, item).is_lt(),
        (item, None) => item.is_some(),
        (None, Some(_)) => false,
    }
}

/// The time since boot, that of a suspended host included.
fn boot_time() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    let (seconds, nanos) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
    Duration::new(seconds.unwrap_or(0), nanos.unwrap_or(0))
}
