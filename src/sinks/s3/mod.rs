//! The S3 sink: pictures with and without boxes, and crops.

pub(crate) mod probe;

use aws_sdk_s3::Client;
use aws_sdk_s3::operation::put_object::PutObjectOutput;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::ServerSideEncryption;
use bytes::Bytes;

use crate::aws::AwsFailure;
use crate::delivery::OutboxRecord;
use crate::delivery::Sse;
use crate::sinks::each::{Put, Target};

/// Errors that one object's name or size causes, so that trying again is of no use. Source: S3 API reference, error codes, 2026-11.
const NEVER_VALID: [&str; 4] = ["KeyTooLongError", "EntityTooLarge", "MetadataTooLarge", "InvalidURI"];

/// Puts the pictures of an event under keys that do not change.
pub(crate) struct S3Target {
    pub(crate) client: Client,
    pub(crate) sse: Sse,
}

impl Target for S3Target {
    const AT_ONCE: usize = 8;

    async fn put(&self, record: &OutboxRecord) -> Put {
        let Some(place) = record.header.place.as_ref().and_then(|place| place.s3.as_ref()) else {
            return Put::There;
        };
        let keys = std::iter::once(&place.key).chain(&place.clean_key).chain(&place.crop_key);
        for (key, picture) in keys.zip(&record.pictures) {
            if let Err(fault) = self.put_object(record, &place.bucket, key, picture.clone()).await {
                return refused(&place.bucket, key, fault);
            }
        }
        Put::There
    }
}

impl S3Target {
    async fn put_object(
        &self,
        record: &OutboxRecord,
        bucket: &str,
        key: &str,
        content: Bytes,
    ) -> Result<(), AwsFailure> {
        let (encryption, kms_key) = encryption(&self.sse);
        let call = self
            .client
            .put_object()
            .bucket(bucket)
            .key(key)
            .body(ByteStream::from(content))
            .content_type(content_type(key))
            .server_side_encryption(encryption)
            .set_ssekms_key_id(kms_key)
            .metadata("camera", record.camera.as_str())
            .metadata("ts", record.header.ts_ms.to_string())
            .metadata("event_id", &record.header.event_id)
            .metadata("incident_id", &record.header.incident_id);
        stored(&call.send().await.map_err(|error| AwsFailure::of(&error))?)
    }
}

/// S3 names the content of each object that it has stored. An answer that does not is another server's.
///
/// # Errors
/// The answer has no ETag.
pub(crate) fn stored(answer: &PutObjectOutput) -> Result<(), AwsFailure> {
    match answer.e_tag() {
        Some(_) => Ok(()),
        None => Err(AwsFailure::new("bad_response", "the answer has no ETag, so nothing is stored")),
    }
}

fn refused(bucket: &str, key: &str, fault: AwsFailure) -> Put {
    if NEVER_VALID.contains(&fault.code.as_str()) {
        return Put::Never(format!("s3://{bucket}/{key}: {}: {}", fault.code, fault.text));
    }
    let advice = fault.told(&place(bucket), remedy(&fault.code));
    Put::Later(fault, advice)
}

fn content_type(key: &str) -> &'static str {
    if key.ends_with(".png") { "image/png" } else { "image/jpeg" }
}

/// How a bucket is named to a person.
pub(crate) fn place(bucket: &str) -> String {
    format!("bucket {bucket}")
}

/// What somebody can do about a fault.
pub(crate) fn remedy(code: &str) -> Option<&'static str> {
    Some(match code {
        "NoSuchBucket" => "create the bucket, or correct publishers.s3_bucket",
        "AccessDenied" | "http_403" => "allow s3:PutObject on it with this encryption (publishers.s3_sse)",
        "EntityTooLarge" | "RequestEntityTooLarge" | "http_413" => {
            "the picture is larger than the server or a proxy on the way takes: raise that limit (HTTPS_PROXY, AWS_ENDPOINT_URL), or \
             lower snapshots.jpeg_quality"
        }
        "unreachable" | "timeout" => "check the network, and AWS_ENDPOINT_URL_S3 where it is set",
        _ => return None,
    })
}

/// What each put says about encryption: the algorithm and the KMS key.
pub(crate) fn encryption(sse: &Sse) -> (ServerSideEncryption, Option<String>) {
    match sse {
        Sse::Aes256 => (ServerSideEncryption::Aes256, None),
        Sse::Kms { key } => (ServerSideEncryption::AwsKms, key.clone()),
    }
}
