//! UpdateDataRetention.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::api::request::body::read;
use crate::api::request::stream_reference::StreamReference;
use crate::api::request::values::one_of;
use crate::api::service::Service;
use crate::error::ApiError;
use crate::identifiers::region::Region;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct UpdateDataRetention {
    #[serde(flatten)]
    stream: StreamReference,
    current_version: String,
    operation: String,
    data_retention_change_in_hours: i64,
}

/// What the change is multiplied by, for each `Operation`.
const OPERATIONS: [(&str, i64); 2] = [("INCREASE_DATA_RETENTION", 1), ("DECREASE_DATA_RETENTION", -1)];

/// Footage older than the new retention is gone when this answers.
pub(crate) async fn update_data_retention(
    State(service): State<Service>,
    region: Region,
    body: Bytes,
) -> Result<Json<Value>, ApiError> {
    let request: UpdateDataRetention = read(&body)?;
    let stream = request.stream.find(&service.store, &region)?;
    let sign = one_of("Operation", &request.operation, &OPERATIONS)?;
    let by_hours = request.data_retention_change_in_hours;
    if by_hours < 1 {
        let refused = format!("DataRetentionChangeInHours {by_hours}: at least 1 is needed");
        return Err(ApiError::InvalidArgument(refused));
    }
    stream.change(|identity| {
        identity.check_version(&request.current_version)?;
        let hours = i64::from(identity.settings.retention_hours);
        identity.retain(hours.saturating_add(sign * by_hours))
    })?;
    stream.drop_expired().await;
    Ok(Json(json!({})))
}
