//! The sections `publishers` and `snapshots`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{TABLE, TABLE_REMEDY};

/// Example labels in the schema.
// A constant: schemars reads an array in its attribute only if another crate enables all features of syn.
const LABELS: [&str; 1] = ["person"];

/// The destinations of events and snapshots.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PublishersSection {
    // Kinesis CreateStream: 1 to 128 of these characters. PutRecords takes an ARN in another field.
    /// The name of the Kinesis data stream for events.
    #[schemars(regex(pattern = r"^[A-Za-z0-9_.-]{1,128}$"), example = &"kvs-detection-events",
        extend("x-remedy" = "write the stream's name: letters, digits, _ . and -, at most 128"))]
    pub kds_stream: Option<String>,
    // Naming rules of general purpose buckets: 3 to 63 characters, and a letter or digit at both ends.
    /// The S3 bucket for snapshots.
    #[schemars(regex(pattern = r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$"), example = &"kvs-inference-snapshots",
        extend("x-remedy" = "write the bucket's name only: 3 to 63 lower-case letters, digits, . and -"))]
    pub s3_bucket: Option<String>,
    // Only characters that S3 lists as safe in keys, and `=` for partitions; keys have at most 1,024 bytes.
    /// The prefix of every key in the bucket.
    #[schemars(regex(pattern = r"^[A-Za-z0-9_./=-]{0,256}$"),
        extend("x-remedy" = "use letters, digits and _ . / = - only, at most 256"))]
    pub s3_prefix: String,
    /// Server-side encryption of the snapshots in S3. The header is always sent.
    pub s3_sse: SseName,
    // KMS KeyId: at most 2,048 characters.
    /// The KMS key for `s3_sse: aws:kms`, as an id, alias or ARN; absent: the account's default key.
    #[schemars(regex(pattern = r"^[A-Za-z0-9:/_-]{1,2048}$"),
        extend("x-remedy" = "write a key's id, alias (alias/...) or ARN"))]
    pub s3_kms_key: Option<String>,
    /// The DynamoDB table for event records, with partition key `event_id` (S) and sort key `ts_ms` (N).
    #[schemars(regex(pattern = TABLE), example = &"kvs-detection-events", extend("x-remedy" = TABLE_REMEDY))]
    pub ddb_table: Option<String>,
    /// Number of days after which DynamoDB may delete an event record, if the table has TTL enabled on `ttl`; absent: never.
    #[schemars(range(min = 1, max = 3650))]
    pub ddb_ttl_days: Option<u32>,
    // Topic names have 1 to 256 of these characters; those of FIFO topics end in .fifo.
    /// The SNS topic for notifications, by ARN. Best effort.
    #[schemars(regex(pattern = r"^arn:aws[a-z-]*:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]{1,256}$"),
        example = &"arn:aws:sns:ap-southeast-1:123456789012:kvs-infer-alerts",
        extend("x-remedy" = "write the ARN of a standard topic, arn:aws:sns:REGION:ACCOUNT:NAME; FIFO topics (NAME.fifo) are not supported"))]
    pub sns_topic_arn: Option<String>,
    /// Minimum confidence of the events that are published to SNS, 0 to 1; absent: any.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub sns_min_conf: Option<f64>,
    /// Labels of the events that are published to SNS; absent: all.
    #[schemars(length(min = 1, max = 10000), inner(length(min = 1, max = 128)), example = LABELS,
        extend("x-remedy" = "name at least one label, or leave `sns_labels` out for all"))]
    pub sns_labels: Option<Vec<String>>,
    /// The folder of the local sink, which holds `events.jsonl` and `snapshots/`.
    #[schemars(length(min = 1, max = 4096), extend("x-remedy" = "write the path of a folder"))]
    pub local_dir: Option<String>,
}

impl Default for PublishersSection {
    fn default() -> Self {
        Self {
            kds_stream: None,
            s3_bucket: None,
            s3_prefix: "snapshots".to_owned(),
            s3_sse: SseName::Aes256,
            s3_kms_key: None,
            ddb_table: None,
            ddb_ttl_days: None,
            sns_topic_arn: None,
            sns_min_conf: None,
            sns_labels: None,
            local_dir: None,
        }
    }
}

/// The server-side encryption of snapshots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum SseName {
    /// Keys managed by S3.
    #[serde(rename = "AES256")]
    Aes256,
    /// A KMS key, named by `s3_kms_key`.
    #[serde(rename = "aws:kms")]
    AwsKms,
}

/// The snapshots of events.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SnapshotsSection {
    /// `true` to take a snapshot of each event.
    pub enabled: bool,
    /// JPEG quality, 1 (smallest) to 100 (best).
    #[schemars(range(min = 1, max = 100))]
    pub jpeg_quality: u8,
    /// The file format of snapshots.
    pub image_format: SnapshotFormat,
}

impl Default for SnapshotsSection {
    fn default() -> Self {
        Self { enabled: true, jpeg_quality: 90, image_format: SnapshotFormat::Jpg }
    }
}

/// The file format of snapshots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SnapshotFormat {
    /// JPEG.
    #[default]
    Jpg,
    /// PNG.
    Png,
}
