//! The arguments of every command that reads a configuration.

use std::io::Write;
use std::process::ExitCode;

use crate::config::{ConfigErrors, ConfigSource, LogLevel, Overrides, Settings, load};

/// The exit code of a configuration that cannot be used. Source: BSD sysexits(3), `EX_CONFIG`.
const EX_CONFIG: u8 = 78;

/// Which configuration, and what stands in place of it. A flag beats the environment, which beats the file.
#[derive(Clone, Debug, clap::Args)]
pub struct ConfigArgs {
    /// The configuration file; `-` reads standard input (s3:// is not in this version)
    #[arg(long, value_name = "FILE", env = "CONFIG_FILE", default_value = "/app/config/cameras.yaml")]
    pub config: String,
    /// What is logged, in place of the file's `log_level`
    #[arg(long, value_enum, ignore_case = true, env = "LOG_LEVEL")]
    pub log_level: Option<LogLevel>,
    /// The AWS region, in place of the file's `aws.region`
    #[arg(long, value_name = "REGION", env = "AWS_REGION")]
    pub aws_region: Option<String>,
}

impl ConfigArgs {
    /// The settings, `${NAME}` expanded from this process's environment.
    ///
    /// Errors: the file cannot be read, or every mistake in it.
    pub fn load(&self) -> Result<Settings, ConfigErrors> {
        let environment = |name: &str| std::env::var(name).ok();
        let region = self.aws_region.clone().filter(|region| !region.is_empty());
        let overrides = Overrides { region, log_level: self.log_level };
        load(&ConfigSource::from_name(&self.config), &environment, &overrides)
    }
}

/// Tells a person what is wrong with the configuration, on standard error, and gives exit code 78.
///
/// Errors: standard error is closed.
pub fn refuse(errors: &ConfigErrors) -> std::io::Result<ExitCode> {
    writeln!(std::io::stderr().lock(), "{errors}")?;
    Ok(ExitCode::from(EX_CONFIG))
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        config: ConfigArgs,
    }

    #[test]
    fn the_arguments_are_sound() {
        Program::command().debug_assert();
    }

    #[test]
    fn levels_may_be_upper_case() {
        let program =
            Program::parse_from(["p", "--config", "-", "--log-level", "WARN", "--aws-region", "eu-west-1"]);
        assert_eq!(program.config.config, "-");
        assert_eq!(program.config.log_level, Some(LogLevel::Warn));
        assert_eq!(program.config.aws_region.as_deref(), Some("eu-west-1"));
    }
}
