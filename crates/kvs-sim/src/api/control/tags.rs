//! TagStream, UntagStream and ListTagsForStream.

use std::collections::BTreeMap;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use serde::Deserialize;
use serde_json::json;

use crate::api::request::body::{JsonResult, parse_body};
use crate::api::request::stream_reference::StreamReference;
use crate::api::request::values::invalid;
use crate::api::state::ApiState;
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

/// Source: the service model of kinesisvideo, 2017-09-30, TagKeyList.
const MAX_KEYS: usize = 50;

pub(crate) async fn tag_stream(State(state): State<ApiState>, region: Region, body: Bytes) -> JsonResult {
    let request: TagStream = parse_body(&body)?;
    let stream = request.stream.find_for_tags(&state.store, &region)?;
    if request.tags.is_empty() {
        return Err(invalid("Tags is empty; give at least 1 tag"));
    }
    stream.change(|identity| identity.add_tags(request.tags))?;
    Ok(Json(json!({})))
}

/// Removes tags. A key that the stream does not have is no error.
pub(crate) async fn untag_stream(State(state): State<ApiState>, region: Region, body: Bytes) -> JsonResult {
    let request: UntagStream = parse_body(&body)?;
    let stream = request.stream.find_for_tags(&state.store, &region)?;
    let keys = request.tag_key_list;
    if !(1..=MAX_KEYS).contains(&keys.len()) {
        let message = format!("TagKeyList has {} keys; give 1 to {MAX_KEYS}", keys.len());
        return Err(ApiError::InvalidArgument(message));
    }
    keys.iter().try_for_each(|key| check_tag_key(key))?;
    stream.change(|identity| {
        identity.settings.tags.retain(|key, _| !keys.contains(key));
        Ok(())
    })?;
    Ok(Json(json!({})))
}

pub(crate) async fn list_tags(State(state): State<ApiState>, region: Region, body: Bytes) -> JsonResult {
    let request: ListTags = parse_body(&body)?;
    let stream = request.stream.find_for_tags(&state.store, &region)?;
    // A stream has 50 tags at most, which fit on one page: ListTagsForStream never returns a token.
    if request.next_token.is_some_and(|token| !token.is_empty()) {
        return Err(invalid("NextToken was not returned by ListTagsForStream; leave it out"));
    }
    Ok(Json(json!({ "Tags": stream.identity().settings.tags })))
}
