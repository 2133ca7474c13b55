//! The questions about folders: are they writable, is there room, and is the outbox free?

use std::io;
use std::path::Path;

use crate::base::{Asks, Finding, Probe, ProbeOccasion, Unwritable, can_be_written, nearest, storage_remedy};
use crate::delivery::spec::StateSpec;

const MIB: u64 = 1024 * 1024;
/// The outbox file's largest size, as a multiple of the bytes that wait and of the largest commit; see the crate `outbox`.
const FILE_FACTOR: u64 = 4;
/// The largest usual commit, bytes: a frame whose first picture has the largest size allowed.
const COMMIT_BYTES: u64 = 32 * MIB;

/// Returns the question about the folder of the local sink.
pub(crate) fn local_folder(folder: &Path) -> Probe {
    let folder = folder.to_owned();
    Probe::new("local", Asks::Host, off_thread(move || judge_local(&folder)))
}

/// Returns the question about the folder of the outbox.
pub(crate) fn state_folder(state: &StateSpec, occasion: ProbeOccasion) -> Probe {
    let state = state.clone();
    Probe::new("state", Asks::Host, off_thread(move || judge_state(&state, occasion)))
}

async fn off_thread(judge: impl FnOnce() -> Finding + Send + 'static) -> Finding {
    let judging = tokio::task::spawn_blocking(judge).await;
    judging
        .unwrap_or_else(|_| Finding::fail("the check of the folder panicked; report this bug of kvs-infer"))
}

fn judge_local(folder: &Path) -> Finding {
    match can_be_written(folder) {
        Err(why) => unwritable("publishers.local_dir", folder, &why),
        Ok(()) => Finding::ok(format!("{} can be written{}", folder.display(), free_space(folder))),
    }
}

fn judge_state(state: &StateSpec, occasion: ProbeOccasion) -> Finding {
    let dir = &state.dir;
    if let Err(why) = can_be_written(dir) {
        return unwritable("state.dir", dir, &why);
    }
    let text = format!("{} can be written{}", dir.display(), free_space(dir));
    match (::outbox::OutboxFolder::is_locked(dir), free_bytes(dir)) {
        (Err(error), _) => {
            Finding::fail(format!("{text}; its lock cannot be examined: {error}; make it writable"))
        }
        // No failure: the check may run beside the service that holds the lock.
        (Ok(true), _) if occasion == ProbeOccasion::Command => Finding::warn(format!(
            "{text}; another kvs-infer is using it: stop that one before you start a second"
        )),
        (Ok(_), Ok(free)) if free < possible_growth(state) => Finding::warn(format!(
            "{text}, and state.max_bytes is {} MiB; the file may grow to four times as much and 128 MiB: make room, or lower it",
            state.max_bytes / MIB
        )),
        (Ok(_), _) => Finding::ok(text),
    }
}

fn unwritable(key: &str, folder: &Path, Unwritable { parent, why }: &Unwritable) -> Finding {
    let (folder, parent) = (folder.display(), parent.display());
    let remedy = storage_remedy(why).unwrap_or("name a folder that this user can write");
    Finding::fail(format!("{key}: {folder}: {parent} {why}; {remedy}"))
}

/// Returns the bytes that the outbox may still grow by.
fn possible_growth(state: &StateSpec) -> u64 {
    let now = std::fs::metadata(state.dir.join(::outbox::DATABASE_FILE)).map_or(0, |file| file.len());
    state.max_bytes.saturating_add(COMMIT_BYTES).saturating_mul(FILE_FACTOR).saturating_sub(now)
}

fn free_space(folder: &Path) -> String {
    free_bytes(folder).map_or_else(|_| String::new(), |free| format!(", {} MiB free", free / MIB))
}

fn free_bytes(folder: &Path) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(nearest(folder))?;
    // Not `f_bfree`: that includes the blocks that only root can use.
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
    fn verdicts_of_the_outbox_folder_by_its_state() {
        let folder = tempfile::tempdir().unwrap();
        let (free, used) = (folder.path().join("free"), folder.path().join("used"));
        let _held = ::outbox::OutboxFolder::lock(&used).unwrap();
        let (command, service) = (ProbeOccasion::Command, ProbeOccasion::Service);
        let table = [
            ("not there yet", free.as_path(), 1, command, Verdict::Ok, "MiB free"),
            ("too small a disk", free.as_path(), u64::MAX, command, Verdict::Warn, "make room"),
            ("in use", used.as_path(), 1, command, Verdict::Warn, "another kvs-infer"),
            ("in use by the service itself", used.as_path(), 1, service, Verdict::Ok, "MiB free"),
            ("its disk is too small", used.as_path(), u64::MAX, service, Verdict::Warn, "make room"),
            (
                "not ours",
                Path::new("/proc/state"),
                1,
                command,
                Verdict::Fail,
                "state.dir: /proc/state: /proc cannot",
            ),
        ];
        for (name, dir, max_bytes, occasion, verdict, words) in table {
            let finding = judge_state(&state_of(dir, max_bytes), occasion);
            assert!(finding.verdict == verdict && finding.text.contains(words), "{name}: {finding:?}");
        }
        assert!(!free.exists(), "nothing is created");
    }

    #[test]
    fn the_present_file_counts_as_room() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(::outbox::DATABASE_FILE), [0; 100]).unwrap();
        assert_eq!(possible_growth(&state_of(folder.path(), 150)), 128 * MIB + 500);
    }
}
