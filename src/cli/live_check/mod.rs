//! `check --live`: probes everything that `run` needs, several at once, and prints a remedy for each failure.

mod clock;
mod credentials;
mod host;
mod models;
mod report;

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::pin::pin;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use ::sharing::CameraKey;
use aws_config::SdkConfig;
use futures_util::StreamExt;
use futures_util::stream::{self, select};
use tokio::time::timeout;

use super::exit;
use super::fetching::FetchedModel;
use crate::base::{Asks, Finding, Probe};
use crate::config::{CameraSpec, Settings, StreamProtocol};
use crate::delivery::{Clients, probes};
use crate::service::outbox_spec;
use crate::sharing::{self, ProbedPool};
use crate::source::Kvs;
use report::{ProbeReport, ProbeResult};

/// Maximum number of concurrent probes, so that no service sees more than a few calls.
const MAX_CONCURRENT: usize = 8;
/// Timeout of a probe.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Timeout of a model's probe. On a GPU the first inference selects kernels, which takes long.
const MODEL_TIMEOUT: Duration = Duration::from_secs(60);

/// A live check of the settings.
pub(super) struct LiveCheck {
    pub(super) settings: Settings,
    /// The models of the settings, fetched if they are remote.
    pub(super) models: Vec<FetchedModel>,
    pub(super) aws: SdkConfig,
    /// Folder of the outbox if the settings name none.
    pub(super) state_dir: PathBuf,
    /// Prints JSON lines instead of text.
    pub(super) json: bool,
}

impl LiveCheck {
    /// Runs all probes, prints each result as it arrives, and returns the exit code.
    ///
    /// Errors: standard output is closed.
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let (identity, probes) = (credentials::probe(&self.aws), self.probes());
        let names = probes.iter().chain([&identity]).map(|probe| probe.name.chars().count());
        let mut report = ProbeReport::new(io::stdout(), self.json, names.max().unwrap_or(0));
        let has_credentials = timeout(TIMEOUT, credentials::exist(&self.aws)).await.unwrap_or(false);
        let (models, others): (Vec<_>, Vec<_>) =
            probes.into_iter().partition(|probe| probe.asks == Asks::Model);
        let others = std::iter::once(identity).chain(others);
        let others = others.map(|probe| if has_credentials { probe } else { without_credentials(probe) });
        let others = stream::iter(others).map(run_probe).buffer_unordered(MAX_CONCURRENT);
        // Models run one after the other, because their inference times are measured.
        let mut results = pin!(select(others, stream::iter(models).then(run_probe)));
        while let Some(result) = results.next().await {
            report.add(&result)?;
        }
        report.end()?;
        Ok(ExitCode::from(exit_code(&report)))
    }

    fn probes(&self) -> Vec<Probe> {
        let kvs = Kvs::new(&self.aws);
        // Several cameras may read one stream: it is probed once per playback mode.
        let read_by = |camera: &CameraSpec| (camera.stream.clone(), camera.mode == StreamProtocol::Hls);
        let streams: BTreeSet<(String, bool)> = self.settings.cameras.iter().map(read_by).collect();
        let of_stream = |(stream, by_hls): &(String, bool)| {
            if *by_hls { kvs.hls_probes(stream) } else { kvs.probes(stream) }
        };
        let mut found: Vec<Probe> = streams.iter().flat_map(of_stream).collect();
        // The same spec that `run` starts, so that exactly its sinks are probed.
        let state = self.settings.state.clone().or_in(self.state_dir.clone());
        let outbox = outbox_spec(&self.settings, &self.aws, state, None);
        found.extend(probes(&outbox));
        found.extend(outbox.clients.as_ref().map(|clients| self.pool_probes(clients)).unwrap_or_default());
        found.push(clock::probe(&self.aws));
        found.extend(host::probes(&self.settings));
        found.extend(models::probes(&self.settings, &self.models));
        found
    }

    fn pool_probes(&self, clients: &Clients) -> Vec<Probe> {
        let Settings { sharing, state, cameras, .. } = &self.settings;
        let Some((sharing, items_table)) = sharing.as_ref().zip(state.ddb_table.as_deref()) else {
            return Vec::new();
        };
        let cameras = cameras.iter().map(|camera| CameraKey::new(camera.id.as_str())).collect();
        let (members_table, pool) = (&*sharing.table, &*sharing.pool);
        sharing::probes(clients, ProbedPool { items_table, members_table, pool, cameras })
    }
}

fn exit_code(report: &ProbeReport<io::Stdout>) -> u8 {
    match (report.has_failed(Asks::Model), report.has_failed(Asks::Aws) || report.has_failed(Asks::Host)) {
        (true, _) => exit::CONFIG,
        (false, true) => exit::UNAVAILABLE,
        (false, false) => 0,
    }
}

async fn run_probe(probe: Probe) -> ProbeResult {
    let limit = if probe.asks == Asks::Model { MODEL_TIMEOUT } else { TIMEOUT };
    let begun = Instant::now();
    let finding = timeout(limit, probe.finding).await.unwrap_or_else(|_| no_answer(limit));
    ProbeResult { name: probe.name, asks: probe.asks, took: begun.elapsed(), finding }
}

fn no_answer(limit: Duration) -> Finding {
    Finding::fail(format!(
        "no answer within {} s; check the network and the load of this host",
        limit.as_secs()
    ))
}

/// Replaces a probe of AWS, other than that of the credentials, by a failure: without a signature AWS refuses each request.
fn without_credentials(probe: Probe) -> Probe {
    if probe.asks != Asks::Aws || probe.name == credentials::NAME {
        return probe;
    }
    let finding = Finding::fail("not probed: there are no credentials; see the line `credentials`");
    Probe::new(probe.name, Asks::Aws, std::future::ready(finding))
}
