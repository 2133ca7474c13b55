//! `/sim/faults`: what goes wrong, told and asked over HTTP.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::api::request::body::read;
use crate::api::service::Service;
use crate::error::ApiError;
use crate::faults::model::Faults;

type Answer = Result<Json<Value>, ApiError>;

/// The body of a PUT.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Put {
    faults: Faults,
}

#[derive(Serialize)]
struct OfStream {
    stream: String,
    faults: Faults,
}

/// What is left of the faults of each stream, and what a stream of any other name would begin with.
pub(crate) async fn get_all(State(service): State<Service>) -> Json<Value> {
    let left = service
        .store
        .streams()
        .into_iter()
        .map(|stream| OfStream { stream: stream.identity().name.clone(), faults: stream.faults() });
    let left: Vec<OfStream> = left.collect();
    Json(json!({ "streams": left, "new_streams": service.store.faults_of_new() }))
}

pub(crate) async fn put_all(State(service): State<Service>, body: Bytes) -> Answer {
    service.store.set_faults(&read::<Put>(&body)?.faults);
    Ok(get_all(State(service)).await)
}

pub(crate) async fn delete_all(State(service): State<Service>) -> Json<Value> {
    service.store.set_faults(&Faults::default());
    get_all(State(service)).await
}

pub(crate) async fn get_one(State(service): State<Service>, Path(stream): Path<String>) -> Answer {
    let faults = service.store.stream(&stream)?.faults();
    Ok(Json(json!(OfStream { stream, faults })))
}

pub(crate) async fn put_one(service: State<Service>, Path(stream): Path<String>, body: Bytes) -> Answer {
    service.store.stream(&stream)?.set_faults(read::<Put>(&body)?.faults);
    get_one(service, Path(stream)).await
}

pub(crate) async fn delete_one(service: State<Service>, Path(stream): Path<String>) -> Answer {
    service.store.stream(&stream)?.set_faults(Faults::default());
    get_one(service, Path(stream)).await
}
