//! The record of an event.

use super::activity::{self, OpenActivity, activity_id};
use super::id::{IdParts, event_id};
use super::track::Track;
use super::{FrameFacts, Look, Sighting};
use crate::media::{ActivityCounts, BBox, Event, Extras, Payload, Phase};

/// The version of the record's shape.
const SCHEMA: &str = "1";
/// Who made the record.
const PRODUCER: &str = concat!("kvs-infer/", env!("CARGO_PKG_VERSION"));

/// What a record tells of a thing or of an activity.
pub(super) struct Subject<'a> {
    phase: Phase,
    label: &'a str,
    conf: f32,
    bbox: &'a BBox,
    zones: &'a [String],
    of: Of<'a>,
}

/// What a record is about.
enum Of<'a> {
    /// An incident, with the place of the record among those of its label and phase in this look.
    Incident(&'a Track, u32),
    /// An activity, with its zone; "": the whole frame.
    Activity(&'a OpenActivity, &'a String),
}

/// What incidents and activities do not have in common.
struct About<'a> {
    incident_id: &'a str,
    track_id: u64,
    reading: Option<(&'a str, f32)>,
    lasted_ms: i64,
    activity: Option<ActivityCounts>,
}

impl<'a> Subject<'a> {
    /// A sighting, which begins the thing's incident or goes on with it.
    pub(super) fn sighting(phase: Phase, sighting: &'a Sighting, track: &'a Track) -> Self {
        let Sighting { label, conf, bbox, zones, rank, .. } = sighting;
        Self { phase, label, conf: *conf, bbox, zones, of: Of::Incident(track, *rank) }
    }

    /// The end of the thing's incident; `rank`: its place among the ends of its label in this look.
    pub(super) fn end(track: &'a Track, rank: u32) -> Self {
        let Track { label, conf, bbox, .. } = track;
        Self { phase: Phase::End, label, conf: *conf, bbox, zones: &[], of: Of::Incident(track, rank) }
    }

    /// The start or the end of an activity in `zone`; "": in the whole frame.
    pub(super) fn activity(phase: Phase, zone: &'a String, activity: &'a OpenActivity) -> Self {
        let (conf, bbox) = activity.sight();
        let zones = if zone.is_empty() { &[] } else { std::slice::from_ref(zone) };
        Self { phase, label: activity::LABEL, conf, bbox, zones, of: Of::Activity(activity, zone) }
    }

    fn id(&self, frame: &FrameFacts<'_>, look: &Look<'_>) -> String {
        let rank = match self.of {
            Of::Incident(_, rank) => rank,
            Of::Activity(_, zone) => return activity_id(frame, look, zone, self.phase),
        };
        event_id(&IdParts {
            stream: frame.stream,
            fragment: &frame.fragment.number,
            index: frame.index,
            detector: &look.rules.detector,
            label: self.label,
            phase: self.phase,
            rank,
        })
    }

    /// The record, made in `frame`.
    pub(super) fn record(&self, frame: &FrameFacts<'_>, look: &Look<'_>, seq: u64) -> Event {
        let event_id = self.id(frame, look);
        let extras = self.extras(frame, look, &event_id);
        Event {
            event_id,
            camera_id: frame.camera.as_str().to_owned(),
            producer: PRODUCER.to_owned(),
            schema: SCHEMA.to_owned(),
            seq,
            payload: Payload {
                camera_id: frame.camera.as_str().to_owned(),
                kind: look.rules.kind.clone(),
                label: self.label.to_owned(),
                conf: rounded(self.conf, 1e4),
                bbox: corners(self.bbox),
                ts_ms: frame.media.0,
                extras,
            },
        }
    }

    fn extras(&self, frame: &FrameFacts<'_>, look: &Look<'_>, event_id: &str) -> Extras {
        let (_, time_source) = frame.fragment.media_start();
        let About { incident_id, track_id, reading, lasted_ms, activity } = self.about(event_id);
        Extras {
            incident_id: incident_id.to_owned(),
            phase: self.phase,
            fragment_number: frame.fragment.number.to_string(),
            frame_index: frame.index,
            producer_ts_ms: frame.fragment.producer_ms,
            server_ts_ms: frame.fragment.server_ms,
            time_source,
            frame_width: frame.size_px.0,
            frame_height: frame.size_px.1,
            zones: self.zones.to_vec(),
            track_id,
            model: look.model.clone(),
            snapshot: None,
            text: reading.map(|(text, _)| text.to_owned()),
            ocr_conf: reading.map(|(_, conf)| rounded(conf, 1e4)),
            duration_ms: (self.phase != Phase::Start).then_some(lasted_ms),
            activity,
        }
    }

    fn about<'s>(&'s self, event_id: &'s str) -> About<'s> {
        match self.of {
            Of::Incident(track, _) => About {
                incident_id: track.incident.as_ref().map_or(event_id, |incident| &incident.id),
                track_id: track.id,
                reading: track.readings.best(),
                lasted_ms: track.last_seen.0.saturating_sub(track.first_seen.0),
                activity: None,
            },
            Of::Activity(activity, _) => About {
                incident_id: &activity.id,
                track_id: 0,
                reading: None,
                lasted_ms: activity.lasted_ms(),
                activity: Some(activity.counts()),
            },
        }
    }
}

/// Left, top, right, bottom, to a tenth of a pixel: more would be noise of the device.
fn corners(bbox: &BBox) -> [f32; 4] {
    [bbox.x1, bbox.y1, bbox.x2, bbox.y2].map(|edge| rounded(edge, 10.0))
}

fn rounded(value: f32, steps: f32) -> f32 {
    (value * steps).round() / steps
}
