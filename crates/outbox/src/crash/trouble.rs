//! Full shares, full disks, damaged files.

use std::collections::BTreeSet;
use std::pin::pin;
use std::task::Poll;

use redb::{Builder, ReadableDatabase, ReadableTableMetadata};

use super::platter::Platter;
use super::{LINGER, RETRY, open, pending, run, spec};
use crate::store::{self, Store};
use crate::tables;
use crate::{
    CloseError, Commit, CommitError, Entry, EntryId, Health, NewEntry, OpenError, Outbox, ReadError, Sink,
    SinkSpec,
};

fn entry(len: usize, attachments: &[usize], sinks: &[usize]) -> NewEntry {
    let attachments = attachments.iter().map(|len| vec![7; *len].into()).collect();
    NewEntry { payload: vec![1; len].into(), attachments, sinks: sinks.iter().copied().map(Sink).collect() }
}

fn commit(entries: Vec<NewEntry>) -> Commit {
    Commit { source: "door".into(), checkpoint: Some("here".into()), entries, urgent: false }
}

fn one(len: usize, sinks: &[usize]) -> Commit {
    commit(vec![entry(len, &[], sinks)])
}

fn ids(entries: &[Entry]) -> Vec<u64> {
    entries.iter().map(|entry| entry.id.0).collect()
}

async fn is_waiting(what: &mut std::pin::Pin<&mut impl Future>) -> bool {
    std::future::poll_fn(|context| Poll::Ready(what.as_mut().poll(context).is_pending())).await
}

/// Waits until the disk does as `wanted` says.
async fn until(outbox: &Outbox, wanted: impl FnMut(&Health) -> bool) -> Health {
    outbox.health().wait_for(wanted).await.unwrap().clone()
}

fn failing(health: &Health) -> bool {
    matches!(health, Health::Failing { .. })
}

#[test]
fn a_required_sink_beyond_its_share_holds_back_those_who_commit_to_it_and_nobody_else() {
    let sinks = vec![spec("full", true, 10, false), spec("other", true, 10, false)];
    let (outbox, _) = open(&Platter::default(), sinks);
    run(async {
        outbox.commit(one(25, &[0])).await.unwrap();
        let mut held = pin!(outbox.commit(one(1, &[0, 1])));
        assert!(is_waiting(&mut held).await, "more than the share is there");
        outbox.commit(one(10, &[1])).await.unwrap();
        outbox.settled().await;
        outbox.ack(Sink(0), &[EntryId(1)]);
        assert!(is_waiting(&mut held).await, "the other sink's share is full by now");
        let other = pending(&outbox, 1);
        outbox.ack(Sink(1), &[other[0].id]);
        held.await.unwrap();
        outbox.settled().await;
        assert_eq!((ids(&pending(&outbox, 0)), ids(&pending(&outbox, 1))), (vec![3], vec![3]));
    });
}

#[test]
fn a_commit_whose_wait_is_cancelled_was_not_taken_in() {
    let (outbox, _) = open(&Platter::default(), vec![spec("kds", true, 10, false)]);
    run(async {
        outbox.commit(one(10, &[0])).await.unwrap();
        {
            let mut held = pin!(outbox.commit(one(3, &[0])));
            assert!(is_waiting(&mut held).await);
        }
        outbox.settled().await;
        outbox.ack(Sink(0), &[EntryId(1)]);
        outbox.settled().await;
        assert_eq!((pending(&outbox, 0).len(), outbox.queued(Sink(0)).bytes), (0, 0));
    });
}

#[test]
fn a_best_effort_sink_beyond_its_share_loses_its_oldest_entries_counted() {
    let cases: [(&str, &[usize], &[u64], u64); 4] = [
        ("within the share", &[3, 3, 4], &[1, 2, 3], 0),
        ("one byte beyond", &[3, 3, 5], &[2, 3], 1),
        ("the last one alone is beyond", &[3, 3, 50], &[3], 2),
        ("one after what is beyond", &[50, 3], &[2], 1),
    ];
    for (name, lens, left, dropped) in cases {
        let (outbox, _) =
            open(&Platter::default(), vec![spec("s3", false, 10, false), spec("kds", true, 999, false)]);
        run(async {
            for len in lens {
                outbox.commit(one(*len, &[0, 1])).await.unwrap();
                outbox.settled().await;
            }
        });
        let queued = outbox.queued(Sink(0));
        assert_eq!((ids(&pending(&outbox, 0)), queued.dropped), (left.to_vec(), dropped), "{name}");
        assert_eq!(queued.entries, left.len() as u64, "{name}");
        assert_eq!(pending(&outbox, 1).len(), lens.len(), "{name}: the other sink loses nothing");
    }
}

#[test]
fn attachments_go_with_the_last_sink_that_takes_them_and_entries_with_the_last_sink() {
    let platter = Platter::default();
    let sinks =
        vec![spec("kds", true, 999, false), spec("s3", false, 999, true), spec("local", true, 999, true)];
    let (outbox, _) = open(&platter, sinks);
    run(outbox.commit(commit(vec![entry(3, &[5, 6], &[0, 1, 2]), entry(3, &[5], &[0])]))).unwrap();
    let cases = [
        ("at first", None, (2, 2)),
        ("s3 has it", Some(1), (2, 2)),
        ("local too", Some(2), (2, 0)),
        ("and kds", Some(0), (1, 0)),
    ];
    for (name, sink, rows) in cases {
        if let Some(sink) = sink {
            outbox.ack(Sink(sink), &[EntryId(1)]);
        }
        run(outbox.settled());
        assert_eq!(count_rows(&platter), rows, "{name}: entries, attachments");
    }
    assert_eq!(outbox.queued(Sink(1)).bytes, 0);
}

/// Rows of `entries` and of `attachments`, looked at from aside.
fn count_rows(platter: &Platter) -> (u64, u64) {
    let database = Builder::new().create_with_backend(Platter::holding(platter.bytes())).unwrap();
    let rows = database.begin_read().unwrap();
    (
        rows.open_table(tables::ENTRIES).unwrap().len().unwrap(),
        rows.open_table(tables::ATTACHMENTS).unwrap().len().unwrap(),
    )
}

#[test]
fn pending_goes_on_after_an_id_and_stops_at_its_limits() {
    let (outbox, _) = open(&Platter::default(), vec![spec("kds", true, 999, false)]);
    run(async {
        outbox.commit(commit((1..=5).map(|len| entry(len, &[], &[0])).collect())).await.unwrap();
        outbox.settled().await;
    });
    let cases = [
        ("all", None, 9, 99, vec![1, 2, 3, 4, 5]),
        ("two", None, 2, 99, vec![1, 2]),
        ("none", None, 0, 99, vec![]),
        ("after the third", Some(3), 9, 99, vec![4, 5]),
        ("six bytes", None, 9, 6, vec![1, 2, 3]),
        ("one at least", Some(4), 9, 0, vec![5]),
    ];
    for (name, after, most, most_bytes, found) in cases {
        let entries = outbox.pending(Sink(0), after.map(EntryId), most, most_bytes).unwrap();
        assert_eq!(ids(&entries), found, "{name}");
    }
    assert!(outbox.pending(Sink(0), Some(EntryId(u64::MAX)), 9, 9).unwrap().is_empty());
    assert_eq!(outbox.pending(Sink(1), None, 9, 9), Err(ReadError::NoSink { number: 1 }));
}

#[test]
fn what_waits_together_is_one_sync_and_an_idle_outbox_makes_none() {
    let platter = Platter::default();
    let (outbox, _) = open(&platter, vec![spec("kds", true, 9_999, false)]);
    run(async {
        let before = platter.syncs();
        for source in 0..100 {
            outbox.commit(Commit { source: format!("camera-{source}"), ..one(9, &[0]) }).await.unwrap();
        }
        assert_eq!(platter.syncs(), before, "nothing is urgent");
        outbox.settled().await;
        assert_eq!(platter.syncs(), before + 1);
        outbox.settled().await;
        assert_eq!(platter.syncs(), before + 1);
    });
}

#[test]
fn an_urgent_commit_is_written_at_once_and_wakes_its_sink_alone() {
    let (outbox, _) =
        open(&Platter::default(), vec![spec("kds", true, 99, false), spec("other", true, 99, false)]);
    run(async {
        outbox.commit(one(1, &[1])).await.unwrap();
        outbox.commit(Commit { urgent: true, ..one(1, &[0]) }).await.unwrap();
        outbox.changed(Sink(0)).await;
        assert_eq!((ids(&pending(&outbox, 0)), ids(&pending(&outbox, 1))), (vec![2], vec![1]));
        outbox.changed(Sink(1)).await;
        assert!(is_waiting(&mut pin!(outbox.changed(Sink(0)))).await, "nothing new");
    });
}

#[test]
fn a_full_disk_is_told_and_what_waits_is_written_once_there_is_room() {
    let platter = Platter::default();
    let (outbox, _) = open(&platter, vec![spec("kds", true, u64::MAX, false)]);
    run(async {
        platter.limit(Some(platter.bytes().len()));
        let len = platter.bytes().len();
        outbox.commit(Commit { urgent: true, ..one(len, &[0]) }).await.unwrap();
        let told = until(&outbox, failing).await;
        assert!(matches!(&told, Health::Failing { place, .. } if place == "a disk in memory"), "{told:?}");
        outbox.commit(one(1, &[0])).await.unwrap();
        assert_eq!(outbox.queued(Sink(0)).entries, 2);
        platter.limit(None);
        outbox.settled().await;
        assert_eq!(*outbox.health().borrow(), Health::Good);
        assert_eq!(ids(&pending(&outbox, 0)), [1, 2]);
    });
}

#[test]
fn a_full_disk_has_room_again_when_what_it_holds_is_delivered() {
    let platter = Platter::default();
    let (outbox, _) = open(&platter, vec![spec("kds", true, u64::MAX, false)]);
    run(async {
        outbox.commit(commit((0..64).map(|_| entry(100_000, &[], &[0])).collect())).await.unwrap();
        outbox.settled().await;
        platter.limit(Some(platter.bytes().len()));
        let mut taken = 64;
        while !failing(&outbox.health().borrow()) {
            outbox.commit(Commit { urgent: true, ..one(100_000, &[0]) }).await.unwrap();
            taken += 1;
            tokio::select! {
                () = outbox.settled() => {}
                _ = until(&outbox, failing) => {}
            }
        }
        let mut delivered = 0;
        while delivered < taken {
            let entries = outbox.pending(Sink(0), None, 16, u64::MAX).unwrap_or_default();
            outbox.ack(Sink(0), &entries.iter().map(|entry| entry.id).collect::<Vec<_>>());
            delivered += entries.len();
            tokio::task::yield_now().await;
        }
        outbox.settled().await;
        assert_eq!(*outbox.health().borrow(), Health::Good);
        assert_eq!(outbox.queued(Sink(0)).entries, 0);
    });
}

#[test]
fn what_is_acknowledged_while_the_disk_fails_is_off_it_afterwards() {
    let platter = Platter::default();
    let (outbox, _) = open(&platter, vec![spec("kds", true, 99, false)]);
    run(async {
        outbox.commit(one(1, &[0])).await.unwrap();
        outbox.settled().await;
        platter.limit(Some(0));
        outbox.commit(Commit { urgent: true, ..one(1, &[0]) }).await.unwrap();
        let mut health = outbox.health();
        health.wait_for(failing).await.unwrap();
        outbox.ack(Sink(0), &[EntryId(1)]);
        for _ in 0..3 {
            health.changed().await.unwrap();
        }
        platter.limit(None);
        outbox.settled().await;
        outbox.settled().await;
    });
    let (again, _) = open(&Platter::holding(platter.after_crash(&[0])), vec![spec("kds", true, 99, false)]);
    assert_eq!(ids(&pending(&again, 0)), [2]);
}

#[test]
fn closing_on_a_dead_disk_ends_and_says_what_was_not_written() {
    let platter = Platter::default();
    let (outbox, _) = open(&platter, vec![spec("kds", true, 99, false)]);
    platter.cut_after(0);
    run(async {
        outbox.commit(one(1, &[0])).await.unwrap();
        outbox.commit(one(1, &[0])).await.unwrap();
    });
    let unwritten = outbox.close().unwrap_err();
    assert!(matches!(unwritten, CloseError::Unwritten { commits: 2, .. }), "{unwritten}");
    run(outbox.settled());
    assert_eq!(run(outbox.commit(one(1, &[0]))), Err(CommitError::Closed));
    assert_eq!(outbox.pending(Sink(0), None, 1, 1), Err(ReadError::Closed));
    assert_eq!(outbox.close(), Ok(()));
}

#[test]
fn a_commit_for_a_sink_of_another_outbox_is_refused() {
    let (outbox, _) = open(&Platter::default(), vec![spec("kds", true, 99, false)]);
    let refused = run(outbox.commit(one(1, &[0, 3]))).unwrap_err();
    assert_eq!(refused, CommitError::NoSink { origin: "door".into(), number: 3 });
}

#[test]
fn only_an_outbox_that_was_not_closed_counts_as_repaired() {
    let platter = Platter::default();
    let opened = |bytes: Vec<u8>| open(&Platter::holding(bytes), Vec::new()).1.repaired;
    let (outbox, made) = open(&platter, Vec::new());
    assert!(!made.repaired);
    assert!(opened(platter.after_crash(&[0])));
    outbox.close().unwrap();
    assert!(!opened(platter.after_crash(&[0])));
}

/// An outbox's bytes: a checkpoint, an entry with an attachment, an entry without.
fn sample() -> Vec<u8> {
    let platter = Platter::default();
    let (outbox, _) = open(&platter, sample_sinks());
    run(async {
        outbox.commit(commit(vec![entry(300, &[9_000], &[0, 1]), entry(2, &[], &[0])])).await.unwrap();
        outbox.settled().await;
    });
    outbox.close().unwrap();
    platter.bytes()
}

fn sample_sinks() -> Vec<SinkSpec> {
    vec![spec("kds", true, 999, false), spec("s3", false, 99_999, true)]
}

fn refusal(bytes: Vec<u8>) -> OpenError {
    let disk = std::sync::Arc::new(Platter::holding(bytes));
    Outbox::start(disk, sample_sinks(), LINGER, RETRY).err().unwrap()
}

/// The sample with a row of `meta` written anew.
fn with_meta(name: &str, value: &[u8]) -> Vec<u8> {
    let platter = Platter::holding(sample());
    let database = Builder::new().create_with_backend(platter.clone()).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(tables::META).unwrap().insert(name, value).unwrap();
    transaction.commit().unwrap();
    drop(database);
    platter.bytes()
}

fn foreign_database() -> Vec<u8> {
    let platter = Platter::default();
    drop(Builder::new().create_with_backend(platter.clone()).unwrap());
    platter.bytes()
}

#[test]
fn what_is_no_outbox_of_this_format_is_refused_with_its_place_and_a_remedy() {
    let newer = with_meta("format", &2_u32.to_le_bytes());
    let cases: [(&str, Vec<u8>, &str); 6] = [
        ("a newer format", newer, "has format 2, and this program knows format 1"),
        ("an unknown format", with_meta("format", &[1]), "has format [1], and"),
        ("another program's", with_meta("magic", b"something else"), "is no outbox"),
        ("a database without tables", foreign_database(), "is no outbox"),
        ("a text", vec![b'a'; 9_000], "is no outbox"),
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
        let (store, _) = Store::open(&Platter::holding(bytes)).ok()?;
        let wanted = |sink| store::Wanted { sink, after: None, most: 9, most_bytes: 99_999, but: &none };
        Some((
            store.checkpoint("door").unwrap(),
            store.entries(&wanted("kds")).unwrap(),
            store.entries(&wanted("s3")).unwrap(),
        ))
    };
    let truth = read(whole.clone()).unwrap();
    let mut refused = 0;
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
