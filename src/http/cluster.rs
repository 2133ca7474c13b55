//! `/api/cluster`: the workers that share the cameras.

use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::reply::error_body;
use super::site::Site;

/// The answer of a process that shares no cameras.
#[derive(Serialize)]
struct NoPool {
    pool: Option<String>,
}

/// Answers with the pool as JSON, with 503 if its tables cannot be read, and without `sharing` with `{"pool":null}`.
pub(super) async fn cluster(State(site): State<Arc<Site>>) -> Response {
    let Some(answer) = site.pool.answer(Instant::now()) else {
        return Json(NoPool { pool: None }).into_response();
    };
    match answer.await.body {
        Ok(json) => ([(CONTENT_TYPE, "application/json")], json).into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, error_body(&*why)).into_response(),
    }
}
