//! Fetches the models of a configuration before they are loaded.

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
        let Some(address) = spec.address() else { return Ok(spec.clone()) };
        let request = ModelRequest { address: &address, sha256: spec.sha256.as_deref() };
        Ok(ModelSpec { path: self.cache.file(request, on_progress).await?, ..spec.clone() })
    }
}

impl ModelSpec {
    /// Returns the address of a remote model, and `None` for a file of this machine.
    #[must_use]
    pub fn address(&self) -> Option<Address> {
        // The configuration has already rejected invalid addresses, so `ok` loses no message.
        Address::parse(self.path.to_str()?)?.ok()
    }
}
