//! A folder of pictures or clips, with a limit on its size.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::place::SNAPSHOTS_FOLDER;
use crate::base::{make_private_subfolder, private_file};
use crate::clips::CLIPS_FOLDER;

/// Limit on the pictures in the folder, bytes: the oldest are removed beyond it.
const MAX_BYTES: u64 = 1024 * 1024 * 1024;
/// Limit on the clips in their folder, bytes.
const MAX_CLIP_BYTES: u64 = 4 * MAX_BYTES;

/// The files under a folder, by age. Folders and files are private to their owner, and symbolic links are not followed.
#[derive(Debug)]
pub(crate) struct SnapshotFolder {
    root: PathBuf,
    /// Below the root; one folder per camera is in it.
    top: &'static str,
    max_bytes: u64,
    /// Paths and sizes, oldest first.
    files: VecDeque<(PathBuf, u64)>,
    bytes: u64,
}

impl SnapshotFolder {
    /// Opens `root/snapshots`. Pictures are saved by paths relative to `root`.
    pub(crate) fn open(root: &Path) -> io::Result<Self> {
        Self::with_limit(root, SNAPSHOTS_FOLDER, MAX_BYTES)
    }

    /// Opens `root/clips`. Clips are saved by paths relative to `root`.
    pub(crate) fn open_clips(root: &Path) -> io::Result<Self> {
        Self::with_limit(root, CLIPS_FOLDER, MAX_CLIP_BYTES)
    }

    fn with_limit(root: &Path, folder: &'static str, max_bytes: u64) -> io::Result<Self> {
        let mut found = Vec::new();
        let top = root.join(folder);
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
        Ok(Self { root: root.to_owned(), top: folder, max_bytes, files, bytes })
    }

    /// Saves a picture completely or not at all, so that it survives a crash of the machine, and makes room for it.
    pub(crate) fn save(&mut self, relative: &str, file: &[u8]) -> io::Result<()> {
        self.save_with(relative, file.len() as u64, |out| out.write_all(file))
    }

    /// Saves a file of `bytes` bytes, which `write` writes, with the conditions of [`Self::save`].
    pub(crate) fn save_with(
        &mut self,
        relative: &str,
        bytes: u64,
        write: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> io::Result<()> {
        // Before the write, so that the folder never exceeds its limit.
        self.make_room(bytes);
        let path = self.root.join(relative);
        // For each picture: a person may delete the folder while the service runs.
        make_private_subfolder(&self.root.join(self.top))?;
        if let Some(parent) = path.parent() {
            make_private_subfolder(parent)?;
        }
        // Written under another name and renamed, so that no reader sees half a picture.
        let part = path.with_extension("part");
        if let Err(error) = write_synced(&part, write).and_then(|()| fs::rename(&part, &path)) {
            let _ = fs::remove_file(&part);
            return Err(error);
        }
        // A file that was saved before, by an attempt that failed later, is replaced.
        let before = self.files.iter().position(|(known, _)| *known == path);
        let replaced = before.and_then(|index| self.files.remove(index));
        self.bytes -= replaced.map_or(0, |(_, bytes)| bytes);
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

fn write_synced(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let mut file = private_file().create(true).truncate(true).write(true).open(path)?;
    write(&mut file)?;
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
        let mut folder = SnapshotFolder::with_limit(root.path(), SNAPSHOTS_FOLDER, 10).unwrap();
        for name in ["1", "2", "3"] {
            folder.save(&format!("snapshots/front/{name}.jpg"), b"four").unwrap();
        }
        assert_eq!(names(root.path()), ["2.jpg", "3.jpg"]);
        let mut folder = SnapshotFolder::with_limit(root.path(), SNAPSHOTS_FOLDER, 10).unwrap();
        folder.save("snapshots/front/4.jpg", b"four").unwrap();
        assert_eq!(names(root.path()), ["3.jpg", "4.jpg"]);
    }

    #[test]
    fn pictures_are_private_and_symbolic_links_are_not_followed() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let (root, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut folder = SnapshotFolder::with_limit(root.path(), SNAPSHOTS_FOLDER, 10).unwrap();
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
        assert!(SnapshotFolder::with_limit(root.path(), SNAPSHOTS_FOLDER, 10).is_err());
        assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
    }
}
