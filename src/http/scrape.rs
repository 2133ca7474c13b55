//! `/metrics`: rendered for each request of this host, and at most once per second for all others.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Bytes;
use axum::extract::{Extension, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

use super::endpoints::Endpoints;
use super::site::Site;
use crate::telemetry::Scrape;

/// Answers with the metrics in Prometheus's text format.
pub(super) async fn metrics(
    State(site): State<Arc<Site>>,
    Extension(endpoints): Extension<Endpoints>,
) -> Response {
    // Held while the text is rendered: requests of other hosts that wait here find it done.
    let mut cache = site.scrapes.lock().await;
    let now = Instant::now();
    let text = match cache.answer(endpoints, now) {
        Some(text) => text,
        None => {
            Scrape { board: &site.board }.emit();
            site.gpus.scrape().await;
            let text = Bytes::from(site.prometheus.render());
            cache.store(text.clone(), now);
            text
        }
    };
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}
