//! The record of an event.

use super::id::{IdParts, event_id};
use super::track::Track;
use super::{FrameFacts, Look, Sighting};
use crate::frame::{BBox, Event, Extras, Payload, Phase};

/// The version of the record's shape.
const SCHEMA: &str = "1";
/// Who made the record.
const PRODUCER: &str = concat!("kvs-infer/", env!("CARGO_PKG_VERSION"));

/// What a record tells of a thing.
pub(super) struct Subject<'a> {
    phase: Phase,
    label: &'a str,
    conf: f32,
    bbox: &'a BBox,
    zones: &'a [String],
    rank: u32,
    track: &'a Track,
}

impl<'a> Subject<'a> {
    /// A sighting, which begins the thing's incident or goes on with it.
    pub(super) fn sighting(phase: Phase, sighting: &'a Sighting, track: &'a Track) -> Self {
        let Sighting { label, conf, bbox, zones, rank, .. } = sighting;
        Self { phase, label, conf: *conf, bbox, zones, rank: *rank, track }
    }

    /// The end of the thing's incident; `rank`: its place among the ends of its label in this look.
    pub(super) fn end(track: &'a Track, rank: u32) -> Self {
        let Track { label, conf, bbox, .. } = track;
        Self { phase: Phase::End, label, conf: *conf, bbox, zones: &[], rank, track }
    }

    fn id(&self, frame: &FrameFacts<'_>, look: &Look<'_>) -> String {
        event_id(&IdParts {
            stream: frame.stream,
            fragment: &frame.fragment.number,
            index: frame.index,
            detector: &look.rules.detector,
            label: self.label,
            phase: self.phase,
            rank: self.rank,
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
        let incident = self.track.incident.as_ref().map_or(event_id, |incident| &incident.id);
        let reading = self.track.readings.best();
        let lasted_ms = self.track.last_seen.0.saturating_sub(self.track.first_seen.0);
        Extras {
            incident_id: incident.to_owned(),
            phase: self.phase,
            fragment_number: frame.fragment.number.to_string(),
            frame_index: frame.index,
            producer_ts_ms: frame.fragment.producer_ms,
            server_ts_ms: frame.fragment.server_ms,
            time_source,
            frame_width: frame.size_px.0,
            frame_height: frame.size_px.1,
            zones: self.zones.to_vec(),
            track_id: self.track.id,
            model: look.model.clone(),
            snapshot: None,
            text: reading.map(|(text, _)| text.to_owned()),
            ocr_conf: reading.map(|(_, conf)| rounded(conf, 1e4)),
            duration_ms: (self.phase != Phase::Start).then_some(lasted_ms),
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
