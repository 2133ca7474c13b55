//! `/sim/faults`: reads and sets the faults of streams over HTTP.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::api::request::body::{JsonResult, parse_body};
use crate::api::state::ApiState;
use crate::faults::model::Faults;

/// The body of a PUT.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetFaults {
    faults: Faults,
}

#[derive(Serialize)]
struct StreamFaults {
    stream: String,
    faults: Faults,
}

/// Returns the remaining faults of each stream, and the faults that a stream of any other name begins with.
pub(crate) async fn get_all(State(state): State<ApiState>) -> Json<Value> {
    let streams = state.store.streams();
    let remaining = streams
        .iter()
        .map(|stream| StreamFaults { stream: stream.identity().name.clone(), faults: stream.faults() });
    let remaining: Vec<StreamFaults> = remaining.collect();
    Json(json!({ "streams": remaining, "new_streams": state.store.faults_of_new() }))
}

pub(crate) async fn put_all(State(state): State<ApiState>, body: Bytes) -> JsonResult {
    state.store.set_faults(&parse_body::<SetFaults>(&body)?.faults);
    Ok(get_all(State(state)).await)
}

pub(crate) async fn delete_all(State(state): State<ApiState>) -> Json<Value> {
    state.store.set_faults(&Faults::default());
    get_all(State(state)).await
}

pub(crate) async fn get_one(State(state): State<ApiState>, Path(stream): Path<String>) -> JsonResult {
    let faults = state.store.stream(&stream)?.faults();
    Ok(Json(json!(StreamFaults { stream, faults })))
}

pub(crate) async fn put_one(state: State<ApiState>, Path(stream): Path<String>, body: Bytes) -> JsonResult {
    // The stream is looked up first: an unknown stream is reported before a body that does not parse.
    state.store.stream(&stream)?.set_faults(parse_body::<SetFaults>(&body)?.faults);
    get_one(state, Path(stream)).await
}

pub(crate) async fn delete_one(state: State<ApiState>, Path(stream): Path<String>) -> JsonResult {
    state.store.stream(&stream)?.set_faults(Faults::default());
    get_one(state, Path(stream)).await
}
