//! Records of shared cameras that are written ahead, to the sinks.

use std::pin::pin;
use std::time::Instant;

use bytes::Bytes;

use ::sharing::PendingRecord;

use super::SharedDelivery;
use crate::delivery::outbox_error::OfferError;
use crate::delivery::positions::AheadRecord;
use crate::delivery::shared_cameras::OwnedCamera;
use crate::media::CameraId;
use crate::telemetry::publish as telemetry;

impl SharedDelivery {
    /// Takes records into the outbox, and waits until each required sink has accepted all of them. Returns the number of the last
    /// accepted record: 0 after an error, which is logged; `None`: the camera's ownership has ended meanwhile.
    ///
    /// `is_fenced`: `false` if a record is possibly not in the camera's item, which the record then says.
    pub async fn send(
        &self,
        camera: &CameraId,
        epoch: u64,
        records: Vec<PendingRecord>,
        is_fenced: bool,
    ) -> Option<u64> {
        let owned = self.cameras.get(camera).filter(|owned| owned.epoch == epoch)?;
        let up_to = records.last().map_or(0, |record| record.seq);
        let sending = async {
            self.take_in(camera, &owned, records, is_fenced).await?;
            self.accepted(camera, up_to).await;
            Ok::<(), OfferError>(())
        };
        self.cameras.set_sending(camera, epoch, Some(Instant::now()));
        let sent = owned.ended.run_until_cancelled(sending).await?;
        self.cameras.set_sending(camera, epoch, None);
        // The records of a camera that ends are given up, and nothing is waited for any more.
        if owned.ended.is_cancelled() {
            return None;
        }
        match sent {
            Ok(()) => Some(up_to),
            Err(error) => {
                telemetry::SharedSendFailed { camera, error: &error }.emit();
                Some(0)
            }
        }
    }

    async fn take_in(
        &self,
        camera: &CameraId,
        owned: &OwnedCamera,
        records: Vec<PendingRecord>,
        is_fenced: bool,
    ) -> Result<(), OfferError> {
        let mut entries = Vec::new();
        let mut left = Vec::new();
        for record in records {
            match self.cameras.take(camera, record.seq) {
                Some(kept) => {
                    self.progress.taken(camera, record.seq, kept.sinks);
                    entries.push(kept.entry);
                }
                None => left.push(ahead_record(camera, &record)?),
            }
        }
        if !left.is_empty() {
            let adopted = self.adopter.adopt_shared(camera, owned.epoch, &left, &owned.route)?;
            // Records of a former owner come before new ones.
            entries.splice(0..0, adopted);
        }
        if !is_fenced {
            entries.iter_mut().for_each(|entry| entry.payload = unfenced(&entry.payload));
        }
        // One commit each: together, pictures of several frames may be more than a commit takes.
        for entry in entries {
            let (source, entries) = (camera.as_str().to_owned(), vec![entry]);
            let commit = ::outbox::OutboxCommit { source, checkpoint: None, entries, urgent: true };
            self.store.commit(commit).await.map_err(|refused| OfferError::of(refused, camera))?;
        }
        Ok(())
    }

    /// Waits until each required sink has accepted the camera's records up to `seq`.
    async fn accepted(&self, camera: &CameraId, seq: u64) {
        loop {
            // Enabled before the check, so that no change between the two is missed.
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            if self.progress.is_accepted(camera, seq) {
                return;
            }
            changed.await;
        }
    }
}

fn ahead_record(camera: &CameraId, record: &PendingRecord) -> Result<AheadRecord, OfferError> {
    let error = |source| OfferError::Json { what: format!("a record of camera {camera}"), source };
    serde_json::from_slice(&record.body).map_err(error)
}

/// Returns the payload of a record that says that it is possibly not in the camera's item.
fn unfenced(payload: &Bytes) -> Bytes {
    match payload.strip_suffix(b"}") {
        Some(open) => [open, br#","fenced":false}"#].concat().into(),
        None => payload.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::Event;
    use crate::status::testing::event;

    #[test]
    fn a_record_that_is_not_fenced_says_so() {
        let json = serde_json::to_vec(&event("e1")).unwrap();
        let read: Event = serde_json::from_slice(&unfenced(&json.into())).unwrap();
        assert_eq!(read, Event { fenced: Some(false), ..event("e1") });
    }
}
