//! Fetches files from S3 and the web. Models are kept in the cache folder under the digest of their content.

mod address;
mod cache;
mod client;
mod error;
mod eviction;
mod model_fetcher;
mod progress;
mod record;

#[cfg(test)]
mod tests;

pub use address::{Address, AddressError, GivenAddress};
pub use cache::{
    Cache, CacheSpec, HOLDER_LIMIT, MAX_CACHED_MODEL_BYTES, MAX_MODEL_BYTES, ModelRequest, RetryPolicy,
};
pub use client::{FetchResponse, FetchedText, FileContent, GetError, RemoteClient};
pub use error::FetchError;
pub use model_fetcher::ModelFetcher;
pub use progress::FetchProgress;
