//! The pictures of records: from the local sink's folder, else from S3.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Handle;

use super::record_files::{ObjectError, ObjectRequest, RecordBucket, is_name, open_below};
use super::summary::StoredEvent;
use super::{HistoryError, PictureMissing, ReadTurn};
use crate::delivery::Clients;
use crate::sinks::PublishSpec;
use crate::snapshot::SNAPSHOTS_FOLDER;

/// Limit on a picture, bytes: a PNG of 8 megapixels has about 20 MB.
const MAX_PICTURE_BYTES: usize = 32 << 20;
/// Limit on the time for S3 to send a picture.
const S3_LIMIT: Duration = Duration::from_secs(8);

/// A picture of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PictureKind {
    /// The frame with all boxes.
    Snapshot,
    /// The frame without boxes.
    Clean,
    /// The record's box.
    Crop,
}

/// An encoded picture.
#[derive(Clone, Debug)]
pub struct EventPicture {
    /// `image/jpeg` or `image/png`.
    pub content_type: &'static str,
    /// The file.
    pub bytes: Bytes,
}

/// The stores of pictures.
pub(super) struct PictureStore {
    folder: Option<PathBuf>,
    bucket: Option<RecordBucket>,
}

/// The place of a record's snapshot, by the address in the record.
#[derive(Debug, PartialEq, Eq)]
struct PicturePlace<'a> {
    /// The folder of the camera.
    camera: &'a str,
    /// The file in it.
    file: &'a str,
    /// Bucket and key, where the picture is in S3 too.
    object: Option<(&'a str, &'a str)>,
}

impl FromStr for PictureKind {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "snapshot" => Ok(Self::Snapshot),
            "clean" => Ok(Self::Clean),
            "crop" => Ok(Self::Crop),
            _ => Err(()),
        }
    }
}

impl PictureKind {
    /// Returns the name in queries.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Snapshot => "snapshot",
            Self::Clean => "clean",
            Self::Crop => "crop",
        }
    }

    /// Returns the part between the stem and the extension of the picture's key.
    fn suffix(self) -> &'static str {
        match self {
            Self::Snapshot => "",
            Self::Clean => "_clean",
            Self::Crop => "_crop",
        }
    }
}

impl PictureStore {
    pub(super) fn new(publish: &PublishSpec, clients: &Clients, runtime: Handle) -> Self {
        let bucket = RecordBucket::new(publish, clients, runtime);
        Self { folder: publish.local_dir.clone(), bucket }
    }

    /// Returns a picture of a record.
    pub(super) async fn picture(
        &self,
        record: &StoredEvent,
        kind: PictureKind,
        turn: &ReadTurn,
    ) -> Result<EventPicture, PictureMissing> {
        let address = record.payload.extras.snapshot.as_deref().ok_or_else(|| {
            missing(
                "the record has no snapshot: snapshots are off, or there was no room for it in the outbox",
            )
        })?;
        let place = place_of(address, record.camera())
            .ok_or_else(|| missing("the record's snapshot has an address that this version does not know"))?;
        let content_type = content_type(place.file)
            .ok_or_else(|| missing("the record's snapshot is neither a JPEG nor a PNG"))?;
        let bytes = self.bytes(&place, kind, turn).await?;
        Ok(EventPicture { content_type, bytes })
    }

    async fn bytes(
        &self,
        place: &PicturePlace<'_>,
        kind: PictureKind,
        turn: &ReadTurn,
    ) -> Result<Bytes, PictureMissing> {
        // The folder keeps the annotated picture only.
        let local = self.folder.as_deref().filter(|_| kind == PictureKind::Snapshot);
        let local_reason = match local {
            Some(folder) => match read_off_thread(folder, place, turn).await? {
                Some(bytes) => return Ok(bytes),
                None => Some(
                    "it is not in the snapshots folder any more: the folder keeps 1 GiB, and the oldest pictures are deleted",
                ),
            },
            None => None,
        };
        match (&self.bucket, place.object) {
            (Some(bucket), Some(object)) => read_object(bucket, object, kind, turn).await,
            (_, None) if kind != PictureKind::Snapshot => Err(missing(
                "the local sink keeps snapshots only: pictures without boxes and crops are in S3, with publishers.s3_bucket",
            )),
            (None, Some(_)) => Err(missing(
                local_reason.unwrap_or("it is in S3, and no bucket is configured: set publishers.s3_bucket"),
            )),
            (_, None) => Err(missing(
                local_reason
                    .unwrap_or("it is in a local folder, and none is configured: set publishers.local_dir"),
            )),
        }
    }
}

async fn read_object(
    from: &RecordBucket,
    (bucket, key): (&str, &str),
    kind: PictureKind,
    turn: &ReadTurn,
) -> Result<Bytes, PictureMissing> {
    if let Some(why) = from.refusal(bucket, key) {
        return Err(missing(&why));
    }
    let key = key_of(key, kind);
    let request = ObjectRequest {
        key: key.clone(),
        range: None,
        etag: None,
        max_bytes: MAX_PICTURE_BYTES,
        limit: S3_LIMIT,
    };
    match from.get(request, Arc::clone(turn)).await {
        Ok(object) => Ok(object.bytes),
        Err(ObjectError::NoSuchKey) => Err(missing(&format!(
            "S3 has no object {key}: it is not uploaded yet, was deleted, or was never made \
             (pictures without boxes and crops only where there was room, crops with upload_crops)"
        ))),
        Err(ObjectError::Failed(failure)) => Err(HistoryError::Aws(from.explain(&failure)).into()),
        Err(ObjectError::Stopped(why)) => Err(HistoryError::Stopped(why).into()),
    }
}

fn missing(why: &str) -> PictureMissing {
    PictureMissing::NotFound(format!("no picture: {why}"))
}

/// Returns the place that an address names; `None`: it is of neither known form, or a path that leaves the folder.
fn place_of<'a>(address: &'a str, camera: &'a str) -> Option<PicturePlace<'a>> {
    if let Some(object) = address.strip_prefix("s3://") {
        let (bucket, key) = object.split_once('/')?;
        let (_, file) = key.rsplit_once('/').unwrap_or(("", key));
        let is_plain = is_name(file) && is_name(camera);
        return is_plain.then_some(PicturePlace { camera, file, object: Some((bucket, key)) });
    }
    let mut parts = address.split('/');
    let (top, camera, file) = (parts.next()?, parts.next()?, parts.next()?);
    let is_plain = top == SNAPSHOTS_FOLDER && is_name(camera) && is_name(file) && parts.next().is_none();
    is_plain.then_some(PicturePlace { camera, file, object: None })
}

fn content_type(file: &str) -> Option<&'static str> {
    match file.rsplit_once('.')?.1 {
        "jpg" => Some("image/jpeg"),
        "png" => Some("image/png"),
        _ => None,
    }
}

/// Returns the key of a picture, by the key of the annotated one.
fn key_of(key: &str, kind: PictureKind) -> String {
    let (stem, extension) = key.rsplit_once('.').unwrap_or((key, ""));
    format!("{stem}{}.{extension}", kind.suffix())
}

async fn read_off_thread(
    folder: &Path,
    place: &PicturePlace<'_>,
    turn: &ReadTurn,
) -> Result<Option<Bytes>, HistoryError> {
    let (folder, camera, file) = (folder.to_owned(), place.camera.to_owned(), place.file.to_owned());
    let turn = Arc::clone(turn);
    let read = move || {
        let _turn = turn;
        read_picture(&folder, &camera, &file)
    };
    let read = tokio::task::spawn_blocking(read).await;
    let read = read.map_err(|error| HistoryError::Stopped(error.to_string()))?;
    read.map_err(|error| HistoryError::Stopped(format!("the picture cannot be read: {error}")))
}

/// Reads a picture below the folder; `None`: it is not there.
fn read_picture(folder: &Path, camera: &str, file: &str) -> io::Result<Option<Bytes>> {
    let Some(opened) = open_below(folder, [SNAPSHOTS_FOLDER, camera, file])? else { return Ok(None) };
    let mut bytes = Vec::new();
    opened.take(MAX_PICTURE_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > MAX_PICTURE_BYTES {
        return Err(io::Error::other(format!("it has more than {MAX_PICTURE_BYTES} bytes")));
    }
    Ok(Some(bytes.into()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn addresses_by_table() {
        let local = |camera, file| Some(PicturePlace { camera, file, object: None });
        let s3 = |file, key| Some(PicturePlace { camera: "gate", file, object: Some(("b", key)) });
        let table = [
            ("snapshots/gate/1-a.jpg", local("gate", "1-a.jpg")),
            ("snapshots/yard/1-a.png", local("yard", "1-a.png")),
            ("s3://b/p/q/1-a.jpg", s3("1-a.jpg", "p/q/1-a.jpg")),
            ("s3://b/1-a.jpg", s3("1-a.jpg", "1-a.jpg")),
            ("", None),
            ("snapshots/gate/../../etc/passwd", None),
            ("snapshots/../events.jsonl", None),
            ("snapshots/gate/..", None),
            ("/etc/passwd", None),
            ("snapshots//a.jpg", None),
            ("snapshots/gate/.hidden", None),
            ("snapshots/gate/a\0.jpg", None),
            ("other/gate/a.jpg", None),
            ("s3://b", None),
            ("s3://b/p/..", None),
            ("https://x/y.jpg", None),
        ];
        for (address, place) in table {
            assert_eq!(place_of(address, "gate"), place, "{address:?}");
        }
        assert_eq!(place_of("s3://b/1.jpg", "../.."), None, "the camera of a record is no path either");
    }

    #[test]
    fn keys_of_the_other_pictures() {
        for (kind, key) in [
            (PictureKind::Snapshot, "p/1-a.jpg"),
            (PictureKind::Clean, "p/1-a_clean.jpg"),
            (PictureKind::Crop, "p/1-a_crop.jpg"),
        ] {
            assert_eq!(key_of("p/1-a.jpg", kind), key);
            assert_eq!(kind.as_str().parse(), Ok(kind));
        }
        assert_eq!("clip".parse::<PictureKind>(), Err(()));
    }

    #[test]
    fn nothing_outside_the_folder_is_read() {
        let (root, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let folder = root.path().join("snapshots/gate");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("1.jpg"), "picture").unwrap();
        fs::write(elsewhere.path().join("2.jpg"), "secret").unwrap();
        symlink(elsewhere.path().join("2.jpg"), folder.join("2.jpg")).unwrap();
        symlink(elsewhere.path(), root.path().join("snapshots/yard")).unwrap();
        fs::create_dir(folder.join("3.jpg")).unwrap();
        let read = |camera: &str, file: &str| read_picture(root.path(), camera, file);
        assert_eq!(read("gate", "1.jpg").unwrap().unwrap(), &b"picture"[..]);
        assert!(read("gate", "2.jpg").is_err(), "a link to a file");
        assert!(read("yard", "2.jpg").is_err(), "a link to a folder");
        assert_eq!(read("gate", "3.jpg").unwrap(), None, "a folder");
        assert_eq!(read("gate", "4.jpg").unwrap(), None, "none");
        assert_eq!(read("lawn", "1.jpg").unwrap(), None, "no camera");
    }
}
