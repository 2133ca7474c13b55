//! The arguments of every command that reads a configuration.

use std::path::{Path, PathBuf};

use anyhow::Context;
use aws_config::SdkConfig;

use super::aws::{AwsSetupError, sdk_config};
use crate::aws::validate_environment;
use crate::config::{ConfigErrors, ConfigSource, Overrides, Settings, load, parse};
use crate::detect::{ModelSpec, Purpose, cache_dir};
use crate::remote::{
    Address, Cache, CacheSpec, GetError, GivenAddress, HOLDER_LIMIT, KEPT_MODEL_BYTES, MOST_MODEL_BYTES,
    Models, Remote, Tries,
};

/// A configuration that is fetched may be as large, bytes.
const MOST_CONFIG_BYTES: usize = 4 << 20;

/// Which configuration, and what stands in place of it. A flag beats the environment, which beats the file.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct ConfigArgs {
    /// The configuration: a file, s3://bucket/key, https://..., or `-` for standard input
    #[arg(
        long,
        value_name = "FILE",
        env = "CONFIG_FILE",
        hide_env_values = true,
        default_value = "/app/config/cameras.yaml"
    )]
    config: GivenAddress,
    /// The AWS region, in place of the file's `aws.region`
    #[arg(long, value_name = "REGION", env = "AWS_REGION")]
    aws_region: Option<String>,
    /// The folder of fetched models and, unless `state.dir` names another, of the outbox
    #[arg(long, value_name = "FOLDER", env = "KVS_INFER_CACHE")]
    cache_dir: Option<PathBuf>,
}

/// Where a configuration comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// This machine.
    Local(ConfigSource),
    /// A server.
    Remote(Address),
}

impl ConfigArgs {
    /// The settings, with every model file of this machine there; `${NAME}` is expanded from this process's environment.
    ///
    /// Errors: the file cannot be read, or every mistake in it.
    pub(super) fn load(&self) -> anyhow::Result<Settings> {
        let settings = match self.origin()? {
            Origin::Local(source) => load(&source, &environment, &self.overrides())?,
            Origin::Remote(address) => {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                runtime.block_on(self.fetch(&address))?
            }
        };
        settings.check_model_files()?;
        Ok(settings)
    }

    /// The settings that `text` asks for, with the same checks.
    ///
    /// Errors: every mistake in it.
    pub(super) fn parse(&self, text: &str) -> Result<Settings, ConfigErrors> {
        let settings = parse(&self.config.to_string(), text, &environment, &self.overrides())?;
        settings.check_model_files()?;
        Ok(settings)
    }

    /// Where the configuration comes from.
    ///
    /// Errors: an address from which nothing is fetched.
    pub(super) fn origin(&self) -> Result<Origin, ConfigErrors> {
        match Address::parse(self.config.secret()) {
            None => Ok(Origin::Local(ConfigSource::from_name(self.config.secret()))),
            Some(Ok(address)) => Ok(Origin::Remote(address)),
            Some(Err(why)) => Err(self.unfetched(why.to_string())),
        }
    }

    /// The clients that fetch the configuration from there.
    ///
    /// Errors: it is in S3, and nothing says in which region.
    pub(super) async fn remote(&self, address: &Address) -> anyhow::Result<Remote> {
        let aws = match address {
            Address::S3 { .. } => Some(sdk_config(self.region().as_deref()).await?),
            Address::Web(_) => None,
        };
        Remote::new(aws.as_ref()).map_err(|error| self.unfetched(error.why()).into())
    }

    /// The configuration's text there, and its version's name; `None`: it is still the version that `etag` names.
    ///
    /// Errors: it cannot be fetched.
    pub(super) async fn text(
        &self,
        remote: &Remote,
        address: &Address,
        etag: Option<&str>,
    ) -> Result<Option<(String, Option<String>)>, ConfigErrors> {
        let text = remote.text(address, etag, MOST_CONFIG_BYTES).await;
        text.map_err(|error: GetError| self.unfetched(error.why()))
    }

    /// What gets the models of the settings that are elsewhere.
    ///
    /// Errors: one is in S3, and nothing says in which region; no folder to keep them in.
    pub(super) async fn models_of(
        &self,
        settings: &Settings,
        specs: &[(Purpose, ModelSpec)],
    ) -> anyhow::Result<Models> {
        let in_s3 = |(_, spec): &(Purpose, ModelSpec)| matches!(spec.address(), Some(Address::S3 { .. }));
        let aws = match specs.iter().any(in_s3) {
            true => Some(sdk_config(settings.region.as_deref()).await?),
            false => None,
        };
        self.models(aws.as_ref())
    }

    /// What gets models that are elsewhere.
    ///
    /// Errors: no folder to keep them in.
    pub(super) fn models(&self, aws: Option<&SdkConfig>) -> anyhow::Result<Models> {
        models_in(&self.cache_dir()?, aws)
    }

    /// Where the outbox is, unless the configuration says.
    pub(super) fn state_dir(&self) -> anyhow::Result<PathBuf> {
        Ok(self.cache_dir()?.join("state"))
    }

    fn cache_dir(&self) -> anyhow::Result<PathBuf> {
        let given = self.cache_dir.clone().filter(|folder| !folder.as_os_str().is_empty());
        given.or_else(cache_dir).context("HOME is not set: name a folder with --cache-dir (KVS_INFER_CACHE)")
    }

    async fn fetch(&self, address: &Address) -> anyhow::Result<Settings> {
        let remote = self.remote(address).await?;
        let (text, _) = self.text(&remote, address, None).await?.unwrap_or_default();
        Ok(parse(&self.config.to_string(), &text, &environment, &self.overrides())?)
    }

    fn unfetched(&self, why: String) -> ConfigErrors {
        ConfigErrors::Unfetched { file: self.config.to_string(), why }
    }

    fn region(&self) -> Option<String> {
        self.aws_region.clone().filter(|region| !region.is_empty())
    }

    fn overrides(&self) -> Overrides {
        Overrides { region: self.region() }
    }
}

/// What gets models that are elsewhere into `cache`.
///
/// Errors: TLS cannot be set up, or `AWS_CA_BUNDLE` or a variable of a proxy cannot be used.
pub(super) fn models_in(cache: &Path, aws: Option<&SdkConfig>) -> anyhow::Result<Models> {
    validate_environment().map_err(AwsSetupError::from)?;
    let remote = Remote::new(aws).map_err(|error| anyhow::anyhow!("cannot fetch models: {}", error.why()))?;
    let folder = cache.join("models");
    let spec = CacheSpec {
        folder,
        most_bytes: MOST_MODEL_BYTES,
        kept_bytes: KEPT_MODEL_BYTES,
        tries: Tries::default(),
        holder_limit: HOLDER_LIMIT,
    };
    Ok(Models::new(Cache::new(spec, remote)))
}

fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
