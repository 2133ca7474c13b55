//! `check --live`: probes everything that `run` needs, several at once, and prints a remedy for each failure.

mod models;
mod report;

use std::io;
use std::path::PathBuf;
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use aws_config::SdkConfig;
use futures_util::StreamExt;
use futures_util::stream::{self, select};

use super::exit;
use super::fetching::FetchedModel;
use crate::base::{Asks, ProbeOccasion};
use crate::config::Settings;
use crate::service::live_check::{probe_results, run_probe, service_probes};
use crate::service::model_devices;
use report::ProbeReport;

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
        let state = self.settings.state.clone().or_in(self.state_dir.clone());
        let others = service_probes(&self.settings, &self.aws, state, ProbeOccasion::Command);
        let devices = model_devices(self.settings.device).await;
        let models = models::probes(&self.settings, &self.models, &devices);
        let names = others.iter().chain(&models).map(|probe| probe.name.chars().count());
        let mut report = ProbeReport::new(io::stdout(), self.json, names.max().unwrap_or(0));
        let others = probe_results(others, self.aws).map(|(_place, result)| result);
        // Models run one after the other, because their inference times are measured.
        let models = stream::iter(models).then(|model| run_probe(model, MODEL_TIMEOUT));
        let mut results = pin!(select(others, models));
        while let Some(result) = results.next().await {
            report.add(&result)?;
        }
        report.end()?;
        Ok(ExitCode::from(exit_code(&report)))
    }
}

fn exit_code(report: &ProbeReport<io::Stdout>) -> u8 {
    match (report.has_failed(Asks::Model), report.has_failed(Asks::Aws) || report.has_failed(Asks::Host)) {
        (true, _) => exit::CONFIG,
        (false, true) => exit::UNAVAILABLE,
        (false, false) => 0,
    }
}
