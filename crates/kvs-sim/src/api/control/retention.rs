//! UpdateDataRetention.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use serde::Deserialize;
use serde_json::json;

use crate::api::request::body::{JsonResult, parse_body};
use crate::api::request::stream_reference::StreamReference;
use crate::api::request::values::one_of;
use crate::api::state::ApiState;
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

/// The sign of the change for each `Operation`.
const OPERATIONS: [(&str, i64); 2] = [("INCREASE_DATA_RETENTION", 1), ("DECREASE_DATA_RETENTION", -1)];

/// Changes the retention. Footage older than the new one is removed before the answer.
pub(crate) async fn update_data_retention(
    State(state): State<ApiState>,
    region: Region,
    body: Bytes,
) -> JsonResult {
    let request: UpdateDataRetention = parse_body(&body)?;
    let stream = request.stream.find(&state.store, &region)?;
    let by_hours = request.change_hours()?;
    stream.change(|identity| {
        // Compared under the stream's lock: of two changes that name the same version, one fails.
        identity.check_version(&request.current_version)?;
        let hours = i64::from(identity.settings.retention_hours);
        identity.set_retention(hours.saturating_add(by_hours))
    })?;
    stream.drop_expired().await;
    Ok(Json(json!({})))
}

impl UpdateDataRetention {
    /// Returns the change of the retention, which is negative for a decrease.
    fn change_hours(&self) -> Result<i64, ApiError> {
        let sign = one_of("Operation", &self.operation, &OPERATIONS)?;
        let by_hours = self.data_retention_change_in_hours;
        if by_hours < 1 {
            let message = format!("DataRetentionChangeInHours {by_hours} is out of range; 1 is the minimum");
            return Err(ApiError::InvalidArgument(message));
        }
        Ok(sign * by_hours)
    }
}
