//! The outbox in a folder: what survives the process, permissions, and refusals.

use std::path::Path;

use bytes::Bytes;
use outbox::{EntryId, NewEntry, OpenError, OrphanedQueue, Outbox, OutboxConfig, OutboxFolder};

use super::{commit, entry, open, payloads, spec};

fn refused(dir: &Path) -> OpenError {
    let opened = Outbox::open(OutboxConfig { dir: dir.to_owned(), sinks: Vec::new() });
    opened.err().unwrap()
}

#[tokio::test]
async fn commits_survive_closing_and_opening() {
    let dir = tempfile::tempdir().unwrap();
    let sinks = [spec("kds", true, 1_000, false), spec("s3", false, 1_000, true)];
    let (outbox, opened) = open(dir.path(), &sinks);
    assert_eq!((opened.orphaned.len(), opened.unclean_shutdown), (0, false));
    let (kds, s3) = (outbox.sink("kds").unwrap(), outbox.sink("s3").unwrap());
    let picture =
        NewEntry { attachments: vec![Bytes::from("one"), Bytes::from("two")], ..entry("a", &[kds, s3]) };
    outbox.commit(commit("door", "7", vec![picture, entry("b", &[kds])])).await.unwrap();
    let id = outbox.id().to_owned();
    outbox.close().unwrap();

    let (outbox, opened) = open(dir.path(), &sinks);
    assert_eq!((outbox.id(), opened.unclean_shutdown), (id.as_str(), false));
    assert_eq!(outbox.checkpoint("door").unwrap().unwrap(), "7");
    assert_eq!(outbox.checkpoint("gate").unwrap(), None);
    assert_eq!(payloads(&outbox, kds), ["a", "b"]);
    let for_s3 = outbox.pending(s3, None, 9, 9).unwrap();
    assert_eq!(for_s3[0].attachments, ["one", "two"]);
    assert!(outbox.pending(kds, None, 9, 9).unwrap()[0].attachments.is_empty());
    assert_eq!((outbox.queue_status(kds).bytes, outbox.queue_status(s3).bytes), (2, 7));
}

#[test]
fn a_second_process_is_refused_until_the_first_one_ends() {
    let dir = tempfile::tempdir().unwrap();
    let (outbox, _) = open(dir.path(), &[]);
    let why = refused(dir.path());
    assert!(matches!(why, OpenError::InUse { .. }), "{why}");
    assert!(why.to_string().contains(dir.path().to_str().unwrap()), "{why}");
    assert!(OutboxFolder::is_locked(dir.path()).unwrap());
    drop(outbox);
    assert!(
        !OutboxFolder::is_locked(dir.path()).unwrap()
            && !OutboxFolder::is_locked(&dir.path().join("none")).unwrap()
    );
    assert!(!dir.path().join("none").exists(), "a check creates nothing");
    open(dir.path(), &[]);
}

#[tokio::test]
async fn the_queue_of_an_unconfigured_sink_is_reported_kept_and_dropped_on_demand() {
    let dir = tempfile::tempdir().unwrap();
    let (outbox, _) = open(dir.path(), &[spec("old", true, 100, false), spec("kds", true, 100, false)]);
    let both = [outbox.sink("old").unwrap(), outbox.sink("kds").unwrap()];
    outbox.commit(commit("door", "1", vec![entry("abc", &both), entry("de", &both)])).await.unwrap();
    outbox.close().unwrap();

    let (outbox, opened) = open(dir.path(), &[spec("kds", true, 100, false)]);
    assert_eq!(opened.orphaned, [OrphanedQueue { name: "old".into(), entries: 2, bytes: 5 }]);
    let kds = outbox.sink("kds").unwrap();
    outbox.ack(kds, &[EntryId(1), EntryId(2)]);
    outbox.close().unwrap();

    let (outbox, opened) = open(dir.path(), &[spec("old", true, 100, false)]);
    assert!(opened.orphaned.is_empty());
    assert_eq!(payloads(&outbox, outbox.sink("old").unwrap()), ["abc", "de"]);
    outbox.close().unwrap();

    let (outbox, _) = open(dir.path(), &[]);
    outbox.drop_sink("old").await;
    outbox.close().unwrap();
    assert!(open(dir.path(), &[]).1.orphaned.is_empty());
}

#[test]
fn sinks_need_distinct_names() {
    let dir = tempfile::tempdir().unwrap();
    for names in [["a", "a"], ["a", ""]] {
        let sinks = names.map(|name| spec(name, true, 1, false)).to_vec();
        let why = Outbox::open(OutboxConfig { dir: dir.path().to_owned(), sinks }).err().unwrap();
        assert!(matches!(why, OpenError::SinkName { .. }), "{names:?}: {why}");
    }
}

#[test]
fn an_outbox_half_created_by_a_crash_is_created_again() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("outbox.redb.new"), "half of something").unwrap();
    let (outbox, opened) = open(&dir.path().join("."), &[]);
    assert!(!opened.unclean_shutdown);
    drop(outbox);
    assert!(!dir.path().join("outbox.redb.new").exists());
}

#[test]
fn an_empty_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("outbox.redb"), "").unwrap();
    let why = refused(dir.path());
    assert!(matches!(why, OpenError::Damaged { .. }), "{why}");
    assert!(why.to_string().contains("outbox.redb is damaged"), "{why}");
}

#[test]
fn a_folder_that_cannot_be_created_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("state"), "a file").unwrap();
    let why = refused(&dir.path().join("state").join("outbox"));
    assert!(matches!(&why, OpenError::Disk { location, .. } if location.ends_with("state/outbox")), "{why}");
    let (outbox, _) = open(&dir.path().join("a").join("b"), &[]);
    assert_eq!(outbox.id().len(), 32);
}

#[test]
fn files_and_folders_are_private_and_no_symbolic_link_is_followed() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("a/state");
    drop(open(&state, &[]));
    let mode = |path: &str| std::fs::metadata(dir.path().join(path)).unwrap().permissions().mode() & 0o777;
    let modes = ["a", "a/state", "a/state/outbox.redb", "a/state/lock"].map(mode);
    assert_eq!(modes, [0o700, 0o700, 0o600, 0o600]);
    let victim = dir.path().join("victim");
    for name in ["outbox.redb", "outbox.redb.new", "lock"] {
        let state = dir.path().join(name.replace('.', "-"));
        std::fs::create_dir(&state).unwrap();
        std::fs::set_permissions(&state, std::fs::Permissions::from_mode(0o750)).unwrap();
        std::fs::write(&victim, "theirs").unwrap();
        symlink(&victim, state.join(name)).unwrap();
        let why = refused(&state).to_string();
        assert!(why.contains("put a file in place of the symbolic link"), "{name}: {why}");
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "theirs", "{name}");
        assert_eq!(
            std::fs::metadata(&state).unwrap().permissions().mode() & 0o777,
            0o750,
            "a folder keeps its mode"
        );
    }
}

#[tokio::test]
async fn a_commit_beyond_the_limit_is_refused_and_the_next_one_accepted() {
    let dir = tempfile::tempdir().unwrap();
    let (outbox, _) = open(dir.path(), &[spec("kds", true, 100, false), spec("s3", false, u64::MAX, true)]);
    let sinks = [outbox.sink("kds").unwrap(), outbox.sink("s3").unwrap()];
    let half = Bytes::from(vec![0; outbox::MAX_COMMIT_BYTES as usize / 2]);
    let pictures = |count| NewEntry { attachments: vec![half.clone(); count], ..entry("a", &sinks) };
    let refused = outbox.commit(commit("door", "1", vec![pictures(2)])).await.unwrap_err();
    assert!(
        matches!(&refused, outbox::CommitError::TooLarge { origin, .. } if origin == "door"),
        "{refused}"
    );
    outbox.commit(commit("door", "2", vec![pictures(1)])).await.unwrap();
    outbox.flush().await;
    assert_eq!(outbox.checkpoint("door").unwrap().unwrap(), "2");
}

/// Attachments of all sizes, the oldest of which are dropped: the worst case for the file, by a best-effort sink.
#[tokio::test]
async fn the_file_takes_no_more_than_four_times_the_quota() {
    const QUOTA: u64 = 8 << 20;
    let dir = tempfile::tempdir().unwrap();
    let (outbox, _) = open(dir.path(), &[spec("s3", false, QUOTA, true)]);
    let (s3, mut peak) = (outbox.sink("s3").unwrap(), 0);
    for number in 0..120_u64 {
        let len = 3_000 + number * 7_919 % 83 * 13_000;
        let picture = Bytes::from(vec![number as u8; len as usize]);
        let entries = vec![NewEntry { attachments: vec![picture], ..entry("a", &[s3]) }];
        outbox.commit(commit("door", "1", entries)).await.unwrap();
        outbox.flush().await;
        peak = peak.max(std::fs::metadata(dir.path().join("outbox.redb")).unwrap().len());
    }
    assert!(outbox.queue_status(s3).bytes > QUOTA / 2, "the quota is in use");
    assert!(peak <= 4 * QUOTA, "{} MiB", peak >> 20);
}
