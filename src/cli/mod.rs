//! The command line: one file a command.

mod bench;
mod check;
mod config_args;
mod demo;
pub mod healthcheck;
mod inspect;
pub mod models;
mod run;
mod schema;
mod sim;

use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::config::{ConfigErrors, LogFormat};
use crate::telemetry;
use crate::telemetry::log::LogOutput;

/// Watches many Kinesis Video Streams cameras, runs detectors on the frames that matter, and delivers every event.
#[derive(Debug, Parser)]
#[command(name = "kvs-infer", version, propagate_version = true, max_term_width = 110)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::RunArgs),
    Demo(demo::DemoArgs),
    Check(check::CheckArgs),
    Inspect(inspect::InspectArgs),
    Sim(sim::SimArgs),
    Models(models::ModelsArgs),
    Schema(schema::SchemaArgs),
    Healthcheck(healthcheck::HealthcheckArgs),
    Bench(bench::BenchArgs),
}

/// Exit codes. Source: BSD sysexits(3).
mod exit {
    /// The command line makes no sense.
    pub(super) const USAGE: u8 = 64;
    /// Something needed is unreachable.
    pub(super) const UNAVAILABLE: u8 = 69;
    /// The configuration is wrong.
    pub(super) const CONFIG: u8 = 78;
}

/// Whether whoever read our output, such as `head`, has had enough.
#[must_use]
pub fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let cause = error.root_cause().downcast_ref::<std::io::Error>();
    cause.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

/// The exit code of a command that failed with `error`.
#[must_use]
pub fn exit_code(error: &anyhow::Error) -> ExitCode {
    let code = if error.is::<ConfigErrors>() { exit::CONFIG } else { exit::UNAVAILABLE };
    ExitCode::from(code)
}

impl Cli {
    /// The arguments of this process.
    ///
    /// # Errors
    /// `--help` and `--version` (code 0) or a usage error (code 64), already printed.
    pub fn from_environment() -> Result<Self, ExitCode> {
        Self::try_parse().map_err(|error| {
            let shown = error.print();
            let wrong = error.use_stderr() || shown.is_err();
            if wrong { ExitCode::from(exit::USAGE) } else { ExitCode::SUCCESS }
        })
    }

    /// Runs the command.
    ///
    /// # Errors
    /// What the command could not do, for a person to read.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Run(args) => args.run(),
            Command::Demo(args) => args.run(),
            Command::Check(args) => args.run(),
            Command::Models(args) => args.run(),
            Command::Schema(args) => args.run(),
            Command::Inspect(args) => args.run(),
            Command::Sim(args) => simulate(args),
            Command::Bench(args) => args.run(),
            Command::Healthcheck(args) => check_health(&args),
        }
    }
}

/// Exit codes of a container's health check: 0 healthy, 1 not.
fn check_health(args: &healthcheck::HealthcheckArgs) -> anyhow::Result<ExitCode> {
    let healthy = healthcheck::run(args, &mut std::io::stdout().lock())?;
    Ok(if healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn simulate(args: sim::SimArgs) -> anyhow::Result<ExitCode> {
    telemetry::log::init("warn", Some(LogFormat::Text), LogOutput::Stderr)?;
    runtime()?.block_on(async {
        let mut stop = StopSignal::new()?;
        sim::run(args, stop.wait()).await?;
        Ok(ExitCode::SUCCESS)
    })
}

/// The runtime of the cameras and sinks; HTTP has its own.
fn runtime() -> anyhow::Result<Runtime> {
    let runtime = tokio::runtime::Builder::new_multi_thread().thread_name("io").enable_all().build();
    runtime.context("cannot start the threads of the program")
}

/// SIGTERM (ECS, `docker stop`) and SIGINT (Ctrl-C).
struct StopSignal {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignal {
    fn new() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
