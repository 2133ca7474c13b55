//! The question of `check --live` about the bucket: does it take a picture, encrypted as configured?

use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;

use super::{S3Spec, check_stored, encryption, resource};
use crate::aws::AwsFailure;
use crate::base::{Asks, Finding, Probe};
use crate::delivery::probe::{CHECK_NAME, failed};

const CONTENT: &[u8] = b"kvs-infer check --live wrote this. It can be removed.\n";

/// Puts a small object under the prefix of the pictures and leaves it there: the role needs no permission to remove any.
pub(in crate::sinks) fn probe(client: Client, spec: S3Spec) -> Probe {
    Probe::new("s3 write", Asks::Aws, write(client, spec))
}

async fn write(client: Client, spec: S3Spec) -> Finding {
    let S3Spec { bucket, prefix, sse } = spec;
    let key = if prefix.is_empty() { CHECK_NAME.to_owned() } else { format!("{prefix}/{CHECK_NAME}") };
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
