//! An event on its way: what the outbox keeps of it, and what a sink takes out.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::place::Place;
use crate::base::epoch_ms;
use crate::media::{CameraId, Event};

/// What the sinks need to know beside the record itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Label {
    pub(super) event_id: String,
    pub(super) ts_ms: i64,
    /// The record's `seq`.
    pub(super) seq: u64,
    /// When the last byte of the confirming frame was read, ms since the epoch; for latencies only.
    pub(super) arrived_ms: i64,
    /// The id of its incident; empty only of events that an earlier version took in.
    #[serde(default)]
    pub(super) incident_id: String,
    /// Where the pictures go; they are the attachments: the annotated one, the one without boxes, then the crop if there is one.
    pub(super) place: Option<Place>,
}

/// An event that waits for a sink.
#[derive(Clone, Debug)]
pub(super) struct Parcel {
    /// Its number in the outbox.
    pub(super) id: ::outbox::EntryId,
    pub(super) camera: CameraId,
    pub(super) label: Label,
    /// One JSON object, without a line break.
    pub(super) json: Bytes,
    /// See [`Label::place`]; empty for a sink that takes no pictures.
    pub(super) pictures: Vec<Bytes>,
}

/// The bytes in the outbox are not ours.
#[derive(Debug, thiserror::Error)]
#[error("entry {id} of camera {camera} in the outbox is no event: {why}")]
pub(super) struct NotAParcel {
    pub(super) id: ::outbox::EntryId,
    pub(super) camera: String,
    why: String,
}

/// As the outbox keeps it: the label as a line of JSON, then the record.
pub(super) fn wrap(event: &Event, place: Option<Place>, arrived_ms: i64) -> serde_json::Result<Bytes> {
    let (event_id, ts_ms, seq) = (event.event_id.clone(), event.payload.ts_ms, event.seq);
    let incident_id = event.payload.extras.incident_id.clone();
    let label = Label { event_id, ts_ms, seq, arrived_ms, incident_id, place };
    let mut bytes = serde_json::to_vec(&label)?;
    bytes.push(b'\n');
    serde_json::to_writer(&mut bytes, event)?;
    Ok(bytes.into())
}

impl Parcel {
    /// What the outbox kept.
    pub(super) fn unwrap(entry: ::outbox::OutboxEntry) -> Result<Self, NotAParcel> {
        let ::outbox::OutboxEntry { id, source, payload, attachments } = entry;
        match opened(&payload) {
            Ok((label, json)) => {
                Ok(Self { id, camera: CameraId::new(&source), label, json, pictures: attachments })
            }
            Err(why) => Err(NotAParcel { id, camera: source, why }),
        }
    }

    /// Since the confirming frame arrived; zero where the clock was set back meanwhile.
    pub(super) fn age(&self) -> Duration {
        let ms = epoch_ms().saturating_sub(self.label.arrived_ms);
        Duration::from_millis(u64::try_from(ms).unwrap_or(0))
    }
}

fn opened(payload: &Bytes) -> Result<(Label, Bytes), String> {
    let end = payload.iter().position(|byte| *byte == b'\n').ok_or("it has no label")?;
    let label = serde_json::from_slice(&payload[..end]).map_err(|error| error.to_string())?;
    Ok((label, payload.slice(end + 1..)))
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
    fn an_event_comes_out_as_it_went_in() {
        let event = event("e1");
        let parcel = Parcel::unwrap(entry(wrap(&event, None, 12).unwrap())).unwrap();
        assert_eq!(serde_json::from_slice::<Event>(&parcel.json).unwrap(), event);
        assert!(!parcel.json.contains(&b'\n'));
        assert_eq!((parcel.label.event_id.as_str(), parcel.label.arrived_ms), ("e1", 12));
        assert_eq!(parcel.camera.as_str(), "front");
    }

    #[test]
    fn other_bytes_are_refused_by_name() {
        for bytes in [&b""[..], b"{}\n{}", b"no label"] {
            let refused = Parcel::unwrap(entry(Bytes::from_static(bytes))).unwrap_err().to_string();
            assert!(refused.contains("of camera front"), "{refused}");
        }
    }
}
