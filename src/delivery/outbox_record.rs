//! The form of an event in the outbox.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::base::epoch_ms;
use crate::clips::ClipOrder;
use crate::media::{CameraId, Event};
use crate::render::Label;
use crate::snapshot::SnapshotPlace;

/// The facts about an event that sinks need without parsing it.
///
/// On disk since the first version: fields keep their names, and new ones need a default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct RecordHeader {
    pub(crate) event_id: String,
    pub(crate) ts_ms: i64,
    pub(crate) seq: u64,
    /// Time at which the last byte of the confirming frame was read, ms since the epoch; for latencies only.
    pub(crate) arrived_ms: i64,
    /// Id of the incident; empty in records of earlier versions.
    #[serde(default)]
    pub(crate) incident_id: String,
    /// Places of the pictures. The pictures are attachments in this order: annotated, without boxes, then the crop if there is one.
    pub(crate) place: Option<SnapshotPlace>,
    /// The boxes in the pictures, from which another host can draw them again; empty without pictures and in records of earlier
    /// versions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) boxes: Vec<Label>,
    /// The clip of the incident that has ended, for the sink that stores it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) clip: Option<ClipOrder>,
    /// The epoch of the worker that has the record here, where workers share the cameras.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) epoch: Option<u64>,
}

/// An event that waits for a sink.
#[derive(Clone, Debug)]
pub(crate) struct OutboxRecord {
    pub(crate) id: ::outbox::EntryId,
    pub(crate) camera: CameraId,
    pub(crate) header: RecordHeader,
    /// The event as one JSON object, without a line break.
    pub(crate) json: Bytes,
    /// The pictures of [`RecordHeader::place`]; empty for a sink without pictures.
    pub(crate) pictures: Vec<Bytes>,
}

/// An entry of the outbox that does not hold an event.
#[derive(Debug, thiserror::Error)]
#[error("entry {id} of camera {camera} in the outbox does not hold an event: {why}")]
pub(crate) struct DecodeRecordError {
    pub(crate) id: ::outbox::EntryId,
    pub(crate) camera: String,
    why: String,
}

/// Returns the payload of an outbox entry: the header as a line of JSON, then the event. `boxes`: those in the pictures at `place`;
/// `clip`: the one that a sink stores for it.
pub(super) fn encode(
    event: &Event,
    place: Option<SnapshotPlace>,
    boxes: &[Label],
    clip: Option<ClipOrder>,
    arrived_ms: i64,
) -> serde_json::Result<Bytes> {
    let header = RecordHeader {
        event_id: event.event_id.clone(),
        ts_ms: event.payload.ts_ms,
        seq: event.seq,
        arrived_ms,
        incident_id: event.payload.extras.incident_id.clone(),
        place,
        boxes: boxes.to_vec(),
        clip,
        epoch: event.epoch,
    };
    // The event follows as it is delivered, so that no sink has to serialize it.
    let mut bytes = serde_json::to_vec(&header)?;
    bytes.push(b'\n');
    serde_json::to_writer(&mut bytes, event)?;
    Ok(bytes.into())
}

impl OutboxRecord {
    /// Reads an entry of the outbox.
    ///
    /// # Errors
    /// The entry does not hold an event.
    pub(crate) fn decode(entry: ::outbox::OutboxEntry) -> Result<Self, DecodeRecordError> {
        let ::outbox::OutboxEntry { id, source, payload, attachments } = entry;
        match split(&payload) {
            Ok((header, json)) => {
                Ok(Self { id, camera: CameraId::new(&source), header, json, pictures: attachments })
            }
            Err(why) => Err(DecodeRecordError { id, camera: source, why }),
        }
    }

    /// Returns the payload of the record's entry.
    ///
    /// # Errors
    /// A value has no JSON form, which is a bug.
    pub(super) fn payload(&self) -> serde_json::Result<Bytes> {
        let mut bytes = serde_json::to_vec(&self.header)?;
        bytes.push(b'\n');
        bytes.extend_from_slice(&self.json);
        Ok(bytes.into())
    }

    /// Returns the time since the confirming frame arrived; zero where the clock was set back meanwhile.
    pub(crate) fn age(&self) -> Duration {
        let ms = epoch_ms().saturating_sub(self.header.arrived_ms);
        Duration::from_millis(u64::try_from(ms).unwrap_or(0))
    }
}

/// Returns the id of the event in the payload of an outbox entry; `None` for other text.
pub(crate) fn event_id_of(payload: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct IdOnly {
        event_id: String,
    }
    let (header, _) = payload.split_once('\n')?;
    // Only the id: a newer version may write a header that this program does not read.
    serde_json::from_str(header).ok().map(|IdOnly { event_id }| event_id)
}

fn split(payload: &Bytes) -> Result<(RecordHeader, Bytes), String> {
    let end = payload.iter().position(|byte| *byte == b'\n').ok_or("it has no header")?;
    let header = serde_json::from_slice(&payload[..end]).map_err(|error| error.to_string())?;
    // A slice shares the memory of the payload: the event is not copied.
    Ok((header, payload.slice(end + 1..)))
}

#[cfg(test)]
impl OutboxRecord {
    /// Returns an event as a sink gets it.
    pub(crate) fn of(event: &Event) -> Self {
        let payload = encode(event, None, &[], None, 0).unwrap();
        let (id, source) = (::outbox::EntryId(1), event.camera_id.clone());
        Self::decode(::outbox::OutboxEntry { id, source, payload, attachments: Vec::new() }).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::testing::event;

    fn entry(payload: Bytes) -> ::outbox::OutboxEntry {
        ::outbox::OutboxEntry {
            id: ::outbox::EntryId(7),
            source: "front".to_owned(),
            payload,
            attachments: Vec::new(),
        }
    }

    #[test]
    fn a_decoded_record_equals_the_encoded_event() {
        let event = event("e1");
        let record = OutboxRecord::decode(entry(encode(&event, None, &[], None, 12).unwrap())).unwrap();
        assert_eq!(serde_json::from_slice::<Event>(&record.json).unwrap(), event);
        assert!(!record.json.contains(&b'\n'));
        assert_eq!((record.header.event_id.as_str(), record.header.arrived_ms), ("e1", 12));
        assert_eq!(record.camera.as_str(), "front");
    }

    #[test]
    fn the_id_is_read_from_the_header_alone() {
        let payload = encode(&event("e1"), None, &[], None, 12).unwrap();
        assert_eq!(event_id_of(std::str::from_utf8(&payload).unwrap()).as_deref(), Some("e1"));
        assert_eq!(event_id_of("{\"event_id\":\"e2\",\"new\":1}\n").as_deref(), Some("e2"));
        for payload in ["", "{\"event_id\":\"no line\"}", "{}\n{}"] {
            assert_eq!(event_id_of(payload), None, "{payload}");
        }
    }

    #[test]
    fn a_record_gives_back_its_payload() {
        let boxes = [Label::of("person", 0.87, crate::media::BBox { x1: 0.1, y1: 2.0, x2: 30.25, y2: 40.0 })];
        let payload = encode(&event("e1"), None, &boxes, None, 12).unwrap();
        let record = OutboxRecord::decode(entry(payload.clone())).unwrap();
        assert_eq!((&record.header.boxes[..], record.payload().unwrap()), (&boxes[..], payload));
    }

    #[test]
    fn a_record_of_an_installed_version_is_read() {
        let header = r#"{"event_id":"e1","ts_ms":5,"seq":3,"arrived_ms":7,"incident_id":"i1","place":{"local":"snapshots/front/5-e1.jpg","s3":{"bucket":"pictures","key":"a.jpg","clean_key":"a_clean.jpg","crop_key":null}}}"#;
        let record = OutboxRecord::decode(entry(format!("{header}\n{{}}").into())).unwrap();
        assert_eq!((record.header.seq, record.header.incident_id.as_str()), (3, "i1"));
        assert_eq!(serde_json::to_string(&record.header).unwrap(), header, "written as before, too");
        let first = r#"{"event_id":"e1","ts_ms":5,"seq":3,"arrived_ms":7,"place":null}"#;
        let record = OutboxRecord::decode(entry(format!("{first}\n{{}}").into())).unwrap();
        assert_eq!((record.header.incident_id.as_str(), record.header.place), ("", None));
    }

    #[test]
    fn other_bytes_are_refused_by_name() {
        for bytes in [&b""[..], b"{}\n{}", b"no header"] {
            let refused = OutboxRecord::decode(entry(Bytes::from_static(bytes))).unwrap_err().to_string();
            assert!(refused.contains("of camera front"), "{refused}");
        }
    }
}
