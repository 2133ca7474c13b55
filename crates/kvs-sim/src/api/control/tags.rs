//! TagStream, UntagStream and ListTagsForStream.

use std::collections::BTreeMap;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::api::request::body::read;
use crate::api::request::stream_reference::StreamReference;
use crate::api::service::Service;
use crate::error::ApiError;
use crate::identifiers::region::Region;
use crate::store::identity::check_tag_key;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct TagStream {
    #[serde(flatten)]
    stream: StreamReference,
    tags: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct UntagStream {
    #[serde(flatten)]
    stream: StreamReference,
    tag_key_list: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListTags {
    #[serde(flatten)]
    stream: StreamReference,
    next_token: Option<String>,
}

type Answer = Result<Json<Value>, ApiError>;

/// Source: the service model of kinesisvideo, 2017-09-30, TagKeyList.
const MOST_KEYS: usize = 50;

pub(crate) async fn tag_stream(State(service): State<Service>, region: Region, body: Bytes) -> Answer {
    let request: TagStream = read(&body)?;
    let stream = request.stream.find_tagged(&service.store, &region)?;
    if request.tags.is_empty() {
        return Err(ApiError::InvalidArgument("Tags: at least 1 tag is needed".to_owned()));
    }
    stream.change(|identity| identity.tag(request.tags))?;
    Ok(Json(json!({})))
}

pub(crate) async fn untag_stream(State(service): State<Service>, region: Region, body: Bytes) -> Answer {
    let request: UntagStream = read(&body)?;
    let stream = request.stream.find_tagged(&service.store, &region)?;
    let keys = request.tag_key_list;
    if !(1..=MOST_KEYS).contains(&keys.len()) {
        let refused = format!("TagKeyList has {} keys: 1 to {MOST_KEYS} are possible", keys.len());
        return Err(ApiError::InvalidArgument(refused));
    }
    keys.iter().try_for_each(|key| check_tag_key(key))?;
    stream.change(|identity| {
        identity.settings.tags.retain(|key, _| !keys.contains(key));
        Ok(())
    })?;
    Ok(Json(json!({})))
}

/// All tags on one page: a stream has 50 at most.
pub(crate) async fn list_tags(State(service): State<Service>, region: Region, body: Bytes) -> Answer {
    let request: ListTags = read(&body)?;
    let stream = request.stream.find_tagged(&service.store, &region)?;
    if request.next_token.is_some_and(|token| !token.is_empty()) {
        return Err(ApiError::InvalidArgument("NextToken was not given by ListTagsForStream".to_owned()));
    }
    Ok(Json(json!({ "Tags": stream.identity().settings.tags })))
}
