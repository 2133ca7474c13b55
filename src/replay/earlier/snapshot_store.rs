//! The pictures of a run: files of its folder, or objects in S3.

use std::io::Read;
use std::path::{Component, Path, PathBuf};

use aws_sdk_s3::Client;

use crate::base::private_file;

/// Maximum size of a picture, bytes.
const MAX_PICTURE_BYTES: u64 = 32 << 20;

/// The pictures that the records of a run name.
pub(crate) struct SnapshotStore {
    /// The folder to which paths are relative.
    folder: Option<PathBuf>,
    s3: Option<Client>,
    /// `true` after an object could not be read: without access, each further call would wait in vain.
    is_s3_away: bool,
}

impl SnapshotStore {
    pub(crate) fn new(folder: Option<PathBuf>, s3: Option<Client>) -> Self {
        Self { folder, s3, is_s3_away: false }
    }

    /// Returns the file of a picture; `None`: it is not there, or cannot be read.
    pub(crate) async fn read(&mut self, place: &str) -> Option<Vec<u8>> {
        match place.strip_prefix("s3://") {
            Some(object) => self.read_object(object).await,
            None => read_file(self.folder.as_ref()?, place),
        }
    }

    async fn read_object(&mut self, object: &str) -> Option<Vec<u8>> {
        let client = self.s3.as_ref().filter(|_| !self.is_s3_away)?;
        let (bucket, key) = object.split_once('/')?;
        let Ok(answer) = client.get_object().bucket(bucket).key(key).send().await else {
            self.is_s3_away = true;
            return None;
        };
        let length = answer.content_length().and_then(|length| u64::try_from(length).ok())?;
        if length > MAX_PICTURE_BYTES {
            return None;
        }
        Some(answer.body.collect().await.ok()?.to_vec())
    }
}

/// Reads a file below the folder. The path comes from records, so it must not lead elsewhere.
fn read_file(folder: &Path, relative: &str) -> Option<Vec<u8>> {
    let path = Path::new(relative);
    if !path.components().all(|part| matches!(part, Component::Normal(_))) {
        return None;
    }
    // Without following a symbolic link.
    let file = private_file().read(true).open(folder.join(path)).ok()?;
    let about = file.metadata().ok()?;
    if !about.is_file() || about.len() > MAX_PICTURE_BYTES {
        return None;
    }
    let mut bytes = Vec::new();
    file.take(MAX_PICTURE_BYTES).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_files_of_the_folder_are_read() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("run");
        std::fs::create_dir_all(folder.join("snapshots")).unwrap();
        std::fs::write(folder.join("snapshots/1.jpg"), "picture").unwrap();
        std::fs::write(place.path().join("secret"), "secret").unwrap();
        std::os::unix::fs::symlink(place.path().join("secret"), folder.join("snapshots/2.jpg")).unwrap();
        let absolute = place.path().join("secret").display().to_string();
        let mut store = SnapshotStore::new(Some(folder), None);
        assert_eq!(store.read("snapshots/1.jpg").await.as_deref(), Some(&b"picture"[..]));
        for path in
            ["../secret", "snapshots/../../secret", &absolute, "snapshots/2.jpg", "snapshots", "", "s3://b/k"]
        {
            assert_eq!(store.read(path).await, None, "{path}");
        }
    }
}
