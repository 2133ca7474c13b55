//! Checks whether a folder can be written, also one that does not exist yet.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// The error of a folder that cannot be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unwritable {
    /// The folder, or its nearest existing ancestor.
    pub parent: PathBuf,
    /// The problem of that folder.
    pub why: String,
}

/// Returns the remedy for a file that cannot be written, by the text of the system's error; `None` where it is a matter of permissions
/// or of the path.
#[must_use]
pub fn storage_remedy(why: &str) -> Option<&'static str> {
    // The errors come as text, out of libraries that keep no error code. By number: EMFILE 24 and ENFILE 23, ENOSPC 28 and EDQUOT 122,
    // EROFS 30.
    match why {
        why if why.contains("os error 24)") || why.contains("os error 23)") => {
            Some("raise the limit of open files (ulimit -n; in a task definition ulimits, nofile)")
        }
        why if why.contains("os error 28)") || why.contains("os error 122)") => {
            Some("make room on the disk, or raise its quota")
        }
        why if why.contains("os error 30)") => Some("mount the disk for writing, or name another folder"),
        _ => None,
    }
}

/// Returns the folder, or its nearest existing ancestor.
#[must_use]
pub fn nearest(folder: &Path) -> &Path {
    let here = Path::new(".");
    // The last ancestor of a relative path is empty, and stands for the current folder.
    let named = |path| if path == Path::new("") { here } else { path };
    folder.ancestors().map(named).find(|path| path.exists()).unwrap_or(here)
}

/// Checks a folder by an empty file that is removed at once; creates no folder.
///
/// # Errors
/// The nearest existing ancestor is not a folder, or cannot be written.
pub fn can_be_written(folder: &Path) -> Result<(), Unwritable> {
    let parent = nearest(folder);
    let wrong = |why| Unwritable { parent: parent.to_owned(), why };
    if !parent.is_dir() {
        return Err(wrong("is not a folder".to_owned()));
    }
    write_in(parent).map_err(|error| wrong(format!("cannot be written: {error}")))
}

fn write_in(folder: &Path) -> io::Result<()> {
    static PROBES: AtomicU32 = AtomicU32::new(0);
    // Unique per process and call, so that two checks at once do not remove each other's file.
    let (process, probe) = (std::process::id(), PROBES.fetch_add(1, Ordering::Relaxed));
    let probe = folder.join(format!(".kvs-infer-check-{process}-{probe}"));
    File::create_new(&probe).and_then(|_made| fs::remove_file(&probe))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_or_a_full_disk_has_a_remedy_of_its_own() {
        for (number, words) in [(24, "limit of open files"), (28, "make room"), (30, "mount the disk")] {
            let why = format!("cannot be written: {}", io::Error::from_raw_os_error(number));
            assert!(storage_remedy(&why).is_some_and(|remedy| remedy.contains(words)), "{why}");
        }
        assert_eq!(storage_remedy(&io::Error::from_raw_os_error(13).to_string()), None);
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        can_be_written(&folder.path().join("not/yet")).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left behind");
        for (path, parent, said) in [
            (file.join("events"), file.as_path(), "is not a folder"),
            ("/proc/events".into(), Path::new("/proc"), "cannot be written"),
        ] {
            let error = can_be_written(&path).unwrap_err();
            assert!(error.parent == parent && error.why.contains(said), "{error:?}");
        }
    }
}
