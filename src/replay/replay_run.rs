//! One replay: reads the footage of all cameras, merges their records, and writes the report.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread::available_parallelism;
use std::time::Duration;

use aws_config::SdkConfig;
use futures_util::{StreamExt, stream};
use sha2::{Digest, Sha256};
use thiserror::Error;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::comparison::{Comparison, ReplayedFootage, compare, new_incident};
use super::coverage::FootageCoverage;
use super::earlier::{EarlierError, EarlierRun, EarlierSource, SnapshotStore};
use super::footage_feed::FootageFeed;
use super::incident_facts::IncidentFacts;
use super::merged_events::merge;
use super::output_folder::{OutputError, OutputFolder, ReplaySink};
use super::progress::ReplayProgress;
use super::report::{ReportCamera, ReportFigures, ReportInput, write_report};
use super::span::ReplaySpan;
use crate::base::{hex, lock};
use crate::camera::{AnalysisPace, CameraPipeline, CameraResources, EntryModels};
use crate::config::{CameraSpec, Settings};
use crate::decode::GpuDecoders;
use crate::delivery::{EventOutbox, OutboxSpec, Route, SinkSet, StartError, StateSpec};
use crate::media::{CameraId, ModelId};
use crate::remote::ModelFetcher;
use crate::service::{ModelSet, ModelSpeed, ServiceError, load_models};
use crate::source::Kvs;
use crate::status::StatusBoard;

/// Maximum number of frames per camera whose inferences are under way at once.
const MAX_AHEAD: usize = 8;
/// Minimum number of cameras that are replayed at the same time.
const MIN_CAMERAS_AT_ONCE: usize = 4;
/// Limit on the records and pictures that wait to be written, bytes.
const MAX_WAITING_BYTES: u64 = 256 << 20;
/// Limit on the time to write what waits at the end.
const FLUSH_LIMIT: Duration = Duration::from_secs(300);

/// The inputs of a replay.
pub struct ReplaySpec {
    /// The settings, with the cameras to replay.
    pub settings: Settings,
    /// Credentials, region and endpoints.
    pub aws: SdkConfig,
    /// The cache that fetches remote models.
    pub models: ModelFetcher,
    /// The span to replay.
    pub span: ReplaySpan,
    /// The folder of the result.
    pub folder: OutputFolder,
    /// The run to compare with.
    pub earlier: Option<EarlierSource>,
    /// The progress, which the caller displays.
    pub progress: ReplayProgress,
    /// Cancelled to stop reading; the result is that of the footage so far.
    pub stop: CancellationToken,
}

/// The result of a replay.
pub struct ReplayOutcome {
    /// The footage of each camera.
    pub cameras: BTreeMap<String, FootageCoverage>,
    /// The figures of the report.
    pub figures: ReportFigures,
    /// The report.
    pub report: PathBuf,
}

/// A replay without a result.
#[derive(Debug, Error)]
pub enum ReplayError {
    /// The folder cannot be used.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// The earlier run cannot be read.
    #[error(transparent)]
    Earlier(#[from] EarlierError),
    /// A model cannot be fetched or loaded.
    #[error(transparent)]
    Models(#[from] ServiceError),
    /// The outbox cannot start.
    #[error(transparent)]
    Outbox(#[from] StartError),
}

/// The parts that all cameras of a replay share.
struct ReplayContext {
    resources: CameraResources,
    board: StatusBoard,
    span: ReplaySpan,
    progress: ReplayProgress,
    stop: CancellationToken,
}

/// Replays the cameras of `spec`.
///
/// # Errors
/// There is no result: the folder, the earlier run or a model cannot be used. A camera that cannot be read is part of the result.
pub async fn replay(spec: ReplaySpec) -> Result<ReplayOutcome, ReplayError> {
    let outcome = run(&spec).await;
    spec.folder.remove_work();
    outcome
}

async fn run(spec: &ReplaySpec) -> Result<ReplayOutcome, ReplayError> {
    let ids: BTreeSet<String> = spec.settings.cameras.iter().map(|camera| camera.id.to_string()).collect();
    // First, so that a mistake in it is found before an hour of work.
    let earlier = match &spec.earlier {
        Some(source) => Some(source.read(&ids, spec.span, &spec.aws).await?),
        None => None,
    };
    let board = StatusBoard::new();
    let models = load_models(spec.models.clone(), &spec.settings, &board, ModelSpeed::Throughput).await?;
    let model_ids = models.detector_ids();
    let cameras = run_cameras(spec, models, board).await?;
    let incidents = merged(spec).await?;
    finish(spec, earlier, cameras, incidents, model_ids).await
}

/// Replays all cameras, some at a time; returns the coverage of each.
async fn run_cameras(
    spec: &ReplaySpec,
    models: ModelSet,
    board: StatusBoard,
) -> Result<BTreeMap<String, FootageCoverage>, ReplayError> {
    let failure: Arc<Mutex<Option<io::Error>>> = Arc::default();
    let outbox = Arc::new(EventOutbox::start(outbox_spec(spec, &failure)).await?);
    let context = ReplayContext {
        resources: resources(spec, &outbox),
        board,
        span: spec.span,
        progress: spec.progress.clone(),
        stop: spec.stop.clone(),
    };
    let running = spec.settings.cameras.iter().map(|camera| {
        let entries = models.entries_of(camera);
        context.run_camera(camera, entries)
    });
    let cores = available_parallelism().map_or(1, usize::from);
    let at_once = (2 * cores).max(MIN_CAMERAS_AT_ONCE);
    let cameras: BTreeMap<String, FootageCoverage> =
        stream::iter(running).buffer_unordered(at_once).collect().await;
    let undelivered: u64 = outbox.flush(FLUSH_LIMIT).await.iter().map(|sink| sink.count).sum();
    // Stopping a model joins its threads, which blocks. The panic hook has logged a panic.
    let _stopped = tokio::task::spawn_blocking(move || models.stop()).await;
    match lock(&failure).take() {
        Some(error) => Err(spec.folder.unwritable(error).into()),
        None if undelivered > 0 => {
            let text = format!("{undelivered} records were not written within {} s", FLUSH_LIMIT.as_secs());
            Err(spec.folder.unwritable(io::Error::other(text)).into())
        }
        None => Ok(cameras),
    }
}

/// Returns the outbox of the replay: its own folder is the only sink, and no table of AWS is in it.
fn outbox_spec(spec: &ReplaySpec, failure: &Arc<Mutex<Option<io::Error>>>) -> OutboxSpec {
    let cameras: Vec<CameraId> = spec.settings.cameras.iter().map(|camera| camera.id.clone()).collect();
    let sink = ReplaySink {
        folder: spec.folder.clone(),
        cameras: cameras.into(),
        snapshots: spec.settings.publish.snapshots,
        failure: Arc::clone(failure),
        stop: spec.stop.clone(),
    };
    let sinks = SinkSet { registry: Arc::new(sink), routes: vec![Arc::new(route())] };
    let state = StateSpec { dir: spec.folder.state(), max_bytes: MAX_WAITING_BYTES, ddb_table: None };
    let dead_letter = spec.folder.state().join("dead-letter.jsonl");
    // Without clients no sink of AWS can start.
    OutboxSpec { sinks, state, dead_letter, clients: None, sharing: None }
}

/// Returns the route of each camera of a replay, which leads to no live sink.
fn route() -> Route {
    Route { kds_stream: None, snapshot: None, clip: None }
}

fn resources(spec: &ReplaySpec, outbox: &Arc<EventOutbox>) -> CameraResources {
    let Settings { reconnect_delay, hls_session, max_behind, .. } = spec.settings;
    CameraResources {
        kvs: Kvs::new(&spec.aws),
        outbox: Arc::clone(outbox),
        reconnect_delay,
        hls_session,
        max_behind,
        // Reading ends by the token of the replay, and the stages behind it finish what was read.
        stop: CancellationToken::new(),
        halt: CancellationToken::new(),
        epoch: None,
        pace: AnalysisPace::Ahead { frames: MAX_AHEAD },
        // Reading stored footage faster than in real time would take the capacity of a GPU's decoders from live cameras.
        gpus: GpuDecoders::none(),
    }
}

impl ReplayContext {
    /// Replays a camera; returns its id and coverage.
    async fn run_camera(&self, spec: &CameraSpec, entries: Vec<EntryModels>) -> (String, FootageCoverage) {
        let id = spec.id.to_string();
        match self.try_camera(spec, entries).await {
            Ok(coverage) => (id, coverage),
            Err(fault) => (id, FootageCoverage { fault: Some(fault), ..FootageCoverage::default() }),
        }
    }

    async fn try_camera(
        &self,
        spec: &CameraSpec,
        entries: Vec<EntryModels>,
    ) -> Result<FootageCoverage, String> {
        let (archive, span, stop) = (self.resources.kvs.archive(&spec.stream), self.span, self.stop.clone());
        let Some(progress) = self.progress.camera(&spec.id).cloned() else {
            return Err("it is not among the cameras of the progress".to_owned());
        };
        let status = self.board.add_camera(&spec.id, &spec.stream);
        let (done, coverage) = oneshot::channel();
        let spec = CameraSpec { route: route(), ..spec.clone() };
        let id = spec.id.to_string();
        let feed = |out| tokio::spawn(FootageFeed { archive, span, out, progress, stop }.run(done));
        let camera = CameraPipeline::start_fed(spec, entries, status, &self.resources, feed);
        let camera = camera.map_err(|error| error.to_string())?;
        camera.join(&id).await.map_err(|error| error.to_string())?;
        let mut coverage = coverage.await.map_err(|_| "reading ended without a result".to_owned())?;
        // The queue to decode was closed, although the replay continues.
        if coverage.stopped && !self.stop.is_cancelled() {
            coverage.stopped = false;
            coverage.fault =
                Some("the analysis of its frames ended early; the log has the reason".to_owned());
        }
        Ok(coverage)
    }
}

/// Merges the records of the cameras, and returns their incidents.
async fn merged(spec: &ReplaySpec) -> Result<Vec<IncidentFacts>, ReplayError> {
    let (folder, cameras) = (spec.folder.clone(), spec.settings.cameras.len());
    let merging = tokio::task::spawn_blocking(move || merge(&folder, cameras));
    let merged = merging.await.map_err(io::Error::from).and_then(|merged| merged);
    Ok(merged.map_err(|error| spec.folder.unwritable(error))?)
}

/// Compares the incidents and writes the report.
async fn finish(
    spec: &ReplaySpec,
    earlier: Option<EarlierRun>,
    cameras: BTreeMap<String, FootageCoverage>,
    incidents: Vec<IncidentFacts>,
    models: Vec<ModelId>,
) -> Result<ReplayOutcome, ReplayError> {
    let footage = ReplayedFootage { span: spec.span, cameras: &cameras };
    let (compared_with, before_snapshots, comparison) = match earlier {
        Some(EarlierRun { name, incidents: before, snapshots }) => {
            (Some(name), snapshots, compare(before, incidents, &footage))
        }
        None => (None, SnapshotStore::new(None, None), alone(incidents)),
    };
    let report_cameras = spec.settings.cameras.iter().map(|camera| ReportCamera {
        id: camera.id.to_string(),
        stream: camera.stream.clone(),
        coverage: cameras.get(camera.id.as_str()).cloned().unwrap_or_default(),
    });
    let input = ReportInput {
        span: spec.span,
        cameras: report_cameras.collect(),
        models,
        config_sha256: hex(Sha256::new_with_prefix(spec.settings.text())),
        compared_with,
        comparison,
        has_snapshots: spec.settings.publish.snapshots.is_some(),
        snapshots: SnapshotStore::new(Some(spec.folder.path().to_owned()), None),
        before_snapshots,
    };
    let figures = write_report(input, &spec.folder.report()).await;
    let figures = figures.map_err(|error| spec.folder.unwritable(error))?;
    Ok(ReplayOutcome { cameras, figures, report: spec.folder.report() })
}

/// Returns the incidents of a replay that is compared with nothing.
fn alone(incidents: Vec<IncidentFacts>) -> Comparison {
    let mut incidents: Vec<_> = incidents.into_iter().map(new_incident).collect();
    incidents.sort_by_key(|incident| incident.shown().map_or(0, |facts| facts.start_ms));
    Comparison { incidents, not_replayed: 0 }
}
