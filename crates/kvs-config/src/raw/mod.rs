//! The raw configuration: the key tree of the file, from which the JSON Schema is generated.
//!
//! The schema defines names, types, ranges and patterns. `schema_check` checks a file against it, so that an editor and the
//! program agree. The documentation comments of these types are the descriptions in the schema. Two keywords are our own: `x-remedy`,
//! the form of a valid value in words, and `x-other-names`, remedies for common names of a choice.

mod camera;
mod clips;
mod detector;
mod model;
mod publishers;
mod roi;
mod sharing;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::pattern;

pub use camera::{
    CameraSection, EventRoutingSection, IdleDecodeMode, MotionSection, PlaybackSection, RoutingSection,
    SnapshotRoutingSection, StartPosition, StreamProtocol,
};
pub use clips::ClipsSection;
pub use detector::{
    ActivitySection, AlprSection, DetectionOptions, DetectorBlock, DetectorSection, DetectorType, MinBox,
    OcrEngine, PipelineSection, TemporalConfirm,
};
pub use model::{
    BoxUnits, ChannelOrder, ClassList, EngineChoice, InputRange, LayoutChoice, ModelInput, ModelSection,
};
pub use publishers::{PublishersSection, SnapshotFormat, SnapshotsSection, SseName};
pub use roi::{FilterName, MaskPolygon, RoiSection, RoiUnits, ZonePolygon};
pub use sharing::{SharingSection, TableAwayPolicy};

/// The cameras, their detectors, and the destinations of events.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(title = "kvs-infer: cameras.yaml")]
pub struct RawConfig {
    /// Settings of Amazon Web Services.
    pub aws: AwsSection,
    /// The destinations of events and snapshots. At least one of `kds_stream` (or a camera's `kds_stream_override`) and `local_dir` is
    /// required.
    pub publishers: PublishersSection,
    /// The state that survives a restart: undelivered events, and the position of each camera.
    pub state: StateSection,
    /// Sharing of the cameras by many workers, each of which runs this configuration; absent: this process has all cameras.
    pub sharing: Option<SharingSection>,
    /// Timings of the service.
    pub service: ServiceSection,
    /// The snapshots of events.
    pub snapshots: SnapshotsSection,
    /// The clips of incidents: MP4 files of stored footage.
    pub clips: ClipsSection,
    /// The models by name. A detector's `yolo_weights` names one of them, or a file.
    pub models: BTreeMap<String, ModelSection>,
    // The pattern is for editors and for the position of the mistake; `DeviceChoice::from_str` in the program is the parser.
    /// The device that runs the models: `auto` (all GPUs if CUDA works, else the CPU, with the reason in the log), `cpu`, `cuda` (all GPUs,
    /// without fallback) or `cuda:N` (one GPU, without fallback). On several GPUs, each camera has all of its models on one.
    #[schemars(regex(pattern = r"^(auto|cpu|cuda|cuda:[0-9]{1,2})$"), extend("x-remedy" = "write auto, cpu, cuda or cuda:N"))]
    pub device: String,
    /// The device that decodes the cameras.
    pub decode: DecodeDevice,
    /// The log level. `LOG_LEVEL` takes precedence.
    pub log_level: LogLevel,
    /// The log format; absent: text on a terminal, else JSON.
    pub log_format: Option<LogFormat>,
    /// Metrics in addition to those on `/metrics`.
    pub metrics: MetricsSection,
    /// The cameras, at least one of them enabled.
    #[schemars(length(min = 1, max = 10000), extend("x-remedy" = "name at least one camera under `cameras`"))]
    pub cameras: Vec<CameraSection>,
}

impl Default for RawConfig {
    fn default() -> Self {
        Self {
            aws: AwsSection::default(),
            publishers: PublishersSection::default(),
            state: StateSection::default(),
            sharing: None,
            service: ServiceSection::default(),
            snapshots: SnapshotsSection::default(),
            clips: ClipsSection::default(),
            models: BTreeMap::new(),
            device: "auto".to_owned(),
            decode: DecodeDevice::default(),
            log_level: LogLevel::default(),
            log_format: None,
            metrics: MetricsSection::default(),
            cameras: Vec::new(),
        }
    }
}

/// The pattern of a region name.
const REGION: &str = "^[a-z]{2,4}(-[a-z]+)+-[0-9]{1,2}$";

/// Settings of Amazon Web Services.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AwsSection {
    /// The region of the streams, tables and the bucket. `AWS_REGION` takes precedence; absent: as the AWS SDK finds it.
    #[schemars(regex(pattern = REGION), example = &"ap-southeast-1",
        extend("x-remedy" = "write a region such as ap-southeast-1"))]
    pub region: Option<String>,
}

impl AwsSection {
    /// Returns `true` if `name` has the form of a region name.
    #[must_use]
    pub fn is_region(name: &str) -> bool {
        pattern::matches(REGION, name)
    }
}

// DynamoDB CreateTable: 3 to 255 of these characters.
/// The pattern of a DynamoDB table name.
pub(super) const TABLE: &str = "^[A-Za-z0-9_.-]{3,255}$";
/// The form of a DynamoDB table name, in words.
pub(super) const TABLE_REMEDY: &str = "write the table's name: letters, digits, _ . and -, 3 to 255";

/// The state that survives a restart.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StateSection {
    /// The folder of the outbox; absent: `state` in the cache folder. One process uses it at a time.
    #[schemars(length(min = 1, max = 4096), extend("x-remedy" = "write the path of a folder"))]
    pub dir: Option<String>,
    /// Maximum size of the undelivered events in the outbox: a number of bytes, or with KiB, MiB, GiB or TiB; at least 16MiB. Each sink
    /// has a share of it. The file takes up to four times as much, plus 128 MiB.
    #[schemars(regex(pattern = SIZE), extend("x-remedy" = "write a size such as 2GiB"))]
    pub max_bytes: String,
    /// The DynamoDB table of positions, with partition key `camera_id` (S). With it, no event is lost with this host's disk; absent: none.
    #[schemars(regex(pattern = TABLE), example = &"kvs-infer-positions", extend("x-remedy" = TABLE_REMEDY))]
    pub ddb_table: Option<String>,
}

/// The pattern of a size.
const SIZE: &str = "^[0-9]{1,15} ?([KMGT]iB)?$";

impl Default for StateSection {
    fn default() -> Self {
        Self { dir: None, max_bytes: "2GiB".to_owned(), ddb_table: None }
    }
}

/// Timings of the service.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ServiceSection {
    /// Lifetime of an HLS session, seconds. A session is renewed before it expires; KVS grants at least 300.
    #[schemars(range(min = 60, max = 43200))]
    pub hls_session_seconds: u32,
    /// First delay before a broken connection is retried, seconds. It grows exponentially, with jitter.
    #[schemars(range(min = 1, max = 300))]
    pub reconnect_delay_seconds: u32,
    /// Maximum lag of a live camera, seconds. Beyond it the camera jumps to the newest footage, and the skipped footage is counted.
    #[schemars(range(min = 5, max = 86400))]
    pub max_behind_seconds: u32,
    /// Maximum time to fetch or load a model at the start, seconds. Beyond it `/healthz` answers 503, so that an orchestrator restarts
    /// the service or rolls the deployment back.
    #[schemars(range(min = 10, max = 86400))]
    pub model_load_seconds: u32,
}

impl Default for ServiceSection {
    fn default() -> Self {
        Self {
            hls_session_seconds: 300,
            reconnect_delay_seconds: 5,
            max_behind_seconds: 60,
            model_load_seconds: 600,
        }
    }
}

/// Metrics in addition to those on `/metrics`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MetricsSection {
    /// `true` to log metrics for CloudWatch once per minute, in the embedded metric format.
    pub emf: bool,
    /// The value of the metrics' dimension `Service`, which distinguishes deployments.
    #[schemars(regex(pattern = r"^[A-Za-z0-9_.-]{1,128}$"),
        extend("x-remedy" = "use letters, digits, _ . and - only, at most 128"))]
    pub service: String,
}

impl Default for MetricsSection {
    fn default() -> Self {
        Self { emf: false, service: "kvs-infer".to_owned() }
    }
}

/// The device that decodes cameras.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DecodeDevice {
    /// The GPU of the camera's models by its NVDEC, if they run on one and NVDEC works; else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// The GPU of the camera's models, or the first one, by its NVDEC; an error at the start if it does not work. Cameras that NVDEC
    /// cannot decode, or has no capacity for, are decoded on the CPU.
    Cuda,
}

/// The log level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Errors: data is lost, or an operator must act.
    Error,
    /// Warnings: recovered errors, plus everything in `error`.
    Warn,
    /// Lifecycle events, plus everything in `warn`.
    #[default]
    Info,
    /// Diagnostics, plus everything in `info`.
    Debug,
    /// Every message.
    Trace,
}

impl LogLevel {
    /// Returns the level's name in a `tracing` filter.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// The log format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object per line.
    Json,
    /// Text for people.
    Text,
}
