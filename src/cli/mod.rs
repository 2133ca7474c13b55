//! The command line: one file per command.

mod aws;
mod bench;
mod check;
mod cluster;
mod config_args;
mod config_watch;
mod demo;
mod eval;
mod events;
mod fetching;
pub mod healthcheck;
mod inspect;
mod live_check;
pub mod models;
mod replay;
mod run;
mod schema;
mod sim;
pub mod sim_images;
mod twins;

use std::fmt;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Parser, Subcommand};
use kvs_config::without_address_secrets;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::base::{causes, storage_remedy};
use crate::config::{ConfigErrors, LogFormat};
use crate::detect::DetectError;
use crate::detect::twins::TwinError;
use crate::eval::TruthError;
use crate::http::TokenError;
use crate::remote::FetchError;
use crate::service::ServiceError;
use crate::telemetry;
use crate::telemetry::log::{LogError, LogOutput};
use aws::AwsSetupError;
use cluster::NotShared;

/// Watches many Kinesis Video Streams cameras, runs detectors on the frames that matter, and delivers every event.
#[derive(Debug, Parser)]
#[command(name = "kvs-infer", version, propagate_version = true, max_term_width = 110)]
#[command(
    after_help = "Exit codes: 0 success; 64 usage error; 69 something required is unreachable or cannot be used; 70 a bug, or a \
lost GPU; 78 the configuration is invalid. demo: 1 if a camera had no event. eval: 1 if a limit is not met. replay: 1 if footage \
of a camera was not replayed. models quantize, models half: 1 if the gate refuses the model. healthcheck: 1 if unhealthy."
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::RunArgs),
    Demo(demo::DemoArgs),
    Check(check::CheckArgs),
    Cluster(cluster::ClusterArgs),
    Inspect(inspect::InspectArgs),
    Sim(sim::SimArgs),
    Events(events::EventsArgs),
    Replay(replay::ReplayArgs),
    Eval(eval::EvalArgs),
    Models(models::ModelsArgs),
    Schema(schema::SchemaArgs),
    Healthcheck(healthcheck::HealthcheckArgs),
    Bench(bench::BenchArgs),
}

/// Exit codes, with the numbers of BSD sysexits(3).
mod exit {
    /// The command line is invalid.
    pub(super) const USAGE: u8 = 64;
    /// Something required is unreachable or cannot be used.
    pub(super) const UNAVAILABLE: u8 = 69;
    /// A bug of this program, or a lost GPU.
    pub(super) const SOFTWARE: u8 = 70;
    /// The configuration is invalid.
    pub(super) const CONFIG: u8 = 78;
}

/// Prints the error of a command to standard error and returns its exit code.
///
/// A closed output pipe, such as of `head`, is not an error.
#[must_use]
pub fn fail(error: &anyhow::Error) -> ExitCode {
    // `kvs-infer events | head` must not end with an error message.
    if is_closed_pipe(error) {
        return ExitCode::SUCCESS;
    }
    // These texts already have a line and a remedy per mistake.
    let mistakes = error.downcast_ref::<ConfigErrors>().map(ConfigErrors::to_string);
    let mistakes = mistakes.or_else(|| error.downcast_ref::<TruthError>().map(TruthError::to_string));
    let text = mistakes.unwrap_or_else(|| format!("error: {}", with_limit_remedy(causes(error.as_ref()))));
    print_stderr(without_address_secrets(&text));
    ExitCode::from(exit_code(error))
}

/// Prints a line to standard error.
fn print_stderr(line: impl fmt::Display) {
    // Standard error may be closed, and there is no other place to report that.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Waits for this many seconds, or for ever.
async fn elapsed(seconds: Option<u64>) {
    match seconds {
        Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
        None => std::future::pending().await,
    }
}

/// Returns the text with the remedy for too many open files, an error that can occur in any part of the program.
fn with_limit_remedy(text: String) -> String {
    // Rust's I/O errors and ONNX Runtime's messages name errno 24 (EMFILE) in different words.
    let is_reached = text.contains("os error 24)") || text.contains("system error number 24");
    match storage_remedy("(os error 24)").filter(|remedy| is_reached && !text.contains(remedy)) {
        Some(remedy) => format!("{text}; this process has too many open files: {remedy}"),
        None => text,
    }
}

/// A mistake in the arguments that only the command itself can find.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct UsageError(String);

/// Parses a number of frames per second.
fn frames_per_second(text: &str) -> Result<f64, String> {
    let fps = text.parse().ok().filter(|fps: &f64| fps.is_finite() && *fps > 0.0);
    fps.ok_or_else(|| "give a number above 0".to_owned())
}

fn exit_code(error: &anyhow::Error) -> u8 {
    // LOG_LEVEL and --log-level are part of the command line.
    if error.is::<LogError>() || error.is::<UsageError>() {
        return exit::USAGE;
    }
    if error.is::<TruthError>() || error.is::<TokenError>() || error.is::<NotShared>() {
        return exit::CONFIG;
    }
    match error.downcast_ref::<TwinError>() {
        Some(TwinError::Model(DetectError::Runtime(_))) => return exit::UNAVAILABLE,
        Some(_) => return exit::CONFIG,
        None => {}
    }
    match error.downcast_ref::<ServiceError>() {
        Some(ServiceError::Detect(DetectError::Runtime(_))) => exit::UNAVAILABLE,
        // A wrong digest is a mistake in `sha256`, every other failure is one of the network.
        Some(ServiceError::Fetch(error)) if matches!(**error, FetchError::Digest { .. }) => exit::CONFIG,
        Some(ServiceError::Detect(_) | ServiceError::Gpu { .. }) => exit::CONFIG,
        Some(_) | None if error.is::<ConfigErrors>() || error.is::<AwsSetupError>() => exit::CONFIG,
        Some(_) | None => exit::UNAVAILABLE,
    }
}

/// Returns the exit code after a panic, whose message the panic hook has printed.
#[must_use]
pub fn panic_exit_code() -> ExitCode {
    print_stderr("error: this is a bug of kvs-infer");
    ExitCode::from(exit::SOFTWARE)
}

/// Returns `true` if the reader of the output has closed the pipe.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let cause = error.root_cause().downcast_ref::<std::io::Error>();
    cause.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

impl Cli {
    /// Parses the arguments of this process.
    ///
    /// # Errors
    /// The exit code of `--help` and `--version` (0) or of a usage error (64). The text is already printed.
    pub fn from_environment() -> Result<Self, ExitCode> {
        Self::try_parse().map_err(|error| {
            let shown = print_usage(&error);
            // A closed standard output makes `--help` fail too.
            let wrong = error.use_stderr() || shown.is_err();
            if wrong { ExitCode::from(exit::USAGE) } else { ExitCode::SUCCESS }
        })
    }

    /// Runs the command.
    ///
    /// # Errors
    /// The command failed; the error is a text for a person.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Run(args) => args.run(),
            Command::Demo(args) => args.run(),
            Command::Check(args) => args.run(),
            Command::Cluster(args) => args.run(),
            Command::Inspect(args) => args.run(),
            Command::Sim(args) => simulate(args),
            Command::Events(args) => args.run(),
            Command::Replay(args) => args.run(),
            Command::Eval(args) => args.run(),
            Command::Models(args) => args.run(),
            Command::Schema(args) => args.run(),
            Command::Bench(args) => args.run(),
            Command::Healthcheck(args) => check_health(&args),
        }
    }
}

/// Prints the help, or the usage error without the secrets of addresses in it.
fn print_usage(error: &clap::Error) -> std::io::Result<()> {
    // clap quotes an argument in a wrong place, and that may be an address with a password.
    let plain = error.render().to_string();
    if without_address_secrets(&plain) == plain {
        return error.print();
    }
    writeln!(std::io::stderr(), "{}", without_address_secrets(&plain).trim_end())
}

/// Returns the exit code for a container's health check: 0 healthy, 1 unhealthy.
fn check_health(args: &healthcheck::HealthcheckArgs) -> anyhow::Result<ExitCode> {
    let healthy = healthcheck::run(args, &mut std::io::stdout().lock())?;
    Ok(if healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn simulate(args: sim::SimArgs) -> anyhow::Result<ExitCode> {
    telemetry::log::init("warn", Some(LogFormat::Text), LogOutput::Stderr)?;
    run_on_runtime(async {
        let mut stop = StopSignal::new()?;
        sim::run(args, stop.wait()).await?;
        Ok(ExitCode::SUCCESS)
    })
}

/// Runs `command` on the runtime of the cameras and sinks. HTTP has its own.
fn run_on_runtime(command: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    run_on(new_runtime()?, command)
}

fn new_runtime() -> anyhow::Result<Runtime> {
    let runtime = tokio::runtime::Builder::new_multi_thread().thread_name("io").enable_all().build();
    runtime.context("cannot start the threads of the program")
}

fn run_on(
    runtime: Runtime,
    command: impl Future<Output = anyhow::Result<ExitCode>>,
) -> anyhow::Result<ExitCode> {
    let code = runtime.block_on(command);
    // Blocking tasks that are still running, such as a model load that hangs, must not delay the exit further.
    runtime.shutdown_timeout(Duration::from_secs(1));
    code
}

/// The signals that end a command: SIGTERM (ECS, `docker stop`) and SIGINT (Ctrl-C).
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_open_files_name_the_limit_once() {
        for text in
            ["HTTP: Too many open files (os error 24)", "Load model failed:system error number 24; check it"]
        {
            let shown = with_limit_remedy(text.to_owned());
            assert!(shown.starts_with(text) && shown.contains("raise the limit of open files"), "{shown}");
            assert_eq!(with_limit_remedy(shown.clone()), shown);
        }
        assert_eq!(with_limit_remedy("port taken".to_owned()), "port taken");
    }
}
