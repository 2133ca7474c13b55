//! The clips that the sink `clips` stored, by the addresses in end records: from the local sink's folder, else from S3.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;

use super::record_files::{ObjectError, ObjectPart, ObjectRequest, RecordBucket, is_name, open_below};
use crate::aws::AwsFailure;
use crate::clips::{CLIPS_FOLDER, ClipTimes, IncidentSightings, TIMES_BYTES, is_clip_of};
use crate::delivery::Clients;
use crate::sinks::PublishSpec;

/// Bytes that are read from a file at a time.
const FILE_PART_BYTES: usize = 128 << 10;
/// Bytes that are read from S3 at a time: each part is a call.
const OBJECT_PART_BYTES: usize = 512 << 10;
/// Calls of S3 at a time. Further ones wait, at most one per connection of HTTP.
const MAX_CALLS: usize = 4;
/// Limit on the time for S3 to find a clip: the archive was asked before, and the client waits for both.
const FIND_LIMIT: Duration = Duration::from_secs(4);
/// Limit on the time for S3 to send a part of a clip.
const PART_LIMIT: Duration = Duration::from_secs(8);

/// The stores of clips, read by their addresses. Clones share them.
#[derive(Clone)]
pub struct StoredClips {
    folder: Option<PathBuf>,
    bucket: Option<RecordBucket>,
    calls: Arc<Semaphore>,
}

/// The reason why a stored clip cannot be read. The texts are for a person.
#[derive(Debug, thiserror::Error)]
pub enum StoredClipError {
    /// There is none.
    #[error("{0}")]
    Absent(String),
    /// The role is not authorized.
    #[error("{0}")]
    Denied(String),
    /// S3 does not answer, or not as it should.
    #[error("{0}")]
    Unavailable(String),
    /// The local folder cannot be read.
    #[error("cannot read clips/ in publishers.local_dir: {0}; make it readable")]
    Disk(io::Error),
}

/// A stored clip, of which nothing but its end has been read.
pub struct StoredClip {
    bytes: u64,
    etag: String,
    times: Option<ClipTimes>,
    content: ClipContent,
}

enum ClipContent {
    File(Arc<File>),
    Object { bucket: RecordBucket, key: String, calls: Arc<Semaphore> },
}

/// The place of a clip, by the address in its record.
#[derive(Debug, PartialEq, Eq)]
struct ClipPlace<'a> {
    /// The file in the camera's folder.
    file: &'a str,
    /// Bucket and key, where the clip is in S3 too.
    object: Option<(&'a str, &'a str)>,
}

impl StoredClips {
    /// Returns the stores of the configuration, of which S3 is called on `runtime`. Nothing is read yet.
    #[must_use]
    pub fn new(publish: &PublishSpec, clients: &Clients, runtime: Handle) -> Self {
        let bucket = RecordBucket::new(publish, clients, runtime);
        Self { folder: publish.local_dir.clone(), bucket, calls: Arc::new(Semaphore::new(MAX_CALLS)) }
    }

    /// Returns the stored clip of an incident.
    ///
    /// # Errors
    /// There is none, or the stores cannot be read.
    pub async fn find(
        &self,
        incident: &str,
        sightings: &IncidentSightings,
    ) -> Result<StoredClip, StoredClipError> {
        let address = sightings.clip.as_deref().ok_or_else(|| {
            absent("no clip of the incident is stored: clips.to_s3 and clips.to_local keep the video of later ones")
        })?;
        let camera = sightings.camera_id.as_str();
        let place = place_of(address, incident, camera).ok_or_else(|| {
            absent("its record names a clip with an address that this version does not know")
        })?;
        if let Some(folder) = &self.folder
            && let Some(clip) = open_file(folder, camera, place.file).await?
        {
            return Ok(clip);
        }
        match (&self.bucket, place.object) {
            (Some(bucket), Some(object)) => self.find_object(bucket, object).await,
            (None, Some(_)) => {
                Err(absent("its clip is in S3, and no bucket is configured: set publishers.s3_bucket"))
            }
            (_, None) if self.folder.is_none() => {
                Err(absent("its clip is in a local folder, and none is configured: set publishers.local_dir"))
            }
            (_, None) => Err(absent(
                "its clip is not in clips/ of publishers.local_dir: it is not stored yet, could not be made, or was deleted, as the \
                 oldest are beyond 4 GiB",
            )),
        }
    }

    async fn find_object(
        &self,
        bucket: &RecordBucket,
        (name, key): (&str, &str),
    ) -> Result<StoredClip, StoredClipError> {
        if let Some(why) = bucket.refusal(name, key) {
            return Err(absent(&format!("its record names a clip that is not read: {why}")));
        }
        // The end has the times of the clip, and the answer its size.
        let request = ObjectRequest {
            key: key.to_owned(),
            range: Some(format!("bytes=-{TIMES_BYTES}")),
            etag: None,
            max_bytes: TIMES_BYTES,
            limit: FIND_LIMIT,
        };
        let turn =
            turn(&self.calls).await.map_err(|error| StoredClipError::Unavailable(error.to_string()))?;
        let end = bucket.get(request, turn).await.map_err(|error| explain(bucket, key, error))?;
        // A server like S3 may answer so, and S3 itself with InvalidRange.
        if end.bytes.is_empty() {
            return Err(empty(key));
        }
        let (bytes, etag) = size_and_etag(&end).ok_or_else(|| {
            StoredClipError::Unavailable(format!(
                "S3 answered without the size or the ETag of {key}; check the server behind AWS_ENDPOINT_URL_S3"
            ))
        })?;
        let calls = Arc::clone(&self.calls);
        let content = ClipContent::Object { bucket: bucket.clone(), key: key.to_owned(), calls };
        Ok(StoredClip { bytes, etag, times: ClipTimes::of_end(&end.bytes), content })
    }
}

impl StoredClip {
    /// Returns the size, bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns the strong entity tag (RFC 9110, 8.8.3), with its quotation marks.
    #[must_use]
    pub fn etag(&self) -> &str {
        &self.etag
    }

    /// Returns the media times of the clip; `None`: its file does not have them.
    #[must_use]
    pub fn times(&self) -> Option<ClipTimes> {
        self.times
    }

    /// Reads a part of up to `max` bytes from `offset` on, which is before the end.
    ///
    /// # Errors
    /// The store fails, or has another clip now.
    pub async fn read_at(&self, offset: u64, max: u64) -> io::Result<Bytes> {
        let part_bytes = match &self.content {
            ClipContent::File(_) => FILE_PART_BYTES,
            ClipContent::Object { .. } => OBJECT_PART_BYTES,
        };
        let bytes = usize::try_from(max.min(self.bytes.saturating_sub(offset))).unwrap_or(usize::MAX);
        let bytes = bytes.min(part_bytes);
        match &self.content {
            ClipContent::File(file) => {
                let file = Arc::clone(file);
                spawn_blocking(move || read_file(&file, offset, bytes)).await.map_err(io::Error::other)?
            }
            ClipContent::Object { bucket, key, calls } => {
                let request = ObjectRequest {
                    key: key.clone(),
                    range: Some(format!("bytes={offset}-{}", (offset + bytes as u64).saturating_sub(1))),
                    etag: Some(self.etag.clone()),
                    max_bytes: bytes,
                    limit: PART_LIMIT,
                };
                let turn = turn(calls).await?;
                let part = bucket.get(request, turn).await.map_err(|error| explain(bucket, key, error));
                whole(part.map_err(io::Error::other)?, bytes)
            }
        }
    }
}

async fn turn(calls: &Arc<Semaphore>) -> io::Result<OwnedSemaphorePermit> {
    Arc::clone(calls).acquire_owned().await.map_err(io::Error::other)
}

/// Returns the bytes of a part that has this many.
fn whole(part: ObjectPart, bytes: usize) -> io::Result<Bytes> {
    if part.bytes.len() == bytes { Ok(part.bytes) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// Returns the size of the object that a part belongs to, and its ETag.
fn size_and_etag(part: &ObjectPart) -> Option<(u64, String)> {
    // RFC 9110, 14.4: `bytes 0-39/1000`.
    let (_, bytes) = part.range.as_deref()?.rsplit_once('/')?;
    // It becomes a header of the answer.
    let is_header = |etag: &&String| etag.bytes().all(|byte| byte.is_ascii_graphic());
    let is_quoted = |etag: &&String| etag.len() > 2 && etag.starts_with('"') && etag.ends_with('"');
    Some((bytes.parse().ok()?, part.etag.as_ref().filter(is_header).filter(is_quoted)?.clone()))
}

fn explain(bucket: &RecordBucket, key: &str, error: ObjectError) -> StoredClipError {
    match error {
        ObjectError::NoSuchKey => absent(&format!(
            "S3 has no object {key}: its clip is not stored yet, could not be made, or was deleted"
        )),
        // RFC 9110, 15.5.17: of a file without bytes, no range can be sent.
        ObjectError::Failed(failure) if failure.code == "InvalidRange" => empty(key),
        ObjectError::Failed(failure) if is_denial(&failure) => {
            StoredClipError::Denied(bucket.explain(&failure))
        }
        ObjectError::Failed(failure) => StoredClipError::Unavailable(bucket.explain(&failure)),
        ObjectError::Stopped(why) => StoredClipError::Unavailable(why),
    }
}

fn is_denial(failure: &AwsFailure) -> bool {
    AwsFailure::is_denial(&failure.code) || matches!(failure.code.as_str(), "http_403" | "no_credentials")
}

fn empty(key: &str) -> StoredClipError {
    absent(&format!("the object {key} is empty"))
}

fn absent(why: &str) -> StoredClipError {
    StoredClipError::Absent(why.to_owned())
}

/// Returns the place that an address names; `None`: it is of neither known form, leaves the folder, or is not of this incident.
fn place_of<'a>(address: &'a str, incident: &str, camera: &str) -> Option<ClipPlace<'a>> {
    let is_own = |file: &str| is_name(camera) && is_name(file) && is_clip_of(incident, file);
    if let Some(object) = address.strip_prefix("s3://") {
        let (bucket, key) = object.split_once('/')?;
        let (_, file) = key.rsplit_once('/').unwrap_or(("", key));
        return is_own(file).then_some(ClipPlace { file, object: Some((bucket, key)) });
    }
    let (folder, file) = address.strip_prefix(CLIPS_FOLDER)?.strip_prefix('/')?.split_once('/')?;
    (folder == camera && is_own(file)).then_some(ClipPlace { file, object: None })
}

/// Opens a clip below the folder; `None`: it is not there.
async fn open_file(folder: &Path, camera: &str, file: &str) -> Result<Option<StoredClip>, StoredClipError> {
    let (folder, camera, file) = (folder.to_owned(), camera.to_owned(), file.to_owned());
    let open = move || open_clip(&folder, &camera, &file);
    spawn_blocking(open).await.map_err(io::Error::other).flatten().map_err(StoredClipError::Disk)
}

fn open_clip(folder: &Path, camera: &str, file: &str) -> io::Result<Option<StoredClip>> {
    let Some(file) = open_below(folder, [CLIPS_FOLDER, camera, file])? else { return Ok(None) };
    let about = file.metadata()?;
    let bytes = about.len();
    if bytes == 0 {
        return Ok(None);
    }
    // Clips are replaced by a rename and never changed, so another clip is another file.
    let etag = format!("\"{:x}-{:x}-{:x}-{bytes:x}\"", about.ino(), about.mtime(), about.mtime_nsec());
    let end_at = bytes.saturating_sub(TIMES_BYTES as u64);
    let end = read_file(&file, end_at, usize::try_from(bytes - end_at).unwrap_or(TIMES_BYTES))?;
    let times = ClipTimes::of_end(&end);
    Ok(Some(StoredClip { bytes, etag, times, content: ClipContent::File(Arc::new(file)) }))
}

fn read_file(file: &File, offset: u64, bytes: usize) -> io::Result<Bytes> {
    let mut part = vec![0; bytes];
    file.read_exact_at(&mut part, offset)?;
    Ok(part.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_clip_of_the_incident_has_a_place() {
        let incident = "0123456789abcdef";
        let file = "1000-0123456789ab.mp4";
        let s3 = |key| Some(ClipPlace { file, object: Some(("b", key)) });
        for (address, expected) in [
            ("clips/gate/1000-0123456789ab.mp4", Some(ClipPlace { file, object: None })),
            ("s3://b/p/gate/1000-0123456789ab.mp4", s3("p/gate/1000-0123456789ab.mp4")),
            ("s3://b/1000-0123456789ab.mp4", s3("1000-0123456789ab.mp4")),
            ("", None),
            ("clips/yard/1000-0123456789ab.mp4", None),
            ("clips/gate/1000-ba9876543210.mp4", None),
            ("clips/gate/../1000-0123456789ab.mp4", None),
            ("clips/gate/../../etc/1000-0123456789ab.mp4", None),
            ("clips//1000-0123456789ab.mp4", None),
            ("/clips/gate/1000-0123456789ab.mp4", None),
            ("snapshots/gate/1000-0123456789ab.mp4", None),
            ("s3://b", None),
            ("s3://b/p/gate/events.jsonl", None),
            ("s3://b/p/gate/1000-0123456789ab.mp4/", None),
            ("https://x/1000-0123456789ab.mp4", None),
        ] {
            assert_eq!(place_of(address, incident, "gate"), expected, "{address:?}");
        }
        let hostile = "clips/../1000-0123456789ab.mp4";
        assert_eq!(place_of(hostile, incident, ".."), None, "the camera of a record is no path either");
    }

    #[test]
    fn a_size_and_an_etag_that_fits_a_header_are_read_from_an_answer() {
        let part = |range: Option<&str>, etag: Option<&str>| {
            let (range, etag) = (range.map(str::to_owned), etag.map(str::to_owned));
            size_and_etag(&ObjectPart { bytes: Bytes::new(), etag, range })
        };
        let range = Some("bytes 60-99/100");
        assert_eq!(part(range, Some("\"ab-1\"")), Some((100, "\"ab-1\"".to_owned())));
        for (range, etag) in [
            (None, Some("\"ab\"")),
            (Some("bytes 60-99/*"), Some("\"ab\"")),
            (range, None),
            (range, Some("ab")),
            (range, Some("W/\"ab\"")),
            (range, Some("\"a\nb\"")),
        ] {
            assert_eq!(part(range, etag), None, "{range:?} {etag:?}");
        }
    }
}
