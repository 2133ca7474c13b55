//! The arguments of every command that reads a configuration.

use std::path::{Path, PathBuf};

use anyhow::Context;
use aws_config::SdkConfig;

use super::aws::{AwsSetupError, sdk_config};
use crate::aws::validate_environment;
use crate::config::{
    ConfigContent, ConfigErrors, ConfigSource, Overrides, Settings, UnknownTime, load, parse_content,
};
use crate::detect::{ModelSpec, Purpose, cache_dir};
use crate::remote::{
    Address, Cache, CacheSpec, FetchedText, GetError, GivenAddress, HOLDER_LIMIT, MAX_CACHED_MODEL_BYTES,
    MAX_MODEL_BYTES, ModelFetcher, RemoteClient, RetryPolicy,
};

/// Maximum size of a fetched configuration, bytes.
const MAX_CONFIG_BYTES: usize = 4 << 20;

/// The configuration and overrides of it. A flag takes precedence over the environment, which takes precedence over the file.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct ConfigArgs {
    /// Configuration: a file, s3://bucket/key, https://..., or `-` for standard input
    #[arg(
        long,
        value_name = "FILE",
        env = "CONFIG_FILE",
        hide_env_values = true,
        default_value = "/app/config/cameras.yaml"
    )]
    config: GivenAddress,
    /// AWS region; overrides `aws.region` of the file
    #[arg(long, value_name = "REGION", env = "AWS_REGION")]
    aws_region: Option<String>,
    /// Folder for fetched models and, unless `state.dir` names another one, for the outbox
    #[arg(long, value_name = "FOLDER", env = "KVS_INFER_CACHE")]
    cache_dir: Option<PathBuf>,
}

/// Source of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ConfigOrigin {
    /// A file of this machine, or standard input.
    Local(ConfigSource),
    /// A file in S3 or on the web.
    Remote(Address),
}

impl ConfigArgs {
    /// Reads the configuration, expands `${NAME}` from the environment, and checks that all local model files exist.
    ///
    /// Errors: the file cannot be read, or it has mistakes, all of which are reported.
    pub(super) fn load(&self) -> anyhow::Result<Settings> {
        let settings = self.load_without_models()?;
        settings.check_model_files()?;
        Ok(settings)
    }

    /// Reads the configuration as [`Self::load`] does, on a machine that need not have the model files.
    ///
    /// Errors: the file cannot be read, or it has mistakes, all of which are reported.
    pub(super) fn load_without_models(&self) -> anyhow::Result<Settings> {
        match self.origin()? {
            ConfigOrigin::Local(source) => Ok(load(&source, &environment, &self.overrides())?),
            ConfigOrigin::Remote(address) => {
                // This is called before the runtime of the command exists.
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                runtime.block_on(self.load_remote(&address))
            }
        }
    }

    /// Parses `content` with the same checks as [`Self::load`].
    ///
    /// Errors: all mistakes of the text.
    pub(super) fn parse(&self, content: ConfigContent) -> Result<Settings, ConfigErrors> {
        let settings = self.parse_text(content)?;
        settings.check_model_files()?;
        Ok(settings)
    }

    /// Returns the source of the configuration.
    ///
    /// Errors: the address is invalid.
    pub(super) fn origin(&self) -> Result<ConfigOrigin, ConfigErrors> {
        match Address::parse(self.config.secret()) {
            None => Ok(ConfigOrigin::Local(ConfigSource::from_name(self.config.secret()))),
            Some(Ok(address)) => Ok(ConfigOrigin::Remote(address)),
            Some(Err(why)) => Err(self.unfetched(why.to_string())),
        }
    }

    /// Creates the clients that fetch the configuration from `address`.
    ///
    /// Errors: the address is in S3 and no source names a region, or TLS cannot be set up.
    pub(super) async fn client(&self, address: &Address) -> anyhow::Result<RemoteClient> {
        let aws = match address {
            Address::S3 { .. } => Some(sdk_config(self.region().as_deref()).await?),
            Address::Web(_) => None,
        };
        RemoteClient::new(aws.as_ref()).map_err(|error| self.unfetched(error.why()).into())
    }

    /// Fetches the configuration and its ETag, or `None` if it is still the version that `etag` names.
    ///
    /// Errors: the configuration cannot be fetched.
    pub(super) async fn fetch(
        &self,
        client: &RemoteClient,
        address: &Address,
        etag: Option<&str>,
    ) -> Result<Option<(ConfigContent, Option<String>)>, ConfigErrors> {
        let fetched = client.text(address, etag, MAX_CONFIG_BYTES).await;
        let fetched = fetched.map_err(|error: GetError| self.unfetched(error.why()))?;
        Ok(fetched.map(|FetchedText { text, etag, modified_ms }| {
            let modified_ms = modified_ms.ok_or(UnknownTime::NoHeader);
            (ConfigContent { text, modified_ms }, etag)
        }))
    }

    /// Creates the fetcher for the models of the settings, with AWS clients only if one of them is in S3.
    ///
    /// Errors: a model is in S3 and no source names a region, or there is no cache folder.
    pub(super) async fn models_of(
        &self,
        settings: &Settings,
        specs: &[(Purpose, ModelSpec)],
    ) -> anyhow::Result<ModelFetcher> {
        let in_s3 = |(_, spec): &(Purpose, ModelSpec)| {
            spec.addresses().any(|address| matches!(address, Address::S3 { .. }))
        };
        let aws = match specs.iter().any(in_s3) {
            true => Some(sdk_config(settings.region.as_deref()).await?),
            false => None,
        };
        self.models(aws.as_ref())
    }

    /// Creates the fetcher for remote models.
    ///
    /// Errors: there is no cache folder, or TLS cannot be set up.
    pub(super) fn models(&self, aws: Option<&SdkConfig>) -> anyhow::Result<ModelFetcher> {
        model_fetcher(&self.cache_dir()?, aws)
    }

    /// Returns the folder of the outbox for a configuration without `state.dir`.
    pub(super) fn state_dir(&self) -> anyhow::Result<PathBuf> {
        Ok(self.cache_dir()?.join("state"))
    }

    fn cache_dir(&self) -> anyhow::Result<PathBuf> {
        // An empty KVS_INFER_CACHE, as compose files pass an unset variable, means the default.
        let given = self.cache_dir.clone().filter(|folder| !folder.as_os_str().is_empty());
        given.or_else(cache_dir).context("HOME is not set: name a folder with --cache-dir (KVS_INFER_CACHE)")
    }

    async fn load_remote(&self, address: &Address) -> anyhow::Result<Settings> {
        let client = self.client(address).await?;
        let fetched = self.fetch(&client, address, None).await?;
        // Without an ETag in the request, only a faulty server answers that nothing has changed.
        let (content, _) = fetched.ok_or_else(|| self.unfetched("the server sent no content".to_owned()))?;
        Ok(self.parse_text(content)?)
    }

    fn parse_text(&self, content: ConfigContent) -> Result<Settings, ConfigErrors> {
        parse_content(&self.config.to_string(), content, &environment, &self.overrides())
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

/// Creates a fetcher that keeps models in the folder `models` of `cache`.
///
/// Errors: TLS cannot be set up, or `AWS_CA_BUNDLE` or a proxy variable is invalid.
pub(super) fn model_fetcher(cache: &Path, aws: Option<&SdkConfig>) -> anyhow::Result<ModelFetcher> {
    validate_environment().map_err(AwsSetupError::from)?;
    let client =
        RemoteClient::new(aws).map_err(|error| anyhow::anyhow!("cannot fetch models: {}", error.why()))?;
    let folder = cache.join("models");
    let spec = CacheSpec {
        folder,
        max_bytes: MAX_MODEL_BYTES,
        max_cached_bytes: MAX_CACHED_MODEL_BYTES,
        retry: RetryPolicy::default(),
        holder_limit: HOLDER_LIMIT,
    };
    Ok(ModelFetcher::new(Cache::new(spec, client)))
}

fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
