//! The record of an event.

use super::id::{IdParts, event_id};
use super::{FrameFacts, Look, Sighting};
use crate::frame::{BBox, Event, Extras, Payload, Phase};

/// The version of the record's shape.
const SCHEMA: &str = "1";
/// Who made the record.
const PRODUCER: &str = concat!("kvs-infer/", env!("CARGO_PKG_VERSION"));

/// The record of a thing that was confirmed in `frame`: in this version every incident is its start record.
pub(super) fn start(frame: &FrameFacts<'_>, look: &Look<'_>, sighting: &Sighting, seq: u64) -> Event {
    let event_id = event_id(&IdParts {
        stream: frame.stream,
        fragment: &frame.fragment.number,
        index: frame.index,
        detector: &sighting.detector,
        label: &sighting.label,
        phase: Phase::Start,
        rank: sighting.rank,
    });
    let extras = extras(frame, look, sighting, &event_id);
    Event {
        event_id,
        camera_id: frame.camera.as_str().to_owned(),
        producer: PRODUCER.to_owned(),
        schema: SCHEMA.to_owned(),
        seq,
        payload: Payload {
            camera_id: frame.camera.as_str().to_owned(),
            kind: look.rules.kind.clone(),
            label: sighting.label.to_string(),
            conf: rounded(sighting.conf, 1e4),
            bbox: corners(&sighting.bbox),
            ts_ms: frame.media.0,
            extras,
        },
    }
}

fn extras(frame: &FrameFacts<'_>, look: &Look<'_>, sighting: &Sighting, incident_id: &str) -> Extras {
    let (_, time_source) = frame.fragment.media_start();
    Extras {
        incident_id: incident_id.to_owned(),
        phase: Phase::Start,
        fragment_number: frame.fragment.number.to_string(),
        frame_index: frame.index,
        producer_ts_ms: frame.fragment.producer_ms,
        server_ts_ms: frame.fragment.server_ms,
        time_source,
        frame_width: frame.size_px.0,
        frame_height: frame.size_px.1,
        zones: sighting.zones.clone(),
        model: look.model.clone(),
        snapshot: None,
    }
}

/// Left, top, right, bottom, to a tenth of a pixel: more would be noise of the device.
fn corners(bbox: &BBox) -> [f32; 4] {
    [bbox.x1, bbox.y1, bbox.x2, bbox.y2].map(|edge| rounded(edge, 10.0))
}

fn rounded(value: f32, steps: f32) -> f32 {
    (value * steps).round() / steps
}
