//! The folder of snapshots, with a limit on its size.

use std::collections::VecDeque;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::place::SNAPSHOTS_FOLDER;
use crate::base::{make_private_subfolder, private_file};

/// Limit on the pictures in the folder, bytes: the oldest are removed beyond it.
const MAX_BYTES: u64 = 1024 * 1024 * 1024;

/// The pictures under a folder, by age. Folders and files are private to their owner, and symbolic links are not followed.
#[derive(Debug)]
pub(crate) struct SnapshotFolder {
    root: PathBuf,
    max_bytes: u64,
    /// Paths and sizes, oldest first.
    files: VecDeque<(PathBuf, u64)>,
    bytes: u64,
}

impl SnapshotFolder {
    /// Opens `root/snapshots`. Pictures are saved by paths relative to `root`.
    pub(crate) fn open(root: &Path) -> io::Result<Self> {
        Self::with_limit(root, MAX_BYTES)
    }

    fn with_limit(root: &Path, max_bytes: u64) -> io::Result<Self> {
        let mut found = Vec::new();
        let top = root.join(SNAPSHOTS_FOLDER);
        make_private_subfolder(&top)?;
        for camera in fs::read_dir(&top)? {
            let camera = camera?;
            if camera.file_type()?.is_dir() {
                list(&camera.path(), &mut found)?;
            }
        }
        // By the time of writing, since names begin with media time, which a replay sets back.
        found.sort();
        let bytes = found.iter().map(|(_, _, bytes)| bytes).sum();
        let files = found.into_iter().map(|(_, path, bytes)| (path, bytes)).collect();
        Ok(Self { root: root.to_owned(), max_bytes, files, bytes })
    }

    /// Saves a picture completely or not at all, so that it survives a crash of the machine, and makes room for it.
    pub(crate) fn save(&mut self, relative: &str, file: &[u8]) -> io::Result<()> {
        let bytes = file.len() as u64;
        // Before the write, so that the folder never exceeds its limit.
        self.make_room(bytes);
        let path = self.root.join(relative);
        // For each picture: a person may delete the folder while the service runs.
        make_private_subfolder(&self.root.join(SNAPSHOTS_FOLDER))?;
        if let Some(parent) = path.parent() {
            make_private_subfolder(parent)?;
        }
        // Written under another name and renamed, so that no reader sees half a picture.
        let part = path.with_extension("part");
        if let Err(error) = write_synced(&part, file).and_then(|()| fs::rename(&part, &path)) {
            let _ = fs::remove_file(&part);
            return Err(error);
        }
        self.files.push_back((path, bytes));
        self.bytes += bytes;
        Ok(())
    }

    /// Removes the oldest files. A file that is gone or cannot be removed is no longer counted.
    fn make_room(&mut self, bytes: u64) {
        while self.bytes + bytes > self.max_bytes {
            let Some((oldest, freed)) = self.files.pop_front() else { break };
            let _ = fs::remove_file(oldest);
            self.bytes -= freed;
        }
    }
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = private_file().create(true).truncate(true).write(true).open(path)?;
    file.write_all(bytes)?;
    file.sync_data()
}

fn list(folder: &Path, found: &mut Vec<(SystemTime, PathBuf, u64)>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let about = entry.metadata()?;
        // A `.part` file that a crash left counts as well, and is removed in its turn.
        if about.is_file() {
            found.push((about.modified()?, entry.path(), about.len()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(root: &Path) -> Vec<String> {
        let folder = fs::read_dir(root.join("snapshots/front")).unwrap();
        let mut names: Vec<_> = folder.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn the_oldest_make_room_also_after_a_restart() {
        let root = tempfile::tempdir().unwrap();
        let mut folder = SnapshotFolder::with_limit(root.path(), 10).unwrap();
        for name in ["1", "2", "3"] {
            folder.save(&format!("snapshots/front/{name}.jpg"), b"four").unwrap();
        }
        assert_eq!(names(root.path()), ["2.jpg", "3.jpg"]);
        let mut folder = SnapshotFolder::with_limit(root.path(), 10).unwrap();
        folder.save("snapshots/front/4.jpg", b"four").unwrap();
        assert_eq!(names(root.path()), ["3.jpg", "4.jpg"]);
    }

    #[test]
    fn pictures_are_private_and_symbolic_links_are_not_followed() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let (root, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut folder = SnapshotFolder::with_limit(root.path(), 10).unwrap();
        folder.save("snapshots/front/1.jpg", b"four").unwrap();
        let mode = |path: &str| fs::metadata(root.path().join(path)).unwrap().permissions().mode() & 0o777;
        let modes = ["snapshots", "snapshots/front", "snapshots/front/1.jpg"].map(mode);
        assert_eq!(modes, [0o700, 0o700, 0o600]);
        symlink(elsewhere.path(), root.path().join("snapshots/back")).unwrap();
        let refused = folder.save("snapshots/back/1.jpg", b"four").unwrap_err().to_string();
        assert!(refused.contains("back is a symbolic link"), "{refused}");
        fs::remove_dir_all(root.path().join("snapshots")).unwrap();
        symlink(elsewhere.path(), root.path().join("snapshots")).unwrap();
        assert!(folder.save("snapshots/front/2.jpg", b"four").is_err());
        assert!(SnapshotFolder::with_limit(root.path(), 10).is_err());
        assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
    }
}
