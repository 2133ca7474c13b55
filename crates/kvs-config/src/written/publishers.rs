//! `publishers` and `snapshots`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{TABLE, TABLE_REMEDY};

/// Where events and snapshots go.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Publishers {
    /// The Kinesis data stream that events are put into, by name.
    #[schemars(regex(pattern = r"^[A-Za-z0-9_.-]{1,128}$"), example = &"kvs-detection-events",
        extend("x-remedy" = "write the stream's name: letters, digits, _ . and -, at most 128"))]
    pub kds_stream: Option<String>,
    /// The S3 bucket of the snapshots.
    #[schemars(regex(pattern = r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$"), example = &"kvs-inference-snapshots",
        extend("x-remedy" = "write the bucket's name only: 3 to 63 lower-case letters, digits, . and -"))]
    pub s3_bucket: Option<String>,
    /// Before every key in the bucket.
    #[schemars(regex(pattern = r"^[A-Za-z0-9_./=-]{0,256}$"),
        extend("x-remedy" = "use letters, digits and _ . / = - only, at most 256"))]
    pub s3_prefix: String,
    /// Server-side encryption of the snapshots in S3; its header is always sent.
    pub s3_sse: SseName,
    /// The KMS key (id, alias or ARN) for `s3_sse: aws:kms`; absent: the account's default key.
    #[schemars(regex(pattern = r"^[A-Za-z0-9:/_-]{1,2048}$"),
        extend("x-remedy" = "write a key's id, alias (alias/...) or ARN"))]
    pub s3_kms_key: Option<String>,
    /// The DynamoDB table of event records: key `event_id` (S), sort key `ts_ms` (N).
    #[schemars(regex(pattern = TABLE), example = &"kvs-detection-events", extend("x-remedy" = TABLE_REMEDY))]
    pub ddb_table: Option<String>,
    /// Days from the event until DynamoDB may remove its record, where the table's TTL is on for `ttl`; absent: never.
    #[schemars(range(min = 1, max = 3650))]
    pub ddb_ttl_days: Option<u32>,
    /// The SNS topic that events are published to, by ARN; best effort.
    #[schemars(regex(pattern = r"^arn:aws[a-z-]*:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]{1,256}$"),
        example = &"arn:aws:sns:ap-southeast-1:123456789012:kvs-infer-alerts",
        extend("x-remedy" = "write the ARN of a standard topic, arn:aws:sns:REGION:ACCOUNT:NAME; FIFO topics (NAME.fifo) are not supported"))]
    pub sns_topic_arn: Option<String>,
    /// Minimum confidence of the events that are published to SNS, 0 to 1; absent: any.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub sns_min_conf: Option<f64>,
    /// Labels of the events that are published to SNS; absent: all.
    #[schemars(length(min = 1, max = 10000), inner(length(min = 1, max = 128)), example = ["person"],
        extend("x-remedy" = "name at least one label, or leave `sns_labels` out for all"))]
    pub sns_labels: Option<Vec<String>>,
    /// The folder of the local sink: `events.jsonl` and `snapshots/`.
    #[schemars(length(min = 1, max = 4096), extend("x-remedy" = "write the path of a folder"))]
    pub local_dir: Option<String>,
}

impl Default for Publishers {
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

/// Server-side encryption.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum SseName {
    /// Keys that S3 keeps.
    #[serde(rename = "AES256")]
    Aes256,
    /// A key in KMS: `s3_kms_key`.
    #[serde(rename = "aws:kms")]
    AwsKms,
}

/// The pictures of events.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Snapshots {
    /// Whether they are made.
    pub enabled: bool,
    /// JPEG quality, 1 (small) to 100 (good).
    #[schemars(range(min = 1, max = 100))]
    pub jpeg_quality: u8,
    /// The file format.
    pub image_format: SnapshotFormat,
}

impl Default for Snapshots {
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
