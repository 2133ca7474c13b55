//! The `kvs-infer` program: arguments -> command -> exit code.

use std::io::Write;
use std::process::ExitCode;

use kvs_infer::cli::Cli;

fn main() -> ExitCode {
    let cli = match Cli::from_environment() {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    cli.run().unwrap_or_else(|error| {
        if kvs_infer::cli::is_closed_pipe(&error) {
            return ExitCode::SUCCESS;
        }
        let _unheard = writeln!(std::io::stderr(), "error: {error:#}");
        kvs_infer::cli::exit_code(&error)
    })
}
