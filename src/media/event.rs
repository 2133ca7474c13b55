//! The event: the record that the sinks deliver. Its JSON is stored by users and versioned by `schema`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::TimeSource;

/// An event record as it is delivered; `kvs-infer schema event` prints its JSON Schema.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Event {
    /// Unique per record; the same footage, model and device give the same id.
    pub event_id: String,
    /// The camera's id; also the partition key.
    pub camera_id: String,
    /// `kvs-infer/<version>`
    pub producer: String,
    /// Version of the event schema.
    pub schema: String,
    /// Increases by one per record of a camera, also across restarts.
    pub seq: u64,
    /// The number of changes of the camera's worker, where workers share the cameras: a record with a lower one than the last is of a
    /// former worker, and repeats one that has been seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
    /// `false`: sent while the table of positions did not answer. If its worker dies before the table answers again, the same event
    /// may follow under another id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fenced: Option<bool>,
    /// The detected object or activity.
    pub payload: Payload,
}

/// The detected object or activity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Payload {
    /// The camera's id.
    pub camera_id: String,
    /// The detector's type: `weapon`, `fire_smoke`, `alpr`, `objects`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The class name; for an activity `activity`.
    pub label: String,
    /// Confidence, 0..=1.
    pub conf: f32,
    /// `[x1, y1, x2, y2]` in pixels of the decoded frame.
    pub bbox: [f32; 4],
    /// Media time, ms since the epoch, by the clock of `extras.time_source`.
    pub ts_ms: i64,
    /// Origin and details of the event.
    pub extras: Extras,
}

/// Origin and details of an event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Extras {
    /// The id of the incident's start record; for an activity the id of its own start record.
    pub incident_id: String,
    /// Start, update or end of the incident or activity.
    pub phase: Phase,
    /// The KVS fragment.
    pub fragment_number: String,
    /// Index of the block among those of the video in the fragment, from 0.
    pub frame_index: u32,
    /// The fragment's producer timestamp, ms since the epoch, if the producer sent one.
    pub producer_ts_ms: Option<i64>,
    /// The fragment's server timestamp, ms since the epoch.
    pub server_ts_ms: Option<i64>,
    /// The clock of `ts_ms`.
    pub time_source: TimeSource,
    /// Width of the decoded frame, px.
    pub frame_width: u32,
    /// Height of the decoded frame, px.
    pub frame_height: u32,
    /// Names of the zones that contain the box; empty for an end; for an activity its zone, or empty for the whole frame.
    pub zones: Vec<String>,
    /// The object's track number, unique per camera and detector, from 1; 0 for activities and in records of older versions.
    #[serde(default)]
    pub track_id: u64,
    /// The model that detected the object.
    pub model: ModelId,
    /// Address of the annotated snapshot, which may be written later: `s3://...`, or a path relative to the local sink's folder. For an end the best one of its incident, for an activity that of one of its incidents.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub snapshot: Option<String>,
    /// For the end of an incident: address of its clip, which is written later, or not at all if its footage is gone: `s3://...`, or a path relative to the local sink's folder.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub clip: Option<String>,
    /// `alpr`: the most likely text of all readings so far.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub text: Option<String>,
    /// `alpr`: the highest confidence of `text`, 0..=1.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ocr_conf: Option<f32>,
    /// For an update or end: media time from the first to the last sighting, ms. For the end of an activity: media time since its start.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub duration_ms: Option<i64>,
    /// For the start and end of an activity only: its counts so far.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub activity: Option<ActivityCounts>,
}

/// The counts of an activity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ActivityCounts {
    /// Number of incidents.
    pub incidents: u64,
    /// Number of incidents by class name.
    pub by_label: BTreeMap<String, u64>,
    /// Maximum number of incidents in one frame.
    pub peak: u64,
}

/// Phase of an incident or activity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The incident is confirmed.
    Start,
    /// The incident continues, and one of its properties has changed.
    Update,
    /// The object has been out of sight for the cool-down.
    End,
}

impl Phase {
    /// Returns the name in records and in their ids.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Update => "update",
            Self::End => "end",
        }
    }
}

/// A model by name and content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ModelId {
    /// The name in the configuration, or the file name.
    pub name: String,
    /// SHA-256 of the file, hex.
    pub sha256: String,
}
