//! Commits of shared cameras, to their owners.

use tokio::sync::oneshot;

use ::sharing::{CameraResumeState, CommitRejection, OwnerCommit, PendingRecord};

use super::SharedDelivery;
use crate::checkpoint::Checkpoint;
use crate::delivery::new_record::{CameraCommit, NewRecord};
use crate::delivery::outbox_error::{OfferError, checkpoint_bytes};
use crate::delivery::owner_commit::OwnerCommitRequest;
use crate::delivery::positions::AheadRecord;
use crate::delivery::shared_cameras::OwnedCamera;
use crate::media::{CameraId, Event};

impl SharedDelivery {
    /// Gives a commit to the camera's owner, which writes it ahead and then has its records sent. Waits while the owner holds the
    /// camera; calls `on_full` before it does. Returns the events.
    ///
    /// # Errors
    /// See [`OfferError`].
    pub(in crate::delivery) async fn commit(
        &self,
        commit: CameraCommit,
        on_full: impl FnOnce(),
    ) -> Result<Vec<Event>, OfferError> {
        let camera = commit.camera.clone();
        let moved = || OfferError::Moved { camera: camera.to_string() };
        // A former pipeline of a camera that came back may still run.
        let owned =
            self.cameras.get(&camera).filter(|owned| Some(owned.epoch) == commit.epoch).ok_or_else(moved)?;
        let ended = owned.ended.clone();
        ended.run_until_cancelled(self.commit_owned(owned, commit, on_full)).await.ok_or_else(moved)?
    }

    async fn commit_owned(
        &self,
        mut owned: OwnedCamera,
        commit: CameraCommit,
        on_full: impl FnOnce(),
    ) -> Result<Vec<Event>, OfferError> {
        let CameraCommit { camera, epoch: _, checkpoint, events: records } = commit;
        let for_owner = self.owner_commit(&camera, &checkpoint, &records)?;
        let events: Vec<Event> = records.iter().map(|record| record.event.clone()).collect();
        let (mut records, mut on_full) = (records, Some(on_full));
        loop {
            self.free(&mut owned, &camera, || on_full.take().into_iter().for_each(|on_full| on_full()))
                .await?;
            // Before the owner has them, since they may come back at once.
            self.cameras.keep(&camera, owned.epoch, records);
            let answer = self.request(&camera, owned.epoch, for_owner.clone()).await;
            if let Ok(Ok(())) = answer {
                break;
            }
            records = events.iter().filter_map(|event| self.cameras.take(&camera, event.seq)).collect();
            match answer? {
                // The owner holds the camera from here on.
                Err(CommitRejection::Held) if !owned.stopping.is_cancelled() => {}
                Ok(()) | Err(CommitRejection::Held | CommitRejection::Stopped) => {
                    return Err(OfferError::Moved { camera: camera.to_string() });
                }
                Err(why) => {
                    return Err(OfferError::TooLarge { camera: camera.to_string(), why: why.to_string() });
                }
            }
        }
        self.cameras.committed(&camera, owned.epoch, checkpoint);
        Ok(events)
    }

    /// Waits until the camera may commit; calls `on_full` before it does.
    ///
    /// # Errors
    /// The camera has ended, or is to stop meanwhile: its next owner makes the events.
    async fn free(
        &self,
        owned: &mut OwnedCamera,
        camera: &CameraId,
        on_full: impl FnOnce(),
    ) -> Result<(), OfferError> {
        if *owned.held.borrow() {
            on_full();
        }
        let stopping = owned.stopping.clone();
        let free = stopping.run_until_cancelled(owned.held.wait_for(|is_held| !is_held));
        let is_free = free.await.is_some_and(|free| free.is_ok());
        if is_free { Ok(()) } else { Err(OfferError::Moved { camera: camera.to_string() }) }
    }

    /// Asks the owner to take a commit, and returns its answer.
    async fn request(
        &self,
        camera: &CameraId,
        epoch: u64,
        commit: OwnerCommit,
    ) -> Result<Result<(), CommitRejection>, OfferError> {
        let (taken, answer) = oneshot::channel();
        let request = OwnerCommitRequest { camera: camera.clone(), epoch, commit, taken };
        // The worker task ends with the service.
        self.requests.send(request).await.map_err(|_| OfferError::Stopped)?;
        answer.await.map_err(|_| OfferError::Stopped)
    }

    fn owner_commit(
        &self,
        camera: &CameraId,
        checkpoint: &Checkpoint,
        records: &[NewRecord],
    ) -> Result<OwnerCommit, OfferError> {
        let records: Result<_, _> = records.iter().map(|record| self.pending_record(record)).collect();
        Ok(OwnerCommit { state: resume_state(camera, checkpoint)?, records: records? })
    }

    /// Returns a record in the form that the item holds, which single mode reads too.
    fn pending_record(&self, record: &NewRecord) -> Result<PendingRecord, OfferError> {
        let NewRecord { event, entry, sinks } = record;
        let error = |source| OfferError::Json { what: format!("event {}", event.event_id), source };
        let payload = String::from_utf8_lossy(&entry.payload).into_owned();
        let ahead =
            AheadRecord { seq: event.seq, holder: self.adopter.own.clone(), payload, sinks: sinks.clone() };
        let body = serde_json::to_vec(&ahead).map_err(error)?;
        Ok(PendingRecord { seq: event.seq, id: event.event_id.as_str().into(), body: body.into() })
    }
}

/// Returns a state in the form that the item holds.
fn resume_state(camera: &CameraId, checkpoint: &Checkpoint) -> Result<CameraResumeState, OfferError> {
    let position = checkpoint.position.as_ref().map(|position| position.fragment.clone());
    let bytes = checkpoint_bytes(camera, &checkpoint.without_gate())?;
    Ok(CameraResumeState {
        position: position.unwrap_or_default(),
        seq: checkpoint.decide.seq(),
        checkpoint: bytes.as_ref().into(),
        checkpoint_version: Checkpoint::FORMAT,
    })
}
