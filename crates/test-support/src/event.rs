//! The sample of an event record.

#![expect(clippy::unwrap_used, reason = "what a test cannot set up, it fails on")]

use serde::de::DeserializeOwned;
use serde_json::json;

/// Returns the start record of an incident, a person at camera `camera` in a frame of 320x180, as the type that holds events.
///
/// It is made from JSON, so that the unit tests of the crate that defines the type can use it too.
pub fn sample_event<E: DeserializeOwned>(camera: &str, event_id: &str) -> E {
    let extras = json!({
        "incident_id": event_id,
        "phase": "start",
        "fragment_number": "91343852333181432392682062607743920000000000001",
        "frame_index": 4,
        "producer_ts_ms": 1_700_000_000_000_u64,
        "server_ts_ms": 1_700_000_000_100_u64,
        "time_source": "producer",
        "frame_width": 320,
        "frame_height": 180,
        "zones": ["door"],
        "track_id": 1,
        "model": { "name": "street", "sha256": "0".repeat(64) },
    });
    let payload = json!({
        "camera_id": camera,
        "type": "objects",
        "label": "person",
        "conf": 0.87,
        "bbox": [100.0, 40.0, 140.0, 120.0],
        "ts_ms": 1_700_000_000_123_u64,
        "extras": extras,
    });
    let event = json!({
        "event_id": event_id,
        "camera_id": camera,
        "producer": "kvs-infer/test",
        "schema": "1",
        "seq": 1,
        "payload": payload,
    });
    serde_json::from_value(event).unwrap()
}
