//! Makes the pictures of adopted records again, as their frames pass.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::adoption::Adopter;
use super::outbox_error::OfferError;
use super::outbox_record::RecordHeader;
use super::unpictured::UnpicturedRecord;
use crate::media::{CameraId, Event, Frame};
use crate::snapshot::{SnapshotError, clean_picture, own_pictures};
use crate::telemetry::publish as telemetry;

/// Limit on the wait of an adopted record for its frame: of a camera that sends nothing, or whose footage has expired.
const PATIENCE: Duration = Duration::from_secs(600);
/// Interval between two searches for records that have waited too long.
const INTERVAL: Duration = Duration::from_secs(10);

/// An entry of an adopted record for the sinks that store pictures.
struct LateEntry {
    seq: u64,
    sinks: Vec<Arc<str>>,
    entry: ::outbox::NewEntry,
}

impl Adopter {
    /// Makes the pictures of the records whose frame this is, and takes these records in for the sinks that store pictures.
    pub(super) async fn picture(&self, camera: &CameraId, frame: &Arc<Frame>) -> Result<(), OfferError> {
        let is_of_frame = |event: &Event| {
            let extras = &event.payload.extras;
            (extras.fragment_number.as_str(), extras.frame_index) == (&*frame.fragment.number, frame.index)
        };
        let mut entries = Vec::new();
        for record in self.unpictured.take(camera, is_of_frame) {
            entries.push(self.pictured(camera, record, frame).await?);
        }
        self.take_in_late(camera, entries).await
    }

    /// Takes in the records whose frames did not come again, without pictures.
    pub(super) async fn give_up_pictures(&self, camera: &CameraId) -> Result<(), OfferError> {
        let records = self.unpictured.take(camera, |_| true);
        if records.is_empty() {
            return Ok(());
        }
        telemetry::PicturesLost { camera, records: records.len() }.emit();
        let entries: Result<Vec<_>, _> =
            records.into_iter().map(|record| self.without_pictures(camera, record)).collect();
        self.take_in_late(camera, entries?).await
    }

    /// Gives up the pictures of records that have waited too long, until `stopping`.
    pub(super) async fn run(self: Arc<Self>, stopping: CancellationToken) {
        while stopping.run_until_cancelled(tokio::time::sleep(INTERVAL)).await.is_some() {
            let Some(before) = Instant::now().checked_sub(PATIENCE) else { continue };
            for camera in self.unpictured.cameras_before(before) {
                // A record that is refused stays in the table, for the next start or owner.
                let _taken_in = stopping.run_until_cancelled(self.give_up_pictures(&camera)).await;
            }
        }
    }

    /// Returns the entry of a record with its pictures; without them where they cannot be made.
    async fn pictured(
        &self,
        camera: &CameraId,
        unpictured: UnpicturedRecord,
        frame: &Arc<Frame>,
    ) -> Result<LateEntry, OfferError> {
        match self.pictures_again(&unpictured, frame).await {
            Ok(Some(pictures)) => {
                let payload = json(camera, unpictured.record.payload())?;
                let handles = self.named(&unpictured.sinks).map(|port| port.handle).collect();
                let entry = ::outbox::NewEntry { payload, attachments: pictures, sinks: handles };
                Ok(LateEntry { seq: unpictured.event.seq, sinks: unpictured.sinks, entry })
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
    ) -> Result<Option<Vec<Bytes>>, SnapshotError> {
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
    ) -> Result<LateEntry, OfferError> {
        let header = &mut unpictured.record.header;
        (header.place, header.boxes) = (None, Vec::new());
        let (seq, payload) = (header.seq, json(camera, unpictured.record.payload())?);
        let mut handles = Vec::new();
        for port in self.named(&unpictured.sinks) {
            if port.sink.takes(&unpictured.event, None) {
                handles.push(port.handle);
            } else {
                self.progress.settled(camera, seq, &port.name);
            }
        }
        let entry = ::outbox::NewEntry { payload, attachments: Vec::new(), sinks: handles };
        Ok(LateEntry { seq, sinks: unpictured.sinks, entry })
    }

    /// Commits entries, and records once they are on disk that this outbox has them.
    async fn take_in_late(&self, camera: &CameraId, late: Vec<LateEntry>) -> Result<(), OfferError> {
        if late.is_empty() {
            return Ok(());
        }
        let ended = || self.gate.ended(camera);
        let Some((_guard, taken_over)) = self.gate.admit(camera).await else { return Err(ended()) };
        let entries = late.iter().map(|late| late.entry.clone()).collect();
        let source = camera.as_str().to_owned();
        let commit = ::outbox::OutboxCommit { source, checkpoint: None, entries, urgent: true };
        let done = taken_over.run_until_cancelled(self.store.commit(commit)).await;
        done.ok_or_else(ended)?.map_err(|refused| OfferError::of(refused, camera))?;
        // Until they are on disk the table names their last holder.
        self.store.flush().await;
        for LateEntry { seq, sinks, .. } in &late {
            self.progress.held(camera, *seq, sinks);
        }
        Ok(())
    }
}

fn json(camera: &CameraId, payload: serde_json::Result<Bytes>) -> Result<Bytes, OfferError> {
    payload.map_err(|source| OfferError::Json { what: format!("a record of camera {camera}"), source })
}
