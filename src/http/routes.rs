//! The routes, and the handlers of the page, its API and its pictures.

use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::header::{CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{from_fn_with_state, map_response};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};

use super::picture::{Jpeg, LivePictureKind, PictureError};
use super::reply::{error_body, with_headers};
use super::site::Site;
use super::views::VIEWS;
use super::{assets, check, clip, cluster, events, health, incidents, scrape, sign_in, zones};
use crate::status::{CameraRow, ModelRow, Readiness, SinkStatus};

/// The sign-out button, for a page that is opened with the token.
const SIGN_OUT: &str =
    r#"<form method="post" action="/logout" class="sign-out"><button type="submit">Sign out</button></form>"#;

/// Returns the routes. Health and metrics need no token, static files neither; the rest is guarded.
pub(super) fn router(site: Arc<Site>) -> Router {
    Router::new()
        .merge(guarded(&site))
        .merge(open(&site))
        .route("/page/{file}", get(assets::file))
        .route(
            "/icon.svg",
            get(|| async { ([(CONTENT_TYPE, "image/svg+xml")], include_str!("page/icon.svg")) }),
        )
        .route("/login", get(|| async { Redirect::to("/") }).post(sign_in::sign_in))
        .route("/logout", post(sign_in::sign_out))
        .fallback(|| async { (StatusCode::NOT_FOUND, error_body("not found")) })
        .layer(map_response(with_headers))
        .with_state(site)
}

/// Returns the routes for clients that may see the page.
fn guarded(site: &Arc<Site>) -> Router<Arc<Site>> {
    let mut views = Router::new();
    for path in VIEWS {
        views = views.route(path, get(page));
    }
    views
        .route("/", get(page))
        .route("/api/cameras", get(cameras))
        .route("/api/check", get(check::last_report).post(check::run))
        .route("/api/cluster", get(cluster::cluster))
        .route("/api/events", get(events::events))
        .route("/api/incidents", get(incidents::incidents))
        .route("/api/incidents/{id}", get(incidents::incident))
        .route("/api/incidents/{id}/pictures/{event_id}", get(incidents::picture))
        .route("/api/incidents/{id}/clip.mp4", get(clip::incident_clip))
        .route("/api/cameras/{id}/clip.mp4", get(clip::camera_clip))
        .route("/api/cameras/{id}/snapshot.jpg", get(snapshot))
        .route("/api/cameras/{id}/zones", get(zones::zones).post(zones::check))
        .route("/api/cameras/{id}/boxes", get(zones::boxes))
        // `route_layer` and not `layer`: an unknown path is 404 for everyone, and reveals nothing.
        .route_layer(from_fn_with_state(Arc::clone(site), sign_in::admit))
}

/// Returns the routes of health and metrics.
fn open(site: &Arc<Site>) -> Router<Arc<Site>> {
    Router::new()
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(scrape::metrics))
        .route_layer(from_fn_with_state(Arc::clone(site), sign_in::admit_open))
}

async fn page(State(site): State<Arc<Site>>) -> Response {
    let sign_out = if site.guard.has_token() { SIGN_OUT } else { "" };
    Html(include_str!("page/page.html").replace("{{sign_out}}", sign_out)).into_response()
}

/// The answer of `/api/cameras`.
#[derive(Serialize)]
struct Overview {
    version: &'static str,
    readiness: Readiness,
    uptime_s: u64,
    /// The id of this worker in its pool.
    #[serde(skip_serializing_if = "Option::is_none")]
    worker: Option<String>,
    cameras: Vec<CameraRow>,
    sinks: Vec<SinkStatus>,
    models: Vec<ModelRow>,
}

async fn cameras(State(site): State<Arc<Site>>) -> Response {
    let board = &site.board;
    let overview = Overview {
        version: env!("CARGO_PKG_VERSION"),
        readiness: board.readiness(),
        uptime_s: board.uptime().as_secs(),
        worker: board.worker(),
        cameras: board.snapshot(),
        sinks: board.sinks(),
        models: board.models(),
    };
    Json(overview).into_response()
}

#[derive(Deserialize)]
struct SnapshotQuery {
    /// The width that the client needs, px.
    w: Option<u32>,
    /// `false` asks for the frame without its bounding boxes.
    boxes: Option<bool>,
}

async fn snapshot(
    State(site): State<Arc<Site>>,
    Path(id): Path<String>,
    Query(query): Query<SnapshotQuery>,
    headers: HeaderMap,
) -> Response {
    let Some(camera) = site.board.camera(&id) else {
        return not_found(format!("no camera {id}"));
    };
    let Some(picture) = camera.picture() else {
        return not_found(format!("camera {id} has no picture yet"));
    };
    // The ETag is the version of the picture alone: a width that differs is another URL.
    let etag = format!("\"{}\"", picture.version);
    if headers.get(IF_NONE_MATCH).is_some_and(|seen| seen.as_bytes() == etag.as_bytes()) {
        return (StatusCode::NOT_MODIFIED, [(ETAG, etag)]).into_response();
    }
    let wanted = LivePictureKind { width_px: query.w, has_boxes: query.boxes.unwrap_or(true) };
    picture_answer(site.pictures.jpeg(camera.id(), &picture, wanted).await)
}

fn not_found(error: String) -> Response {
    (StatusCode::NOT_FOUND, error_body(error)).into_response()
}

fn picture_answer(picture: Result<Jpeg, PictureError>) -> Response {
    match picture {
        Ok(jpeg) => {
            // The cache may have a newer picture than the one that was looked up.
            let etag = format!("\"{}\"", jpeg.version);
            ([(CONTENT_TYPE, "image/jpeg".to_owned()), (ETAG, etag)], jpeg.bytes).into_response()
        }
        Err(error @ PictureError::Busy) => {
            (StatusCode::SERVICE_UNAVAILABLE, error_body(error.to_string())).into_response()
        }
        Err(error @ PictureError::Encode(_)) => {
            (StatusCode::INTERNAL_SERVER_ERROR, error_body(error.to_string())).into_response()
        }
    }
}
