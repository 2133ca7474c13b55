//! Records of an earlier run in a Kinesis data stream.

use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::primitives::DateTime;
use aws_sdk_kinesis::types::ShardIteratorType;
use tokio::time::{Instant, sleep_until};

use super::{EarlierError, WantedRecords};
use crate::aws::{AwsFailure, AwsResource};
use crate::media::Event;

/// Interval between two calls on a shard, which allows five per second to all its readers.
/// Source: GetRecords, Kinesis API reference, 2026-11.
const CALL_INTERVAL: Duration = Duration::from_millis(250);
/// Maximum number of records per call, which are a few MB.
const MAX_RECORDS: i32 = 1_000;

/// Reads all shards from the start of the span to their end: a record arrives after its footage, in catch-up much later.
///
/// # Errors
/// The data stream cannot be read.
pub(super) async fn read(
    aws: &SdkConfig,
    stream: &str,
    records: &mut WantedRecords<'_>,
) -> Result<(), EarlierError> {
    let client = Client::new(aws);
    for shard in shards(&client, stream).await? {
        read_shard(&client, stream, &shard, records).await?;
    }
    Ok(())
}

async fn shards(client: &Client, stream: &str) -> Result<Vec<String>, EarlierError> {
    let (mut shards, mut next) = (Vec::new(), None);
    loop {
        let call = client.list_shards();
        // ListShards accepts either the name or the token, not both.
        let call = match next {
            None => call.stream_name(stream),
            Some(token) => call.next_token(token),
        };
        let answer = call
            .send()
            .await
            .map_err(|error| failed(stream, "kinesis:ListShards", &AwsFailure::of(&error)))?;
        shards.extend(answer.shards.unwrap_or_default().into_iter().map(|shard| shard.shard_id));
        next = answer.next_token;
        if next.is_none() {
            return Ok(shards);
        }
    }
}

async fn read_shard(
    client: &Client,
    stream: &str,
    shard: &str,
    records: &mut WantedRecords<'_>,
) -> Result<(), EarlierError> {
    let (from_ms, _) = records.range_ms();
    let call = client.get_shard_iterator().stream_name(stream).shard_id(shard);
    let call =
        call.shard_iterator_type(ShardIteratorType::AtTimestamp).timestamp(DateTime::from_millis(from_ms));
    let answer = call.send().await;
    let answer =
        answer.map_err(|error| failed(stream, "kinesis:GetShardIterator", &AwsFailure::of(&error)))?;
    let mut next = answer.shard_iterator;
    while let Some(iterator) = next {
        let begun = Instant::now();
        let answer = client.get_records().shard_iterator(iterator).limit(MAX_RECORDS).send().await;
        let answer = answer.map_err(|error| failed(stream, "kinesis:GetRecords", &AwsFailure::of(&error)))?;
        for record in &answer.records {
            // A record of another program is no event.
            serde_json::from_slice::<Event>(record.data.as_ref())
                .iter()
                .for_each(|event| records.take(event));
        }
        // Records that arrive from now on belong to footage after the span.
        if answer.millis_behind_latest.unwrap_or(0) == 0 && answer.records.is_empty() {
            return Ok(());
        }
        next = answer.next_shard_iterator;
        sleep_until(begun + CALL_INTERVAL).await;
    }
    Ok(())
}

fn failed(stream: &str, action: &'static str, failure: &AwsFailure) -> EarlierError {
    let resource = AwsResource {
        kind: "data stream",
        name: stream.to_owned(),
        key: "--compare",
        action,
        endpoint_variable: "AWS_ENDPOINT_URL_KINESIS",
        own_remedy: |_| None,
    };
    EarlierError::Service(resource.explain(failure))
}
