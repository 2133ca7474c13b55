//! The `kvs-infer` program: arguments -> command -> exit code.

use std::panic::AssertUnwindSafe;
use std::process::ExitCode;

use kvs_infer::cli::Cli;

fn main() -> ExitCode {
    let cli = match Cli::from_environment() {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    match std::panic::catch_unwind(AssertUnwindSafe(|| cli.run())) {
        Ok(ended) => ended.unwrap_or_else(|error| kvs_infer::cli::fail(&error)),
        Err(_panic) => kvs_infer::cli::panic_exit_code(),
    }
}
