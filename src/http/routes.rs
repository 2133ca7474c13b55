//! What each path answers.

use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::middleware::{from_fn_with_state, map_response};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{MethodRouter, get, post};
use metrics_exporter_prometheus::PrometheusHandle;
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, watch};

use super::picture::{PictureError, Pictures};
use super::scrape::LastScrape;
use super::{events, guard, health, scrape};
use crate::status::{CameraRow, ModelRow, Readiness, SinkRow, StatusBoard};
use crate::telemetry::Gpus;

/// The button of the page where people sign in.
const SIGN_OUT: &str =
    r#"<form method="post" action="/logout" class="sign-out"><button type="submit">Sign out</button></form>"#;

/// What the answers are made from.
pub(super) struct Site {
    pub(super) board: StatusBoard,
    pub(super) prometheus: PrometheusHandle,
    pub(super) gpus: Gpus,
    pub(super) last_scrape: Mutex<LastScrape>,
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

/// The routes: health and metrics need no token, the rest is guarded.
pub(super) fn router(site: Arc<Site>) -> Router {
    let guarded = Router::new()
        .route("/", get(page))
        .route("/api/cameras", get(cameras))
        .route("/api/events", get(events::events))
        .route("/api/cameras/{id}/snapshot.jpg", get(snapshot))
        .route_layer(from_fn_with_state(Arc::clone(&site), guard::admit));
    let open = Router::new()
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(scrape::metrics))
        .route_layer(from_fn_with_state(Arc::clone(&site), guard::admit_open));
    Router::new()
        .merge(guarded)
        .merge(open)
        .route("/page.css", fixed("text/css; charset=utf-8", include_str!("page/page.css")))
        .route("/page.js", fixed("text/javascript; charset=utf-8", include_str!("page/page.js")))
        .route("/icon.svg", fixed("image/svg+xml", include_str!("page/icon.svg")))
        .route("/login", get(|| async { Redirect::to("/") }).post(guard::sign_in))
        .route("/logout", post(guard::sign_out))
        .fallback(|| async { (StatusCode::NOT_FOUND, failure("there is nothing at this path")) })
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

pub(super) async fn with_headers(mut response: Response) -> Response {
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn page(State(site): State<Arc<Site>>) -> Response {
    let sign_out = if site.guard.has_token() { SIGN_OUT } else { "" };
    Html(include_str!("page/page.html").replace("{{sign_out}}", sign_out)).into_response()
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
