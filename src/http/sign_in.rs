//! The handlers that let requests in, and those of sign-in and sign-out.

use std::sync::Arc;
use std::time::Instant;

use axum::Form;
use axum::extract::{Extension, Request, State};
use axum::http::header::{LOCATION, SET_COOKIE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::endpoints::Endpoints;
use super::guard::{Access, AccessRefusal, cookie, cookies, is_of_another_site};
use super::session::LIFETIME;
use super::site::Site;
use super::views::view_or_root;

/// A mark on the answer to a client that has shown the token.
#[derive(Clone, Copy)]
pub(super) struct TokenShown;

/// Lets a request for the page, its API or a picture through, or answers with the reason why not.
pub(super) async fn admit(
    State(site): State<Arc<Site>>,
    Extension(endpoints): Extension<Endpoints>,
    request: Request,
    next: Next,
) -> Response {
    match site.guard.check(request.headers(), endpoints) {
        Ok(()) => {
            let mut response = next.run(request).await;
            if site.guard.has_token() {
                response.extensions_mut().insert(TokenShown);
            }
            response
        }
        Err(refusal) => refusal.answer(request.headers(), wanted_by(&request)),
    }
}

/// Returns the address of the view that a request wants, for the sign-in to return to.
fn wanted_by(request: &Request) -> &str {
    request.uri().path_and_query().map_or("/", |wanted| view_or_root(wanted.as_str()))
}

/// Lets a request for health or metrics through, or answers with the reason why not.
pub(super) async fn admit_open(
    State(site): State<Arc<Site>>,
    Extension(endpoints): Extension<Endpoints>,
    request: Request,
    next: Next,
) -> Response {
    match site.guard.check_open(request.headers(), endpoints) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.answer(request.headers(), "/"),
    }
}

/// The form of the sign-in.
#[derive(Deserialize)]
pub(super) struct SignIn {
    token: String,
    /// The address that the user wanted.
    #[serde(default)]
    next: String,
}

/// Exchanges the token for a cookie, and redirects to the view that the user wanted.
pub(super) async fn sign_in(
    State(site): State<Arc<Site>>,
    Extension(endpoints): Extension<Endpoints>,
    headers: HeaderMap,
    Form(form): Form<SignIn>,
) -> Response {
    let next = view_or_root(&form.next);
    let Access::Token(check) = &site.guard.access else { return to_page(next, None) };
    if is_of_another_site(&headers) {
        return AccessRefusal::Foreign.answer(&headers, "/");
    }
    let now = Instant::now();
    match check.check_token(form.token.trim().as_bytes(), endpoints, now) {
        Ok(()) => to_page(next, Some(cookie(&headers, &check.sessions.open(now), LIFETIME.as_secs()))),
        Err(refusal) => refusal.answer(&headers, next),
    }
}

/// Ends the session of the cookie, also for copies of the cookie, and redirects to the sign-in.
pub(super) async fn sign_out(State(site): State<Arc<Site>>, headers: HeaderMap) -> Response {
    let Access::Token(check) = &site.guard.access else { return to_page("/", None) };
    if is_of_another_site(&headers) {
        return AccessRefusal::Foreign.answer(&headers, "/");
    }
    // Ended here too: deleting the cookie in this browser leaves its copies valid.
    cookies(&headers).for_each(|cookie| check.sessions.close(cookie, Instant::now()));
    to_page("/", Some(cookie(&headers, "", 0)))
}

/// Returns the redirect to a view of the page, with a cookie to set. 303: the browser follows it by GET.
fn to_page(view: &str, cookie: Option<String>) -> Response {
    let mut response = (StatusCode::SEE_OTHER, [(LOCATION, view)]).into_response();
    if let Some(cookie) = cookie.and_then(|cookie| HeaderValue::from_str(&cookie).ok()) {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
    response
}
