//! The S3 sink: pictures with and without boxes, and crops.

mod probe;

pub(super) use probe::probes as probe_bucket;

use aws_sdk_s3::Client;
use aws_sdk_s3::operation::put_object::PutObjectOutput;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::ServerSideEncryption;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use tokio::task::JoinHandle;

use super::each::{EachSink, EventTarget, PutOutcome};
use crate::aws::{AwsFailure, AwsResource};
use crate::base::Probe;
use crate::delivery::{Clients, OutboxRecord, Route, Sink, SinkRun, StartError};
use crate::media::Event;
use crate::snapshot::SnapshotPlace;

/// Error codes that an object's name or size causes, so that another attempt fails, too. Source: S3 API reference, error codes, 2026-11.
pub(super) const NEVER_VALID: [&str; 4] =
    ["KeyTooLongError", "EntityTooLarge", "MetadataTooLarge", "InvalidURI"];

/// The bucket of snapshots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3Spec {
    /// The bucket's name.
    pub bucket: String,
    /// First part of every key, without a slash at its ends.
    pub prefix: String,
    /// Server-side encryption: sent with every object.
    pub sse: Sse,
}

/// Server-side encryption of S3 objects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Sse {
    /// `AES256`
    #[default]
    Aes256,
    /// `aws:kms`, with a key or the account's default.
    Kms {
        /// The key's id or ARN.
        key: Option<String>,
    },
}

/// The bucket of snapshots as a sink. `None`: the bucket of an earlier configuration, which each waiting event names.
#[derive(Clone, Debug, Default)]
pub(crate) struct S3Sink(pub(crate) Option<S3Spec>);

impl S3Sink {
    /// Returns the sink that has this name in the outbox. A bucket that is still configured lends its encryption.
    pub(crate) fn from_name(name: &str, spec: Option<&S3Spec>) -> Option<Self> {
        (name == Self::default().name()).then(|| Self(spec.cloned()))
    }
}

impl Sink for S3Sink {
    fn name(&self) -> String {
        "s3".to_owned()
    }

    fn is_required(&self) -> bool {
        false
    }

    fn wants_pictures(&self) -> bool {
        true
    }

    fn takes(&self, _event: &Event, pictures: Option<&SnapshotPlace>) -> bool {
        pictures.is_some_and(|place| place.s3.is_some())
    }

    fn destination(&self, route: &Route) -> String {
        let bucket = self.0.iter().flat_map(|spec| [spec.bucket.as_str(), spec.prefix.as_str()]);
        let camera = route.snapshot.iter().map(|snapshot| snapshot.prefix.as_str());
        let parts: Vec<&str> = bucket.chain(camera).filter(|part| !part.is_empty()).collect();
        format!("s3 {}", parts.join("/"))
    }

    fn spawn(&self, run: SinkRun) -> Result<JoinHandle<()>, StartError> {
        let sse = self.0.as_ref().map(|spec| spec.sse.clone()).unwrap_or_default();
        let target = S3Target { client: run.clients()?.s3(), sse };
        Ok(tokio::spawn(EachSink::new(target, run).run()))
    }

    fn probes(&self, clients: Option<&Clients>) -> Vec<Probe> {
        let configured = clients.zip(self.0.as_ref());
        configured.map_or_else(Vec::new, |(clients, spec)| probe_bucket(&clients.s3(), spec))
    }
}

/// Returns the bucket with its remedies, of pictures and of clips.
pub(super) fn resource(bucket: &str) -> AwsResource {
    AwsResource {
        kind: "bucket",
        name: bucket.to_owned(),
        key: "publishers.s3_bucket",
        action: "s3:PutObject",
        endpoint_variable: "AWS_ENDPOINT_URL_S3",
        own_remedy: |code| match code {
            "AccessDenied" | "http_403" => {
                Some("allow s3:PutObject on it with this encryption (publishers.s3_sse)")
            }
            "EntityTooLarge" | "RequestEntityTooLarge" | "http_413" => Some(
                "the picture or clip is larger than the server or a proxy on the way takes: raise that limit (HTTPS_PROXY, \
                 AWS_ENDPOINT_URL), or lower snapshots.jpeg_quality or clips.max_seconds",
            ),
            _ => None,
        },
    }
}

/// Puts the pictures of an event under keys that do not change, so that another attempt replaces them.
struct S3Target {
    client: Client,
    sse: Sse,
}

impl EventTarget for S3Target {
    const MAX_UNDER_WAY: usize = 32;

    async fn put(&self, record: &OutboxRecord, is_retry: bool) -> PutOutcome {
        // An event without a place in S3 is only in the queue of an outbox that an earlier version wrote.
        let Some(place) = record.header.place.as_ref().and_then(|place| place.s3.as_ref()) else {
            return PutOutcome::Stored;
        };
        // Attachments are in this order, and a picture that was left out has no key.
        let keys = std::iter::once(&place.key).chain(&place.clean_key).chain(&place.crop_key);
        let mut puts = Vec::with_capacity(record.pictures.len());
        for (key, picture) in keys.zip(&record.pictures) {
            puts.push(self.put_picture(record, &place.bucket, key, picture.clone()));
        }
        // At once, so that an event takes one round trip. A link that is too slow for that gets one after the other.
        let at_once = if is_retry { 1 } else { puts.len().max(1) };
        let put: Vec<Result<(), PutOutcome>> = stream::iter(puts).buffered(at_once).collect().await;
        put.into_iter().collect::<Result<(), _>>().map_or_else(|outcome| outcome, |()| PutOutcome::Stored)
    }
}

impl S3Target {
    async fn put_picture(
        &self,
        record: &OutboxRecord,
        bucket: &str,
        key: &str,
        picture: Bytes,
    ) -> Result<(), PutOutcome> {
        let object = RecordObject { bucket, key, content_type: content_type(key) };
        let put = put_object((&self.client, &self.sse), record, &object, picture.into()).await;
        put.map_err(|failure| refused(bucket, key, failure))
    }
}

/// An object of an event's record.
pub(super) struct RecordObject<'a> {
    pub(super) bucket: &'a str,
    pub(super) key: &'a str,
    pub(super) content_type: &'static str,
}

/// Puts an object with the bucket's encryption and with the ids of its record as metadata.
pub(super) async fn put_object(
    (client, sse): (&Client, &Sse),
    record: &OutboxRecord,
    object: &RecordObject<'_>,
    content: ByteStream,
) -> Result<(), AwsFailure> {
    let (encryption, kms_key) = encryption(sse);
    let call = client
        .put_object()
        .bucket(object.bucket)
        .key(object.key)
        .body(content)
        .content_type(object.content_type)
        .server_side_encryption(encryption)
        .set_ssekms_key_id(kms_key)
        .metadata("camera", record.camera.as_str())
        .metadata("ts", record.header.ts_ms.to_string())
        .metadata("event_id", &record.header.event_id)
        .metadata("incident_id", &record.header.incident_id);
    check_stored(&call.send().await.map_err(|error| AwsFailure::of(&error))?)
}

/// Checks that S3 has stored an object: it gives each an ETag. An answer without one is another server's.
fn check_stored(answer: &PutObjectOutput) -> Result<(), AwsFailure> {
    match answer.e_tag() {
        Some(_) => Ok(()),
        None => Err(AwsFailure::new("bad_response", "the answer has no ETag, so nothing is stored")),
    }
}

fn refused(bucket: &str, key: &str, failure: AwsFailure) -> PutOutcome {
    if NEVER_VALID.contains(&failure.code.as_str()) {
        return PutOutcome::Invalid(format!("s3://{bucket}/{key}: {}: {}", failure.code, failure.text));
    }
    PutOutcome::failed(&resource(bucket), failure)
}

fn content_type(key: &str) -> &'static str {
    if key.ends_with(".png") { "image/png" } else { "image/jpeg" }
}

/// Returns the encryption that each object is put with: the algorithm and the KMS key.
pub(super) fn encryption(sse: &Sse) -> (ServerSideEncryption, Option<String>) {
    match sse {
        Sse::Aes256 => (ServerSideEncryption::Aes256, None),
        Sse::Kms { key } => (ServerSideEncryption::AwsKms, key.clone()),
    }
}
