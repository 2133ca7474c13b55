//! `check --live`: asks all that `run` would need, side by side, and says what to do about what is not well.

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

use aws_config::SdkConfig;
use futures_util::StreamExt;
use futures_util::stream::{self, select};
use tokio::time::timeout;

use super::exit;
use super::fetching::Fetched;
use crate::base::{Asks, Finding, Probe};
use crate::config::{CameraSpec, PlaybackMode, Settings};
use crate::delivery::probes;
use crate::service::outbox_spec;
use crate::source::Kvs;
use report::{Answer, Report};

/// Probes under way at once, so that no service sees more than a few calls.
const AT_ONCE: usize = 8;
/// An answer takes no longer, or there is none.
const LIMIT: Duration = Duration::from_secs(10);
/// The same for a model: on a GPU the first inference chooses kernels.
const MODEL_LIMIT: Duration = Duration::from_secs(60);

/// What the doctor needs to know.
pub(super) struct Doctor {
    pub(super) settings: Settings,
    /// Its models, fetched where they are elsewhere.
    pub(super) models: Vec<Fetched>,
    pub(super) aws: SdkConfig,
    /// The folder of the outbox, where the settings name none.
    pub(super) state_dir: PathBuf,
    /// One JSON object a line.
    pub(super) json: bool,
}

impl Doctor {
    /// Asks everything and prints each answer as it comes.
    ///
    /// Errors: standard output is closed.
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let (identity, probes) = (credentials::probe(&self.aws), self.probes());
        let names = probes.iter().chain([&identity]).map(|probe| probe.name.chars().count());
        let mut report = Report::new(io::stdout(), self.json, names.max().unwrap_or(0));
        let provided = timeout(LIMIT, credentials::are_there(&self.aws)).await.unwrap_or(false);
        let (models, others): (Vec<_>, Vec<_>) =
            probes.into_iter().partition(|probe| probe.asks == Asks::Model);
        let others = std::iter::once(identity).chain(others);
        let others = others.map(|probe| if provided { probe } else { without_credentials(probe) });
        let others = stream::iter(others).map(ask).buffer_unordered(AT_ONCE);
        // One after the other: their times are measured.
        let mut answers = pin!(select(others, stream::iter(models).then(ask)));
        while let Some(answer) = answers.next().await {
            report.add(&answer)?;
        }
        report.end()?;
        Ok(ExitCode::from(code(&report)))
    }

    fn probes(&self) -> Vec<Probe> {
        let kvs = Kvs::new(&self.aws);
        let read_by = |camera: &CameraSpec| (camera.stream.clone(), camera.mode == PlaybackMode::Hls);
        let streams: BTreeSet<(String, bool)> = self.settings.cameras.iter().map(read_by).collect();
        let of_stream = |(stream, by_hls): &(String, bool)| {
            if *by_hls { kvs.hls_probes(stream) } else { kvs.probes(stream) }
        };
        let mut found: Vec<Probe> = streams.iter().flat_map(of_stream).collect();
        let state = self.settings.state.clone().or_in(self.state_dir.clone());
        found.extend(probes(&outbox_spec(&self.settings, &self.aws, state, None)));
        found.push(clock::probe(&self.aws));
        found.extend(host::probes(&self.settings));
        found.extend(models::probes(&self.settings, &self.models));
        found
    }
}

fn code(report: &Report<io::Stdout>) -> u8 {
    match (report.has_failed(Asks::Model), report.has_failed(Asks::Aws) || report.has_failed(Asks::Host)) {
        (true, _) => exit::CONFIG,
        (false, true) => exit::UNAVAILABLE,
        (false, false) => 0,
    }
}

async fn ask(probe: Probe) -> Answer {
    let limit = if probe.asks == Asks::Model { MODEL_LIMIT } else { LIMIT };
    let begun = Instant::now();
    let finding = timeout(limit, probe.finding).await.unwrap_or_else(|_| no_answer(limit));
    Answer { name: probe.name, asks: probe.asks, took: begun.elapsed(), finding }
}

fn no_answer(limit: Duration) -> Finding {
    Finding::fail(format!(
        "no answer within {} s; check the network and the load of this host",
        limit.as_secs()
    ))
}

/// The same question, not asked of a service that would only say that nobody signed it.
fn without_credentials(probe: Probe) -> Probe {
    if probe.asks != Asks::Aws || probe.name == credentials::NAME {
        return probe;
    }
    let finding = Finding::fail("not asked: there are no credentials; see the line of the credentials");
    Probe::new(probe.name, Asks::Aws, std::future::ready(finding))
}
