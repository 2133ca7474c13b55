//! Whether a folder can be written, also one that is not there yet.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// Why a folder cannot be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unwritable {
    /// The folder, or the nearest one above it that is there.
    pub parent: PathBuf,
    /// What is wrong with that one.
    pub why: String,
}

/// Returns what to do about a file that cannot be written, by the system's words; `None`: it is a matter of rights or of the path.
#[must_use]
pub fn storage_remedy(why: &str) -> Option<&'static str> {
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

/// The folder, or the nearest of those above it that is there.
#[must_use]
pub fn nearest(folder: &Path) -> &Path {
    let here = Path::new(".");
    let named = |path| if path == Path::new("") { here } else { path };
    folder.ancestors().map(named).find(|path| path.exists()).unwrap_or(here)
}

/// Tries it with an empty file that is removed at once; makes no folder.
///
/// # Errors
/// The nearest folder that is there is no folder, or cannot be written.
pub fn can_be_written(folder: &Path) -> Result<(), Unwritable> {
    let parent = nearest(folder);
    let wrong = |why| Unwritable { parent: parent.to_owned(), why };
    if !parent.is_dir() {
        return Err(wrong("is no folder".to_owned()));
    }
    write_in(parent).map_err(|error| wrong(format!("cannot be written: {error}")))
}

fn write_in(folder: &Path) -> io::Result<()> {
    static PROBES: AtomicU32 = AtomicU32::new(0);
    let (process, probe) = (std::process::id(), PROBES.fetch_add(1, Ordering::Relaxed));
    let probe = folder.join(format!(".kvs-infer-check-{process}-{probe}"));
    File::create_new(&probe).and_then(|_made| fs::remove_file(&probe))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_or_a_full_disk_is_no_matter_of_rights() {
        for (number, words) in [(24, "limit of open files"), (28, "make room"), (30, "mount the disk")] {
            let why = format!("cannot be written: {}", io::Error::from_raw_os_error(number));
            assert!(storage_remedy(&why).is_some_and(|remedy| remedy.contains(words)), "{why}");
        }
        assert_eq!(storage_remedy(&io::Error::from_raw_os_error(13).to_string()), None);
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_told_of() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        can_be_written(&folder.path().join("not/yet")).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left behind");
        for (path, parent, told) in [
            (file.join("events"), file.as_path(), "is no folder"),
            ("/proc/events".into(), Path::new("/proc"), "cannot be written"),
        ] {
            let error = can_be_written(&path).unwrap_err();
            assert!(error.parent == parent && error.why.contains(told), "{error:?}");
        }
    }
}
