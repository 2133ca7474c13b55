//! Eviction from the cache folder, and the check that no one else may write there.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::process::geteuid;

use crate::telemetry::remote::CachedModelRemoved;

/// Content that was not used for this time is removed.
const UNUSED: Duration = Duration::from_secs(30 * 24 * 3600);
/// Content that was used within this time stays however much there is: a start may still be loading it.
const IN_USE: Duration = Duration::from_secs(3600);

/// Content in the folder.
struct Kept {
    path: PathBuf,
    bytes: u64,
    /// Time since it was used.
    unused: Duration,
}

/// Notes that content is used now, by the time of its file.
pub(super) fn used(path: PathBuf) -> PathBuf {
    let noted = File::open(&path).and_then(|file| file.set_modified(SystemTime::now()));
    // Of another user's file the time cannot be set; it may then go before its time, and is fetched again.
    let _unnoted = noted.is_err();
    path
}

/// Removes content that was not used for [`UNUSED`], and what was not used for longest where there is more than
/// `most_bytes`; never `newest`. What cannot be removed stays.
pub(super) fn tidy(folder: &Path, newest: &Path, most_bytes: u64) {
    let mut kept: Vec<Kept> = content(folder).collect();
    kept.sort_by_key(|file| file.unused);
    let mut total = 0;
    for file in kept {
        total += file.bytes;
        let may_go = file.path != newest && file.unused >= IN_USE;
        if may_go && (file.unused >= UNUSED || total > most_bytes) && fs::remove_file(&file.path).is_ok() {
            CachedModelRemoved { path: &file.path, bytes: file.bytes }.emit();
            total -= file.bytes;
        }
    }
}

fn content(folder: &Path) -> impl Iterator<Item = Kept> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let (path, about) = (entry.path(), entry.metadata().ok()?);
        let is_content = about.is_file() && path.extension().is_some_and(|end| end == "onnx");
        let unused = about.modified().ok()?.elapsed().unwrap_or_default();
        is_content.then_some(Kept { path, bytes: about.len(), unused })
    })
}

/// Returns why others could put another model into the folder; `None`: they cannot, or it is not there.
pub(super) fn others_rights(folder: &Path) -> Option<&'static str> {
    const ANYBODY_MAY_WRITE: u32 = 0o002;
    let about = fs::metadata(folder).ok()?;
    let own = [geteuid().as_raw(), 0];
    if !own.contains(&about.uid()) {
        return Some("it belongs to another user");
    }
    (about.mode() & ANYBODY_MAY_WRITE != 0).then_some("every user may write there")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const DAY: u64 = 24 * 3600;

    /// Names of the files that stay of those with these bytes and days without use.
    fn left(files: &[(&str, usize, u64)], most_bytes: u64) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes, days) in files {
            let path = folder.path().join(name);
            fs::write(&path, vec![0; *bytes]).unwrap();
            let used = SystemTime::now() - Duration::from_secs(days * DAY);
            File::options().write(true).open(&path).unwrap().set_modified(used).unwrap();
        }
        tidy(folder.path(), &folder.path().join("new.onnx"), most_bytes);
        let entries = fs::read_dir(folder.path()).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn what_stays_by_table() {
        for (name, files, most_bytes, expected) in [
            ("room for all", vec![("new.onnx", 10, 0), ("a.onnx", 10, 3)], 20, vec!["a.onnx", "new.onnx"]),
            (
                "the oldest goes",
                vec![("new.onnx", 10, 0), ("a.onnx", 10, 3), ("b.onnx", 10, 4)],
                20,
                vec!["a.onnx", "new.onnx"],
            ),
            (
                "a large old one makes room for small older ones",
                vec![("new.onnx", 10, 0), ("a.onnx", 90, 3), ("b.onnx", 10, 4)],
                20,
                vec!["b.onnx", "new.onnx"],
            ),
            ("long unused", vec![("new.onnx", 10, 0), ("a.onnx", 1, 31)], 100, vec!["new.onnx"]),
            ("in use", vec![("new.onnx", 10, 0), ("a.onnx", 10, 0)], 5, vec!["a.onnx", "new.onnx"]),
            ("no content", vec![("new.onnx", 10, 0), ("notes.txt", 9, 99)], 5, vec!["new.onnx", "notes.txt"]),
        ] {
            assert_eq!(left(&files, most_bytes), expected, "{name}");
        }
    }

    #[test]
    fn folders_where_others_may_write() {
        let folder = tempfile::tempdir().unwrap();
        let rights = |mode| {
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(mode)).unwrap();
            others_rights(folder.path())
        };
        assert_eq!(rights(0o755), None);
        assert_eq!(rights(0o777), Some("every user may write there"));
        assert_eq!(others_rights(&folder.path().join("none")), None);
    }
}
