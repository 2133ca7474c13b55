//! The S3 sink: annotated pictures and crops.

use std::sync::Arc;
use std::time::Instant;

use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::ServerSideEncryption;
use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::drop_oldest::Outlet;
use super::fault::Fault;
use super::retry_backoff;
use super::snapshot::{Made, Shot};
use super::status::Gauge;
use super::{SnapshotFormat, Sse};

/// Bytes of pictures that wait; the oldest give way.
pub(super) const QUEUE_BYTES: usize = 64 * 1024 * 1024;
/// Attempts at one snapshot before it is given up, so that one that is refused does not hold up the others.
const MOST_ATTEMPTS: u32 = 8;

/// The objects of one event.
#[derive(Clone, Debug)]
pub(super) struct Upload {
    bucket: String,
    /// Keys and contents.
    objects: Vec<(String, Bytes)>,
    content_type: &'static str,
    camera_id: String,
    event_id: String,
    ts_ms: i64,
    arrived: Instant,
}

impl Upload {
    /// The objects of a shot that goes to S3.
    pub(super) fn of(shot: &Shot, made: &Made, format: SnapshotFormat) -> Option<Self> {
        let place = shot.place.s3.as_ref()?;
        let crop = place.crop_key.clone().zip(made.crop.clone());
        let objects = std::iter::once((place.key.clone(), made.annotated.clone())).chain(crop).collect();
        let content_type = match format {
            SnapshotFormat::Jpg => "image/jpeg",
            SnapshotFormat::Png => "image/png",
        };
        let (camera_id, event_id) = (shot.camera_id.clone(), shot.event_id.clone());
        let (bucket, ts_ms, arrived) = (place.bucket.clone(), shot.ts_ms, shot.arrived);
        Some(Self { bucket, objects, content_type, camera_id, event_id, ts_ms, arrived })
    }

    /// The size of all objects.
    pub(super) fn bytes(&self) -> usize {
        self.objects.iter().map(|(_, content)| content.len()).sum()
    }
}

/// Puts one event's objects at a time. Best effort: tried again with back-off, then given up.
pub(super) struct S3Sink {
    pub(super) client: Client,
    pub(super) sse: Sse,
    pub(super) uploads: Outlet<Upload>,
    pub(super) gauge: Arc<Gauge>,
    pub(super) give_up: CancellationToken,
}

impl S3Sink {
    /// Ends when the queue is closed and empty, or at `give_up`.
    pub(super) async fn run(mut self) {
        let give_up = self.give_up.clone();
        give_up.run_until_cancelled(self.deliver()).await;
    }

    async fn deliver(&mut self) {
        while let Some(upload) = self.uploads.pop().await {
            let arrived = upload.arrived;
            if self.put(upload).await {
                self.gauge.delivered(arrived);
            } else {
                self.gauge.gave_up(1);
            }
        }
    }

    /// Whether all objects arrived; what arrived is not sent again.
    async fn put(&self, mut upload: Upload) -> bool {
        let mut backoff = retry_backoff();
        for _ in 0..MOST_ATTEMPTS {
            let Err(fault) = self.attempt(&mut upload).await else {
                self.gauge.works();
                return true;
            };
            self.gauge.failing(&fault.code, &advice(&upload.bucket, &fault), 1);
            tokio::time::sleep(backoff.next_wait()).await;
        }
        false
    }

    async fn attempt(&self, upload: &mut Upload) -> Result<(), Fault> {
        while let Some((key, content)) = upload.objects.first() {
            self.put_object(upload, key, content.clone()).await?;
            upload.objects.remove(0);
        }
        Ok(())
    }

    async fn put_object(&self, upload: &Upload, key: &str, content: Bytes) -> Result<(), Fault> {
        let (encryption, kms_key) = match &self.sse {
            Sse::Aes256 => (ServerSideEncryption::Aes256, None),
            Sse::Kms { key } => (ServerSideEncryption::AwsKms, key.clone()),
        };
        let call = self
            .client
            .put_object()
            .bucket(&upload.bucket)
            .key(key)
            .body(ByteStream::from(content))
            .content_type(upload.content_type)
            .server_side_encryption(encryption)
            .set_ssekms_key_id(kms_key)
            .metadata("camera", &upload.camera_id)
            .metadata("ts", upload.ts_ms.to_string())
            .metadata("event_id", &upload.event_id);
        call.send().await.map(drop).map_err(|error| Fault::of(&error))
    }
}

fn advice(bucket: &str, Fault { code, text }: &Fault) -> String {
    let remedy = match code.as_str() {
        "NoSuchBucket" => "create the bucket, or correct publishers.s3_bucket",
        "AccessDenied" => "allow s3:PutObject on it with this encryption (publishers.s3_sse)",
        "unreachable" | "timeout" => "check the network, and AWS_ENDPOINT_URL_S3 where it is set",
        _ => "it is tried again",
    };
    format!("bucket {bucket}: {code}: {text}; {remedy}")
}
