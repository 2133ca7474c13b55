//! The questions of `check --live` about a data stream: is it there, and is the role allowed to write?

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::operation::put_records::PutRecordsOutput;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{
    EncryptionType, PutRecordsRequestEntry, StreamDescriptionSummary, StreamStatus,
};

use super::{refusal, resource};
use crate::aws::AwsFailure;
use crate::base::{Asks, Finding, Probe};
use crate::delivery::probe::{CHECK_NAME, failed, nothing_described, undescribed};

/// 2^128: well formed, and one more than the last hash key that a shard can have.
/// Source: `PutRecords` API reference, `ExplicitHashKey`, 2026-11.
const NO_SHARDS_KEY: &str = "340282366920938463463374607431768211456";

/// Returns the questions about a stream.
pub(super) fn probes(client: &Client, stream: &str) -> Vec<Probe> {
    let name = format!("kds/{stream}");
    vec![
        Probe::new(format!("{name} write"), Asks::Aws, write(client.clone(), stream.to_owned())),
        Probe::new(name, Asks::Aws, describe(client.clone(), stream.to_owned())),
    ]
}

async fn describe(client: Client, stream: String) -> Finding {
    let answer = client.describe_stream_summary().stream_name(&stream).send().await;
    match answer.map_err(|error| AwsFailure::of(&error)) {
        Ok(answer) => judge_description(&stream, answer.stream_description_summary.as_ref()),
        Err(failure) => undescribed(&failure, &resource(&stream), "kinesis:DescribeStreamSummary"),
    }
}

/// Judges a description. The SDK fills in what an answer lacks; each stream has an ARN, so a description without one does not come
/// from Kinesis.
fn judge_description(stream: &str, summary: Option<&StreamDescriptionSummary>) -> Finding {
    match summary.filter(|summary| !summary.stream_arn().is_empty()) {
        Some(summary) => judge_status(summary),
        None => failed(&nothing_described(), &resource(stream)),
    }
}

fn judge_status(stream: &StreamDescriptionSummary) -> Finding {
    let (status, shards) = (stream.stream_status(), stream.open_shard_count());
    let hours = stream.retention_period_hours();
    // Named, since the role then also needs kms:GenerateDataKey on that key.
    let key = match (stream.encryption_type(), stream.key_id()) {
        (Some(EncryptionType::Kms), Some(key)) => format!(", encrypted with {key}"),
        _ => String::new(),
    };
    let text = format!("{status}, open shards: {shards}, keeps records for {hours} h{key}");
    match status {
        StreamStatus::Active | StreamStatus::Updating => Finding::ok(text),
        StreamStatus::Deleting => {
            Finding::fail(format!("{text}; create the stream again, or correct publishers.kds_stream"))
        }
        _ => Finding::warn(format!("{text}; wait until it is ACTIVE")),
    }
}

/// Puts a record for a hash key that no shard has. A role without the permission is refused for that, any other role for the key,
/// so nothing is written.
async fn write(client: Client, stream: String) -> Finding {
    let entry = PutRecordsRequestEntry::builder()
        .data(Blob::new(*b"kvs-infer check --live"))
        .partition_key(CHECK_NAME)
        .explicit_hash_key(NO_SHARDS_KEY)
        .build();
    let entry = match entry {
        Ok(entry) => entry,
        Err(error) => return Finding::fail(error.to_string()),
    };
    let answer = client.put_records().stream_name(&stream).records(entry).send().await;
    judge_write(&stream, answer.map_err(|error| AwsFailure::of(&error)))
}

fn judge_write(stream: &str, answer: Result<PutRecordsOutput, AwsFailure>) -> Finding {
    let code = match &answer {
        Err(failure) => Some(failure.code.clone()),
        Ok(output) => output.records().iter().find_map(|record| record.error_code.clone()),
    };
    let refused_for_key = matches!(code.as_deref(), Some("InvalidArgumentException" | "ValidationException"));
    let stream = resource(stream);
    match answer {
        _ if refused_for_key => Finding::ok("PutRecords is allowed; nothing was written"),
        Err(failure) => failed(&failure, &stream),
        Ok(output) => match output.records().first().map(refusal) {
            None => failed(&AwsFailure::new("bad_response", "no result for a record"), &stream),
            Some(Some(failure)) if failure.code == "bad_response" => failed(&failure, &stream),
            Some(Some(failure)) => {
                let text = stream.explain(&failure);
                Finding::warn(format!("PutRecords is allowed; the record was refused: {text}"))
            }
            Some(None) => Finding::warn(format!(
                "PutRecords is allowed; {} took a record for a hash key that no shard has: one record there is not an event",
                stream.place()
            )),
        },
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_kinesis::types::PutRecordsResultEntry;

    use super::*;
    use crate::base::Verdict;

    fn failure(code: &str) -> Result<PutRecordsOutput, AwsFailure> {
        Err(AwsFailure::new(code, "words"))
    }

    fn record(code: Option<&str>) -> Result<PutRecordsOutput, AwsFailure> {
        let number = code.is_none().then(|| "1".to_owned());
        let record = PutRecordsResultEntry::builder().set_error_code(code.map(str::to_owned));
        let record = record.set_sequence_number(number).build();
        Ok(PutRecordsOutput::builder().records(record).build().unwrap())
    }

    fn empty_result() -> Result<PutRecordsOutput, AwsFailure> {
        let record = PutRecordsResultEntry::builder().build();
        Ok(PutRecordsOutput::builder().records(record).build().unwrap())
    }

    #[test]
    fn verdicts_of_the_write_by_answer() {
        let table = [
            ("for the key", failure("InvalidArgumentException"), Verdict::Ok, "nothing was written"),
            ("for its form", failure("ValidationException"), Verdict::Ok, "nothing was written"),
            ("for the role", failure("AccessDeniedException"), Verdict::Fail, "allow kinesis:PutRecords"),
            ("no stream", failure("ResourceNotFoundException"), Verdict::Fail, "create the stream"),
            ("no server", failure("unreachable"), Verdict::Fail, "check the network"),
            ("its key", failure("KMSDisabledException"), Verdict::Fail, "enable the KMS key"),
            ("an unknown code", failure("NewException"), Verdict::Fail, "correct what it names"),
            (
                "no results",
                Ok(PutRecordsOutput::builder().set_records(Some(vec![])).build().unwrap()),
                Verdict::Fail,
                "in place of AWS",
            ),
            ("an empty result", empty_result(), Verdict::Fail, "without a sequence number"),
            ("the record, for its key", record(Some("InvalidArgumentException")), Verdict::Ok, "allowed"),
            (
                "the record",
                record(Some("InternalFailure")),
                Verdict::Warn,
                "InternalFailure: no message; a fault of the service",
            ),
            ("stored", record(None), Verdict::Warn, "one record there is not an event"),
        ];
        for (name, answer, verdict, words) in table {
            let finding = judge_write("events", answer);
            assert!(finding.verdict == verdict && finding.sentence().contains(words), "{name}: {finding:?}");
        }
    }

    #[test]
    fn the_key_is_the_first_that_no_shard_has() {
        assert_eq!(NO_SHARDS_KEY.parse::<u128>().ok(), None, "over the last one");
        assert_eq!(u128::MAX.to_string(), NO_SHARDS_KEY.replace("1456", "1455"));
    }
}
