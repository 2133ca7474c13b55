//! Models from anywhere: those that are elsewhere are fetched before they are loaded.

use std::fmt;

use super::{Address, Cache, FetchError, Wanted};
use crate::detect::ModelSpec;

/// How far a file has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// Another process is fetching it.
    Waiting {
        /// That process, as it says itself.
        holder: &'a str,
    },
    /// It comes.
    Fetching {
        /// So much is here.
        done_bytes: u64,
        /// Of so much, where its server says.
        total_bytes: Option<u64>,
    },
    /// A try failed, and another follows.
    Failed {
        /// Why.
        why: &'a str,
    },
    /// Nobody says whether it has changed: what was fetched before is used.
    UsedAsItWas {
        /// Why.
        why: &'a str,
    },
}

impl fmt::Display for Step<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mb = |bytes: u64| bytes.div_ceil(1_000_000);
        match *self {
            Self::Waiting { holder } => write!(f, "is being fetched by {holder}"),
            Self::Fetching { done_bytes, total_bytes: Some(total) } => {
                write!(f, "is being fetched: {} of {} MB", mb(done_bytes), mb(total))
            }
            Self::Fetching { done_bytes, total_bytes: None } => {
                write!(f, "is being fetched: {} MB so far", mb(done_bytes))
            }
            Self::Failed { why } => write!(f, "was not fetched, and is tried again: {why}"),
            Self::UsedAsItWas { why } => write!(f, "is used as it was fetched before: {why}"),
        }
    }
}

/// Who wants to know how far a file has come; must not wait.
pub(super) type Tell<'a> = &'a (dyn Fn(Step<'_>) + Send + Sync);

/// Gets models that are elsewhere onto this machine.
#[derive(Clone, Debug)]
pub struct Models {
    cache: Cache,
}

impl Models {
    /// Keeps what it fetches in `cache`.
    #[must_use]
    pub fn new(cache: Cache) -> Self {
        Self { cache }
    }

    /// The same model with a path on this machine.
    ///
    /// # Errors
    /// It is elsewhere, and cannot be fetched.
    pub async fn local(&self, spec: &ModelSpec, tell: Tell<'_>) -> Result<ModelSpec, FetchError> {
        let Some(address) = spec.address() else { return Ok(spec.clone()) };
        let wanted = Wanted { address: &address, sha256: spec.sha256.as_deref() };
        Ok(ModelSpec { path: self.cache.file(wanted, tell).await?, ..spec.clone() })
    }
}

impl ModelSpec {
    /// Where it is, if that is not on this machine.
    #[must_use]
    pub fn address(&self) -> Option<Address> {
        Address::parse(self.path.to_str()?)?.ok()
    }
}
