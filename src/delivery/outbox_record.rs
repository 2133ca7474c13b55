//! An event on its way: what the outbox keeps of it, and what a sink takes out.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::base::epoch_ms;
use crate::media::{CameraId, Event};
use crate::snapshot::SnapshotPlace;

/// What the sinks need to know beside the record itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RecordHeader {
    pub(crate) event_id: String,
    pub(crate) ts_ms: i64,
    /// The record's `seq`.
    pub(crate) seq: u64,
    /// When the last byte of the confirming frame was read, ms since the epoch; for latencies only.
    pub(crate) arrived_ms: i64,
    /// The id of its incident; empty only of events that an earlier version took in.
    #[serde(default)]
    pub(crate) incident_id: String,
    /// Where the pictures go; they are the attachments: the annotated one, the one without boxes, then the crop if there is one.
    pub(crate) place: Option<SnapshotPlace>,
}

/// An event that waits for a sink.
#[derive(Clone, Debug)]
pub(crate) struct OutboxRecord {
    /// Its number in the outbox.
    pub(crate) id: ::outbox::EntryId,
    pub(crate) camera: CameraId,
    pub(crate) header: RecordHeader,
    /// One JSON object, without a line break.
    pub(crate) json: Bytes,
    /// See [`RecordHeader::place`]; empty for a sink that takes no pictures.
    pub(crate) pictures: Vec<Bytes>,
}

/// The bytes in the outbox are not ours.
#[derive(Debug, thiserror::Error)]
#[error("entry {id} of camera {camera} in the outbox is no event: {why}")]
pub(crate) struct DecodeRecordError {
    pub(crate) id: ::outbox::EntryId,
    pub(crate) camera: String,
    why: String,
}

/// As the outbox keeps it: the label as a line of JSON, then the record.
pub(crate) fn encode(
    event: &Event,
    place: Option<SnapshotPlace>,
    arrived_ms: i64,
) -> serde_json::Result<Bytes> {
    let (event_id, ts_ms, seq) = (event.event_id.clone(), event.payload.ts_ms, event.seq);
    let incident_id = event.payload.extras.incident_id.clone();
    let header = RecordHeader { event_id, ts_ms, seq, arrived_ms, incident_id, place };
    let mut bytes = serde_json::to_vec(&header)?;
    bytes.push(b'\n');
    serde_json::to_writer(&mut bytes, event)?;
    Ok(bytes.into())
}

impl OutboxRecord {
    /// What the outbox kept.
    pub(crate) fn decode(entry: ::outbox::Entry) -> Result<Self, DecodeRecordError> {
        let ::outbox::Entry { id, source, payload, attachments } = entry;
        match decode_payload(&payload) {
            Ok((header, json)) => {
                Ok(Self { id, camera: CameraId::new(&source), header, json, pictures: attachments })
            }
            Err(why) => Err(DecodeRecordError { id, camera: source, why }),
        }
    }

    /// Since the confirming frame arrived; zero where the clock was set back meanwhile.
    pub(crate) fn age(&self) -> Duration {
        let ms = epoch_ms().saturating_sub(self.header.arrived_ms);
        Duration::from_millis(u64::try_from(ms).unwrap_or(0))
    }
}

fn decode_payload(payload: &Bytes) -> Result<(RecordHeader, Bytes), String> {
    let end = payload.iter().position(|byte| *byte == b'\n').ok_or("it has no label")?;
    let header = serde_json::from_slice(&payload[..end]).map_err(|error| error.to_string())?;
    Ok((header, payload.slice(end + 1..)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::testing::event;

    fn entry(payload: Bytes) -> ::outbox::Entry {
        ::outbox::Entry {
            id: ::outbox::EntryId(7),
            source: "front".to_owned(),
            payload,
            attachments: Vec::new(),
        }
    }

    #[test]
    fn an_event_comes_out_as_it_went_in() {
        let event = event("e1");
        let record = OutboxRecord::decode(entry(encode(&event, None, 12).unwrap())).unwrap();
        assert_eq!(serde_json::from_slice::<Event>(&record.json).unwrap(), event);
        assert!(!record.json.contains(&b'\n'));
        assert_eq!((record.header.event_id.as_str(), record.header.arrived_ms), ("e1", 12));
        assert_eq!(record.camera.as_str(), "front");
    }

    #[test]
    fn other_bytes_are_refused_by_name() {
        for bytes in [&b""[..], b"{}\n{}", b"no label"] {
            let refused = OutboxRecord::decode(entry(Bytes::from_static(bytes))).unwrap_err().to_string();
            assert!(refused.contains("of camera front"), "{refused}");
        }
    }
}
