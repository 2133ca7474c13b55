//! The command line: one file a command.

mod healthcheck;
mod inspect;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Watches many Kinesis Video Streams cameras, runs detectors on the frames that matter, and delivers every event.
#[derive(Debug, Parser)]
#[command(name = "kvs-infer", version, propagate_version = true, max_term_width = 110)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Inspect(inspect::InspectArgs),
}

/// Exit codes. Source: BSD sysexits(3).
mod exit {
    /// The command line makes no sense.
    pub(super) const USAGE: u8 = 64;
    /// Something needed is unreachable.
    pub(super) const UNAVAILABLE: u8 = 69;
}

/// Whether whoever read our output, such as `head`, has had enough.
#[must_use]
pub fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let cause = error.root_cause().downcast_ref::<std::io::Error>();
    cause.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

/// The exit code of a command that failed with `error`.
#[must_use]
pub fn exit_code(_error: &anyhow::Error) -> ExitCode {
    ExitCode::from(exit::UNAVAILABLE)
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
            Command::Inspect(args) => args.run(),
        }
    }
}
