//! Protection against cross-site requests: a page of another server cannot call operations through a user's browser.

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Method, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::api::state::ApiState;
use crate::error::ApiError;

/// Characters of an origin that an error shows.
const MAX_SHOWN: usize = 100;

/// Refuses requests that a browser sends for a page of another server, except those that change nothing.
///
/// Requests are not authenticated, so an address on loopback is no protection from pages: a browser sends a POST of text/plain
/// anywhere without asking first. It names the page in `Origin` (Fetch standard), which SDKs and players never send with
/// an operation. GET, HEAD and OPTIONS pass, since players in pages of other servers fetch HLS.
pub(crate) async fn refuse_foreign_pages(
    State(state): State<ApiState>,
    request: Request,
    next: Next,
) -> Response {
    let changes_nothing = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    match request.headers().get(header::ORIGIN) {
        Some(origin) if !changes_nothing => {
            let origin = String::from_utf8_lossy(origin.as_bytes());
            if is_own_origin(&state, &origin, request.headers()) {
                return next.run(request).await;
            }
            ApiError::ForeignOrigin { origin: origin.chars().take(MAX_SHOWN).collect() }.into_response()
        }
        _ => next.run(request).await,
    }
}

/// Returns whether an origin is the address by which the request came.
fn is_own_origin(state: &ApiState, origin: &str, headers: &HeaderMap) -> bool {
    let Ok(uri) = origin.parse::<Uri>() else { return false };
    let Some(page) = uri.authority().filter(|_| uri.scheme_str() == Some(state.scheme)) else { return false };
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()?.parse::<Authority>().ok());
    // DNS rebinding: a foreign name can resolve to this machine, and then Origin and Host agree. On loopback only the names
    // of loopback are our own.
    let is_local = !state.address.ip().is_loopback() || is_loopback(page.host());
    host.as_ref() == Some(page) && is_local
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}
