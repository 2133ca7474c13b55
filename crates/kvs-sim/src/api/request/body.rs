//! The JSON body of a request.

use serde::de::DeserializeOwned;

use crate::error::ApiError;

/// A request's JSON; an empty body stands for an empty object.
pub(crate) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    let body = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|error| ApiError::InvalidArgument(format!("the request: {error}")))
}

/// Seconds since 1970 as the SDKs read a time: a JSON number with decimals.
pub(crate) fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}
