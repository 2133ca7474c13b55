//! Writes the cameras' items as their positions move.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use rustix::time::{ClockId, clock_gettime};
use tokio_util::sync::CancellationToken;

use super::ahead::PackedAhead;
use super::ownership::{CameraClaim, Positions, Sent};
use super::table::{AheadChange, ItemChange, PackedPosition};
use crate::checkpoint::Checkpoint;
use crate::delivery::delivery_progress::Unaccepted;
use crate::media::CameraId;

/// Interval between two writes of a camera. A lost disk costs this much footage read again, and DynamoDB charges each write: at 10 s,
/// a camera causes 260,000 writes per month.
pub(super) const INTERVAL: Duration = Duration::from_secs(10);
/// Delay of a round from which on the process or its host counts as suspended: it may have been replaced meanwhile.
const LATE: Duration = Duration::from_secs(2);
/// Limit on the writes under way at once.
const WRITES_AT_ONCE: usize = 16;

/// A camera whose item is to be written.
pub(super) struct PositionWrite {
    camera: CameraId,
    at: Option<Checkpoint>,
}

impl Positions {
    /// Writes positions as they move, until `closed`.
    pub(in crate::delivery) async fn run(self: Arc<Self>, closed: CancellationToken) {
        // The monotonic clock stands still while a host is suspended, the boot clock does not.
        let (mut last, mut is_suspect) = (boot_time(), false);
        while closed.run_until_cancelled(tokio::time::sleep(INTERVAL)).await.is_some() {
            let began = boot_time();
            is_suspect |= began.saturating_sub(last) > INTERVAL + LATE;
            let written = closed.run_until_cancelled(self.write(is_suspect)).await;
            last = boot_time();
            // Also where the process was suspended during the writes. Cameras that could not be asked for are asked for again.
            is_suspect = last.saturating_sub(began) > INTERVAL || is_suspect && written != Some(true);
        }
    }

    /// Writes the positions that moved since the last time, and proves the ownership of cameras with undelivered records; of `all`
    /// cameras after a suspension, in which they may have been taken over unnoticed. Returns whether the table answered all of it.
    pub(in crate::delivery) async fn write(&self, all: bool) -> bool {
        let claimed = self.claim_unfenced().await;
        let written = self.write_some(self.due(|_| all)).await;
        if claimed && written {
            self.gauge.works();
        }
        claimed && written
    }

    /// Writes these cameras, and returns whether all of them are written.
    pub(super) async fn write_some(&self, due: Vec<PositionWrite>) -> bool {
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

    /// Returns the cameras to write: those that moved, that have undelivered records, or for which `is_wanted` holds.
    pub(super) fn due(&self, is_wanted: impl Fn(&CameraId) -> bool) -> Vec<PositionWrite> {
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

    /// Writes one camera without a position, and returns whether the table has it.
    pub(super) async fn write_one(&self, camera: &CameraId) -> bool {
        self.put(PositionWrite { camera: camera.clone(), at: None }).await
    }

    /// Writes one camera, and returns whether the table has it now or will never have it from this process.
    pub(super) async fn put(&self, due: PositionWrite) -> bool {
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
        // An event may be accepted after the position of this write was chosen: without it the state would go back.
        if records.is_empty() && self.is_in_base(camera, &newest) {
            return AheadChange::Clear;
        }
        match PackedAhead::of(&newest, &records, &self.own) {
            Ok(Some(packed)) => AheadChange::Set(packed),
            // An older state with its records is consistent, too.
            Ok(None) | Err(_) => AheadChange::Keep,
        }
    }

    /// Returns whether the position in the item includes all events of `newest`.
    fn is_in_base(&self, camera: &CameraId, newest: &Checkpoint) -> bool {
        let cameras = self.lock();
        let base = cameras.get(camera).and_then(|ownership| ownership.base.as_ref());
        base.is_some_and(|base| base.decide.seq() >= newest.decide.seq())
    }

    fn written(&self, camera: &CameraId, at: Option<&Checkpoint>) {
        let mut cameras = self.lock();
        let ownership = cameras.entry(camera.clone()).or_default();
        // A checkpoint that became due during the write stays due.
        ownership.due.take_if(|due| Some(&*due) == at);
    }
}

/// Returns the time since boot, suspension included.
fn boot_time() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    let (seconds, nanos) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
    Duration::new(seconds.unwrap_or(0), nanos.unwrap_or(0))
}
