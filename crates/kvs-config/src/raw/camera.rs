//! The items of `cameras`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::detector::PipelineSection;
use super::roi::{MaskPolygon, RoiSection};

/// A camera.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CameraSection {
    /// The camera's unique name in events, metrics, logs and keys.
    #[schemars(regex(pattern = r"^[A-Za-z0-9_-]{1,64}$"), example = &"front-entrance",
        extend("x-remedy" = "use letters, digits, _ and - only, at most 64"))]
    pub id: String,
    // Kinesis Video Streams CreateStream: 1 to 256 of these characters.
    /// The name of the camera's Kinesis video stream.
    #[schemars(regex(pattern = r"^[A-Za-z0-9_.-]{1,256}$"), example = &"front-entrance-stream",
        extend("x-remedy" = "write the stream's name: letters, digits, _ . and -, at most 256"))]
    pub kvs_stream_name: String,
    /// `false` keeps the camera in the file without reading it.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// The order in which cameras get the capacity of the workers if there is not enough: lower numbers first. No effect without
    /// `sharing`.
    #[schemars(range(min = 0, max = 1000))]
    #[serde(default = "default_priority")]
    pub priority: u32,
    /// The way in which the stream is read.
    #[serde(default)]
    pub playback: PlaybackSection,
    /// Number of frames to analyze per second of media time; absent: every frame.
    ///
    /// Only keyframes are decoded if the time between two of them is at least a GOP of the stream.
    #[schemars(range(min = 0.1, max = 30))]
    #[serde(default)]
    pub fps_target: Option<f64>,
    /// Maximum size of a frame, pixels: 4096 x 2304 by default, 8192 x 4352 at most. Larger frames are not decoded, and the camera is
    /// reported as degraded. A decoder keeps up to 16 frames of 1.5 bytes per pixel.
    #[schemars(range(min = 65_536, max = 35_651_584),
        extend("x-remedy" = "write a number of pixels such as 9437184 (4096 x 2304)"))]
    #[serde(default = "max_pixels")]
    pub max_pixels: u32,
    /// The zones of the camera; absent: boxes anywhere in the frame are reported.
    #[serde(default)]
    pub roi: Option<RoiSection>,
    /// Privacy masks: regions blacked out before a frame is analyzed, stored or shown, in the units of `roi`; absent: none.
    #[schemars(length(max = 64), extend("x-remedy" = "draw at most 64 masks"))]
    #[serde(default)]
    pub masks: Option<Vec<MaskPolygon>>,
    /// The motion gate, which limits inference to frames with motion; absent: off.
    #[serde(default)]
    pub motion: Option<MotionSection>,
    /// The detectors; each entry has a `type` and a block of the same name.
    #[schemars(length(min = 1, max = 16), extend("x-remedy" = "give 1 to 16 entries, each with a `type` and a block of the same name"))]
    pub pipeline: Vec<PipelineSection>,
    /// The destinations of the camera's events and snapshots.
    #[serde(default)]
    pub routing: RoutingSection,
}

/// Returns the default, which admits both 4K formats, 3840 x 2160 and 4096 x 2160, with some margin.
fn max_pixels() -> u32 {
    4096 * 2304
}

fn default_priority() -> u32 {
    100
}

fn yes() -> bool {
    true
}

/// The way in which a stream is read.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PlaybackSection {
    /// The interface by which the stream is read.
    pub mode: StreamProtocol,
    /// The position at which reading starts.
    pub start: StartPosition,
}

/// The interface by which a stream is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum StreamProtocol {
    /// GetMedia, with the lowest latency.
    #[default]
    GetMedia,
    /// An HLS session, with some seconds more latency; the stream needs data retention.
    Hls,
}

/// The position at which reading a stream starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum StartPosition {
    /// The newest footage (live mode).
    Now,
    /// The oldest stored footage (catch-up mode until the newest is reached).
    Earliest,
    /// After the last processed footage, or NOW if there is none.
    #[default]
    Checkpoint,
}

/// The motion gate, which limits inference to frames with motion.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MotionSection {
    /// `true` to use the motion gate.
    pub enabled: bool,
    /// Sensitivity, 0 (only large movements) to 1 (the slightest).
    #[schemars(range(min = 0, max = 1))]
    pub sensitivity: f64,
    // At most 9: over a gap of more than 10 s the tracker keeps nothing but incidents.
    /// Maximum time between two inferences on a still scene, seconds of media time.
    #[schemars(range(min = 1, max = 9))]
    pub max_idle_seconds: f64,
    /// The frames that are decoded while nothing moves.
    pub idle_decode: IdleDecodeMode,
}

impl Default for MotionSection {
    fn default() -> Self {
        let idle_decode = IdleDecodeMode::default();
        Self { enabled: false, sensitivity: 0.5, max_idle_seconds: 5.0, idle_decode }
    }
}

/// The frames that are decoded while the motion gate finds nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum IdleDecodeMode {
    /// Keyframes alone. The frames since the keyframe before are decoded when something has moved: at the next keyframe, or sooner
    /// if the sizes of access units show it, as they may with a variable bitrate. An object that appears and is gone between two
    /// keyframes of a stream with constant bitrate is missed.
    #[default]
    KeyFrames,
    /// Every frame.
    All,
}

/// The destinations of a camera's events and snapshots.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RoutingSection {
    /// The destination of events. The local sink, if configured, always gets them.
    pub events: EventRoutingSection,
    /// The destination of snapshots. The local sink, if configured, always gets them.
    pub snapshot: SnapshotRoutingSection,
}

/// The destination of a camera's events.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EventRoutingSection {
    /// `true` to send events to a Kinesis data stream; absent: `true` if one is named.
    pub to_kds: Option<bool>,
    /// The data stream of this camera in place of `publishers.kds_stream`.
    #[schemars(regex(pattern = r"^[A-Za-z0-9_.-]{1,128}$"),
        extend("x-remedy" = "write the stream's name: letters, digits, _ . and -, at most 128"))]
    pub kds_stream_override: Option<String>,
}

/// The destination of a camera's snapshots.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SnapshotRoutingSection {
    /// `true` to upload snapshots to S3; absent: `true` if a bucket is named and snapshots are enabled.
    pub to_s3: Option<bool>,
    /// The part of the key between `publishers.s3_prefix` and the file name; absent: `${camera_id}/`.
    #[schemars(regex(pattern = r"^[A-Za-z0-9_./=-]{0,256}$"),
        extend("x-remedy" = "use letters, digits, _ . / = - and ${camera_id} only, at most 256"))]
    pub prefix: Option<String>,
    /// `true`: snapshots are taken of events only. `false` is not supported in this version.
    pub on_event_only: bool,
    /// `true` to upload a crop of the event's bounding box beside the snapshot.
    pub upload_crops: bool,
}

impl Default for SnapshotRoutingSection {
    fn default() -> Self {
        Self { to_s3: None, prefix: None, on_event_only: true, upload_crops: true }
    }
}
