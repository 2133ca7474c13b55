//! Takes in the records that a camera's last owner left in the table of positions.
//!
//! Sinks without pictures get them at once. Pictures are not in the table: the camera reads the footage from its delivered position
//! again, and they are made as the frames pass (`repicture`). Until then the table names the last owner as the holder of these
//! records, so that another loss does not lose them.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures_util::future::poll_immediate;

use super::camera_gate::CameraGate;
use super::delivery_progress::DeliveryProgress;
use super::outbox_error::{OfferError, ResumeError, checkpoint_bytes};
use super::outbox_record::OutboxRecord;
use super::positions::{AheadRecord, Positions, Resumption};
use super::route::Route;
use super::sink::{Sink, SinkRegistry};
use super::unpictured::{UnpicturedRecord, UnpicturedRecords};
use crate::checkpoint::{Checkpoint, FramePosition};
use crate::media::{CameraId, Event, MediaMs};
use crate::snapshot::SnapshotSettings;
use crate::telemetry::publish as telemetry;

/// The holder of a record that is in no outbox.
const NOWHERE: &str = "none";

/// Takes in records of the table of positions.
pub(super) struct Adopter {
    pub(super) store: ::outbox::Outbox,
    pub(super) ports: Vec<SinkPort>,
    pub(super) registry: Arc<dyn SinkRegistry>,
    pub(super) progress: Arc<DeliveryProgress>,
    pub(super) gate: CameraGate,
    /// Id of the outbox.
    pub(super) own: Arc<str>,
    pub(super) snapshots: Option<SnapshotSettings>,
    pub(super) unpictured: UnpicturedRecords,
}

/// A running sink.
pub(super) struct SinkPort {
    pub(super) name: Arc<str>,
    pub(super) handle: ::outbox::SinkHandle,
    pub(super) sink: Arc<dyn Sink>,
}

/// The way in which a camera resumes.
#[derive(Clone, Copy, Debug)]
pub struct ResumeRules<'a> {
    /// Without a position the camera reads all stored footage.
    pub reads_all: bool,
    /// The camera's route.
    pub route: &'a Route,
}

/// A record of the table with the sinks that lack it.
struct ReadRecord<'a> {
    seq: u64,
    holder: Arc<str>,
    payload: Bytes,
    record: OutboxRecord,
    event: Event,
    /// Sinks that get it at once.
    now: Vec<&'a SinkPort>,
    /// Sinks that get it with its pictures.
    later: Vec<&'a SinkPort>,
}

impl Adopter {
    /// Takes in the records that this outbox lacks, together with the state after them. Returns the state at which the camera resumes.
    pub(super) async fn adopt(
        &self,
        positions: &Positions,
        camera: &CameraId,
        resumption: Resumption,
        rules: ResumeRules<'_>,
    ) -> Result<Option<Checkpoint>, ResumeError> {
        let Resumption { checkpoint, adopted, delivered } = resumption;
        let checkpoint = match checkpoint {
            Some(checkpoint) if !adopted.is_empty() => checkpoint,
            checkpoint => return Ok(checkpoint),
        };
        let read: Result<Vec<_>, _> =
            adopted.iter().map(|record| self.read(camera, record, rules.route)).collect();
        let records = read.map_err(|why| damaged(camera, why))?;
        let needs_footage = records.iter().any(|record| !record.later.is_empty());
        let checkpoint =
            if needs_footage { reread(checkpoint, delivered, rules.reads_all) } else { checkpoint };
        self.follow(camera, &records);
        self.take_in(camera, &checkpoint, &records).await?;
        report(camera, &records);
        self.unpictured.set(camera, records.into_iter().filter_map(ReadRecord::unpictured).collect());
        positions.adopted(camera).await;
        Ok(Some(checkpoint))
    }

    fn read(
        &self,
        camera: &CameraId,
        adopted: &AheadRecord,
        route: &Route,
    ) -> Result<ReadRecord<'_>, serde_json::Error> {
        let payload = adopted.payload();
        let record = record_of(camera, payload.clone())?;
        let event: Event = serde_json::from_slice(&record.json)?;
        let is_pictured = record.header.place.is_some();
        let takers = self.takers(adopted, &event, &record, route);
        let (later, now) = takers.into_iter().partition(|port| is_pictured && port.sink.wants_pictures());
        // Of this outbox where it was killed between the write-ahead and its own commit: then none has the record.
        let own = adopted.holder == self.own;
        let holder = if own { Arc::from(NOWHERE) } else { Arc::clone(&adopted.holder) };
        Ok(ReadRecord { seq: adopted.seq, holder, payload, record, event, now, later })
    }

    /// Returns the sinks that lack the record. Where one of them is no longer configured, the sinks of the camera's route get it, too.
    fn takers(
        &self,
        adopted: &AheadRecord,
        event: &Event,
        record: &OutboxRecord,
        route: &Route,
    ) -> Vec<&SinkPort> {
        let mut takers: Vec<_> = self.named(&adopted.sinks).collect();
        if takers.len() < adopted.sinks.len() {
            let routed: Vec<Arc<str>> =
                self.registry.sinks(&[route]).iter().map(|sink| Arc::from(sink.name())).collect();
            let place = record.header.place.as_ref();
            let others = self.named(&routed).filter(|port| port.sink.takes(event, place));
            takers.extend(others.filter(|port| !adopted.sinks.contains(&port.name)));
        }
        takers
    }

    /// Adds records to the delivery progress of their camera.
    fn follow(&self, camera: &CameraId, records: &[ReadRecord<'_>]) {
        let progress = &self.progress;
        for ReadRecord { seq, holder, payload, now, later, .. } in records {
            progress.taken(camera, *seq, names(now));
            progress.deferred(camera, *seq, names(later), holder);
            progress.keep(camera, *seq, payload.clone());
        }
    }

    /// Returns the entries of records that the former owner of a shared camera left in its item, for the sinks that get them at once.
    /// The others get them with their pictures, when their frames have come again.
    ///
    /// # Errors
    /// A record is damaged.
    pub(super) fn adopt_shared(
        &self,
        camera: &CameraId,
        epoch: u64,
        left: &[AheadRecord],
        route: &Route,
    ) -> Result<Vec<::outbox::NewEntry>, OfferError> {
        let damaged = |source| OfferError::Json { what: format!("a record of camera {camera}"), source };
        let mut records = Vec::with_capacity(left.len());
        for record in left {
            let read = self.read(camera, record, route).and_then(|read| read.of_epoch(epoch));
            records.push(read.map_err(damaged)?);
        }
        for record in &records {
            self.progress.taken(camera, record.seq, names(&record.now));
        }
        report(camera, &records);
        let entries = records.iter().filter(|record| !record.now.is_empty()).map(ReadRecord::entry).collect();
        self.unpictured.set(camera, records.into_iter().filter_map(ReadRecord::unpictured).collect());
        Ok(entries)
    }

    /// Commits the records that sinks get at once, with the state after all of them.
    async fn take_in(
        &self,
        camera: &CameraId,
        checkpoint: &Checkpoint,
        records: &[ReadRecord<'_>],
    ) -> Result<(), ResumeError> {
        let refused = |source| ResumeError::Adoption { camera: camera.to_string(), source };
        let bytes = checkpoint_bytes(camera, checkpoint).map_err(refused)?;
        let entries = records.iter().filter(|record| !record.now.is_empty()).map(ReadRecord::entry).collect();
        let source = camera.as_str().to_owned();
        let commit = ::outbox::OutboxCommit { source, checkpoint: Some(bytes), entries, urgent: true };
        // The other cameras are not to wait for the room of this one.
        let Some(done) = poll_immediate(self.store.commit(commit)).await else {
            return Err(ResumeError::NoRoom { camera: camera.to_string() });
        };
        done.map_err(|why| refused(OfferError::of(why, camera)))?;
        self.progress.committed(camera, checkpoint.clone());
        Ok(())
    }

    /// Returns the running sinks of these names.
    pub(super) fn named(&self, names: &[Arc<str>]) -> impl Iterator<Item = &SinkPort> {
        self.ports.iter().filter(|port| names.contains(&port.name))
    }
}

impl ReadRecord<'_> {
    /// Returns the record as the owner of this epoch has it.
    fn of_epoch(mut self, epoch: u64) -> Result<Self, serde_json::Error> {
        self.record.header.epoch = Some(epoch);
        self.payload = self.record.payload()?;
        Ok(self)
    }

    fn entry(&self) -> ::outbox::NewEntry {
        let sinks = self.now.iter().map(|port| port.handle).collect();
        ::outbox::NewEntry { payload: self.payload.clone(), attachments: Vec::new(), sinks }
    }

    fn unpictured(self) -> Option<UnpicturedRecord> {
        let Self { record, event, later, .. } = self;
        let sinks = names(&later);
        (!sinks.is_empty()).then(|| UnpicturedRecord { record, event, sinks, since: Instant::now() })
    }
}

fn report(camera: &CameraId, records: &[ReadRecord<'_>]) {
    let is_without = |record: &&ReadRecord<'_>| record.now.is_empty() && record.later.is_empty();
    let without_sink = records.iter().filter(is_without).count();
    telemetry::RecordsAdopted { camera, records: records.len() - without_sink, without_sink }.emit();
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

fn record_of(camera: &CameraId, payload: Bytes) -> Result<OutboxRecord, serde_json::Error> {
    let (id, source) = (::outbox::EntryId(0), camera.as_str().to_owned());
    let entry = ::outbox::OutboxEntry { id, source, payload, attachments: Vec::new() };
    OutboxRecord::decode(entry).map_err(serde::de::Error::custom)
}

fn names(ports: &[&SinkPort]) -> Vec<Arc<str>> {
    ports.iter().map(|port| Arc::clone(&port.name)).collect()
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
