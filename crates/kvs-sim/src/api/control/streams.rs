//! CreateStream, DescribeStream, ListStreams, DeleteStream and GetDataEndpoint.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::{Json, body::Bytes};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::api::request::body::{JsonResult, parse_body, seconds};
use crate::api::request::stream_reference::StreamReference;
use crate::api::state::ApiState;
use crate::error::ApiError;
use crate::identifiers::region::Region;
use crate::identifiers::stream_name::is_stream_name;
use crate::store::identity::{StreamIdentity, StreamSettings};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct CreateStream {
    stream_name: String,
    data_retention_in_hours: Option<u32>,
    media_type: Option<String>,
    device_name: Option<String>,
    kms_key_id: Option<String>,
    tags: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListStreams {
    max_results: Option<usize>,
    next_token: Option<String>,
    stream_name_condition: Option<NameCondition>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct NameCondition {
    comparison_operator: Option<String>,
    comparison_value: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DeleteStream {
    #[serde(flatten)]
    stream: StreamReference,
    current_version: Option<String>,
}

#[derive(Deserialize)]
struct GetDataEndpoint {
    #[serde(flatten)]
    stream: StreamReference,
    #[serde(rename = "APIName")]
    api_name: String,
}

/// Source: the service model of kinesisvideo, 2017-09-30, ListStreamsInputLimit.
const MAX_RESULTS: usize = 10_000;
/// Values of `APIName` that the local KVS has an endpoint for.
const OFFERED_APIS: [&str; 6] = [
    "PUT_MEDIA",
    "GET_MEDIA",
    "LIST_FRAGMENTS",
    "GET_MEDIA_FOR_FRAGMENT_LIST",
    "GET_HLS_STREAMING_SESSION_URL",
    "GET_CLIP",
];
/// Offered only with an image maker.
const IMAGES_API: &str = "GET_IMAGES";

pub(crate) async fn create_stream(State(state): State<ApiState>, region: Region, body: Bytes) -> JsonResult {
    // Fields that the local KVS does not have, such as StreamStorageConfiguration, are ignored.
    let request: CreateStream = parse_body(&body)?;
    let settings = StreamSettings {
        // As on AWS, a stream that does not state a retention keeps nothing in the archive.
        retention_hours: request.data_retention_in_hours.unwrap_or(0),
        media_type: request.media_type,
        device_name: request.device_name,
        kms_key_id: request.kms_key_id,
        tags: request.tags.unwrap_or_default(),
    };
    let stream = state.store.create_in(&region, &request.stream_name, settings)?;
    Ok(Json(json!({ "StreamARN": stream.identity().arn })))
}

pub(crate) async fn describe_stream(
    State(state): State<ApiState>,
    region: Region,
    body: Bytes,
) -> JsonResult {
    let stream = parse_body::<StreamReference>(&body)?.find(&state.store, &region)?;
    Ok(Json(json!({ "StreamInfo": stream_info(&stream.identity()) })))
}

pub(crate) async fn list_streams(State(state): State<ApiState>, region: Region, body: Bytes) -> JsonResult {
    let request: ListStreams = parse_body(&body)?;
    let prefix = request.prefix()?;
    let max_results = request.max_results()?;
    let after = request.after(prefix)?;
    let mut streams: Vec<Arc<StreamIdentity>> =
        state.store.streams().iter().map(|stream| stream.identity()).collect();
    // The store is sorted by region and name, so the streams of one region are in the order of pages.
    streams.retain(|stream| {
        let name = &stream.name;
        stream.region() == region
            && name.starts_with(prefix)
            && after.as_ref().is_none_or(|after| name > after)
    });
    // The page's last name is the token: names are unique and sorted, so streams that come or go meanwhile do no harm.
    let next = (streams.len() > max_results).then(|| token_of_name(&streams[max_results - 1].name));
    streams.truncate(max_results);
    let infos: Vec<Value> = streams.iter().map(|stream| stream_info(stream)).collect();
    Ok(Json(json!({ "StreamInfoList": infos, "NextToken": next })))
}

impl ListStreams {
    fn prefix(&self) -> Result<&str, ApiError> {
        let Some(condition) = &self.stream_name_condition else { return Ok("") };
        match condition.comparison_operator.as_deref() {
            None | Some("BEGINS_WITH") => Ok(condition.comparison_value.as_deref().unwrap_or("")),
            Some(other) => Err(ApiError::InvalidArgument(format!(
                "ComparisonOperator \"{other}\" is not known; use BEGINS_WITH"
            ))),
        }
    }

    /// Returns the name of the last stream on the previous page.
    fn after(&self, prefix: &str) -> Result<Option<String>, ApiError> {
        let Some(token) = self.next_token.as_deref().filter(|token| !token.is_empty()) else {
            return Ok(None);
        };
        let message =
            "NextToken was not returned by ListStreams for this StreamNameCondition; begin without it";
        let name = name_of_token(token).filter(|name| name.starts_with(prefix));
        name.map(Some).ok_or_else(|| ApiError::InvalidArgument(message.to_owned()))
    }

    fn max_results(&self) -> Result<usize, ApiError> {
        match self.max_results {
            Some(max) if !(1..=MAX_RESULTS).contains(&max) => Err(ApiError::InvalidArgument(format!(
                "MaxResults {max} is out of range; use 1 to {MAX_RESULTS}"
            ))),
            max => Ok(max.unwrap_or(MAX_RESULTS)),
        }
    }
}

pub(crate) async fn delete_stream(State(state): State<ApiState>, region: Region, body: Bytes) -> JsonResult {
    let request: DeleteStream = parse_body(&body)?;
    // By its ARN, which also has the time of creation: a stream that takes the name meanwhile is not deleted.
    let arn = request.stream.find(&state.store, &region)?.identity().arn.clone();
    state.store.delete(&arn, request.current_version.as_deref()).await?;
    Ok(Json(json!({})))
}

pub(crate) async fn get_data_endpoint(
    State(state): State<ApiState>,
    region: Region,
    headers: HeaderMap,
    body: Bytes,
) -> JsonResult {
    let request: GetDataEndpoint = parse_body(&body)?;
    // Only for its error: an endpoint of a stream that does not exist is not given.
    request.stream.find(&state.store, &region)?;
    check_offered(&request.api_name, state.images.is_some())?;
    // One server has all operations, so the endpoint is the address that the client reached it by.
    Ok(Json(json!({ "DataEndpoint": state.endpoint_for(&headers) })))
}

/// Fails if the local KVS has no endpoint for an API.
fn check_offered(api_name: &str, has_images: bool) -> Result<(), ApiError> {
    let offered: Vec<&str> = OFFERED_APIS.into_iter().chain(has_images.then_some(IMAGES_API)).collect();
    if offered.contains(&api_name) {
        return Ok(());
    }
    Err(ApiError::InvalidArgument(format!(
        "APIName \"{api_name}\" is not supported; this local KVS has {}",
        offered.join(", ")
    )))
}

fn stream_info(identity: &StreamIdentity) -> Value {
    let settings = &identity.settings;
    let mut info = json!({
        "StreamName": identity.name,
        "StreamARN": identity.arn,
        "Version": identity.version,
        // Streams are created and deleted within one call, so CREATING, UPDATING and DELETING do not occur.
        "Status": "ACTIVE",
        "CreationTime": seconds(identity.created_ms),
        "DataRetentionInHours": settings.retention_hours,
        "KmsKeyId": settings.kms_key_id.as_deref().unwrap_or("alias/aws/kinesisvideo"),
    });
    let optional = [("MediaType", &settings.media_type), ("DeviceName", &settings.device_name)];
    for (key, value) in optional {
        if let Some(value) = value {
            info[key] = json!(value);
        }
    }
    info
}

/// Returns the `NextToken` after a stream: hexadecimal digits, since names have characters that tokens cannot have.
fn token_of_name(name: &str) -> String {
    name.bytes().map(|byte| format!("{byte:02x}")).collect()
}

/// Returns the name in a token; None if the text is not a token of [`token_of_name`].
fn name_of_token(token: &str) -> Option<String> {
    // from_str_radix takes a sign and capitals, which a token never has.
    let digits = token.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    let byte = |at: usize| u8::from_str_radix(token.get(at..at + 2)?, 16).ok();
    let bytes: Option<Vec<u8>> = (0..token.len()).step_by(2).map(byte).collect();
    let name = String::from_utf8(bytes.filter(|_| digits)?).ok()?;
    Some(name).filter(|name| is_stream_name(name))
}
