//! The places at which an event's pictures are stored.

use serde::{Deserialize, Serialize};

use crate::render::{SnapshotFormat, SnapshotSpec};

/// Characters of the event's id in a snapshot's name.
const ID_CHARS: usize = 12;
/// The folder of snapshots in the local sink's folder.
pub(crate) const SNAPSHOTS_FOLDER: &str = "snapshots";

/// The encoding of snapshots, and the stores that take them.
#[derive(Clone, Debug)]
pub(crate) struct SnapshotSettings {
    pub(crate) encoding: SnapshotSpec,
    /// `true`: a local sink stores them.
    pub(crate) local: bool,
    /// The place in S3, where one is configured.
    pub(crate) bucket: Option<BucketFolder>,
}

/// A bucket, and the first part of every key in it.
#[derive(Clone, Debug)]
pub(crate) struct BucketFolder {
    pub(crate) bucket: String,
    /// Without a slash at its ends.
    pub(crate) prefix: String,
}

/// A camera's snapshots in S3.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SnapshotRoute {
    /// Between the sink's prefix and the file's name, `${camera_id}` expanded.
    pub prefix: String,
    /// `true`: boxes are uploaded as pictures of their own.
    pub upload_crops: bool,
}

/// The places of an event's pictures; at least one of them is set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SnapshotPlace {
    /// Path relative to the local sink's folder.
    pub(crate) local: Option<String>,
    /// Keys in S3.
    pub(crate) s3: Option<S3Place>,
}

/// Keys in the bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct S3Place {
    pub(crate) bucket: String,
    /// Key of the annotated picture.
    pub(crate) key: String,
    /// Key of the picture without boxes; `None` where there was no room for it, and in records of earlier versions.
    #[serde(default)]
    pub(crate) clean_key: Option<String>,
    /// Key of the box as a picture of its own; `None` where none is wanted or there was no room for it.
    pub(crate) crop_key: Option<String>,
}

impl S3Place {
    fn of(folder: &BucketFolder, route: &SnapshotRoute, stem: &str, extension: &str) -> Self {
        // A key that begins with a slash has a first folder without a name.
        let slash = if folder.prefix.is_empty() { "" } else { "/" };
        let base = format!("{}{slash}{}{stem}", folder.prefix, route.prefix);
        Self {
            bucket: folder.bucket.clone(),
            key: format!("{base}.{extension}"),
            clean_key: Some(format!("{base}_clean.{extension}")),
            crop_key: route.upload_crops.then(|| format!("{base}_crop.{extension}")),
        }
    }
}

impl SnapshotPlace {
    /// Returns the places that the configuration asks for; `None` where no store takes the picture.
    pub(crate) fn of(
        settings: &SnapshotSettings,
        route: Option<&SnapshotRoute>,
        camera: &str,
        event_id: &str,
        ts_ms: i64,
    ) -> Option<Self> {
        let extension = match settings.encoding.format {
            SnapshotFormat::Jpg => "jpg",
            SnapshotFormat::Png => "png",
        };
        // Without the id two events of one frame would share a file.
        let id = event_id.get(..ID_CHARS).unwrap_or(event_id);
        // Media time first, so that a listing of the folder or the bucket is in its order.
        let stem = format!("{ts_ms}-{id}");
        let local = settings.local.then(|| format!("{SNAPSHOTS_FOLDER}/{camera}/{stem}.{extension}"));
        let s3 = settings.bucket.as_ref().zip(route);
        let s3 = s3.map(|(folder, route)| S3Place::of(folder, route, &stem, extension));
        (local.is_some() || s3.is_some()).then_some(Self { local, s3 })
    }

    /// Returns the address that the event names: the place in S3, else the local path.
    pub(crate) fn url(&self) -> Option<String> {
        let s3 = self.s3.as_ref().map(|s3| format!("s3://{}/{}", s3.bucket, s3.key));
        s3.or_else(|| self.local.clone())
    }
}
