//! An item of `cameras`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::detector::PipelineEntry;
use super::roi::{RoiSection, Shape};

/// A camera.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Camera {
    /// Its name, unique: in events, metrics, logs and keys.
    #[schemars(regex(pattern = r"^[A-Za-z0-9_-]{1,64}$"), example = &"front-entrance",
        extend("x-remedy" = "use letters, digits, _ and - only, at most 64"))]
    pub id: String,
    /// The name of its Kinesis video stream.
    #[schemars(regex(pattern = r"^[A-Za-z0-9_.-]{1,256}$"), example = &"front-entrance-stream",
        extend("x-remedy" = "write the stream's name: letters, digits, _ . and -, at most 256"))]
    pub kvs_stream_name: String,
    /// Whether it is read.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// How its stream is read.
    #[serde(default)]
    pub playback: Playback,
    /// Frames to look at a second of media time; absent: every frame.
    #[schemars(range(min = 1, max = 30))]
    #[serde(default)]
    pub fps_target: Option<f64>,
    /// Limit on the size of its pictures, pixels: 4096 x 2304 by default, 8192 x 4352 at most. Larger ones are not decoded, and the camera
    /// is reported as degraded. A decoder keeps up to 16 pictures of 1.5 bytes a pixel.
    #[schemars(range(min = 65_536, max = 35_651_584),
        extend("x-remedy" = "write a number of pixels such as 9437184 (4096 x 2304)"))]
    #[serde(default = "max_pixels")]
    pub max_pixels: u32,
    /// Where in the frame a box must be; absent: anywhere.
    #[serde(default)]
    pub roi: Option<RoiSection>,
    /// Regions that are blacked out before anything looks at the picture, stores or shows it. In the units of `roi`.
    #[schemars(length(max = 64), extend("x-remedy" = "draw 64 masks at most"))]
    #[serde(default)]
    pub masks: Option<Vec<Shape>>,
    /// Looking only at frames in which something moves.
    #[serde(default)]
    pub motion: Option<Motion>,
    /// What is looked for; each entry has a `type` and a block named as the type.
    #[schemars(length(min = 1, max = 16), extend("x-remedy" = "give 1 to 16 entries, each with a type and a block named as the type"))]
    pub pipeline: Vec<PipelineEntry>,
    /// Where its events and snapshots go.
    #[serde(default)]
    pub routing: Routing,
}

/// 4K in either shape, 3840 x 2160 and 4096 x 2160, and a little more.
fn max_pixels() -> u32 {
    4096 * 2304
}

fn yes() -> bool {
    true
}

/// How a stream is read.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Playback {
    /// By which interface.
    pub mode: PlaybackMode,
    /// Where reading starts.
    pub start: Start,
}

/// By which interface a stream is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum PlaybackMode {
    /// GetMedia: lowest latency.
    #[default]
    GetMedia,
    /// An HLS session: some seconds later, and the stream needs retention.
    Hls,
}

/// Where reading a stream starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Start {
    /// The newest footage (live mode).
    Now,
    /// The oldest footage that the stream keeps (catch-up mode until the newest is reached).
    Earliest,
    /// After the last footage that was dealt with, or NOW where there is none.
    #[default]
    Checkpoint,
}

/// Looking only at frames in which something moves.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Motion {
    /// Whether it is done.
    pub enabled: bool,
    /// 0 (only large movements) to 1 (the slightest).
    #[schemars(range(min = 0, max = 1))]
    pub sensitivity: f64,
    /// A still scene is looked at once in so long, seconds. Looks that are more than 10 s apart would have nothing to do with one
    /// another.
    #[schemars(range(min = 1, max = 9))]
    pub max_idle_seconds: f64,
}

impl Default for Motion {
    fn default() -> Self {
        Self { enabled: false, sensitivity: 0.5, max_idle_seconds: 5.0 }
    }
}

/// Where a camera's events and snapshots go.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Routing {
    /// Its events. The local sink, where there is one, gets them in any case.
    pub events: EventRouting,
    /// Its snapshots. The local sink, where there is one, keeps them in any case.
    pub snapshot: SnapshotRouting,
}

/// Where a camera's events go.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EventRouting {
    /// Whether they are put into a Kinesis data stream; absent: true where one is named.
    pub to_kds: Option<bool>,
    /// The stream for this camera in place of `publishers.kds_stream`.
    #[schemars(regex(pattern = r"^[A-Za-z0-9_.-]{1,128}$"),
        extend("x-remedy" = "write the stream's name: letters, digits, _ . and -, at most 128"))]
    pub kds_stream_override: Option<String>,
}

/// Where a camera's snapshots go.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SnapshotRouting {
    /// Whether they are put into S3; absent: true where a bucket is named and snapshots are made.
    pub to_s3: Option<bool>,
    /// Between `publishers.s3_prefix` and the file's name.
    #[schemars(regex(pattern = r"^[A-Za-z0-9_./=-]{0,256}$"),
        extend("x-remedy" = "use letters, digits, _ . / = - and ${camera_id} only, at most 256"))]
    pub prefix: Option<String>,
    /// Snapshots are made of events only. (false is not in this version.)
    pub on_event_only: bool,
    /// Whether the box of an event goes up as a picture of its own.
    pub upload_crops: bool,
}

impl Default for SnapshotRouting {
    fn default() -> Self {
        Self { to_s3: None, prefix: None, on_event_only: true, upload_crops: true }
    }
}
