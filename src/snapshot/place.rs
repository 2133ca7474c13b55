//! Where an event's snapshot goes.

use serde::{Deserialize, Serialize};

use crate::delivery::{PublishSpec, Route};
use crate::render::SnapshotFormat;

/// Characters of the event's id in a snapshot's name.
const ID_CHARS: usize = 12;
/// The folder of snapshots in the local sink's.
pub(crate) const SNAPSHOTS_FOLDER: &str = "snapshots";

/// The places of the snapshot of an event; at least one of them is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SnapshotPlace {
    /// Path relative to the local sink's folder.
    pub(crate) local: Option<String>,
    /// In S3.
    pub(crate) s3: Option<S3Place>,
}

/// Keys in the bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct S3Place {
    pub(crate) bucket: String,
    /// The annotated picture.
    pub(crate) key: String,
    /// The picture as it is; `None` where there was no room for it, and of events that an earlier version took in.
    #[serde(default)]
    pub(crate) clean_key: Option<String>,
    /// The box as a picture of its own; `None` where none is wanted or there was no room for it.
    pub(crate) crop_key: Option<String>,
}

impl SnapshotPlace {
    /// The places that the configuration asks for; `None` where no snapshot is made.
    pub(crate) fn of(
        spec: &PublishSpec,
        route: &Route,
        camera: &str,
        event_id: &str,
        ts_ms: i64,
    ) -> Option<Self> {
        let extension = match spec.snapshots?.format {
            SnapshotFormat::Jpg => "jpg",
            SnapshotFormat::Png => "png",
        };
        let id = event_id.get(..ID_CHARS).unwrap_or(event_id);
        let stem = format!("{ts_ms}-{id}");
        let local =
            spec.local_dir.is_some().then(|| format!("{SNAPSHOTS_FOLDER}/{camera}/{stem}.{extension}"));
        let s3 = s3_place(spec, route, &stem, extension);
        (local.is_some() || s3.is_some()).then_some(Self { local, s3 })
    }

    /// What the event says: the place in S3, else the local one.
    pub(crate) fn url(&self) -> Option<String> {
        let s3 = self.s3.as_ref().map(|s3| format!("s3://{}/{}", s3.bucket, s3.key));
        s3.or_else(|| self.local.clone())
    }
}

fn s3_place(spec: &PublishSpec, route: &Route, stem: &str, extension: &str) -> Option<S3Place> {
    let (s3, snapshot) = (spec.s3.as_ref()?, route.snapshot.as_ref()?);
    let slash = if s3.prefix.is_empty() { "" } else { "/" };
    let base = format!("{}{slash}{}{stem}", s3.prefix, snapshot.prefix);
    Some(S3Place {
        bucket: s3.bucket.clone(),
        key: format!("{base}.{extension}"),
        clean_key: Some(format!("{base}_clean.{extension}")),
        crop_key: snapshot.upload_crops.then(|| format!("{base}_crop.{extension}")),
    })
}
