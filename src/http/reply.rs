//! The parts that all answers share: security headers and JSON errors.

use axum::Json;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderName, HeaderValue};
use axum::response::Response;
use serde::Serialize;

/// The headers of every answer: nothing is cached, framed, sniffed, or loaded from another origin. A handler may set its own caching.
const HEADERS: [(HeaderName, &str); 6] = [
    (CACHE_CONTROL, "no-store"),
    (
        CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; media-src 'self' blob:; \
         connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    (REFERRER_POLICY, "no-referrer"),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// The JSON body of an answer with an error.
#[derive(Serialize)]
pub(super) struct ErrorBody {
    error: String,
}

/// Returns the JSON body of an answer with this error.
pub(super) fn error_body(error: impl Into<String>) -> Json<ErrorBody> {
    Json(ErrorBody { error: error.into() })
}

/// Returns the response with [`HEADERS`].
pub(super) async fn with_headers(mut response: Response) -> Response {
    for (name, value) in HEADERS {
        if name != CACHE_CONTROL || !response.headers().contains_key(CACHE_CONTROL) {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
    }
    response
}
