//! The cameras that this process owns, and the writes of their positions.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::OwnedMutexGuard;
use tokio_util::sync::CancellationToken;

use super::ahead::{AheadRecord, PackedAhead, WriteAhead};
use super::table::{
    AheadChange, Fence, ItemChange, PackedPosition, PositionItem, PositionTable, WriteError, resource,
};
use crate::aws::AwsFailure;
use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::delivery::delivery_progress::{DeliveryProgress, Unaccepted};
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
    claim: CameraClaim,
    /// Delivered checkpoint that is not in the table yet.
    due: Option<Checkpoint>,
    /// The latest state that the table may hold: a successor resumes from it or from an earlier one. `None`: not known.
    pub(super) base: Option<Checkpoint>,
    /// The resumption whose records are not taken in yet.
    adoption: Option<Resumption>,
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

/// The delivered state of an item, and what was written ahead.
type StoredState = (Option<Checkpoint>, Option<WriteAhead>);

impl Resumption {
    /// Returns one without records to adopt.
    fn at(checkpoint: Option<Checkpoint>) -> Self {
        Self { checkpoint, ..Self::default() }
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
    ) -> Result<Resumption, ClaimError> {
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
                claimed => claimed.map(|ahead| self.resumed(camera, own, ahead)),
            },
            CameraClaim::Unfenced { began } => match self.claim(camera, Some(began.as_ref())).await {
                Err(ClaimError::Refused(_)) => Ok(Resumption::at(own)),
                claimed => claimed.map(|ahead| self.resumed(camera, own, ahead)),
            },
        }
    }

    /// Returns the checkpoint at which a camera of this process resumes.
    fn owned(&self, camera: &CameraId, own: Option<Checkpoint>) -> Result<Resumption, ClaimError> {
        let cameras = self.lock();
        let Some(ownership) = cameras.get(camera) else { return Ok(Resumption::at(own)) };
        match &ownership.claim {
            CameraClaim::TakenOver(by) => Err(ClaimError::TakenOver(by.clone())),
            _ => {
                let usual = || Resumption::at(later(own, ownership.base.clone()));
                Ok(ownership.adoption.clone().unwrap_or_else(usual))
            }
        }
    }

    /// Returns the resumption of a camera that was claimed a moment ago.
    fn resumed(&self, camera: &CameraId, own: Option<Checkpoint>, ahead: Option<WriteAhead>) -> Resumption {
        let delivered = self.lock().get(camera).and_then(|ownership| ownership.base.clone());
        // What is delivered further than it was written ahead was written when the table was away.
        let is_ahead = |ahead: &WriteAhead| {
            delivered.as_ref().is_none_or(|delivered| !is_behind(&ahead.checkpoint, delivered))
        };
        let Some(WriteAhead { checkpoint, records }) = ahead.filter(is_ahead) else {
            return Resumption::at(later(own, delivered));
        };
        // Records of this outbox up to its own checkpoint are in it, or were delivered from it.
        let own_seq = own.as_ref().map(|own| own.decide.seq());
        let is_here = |record: &AheadRecord| record.holder == self.own && Some(record.seq) <= own_seq;
        let adopted = records.into_iter().filter(|record| !is_here(record)).collect();
        let checkpoint = later(later(own, delivered.clone()), Some(checkpoint));
        let resumption = Resumption { checkpoint, adopted, delivered };
        // Kept until the records are taken in: the start of the camera may be cancelled before.
        let kept = (!resumption.adopted.is_empty()).then(|| resumption.clone());
        self.lock().entry(camera.clone()).or_default().adoption = kept;
        resumption
    }

    /// Records, also in the table, that the adopted records of a camera are taken in: so that no later start adopts them again.
    pub(in crate::delivery) async fn adopted(&self, camera: &CameraId) {
        self.lock().entry(camera.clone()).or_default().adoption = None;
        // A failed write is repeated by the next round.
        let _written = self.put(PositionWrite { camera: camera.clone(), at: None }).await;
    }

    fn start_unfenced(&self, camera: &CameraId, own: Option<Checkpoint>) -> Resumption {
        let mut cameras = self.lock();
        let ownership = cameras.entry(camera.clone()).or_default();
        let began = own.as_ref().and_then(|own| own.position.clone());
        ownership.claim = CameraClaim::Unfenced { began };
        Resumption::at(own)
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
    /// beyond that position belongs to a successor. Returns what was written ahead.
    async fn claim(
        &self,
        camera: &CameraId,
        began: Option<Option<&Position>>,
    ) -> Result<Option<WriteAhead>, ClaimError> {
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
                    self.table.claim(camera, &item).await
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

    fn claimed(&self, camera: &CameraId, item: &PositionItem) -> Result<Option<WriteAhead>, ClaimError> {
        self.gauge.works();
        let (checkpoint, ahead) = self.readable(camera, item)?;
        let mut cameras = self.lock();
        let ownership = cameras.entry(camera.clone()).or_default();
        (ownership.claim, ownership.base) = (CameraClaim::Held(item.fence()), checkpoint);
        ownership.is_table_away = false;
        ownership.ahead_seq = ahead.as_ref().map(|ahead| ahead.checkpoint.decide.seq());
        Ok(ahead)
    }

    fn readable(&self, camera: &CameraId, item: &PositionItem) -> Result<StoredState, ClaimError> {
        let stored = item.checkpoint().and_then(|checkpoint| Ok((checkpoint, item.ahead()?)));
        stored.map_err(|source| {
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
                Ok(_) | Err(ClaimError::TakenOver(_)) => {}
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
            let CameraClaim::Held(_) = ownership.claim else { return None };
            let is_due = ownership.due.is_some() || is_wanted(camera) || self.progress.waits(camera);
            is_due.then(|| PositionWrite { camera: camera.clone(), at: ownership.due.clone() })
        });
        due.collect()
    }

    /// Writes one camera, and returns whether the table has it now or will never have it from this process.
    async fn put(&self, due: PositionWrite) -> bool {
        let PositionWrite { camera, at } = due;
        let writing = self.writing(&camera);
        let _writing = writing.lock().await;
        let position = match at.as_ref().map(|at| PackedPosition::of(&camera, at)).transpose() {
            Ok(position) => position.flatten(),
            Err(failure) => return self.failed(&failure),
        };
        if at.is_some() && position.is_some() {
            // Before the write: its answer may be lost, and then the table holds this state all the same.
            self.lock().entry(camera.clone()).or_default().base.clone_from(&at);
        }
        let change = ItemChange { position, ahead: self.ahead_change(&camera) };
        match self.send(&camera, &change).await {
            Sent::Done => {
                self.written(&camera, at.as_ref());
                true
            }
            // Nothing more is to be written.
            Sent::TakenOver(_) => true,
            Sent::Failed => false,
        }
    }

    /// Returns the change of what is written ahead: the newest state with the records that sinks have yet to accept.
    fn ahead_change(&self, camera: &CameraId) -> AheadChange {
        let Some((newest, unaccepted)) = self.progress.newest(camera) else { return AheadChange::Keep };
        let ahead_seq = self.lock().get(camera).and_then(|ownership| ownership.ahead_seq);
        if ahead_seq > Some(newest.decide.seq()) {
            // A commit is under way, whose events may be delivered before it is known here.
            return AheadChange::Keep;
        }
        let Unaccepted::All(records) = unaccepted else { return AheadChange::Keep };
        if records.is_empty() {
            return AheadChange::Clear;
        }
        match PackedAhead::of(&newest, &records, &self.own) {
            Ok(Some(packed)) => AheadChange::Set(packed),
            // An older state with its records is consistent, too.
            Ok(None) | Err(_) => AheadChange::Keep,
        }
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

    fn written(&self, camera: &CameraId, at: Option<&Checkpoint>) {
        let mut cameras = self.lock();
        let ownership = cameras.entry(camera.clone()).or_default();
        // A checkpoint that became due during the write stays due.
        ownership.due.take_if(|due| Some(&*due) == at);
    }

    fn is_gone(&self, camera: &CameraId) -> Sent {
        let mut cameras = self.lock();
        let ownership = cameras.entry(camera.clone()).or_default();
        // Compared with an item that another process may create before this one claims again.
        let began = ownership.base.take().and_then(|base| base.position);
        (ownership.claim, ownership.ahead_seq) = (CameraClaim::Unfenced { began }, None);
        Sent::Failed
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

/// Returns the later of two checkpoints. This outbox is never behind its own deliveries, but another process may have delivered more
/// meanwhile.
fn later(one: Option<Checkpoint>, other: Option<Checkpoint>) -> Option<Checkpoint> {
    match (one, other) {
        (Some(one), Some(other)) if is_behind(&one, &other) => Some(other),
        (Some(one), _) => Some(one),
        (None, other) => other,
    }
}

/// Returns whether `one` is of an earlier position than `other`, or has fewer events after the same one.
fn is_behind(one: &Checkpoint, other: &Checkpoint) -> bool {
    let positions = match (&one.position, &other.position) {
        (Some(one), Some(other)) => fragment_order(&one.fragment, &other.fragment),
        (one, other) => one.is_some().cmp(&other.is_some()),
    };
    positions.then(one.decide.seq().cmp(&other.decide.seq())).is_lt()
}

/// Returns whether the item's position, or that of what was written ahead, is further than `began`.
fn is_beyond(item: &PositionItem, began: Option<&Position>) -> bool {
    // One that this program cannot read is reported by the claim.
    let ahead = item.ahead().ok().flatten().and_then(|ahead| ahead.checkpoint.position);
    let ahead = ahead.map(|position| position.fragment.to_string());
    let Some(began) = began.map(|began| &*began.fragment) else {
        return item.position.is_some() || ahead.is_some();
    };
    [&item.position, &ahead].into_iter().flatten().any(|position| fragment_order(began, position).is_lt())
}

/// Returns the time since boot, suspension included.
fn boot_time() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    let (seconds, nanos) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
    Duration::new(seconds.unwrap_or(0), nanos.unwrap_or(0))
}
