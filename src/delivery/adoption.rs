//! Takes in the records that a camera's last owner left in the table of positions.
//!
//! Sinks without pictures get them at once. Pictures are not in the table: the camera reads the footage from its delivered position
//! again, and as the frames of these records pass, their pictures are made from the boxes in the records, equal to the lost ones.
//! Until then the table names the last owner as the holder of these records, so that another loss does not lose them.

use std::sync::Arc;

use super::event_outbox::{EventOutbox, OfferError, ResumeError, checkpoint_bytes};
use super::outbox_record::{OutboxRecord, RecordHeader};
use super::positions::{AheadRecord, Resumption};
use super::start::RunningSink;
use super::unpictured::UnpicturedRecord;
use crate::checkpoint::{Checkpoint, FramePosition};
use crate::media::{CameraId, Event, Frame, MediaMs};
use crate::snapshot::{SnapshotError, clean_picture, own_pictures};
use crate::telemetry::publish as telemetry;

/// The holder of a record that is in no outbox.
const NOWHERE: &str = "none";

impl EventOutbox {
    /// Takes in the records that this outbox lacks, together with the state after them. Returns the state at which the camera resumes.
    pub(super) async fn adopt(
        &self,
        camera: &CameraId,
        resumption: Resumption,
        reads_all: bool,
    ) -> Result<Option<Checkpoint>, ResumeError> {
        let Resumption { checkpoint, adopted, delivered } = resumption;
        let Some(checkpoint) = checkpoint else { return Ok(None) };
        if adopted.is_empty() {
            return Ok(Some(checkpoint));
        }
        let count = adopted.len();
        let (mut entries, mut unpictured) = (Vec::new(), Vec::new());
        for record in adopted {
            let (entry, later) = self.split(camera, &record).map_err(|why| damaged(camera, why))?;
            entries.extend(entry);
            unpictured.extend(later);
        }
        let checkpoint =
            if unpictured.is_empty() { checkpoint } else { reread(checkpoint, delivered, reads_all) };
        self.unpictured.add(camera, unpictured);
        let refused = |source| ResumeError::Adoption { camera: camera.to_string(), source };
        self.take_in(camera, Some(&checkpoint), entries).await.map_err(refused)?;
        if let Some(positions) = &self.positions {
            positions.adopted(camera).await;
        }
        telemetry::RecordsAdopted { camera, records: count }.emit();
        Ok(Some(checkpoint))
    }

    /// Returns the entry of a record for sinks without pictures, and what is left for the others.
    fn split(
        &self,
        camera: &CameraId,
        adopted: &AheadRecord,
    ) -> Result<(Option<::outbox::NewEntry>, Option<UnpicturedRecord>), serde_json::Error> {
        let payload = adopted.payload();
        let record = record_of(camera, payload.clone())?;
        let event = serde_json::from_slice(&record.json)?;
        let is_pictured = record.header.place.is_some();
        let (later, now): (Vec<&RunningSink>, Vec<_>) =
            self.named(&adopted.sinks).partition(|running| is_pictured && running.sink.wants_pictures());
        if let Some(positions) = &self.positions {
            // Of this outbox where it was killed between the write-ahead and its own commit: then none has the record.
            let holder = Some(&adopted.holder).filter(|holder| **holder != positions.own);
            let holder = holder.cloned().unwrap_or_else(|| Arc::from(NOWHERE));
            positions.progress.taken(camera, adopted.seq, names(&now));
            positions.progress.deferred(camera, adopted.seq, names(&later), &holder);
            positions.progress.keep(camera, adopted.seq, payload.clone());
        }
        let entry = (!now.is_empty()).then(|| entry(payload, Vec::new(), &now));
        let later = (!later.is_empty()).then(|| UnpicturedRecord { record, event, sinks: names(&later) });
        Ok((entry, later))
    }

    /// Makes the pictures of adopted records whose frame this is, and takes the records in for the sinks that store pictures.
    ///
    /// # Errors
    /// See [`OfferError`].
    pub async fn picture_adopted(&self, camera: &CameraId, frame: &Arc<Frame>) -> Result<(), OfferError> {
        let is_of_frame = |event: &Event| {
            let extras = &event.payload.extras;
            (extras.fragment_number.as_str(), extras.frame_index) == (&*frame.fragment.number, frame.index)
        };
        let mut entries = Vec::new();
        for record in self.unpictured.take(camera, is_of_frame) {
            entries.push(self.pictured(camera, record, frame).await?);
        }
        self.take_in_any(camera, entries).await
    }

    /// Takes in the adopted records whose frames did not come again, without pictures. To be called at the first frame after them.
    ///
    /// # Errors
    /// See [`OfferError`].
    pub async fn give_up_pictures(&self, camera: &CameraId) -> Result<(), OfferError> {
        let records = self.unpictured.take(camera, |_| true);
        if records.is_empty() {
            return Ok(());
        }
        telemetry::PicturesLost { camera, records: records.len() }.emit();
        let entries: Result<Vec<_>, _> =
            records.into_iter().map(|record| self.without_pictures(camera, record)).collect();
        self.take_in_any(camera, entries?).await
    }

    /// Returns the entry of a record with its pictures; without them where they cannot be made.
    async fn pictured(
        &self,
        camera: &CameraId,
        unpictured: UnpicturedRecord,
        frame: &Arc<Frame>,
    ) -> Result<::outbox::NewEntry, OfferError> {
        match self.pictures_again(&unpictured, frame).await {
            Ok(Some(pictures)) => {
                let payload = json(camera, unpictured.record.payload())?;
                let sinks: Vec<_> = self.named(&unpictured.sinks).collect();
                self.follow_adopted(camera, &unpictured);
                Ok(entry(payload, pictures, &sinks))
            }
            Ok(None) => self.without_pictures(camera, unpictured),
            Err(error) => {
                let event_id = &unpictured.event.event_id;
                telemetry::SnapshotFailed { event_id, error: &error.to_string() }.emit();
                self.without_pictures(camera, unpictured)
            }
        }
    }

    /// Returns the pictures of a record in the order of their places; `None`: they cannot be those that the record names.
    async fn pictures_again(
        &self,
        unpictured: &UnpicturedRecord,
        frame: &Arc<Frame>,
    ) -> Result<Option<Vec<bytes::Bytes>>, SnapshotError> {
        let RecordHeader { place, boxes, .. } = &unpictured.record.header;
        let (Some(place), Some(settings)) = (place, &self.snapshots) else { return Ok(None) };
        let (keys, encoding) = (place.s3.as_ref(), settings.encoding);
        let wants_crop = keys.is_some_and(|s3| s3.crop_key.is_some());
        let boxes: Arc<[_]> = boxes.as_slice().into();
        let own = own_pictures(&unpictured.event, Arc::clone(frame), boxes, wants_crop, encoding).await?;
        if own.crop.is_some() != wants_crop {
            return Ok(None);
        }
        let mut pictures = vec![own.annotated];
        if keys.is_some_and(|s3| s3.clean_key.is_some()) {
            pictures.push(clean_picture(Arc::clone(frame), encoding).await?);
        }
        pictures.extend(own.crop);
        Ok(Some(pictures))
    }

    /// Returns the entry of a record without pictures, for the sinks that take it so.
    fn without_pictures(
        &self,
        camera: &CameraId,
        mut unpictured: UnpicturedRecord,
    ) -> Result<::outbox::NewEntry, OfferError> {
        self.follow_adopted(camera, &unpictured);
        let header = &mut unpictured.record.header;
        (header.place, header.boxes) = (None, Vec::new());
        let (seq, payload) = (header.seq, json(camera, unpictured.record.payload())?);
        let (takers, others): (Vec<_>, Vec<_>) =
            self.named(&unpictured.sinks).partition(|running| running.sink.takes(&unpictured.event, None));
        if let Some(positions) = &self.positions {
            for name in names(&others) {
                positions.progress.settled(camera, seq, &name);
            }
        }
        Ok(entry(payload, Vec::new(), &takers))
    }

    /// Records that this outbox is about to have a record for all its sinks.
    fn follow_adopted(&self, camera: &CameraId, unpictured: &UnpicturedRecord) {
        if let Some(positions) = &self.positions {
            positions.progress.taken(camera, unpictured.event.seq, unpictured.sinks.iter().cloned());
        }
    }

    async fn take_in_any(
        &self,
        camera: &CameraId,
        entries: Vec<::outbox::NewEntry>,
    ) -> Result<(), OfferError> {
        if entries.is_empty() {
            return Ok(());
        }
        let _admitted = self.admit(camera).await?;
        self.take_in(camera, None, entries).await
    }

    /// Commits entries of adopted records, with the state after them if it is new here.
    async fn take_in(
        &self,
        camera: &CameraId,
        checkpoint: Option<&Checkpoint>,
        entries: Vec<::outbox::NewEntry>,
    ) -> Result<(), OfferError> {
        let bytes = checkpoint.map(|checkpoint| checkpoint_bytes(camera, checkpoint)).transpose()?;
        let source = camera.as_str().to_owned();
        let commit = ::outbox::OutboxCommit { source, checkpoint: bytes, entries, urgent: true };
        self.store.commit(commit).await.map_err(|refused| OfferError::of(refused, camera))?;
        if let (Some(positions), Some(checkpoint)) = (&self.positions, checkpoint) {
            positions.progress.committed(camera, checkpoint.clone());
        }
        Ok(())
    }

    /// Returns the running sinks of these names. A sink that is no longer configured gets nothing.
    fn named(&self, names: &[Arc<str>]) -> impl Iterator<Item = &RunningSink> {
        self.sinks.iter().filter(|running| names.iter().any(|name| **name == *running.gauge.name()))
    }
}

/// Returns a state from which the footage after `delivered` is read again, and nothing of it is decided again. `reads_all`: a camera
/// without a position reads all stored footage.
fn reread(ahead: Checkpoint, delivered: Option<Checkpoint>, reads_all: bool) -> Checkpoint {
    let delivered = delivered.filter(|delivered| delivered.stream == ahead.stream);
    let (position, sampler) =
        delivered.map(|delivered| (delivered.position, delivered.sampler)).unwrap_or_default();
    if position.is_none() && !reads_all {
        // Such a camera would start at NOW.
        return ahead;
    }
    let seen = ahead.seen.clone().or_else(|| {
        let fragment = Arc::clone(&ahead.position.as_ref()?.fragment);
        Some(FramePosition { fragment, media: MediaMs(i64::MAX) })
    });
    Checkpoint { position, sampler, seen, ..ahead }
}

fn record_of(camera: &CameraId, payload: bytes::Bytes) -> Result<OutboxRecord, serde_json::Error> {
    let (id, source) = (::outbox::EntryId(0), camera.as_str().to_owned());
    let entry = ::outbox::OutboxEntry { id, source, payload, attachments: Vec::new() };
    OutboxRecord::decode(entry).map_err(serde::de::Error::custom)
}

fn names(sinks: &[&RunningSink]) -> Vec<Arc<str>> {
    sinks.iter().map(|running| Arc::from(running.gauge.name())).collect()
}

fn entry(
    payload: bytes::Bytes,
    attachments: Vec<bytes::Bytes>,
    sinks: &[&RunningSink],
) -> ::outbox::NewEntry {
    let sinks = sinks.iter().map(|running| running.handle).collect();
    ::outbox::NewEntry { payload, attachments, sinks }
}

fn json(camera: &CameraId, payload: serde_json::Result<bytes::Bytes>) -> Result<bytes::Bytes, OfferError> {
    payload.map_err(|source| OfferError::Json { what: format!("a record of camera {camera}"), source })
}

fn damaged(camera: &CameraId, why: serde_json::Error) -> ResumeError {
    let place = "the table of positions".to_owned();
    ResumeError::Checkpoint { camera: camera.to_string(), place, source: why.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::{Position, SamplerState};

    fn at(fragment: &str, seen: Option<&str>) -> Checkpoint {
        let position = Some(Position { fragment: fragment.into(), media: MediaMs(7), primer: None });
        let seen = seen.map(|fragment| FramePosition { fragment: fragment.into(), media: MediaMs(8) });
        let sampler = SamplerState {
            next: Some((i64::from(fragment.len() as u32), MediaMs(9))),
            ..SamplerState::default()
        };
        Checkpoint { position, seen, sampler, ..Checkpoint::new("front-stream") }
    }

    #[test]
    fn footage_is_read_again_from_the_delivered_position_and_nothing_of_it_is_decided_again() {
        let (delivered, ahead) = (at("5", None), at("12", Some("13")));
        let again = reread(ahead.clone(), Some(delivered.clone()), false);
        assert_eq!((&again.position, &again.sampler), (&delivered.position, &delivered.sampler));
        assert_eq!(again.seen, ahead.seen);
        let between = reread(at("12", None), Some(delivered.clone()), false).seen.unwrap();
        assert_eq!(between, FramePosition { fragment: "12".into(), media: MediaMs(i64::MAX) });
        let other = Checkpoint { stream: "back-stream".into(), ..delivered };
        for delivered in [None, Some(other)] {
            assert_eq!(reread(ahead.clone(), delivered.clone(), false), ahead, "it would start at NOW");
            let all = reread(ahead.clone(), delivered, true);
            assert_eq!((all.position, all.seen), (None, ahead.seen.clone()), "from the beginning");
        }
    }
}
