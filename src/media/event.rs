//! The event: the record that the sinks deliver. Its JSON is stored by users and versioned by `schema`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::TimeSource;

/// A record as it is delivered; `kvs-infer schema event` prints its JSON Schema.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Event {
    /// Unique per record; the same footage, model and device give the same id.
    pub event_id: String,
    /// The camera's id; also the partition key.
    pub camera_id: String,
    /// `kvs-infer/<version>`
    pub producer: String,
    /// The version of this shape.
    pub schema: String,
    /// Rises by one per record of a camera, also over restarts.
    pub seq: u64,
    /// What happened.
    pub payload: Payload,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Payload {
    /// The camera's id.
    pub camera_id: String,
    /// The detector's type: `weapon`, `fire_smoke`, `alpr`, `objects`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The class name; of an activity `activity`.
    pub label: String,
    /// Confidence, 0..=1.
    pub conf: f32,
    /// `[x1, y1, x2, y2]` in pixels of the decoded frame.
    pub bbox: [f32; 4],
    /// Media time, ms since the epoch, by the clock of `extras.time_source`.
    pub ts_ms: i64,
    /// Where it comes from.
    pub extras: Extras,
}

/// Where an event comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Extras {
    /// The id of the incident's start record; of an activity that of its own start record.
    pub incident_id: String,
    /// What the record tells of its incident or activity.
    pub phase: Phase,
    /// The KVS fragment.
    pub fragment_number: String,
    /// Index of the block among those of the video in the fragment, from 0.
    pub frame_index: u32,
    /// The fragment's producer timestamp, ms since the epoch, where the producer sent one.
    pub producer_ts_ms: Option<i64>,
    /// The fragment's server timestamp, ms since the epoch.
    pub server_ts_ms: Option<i64>,
    /// Whose clock `ts_ms` follows.
    pub time_source: TimeSource,
    /// Width of the decoded frame, px.
    pub frame_width: u32,
    /// Height of the decoded frame, px.
    pub frame_height: u32,
    /// Names of the zones that the box is in; of an end: none; of an activity: its zone, none for the whole frame.
    pub zones: Vec<String>,
    /// The thing's number among those of its camera and detector, from 1; 0 of activities, and in records of versions before it.
    #[serde(default)]
    pub track_id: u64,
    /// The model that saw it.
    pub model: ModelId,
    /// Where the annotated snapshot is or will be (of an end: the best of its incident; of an activity: that of one of its incidents): `s3://...`, or a path relative to the local sink's folder.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub snapshot: Option<String>,
    /// `alpr`: the likeliest text by all readings so far.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub text: Option<String>,
    /// Its highest confidence, 0..=1.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ocr_conf: Option<f32>,
    /// Of an update or end: media time from the first to the last sighting, ms; of the end of an activity: from its start on.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub duration_ms: Option<i64>,
    /// Of the start and end of an activity, and of no other record: what it has counted so far.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub activity: Option<ActivityCounts>,
}

/// What an activity has counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ActivityCounts {
    /// How many incidents were seen in it.
    pub incidents: u64,
    /// The same by class name.
    pub by_label: BTreeMap<String, u64>,
    /// The maximum number of them in one frame.
    pub peak: u64,
}

/// What a record tells of its incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// It was confirmed.
    Start,
    /// It goes on, and something of it changed.
    Update,
    /// It was out of sight for the cool-down.
    End,
}

impl Phase {
    /// Its name in records and in their ids.
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
    /// Its name in the configuration, or its file name.
    pub name: String,
    /// SHA-256 of the file, hex.
    pub sha256: String,
}
