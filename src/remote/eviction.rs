//! Eviction from the cache folder, and the check of write access to it.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::process::geteuid;

use crate::telemetry::remote::CachedModelRemoved;

/// Content that has not been used for this long is removed.
const MAX_UNUSED: Duration = Duration::from_secs(30 * 24 * 3600);
/// Content used within this time is kept beyond the size limit too: a starting process may still be loading it.
const MIN_UNUSED: Duration = Duration::from_secs(3600);

/// A model in the cache folder.
struct CachedModel {
    path: PathBuf,
    bytes: u64,
    /// Time since it was used.
    unused: Duration,
}

/// Records that content is used now, in the modification time of its file. Returns the path.
pub(super) fn mark_used(path: PathBuf) -> PathBuf {
    let noted = File::open(&path).and_then(|file| file.set_modified(SystemTime::now()));
    // The time of another user's file cannot be set. It may then be removed too early, and is fetched again.
    let _unnoted = noted.is_err();
    path
}

/// Removes models not used for [`MAX_UNUSED`], and the least recently used beyond `max_bytes`, but never `newest`.
///
/// A file that cannot be removed stays.
pub(super) fn evict(folder: &Path, newest: &Path, max_bytes: u64) {
    let mut models: Vec<CachedModel> = cached_models(folder).collect();
    // The most recently used come first, so those at the end exceed the limit.
    models.sort_by_key(|file| file.unused);
    let mut total = 0;
    for file in models {
        total += file.bytes;
        let removable = file.path != newest && file.unused >= MIN_UNUSED;
        let due = file.unused >= MAX_UNUSED || total > max_bytes;
        if removable && due && fs::remove_file(&file.path).is_ok() {
            CachedModelRemoved { path: &file.path, bytes: file.bytes }.emit();
            total -= file.bytes;
        }
    }
}

fn cached_models(folder: &Path) -> impl Iterator<Item = CachedModel> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let (path, about) = (entry.path(), entry.metadata().ok()?);
        let is_model = about.is_file() && path.extension().is_some_and(|end| end == "onnx");
        // A time in the future, after a change of the clock, counts as used now.
        let unused = about.modified().ok()?.elapsed().unwrap_or_default();
        is_model.then_some(CachedModel { path, bytes: about.len(), unused })
    })
}

/// Returns the reason why other users could replace models in the folder, or `None` if they cannot.
///
/// A folder that does not exist has no reason.
pub(super) fn write_access_of_others(folder: &Path) -> Option<&'static str> {
    const WRITABLE_BY_OTHERS: u32 = 0o002;
    let about = fs::metadata(folder).ok()?;
    // Root can replace every file anyway, so a folder of root is as safe as an own one.
    let own = [geteuid().as_raw(), 0];
    if !own.contains(&about.uid()) {
        return Some("it belongs to another user");
    }
    (about.mode() & WRITABLE_BY_OTHERS != 0).then_some("every user may write there")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const DAY: u64 = 24 * 3600;

    /// Returns the names of the files that stay, given (name, bytes, days without use) of each.
    fn left(files: &[(&str, usize, u64)], max_bytes: u64) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes, days) in files {
            let path = folder.path().join(name);
            fs::write(&path, vec![0; *bytes]).unwrap();
            let used = SystemTime::now() - Duration::from_secs(days * DAY);
            File::options().write(true).open(&path).unwrap().set_modified(used).unwrap();
        }
        evict(folder.path(), &folder.path().join("new.onnx"), max_bytes);
        let entries = fs::read_dir(folder.path()).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn evicts_unused_models_and_the_oldest_beyond_the_limit() {
        for (name, files, max_bytes, expected) in [
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
            assert_eq!(left(&files, max_bytes), expected, "{name}");
        }
    }

    #[test]
    fn folders_where_others_may_write() {
        let folder = tempfile::tempdir().unwrap();
        let rights = |mode| {
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(mode)).unwrap();
            write_access_of_others(folder.path())
        };
        assert_eq!(rights(0o755), None);
        assert_eq!(rights(0o777), Some("every user may write there"));
        assert_eq!(write_access_of_others(&folder.path().join("none")), None);
    }
}
