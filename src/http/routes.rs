//! What each path answers.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::middleware::{from_fn_with_state, map_response};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{MethodRouter, get};
use axum::{Router, extract::DefaultBodyLimit};
use metrics_exporter_prometheus::PrometheusHandle;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::picture::{PictureError, Pictures};
use super::{events, guard};
use crate::telemetry::board::{Board, CameraRow, ModelRow, Readiness, SinkRow, Status};
use crate::telemetry::{Gpus, Scrape};

/// Bytes of a request's body at most: only the sign-in has one.
const BODY_BYTES: usize = 4 * 1024;

/// Limit on the answer of `/healthz`, bytes: whoever asks reads it as a whole.
const HEALTH_BYTES: usize = 64 * 1024;

/// What the answers are made from.
pub(super) struct Site {
    pub(super) board: Board,
    pub(super) prometheus: PrometheusHandle,
    pub(super) gpus: Gpus,
    pub(super) pictures: Pictures,
    pub(super) guard: guard::Guard,
    pub(super) stopped: watch::Receiver<bool>,
}

/// Headers of every answer: nothing is stored, framed, guessed, or fetched from elsewhere.
const HEADERS: [(HeaderName, &str); 6] = [
    (CACHE_CONTROL, "no-store"),
    (
        CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; \
         form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    (REFERRER_POLICY, "no-referrer"),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// The routes: health and metrics are open, the rest is guarded.
pub(super) fn router(site: Arc<Site>) -> Router {
    let guarded = Router::new()
        .route("/", fixed("text/html; charset=utf-8", include_str!("page/page.html")))
        .route("/api/cameras", get(cameras))
        .route("/api/events", get(events::events))
        .route("/api/cameras/{id}/snapshot.jpg", get(snapshot))
        .route_layer(from_fn_with_state(Arc::clone(&site), guard::admit));
    Router::new()
        .merge(guarded)
        .route("/page.css", fixed("text/css; charset=utf-8", include_str!("page/page.css")))
        .route("/page.js", fixed("text/javascript; charset=utf-8", include_str!("page/page.js")))
        .route("/icon.svg", fixed("image/svg+xml", include_str!("page/icon.svg")))
        .route("/login", get(|| async { Redirect::to("/") }).post(guard::sign_in))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .fallback(|| async { (StatusCode::NOT_FOUND, failure("there is nothing at this path")) })
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .layer(map_response(with_headers))
        .with_state(site)
}

/// What an API answers when it cannot do what was asked.
pub(super) fn failure(error: impl Into<String>) -> Json<Failure> {
    Json(Failure { error: error.into() })
}

#[derive(Serialize)]
pub(super) struct Failure {
    error: String,
}

fn fixed(kind: &'static str, text: &'static str) -> MethodRouter<Arc<Site>> {
    get(move || async move { ([(CONTENT_TYPE, kind)], text) })
}

async fn with_headers(mut response: Response) -> Response {
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn healthz(State(site): State<Arc<Site>>) -> Response {
    let health = site.board.health().within(HEALTH_BYTES);
    let code = match health.status {
        Status::Ok | Status::Degraded => StatusCode::OK,
        Status::Failed => StatusCode::SERVICE_UNAVAILABLE,
    };
    (code, Json(health)).into_response()
}

async fn readyz(State(site): State<Arc<Site>>) -> Response {
    let readiness = site.board.readiness();
    let code = match readiness {
        Readiness::Ready => StatusCode::OK,
        Readiness::Starting | Readiness::Stopping => StatusCode::SERVICE_UNAVAILABLE,
    };
    let loading = site.board.loadings();
    let answer = if readiness == Readiness::Ready || loading.is_empty() {
        serde_json::json!({ "status": readiness })
    } else {
        serde_json::json!({ "status": readiness, "loading": loading })
    };
    (code, Json(answer)).into_response()
}

async fn metrics(State(site): State<Arc<Site>>) -> Response {
    Scrape { board: &site.board }.emit();
    site.gpus.scrape().await;
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], site.prometheus.render()).into_response()
}

/// What `/api/cameras` answers.
#[derive(Serialize)]
struct Overview {
    version: &'static str,
    readiness: Readiness,
    uptime_s: u64,
    cameras: Vec<CameraRow>,
    sinks: Vec<SinkRow>,
    models: Vec<ModelRow>,
}

async fn cameras(State(site): State<Arc<Site>>) -> Response {
    let board = &site.board;
    let overview = Overview {
        version: env!("CARGO_PKG_VERSION"),
        readiness: board.readiness(),
        uptime_s: board.uptime().as_secs(),
        cameras: board.snapshot(),
        sinks: board.sinks(),
        models: board.models(),
    };
    Json(overview).into_response()
}

#[derive(Deserialize)]
struct Wanted {
    /// Width that is enough, px.
    w: Option<u32>,
}

async fn snapshot(
    State(site): State<Arc<Site>>,
    Path(id): Path<String>,
    Query(wanted): Query<Wanted>,
    headers: HeaderMap,
) -> Response {
    let Some(camera) = site.board.camera(&id) else {
        return (StatusCode::NOT_FOUND, failure(format!("there is no camera {id}"))).into_response();
    };
    let Some(picture) = camera.picture() else {
        return (StatusCode::NOT_FOUND, failure(format!("camera {id} has shown no picture yet")))
            .into_response();
    };
    let etag = format!("\"{}\"", picture.version);
    if headers.get(IF_NONE_MATCH).is_some_and(|seen| seen.as_bytes() == etag.as_bytes()) {
        return (StatusCode::NOT_MODIFIED, [(ETAG, etag)]).into_response();
    }
    match site.pictures.jpeg(camera.id(), &picture, wanted.w).await {
        Ok(jpeg) => {
            let etag = format!("\"{}\"", jpeg.version);
            ([(CONTENT_TYPE, "image/jpeg".to_owned()), (ETAG, etag)], jpeg.bytes).into_response()
        }
        Err(error @ PictureError::Busy) => {
            (StatusCode::SERVICE_UNAVAILABLE, failure(error.to_string())).into_response()
        }
        Err(error @ PictureError::Encode(_)) => {
            (StatusCode::INTERNAL_SERVER_ERROR, failure(error.to_string())).into_response()
        }
    }
}
