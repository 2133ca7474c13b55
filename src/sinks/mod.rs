//! The list of sinks: the settings of each, and the sinks that a configuration asks for.
//!
//! A sink has a folder with its settings, delivery, probe and remedies, and implements `delivery::Sink`. `each` delivers to services
//! that take one event per call, as many at once as `concurrency` allows.

mod clips;
mod concurrency;
mod dynamodb;
mod each;
mod kinesis;
mod local;
mod s3;
mod sns;

pub use dynamodb::DdbSpec;
pub(crate) use dynamodb::{CAMERA_TIME_INDEX, DdbItem, event_json, history_probe};
pub(crate) use local::{EVENTS_FILE, EVENTS_FILES};
pub use s3::{S3Spec, Sse};
pub use sns::SnsSpec;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use clips::ClipSink;
use dynamodb::DynamoDbSink;
use kinesis::KinesisSink;
use local::LocalSink;
use s3::S3Sink;
use sns::SnsSink;

use crate::clips::ClipSettings;
use crate::delivery::{Route, Sink, SinkRegistry, SinkSet};
use crate::render::SnapshotSpec;
use crate::snapshot::{BucketFolder, SnapshotSettings};

/// The configuration of all sinks and of the snapshots that they store.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PublishSpec {
    /// The default Kinesis data stream.
    pub kds_stream: Option<String>,
    /// Snapshots in S3.
    pub s3: Option<S3Spec>,
    /// Records in DynamoDB.
    pub ddb: Option<DdbSpec>,
    /// Notifications by SNS.
    pub sns: Option<SnsSpec>,
    /// The folder of the local sink: `events.jsonl` and `snapshots/`.
    pub local_dir: Option<PathBuf>,
    /// `true`: the local sink drops its oldest events when its share of the outbox is full, as the other sinks beside Kinesis do.
    pub local_is_best_effort: bool,
    /// The encoding of snapshots; `None`: none are made.
    pub snapshots: Option<SnapshotSpec>,
    /// The clips of incidents.
    pub clips: ClipSettings,
}

impl PublishSpec {
    /// Returns the sinks for cameras with these routes.
    #[must_use]
    pub fn sinks(&self, routes: Vec<Arc<Route>>) -> SinkSet {
        SinkSet { registry: Arc::new(self.clone()), routes }
    }

    /// Returns the table that the history is read from; `None`: the local folder has all incidents, or nothing has them. In a pool
    /// (`is_shared`), the folder of a worker has those of its own cameras only.
    pub(crate) fn history_table(&self, is_shared: bool) -> Option<&str> {
        let reads_folder = self.local_dir.is_some() && !is_shared;
        self.ddb.as_ref().filter(|_| !reads_folder).map(|records| &*records.table)
    }

    /// Returns the destinations of a camera's events in words for people, such as `kds events`.
    #[must_use]
    pub fn destinations(&self, route: &Route) -> Vec<String> {
        SinkRegistry::sinks(self, &[route]).iter().map(|sink| sink.destination(route)).collect()
    }
}

/// The list of sinks. Their order is that of the status page and of `check`.
impl SinkRegistry for PublishSpec {
    fn sinks(&self, routes: &[&Route]) -> Vec<Arc<dyn Sink>> {
        // Destructured, so that a new field without a sink does not compile. A route has its stream already.
        let Self { kds_stream: _, s3, ddb, sns, local_dir, local_is_best_effort, snapshots, clips } = self;
        let streams: BTreeSet<&String> =
            routes.iter().filter_map(|route| route.kds_stream.as_ref()).collect();
        let has_snapshots = snapshots.is_some() && routes.iter().any(|route| route.snapshot.is_some());
        let mut sinks: Vec<Arc<dyn Sink>> = Vec::new();
        let is_required = !local_is_best_effort;
        sinks
            .extend(local_dir.iter().map(|folder| shared(LocalSink { folder: folder.clone(), is_required })));
        sinks.extend(streams.into_iter().map(|stream| shared(KinesisSink { stream: stream.clone() })));
        sinks.extend(ddb.iter().map(|table| shared(DynamoDbSink(table.clone()))));
        sinks.extend(s3.iter().filter(|_| has_snapshots).map(|s3| shared(S3Sink(Some(s3.clone())))));
        sinks.extend(sns.iter().map(|topic| shared(SnsSink(topic.clone()))));
        // A route has its clips only where one of the two stores takes them.
        if routes.iter().any(|route| route.clip.is_some()) {
            sinks.push(shared(ClipSink {
                s3: s3.clone().filter(|_| clips.to_s3),
                local_dir: local_dir.clone().filter(|_| clips.to_local),
                probes_bucket: !has_snapshots,
            }));
        }
        sinks
    }

    fn leftover(&self, name: &str) -> Option<Arc<dyn Sink>> {
        let ttl_days = self.ddb.as_ref().and_then(|ddb| ddb.ttl_days);
        let kinesis = || KinesisSink::from_name(name).map(shared);
        let dynamodb = || DynamoDbSink::from_name(name, ttl_days).map(shared);
        let s3 = || S3Sink::from_name(name, self.s3.as_ref()).map(shared);
        // The names of the others are not enough to deliver: `local` and `clips` have no folder in them, and `sns/NAME` no ARN.
        kinesis().or_else(dynamodb).or_else(s3)
    }

    fn snapshots(&self) -> Option<SnapshotSettings> {
        let bucket = self.s3.as_ref();
        let bucket = bucket.map(|s3| BucketFolder { bucket: s3.bucket.clone(), prefix: s3.prefix.clone() });
        let encoding = self.snapshots?;
        Some(SnapshotSettings { encoding, local: self.local_dir.is_some(), bucket })
    }
}

fn shared(sink: impl Sink + 'static) -> Arc<dyn Sink> {
    Arc::new(sink)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_local_sink_is_required_unless_workers_share_the_cameras() {
        for local_is_best_effort in [false, true] {
            let local_dir = Some("events".into());
            let spec = PublishSpec { local_dir, local_is_best_effort, ..PublishSpec::default() };
            let [local] = &SinkRegistry::sinks(&spec, &[])[..] else { panic!("one sink") };
            assert_eq!((local.name().as_str(), local.is_required()), ("local", !local_is_best_effort));
        }
    }

    #[test]
    fn names_in_the_outbox_are_read_again() {
        let spec = PublishSpec::default();
        for name in ["kds/events", "dynamodb/records", "s3"] {
            assert_eq!(spec.leftover(name).map(|sink| sink.name()).as_deref(), Some(name));
        }
        for name in ["local", "kds", "S3", "sqs/events", "clips"] {
            assert!(spec.leftover(name).is_none(), "{name}: nothing knows its destination");
        }
    }
}
