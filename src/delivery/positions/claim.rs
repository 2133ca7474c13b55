//! Claims cameras in the table, and finds the state at which they resume.

use super::ahead::{AheadRecord, WriteAhead};
use super::ownership::{
    Beginning, CameraClaim, CameraOwnership, ClaimError, MAX_TRIES, Positions, Resumption,
};
use super::table::{PositionItem, WriteError};
use crate::aws::AwsFailure;
use crate::checkpoint::{Checkpoint, CheckpointOutline};
use crate::media::{CameraId, fragment_order};

/// The delivered state of an item, and what was written ahead.
type StoredState = (Option<Checkpoint>, Option<WriteAhead>);

impl Resumption {
    /// Returns one without records to adopt.
    fn at(checkpoint: Option<Checkpoint>) -> Self {
        Self { checkpoint, ..Self::default() }
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
            CameraClaim::Unfenced(beginning) => match self.claim(camera, Some(&beginning)).await {
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
        let _turn = self.turns.acquire().await;
        // A failed write is repeated by the next round.
        let _written = self.write_one(camera).await;
    }

    fn start_unfenced(&self, camera: &CameraId, own: Option<Checkpoint>) -> Resumption {
        let mut cameras = self.lock();
        let ownership = cameras.entry(camera.clone()).or_default();
        ownership.claim = CameraClaim::Unfenced(Beginning::of(own.as_ref()));
        Resumption::at(own)
    }

    /// Claims the camera's item, whichever process owns it; `began`: of a running camera, the state at which it started. An item
    /// beyond that state belongs to a successor. Returns what was written ahead.
    pub(super) async fn claim(
        &self,
        camera: &CameraId,
        began: Option<&Beginning>,
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

    /// Claims cameras that were started while the table did not answer, and returns whether it answers now.
    pub(super) async fn claim_unfenced(&self) -> bool {
        let unfenced = |(camera, ownership): (&CameraId, &CameraOwnership)| match &ownership.claim {
            CameraClaim::Unfenced(beginning) => Some((camera.clone(), beginning.clone())),
            _ => None,
        };
        let unfenced: Vec<_> = self.lock().iter().filter_map(unfenced).collect();
        for (camera, began) in unfenced {
            match self.claim(&camera, Some(&began)).await {
                // What was written ahead is older than the state of this process, whose next write replaces it.
                Ok(_) => self.lock().entry(camera).or_default().ahead_seq = None,
                Err(ClaimError::TakenOver(_)) => {}
                Err(ClaimError::Refused(_)) => return false,
                Err(error @ ClaimError::Checkpoint { .. }) => {
                    self.gauge.failing("checkpoint", &error.to_string(), 1);
                    return false;
                }
            }
        }
        true
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

fn is_behind(one: &Checkpoint, other: &Checkpoint) -> bool {
    CheckpointOutline::of(one).is_behind(&CheckpointOutline::of(other))
}

/// Returns whether the item's position, or the state that was written ahead, is further than `began`.
fn is_beyond(item: &PositionItem, began: &Beginning) -> bool {
    // One that this program cannot read is reported by the claim.
    let ahead = item.ahead().ok().flatten().map(|ahead| ahead.checkpoint);
    let has_events = ahead.as_ref().is_some_and(|ahead| ahead.decide.seq() > began.seq);
    let ahead = ahead.and_then(|ahead| ahead.position).map(|position| position.fragment.to_string());
    let is_further = |position: &String| match &began.position {
        Some(began) => fragment_order(&began.fragment, position).is_lt(),
        None => true,
    };
    has_events || [&item.position, &ahead].into_iter().flatten().any(is_further)
}

impl Beginning {
    pub(super) fn of(checkpoint: Option<&Checkpoint>) -> Self {
        checkpoint.map_or_else(Self::default, |checkpoint| Self {
            position: checkpoint.position.clone(),
            seq: checkpoint.decide.seq(),
        })
    }
}
