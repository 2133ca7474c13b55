//! What the configuration asks of publish.

use std::path::PathBuf;

use crate::render::SnapshotSpec;

/// The sinks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishSpec {
    /// The default Kinesis data stream.
    pub kds_stream: Option<String>,
    /// Snapshots in S3.
    pub s3: Option<S3Spec>,
    /// Records in DynamoDB.
    pub ddb: Option<DdbSpec>,
    /// The folder of the local sink: `events.jsonl` and `snapshots/`.
    pub local_dir: Option<PathBuf>,
    /// How snapshots are made; `None`: none are.
    pub snapshots: Option<SnapshotSpec>,
}

/// What is kept over a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateSpec {
    /// The folder of the outbox.
    pub dir: PathBuf,
    /// What may wait in it: records and pictures, bytes.
    pub max_bytes: u64,
    /// The DynamoDB table of positions.
    pub ddb_table: Option<String>,
}

/// Where and for how long records are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DdbSpec {
    /// The table.
    pub table: String,
    /// Days from the event until DynamoDB may remove its item; `None`: never.
    pub ttl_days: Option<u32>,
}

/// Where and how objects are put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3Spec {
    /// The bucket.
    pub bucket: String,
    /// Before every key, without a slash at its ends.
    pub prefix: String,
    /// Server-side encryption: always sent.
    pub sse: Sse,
}

/// Server-side encryption of S3 objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sse {
    /// `AES256`
    Aes256,
    /// `aws:kms`, with a key or the account's default.
    Kms {
        /// The key's id or ARN.
        key: Option<String>,
    },
}

/// A camera's `routing`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The data stream of this camera's records, if any.
    pub kds_stream: Option<String>,
    /// Its snapshots in S3, if any. The local sink keeps snapshots whenever they are made.
    pub snapshot: Option<SnapshotRoute>,
}

/// A camera's snapshots in S3.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotRoute {
    /// Between the sink's prefix and the file's name, `${camera_id}` expanded.
    pub prefix: String,
    /// Whether the boxes go up as pictures of their own.
    pub upload_crops: bool,
}
