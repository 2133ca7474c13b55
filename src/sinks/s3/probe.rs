//! The questions of `check --live` about the bucket: does it take a picture, encrypted as configured, and return it?

use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use futures_util::FutureExt;

use super::{S3Spec, check_stored, encryption, resource};
use crate::aws::{AwsFailure, AwsResource};
use crate::base::{Asks, Finding, Probe, Verdict};
use crate::delivery::probe::{CHECK_NAME, failed};

const CONTENT: &[u8] = b"kvs-infer check --live wrote this. It can be removed.\n";

/// Returns the questions about the bucket of the pictures. One puts a small object under their prefix and leaves it there: the role needs
/// no permission to remove any. The other reads that object, because without s3:ListBucket a missing one would be refused as well.
pub(in crate::sinks) fn probes(client: &Client, spec: &S3Spec) -> Vec<Probe> {
    let key = match spec.prefix.as_str() {
        "" => CHECK_NAME.to_owned(),
        prefix => format!("{prefix}/{CHECK_NAME}"),
    };
    let written = write(client.clone(), spec.clone(), key.clone()).boxed().shared();
    let (client, bucket, before) = (client.clone(), spec.bucket.clone(), written.clone());
    let read = async move {
        let is_there = before.await.verdict == Verdict::Ok;
        judge_read(&bucket, &key, is_there, read(&client, &bucket, &key).await)
    };
    vec![
        Probe::new("s3 write", Asks::Aws, written),
        Probe::new("s3 read", Asks::Aws, read).only_for("the pictures of the page"),
    ]
}

async fn write(client: Client, spec: S3Spec, key: String) -> Finding {
    let S3Spec { bucket, prefix: _, sse } = spec;
    let (algorithm, kms_key) = encryption(&sse);
    let put = client
        .put_object()
        .bucket(&bucket)
        .key(&key)
        .body(ByteStream::from_static(CONTENT))
        .content_type("text/plain")
        .server_side_encryption(algorithm.clone())
        .set_ssekms_key_id(kms_key);
    let answer = put.send().await.map_err(|error| AwsFailure::of(&error));
    match answer.and_then(|answer| check_stored(&answer)) {
        Ok(()) => Finding::ok(format!("s3://{bucket}/{key} written, encrypted by {algorithm}")),
        Err(failure) => failed(&failure, &resource(&bucket)),
    }
}

/// Requests the object, without its body.
async fn read(client: &Client, bucket: &str, key: &str) -> Result<(), AwsFailure> {
    let answer = client.get_object().bucket(bucket).key(key).send().await;
    match answer.map_err(|error| AwsFailure::of(&error))?.e_tag() {
        Some(_) => Ok(()),
        None => Err(AwsFailure::new("bad_response", "the answer has no ETag, so it is not an object of S3")),
    }
}

/// Judges the answer to a read of an object. `is_there`: it was written before.
fn judge_read(bucket: &str, key: &str, is_there: bool, answer: Result<(), AwsFailure>) -> Finding {
    let bucket = AwsResource { action: "s3:GetObject", own_remedy: read_remedy, ..resource(bucket) };
    match answer {
        Ok(()) => Finding::ok(format!("s3://{}/{key} read", bucket.name)),
        Err(failure) if failure.code == "NoSuchKey" => {
            Finding::ok(format!("s3:GetObject is allowed; s3://{}/{key} is missing", bucket.name))
        }
        // S3 refuses a missing object to a role that is not allowed to list its prefix.
        Err(failure) if failure.is_denied() && !is_there => {
            Finding::warn(format!("{}: s3:GetObject is not allowed, or {key} is missing", bucket.place()))
                .with_remedy("correct what `s3 write` reports, and check again")
        }
        Err(failure) => failed(&failure, &bucket),
    }
}

/// Returns the remedy for a read by its error code.
fn read_remedy(code: &str) -> Option<&'static str> {
    let is_refused = AwsFailure::is_denial(code) || code == "http_403";
    is_refused.then_some("allow s3:GetObject on the objects under publishers.s3_prefix")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_of_the_read_by_answer() {
        let failure = |code: &str| Err(AwsFailure::new(code, "words"));
        let table = [
            ("read", true, Ok(()), Verdict::Ok, "s3://pictures/a/.kvs-infer-check read"),
            ("missing", false, failure("NoSuchKey"), Verdict::Ok, "s3:GetObject is allowed"),
            (
                "refused",
                true,
                failure("AccessDenied"),
                Verdict::Fail,
                "allow s3:GetObject on the objects under publishers.s3_prefix",
            ),
            (
                "refused, and perhaps missing",
                false,
                failure("AccessDenied"),
                Verdict::Warn,
                "not allowed, or a/.kvs-infer-check is missing; correct what `s3 write` reports",
            ),
            ("no bucket", false, failure("NoSuchBucket"), Verdict::Fail, "create the bucket, or correct"),
            ("another server", true, failure("bad_response"), Verdict::Fail, "in place of AWS"),
        ];
        for (name, is_there, answer, verdict, words) in table {
            let finding = judge_read("pictures", "a/.kvs-infer-check", is_there, answer);
            assert!(finding.verdict == verdict && finding.sentence().contains(words), "{name}: {finding:?}");
        }
    }
}
