//! The run that a replay is compared with: its incidents from a file, a DynamoDB table or a data stream. All of it is only read.

mod event_file;
mod event_stream;
mod event_table;
mod snapshot_store;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_config::SdkConfig;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use thiserror::Error;

use super::incident_facts::{IncidentFacts, IncidentTable};
use super::span::ReplaySpan;
use crate::aws::{has_own_s3, new_http_client};
use crate::config::Settings;
use crate::delivery::Clients;
use crate::media::Event;
pub(super) use snapshot_store::SnapshotStore;

/// The time around the span whose records are read, too, ms: those of incidents that began before it or ended after it.
const MARGIN_MS: i64 = 60 * 60 * 1000;
/// Attempts at a call, by the SDK's backoff.
const MAX_ATTEMPTS: u32 = 8;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);

/// The place of the records of an earlier run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EarlierSource {
    /// The local sink's folder, or a file of records.
    Local(PathBuf),
    /// A DynamoDB table of records.
    Table(String),
    /// Kinesis data streams.
    Streams(BTreeSet<String>),
}

/// An earlier run.
pub(super) struct EarlierRun {
    /// The source, for the report.
    pub(super) name: String,
    /// Its incidents of the replayed cameras around the span.
    pub(super) incidents: Vec<IncidentFacts>,
    /// Its pictures.
    pub(super) snapshots: SnapshotStore,
}

/// The earlier run cannot be read.
#[derive(Debug, Error)]
pub enum EarlierError {
    /// `--compare` names a sink that the configuration does not have.
    #[error("--compare {word}: the configuration has no {key}; name the source itself: {form}")]
    NotConfigured {
        /// The word.
        word: &'static str,
        /// The key of the configuration.
        key: &'static str,
        /// The form that names a source.
        form: &'static str,
    },
    /// The file cannot be read, or is none of records.
    #[error("--compare {path}: {why}")]
    File {
        /// The file.
        path: String,
        /// The reason and the remedy.
        why: String,
    },
    /// The table or data stream cannot be read; the text has the remedy.
    #[error("--compare: {0}")]
    Service(String),
}

impl EarlierSource {
    /// Returns the source that `--compare` names: `local`, `table` or `stream` of the configuration, `ddb:NAME`, `kds:NAME`, or a path.
    ///
    /// # Errors
    /// The configuration has no such sink.
    pub fn parse(text: &str, settings: &Settings) -> Result<Self, EarlierError> {
        let missing = |word, key, form| EarlierError::NotConfigured { word, key, form };
        let publish = &settings.publish;
        if let Some(name) = text.strip_prefix("ddb:") {
            return Ok(Self::Table(name.to_owned()));
        }
        if let Some(name) = text.strip_prefix("kds:") {
            return Ok(Self::Streams([name.to_owned()].into()));
        }
        match text {
            "local" => {
                let folder = publish.local_dir.clone();
                folder.map(Self::Local).ok_or_else(|| missing("local", "publishers.local_dir", "a folder"))
            }
            "table" => {
                let table = publish.ddb.as_ref().map(|ddb| ddb.table.clone());
                table.map(Self::Table).ok_or_else(|| missing("table", "publishers.ddb_table", "ddb:NAME"))
            }
            "stream" => {
                let streams: BTreeSet<String> =
                    settings.cameras.iter().filter_map(|camera| camera.route.kds_stream.clone()).collect();
                let streams = Some(streams).filter(|streams| !streams.is_empty());
                streams
                    .map(Self::Streams)
                    .ok_or_else(|| missing("stream", "publishers.kds_stream", "kds:NAME"))
            }
            path => Ok(Self::Local(PathBuf::from(path))),
        }
    }

    /// Returns the name for messages and the report.
    fn name(&self) -> String {
        match self {
            Self::Local(path) => path.display().to_string(),
            Self::Table(table) => format!("table {table}"),
            Self::Streams(streams) => {
                let names: Vec<&str> = streams.iter().map(String::as_str).collect();
                format!("data stream {}", names.join(", "))
            }
        }
    }

    /// Reads the incidents of the cameras around the span.
    ///
    /// # Errors
    /// The source cannot be read; services are asked again first.
    pub(super) async fn read(
        &self,
        cameras: &BTreeSet<String>,
        span: ReplaySpan,
        aws: &SdkConfig,
    ) -> Result<EarlierRun, EarlierError> {
        let mut records = WantedRecords { cameras, span, incidents: IncidentTable::default() };
        let mut folder = None;
        match self {
            Self::Local(path) => {
                let files = event_file::files(path)?;
                folder = files.first().and_then(|file| file.parent()).map(Path::to_owned);
                // Files of hundreds of MB: the blocking read holds up nothing, since nothing else runs yet.
                for file in &files {
                    event_file::read(file, &mut records)?;
                }
            }
            Self::Table(table) => event_table::read(&patient(aws), table, &mut records).await?,
            Self::Streams(streams) => {
                for stream in streams {
                    event_stream::read(&patient(aws), stream, &mut records).await?;
                }
            }
        }
        let s3 = Clients::new(aws, has_own_s3(aws)).s3();
        let incidents = records.incidents.into_incidents();
        Ok(EarlierRun { name: self.name(), incidents, snapshots: SnapshotStore::new(folder, Some(s3)) })
    }
}

/// Returns the settings of a client that asks again when it is throttled.
fn patient(aws: &SdkConfig) -> SdkConfig {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .build();
    aws.to_builder()
        .http_client(new_http_client())
        .retry_config(RetryConfig::standard().with_max_attempts(MAX_ATTEMPTS))
        .timeout_config(timeouts)
        .build()
}

/// Takes the records of the replayed cameras around the span.
struct WantedRecords<'a> {
    cameras: &'a BTreeSet<String>,
    span: ReplaySpan,
    incidents: IncidentTable,
}

impl WantedRecords<'_> {
    /// Returns the first and the last time of records that are wanted, ms since the epoch.
    fn range_ms(&self) -> (i64, i64) {
        let ReplaySpan { from_ms, to_ms } = self.span;
        (from_ms.saturating_sub(MARGIN_MS).max(0), to_ms.saturating_add(MARGIN_MS))
    }

    fn take(&mut self, event: &Event) {
        let (from_ms, to_ms) = self.range_ms();
        let is_near = (from_ms..=to_ms).contains(&event.payload.ts_ms);
        if is_near && self.cameras.contains(&event.camera_id) {
            self.incidents.add(event);
        }
    }
}
