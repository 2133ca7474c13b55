//! The events of a frame with their pictures, within limits.
//!
//! The events of a frame and the state that they leave are one commit, all or nothing, so it is the pictures that give way where a
//! frame shows very many objects:
//!
//! - [`MAX_PICTURED`] events of a frame have pictures of their own. The others name the picture of the first, which shows their boxes.
//! - Records and pictures of a frame have [`MAX_FRAME_BYTES`] at most, and no more than the smallest share of a sink that takes pictures:
//!   what is beyond it is left out. The first picture alone may have up to [`MAX_PICTURE_BYTES`].
//!
//! Both are counted. The picture without boxes is encoded once for all events of the frame.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{StreamExt, stream};

use super::Route;
use super::outbox::{OfferError, Outbox, Packed};
use super::parcel::wrap;
use super::place::Place;
use super::snapshot::{OwnPictures, SnapshotError, clean_picture, own_pictures};
use super::start::{RunningSink, SinkName};
use crate::base::epoch_ms_of;
use crate::decide::{DecidedEvent, SnapshotSource};
use crate::media::{Event, Frame};
use crate::render::{Label, SnapshotSpec};
use crate::telemetry::publish as telemetry;

/// Limit on the events of a frame that have pictures of their own.
pub const MAX_PICTURED: usize = 16;
/// Limit on the records and pictures of a frame, bytes.
pub const MAX_FRAME_BYTES: u64 = 16 << 20;
/// Limit on the first picture of a frame, bytes. A PNG of 4096 x 2304 px of noise has 28 MB.
const MAX_PICTURE_BYTES: u64 = 32 << 20;
/// The bytes of a record beside its event: header, places of the pictures, name of the snapshot.
const RECORD_EXTRA_BYTES: u64 = 2_048;
/// Events whose pictures are made at a time.
const AT_ONCE: usize = 2;

/// The events of a frame, to be delivered.
#[derive(Debug)]
pub struct PendingEvents {
    /// In the order of their `seq`; `extras.snapshot` is filled in here.
    pub events: Vec<DecidedEvent>,
    /// The camera's route.
    pub route: Arc<Route>,
    /// The frame that they were made of; `None`: no pictures.
    pub frame: Option<Arc<Frame>>,
    /// All boxes in it.
    pub boxes: Vec<Label>,
    /// Time at which its last byte was read.
    pub arrived: Instant,
}

/// The events of a frame, ready to be taken in.
#[derive(Debug, Default)]
pub struct PackedEvents {
    /// In the order of their `seq`.
    pub events: Vec<Packed>,
    /// Ids of those that have no picture of their own although they should.
    pub unpictured: BTreeSet<String>,
    /// The event whose picture they name; `None`: there is no picture of this frame.
    pub shown_by: Option<SnapshotSource>,
}

/// Lets one warning through a minute: a crowd would fill the log.
#[derive(Debug, Default)]
pub(super) struct Warnings(Mutex<Option<Instant>>);

const WARNING_GAP: Duration = Duration::from_secs(60);

impl Warnings {
    fn is_due(&self, now: Instant) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = last.is_none_or(|last| now.saturating_duration_since(last) >= WARNING_GAP);
        if is_due {
            *last = Some(now);
        }
        is_due
    }
}

/// The pictures of an event with their places.
struct Attached {
    place: Place,
    pictures: Vec<Bytes>,
}

/// An event that should have pictures of its own.
struct Wanted<'a> {
    event: &'a Event,
    place: Place,
}

impl Wanted<'_> {
    fn has_crop(&self) -> bool {
        self.place.s3.as_ref().is_some_and(|s3| s3.crop_key.is_some())
    }
}

impl Outbox {
    /// Makes the records and pictures of a frame's events. A picture that cannot be made, or has no room, is reported and left out.
    ///
    /// # Errors
    /// See [`OfferError`].
    pub async fn pack(&self, pending: PendingEvents) -> Result<PackedEvents, OfferError> {
        let PendingEvents { events, route, frame, boxes, arrived } = pending;
        let Some(first) = events.first() else { return Ok(PackedEvents::default()) };
        let sinks = self.route(&first.event, &route)?;
        let wanted: BTreeMap<&str, Wanted<'_>> = match &frame {
            Some(_) => events.iter().filter_map(|made| self.wanted(made, &route)).collect(),
            None => BTreeMap::new(),
        };
        let order = events.iter().filter_map(|made| wanted.get(made.event.event_id.as_str()));
        let mut own = match (self.publish.snapshots, frame) {
            (Some(spec), Some(frame)) => {
                self.pictures(
                    &order.collect::<Vec<_>>(),
                    frame,
                    boxes.into(),
                    spec,
                    Room::of(&events, &sinks),
                )
                .await
            }
            _ => BTreeMap::new(),
        };
        let mut packed = PackedEvents {
            unpictured: wanted
                .keys()
                .filter(|id| !own.contains_key(**id))
                .map(|id| (*id).to_owned())
                .collect(),
            shown_by: events.iter().find(|made| own.contains_key(&made.event.event_id)).map(pictured),
            events: Vec::with_capacity(events.len()),
        };
        drop(wanted);
        for made in events {
            let own = own.remove(&made.event.event_id);
            let shown_by = packed.shown_by(&made);
            let place = shown_by.and_then(|by| self.place(&made.event, &route, &by));
            packed.events.push(record(made.event, own, place.as_ref(), &sinks, arrived)?);
        }
        Ok(packed)
    }

    fn wanted<'a>(&self, made: &'a DecidedEvent, route: &Route) -> Option<(&'a str, Wanted<'a>)> {
        let place =
            made.pictured_by.is_none().then(|| self.place(&made.event, route, &pictured(made))).flatten()?;
        Some((&made.event.event_id, Wanted { event: &made.event, place }))
    }

    /// The places of the snapshot of `by`, an event of the same camera.
    fn place(&self, event: &Event, route: &Route, by: &SnapshotSource) -> Option<Place> {
        Place::of(&self.publish, route, &event.camera_id, &by.event_id, by.ts_ms)
    }

    /// The pictures of the first of these events, as many as there is room for, by the event's id.
    async fn pictures(
        &self,
        wanted: &[&Wanted<'_>],
        frame: Arc<Frame>,
        boxes: Arc<[Label]>,
        spec: SnapshotSpec,
        mut room: Room,
    ) -> BTreeMap<String, Attached> {
        let (drawn, beyond) = wanted.split_at(wanted.len().min(MAX_PICTURED));
        let clean = match drawn.first() {
            Some(first) if drawn.iter().any(|wanted| wanted.place.s3.is_some()) => {
                made(first.event, clean_picture(Arc::clone(&frame), spec).await)
            }
            _ => None,
        };
        let mut drawing = Vec::with_capacity(drawn.len());
        for wanted in drawn {
            let (frame, boxes) = (Arc::clone(&frame), Arc::clone(&boxes));
            drawing.push(own_pictures(wanted.event, frame, boxes, wanted.has_crop(), spec));
        }
        let mut drawing = stream::iter(drawing).buffered(AT_ONCE);
        let (mut attached, mut short) = (BTreeMap::new(), 0);
        for (tried, wanted) in drawn.iter().enumerate() {
            let Some(own) = drawing.next().await else { break };
            let Some(own) = made(wanted.event, own) else { continue };
            let Some((all, pictures)) = room.attach(&wanted.place, own, clean.as_ref()) else {
                short += drawn.len() - tried;
                break;
            };
            short += usize::from(!all);
            attached.insert(wanted.event.event_id.clone(), pictures);
        }
        if let Some(first) = wanted.first() {
            self.report_left_out(&first.event.camera_id, beyond.len(), short);
        }
        attached
    }

    fn report_left_out(&self, camera: &str, beyond: usize, short: usize) {
        for (reason, events) in [("limit", beyond), ("size", short)] {
            if events > 0 {
                let warns = self.left_out.is_due(Instant::now());
                telemetry::SnapshotsLeftOut { camera, reason, events, warns }.emit();
            }
        }
    }
}

impl PackedEvents {
    /// The event whose picture a record without its own names.
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

/// The pictures, unless they could not be made, which is reported.
fn made<T>(event: &Event, made: Result<T, SnapshotError>) -> Option<T> {
    let report = |error: &SnapshotError| {
        telemetry::SnapshotFailed { event_id: &event.event_id, error: &error.to_string() }.emit();
    };
    made.inspect_err(report).ok()
}

/// The record of an event; `shown_at`: the places of another event's pictures, where it has none of its own.
fn record(
    mut event: Event,
    own: Option<Attached>,
    shown_at: Option<&Place>,
    sinks: &[&RunningSink],
    arrived: Instant,
) -> Result<Packed, OfferError> {
    let (place, attachments) = own.map_or((None, Vec::new()), |own| (Some(own.place), own.pictures));
    event.payload.extras.snapshot = place.as_ref().or(shown_at).and_then(Place::url);
    let has_s3 = place.as_ref().is_some_and(|place| place.s3.is_some());
    let sinks = sinks.iter().filter(|sink| sink.name != SinkName::S3 || has_s3);
    let (handles, names) = sinks.map(|sink| (sink.handle, Arc::from(sink.gauge.name()))).unzip();
    let payload = wrap(&event, place, epoch_ms_of(arrived))
        .map_err(|source| OfferError::Json { what: format!("event {}", event.event_id), source })?;
    let entry = ::outbox::NewEntry { payload, attachments, sinks: handles };
    Ok(Packed { event, entry, sinks: names })
}

/// The bytes that the pictures of a frame may still take.
struct Room {
    /// Of all of them.
    bytes: u64,
    /// Of the first one, as long as there is none.
    first_bytes: u64,
}

impl Room {
    fn of(events: &[DecidedEvent], sinks: &[&RunningSink]) -> Self {
        let takers = sinks.iter().filter(|sink| sink.name.takes_pictures());
        let share = takers.map(|sink| sink.gauge.share_bytes()).min().unwrap_or(0);
        Self::beside(events.iter().map(|made| record_bytes(&made.event)).sum(), share)
    }

    /// Beside records of so many bytes, in a share.
    fn beside(records: u64, share: u64) -> Self {
        let share = share.saturating_sub(records);
        Self {
            bytes: MAX_FRAME_BYTES.saturating_sub(records).min(share),
            first_bytes: share.min(MAX_PICTURE_BYTES),
        }
    }

    fn take(&mut self, picture: &Bytes) -> bool {
        let bytes = picture.len() as u64;
        let fits = bytes <= self.bytes.max(self.first_bytes);
        if fits {
            *self = Self { bytes: self.bytes.saturating_sub(bytes), first_bytes: 0 };
        }
        fits
    }

    /// The pictures of an event that have room, in their order, with their places; `true`: all have. `None`: the first has not.
    fn attach(&mut self, place: &Place, own: OwnPictures, clean: Option<&Bytes>) -> Option<(bool, Attached)> {
        if !self.take(&own.annotated) {
            return None;
        }
        let (mut place, mut pictures, mut all) = (place.clone(), vec![own.annotated], true);
        if let Some(s3) = &mut place.s3 {
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
        Some((all, Attached { place, pictures }))
    }
}

/// An upper estimate of the bytes of a record in the outbox.
fn record_bytes(event: &Event) -> u64 {
    serde_json::to_vec(event).map_or(0, |json| json.len() as u64).saturating_add(RECORD_EXTRA_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publish::place::S3Place;

    fn place() -> Place {
        let key = |end: &str| format!("a{end}.jpg");
        let s3 = S3Place {
            bucket: "pictures".into(),
            key: key(""),
            clean_key: Some(key("_clean")),
            crop_key: Some(key("_crop")),
        };
        Place { local: None, s3: Some(s3) }
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
            let got = Room::beside(records, share).attach(&place(), own, Some(&bytes(clean)));
            let counted = got.as_ref().map(|(all, attached)| (*all, attached.pictures.len()));
            assert_eq!(counted, attached, "{name}");
            let keys = got.and_then(|(_, attached)| attached.place.s3);
            let keys =
                keys.map(|s3| 1 + usize::from(s3.clean_key.is_some()) + usize::from(s3.crop_key.is_some()));
            assert_eq!(keys, attached.map(|(_, pictures)| pictures), "{name}: a place for each picture");
        }
    }

    #[test]
    fn a_second_event_has_what_the_first_left() {
        let mut room = Room::beside(0, 1_000);
        let own = || OwnPictures { annotated: bytes(300), crop: None };
        let attached: Vec<_> = (0..4)
            .map(|_| {
                room.attach(&place(), own(), Some(&bytes(300))).map(|(_, attached)| attached.pictures.len())
            })
            .collect();
        assert_eq!(attached, [Some(2), Some(1), None, None]);
    }
}
