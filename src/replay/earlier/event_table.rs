//! Records of an earlier run in a DynamoDB table, by its index on the camera and the time.

use aws_config::SdkConfig;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;

use super::{EarlierError, WantedRecords};
use crate::aws::{AwsFailure, AwsResource};
use crate::sinks::{CAMERA_TIME_INDEX, event_json};

/// Reads the records of the cameras around the span; never scans the table.
///
/// # Errors
/// The table or its index cannot be read.
pub(super) async fn read(
    aws: &SdkConfig,
    table: &str,
    records: &mut WantedRecords<'_>,
) -> Result<(), EarlierError> {
    let client = Client::new(aws);
    let (from_ms, to_ms) = records.range_ms();
    for camera in records.cameras {
        let query = client
            .query()
            .table_name(table)
            .index_name(CAMERA_TIME_INDEX)
            .key_condition_expression("camera_id = :camera AND ts_ms BETWEEN :from AND :to")
            .expression_attribute_values(":camera", AttributeValue::S(camera.clone()))
            .expression_attribute_values(":from", AttributeValue::N(from_ms.to_string()))
            .expression_attribute_values(":to", AttributeValue::N(to_ms.to_string()));
        let mut pages = query.into_paginator().send();
        while let Some(page) = pages.next().await {
            let page = page
                .map_err(|error| EarlierError::Service(resource(table).explain(&AwsFailure::of(&error))))?;
            for item in page.items.unwrap_or_default() {
                // An item of another program has no event in it.
                let event = event_json(&item).and_then(|json| serde_json::from_value(json).ok());
                event.iter().for_each(|event| records.take(event));
            }
        }
    }
    Ok(())
}

fn resource(table: &str) -> AwsResource {
    AwsResource {
        kind: "table",
        name: table.to_owned(),
        key: "--compare",
        action: "dynamodb:Query",
        endpoint_variable: "AWS_ENDPOINT_URL_DYNAMODB",
        own_remedy: |code| match code {
            "ValidationException" => {
                Some("it needs the index camera_id-ts_ms-index with the keys camera_id (S) and ts_ms (N)")
            }
            _ => None,
        },
    }
}
