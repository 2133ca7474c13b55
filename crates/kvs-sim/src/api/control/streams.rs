//! The control plane: CreateStream, DescribeStream, ListStreams, DeleteStream, GetDataEndpoint.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::{Json, body::Bytes};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::api::request::body::{read, seconds};
use crate::api::request::stream_reference::StreamReference;
use crate::api::service::Service;
use crate::error::ApiError;
use crate::identifiers::region::Region;
use crate::identifiers::stream_name::is_name;
use crate::store::identity::{StreamIdentity, StreamSettings};

type Answer = Result<Json<Value>, ApiError>;

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

const MOST_RESULTS: usize = 10_000;
const OFFERED_APIS: [&str; 6] = [
    "PUT_MEDIA",
    "GET_MEDIA",
    "LIST_FRAGMENTS",
    "GET_MEDIA_FOR_FRAGMENT_LIST",
    "GET_HLS_STREAMING_SESSION_URL",
    "GET_CLIP",
];
/// Only where there is something that makes images.
const IMAGES_API: &str = "GET_IMAGES";

pub(crate) async fn create_stream(State(service): State<Service>, region: Region, body: Bytes) -> Answer {
    let request: CreateStream = read(&body)?;
    let settings = StreamSettings {
        retention_hours: request.data_retention_in_hours.unwrap_or(0),
        media_type: request.media_type,
        device_name: request.device_name,
        kms_key_id: request.kms_key_id,
        tags: request.tags.unwrap_or_default(),
    };
    let stream = service.store.create_in(&region, &request.stream_name, settings)?;
    Ok(Json(json!({ "StreamARN": stream.identity().arn })))
}

pub(crate) async fn describe_stream(State(service): State<Service>, region: Region, body: Bytes) -> Answer {
    let stream = read::<StreamReference>(&body)?.find(&service.store, &region)?;
    Ok(Json(json!({ "StreamInfo": stream_info(&stream.identity()) })))
}

pub(crate) async fn list_streams(State(service): State<Service>, region: Region, body: Bytes) -> Answer {
    let request: ListStreams = read(&body)?;
    let prefix = request.prefix()?;
    let most = request.most()?;
    let after = request.after(prefix)?;
    let mut streams: Vec<Arc<StreamIdentity>> =
        service.store.streams().iter().map(|stream| stream.identity()).collect();
    streams.retain(|stream| {
        let name = &stream.name;
        stream.region() == region
            && name.starts_with(prefix)
            && after.as_ref().is_none_or(|after| name > after)
    });
    let next = (streams.len() > most).then(|| name_token(&streams[most - 1].name));
    streams.truncate(most);
    let list: Vec<Value> = streams.iter().map(|stream| stream_info(stream)).collect();
    Ok(Json(json!({ "StreamInfoList": list, "NextToken": next })))
}

impl ListStreams {
    fn prefix(&self) -> Result<&str, ApiError> {
        let Some(condition) = &self.stream_name_condition else { return Ok("") };
        match condition.comparison_operator.as_deref() {
            None | Some("BEGINS_WITH") => Ok(condition.comparison_value.as_deref().unwrap_or("")),
            Some(other) => Err(ApiError::InvalidArgument(format!(
                "ComparisonOperator \"{other}\": only BEGINS_WITH is known"
            ))),
        }
    }

    /// The name of the last stream on the page before.
    fn after(&self, prefix: &str) -> Result<Option<String>, ApiError> {
        let Some(token) = self.next_token.as_deref().filter(|token| !token.is_empty()) else {
            return Ok(None);
        };
        let wrong = "NextToken was not given by ListStreams with this StreamNameCondition; begin without";
        let name = name_of_token(token).filter(|name| name.starts_with(prefix));
        name.map(Some).ok_or_else(|| ApiError::InvalidArgument(wrong.to_owned()))
    }

    fn most(&self) -> Result<usize, ApiError> {
        match self.max_results {
            Some(most) if !(1..=MOST_RESULTS).contains(&most) => {
                Err(ApiError::InvalidArgument(format!("MaxResults {most}: 1 to {MOST_RESULTS} are possible")))
            }
            most => Ok(most.unwrap_or(MOST_RESULTS)),
        }
    }
}

pub(crate) async fn delete_stream(State(service): State<Service>, region: Region, body: Bytes) -> Answer {
    let request: DeleteStream = read(&body)?;
    let arn = request.stream.find(&service.store, &region)?.identity().arn.clone();
    service.store.delete(&arn, request.current_version.as_deref()).await?;
    Ok(Json(json!({})))
}

pub(crate) async fn get_data_endpoint(
    State(service): State<Service>,
    region: Region,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let request: GetDataEndpoint = read(&body)?;
    request.stream.find(&service.store, &region)?;
    let offered: Vec<&str> =
        OFFERED_APIS.into_iter().chain(service.images.is_some().then_some(IMAGES_API)).collect();
    if !offered.contains(&request.api_name.as_str()) {
        return Err(ApiError::InvalidArgument(format!(
            "APIName \"{}\": this local KVS has {}; no other is in this version",
            request.api_name,
            offered.join(", ")
        )));
    }
    Ok(Json(json!({ "DataEndpoint": service.endpoint_for(&headers) })))
}

fn stream_info(identity: &StreamIdentity) -> Value {
    let settings = &identity.settings;
    let mut info = json!({
        "StreamName": identity.name,
        "StreamARN": identity.arn,
        "Version": identity.version,
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

/// The `NextToken` behind a stream: hexadecimal digits, since names have signs that a token cannot have.
fn name_token(name: &str) -> String {
    name.bytes().map(|byte| format!("{byte:02x}")).collect()
}

/// None where the text is not such a token.
fn name_of_token(token: &str) -> Option<String> {
    let digits = token.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    let byte = |at: usize| u8::from_str_radix(token.get(at..at + 2)?, 16).ok();
    let bytes: Option<Vec<u8>> = (0..token.len()).step_by(2).map(byte).collect();
    let name = String::from_utf8(bytes.filter(|_| digits)?).ok()?;
    Some(name).filter(|name| is_name(name))
}
