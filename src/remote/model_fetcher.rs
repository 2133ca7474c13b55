//! Fetches the models of a configuration before they are loaded.

use std::path::{Path, PathBuf};

use super::progress::OnProgress;
use super::{Address, Cache, FetchError, ModelRequest};
use crate::detect::ModelSpec;

/// Fetches remote models into a cache folder.
#[derive(Clone, Debug)]
pub struct ModelFetcher {
    cache: Cache,
}

impl ModelFetcher {
    /// Creates a fetcher that keeps models in `cache`.
    #[must_use]
    pub fn new(cache: Cache) -> Self {
        Self { cache }
    }

    /// Returns the model with a path on this machine, fetching the file first if it is remote.
    ///
    /// # Errors
    /// The model is remote and cannot be fetched.
    pub async fn local(
        &self,
        spec: &ModelSpec,
        on_progress: OnProgress<'_>,
    ) -> Result<ModelSpec, FetchError> {
        let mut local = spec.clone();
        local.path = self.file(&spec.path, spec.sha256.as_deref(), on_progress).await?;
        if let Some(twin) = &spec.int8 {
            local.int8 = Some(self.file(twin, spec.int8_sha256.as_deref(), on_progress).await?);
        }
        if let Some(twin) = &spec.half {
            local.half = Some(self.file(twin, spec.half_sha256.as_deref(), on_progress).await?);
        }
        Ok(local)
    }

    /// Returns the path of a file on this machine, fetching it first if it is remote.
    async fn file(
        &self,
        path: &Path,
        sha256: Option<&str>,
        on_progress: OnProgress<'_>,
    ) -> Result<PathBuf, FetchError> {
        let Some(address) = address_of(path) else { return Ok(path.to_owned()) };
        self.cache.file(ModelRequest { address: &address, sha256 }, on_progress).await
    }
}

impl ModelSpec {
    /// Returns the addresses of the files that are remote: the model's, and those of its twins.
    pub fn addresses(&self) -> impl Iterator<Item = Address> {
        self.files().filter_map(|path| address_of(path))
    }
}

fn address_of(path: &Path) -> Option<Address> {
    // The configuration has already rejected invalid addresses, so `ok` loses no message.
    Address::parse(path.to_str()?)?.ok()
}
