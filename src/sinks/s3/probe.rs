//! The bucket of pictures: would it take one, encrypted as configured?

use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;

use super::{encryption, place, remedy, stored};
use crate::aws::AwsFailure;
use crate::base::{Asks, Finding, Probe};
use crate::delivery::S3Spec;
use crate::delivery::probe::{NOBODY, failed};

const CONTENT: &[u8] = b"kvs-infer check --live wrote this. It can be removed.\n";

/// Puts a small object under the prefix of the pictures and leaves it there: the role need not be allowed to remove any.
pub(crate) fn probe(client: &Client, s3: &S3Spec) -> Probe {
    Probe::new("s3 write", Asks::Aws, write(client.clone(), s3.clone()))
}

async fn write(client: Client, s3: S3Spec) -> Finding {
    let S3Spec { bucket, prefix, sse } = s3;
    let key = if prefix.is_empty() { NOBODY.to_owned() } else { format!("{prefix}/{NOBODY}") };
    let (encryption, kms_key) = encryption(&sse);
    let put = client
        .put_object()
        .bucket(&bucket)
        .key(&key)
        .body(ByteStream::from_static(CONTENT))
        .content_type("text/plain")
        .server_side_encryption(encryption.clone())
        .set_ssekms_key_id(kms_key);
    match put.send().await.map_err(|error| AwsFailure::of(&error)).and_then(|answer| stored(&answer)) {
        Ok(()) => Finding::ok(format!("s3://{bucket}/{key} written, encrypted by {encryption}")),
        Err(fault) => failed(&fault, &place(&bucket), remedy(&fault.code)),
    }
}
