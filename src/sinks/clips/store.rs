//! The places where clips are stored: a bucket, a local folder, or both.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use tokio::task::spawn_blocking;

use crate::aws::AwsFailure;
use crate::base::{lock, make_private_folder, private_file};
use crate::clips::{ClipObject, ClipOrder, Mp4Clip};
use crate::delivery::{Clients, OutboxRecord};
use crate::sinks::s3::{NEVER_VALID, RecordObject, Sse, put_object, resource};
use crate::snapshot::SnapshotFolder;

/// Limit on the time of an upload: a clip of 60 MB at 2 Mbit/s.
const UPLOAD_TIMEOUT: Duration = Duration::from_secs(240);

/// A number for each file of this process.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// The reason why a clip was not stored.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClipStoreError {
    /// The bucket refused it, or was not reached: the error code, and text with the remedy.
    #[error("{text}")]
    Bucket { code: String, text: String },
    /// The bucket can never take it.
    #[error("{0}")]
    Invalid(String),
    #[error("cannot write {what}: {source}; make room or fix the folder")]
    Disk { what: &'static str, source: io::Error },
}

/// The stores of clips. At least one is there.
#[derive(Debug)]
pub(super) struct ClipStore {
    bucket: Option<ClipBucketStore>,
    folder: Option<Arc<Mutex<SnapshotFolder>>>,
}

impl ClipStore {
    pub(super) fn new(bucket: Option<ClipBucketStore>, folder: Option<SnapshotFolder>) -> Self {
        Self { bucket, folder: folder.map(|folder| Arc::new(Mutex::new(folder))) }
    }

    /// Stores the clip at the places of its order.
    pub(super) async fn put(
        &self,
        record: &OutboxRecord,
        order: &ClipOrder,
        clip: &Arc<Mp4Clip>,
    ) -> Result<(), ClipStoreError> {
        if let Some((bucket, object)) = self.bucket.as_ref().zip(order.s3.as_ref()) {
            bucket.put(record, object, clip).await?;
        }
        // Last, so that an upload that fails does not write the file again at each attempt.
        let Some((folder, path)) = self.folder.clone().zip(order.local.clone()) else { return Ok(()) };
        let clip = Arc::clone(clip);
        let save = move || lock(&folder).save_with(&path, clip.bytes(), |out| clip.write_to(out));
        let saved = spawn_blocking(save).await.map_err(io::Error::other).flatten();
        saved.map_err(|source| ClipStoreError::Disk { what: "clips/ in publishers.local_dir", source })
    }
}

/// The bucket of snapshots as a store of clips.
#[derive(Debug)]
pub(super) struct ClipBucketStore {
    client: Client,
    sse: Sse,
    /// The folder of the files that are being uploaded.
    files: PathBuf,
}

impl ClipBucketStore {
    pub(super) fn new(clients: &Clients, sse: Sse, files: PathBuf) -> Self {
        Self { client: clients.s3_within(UPLOAD_TIMEOUT), sse, files }
    }

    async fn put(
        &self,
        record: &OutboxRecord,
        object: &ClipObject,
        clip: &Arc<Mp4Clip>,
    ) -> Result<(), ClipStoreError> {
        let disk = |source| ClipStoreError::Disk { what: "a clip in state.dir", source };
        let (files, clip) = (self.files.clone(), Arc::clone(clip));
        let written = spawn_blocking(move || UploadFile::write(&files, &clip)).await;
        let file = written.map_err(io::Error::other).flatten().map_err(disk)?;
        let body = ByteStream::from_path(&file.0).await;
        let body = body.map_err(|error| disk(io::Error::other(error)))?;
        let ClipObject { bucket, key } = object;
        let put = RecordObject { bucket, key, content_type: "video/mp4" };
        let put = put_object((&self.client, &self.sse), record, &put, body).await;
        put.map_err(|failure| refused(object, failure))
    }
}

fn refused(object: &ClipObject, failure: AwsFailure) -> ClipStoreError {
    let ClipObject { bucket, key } = object;
    if NEVER_VALID.contains(&failure.code.as_str()) {
        let AwsFailure { code, text, .. } = &failure;
        return ClipStoreError::Invalid(format!("s3://{bucket}/{key}: {code}: {text}"));
    }
    ClipStoreError::Bucket { text: resource(bucket).explain(&failure), code: failure.code }
}

/// A clip as a file with a name, for an upload; removed when dropped.
#[derive(Debug)]
struct UploadFile(PathBuf);

impl UploadFile {
    fn write(folder: &Path, clip: &Mp4Clip) -> io::Result<Self> {
        make_private_folder(folder)?;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let file = Self(folder.join(format!("upload-{number}.mp4")));
        // One left by a process that was killed is replaced: the folder is that of one process at a time.
        clip.write_to(&mut private_file().create(true).truncate(true).write(true).open(&file.0)?)?;
        Ok(file)
    }
}

impl Drop for UploadFile {
    fn drop(&mut self) {
        // A file that cannot be removed is replaced after a restart.
        let _removed = fs::remove_file(&self.0);
    }
}
