//! The event record of an incident or an activity.

use super::activity::{self, OpenActivity, activity_id};
use super::id::{IdParts, event_id};
use super::track::ObjectTrack;
use super::{FrameFacts, Inference, Sighting};
use crate::media::{ActivityCounts, BBox, Event, Extras, Payload, Phase};

/// Version of the event schema.
const SCHEMA: &str = "1";
/// Program that made the record.
const PRODUCER: &str = concat!("kvs-infer/", env!("CARGO_PKG_VERSION"));

/// The content of a record, apart from the frame.
pub(super) struct RecordSubject<'a> {
    phase: Phase,
    label: &'a str,
    conf: f32,
    bbox: &'a BBox,
    zones: &'a [String],
    kind: SubjectKind<'a>,
}

enum SubjectKind<'a> {
    /// An incident, with the rank of the record among those of its label and phase in this inference.
    Incident(&'a ObjectTrack, u32),
    /// An activity with its zone; "" is the whole frame.
    Activity(&'a OpenActivity, &'a String),
}

/// The fields of a record that incidents and activities fill differently.
struct SubjectFields<'a> {
    incident_id: &'a str,
    track_id: u64,
    text: Option<(&'a str, f32)>,
    lasted_ms: i64,
    activity: Option<ActivityCounts>,
}

impl<'a> RecordSubject<'a> {
    /// Returns the subject of a sighting that starts or updates the incident of its track.
    pub(super) fn sighting(phase: Phase, sighting: &'a Sighting, track: &'a ObjectTrack) -> Self {
        let Sighting { label, conf, bbox, zones, rank, .. } = sighting;
        Self { phase, label, conf: *conf, bbox, zones, kind: SubjectKind::Incident(track, *rank) }
    }

    /// Returns the subject of the end of a track's incident; `rank` is its rank among the ends of its label in this inference.
    pub(super) fn end(track: &'a ObjectTrack, rank: u32) -> Self {
        let ObjectTrack { label, conf, bbox, .. } = track;
        Self {
            phase: Phase::End,
            label,
            conf: *conf,
            bbox,
            zones: &[],
            kind: SubjectKind::Incident(track, rank),
        }
    }

    /// Returns the subject of the start or the end of an activity in `zone`; "" is the whole frame.
    pub(super) fn activity(phase: Phase, zone: &'a String, activity: &'a OpenActivity) -> Self {
        let (conf, bbox) = activity.best_view();
        let zones = if zone.is_empty() { &[] } else { std::slice::from_ref(zone) };
        Self { phase, label: activity::LABEL, conf, bbox, zones, kind: SubjectKind::Activity(activity, zone) }
    }

    fn id(&self, frame: &FrameFacts<'_>, inference: &Inference<'_>) -> String {
        let rank = match self.kind {
            SubjectKind::Incident(_, rank) => rank,
            SubjectKind::Activity(_, zone) => return activity_id(frame, inference, zone, self.phase),
        };
        event_id(&IdParts {
            stream: frame.stream,
            fragment: &frame.fragment.number,
            index: frame.index,
            detector: &inference.rules.detector,
            label: self.label,
            phase: self.phase,
            rank,
        })
    }

    /// Returns the record with the properties of `frame`.
    pub(super) fn record(&self, frame: &FrameFacts<'_>, inference: &Inference<'_>, seq: u64) -> Event {
        let event_id = self.id(frame, inference);
        let extras = self.extras(frame, inference, &event_id);
        Event {
            event_id,
            camera_id: frame.camera.as_str().to_owned(),
            producer: PRODUCER.to_owned(),
            schema: SCHEMA.to_owned(),
            seq,
            epoch: None,
            fenced: None,
            payload: Payload {
                camera_id: frame.camera.as_str().to_owned(),
                kind: inference.rules.kind.clone(),
                label: self.label.to_owned(),
                conf: rounded(self.conf, 1e4),
                bbox: corners(self.bbox),
                ts_ms: frame.media.0,
                extras,
            },
        }
    }

    fn extras(&self, frame: &FrameFacts<'_>, inference: &Inference<'_>, event_id: &str) -> Extras {
        let (_, time_source) = frame.fragment.media_start();
        let SubjectFields { incident_id, track_id, text, lasted_ms, activity } = self.fields(event_id);
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
            model: inference.model.clone(),
            snapshot: None,
            clip: None,
            text: text.map(|(text, _)| text.to_owned()),
            ocr_conf: text.map(|(_, conf)| rounded(conf, 1e4)),
            duration_ms: (self.phase != Phase::Start).then_some(lasted_ms),
            activity,
        }
    }

    fn fields<'s>(&'s self, event_id: &'s str) -> SubjectFields<'s> {
        match self.kind {
            SubjectKind::Incident(track, _) => SubjectFields {
                // A start has no incident yet: its own id becomes the id of the incident.
                incident_id: track.incident.as_ref().map_or(event_id, |incident| &incident.id),
                track_id: track.id,
                text: track.text_votes.best(),
                lasted_ms: track.last_seen.0.saturating_sub(track.first_seen.0),
                activity: None,
            },
            SubjectKind::Activity(activity, _) => SubjectFields {
                incident_id: &activity.id,
                track_id: 0,
                text: None,
                lasted_ms: activity.lasted_ms(),
                activity: Some(activity.counts()),
            },
        }
    }
}

/// Returns left, top, right and bottom, rounded to a tenth of a pixel.
fn corners(bbox: &BBox) -> [f32; 4] {
    // Further digits differ from one CPU or GPU to the next.
    [bbox.x1, bbox.y1, bbox.x2, bbox.y2].map(|edge| rounded(edge, 10.0))
}

fn rounded(value: f32, steps: f32) -> f32 {
    (value * steps).round() / steps
}
