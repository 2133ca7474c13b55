//! The handlers of `/api/check`.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};

use super::probe_runs::{RUN_INTERVAL, RunRefusal};
use super::reply::error_body;
use super::site::Site;

/// Answers with the report of the last run as JSON, or with `null`.
pub(super) async fn last_report(State(site): State<Arc<Site>>) -> Response {
    json(site.probes.report())
}

/// Runs the probes, and answers with their report as JSON; with 429 if the last run was started less than 30 s ago.
pub(super) async fn run(State(site): State<Arc<Site>>, headers: HeaderMap) -> Response {
    if !is_json(&headers) {
        let text = "send the header Content-Type: application/json, with an empty body";
        return (StatusCode::UNSUPPORTED_MEDIA_TYPE, error_body(text)).into_response();
    }
    let running = match site.probes.start(Instant::now()) {
        Ok(running) => running,
        Err(refusal) => return refused(&refusal),
    };
    match running.await {
        Ok(report) => json(report),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, error_body(&*why)).into_response(),
    }
}

/// Returns whether the request has a type of content that no form of another site can send (Fetch standard, CORS-safelisted request
/// headers); its script would have to ask first, which is refused.
fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

fn json(body: Bytes) -> Response {
    ([(CONTENT_TYPE, "application/json")], body).into_response()
}

fn refused(refusal: &RunRefusal) -> Response {
    match refusal {
        RunRefusal::TooSoon { wait } => {
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            let text = format!(
                "the probes run at most every {} s: try again in {seconds} s, or read the last report by GET",
                RUN_INTERVAL.as_secs()
            );
            let headers = [(RETRY_AFTER, seconds.to_string())];
            (StatusCode::TOO_MANY_REQUESTS, headers, error_body(text)).into_response()
        }
        RunRefusal::Unavailable => {
            let text = "this process runs no probes: run kvs-infer check --live";
            (StatusCode::NOT_FOUND, error_body(text)).into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_no_json() {
        for (kind, is) in [
            (Some("application/json"), true),
            (Some("Application/JSON; charset=utf-8"), true),
            (Some("text/plain"), false),
            (Some("application/x-www-form-urlencoded"), false),
            (Some("text/plain; application/json"), false),
            (None, false),
        ] {
            let headers: HeaderMap =
                kind.into_iter().map(|kind| (CONTENT_TYPE, kind.parse().unwrap())).collect();
            assert_eq!(is_json(&headers), is, "{kind:?}");
        }
    }
}
