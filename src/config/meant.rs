//! The configuration as meant: every default filled in, every name resolved. Only this can be built.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::decide::Rules;
use crate::decode::Masks;
use crate::delivery::{Route, StateSpec};
use crate::detect::{Device, ModelSpec, MotionRules, Purpose};
use crate::media::CameraId;
use crate::sinks::PublishSpec;

use kvs_config::written::{LogFormat, LogLevel, PlaybackMode, Start};

use super::files::ModelFiles;

/// All that the service is to do.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The AWS region; `None`: as the AWS SDK finds it.
    pub region: Option<String>,
    /// The sinks.
    pub publish: PublishSpec,
    /// What is kept over a restart.
    pub state: StateSettings,
    /// The first wait before a broken connection is tried again; it grows from there.
    pub reconnect_delay: Duration,
    /// The life of an HLS session.
    pub hls_session: Duration,
    /// How far a live camera may fall behind before it jumps to the newest frame.
    pub max_behind: Duration,
    /// Limit on the time to fetch or load a model at the start.
    pub model_load: Duration,
    /// Where models run.
    pub device: Device,
    /// What is logged.
    pub log_level: LogLevel,
    /// How; `None`: text on a terminal, else JSON.
    pub log_format: Option<LogFormat>,
    /// The dimension `Service` of the metrics for CloudWatch; `None`: there are none.
    pub emf_service: Option<String>,
    /// The enabled cameras, at least one, in the order of the file.
    pub cameras: Vec<CameraSpec>,
    /// The model files that the enabled cameras need.
    pub files: ModelFiles,
}

impl Settings {
    /// Returns warnings about allowed settings with surprising effects, one per entry of a pipeline.
    #[must_use]
    pub fn advice(&self) -> Vec<String> {
        let of_camera = |camera: &CameraSpec| {
            let advice = camera.pipeline.iter().filter_map(PipelineEntry::advice);
            advice.map(|advice| format!("camera {}, {advice}", camera.id)).collect::<Vec<_>>()
        };
        self.cameras.iter().flat_map(of_camera).collect()
    }
}

/// What is kept over a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateSettings {
    /// The folder of the outbox; `None`: `state` in the cache folder.
    pub dir: Option<PathBuf>,
    /// What may wait in it, bytes.
    pub max_bytes: u64,
    /// The DynamoDB table of positions.
    pub ddb_table: Option<String>,
}

impl StateSettings {
    /// With the folder, where none is named.
    #[must_use]
    pub fn or_in(self, folder: PathBuf) -> StateSpec {
        let Self { dir, max_bytes, ddb_table } = self;
        StateSpec { dir: dir.unwrap_or(folder), max_bytes, ddb_table }
    }
}

/// A cool-down that is longer than this is worth a word.
const LONG_COOLDOWN_MS: i64 = 3_000;

/// One enabled camera.
#[derive(Clone, Debug, PartialEq)]
pub struct CameraSpec {
    /// Its id, unique.
    pub id: CameraId,
    /// Its Kinesis video stream.
    pub stream: String,
    /// By which interface it is read.
    pub mode: PlaybackMode,
    /// Where reading starts.
    pub start: Start,
    /// Frames to look at a second of media time; `None`: all.
    pub fps_target: Option<f64>,
    /// Limit on the size of its pictures, pixels.
    pub max_pixels: u32,
    /// What is black in its pictures.
    pub masks: Option<Masks>,
    /// Which frames are worth a look; `None`: all.
    pub motion: Option<MotionRules>,
    /// The enabled entries, at least one, in the order of the file.
    pub pipeline: Vec<PipelineEntry>,
    /// Where its events go.
    pub route: Route,
}

impl CameraSpec {
    /// The models of its entries, and what each is for.
    pub fn models(&self) -> impl Iterator<Item = (Purpose, &Arc<ModelSpec>)> {
        self.pipeline.iter().flat_map(|entry| {
            let reading = entry.reading.as_ref().map(|reading| (Purpose::Read, &reading.model));
            std::iter::once((Purpose::Find, &entry.model)).chain(reading)
        })
    }
}

/// A detector and what counts of what it sees.
#[derive(Clone, Debug, PartialEq)]
pub struct PipelineEntry {
    /// What counts.
    pub rules: Rules,
    /// The model; entries that name the same model share it.
    pub model: Arc<ModelSpec>,
    /// What reads the text in its boxes.
    pub reading: Option<ReadingSpec>,
}

impl PipelineEntry {
    /// Returns a warning about an allowed setting with a surprising effect: a long cool-down swallows newcomers.
    fn advice(&self) -> Option<String> {
        let Rules { detector, cooldown_ms, max_disappeared_ms, .. } = &self.rules;
        let (cooldown_s, ends_s) = (seconds(*cooldown_ms), seconds(*max_disappeared_ms));
        (*cooldown_ms > LONG_COOLDOWN_MS).then(|| {
            format!(
                "{detector}: `cooldown_seconds: {cooldown_s}` leaves out whoever comes into sight near where another has just \
                 vanished: write 1.5, or leave it out; when an incident ends says `max_disappeared_seconds` ({ends_s})"
            )
        })
    }
}

#[expect(clippy::cast_precision_loss, reason = "at most a day")]
fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}

/// What reads the text in boxes.
#[derive(Clone, Debug, PartialEq)]
pub struct ReadingSpec {
    /// The recognition model; entries that name the same model share it.
    pub model: Arc<ModelSpec>,
    /// The share of a box's sides that is read beyond each of its edges, 0..=0.5.
    pub crop_expand: f32,
}
