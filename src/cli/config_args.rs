//! The arguments of every command that reads a configuration.

use std::path::PathBuf;

use anyhow::Context;

use crate::config::{ConfigErrors, ConfigSource, Overrides, Settings, load};
use crate::detect::cache_dir;

/// Which configuration, and what stands in place of it. A flag beats the environment, which beats the file.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct ConfigArgs {
    /// The configuration file; `-` reads standard input (s3:// is not in this version)
    #[arg(long, value_name = "FILE", env = "CONFIG_FILE", default_value = "/app/config/cameras.yaml")]
    config: String,
    /// The AWS region, in place of the file's `aws.region`
    #[arg(long, value_name = "REGION", env = "AWS_REGION")]
    aws_region: Option<String>,
}

impl ConfigArgs {
    /// The settings, with every model file there; `${NAME}` is expanded from this process's environment.
    ///
    /// Errors: the file cannot be read, or every mistake in it.
    pub(super) fn load(&self) -> Result<Settings, ConfigErrors> {
        let environment = |name: &str| std::env::var(name).ok();
        let region = self.aws_region.clone().filter(|region| !region.is_empty());
        let settings = load(&ConfigSource::from_name(&self.config), &environment, &Overrides { region })?;
        settings.missing_files()?;
        Ok(settings)
    }
}

/// Where the outbox is, unless the configuration says.
pub(super) fn state_dir() -> anyhow::Result<PathBuf> {
    let cache = cache_dir().context("HOME is not set: name a folder as state.dir, or set KVS_INFER_CACHE")?;
    Ok(cache.join("state"))
}
