//! Full quotas, full disks, damaged files.

use std::collections::BTreeSet;
use std::pin::pin;
use std::task::Poll;

use redb::{Builder, ReadableDatabase, ReadableTableMetadata};

use super::simulated_disk::SimulatedDisk;
use super::{LINGER, RETRY, open, pending, run, spec};
use crate::store::{EntryQuery, OutboxStore};
use crate::tables;
use crate::{
    CloseError, CommitError, DiskHealth, EntryId, NewEntry, OpenError, Outbox, OutboxCommit, OutboxEntry,
    ReadError, SinkHandle, SinkSpec,
};

fn entry(len: usize, attachments: &[usize], sinks: &[usize]) -> NewEntry {
    let attachments = attachments.iter().map(|len| vec![7; *len].into()).collect();
    NewEntry {
        payload: vec![1; len].into(),
        attachments,
        sinks: sinks.iter().copied().map(SinkHandle).collect(),
    }
}

fn commit(entries: Vec<NewEntry>) -> OutboxCommit {
    OutboxCommit { source: "door".into(), checkpoint: Some("here".into()), entries, urgent: false }
}

fn one(len: usize, sinks: &[usize]) -> OutboxCommit {
    commit(vec![entry(len, &[], sinks)])
}

fn ids(entries: &[OutboxEntry]) -> Vec<u64> {
    entries.iter().map(|entry| entry.id.0).collect()
}

async fn is_waiting(future: &mut std::pin::Pin<&mut impl Future>) -> bool {
    std::future::poll_fn(|context| Poll::Ready(future.as_mut().poll(context).is_pending())).await
}

/// Waits for a health of the disk.
async fn until(outbox: &Outbox, wanted: impl FnMut(&DiskHealth) -> bool) -> DiskHealth {
    outbox.health().wait_for(wanted).await.unwrap().clone()
}

fn failing(health: &DiskHealth) -> bool {
    matches!(health, DiskHealth::Failing { .. })
}

#[test]
fn a_required_sink_beyond_its_quota_holds_back_the_commits_to_it_and_no_others() {
    let sinks = vec![spec("full", true, 10, false), spec("other", true, 10, false)];
    let (outbox, _) = open(&SimulatedDisk::default(), sinks);
    run(async {
        outbox.commit(one(25, &[0])).await.unwrap();
        let mut waiting = pin!(outbox.commit(one(1, &[0, 1])));
        assert!(is_waiting(&mut waiting).await, "the queue is beyond its quota");
        outbox.commit(one(10, &[1])).await.unwrap();
        outbox.flush().await;
        outbox.ack(SinkHandle(0), &[EntryId(1)]);
        assert!(is_waiting(&mut waiting).await, "the quota of the other sink is used up by now");
        let other = pending(&outbox, 1);
        outbox.ack(SinkHandle(1), &[other[0].id]);
        waiting.await.unwrap();
        outbox.flush().await;
        assert_eq!((ids(&pending(&outbox, 0)), ids(&pending(&outbox, 1))), (vec![3], vec![3]));
    });
}

#[test]
fn a_commit_whose_wait_is_cancelled_was_not_accepted() {
    let (outbox, _) = open(&SimulatedDisk::default(), vec![spec("kds", true, 10, false)]);
    run(async {
        outbox.commit(one(10, &[0])).await.unwrap();
        {
            let mut waiting = pin!(outbox.commit(one(3, &[0])));
            assert!(is_waiting(&mut waiting).await);
        }
        outbox.flush().await;
        outbox.ack(SinkHandle(0), &[EntryId(1)]);
        outbox.flush().await;
        assert_eq!((pending(&outbox, 0).len(), outbox.queue_status(SinkHandle(0)).bytes), (0, 0));
    });
}

#[test]
fn a_best_effort_sink_beyond_its_quota_loses_its_oldest_entries_counted() {
    let cases: [(&str, &[usize], &[u64], u64); 4] = [
        ("within the quota", &[3, 3, 4], &[1, 2, 3], 0),
        ("one byte beyond", &[3, 3, 5], &[2, 3], 1),
        ("the last one alone is beyond", &[3, 3, 50], &[3], 2),
        ("one after a larger one", &[50, 3], &[2], 1),
    ];
    for (name, lens, left, dropped) in cases {
        let (outbox, _) = open(
            &SimulatedDisk::default(),
            vec![spec("s3", false, 10, false), spec("kds", true, 999, false)],
        );
        run(async {
            for len in lens {
                outbox.commit(one(*len, &[0, 1])).await.unwrap();
                outbox.flush().await;
            }
        });
        let queued = outbox.queue_status(SinkHandle(0));
        assert_eq!((ids(&pending(&outbox, 0)), queued.dropped), (left.to_vec(), dropped), "{name}");
        assert_eq!(queued.entries, left.len() as u64, "{name}");
        assert_eq!(pending(&outbox, 1).len(), lens.len(), "{name}: the other sink loses nothing");
    }
}

#[test]
fn attachments_go_with_the_last_sink_that_takes_them_and_entries_with_the_last_sink() {
    let disk = SimulatedDisk::default();
    let sinks =
        vec![spec("kds", true, 999, false), spec("s3", false, 999, true), spec("local", true, 999, true)];
    let (outbox, _) = open(&disk, sinks);
    run(outbox.commit(commit(vec![entry(3, &[5, 6], &[0, 1, 2]), entry(3, &[5], &[0])]))).unwrap();
    let cases = [
        ("at first", None, (2, 2)),
        ("s3 has it", Some(1), (2, 2)),
        ("local too", Some(2), (2, 0)),
        ("and kds", Some(0), (1, 0)),
    ];
    for (name, sink, rows) in cases {
        if let Some(sink) = sink {
            outbox.ack(SinkHandle(sink), &[EntryId(1)]);
        }
        run(outbox.flush());
        assert_eq!(count_rows(&disk), rows, "{name}: entries, attachments");
    }
    assert_eq!(outbox.queue_status(SinkHandle(1)).bytes, 0);
}

/// Returns the numbers of rows of `entries` and of `attachments`.
fn count_rows(disk: &SimulatedDisk) -> (u64, u64) {
    let database = Builder::new().create_with_backend(SimulatedDisk::holding(disk.bytes())).unwrap();
    let rows = database.begin_read().unwrap();
    (
        rows.open_table(tables::ENTRIES).unwrap().len().unwrap(),
        rows.open_table(tables::ATTACHMENTS).unwrap().len().unwrap(),
    )
}

#[test]
fn pending_starts_after_an_id_and_stops_at_its_limits() {
    let (outbox, _) = open(&SimulatedDisk::default(), vec![spec("kds", true, 999, false)]);
    run(async {
        outbox.commit(commit((1..=5).map(|len| entry(len, &[], &[0])).collect())).await.unwrap();
        outbox.flush().await;
    });
    let cases = [
        ("all", None, 9, 99, vec![1, 2, 3, 4, 5]),
        ("two", None, 2, 99, vec![1, 2]),
        ("none", None, 0, 99, vec![]),
        ("after the third", Some(3), 9, 99, vec![4, 5]),
        ("six bytes", None, 9, 6, vec![1, 2, 3]),
        ("one at least", Some(4), 9, 0, vec![5]),
    ];
    for (name, after, max_entries, max_bytes, found) in cases {
        let entries = outbox.pending(SinkHandle(0), after.map(EntryId), max_entries, max_bytes).unwrap();
        assert_eq!(ids(&entries), found, "{name}");
    }
    assert!(outbox.pending(SinkHandle(0), Some(EntryId(u64::MAX)), 9, 9).unwrap().is_empty());
    assert_eq!(outbox.pending(SinkHandle(1), None, 9, 9), Err(ReadError::NoSink { number: 1 }));
}

#[test]
fn commits_that_wait_together_are_one_sync_and_an_idle_outbox_makes_none() {
    let disk = SimulatedDisk::default();
    let (outbox, _) = open(&disk, vec![spec("kds", true, 9_999, false)]);
    run(async {
        let before = disk.syncs();
        for source in 0..100 {
            outbox.commit(OutboxCommit { source: format!("camera-{source}"), ..one(9, &[0]) }).await.unwrap();
        }
        assert_eq!(disk.syncs(), before, "nothing is urgent");
        outbox.flush().await;
        assert_eq!(disk.syncs(), before + 1);
        outbox.flush().await;
        assert_eq!(disk.syncs(), before + 1);
    });
}

#[test]
fn an_urgent_commit_is_written_at_once_and_wakes_its_sink_alone() {
    let (outbox, _) =
        open(&SimulatedDisk::default(), vec![spec("kds", true, 99, false), spec("other", true, 99, false)]);
    run(async {
        outbox.commit(one(1, &[1])).await.unwrap();
        outbox.commit(OutboxCommit { urgent: true, ..one(1, &[0]) }).await.unwrap();
        outbox.wait_for_entries(SinkHandle(0)).await;
        assert_eq!((ids(&pending(&outbox, 0)), ids(&pending(&outbox, 1))), (vec![2], vec![1]));
        outbox.wait_for_entries(SinkHandle(1)).await;
        assert!(is_waiting(&mut pin!(outbox.wait_for_entries(SinkHandle(0)))).await, "nothing new");
    });
}

#[test]
fn a_full_disk_is_reported_and_the_queue_is_written_once_there_is_room() {
    let disk = SimulatedDisk::default();
    let (outbox, _) = open(&disk, vec![spec("kds", true, u64::MAX, false)]);
    run(async {
        disk.limit(Some(disk.bytes().len()));
        let len = disk.bytes().len();
        outbox.commit(OutboxCommit { urgent: true, ..one(len, &[0]) }).await.unwrap();
        let reported = until(&outbox, failing).await;
        assert!(
            matches!(&reported, DiskHealth::Failing { location, .. } if location == "a disk in memory"),
            "{reported:?}"
        );
        outbox.commit(one(1, &[0])).await.unwrap();
        assert_eq!(outbox.queue_status(SinkHandle(0)).entries, 2);
        disk.limit(None);
        outbox.flush().await;
        assert_eq!(*outbox.health().borrow(), DiskHealth::Good);
        assert_eq!(ids(&pending(&outbox, 0)), [1, 2]);
    });
}

#[test]
fn a_full_disk_has_room_again_when_its_entries_are_delivered() {
    let disk = SimulatedDisk::default();
    let (outbox, _) = open(&disk, vec![spec("kds", true, u64::MAX, false)]);
    run(async {
        outbox.commit(commit((0..64).map(|_| entry(100_000, &[], &[0])).collect())).await.unwrap();
        outbox.flush().await;
        disk.limit(Some(disk.bytes().len()));
        let mut taken = 64;
        while !failing(&outbox.health().borrow()) {
            outbox.commit(OutboxCommit { urgent: true, ..one(100_000, &[0]) }).await.unwrap();
            taken += 1;
            tokio::select! {
                () = outbox.flush() => {}
                _ = until(&outbox, failing) => {}
            }
        }
        let mut delivered = 0;
        while delivered < taken {
            let entries = outbox.pending(SinkHandle(0), None, 16, u64::MAX).unwrap_or_default();
            outbox.ack(SinkHandle(0), &entries.iter().map(|entry| entry.id).collect::<Vec<_>>());
            delivered += entries.len();
            tokio::task::yield_now().await;
        }
        outbox.flush().await;
        assert_eq!(*outbox.health().borrow(), DiskHealth::Good);
        assert_eq!(outbox.queue_status(SinkHandle(0)).entries, 0);
    });
}

#[test]
fn entries_acknowledged_while_the_disk_fails_are_deleted_afterwards() {
    let disk = SimulatedDisk::default();
    let (outbox, _) = open(&disk, vec![spec("kds", true, 99, false)]);
    run(async {
        outbox.commit(one(1, &[0])).await.unwrap();
        outbox.flush().await;
        disk.limit(Some(0));
        outbox.commit(OutboxCommit { urgent: true, ..one(1, &[0]) }).await.unwrap();
        let mut health = outbox.health();
        health.wait_for(failing).await.unwrap();
        outbox.ack(SinkHandle(0), &[EntryId(1)]);
        for _ in 0..3 {
            health.changed().await.unwrap();
        }
        disk.limit(None);
        outbox.flush().await;
        outbox.flush().await;
    });
    let (again, _) =
        open(&SimulatedDisk::holding(disk.after_crash(&[0])), vec![spec("kds", true, 99, false)]);
    assert_eq!(ids(&pending(&again, 0)), [2]);
}

#[test]
fn closing_on_a_dead_disk_ends_and_reports_the_unwritten_commits() {
    let disk = SimulatedDisk::default();
    let (outbox, _) = open(&disk, vec![spec("kds", true, 99, false)]);
    disk.cut_after(0);
    run(async {
        outbox.commit(one(1, &[0])).await.unwrap();
        outbox.commit(one(1, &[0])).await.unwrap();
    });
    let unwritten = outbox.close().unwrap_err();
    assert!(matches!(unwritten, CloseError::Unwritten { commits: 2, .. }), "{unwritten}");
    run(outbox.flush());
    assert_eq!(run(outbox.commit(one(1, &[0]))), Err(CommitError::Closed));
    assert_eq!(outbox.pending(SinkHandle(0), None, 1, 1), Err(ReadError::Closed));
    assert_eq!(outbox.close(), Ok(()));
}

#[test]
fn a_commit_for_a_sink_of_another_outbox_is_refused() {
    let (outbox, _) = open(&SimulatedDisk::default(), vec![spec("kds", true, 99, false)]);
    let refused = run(outbox.commit(one(1, &[0, 3]))).unwrap_err();
    assert_eq!(refused, CommitError::NoSink { origin: "door".into(), number: 3 });
}

#[test]
fn only_an_outbox_that_was_not_closed_counts_as_an_unclean_shutdown() {
    let disk = SimulatedDisk::default();
    let opened = |bytes: Vec<u8>| open(&SimulatedDisk::holding(bytes), Vec::new()).1.unclean_shutdown;
    let (outbox, made) = open(&disk, Vec::new());
    assert!(!made.unclean_shutdown);
    assert!(opened(disk.after_crash(&[0])));
    outbox.close().unwrap();
    assert!(!opened(disk.after_crash(&[0])));
}

/// An outbox's bytes: a checkpoint, an entry with an attachment, an entry without.
fn sample() -> Vec<u8> {
    let disk = SimulatedDisk::default();
    let (outbox, _) = open(&disk, sample_sinks());
    run(async {
        outbox.commit(commit(vec![entry(300, &[9_000], &[0, 1]), entry(2, &[], &[0])])).await.unwrap();
        outbox.flush().await;
    });
    outbox.close().unwrap();
    disk.bytes()
}

fn sample_sinks() -> Vec<SinkSpec> {
    vec![spec("kds", true, 999, false), spec("s3", false, 99_999, true)]
}

fn refusal(bytes: Vec<u8>) -> OpenError {
    let disk = std::sync::Arc::new(SimulatedDisk::holding(bytes));
    Outbox::start(disk, sample_sinks(), LINGER, RETRY).err().unwrap()
}

/// The sample with a row of `meta` replaced.
fn with_meta(name: &str, value: &[u8]) -> Vec<u8> {
    let disk = SimulatedDisk::holding(sample());
    let database = Builder::new().create_with_backend(disk.clone()).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(tables::META).unwrap().insert(name, value).unwrap();
    transaction.commit().unwrap();
    drop(database);
    disk.bytes()
}

fn foreign_database() -> Vec<u8> {
    let disk = SimulatedDisk::default();
    drop(Builder::new().create_with_backend(disk.clone()).unwrap());
    disk.bytes()
}

#[test]
fn a_file_that_is_not_an_outbox_of_this_format_is_refused_with_its_location_and_a_remedy() {
    let newer = with_meta("format", &2_u32.to_le_bytes());
    let cases: [(&str, Vec<u8>, &str); 6] = [
        ("a newer format", newer, "has format 2, and this program reads format 1"),
        ("an unknown format", with_meta("format", &[1]), "has format [1], and"),
        ("another program's", with_meta("magic", b"something else"), "is not an outbox"),
        ("a database without tables", foreign_database(), "is not an outbox"),
        ("a text", vec![b'a'; 9_000], "is not an outbox"),
        ("the first half", sample()[..40_000].to_vec(), "is damaged"),
    ];
    for (name, bytes, text) in cases {
        let refused = refusal(bytes).to_string();
        assert!(refused.contains(text), "{name}: {refused}");
        assert!(
            refused.contains("a disk in memory") && refused.contains("move the file away"),
            "{name}: {refused}"
        );
    }
}

#[test]
fn a_damaged_byte_is_refused_or_changes_nothing() {
    let (whole, none) = (sample(), BTreeSet::new());
    let read = |bytes: Vec<u8>| {
        let (store, _) = OutboxStore::open(&SimulatedDisk::holding(bytes)).ok()?;
        let query = |sink| EntryQuery { sink, after: None, max_entries: 9, max_bytes: 99_999, except: &none };
        Some((
            store.checkpoint("door").unwrap(),
            store.entries(&query("kds")).unwrap(),
            store.entries(&query("s3")).unwrap(),
        ))
    };
    let truth = read(whole.clone()).unwrap();
    let mut refused = 0;
    // A prime, so that the offsets within pages of 4 KiB differ from page to page.
    for at in (0..whole.len()).step_by(61) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x55;
        match read(damaged) {
            None => refused += 1,
            Some(found) => assert_eq!(found, truth, "byte {at}"),
        }
    }
    assert!(refused > 20, "{refused} were refused");
}
