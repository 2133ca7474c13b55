//! Makes records of a frame's events, with their pictures, within limits.
//!
//! The events of a frame and the state after them are one commit, all or nothing. So pictures are left out where a frame shows very
//! many objects:
//!
//! - [`MAX_PICTURED`] events of a frame have pictures of their own. The others name the picture of the first, which shows their boxes.
//! - Records and pictures of a frame have [`MAX_FRAME_BYTES`] at most, and no more than the smallest share of a sink that stores
//!   pictures: the rest is left out. The first picture alone may have up to [`MAX_PICTURE_BYTES`].
//!
//! Both are counted. The picture without boxes is encoded once for all events of the frame.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures_util::{StreamExt, stream};

use super::event_outbox::EventOutbox;
use super::new_record::NewRecord;
use super::outbox_error::OfferError;
use super::outbox_record::encode;
use super::route::Route;
use super::start::RunningSink;
use crate::base::epoch_ms_of;
use crate::clips::ClipOrder;
use crate::decide::{DecidedEvent, SnapshotSource};
use crate::media::{Event, Frame};
use crate::render::{Label, SnapshotSpec};
use crate::snapshot::{OwnPictures, SnapshotError, SnapshotPlace, clean_picture, own_pictures};
use crate::telemetry::publish as telemetry;

/// Limit on the events of a frame that have pictures of their own.
pub const MAX_PICTURED: usize = 16;
/// Limit on the records and pictures of a frame, bytes.
pub const MAX_FRAME_BYTES: u64 = 16 << 20;
/// Limit on the first picture of a frame, bytes. A PNG of 4096 x 2304 px of noise has 28 MB.
const MAX_PICTURE_BYTES: u64 = 32 << 20;
/// Upper estimate of a record's bytes beside its event and the boxes: header, places of the pictures, name of the snapshot.
const RECORD_EXTRA_BYTES: u64 = 2_048;
/// Events whose pictures are made at a time.
const PICTURED_AT_ONCE: usize = 2;

/// The events of a frame, before their pictures are made.
#[derive(Debug)]
pub struct FrameEvents {
    /// Events in the order of their `seq`; `extras.snapshot` is filled in by [`EventOutbox::pack`].
    pub events: Vec<DecidedEvent>,
    /// The camera's route.
    pub route: Arc<Route>,
    /// The frame that they were made of; `None`: no pictures.
    pub frame: Option<Arc<Frame>>,
    /// All boxes in it.
    pub boxes: Vec<Label>,
    /// Time at which its last byte was read.
    pub arrived: Instant,
    /// The epoch under which this worker owns a shared camera; `None` in single mode.
    pub epoch: Option<u64>,
}

/// The records of a frame, to be committed.
#[derive(Debug, Default)]
pub struct FrameRecords {
    /// Records in the order of their events' `seq`.
    pub events: Vec<NewRecord>,
    /// Ids of events that have no picture of their own although they should.
    pub unpictured: BTreeSet<String>,
    /// The event whose picture they name; `None`: there is no picture of this frame.
    pub shown_by: Option<SnapshotSource>,
}

/// The pictures of an event with their places.
struct EventPictures {
    place: SnapshotPlace,
    pictures: Vec<Bytes>,
}

/// An event that should have pictures of its own.
struct PictureRequest<'a> {
    event: &'a Event,
    place: SnapshotPlace,
}

impl PictureRequest<'_> {
    fn has_crop(&self) -> bool {
        self.place.s3.as_ref().is_some_and(|s3| s3.crop_key.is_some())
    }
}

/// The frame of which pictures are made, with its boxes and their encoding.
struct PictureSource {
    frame: Arc<Frame>,
    boxes: Arc<[Label]>,
    encoding: SnapshotSpec,
}

impl PictureSource {
    /// Returns the picture without boxes, which only S3 stores; `None`: no request is for S3, or it cannot be made.
    async fn clean(&self, requests: &[PictureRequest<'_>]) -> Option<Bytes> {
        let first = requests.first().filter(|_| requests.iter().any(|request| request.place.s3.is_some()))?;
        report_failure(first.event, clean_picture(Arc::clone(&self.frame), self.encoding).await)
    }

    /// Makes the pictures that an event shares with no other.
    async fn own(&self, request: &PictureRequest<'_>) -> Result<OwnPictures, SnapshotError> {
        let (frame, boxes) = (Arc::clone(&self.frame), Arc::clone(&self.boxes));
        own_pictures(request.event, frame, boxes, request.has_crop(), self.encoding).await
    }
}

impl EventOutbox {
    /// Makes the records and pictures of a frame's events. A picture that cannot be made, or for which there is no room, is reported
    /// and left out.
    ///
    /// # Errors
    /// See [`OfferError`].
    pub async fn pack(&self, pending: FrameEvents) -> Result<FrameRecords, OfferError> {
        let FrameEvents { mut events, route, frame, boxes, arrived, epoch } = pending;
        events.iter_mut().for_each(|made| made.event.epoch = epoch);
        let Some(first) = events.first() else { return Ok(FrameRecords::default()) };
        let sinks = self.route(&first.event, &route)?;
        let requests: Vec<PictureRequest<'_>> = match &frame {
            Some(_) => events.iter().filter_map(|made| self.picture_request(made, &route)).collect(),
            None => Vec::new(),
        };
        let boxes: Arc<[Label]> = boxes.into();
        let encoding = self.snapshots.as_ref().map(|settings| settings.encoding);
        let mut own = match (encoding, frame) {
            (Some(encoding), Some(frame)) => {
                let source = PictureSource { frame, boxes: Arc::clone(&boxes), encoding };
                self.pictures(&requests, &source, PictureBudget::of(&events, &boxes, &sinks)).await
            }
            _ => BTreeMap::new(),
        };
        let requested = requests.iter().map(|request| request.event.event_id.clone()).collect();
        // They borrow the events, which are moved from here on.
        drop(requests);
        let mut records = FrameRecords::beside(&own, requested, &events);
        for made in events {
            let own = own.remove(&made.event.event_id).map(|own| (own, &*boxes));
            let shown_by = records.shown_by(&made);
            let place = shown_by.and_then(|by| self.place(&made.event, &route, &by));
            let clip = clip_order(&made, &route);
            records.events.push(new_record(made.event, own, place.as_ref(), clip, &sinks, arrived)?);
        }
        Ok(records)
    }

    fn picture_request<'a>(&self, made: &'a DecidedEvent, route: &Route) -> Option<PictureRequest<'a>> {
        // An event that names another's picture, such as an end, gets none of its own.
        if made.pictured_by.is_some() {
            return None;
        }
        let place = self.place(&made.event, route, &pictured(made))?;
        Some(PictureRequest { event: &made.event, place })
    }

    /// Returns the places of the snapshot of `by`, an event of the same camera.
    fn place(&self, event: &Event, route: &Route, by: &SnapshotSource) -> Option<SnapshotPlace> {
        let settings = self.snapshots.as_ref()?;
        SnapshotPlace::of(settings, route.snapshot.as_ref(), &event.camera_id, &by.event_id, by.ts_ms)
    }

    /// Makes the pictures of the first requests, as many as there is room for; returned by the event's id.
    async fn pictures(
        &self,
        requests: &[PictureRequest<'_>],
        source: &PictureSource,
        mut budget: PictureBudget,
    ) -> BTreeMap<String, EventPictures> {
        let (drawn, beyond) = requests.split_at(requests.len().min(MAX_PICTURED));
        let clean = source.clean(drawn).await;
        // Lazy and in order: a picture for which there is no room any more is never drawn.
        let drawing = drawn.iter().map(|request| source.own(request)).collect::<Vec<_>>();
        let mut drawing = stream::iter(drawing).buffered(PICTURED_AT_ONCE);
        let (mut attached, mut short) = (BTreeMap::new(), 0);
        for (tried, request) in drawn.iter().enumerate() {
            let Some(own) = drawing.next().await else { break };
            let Some(own) = report_failure(request.event, own) else { continue };
            // The pictures of later events are no smaller as a rule, so they are not even drawn.
            let Some((all, pictures)) = budget.attach(&request.place, own, clean.as_ref()) else {
                short += drawn.len() - tried;
                break;
            };
            short += usize::from(!all);
            attached.insert(request.event.event_id.clone(), pictures);
        }
        if let Some(first) = requests.first() {
            self.report_left_out(&first.event.camera_id, beyond.len(), short);
        }
        attached
    }

    fn report_left_out(&self, camera: &str, beyond: usize, short: usize) {
        for (reason, events) in [("limit", beyond), ("size", short)] {
            if events > 0 {
                let warns = self.picture_warnings.is_due(Instant::now());
                telemetry::SnapshotsLeftOut { camera, reason, events, warns }.emit();
            }
        }
    }
}

impl FrameRecords {
    /// Returns the records of a frame with these pictures, before its events are added; `requested`: ids of the events that should
    /// have pictures of their own.
    fn beside(
        own: &BTreeMap<String, EventPictures>,
        requested: BTreeSet<String>,
        events: &[DecidedEvent],
    ) -> Self {
        let shown_by = events.iter().find(|made| own.contains_key(&made.event.event_id)).map(pictured);
        let unpictured = requested.into_iter().filter(|id| !own.contains_key(id)).collect();
        Self { events: Vec::with_capacity(events.len()), unpictured, shown_by }
    }

    /// Returns the event whose picture a record without its own names.
    fn shown_by(&self, made: &DecidedEvent) -> Option<SnapshotSource> {
        let by = match &made.pictured_by {
            Some(by) if self.unpictured.contains(&by.event_id) => self.shown_by.clone(),
            Some(by) => Some(by.clone()),
            None if self.unpictured.contains(&made.event.event_id) => self.shown_by.clone(),
            None => None,
        };
        by.filter(SnapshotSource::has_picture)
    }
}

fn pictured(made: &DecidedEvent) -> SnapshotSource {
    SnapshotSource { event_id: made.event.event_id.clone(), ts_ms: made.event.payload.ts_ms }
}

/// Returns the pictures, or reports why they could not be made.
fn report_failure<T>(event: &Event, pictures: Result<T, SnapshotError>) -> Option<T> {
    let report = |error: &SnapshotError| {
        telemetry::SnapshotFailed { event_id: &event.event_id, error: &error.to_string() }.emit();
    };
    pictures.inspect_err(report).ok()
}

/// Returns the clip that a sink stores at the end of an incident; `None`: none.
fn clip_order(made: &DecidedEvent, route: &Route) -> Option<ClipOrder> {
    let ((first, last), clips) = (made.sighted?, route.clip.as_ref()?);
    let Event { camera_id, payload, .. } = &made.event;
    Some(ClipOrder::of(clips, camera_id, &payload.extras.incident_id, first.0, last.0))
}

/// Makes the record of an event. `own`: its own pictures and the boxes in them; `shown_at`: the places of another event's pictures,
/// where it has none of its own; `clip`: the one that a sink stores for it.
fn new_record(
    mut event: Event,
    own: Option<(EventPictures, &[Label])>,
    shown_at: Option<&SnapshotPlace>,
    clip: Option<ClipOrder>,
    sinks: &[&RunningSink],
    arrived: Instant,
) -> Result<NewRecord, OfferError> {
    let (place, attachments, boxes) = match own {
        Some((own, boxes)) => (Some(own.place), own.pictures, boxes),
        None => (None, Vec::new(), &[][..]),
    };
    event.payload.extras.snapshot = place.as_ref().or(shown_at).and_then(SnapshotPlace::url);
    event.payload.extras.clip = clip.as_ref().and_then(ClipOrder::url);
    let takers = sinks.iter().filter(|running| running.sink.takes(&event, place.as_ref()));
    let (handles, names) = takers.map(|running| (running.handle, Arc::from(running.gauge.name()))).unzip();
    let payload = encode(&event, place, boxes, clip, epoch_ms_of(arrived))
        .map_err(|source| OfferError::Json { what: format!("event {}", event.event_id), source })?;
    let entry = ::outbox::NewEntry { payload, attachments, sinks: handles };
    Ok(NewRecord { event, entry, sinks: names })
}

/// The bytes that the pictures of a frame may still take.
struct PictureBudget {
    /// Bytes for all of them.
    bytes: u64,
    /// Bytes for the first one; 0 once there is one.
    first_bytes: u64,
}

impl PictureBudget {
    fn of(events: &[DecidedEvent], boxes: &[Label], sinks: &[&RunningSink]) -> Self {
        // The outbox takes an entry beyond a share only into an empty queue: it would hold up the camera, or drop all others.
        let stores = sinks.iter().filter(|running| running.sink.wants_pictures());
        let share = stores.map(|running| running.gauge.share_bytes()).min().unwrap_or(0);
        // Each record with pictures of its own has the boxes in them.
        let boxes = serde_json::to_vec(boxes).map_or(0, |json| json.len() as u64);
        let pictured = events.len().min(MAX_PICTURED) as u64;
        let records: u64 = events.iter().map(|made| record_bytes(&made.event)).sum();
        Self::beside(records.saturating_add(pictured.saturating_mul(boxes)), share)
    }

    /// Returns the budget beside records of this many bytes, in a share.
    fn beside(records: u64, share: u64) -> Self {
        let share = share.saturating_sub(records);
        Self {
            bytes: MAX_FRAME_BYTES.saturating_sub(records).min(share),
            first_bytes: share.min(MAX_PICTURE_BYTES),
        }
    }

    fn take(&mut self, picture: &Bytes) -> bool {
        let bytes = picture.len() as u64;
        // An event without any picture is worse than one large commit.
        let fits = bytes <= self.bytes.max(self.first_bytes);
        if fits {
            *self = Self { bytes: self.bytes.saturating_sub(bytes), first_bytes: 0 };
        }
        fits
    }

    /// Returns the pictures of an event that fit, in their order, with their places; `true`: all fit. `None`: the first does not.
    fn attach(
        &mut self,
        place: &SnapshotPlace,
        own: OwnPictures,
        clean: Option<&Bytes>,
    ) -> Option<(bool, EventPictures)> {
        if !self.take(&own.annotated) {
            return None;
        }
        let (mut place, mut pictures, mut all) = (place.clone(), vec![own.annotated], true);
        if let Some(s3) = &mut place.s3 {
            // The S3 sink pairs keys and pictures by their order, so a picture that is left out takes its key along.
            for (picture, key) in [(clean.cloned(), &mut s3.clean_key), (own.crop, &mut s3.crop_key)] {
                match picture {
                    Some(picture) if self.take(&picture) => pictures.push(picture),
                    picture => {
                        all &= picture.is_none();
                        *key = None;
                    }
                }
            }
        }
        Some((all, EventPictures { place, pictures }))
    }
}

/// Returns an upper estimate of the bytes of a record in the outbox, without the boxes of its pictures.
fn record_bytes(event: &Event) -> u64 {
    serde_json::to_vec(event).map_or(0, |json| json.len() as u64).saturating_add(RECORD_EXTRA_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::S3Place;

    fn place() -> SnapshotPlace {
        let key = |end: &str| format!("a{end}.jpg");
        let s3 = S3Place {
            bucket: "pictures".into(),
            key: key(""),
            clean_key: Some(key("_clean")),
            crop_key: Some(key("_crop")),
        };
        SnapshotPlace { local: None, s3: Some(s3) }
    }

    fn bytes(len: usize) -> Bytes {
        vec![0; len].into()
    }

    #[test]
    fn pictures_take_the_room_that_records_and_shares_leave() {
        const MIB: usize = 1 << 20;
        let small = (100, 100, Some(10));
        let table = [
            ("all", 1_000, 1 << 30, small, Some((true, 3))),
            ("a share that is just large enough", 1_000, 1_210, small, Some((true, 3))),
            ("no room for the one without boxes", 1_000, 1_150, small, Some((false, 2))),
            ("none for the first", 1_000, 1_050, small, None),
            ("none at all", 1_000, 999, small, None),
            ("the first may be large", 0, 1 << 30, (20 * MIB, 20 * MIB, None), Some((false, 1))),
            ("but not larger", 0, 1 << 30, (33 * MIB, 1, None), None),
            ("a share counts for the first, too", 0, 19 << 20, (20 * MIB, 1, None), None),
        ];
        for (name, records, share, (annotated, clean, crop), attached) in table {
            let own = OwnPictures { annotated: bytes(annotated), crop: crop.map(bytes) };
            let got = PictureBudget::beside(records, share).attach(&place(), own, Some(&bytes(clean)));
            let counted = got.as_ref().map(|(all, attached)| (*all, attached.pictures.len()));
            assert_eq!(counted, attached, "{name}");
            let keys = got.and_then(|(_, attached)| attached.place.s3);
            let keys =
                keys.map(|s3| 1 + usize::from(s3.clean_key.is_some()) + usize::from(s3.crop_key.is_some()));
            assert_eq!(keys, attached.map(|(_, pictures)| pictures), "{name}: a place for each picture");
        }
    }

    #[test]
    fn a_second_event_gets_the_bytes_that_the_first_left() {
        let mut budget = PictureBudget::beside(0, 1_000);
        let own = || OwnPictures { annotated: bytes(300), crop: None };
        let attached: Vec<_> = (0..4)
            .map(|_| {
                budget.attach(&place(), own(), Some(&bytes(300))).map(|(_, attached)| attached.pictures.len())
            })
            .collect();
        assert_eq!(attached, [Some(2), Some(1), None, None]);
    }
}
