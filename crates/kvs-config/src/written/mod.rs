//! The configuration as written: the whole key tree, from which the JSON Schema is made.
//!
//! The schema says the names, types, ranges and patterns; `shape` holds a file against it, so that an editor and the program
//! say the same. One word of our own stands in it: `x-remedy`, how a value must look, for the message.

mod camera;
mod detector;
mod model;
mod publishers;
mod roi;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::shape;

pub use camera::{Camera, EventRouting, Motion, Playback, PlaybackMode, Routing, SnapshotRouting, Start};
pub use detector::{
    Activity, Alpr, Detector, DetectorType, MinBox, OcrEngine, PipelineEntry, TemporalConfirm,
};
pub use model::{BoxUnits, ChannelOrder, ClassList, InputRange, LayoutChoice, Model, ModelInput};
pub use publishers::{Publishers, SnapshotFormat, Snapshots, SseName};
pub use roi::{FilterName, Polygon, RoiSection, Shape, Units};

/// How a value must look, in words.
pub(super) const REMEDY: &str = "x-remedy";
/// The key of the schema that holds other names of its choices.
pub(super) const OTHER_NAMES: &str = "x-other-names";

/// Which cameras are read, what is looked for in them, and where the events go.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(title = "kvs-infer: cameras.yaml")]
pub struct Config {
    /// Amazon Web Services.
    pub aws: Aws,
    /// Where events and snapshots go. At least one of `kds_stream` (or a camera's `kds_stream_override`) and `local_dir` is needed.
    pub publishers: Publishers,
    /// What is kept over a restart: events that are not delivered yet, and where each camera goes on.
    pub state: State,
    /// How streams are read.
    pub service: Service,
    /// The pictures of events.
    pub snapshots: Snapshots,
    /// Models by name; a camera's `yolo_weights` names one of them, or a file.
    pub models: BTreeMap<String, Model>,
    /// Where models run: `auto` (CUDA where it works, else the CPU, saying why), `cpu`, `cuda` (the first GPU, or nothing), `cuda:N`.
    #[schemars(regex(pattern = r"^(auto|cpu|cuda|cuda:[0-9]{1,2})$"), extend("x-remedy" = "write auto, cpu, cuda or cuda:N"))]
    pub device: String,
    /// What is logged. `LOG_LEVEL` beats it.
    pub log_level: LogLevel,
    /// How it is logged; absent: text on a terminal, else JSON.
    pub log_format: Option<LogFormat>,
    /// Metrics beside those on `/metrics`.
    pub metrics: Metrics,
    /// The cameras, at least one of them enabled.
    #[schemars(length(min = 1, max = 10000), extend("x-remedy" = "name at least one camera under `cameras`"))]
    pub cameras: Vec<Camera>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            aws: Aws::default(),
            publishers: Publishers::default(),
            state: State::default(),
            service: Service::default(),
            snapshots: Snapshots::default(),
            models: BTreeMap::new(),
            device: "auto".to_owned(),
            log_level: LogLevel::default(),
            log_format: None,
            metrics: Metrics::default(),
            cameras: Vec::new(),
        }
    }
}

/// The form of a region's name.
const REGION: &str = "^[a-z]{2,4}(-[a-z]+)+-[0-9]{1,2}$";

/// Amazon Web Services.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Aws {
    /// The region of the streams and the bucket; `AWS_REGION` beats it.
    #[schemars(regex(pattern = REGION), example = &"ap-southeast-1",
        extend("x-remedy" = "write a region such as ap-southeast-1"))]
    pub region: Option<String>,
}

impl Aws {
    /// Whether `name` has the form of a region's.
    #[must_use]
    pub fn is_region(name: &str) -> bool {
        shape::matches(REGION, name)
    }
}

/// The form of a DynamoDB table's name.
pub(super) const TABLE: &str = "^[A-Za-z0-9_.-]{3,255}$";
/// The same in words.
pub(super) const TABLE_REMEDY: &str = "write the table's name: letters, digits, _ . and -, 3 to 255";

/// What is kept over a restart.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct State {
    /// The folder of the outbox; absent: `state` in the cache folder. One process has it at a time.
    #[schemars(length(min = 1, max = 4096), extend("x-remedy" = "write the path of a folder"))]
    pub dir: Option<String>,
    /// Size limit of what waits in the outbox: a number of bytes, or with KiB, MiB, GiB; at least 16MiB. Each sink has a share of it. The
    /// file may take up to four times as much, and 128 MiB.
    #[schemars(regex(pattern = SIZE), extend("x-remedy" = "write a size such as 2GiB"))]
    pub max_bytes: String,
    /// The DynamoDB table of positions, key `camera_id` (S): with it nothing is lost with this host's disk.
    #[schemars(regex(pattern = TABLE), example = &"kvs-infer-positions", extend("x-remedy" = TABLE_REMEDY))]
    pub ddb_table: Option<String>,
}

/// The form of a size.
const SIZE: &str = "^[0-9]{1,15} ?([KMGT]iB)?$";

impl Default for State {
    fn default() -> Self {
        Self { dir: None, max_bytes: "2GiB".to_owned(), ddb_table: None }
    }
}

/// How streams are read.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Service {
    /// The life of an HLS session, seconds; it is renewed before. KVS grants 300 at least.
    #[schemars(range(min = 60, max = 43200))]
    pub hls_session_seconds: u32,
    /// The first wait before a broken connection is tried again, seconds; it grows from there, with jitter.
    #[schemars(range(min = 1, max = 300))]
    pub reconnect_delay_seconds: u32,
    /// How far a live camera may fall behind before it jumps to the newest footage and counts what it left out, seconds.
    #[schemars(range(min = 5, max = 86400))]
    pub max_behind_seconds: u32,
    /// Limit on the time to fetch or load a model at the start, seconds. Beyond it `/healthz` answers 503, so that an orchestrator
    /// restarts the service or rolls the deployment back.
    #[schemars(range(min = 10, max = 86400))]
    pub model_load_seconds: u32,
}

impl Default for Service {
    fn default() -> Self {
        Self {
            hls_session_seconds: 300,
            reconnect_delay_seconds: 5,
            max_behind_seconds: 60,
            model_load_seconds: 600,
        }
    }
}

/// Metrics beside those on `/metrics`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Metrics {
    /// Whether CloudWatch metrics are written as log lines once a minute (embedded metric format).
    pub emf: bool,
    /// The value of their dimension `Service`: what tells one deployment from another.
    #[schemars(regex(pattern = r"^[A-Za-z0-9_.-]{1,128}$"),
        extend("x-remedy" = "use letters, digits, _ . and -, 128 at most"))]
    pub service: String,
}

impl Default for Metrics {
    fn default() -> Self {
        Self { emf: false, service: "kvs-infer".to_owned() }
    }
}

/// What is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Someone must act, or something is lost.
    Error,
    /// Also what went wrong and was recovered from.
    Warn,
    /// Also what happens now and then.
    #[default]
    Info,
    /// Also what a person looking for a fault wants.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    /// The level's name, as a `tracing` filter knows it.
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

/// How it is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}
