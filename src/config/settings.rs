//! The resolved configuration: every default filled in, every name resolved. The service is built only from this.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ::sharing::ConfigVersion;
use serde::Serialize;

use crate::decide::Rules;
use crate::decode::Masks;
use crate::delivery::{Route, StateSpec};
use crate::detect::{DeviceChoice, ModelSpec, MotionRules, Purpose};
use crate::media::CameraId;
use crate::sinks::PublishSpec;

use kvs_config::raw::{DecodeDevice, LogFormat, LogLevel, StartPosition, StreamProtocol};

use super::content::ConfigContent;
use super::errors::ConfigErrors;
use super::files::{ConfigText, ModelFiles};
use super::shapes::{CameraShapes, zone_advice};
use super::sharing_settings::SharingSettings;

/// The settings of the service.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The AWS region; `None`: as the AWS SDK finds it.
    pub region: Option<String>,
    /// The sinks.
    pub publish: PublishSpec,
    /// The state that survives a restart.
    pub state: StateSettings,
    /// The pool of workers that share the cameras; `None`: this process has all of them.
    pub sharing: Option<SharingSettings>,
    /// The version of the configuration; `None` without `sharing`.
    pub version: Option<ConfigVersion>,
    /// The first delay before a broken connection is retried.
    pub reconnect_delay: Duration,
    /// The lifetime of an HLS session.
    pub hls_session: Duration,
    /// The lag beyond which a live camera jumps to the newest footage.
    pub max_behind: Duration,
    /// Maximum time to fetch or load a model at the start.
    pub model_load: Duration,
    /// The device that runs the models.
    pub device: DeviceChoice,
    /// The device that decodes the cameras.
    pub decode: DecodeDevice,
    /// The log level.
    pub log_level: LogLevel,
    /// The log format; `None`: text on a terminal, else JSON.
    pub log_format: Option<LogFormat>,
    /// The dimension `Service` of the metrics for CloudWatch; `None`: no such metrics.
    pub emf_service: Option<String>,
    /// The enabled cameras, at least one, in the order of the file.
    pub cameras: Vec<CameraSpec>,
    /// Their zones and masks as the file has them, in the same order.
    pub shapes: Arc<Vec<CameraShapes>>,
    /// The model files that the enabled cameras need.
    pub files: ModelFiles,
}

impl Settings {
    /// Returns the text of the configuration file.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.files.config.content.text
    }

    /// Returns the content of the configuration file.
    #[must_use]
    pub fn content(&self) -> &ConfigContent {
        &self.files.config.content
    }

    /// Checks that every local model file of the enabled cameras exists.
    ///
    /// # Errors
    /// Every missing file, with the position of its name.
    pub fn check_model_files(&self) -> Result<(), ConfigErrors> {
        let problems = self.files.missing();
        if problems.is_empty() {
            return Ok(());
        }
        let ConfigText { file, content } = &*self.files.config;
        Err(ConfigErrors::Invalid { file: file.clone(), text: content.text.clone(), problems })
    }

    /// Returns warnings about valid settings with surprising effects, at most one per pipeline entry and per zone, and those of sharing and
    /// clips.
    #[must_use]
    pub fn advice(&self) -> Vec<String> {
        let of_camera = |camera: &CameraSpec| {
            let advice = camera.pipeline.iter().filter_map(PipelineEntry::advice);
            advice.map(|advice| format!("camera {}, {advice}", camera.id)).collect::<Vec<_>>()
        };
        let of_zones = |camera: &CameraShapes| {
            let advice = camera.roi.iter().flat_map(zone_advice);
            advice.map(|(_, advice)| format!("camera {}, {advice}", camera.id)).collect::<Vec<_>>()
        };
        let cameras = self.cameras.iter().flat_map(of_camera).chain(self.shapes.iter().flat_map(of_zones));
        cameras.chain(self.sharing_advice()).chain(self.clip_advice()).collect()
    }

    /// Returns warnings about clips of cameras with masks, which do not cover stored video.
    fn clip_advice(&self) -> Vec<String> {
        let clips = &self.publish.clips;
        let masked = self.cameras.iter().filter(|camera| camera.masks.is_some());
        let masked: Vec<&str> = masked.map(|camera| camera.id.as_str()).collect();
        let stores = clips.to_s3 || clips.to_local;
        let ids = masked.join(", ");
        match (masked.is_empty(), clips.ignore_masks, stores) {
            (false, true, _) => {
                vec![format!("clips: `ignore_masks` is true, so the clips of {ids} show what the masks hide")]
            }
            (false, false, true) => vec![format!(
                "clips: those of {ids} are not stored, because masks do not cover stored video: write `ignore_masks: true` to store \
                 them with what the masks hide"
            )],
            _ => Vec::new(),
        }
    }

    /// Returns warnings about events that a worker which is lost takes with it: no required sink has them.
    fn sharing_advice(&self) -> Vec<String> {
        let mut advice = Vec::new();
        if self.sharing.is_none() {
            return advice;
        }
        if self.publish.local_dir.is_some() {
            advice.push(
                "sharing: `publishers.local_dir` is best effort, since no other worker can read the folder of this host"
                    .to_owned(),
            );
        }
        let without = || self.cameras.iter().filter(|camera| camera.route.kds_stream.is_none());
        let remedy = "name one as `publishers.kds_stream`";
        match without().count() {
            0 => {}
            all if all == self.cameras.len() => advice.push(format!(
                "sharing: no camera has a Kinesis data stream, so every event is delivered at best effort: {remedy}"
            )),
            _ => advice.extend(without().map(|camera| {
                let id = &camera.id;
                format!(
                    "camera {id}: with sharing and without a Kinesis data stream, its events are delivered at best effort: {remedy}"
                )
            })),
        }
        advice
    }
}

/// The state that survives a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateSettings {
    /// The folder of the outbox; `None`: `state` in the cache folder.
    pub dir: Option<PathBuf>,
    /// Maximum size of the undelivered events in it, bytes.
    pub max_bytes: u64,
    /// The DynamoDB table of positions.
    pub ddb_table: Option<String>,
}

impl StateSettings {
    /// Returns the state's settings, with `folder` if none is named.
    #[must_use]
    pub fn or_in(self, folder: PathBuf) -> StateSpec {
        let Self { dir, max_bytes, ddb_table } = self;
        StateSpec { dir: dir.unwrap_or(folder), max_bytes, ddb_table }
    }
}

/// A cool-down longer than this causes a warning, ms.
const LONG_COOLDOWN_MS: i64 = 3_000;

/// An enabled camera. Its digest is that of its serialized form.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CameraSpec {
    /// The camera's unique id.
    pub id: CameraId,
    /// The name of its Kinesis video stream.
    pub stream: String,
    /// The order in which cameras get the capacity of the workers that share them: lower numbers first.
    #[serde(skip)]
    pub priority: u32,
    /// The interface by which the stream is read.
    pub mode: StreamProtocol,
    /// The position at which reading starts.
    pub start: StartPosition,
    /// Number of frames to analyze per second of media time; `None`: all.
    pub fps_target: Option<f64>,
    /// Maximum size of a frame, pixels.
    pub max_pixels: u32,
    /// The privacy masks.
    pub masks: Option<Masks>,
    /// The motion gate; `None`: every frame is analyzed.
    pub motion: Option<MotionRules>,
    /// True if only keyframes are decoded while the motion gate finds nothing.
    pub decodes_idly: bool,
    /// The enabled entries, at least one, in the order of the file.
    pub pipeline: Vec<PipelineEntry>,
    /// The destinations of its events.
    pub route: Route,
}

impl CameraSpec {
    /// Returns the models of its entries, each with its purpose.
    pub fn models(&self) -> impl Iterator<Item = (Purpose, &Arc<ModelSpec>)> {
        self.pipeline.iter().flat_map(|entry| {
            let ocr = entry.ocr.as_ref().map(|ocr| (Purpose::Read, &ocr.model));
            std::iter::once((Purpose::Find, &entry.model)).chain(ocr)
        })
    }
}

/// An enabled entry of a camera's pipeline.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PipelineEntry {
    /// The rules by which detections become events.
    pub rules: Rules,
    /// The detection model; entries that name the same model share it.
    pub model: Arc<ModelSpec>,
    /// The text recognition in its boxes.
    pub ocr: Option<OcrSpec>,
}

impl PipelineEntry {
    /// Returns a warning about a long cool-down, which suppresses objects that appear where another one disappeared.
    fn advice(&self) -> Option<String> {
        let Rules { detector, cooldown_ms, max_disappeared_ms, .. } = &self.rules;
        let (cooldown_s, ends_s) = (seconds(*cooldown_ms), seconds(*max_disappeared_ms));
        (*cooldown_ms > LONG_COOLDOWN_MS).then(|| {
            format!(
                "{detector}: `cooldown_seconds: {cooldown_s}` suppresses objects that appear near where another one just disappeared: \
                 write 1.5, or remove it; `max_disappeared_seconds` ({ends_s}) sets when an incident ends"
            )
        })
    }
}

#[expect(clippy::cast_precision_loss, reason = "at most a day")]
fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}

/// The text recognition of a pipeline entry.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OcrSpec {
    /// The recognition model; entries that name the same model share it.
    pub model: Arc<ModelSpec>,
    /// The margin that is read beyond each edge of a box, as a fraction of its sides, 0..=0.5.
    pub crop_expand: f32,
}
