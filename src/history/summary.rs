//! An incident as the sum of its records.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::media::{ActivityCounts, Phase};

/// An incident, or an activity, summarized from its records.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct IncidentSummary {
    /// The id of the start record.
    pub incident_id: String,
    /// The camera's id.
    pub camera_id: String,
    /// The detector's type.
    #[serde(rename = "type")]
    pub kind: String,
    /// The class name; for an activity `activity`.
    pub label: String,
    /// Every zone that a record names.
    pub zones: BTreeSet<String>,
    /// The newest text of the records.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The confidence of `text`, 0..=1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ocr_conf: Option<f32>,
    /// The highest confidence of the records, 0..=1.
    pub conf: f32,
    /// The earliest media time of the records, ms since the epoch.
    pub start_ms: i64,
    /// The latest media time of the records, ms since the epoch.
    pub last_ms: i64,
    /// The media time of the end record, ms since the epoch; `None`: there is no end record.
    pub end_ms: Option<i64>,
    /// The phase of the newest record.
    pub phase: Phase,
    /// Number of records, each counted once.
    pub records: u64,
    /// The newest counts, for an activity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub activity: Option<ActivityCounts>,
    /// `true`: `snapshot_event` is set.
    pub has_snapshot: bool,
    /// The record whose picture represents the incident: the end record, otherwise the one with the highest confidence.
    pub snapshot_event: Option<String>,
    /// The newest value of `extras.clip`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip: Option<Value>,
}

/// The fields of a delivered event that a summary needs. Unknown fields are ignored, so that records of other versions are read.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct StoredEvent {
    pub(super) event_id: String,
    camera_id: String,
    #[serde(default)]
    pub(super) seq: u64,
    pub(super) payload: StoredPayload,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct StoredPayload {
    #[serde(rename = "type")]
    kind: String,
    label: String,
    conf: f32,
    pub(super) ts_ms: i64,
    pub(super) extras: StoredExtras,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct StoredExtras {
    pub(super) incident_id: String,
    pub(super) phase: Phase,
    #[serde(default)]
    zones: Vec<String>,
    text: Option<String>,
    ocr_conf: Option<f32>,
    activity: Option<ActivityCounts>,
    pub(super) snapshot: Option<String>,
    clip: Option<Value>,
}

/// A summary that further records can be added to.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct IncidentDraft {
    pub(super) summary: IncidentSummary,
    /// The `seq` of the newest record.
    pub(super) last_seq: u64,
    /// The confidence of the record with the picture.
    pub(super) picture_conf: Option<f32>,
}

impl StoredEvent {
    /// Returns the camera's id.
    pub(super) fn camera(&self) -> &str {
        &self.camera_id
    }

    /// Returns the id of its incident.
    pub(super) fn incident_id(&self) -> &str {
        &self.payload.extras.incident_id
    }

    /// Returns the sort key of records within an incident.
    pub(super) fn order(&self) -> (u64, &str) {
        (self.seq, &self.event_id)
    }
}

impl IncidentDraft {
    /// Returns the summary of one record.
    pub(super) fn new(first: &StoredEvent) -> Self {
        let StoredPayload { kind, label, conf, ts_ms, extras } = &first.payload;
        let summary = IncidentSummary {
            incident_id: extras.incident_id.clone(),
            camera_id: first.camera_id.clone(),
            kind: kind.clone(),
            label: label.clone(),
            zones: BTreeSet::new(),
            text: None,
            ocr_conf: None,
            conf: *conf,
            start_ms: *ts_ms,
            last_ms: *ts_ms,
            end_ms: None,
            phase: extras.phase,
            records: 0,
            activity: None,
            has_snapshot: false,
            snapshot_event: None,
            clip: None,
        };
        let mut draft = Self { summary, last_seq: first.seq, picture_conf: None };
        draft.add(first);
        draft
    }

    /// Returns the summary of records in the order of [`StoredEvent::order`]; `None` without records.
    pub(super) fn of<'a>(events: impl IntoIterator<Item = &'a StoredEvent>) -> Option<Self> {
        let mut events = events.into_iter();
        let mut draft = Self::new(events.next()?);
        events.for_each(|event| draft.add(event));
        Some(draft)
    }

    /// Adds a record that is newer than the others.
    pub(super) fn add(&mut self, event: &StoredEvent) {
        let StoredPayload { kind, label, conf, ts_ms, extras } = &event.payload;
        self.add_picture(event);
        let summary = &mut self.summary;
        summary.kind.clone_from(kind);
        summary.label.clone_from(label);
        summary.zones.extend(extras.zones.iter().cloned());
        summary.conf = summary.conf.max(*conf);
        summary.start_ms = summary.start_ms.min(*ts_ms);
        summary.last_ms = summary.last_ms.max(*ts_ms);
        summary.phase = extras.phase;
        summary.records += 1;
        if extras.phase == Phase::End {
            summary.end_ms = Some(*ts_ms);
        }
        if extras.text.is_some() {
            (summary.text, summary.ocr_conf) = (extras.text.clone(), extras.ocr_conf);
        }
        if extras.activity.is_some() {
            summary.activity.clone_from(&extras.activity);
        }
        if extras.clip.is_some() {
            summary.clip.clone_from(&extras.clip);
        }
        self.last_seq = event.seq;
    }

    /// Takes the record's picture where it represents the incident better than the earlier ones.
    fn add_picture(&mut self, event: &StoredEvent) {
        let StoredPayload { conf, extras, .. } = &event.payload;
        // The snapshot of an end is the best one of its incident.
        let is_better = extras.phase == Phase::End || self.picture_conf.is_none_or(|best| *conf > best);
        if extras.snapshot.is_some() && is_better {
            self.picture_conf = Some(*conf);
            self.summary.has_snapshot = true;
            self.summary.snapshot_event = Some(event.event_id.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Returns a record of incident `i` with these properties laid over those of a person.
    fn record(id: &str, seq: u64, phase: &str, over: &Value) -> StoredEvent {
        let mut extras = json!({ "incident_id": "i", "phase": phase, "zones": [] });
        let mut payload = json!({ "type": "objects", "label": "person", "conf": 0.5, "ts_ms": seq * 1000 });
        for (name, value) in over.as_object().unwrap() {
            let place = if name == "conf" || name == "ts_ms" { &mut payload } else { &mut extras };
            place[name] = value.clone();
        }
        payload["extras"] = extras;
        let event = json!({ "event_id": id, "camera_id": "gate", "seq": seq, "payload": payload });
        serde_json::from_value(event).unwrap()
    }

    #[test]
    fn a_summary_has_the_union_the_best_and_the_newest() {
        let records = [
            record(
                "i",
                1,
                "start",
                &json!({ "zones": ["door"], "conf": 0.7, "snapshot": "a", "text": "AB1" }),
            ),
            record("b", 2, "update", &json!({ "zones": ["yard"], "conf": 0.9, "snapshot": "b" })),
            record(
                "c",
                3,
                "update",
                &json!({ "text": "AB12", "ocr_conf": 0.5, "conf": 0.6, "snapshot": "c" }),
            ),
        ];
        let open = IncidentDraft::of(&records).unwrap().summary;
        assert_eq!(open.zones, ["door", "yard"].map(str::to_owned).into());
        assert_eq!((open.text.as_deref(), open.ocr_conf), (Some("AB12"), Some(0.5)));
        assert_eq!((open.conf, open.start_ms, open.last_ms, open.end_ms), (0.9, 1000, 3000, None));
        assert_eq!((open.phase, open.records), (Phase::Update, 3));
        assert_eq!((open.has_snapshot, open.snapshot_event.as_deref()), (true, Some("b")));
        let end = record("d", 4, "end", &json!({ "conf": 0.1, "snapshot": "b", "clip": "s3://x/y" }));
        let ended = IncidentDraft::of(records.iter().chain([&end])).unwrap().summary;
        assert_eq!((ended.end_ms, ended.phase, ended.records), (Some(4000), Phase::End, 4));
        assert_eq!(ended.snapshot_event.as_deref(), Some("d"), "an end has the best picture");
        assert_eq!(ended.clip, Some("s3://x/y".into()));
    }

    #[test]
    fn an_incident_without_pictures_has_none() {
        let summary = IncidentDraft::of(&[record("i", 1, "start", &json!({}))]).unwrap().summary;
        assert_eq!((summary.has_snapshot, &summary.snapshot_event), (false, &None));
        let json = serde_json::to_value(summary).unwrap();
        assert!(json.get("text").is_none() && json["end_ms"].is_null(), "{json}");
    }
}
