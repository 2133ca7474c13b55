//! The folders: can they be written, is there room, and is the outbox free?

use std::io;
use std::path::Path;

use crate::base::{Asks, Finding, Probe, Unwritable, can_be_written, nearest, storage_remedy};
use crate::delivery::StateSpec;

const MIB: u64 = 1024 * 1024;

/// The folder of the local sink.
pub(crate) fn local(folder: &Path) -> Probe {
    let folder = folder.to_owned();
    Probe::new("local", Asks::Host, off_thread(move || look_at_local(&folder)))
}

/// The folder of the outbox.
pub(crate) fn state(state: &StateSpec) -> Probe {
    let state = state.clone();
    Probe::new("state", Asks::Host, off_thread(move || look_at_state(&state)))
}

async fn off_thread(look: impl FnOnce() -> Finding + Send + 'static) -> Finding {
    let looking = tokio::task::spawn_blocking(look).await;
    looking.unwrap_or_else(|_| Finding::fail("the look broke down; this is a bug of kvs-infer"))
}

fn look_at_local(folder: &Path) -> Finding {
    match can_be_written(folder) {
        Err(why) => unwritable("publishers.local_dir", folder, &why),
        Ok(()) => Finding::ok(format!("{} can be written{}", folder.display(), room(folder))),
    }
}

fn look_at_state(state: &StateSpec) -> Finding {
    let dir = &state.dir;
    if let Err(why) = can_be_written(dir) {
        return unwritable("state.dir", dir, &why);
    }
    let text = format!("{} can be written{}", dir.display(), room(dir));
    match (::outbox::Folder::is_locked(dir), free_bytes(dir)) {
        (Err(error), _) => {
            Finding::fail(format!("{text}; its lock cannot be looked at: {error}; make it writable"))
        }
        (Ok(true), _) => Finding::warn(format!(
            "{text}; another kvs-infer is using it: stop that one before you start a second"
        )),
        (Ok(false), Ok(free)) if free < to_come(state) => Finding::warn(format!(
            "{text}, and state.max_bytes is {} MiB, of which the file may take four times as much and 128 MiB: make room, or lower it",
            state.max_bytes / MIB
        )),
        (Ok(false), _) => Finding::ok(text),
    }
}

fn unwritable(key: &str, folder: &Path, Unwritable { parent, why }: &Unwritable) -> Finding {
    let (folder, parent) = (folder.display(), parent.display());
    let remedy = storage_remedy(why).unwrap_or("name a folder that this user can write");
    Finding::fail(format!("{key}: {folder}: {parent} {why}; {remedy}"))
}

/// The file's size at most, as a multiple of what may wait and of the largest commit; see the crate `outbox`.
const FILE_FACTOR: u64 = 4;
/// The largest usual commit, bytes: a frame whose first picture is as large as may be.
const COMMIT_BYTES: u64 = 32 * MIB;

/// What the outbox may still grow by, bytes.
fn to_come(state: &StateSpec) -> u64 {
    let now = std::fs::metadata(state.dir.join(::outbox::FILE)).map_or(0, |file| file.len());
    state.max_bytes.saturating_add(COMMIT_BYTES).saturating_mul(FILE_FACTOR).saturating_sub(now)
}

fn room(folder: &Path) -> String {
    free_bytes(folder).map_or_else(|_| String::new(), |free| format!(", {} MiB free", free / MIB))
}

fn free_bytes(folder: &Path) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(nearest(folder))?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Verdict;

    fn state_of(dir: &Path, max_bytes: u64) -> StateSpec {
        StateSpec { dir: dir.to_owned(), max_bytes, ddb_table: None }
    }

    #[test]
    fn the_folder_of_the_outbox_by_its_state() {
        let folder = tempfile::tempdir().unwrap();
        let (free, used) = (folder.path().join("free"), folder.path().join("used"));
        let _held = ::outbox::Folder::lock(&used).unwrap();
        let table = [
            ("not there yet", free.as_path(), 1, Verdict::Ok, "MiB free"),
            ("too small a disk", free.as_path(), u64::MAX, Verdict::Warn, "make room"),
            ("in use", used.as_path(), 1, Verdict::Warn, "another kvs-infer"),
            ("not ours", Path::new("/proc/state"), 1, Verdict::Fail, "state.dir: /proc/state: /proc cannot"),
        ];
        for (name, dir, max_bytes, verdict, words) in table {
            let finding = look_at_state(&state_of(dir, max_bytes));
            assert!(finding.verdict == verdict && finding.text.contains(words), "{name}: {finding:?}");
        }
        assert!(!free.exists(), "nothing is made");
    }

    #[test]
    fn what_the_outbox_has_already_needs_no_room() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(::outbox::FILE), [0; 100]).unwrap();
        assert_eq!(to_come(&state_of(folder.path(), 150)), 128 * MIB + 500);
    }
}
