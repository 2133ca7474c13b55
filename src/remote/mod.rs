//! Files that are elsewhere: in S3 or on the web. Models are kept in the cache folder by their content.

mod address;
mod cache;
mod error;
mod get;
mod keeping;
mod models;
mod record;

#[cfg(test)]
mod tests;

pub use address::{Address, AddressError, GivenAddress};
pub use cache::{Cache, CacheSpec, HOLDER_LIMIT, KEPT_MODEL_BYTES, MOST_MODEL_BYTES, Tries, Wanted};
pub use error::FetchError;
pub use get::{Content, GetError, Got, Remote};
pub use models::{Models, Step};
