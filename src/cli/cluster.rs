//! `cluster`: prints the workers of a pool, and which of them has which camera.

mod tables;

use std::io::{self, Write};
use std::process::ExitCode;

use ::sharing::CameraKey;

use super::aws::sdk_config;
use super::config_args::ConfigArgs;
use super::run_on_runtime;
use crate::base::epoch_ms;
use crate::config::Settings;
use crate::sharing::{PoolView, PoolViewReader};
use tables::PoolTables;

/// Prints the workers that share the cameras of a configuration (`sharing`), and for each camera its worker, since when it has
/// it, and the reason if the camera does not run where it should.
///
/// Reads the table of workers and the table of positions, and changes nothing. It works on any machine that reaches them: it
/// needs neither a worker nor the models. Rows may be a second old, loads half a minute. Times and ages come from the clocks
/// of the workers and of this machine. The role needs dynamodb:Query on the table of workers and dynamodb:BatchGetItem on the
/// table of positions.
/// Exit codes: 0 the pool was read, whatever its state; 69 a table is unreachable, missing or refused; 78 the configuration is
/// invalid or has no `sharing`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct ClusterArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Prints one JSON object, as /api/cluster returns it
    #[arg(long)]
    json: bool,
}

/// The configuration shares no cameras.
#[derive(Debug, thiserror::Error)]
#[error(
    "the configuration has no `sharing`: one process runs all its cameras, so there is no pool to show; add `sharing: {{ table: NAME }}` to \
     share them, or ask the page of that process"
)]
pub(super) struct NotShared;

impl ClusterArgs {
    /// Prints the pool.
    ///
    /// # Errors
    /// The configuration is invalid or shares no cameras, a table cannot be read, or standard output is closed.
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let settings = self.config.load_without_models()?;
        run_on_runtime(async {
            let view = read(&settings).await?;
            self.print(&view, &mut io::stdout().lock())?;
            Ok(ExitCode::SUCCESS)
        })
    }

    fn print(&self, view: &PoolView, out: &mut impl Write) -> anyhow::Result<()> {
        if self.json {
            return Ok(writeln!(out, "{}", serde_json::to_string(view)?)?);
        }
        Ok(write!(out, "{}", PoolTables { view, now_ms: epoch_ms() })?)
    }
}

async fn read(settings: &Settings) -> anyhow::Result<PoolView> {
    let (sharing, items) =
        settings.sharing.as_ref().zip(settings.state.ddb_table.as_ref()).ok_or(NotShared)?;
    let aws = sdk_config(settings.region.as_deref()).await?;
    let reader = PoolViewReader::new(&aws, items, &sharing.table, &sharing.pool);
    let cameras: Vec<_> = settings.cameras.iter().map(|camera| CameraKey::new(camera.id.as_str())).collect();
    Ok(reader.read(&cameras).await?)
}
