//! The state that the handlers share.

use std::sync::Arc;

use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::{Mutex, watch};

use super::guard::Guard;
use super::picture::Pictures;
use super::pool_reads::PoolReads;
use super::probe_runs::ProbeRuns;
use super::scrape_cache::ScrapeCache;
use crate::clips::ClipLibrary;
use crate::config::RunningShapes;
use crate::history::{IncidentHistory, StoredClips};
use crate::status::StatusBoard;
use crate::telemetry::Gpus;

/// The state that the handlers share.
pub(super) struct Site {
    pub(super) board: StatusBoard,
    pub(super) prometheus: PrometheusHandle,
    pub(super) gpus: Gpus,
    pub(super) scrapes: Mutex<ScrapeCache>,
    pub(super) pictures: Pictures,
    pub(super) pool: PoolReads,
    pub(super) history: Option<IncidentHistory>,
    pub(super) shapes: RunningShapes,
    /// `None` in a process that reads no cameras.
    pub(super) clips: Option<ClipSources>,
    pub(super) probes: ProbeRuns,
    pub(super) guard: Guard,
    /// `true` from the time when the server stops.
    pub(super) stopped: watch::Receiver<bool>,
}

/// The origins of clips.
#[derive(Clone)]
pub struct ClipSources {
    /// The clips of the footage that KVS stores.
    pub library: Arc<ClipLibrary>,
    /// The clips that were stored at the end of their incidents.
    pub stored: StoredClips,
}
