//! The nouns that travel the way of a frame: source -> demux -> decode -> detect -> decide -> publish.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
pub use h26x::{Codec, PictureRole};
use serde::{Deserialize, Serialize};

use crate::decode::{SamplerState, Surface};

/// The `id` of a camera in the configuration.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CameraId(Arc<str>);

impl CameraId {
    /// The id as a shared string.
    #[must_use]
    pub fn new(id: &str) -> Self {
        Self(Arc::from(id))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CameraId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for CameraId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &self.0)
    }
}

/// Media time: milliseconds since the Unix epoch by the clock named in [`TimeSource`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MediaMs(pub i64);

/// Whose clock a [`MediaMs`] follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TimeSource {
    /// The camera's: the fragment's producer timestamp.
    Producer,
    /// The service's, because the producer sent 0 or nothing.
    Server,
}

/// What the leading AWS tags say of a fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// The fragment number: opaque decimal text whose order is the order of arrival.
    pub number: Arc<str>,
    /// Producer timestamp, ms since the epoch; `None` where absent or 0.
    pub producer_ms: Option<i64>,
    /// Server timestamp, ms since the epoch.
    pub server_ms: Option<i64>,
}

impl Fragment {
    /// The media time of the fragment's first instant, and whose clock that is.
    #[must_use]
    pub fn media_start(&self) -> (MediaMs, TimeSource) {
        match self.producer_ms {
            Some(ms) => (MediaMs(ms), TimeSource::Producer),
            None => (MediaMs(self.server_ms.unwrap_or(0)), TimeSource::Server),
        }
    }

    /// Returns when the service took in what has this media time, ms since the epoch: by the service's clock where it stamps
    /// fragments, else by the producer's.
    #[must_use]
    pub fn ingested_ms(&self, media: MediaMs) -> i64 {
        let (start, _) = self.media_start();
        let from_start_ms = media.0.saturating_sub(start.0);
        self.server_ms.unwrap_or(start.0).saturating_add(from_start_ms)
    }
}

/// The order of two fragments of a stream by their numbers, which are equally long: that of the text.
#[must_use]
pub fn fragment_order(a: &str, b: &str) -> Ordering {
    (a.len(), a).cmp(&(b.len(), b))
}

/// A place between two fragments of a stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    /// The number of the fragment before it.
    pub fragment: Arc<str>,
    /// The media time of that fragment's first instant: HLS is asked for by time.
    pub media: MediaMs,
    /// Where that fragment is of open GOPs, so that the next one may refer to it: the number of the fragment before it. Reading
    /// starts after that one then, and the decoder is primed with the fragment that was read already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub primer: Option<Arc<str>>,
}

impl Position {
    /// The place after a fragment.
    #[must_use]
    pub fn after(fragment: &Fragment) -> Self {
        Self { fragment: Arc::clone(&fragment.number), media: fragment.media_start().0, primer: None }
    }

    /// The number of the fragment after which reading starts: the one before the position, or before its primer.
    #[must_use]
    pub fn read_after(&self) -> &Arc<str> {
        self.primer.as_ref().unwrap_or(&self.fragment)
    }
}

/// The video track that packets belong to. Equality says whether a decoder can go on with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VideoTrack {
    /// The codec.
    pub codec: Codec,
    /// avcC or hvcC.
    pub codec_private: Bytes,
    /// Width as the container says; the decoder's word counts.
    pub width_px: u32,
    /// Height as the container says; the decoder's word counts.
    pub height_px: u32,
}

/// One access unit, length-prefixed as avcC/hvcC says.
#[derive(Clone, Debug)]
pub struct Packet {
    /// The fragment that it came in.
    pub fragment: Arc<Fragment>,
    /// The track that it belongs to.
    pub track: Arc<VideoTrack>,
    /// Index of the block among those of the video in its fragment, from 0.
    pub index: u32,
    /// Media time of presentation.
    pub media: MediaMs,
    /// Whether the container calls it a key frame.
    pub key: bool,
    /// The access unit.
    pub unit: Bytes,
    /// When its last byte was read.
    pub arrived: Instant,
    /// How far behind the live edge it was then.
    pub lag: ArrivalLag,
}

impl Packet {
    /// The role of its picture for a decoder that joins the stream in the middle.
    #[must_use]
    pub fn role(&self) -> PictureRole {
        PictureRole::of(self.track.codec, &self.track.codec_private, &self.unit)
    }
}

/// The lag of an access unit at its arrival.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ArrivalLag {
    /// How far behind the live edge it arrived.
    pub at_arrival: Duration,
    /// The part that the delivery of whole fragments or segments explains; it comes back with each of them.
    pub explained: Duration,
}

/// What demux hands to decode, in the order of the stream.
#[derive(Clone, Debug)]
pub enum Demuxed {
    /// An access unit.
    Packet(Packet),
    /// An access unit of the fragment that was read last, again: the next one may refer to it.
    Primer(Packet),
    /// The trailing tags arrived: the fragment is complete.
    FragmentEnd(FragmentEnd),
    /// The stream broke off inside a fragment, or jumped: what came since the last `FragmentEnd` will come again or never.
    Discontinuity,
}

/// The end of a complete fragment.
#[derive(Clone, Debug)]
pub struct FragmentEnd {
    /// The fragment.
    pub fragment: Arc<Fragment>,
    /// The place after it.
    pub position: Position,
    /// How far the reader was behind the live edge, ms.
    pub behind_ms: Option<u64>,
    /// Whether the reader was at the live edge: from here on the newest frame wins.
    pub caught_up: bool,
}

/// What decode hands to detect and decide, in the order of the stream.
#[derive(Debug)]
pub enum Decoded {
    /// A sampled frame.
    Frame(Arc<Frame>),
    /// All sampled frames of the fragment went before; `sampler` is the state to go on with after it.
    FragmentEnd {
        /// The end.
        end: FragmentEnd,
        /// The sampler's state after the fragment.
        sampler: SamplerState,
    },
    /// Go back to the state of the last committed fragment.
    Discontinuity,
}

/// A decoded picture and where in the stream it stood.
#[derive(Debug)]
pub struct Frame {
    /// The camera.
    pub camera: CameraId,
    /// The fragment that it came in.
    pub fragment: Arc<Fragment>,
    /// Index of the block among those of the video in its fragment, from 0.
    pub index: u32,
    /// Media time of presentation.
    pub media: MediaMs,
    /// When the last byte of its block was read.
    pub arrived: Instant,
    /// The picture.
    pub surface: Surface,
}

/// An axis-aligned box in pixels of the decoded frame. Invariant: `x1 <= x2`, `y1 <= y2`, all finite.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct BBox {
    /// Left edge, px.
    pub x1: f32,
    /// Top edge, px.
    pub y1: f32,
    /// Right edge, px.
    pub x2: f32,
    /// Bottom edge, px.
    pub y2: f32,
}

impl BBox {
    /// The area, square px.
    #[must_use]
    pub fn area(&self) -> f32 {
        (self.x2 - self.x1).max(0.0) * (self.y2 - self.y1).max(0.0)
    }

    /// Intersection over union with `other`, 0..=1; 0 where both are empty.
    #[must_use]
    pub fn iou(&self, other: &Self) -> f32 {
        let width = (self.x2.min(other.x2) - self.x1.max(other.x1)).max(0.0);
        let height = (self.y2.min(other.y2) - self.y1.max(other.y1)).max(0.0);
        let intersection = width * height;
        let union = self.area() + other.area() - intersection;
        if union > 0.0 { intersection / union } else { 0.0 }
    }

    /// The centre, px.
    #[must_use]
    pub fn centre(&self) -> (f32, f32) {
        (f32::midpoint(self.x1, self.x2), f32::midpoint(self.y1, self.y2))
    }
}

/// One thing that a detector saw in one frame.
#[derive(Clone, Debug, PartialEq)]
pub struct Detection {
    /// The class name by the model.
    pub label: Arc<str>,
    /// Confidence, 0..=1.
    pub conf: f32,
    /// Where, in frame pixels, clipped to the frame.
    pub bbox: BBox,
    /// The text in it, where somebody read it.
    pub reading: Option<Reading>,
}

/// A text that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// The text.
    pub text: Arc<str>,
    /// Confidence, 0..=1.
    pub conf: f32,
}

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
