//! The sections `publishers`, `snapshots` and `routing`: the destinations of events.

use kvs_config::KeyPath;
use kvs_config::raw::{CameraSection, SseName};

use crate::delivery::Route;
use crate::render::SnapshotSpec;
use crate::sinks::{DdbSpec, PublishSpec, S3Spec, SnsSpec, Sse};
use crate::snapshot::SnapshotRoute;

use super::{SettingsBuilder, root_key};

impl SettingsBuilder<'_> {
    /// Returns the settings of the sinks.
    pub(super) fn publish(&mut self) -> PublishSpec {
        let (publishers, snapshots) = (&self.raw.publishers, &self.raw.snapshots);
        let sse = self.sse();
        self.check_key_prefix(&root_key("publishers").key("s3_prefix"), &publishers.s3_prefix);
        // Trimmed, since the key is built with one slash between the prefix and the rest.
        let prefix = publishers.s3_prefix.trim_matches('/').to_owned();
        PublishSpec {
            kds_stream: publishers.kds_stream.clone(),
            s3: publishers.s3_bucket.clone().map(|bucket| S3Spec { bucket, prefix, sse }),
            ddb: self.ddb(),
            sns: self.sns(),
            local_dir: publishers.local_dir.as_ref().map(Into::into),
            // The worker that takes a camera over cannot read the folder of this host.
            local_is_best_effort: self.raw.sharing.is_some(),
            snapshots: snapshots.enabled.then_some(SnapshotSpec {
                format: snapshots.image_format,
                jpeg_quality: snapshots.jpeg_quality,
            }),
            clips: self.clips(),
        }
    }

    fn ddb(&mut self) -> Option<DdbSpec> {
        let publishers = &self.raw.publishers;
        let (table, ttl_days) = (publishers.ddb_table.clone(), publishers.ddb_ttl_days);
        if table.is_none() && ttl_days.is_some() {
            let key = root_key("publishers").key("ddb_ttl_days");
            self.problem(
                &key,
                "`ddb_ttl_days` is given, but no DynamoDB table is named",
                "name a table as `ddb_table`, or remove `ddb_ttl_days`",
            );
        }
        table.map(|table| DdbSpec { table, ttl_days })
    }

    fn sns(&mut self) -> Option<SnsSpec> {
        let publishers = &self.raw.publishers;
        let (min_conf, labels) = (publishers.sns_min_conf, publishers.sns_labels.clone());
        let Some(topic_arn) = publishers.sns_topic_arn.clone() else {
            let filters = [("sns_min_conf", min_conf.is_some()), ("sns_labels", labels.is_some())];
            for (name, _) in filters.into_iter().filter(|(_, given)| *given) {
                let key = root_key("publishers").key(name);
                let message = format!("`{name}` is given, but no SNS topic is named");
                let remedy = format!("name a topic as `sns_topic_arn`, or remove `{name}`");
                self.problem(&key, message, remedy);
            }
            return None;
        };
        let min_conf = min_conf.unwrap_or(0.0) as f32;
        Some(SnsSpec { topic_arn, min_conf, labels: labels.unwrap_or_default() })
    }

    fn sse(&mut self) -> Sse {
        let publishers = &self.raw.publishers;
        match (publishers.s3_sse, publishers.s3_kms_key.clone()) {
            // Without a key, S3 uses the account's default KMS key.
            (SseName::AwsKms, key) => Sse::Kms { key },
            (SseName::Aes256, None) => Sse::Aes256,
            (SseName::Aes256, Some(_)) => {
                let key = root_key("publishers").key("s3_kms_key");
                let message = "`s3_kms_key` is given, but `s3_sse` is AES256";
                self.problem(&key, message, "write `s3_sse: aws:kms`, or remove `s3_kms_key`");
                Sse::Aes256
            }
        }
    }

    /// Returns the destinations of a camera's events and snapshots.
    pub(super) fn route(&mut self, camera: &CameraSection, at: &KeyPath) -> Route {
        let at = at.key("routing");
        let kds_stream = self.kds_stream(camera, &at.key("events"));
        // S3 and DynamoDB are best effort: an event needs one sink that loses nothing.
        if camera.enabled && kds_stream.is_none() && self.raw.publishers.local_dir.is_none() {
            let message = format!("the events of camera {} have no destination", camera.id);
            let remedy =
                "name a Kinesis data stream (`publishers.kds_stream`) or a folder (`publishers.local_dir`)";
            self.problem(&at, message, remedy);
        }
        let snapshot = self.snapshot_route(camera, &at.key("snapshot"));
        Route { kds_stream, snapshot, clip: self.clip_route(camera) }
    }

    fn kds_stream(&mut self, camera: &CameraSection, at: &KeyPath) -> Option<String> {
        let events = &camera.routing.events;
        let stream = events.kds_stream_override.as_ref().or(self.raw.publishers.kds_stream.as_ref());
        match (events.to_kds, stream) {
            (Some(true), None) => {
                let remedy =
                    "name a stream as `publishers.kds_stream` or `kds_stream_override`, or remove `to_kds`";
                self.problem(
                    &at.key("to_kds"),
                    "`to_kds` is true, but no Kinesis data stream is named",
                    remedy,
                );
                None
            }
            (Some(false), _) if events.kds_stream_override.is_some() => {
                let message = "`kds_stream_override` is given, but `to_kds` is false";
                self.problem(&at.key("kds_stream_override"), message, "remove one of the two");
                None
            }
            // `to_kds: false` without an override excludes the camera from the shared stream.
            (Some(false), _) => None,
            (_, stream) => stream.cloned(),
        }
    }

    fn snapshot_route(&mut self, camera: &CameraSection, at: &KeyPath) -> Option<SnapshotRoute> {
        let snapshot = &camera.routing.snapshot;
        if !snapshot.on_event_only {
            let remedy = "remove it, or write true: snapshots are taken of events only";
            self.problem(&at.key("on_event_only"), "false is not supported in this version", remedy);
        }
        let prefix = camera_prefix(camera);
        self.check_key_prefix(&at.key("prefix"), &prefix);
        let can_upload = self.can_upload_snapshots(snapshot.to_s3, &at.key("to_s3"));
        let wanted = snapshot.to_s3.unwrap_or(true) && can_upload;
        wanted.then_some(SnapshotRoute { prefix, upload_crops: snapshot.upload_crops })
    }

    fn can_upload_snapshots(&mut self, to_s3: Option<bool>, at: &KeyPath) -> bool {
        let has_bucket = self.raw.publishers.s3_bucket.is_some();
        let are_enabled = self.raw.snapshots.enabled;
        if to_s3 == Some(true) && !has_bucket {
            let remedy = "name a bucket as `publishers.s3_bucket`, or remove `to_s3`";
            self.problem(at, "`to_s3` is true, but no S3 bucket is named", remedy);
        } else if to_s3 == Some(true) && !are_enabled {
            let remedy = "write `enabled: true` under `snapshots`, or remove `to_s3`";
            self.problem(at, "`to_s3` is true, but `snapshots.enabled` is false", remedy);
        }
        has_bucket && are_enabled
    }

    fn check_key_prefix(&mut self, at: &KeyPath, prefix: &str) {
        // S3 accepts such keys, but tools that map keys to paths leave the folder by them.
        let climbs = prefix.split('/').any(|part| part == "." || part == "..");
        // A camera's prefix follows another one: a slash before it would make an empty part. `s3_prefix` is trimmed instead.
        if climbs || prefix.starts_with('/') && at.depth() > 2 {
            let message = format!("{prefix:?} is not a valid key prefix");
            self.problem(at, message, "remove the leading slash, and the parts `.` and `..`");
        }
    }
}

/// Returns the part of a camera's keys between the prefix of all cameras and the file's name.
pub(super) fn camera_prefix(camera: &CameraSection) -> String {
    camera.routing.snapshot.prefix.clone().unwrap_or_else(|| format!("{}/", camera.id))
}
