//! JSON bodies of requests and answers.

use axum::Json;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::ApiError;

/// The answer of an operation that returns JSON.
pub(crate) type JsonResult = Result<Json<Value>, ApiError>;

/// Parses a request's JSON. An empty body stands for an empty object, as SDKs send it for a request without fields.
pub(crate) fn parse_body<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    let body = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body)
        .map_err(|error| ApiError::InvalidArgument(format!("the request is not valid: {error}")))
}

/// Converts a time to seconds since 1970, as SDKs expect it: a JSON number with decimals.
pub(crate) fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}
