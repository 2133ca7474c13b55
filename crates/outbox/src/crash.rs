//! Checks the guarantees of the outbox: random histories against a model, on a disk that crashes, tears writes and fails.
//!
//! `OUTBOX_CASES=5000 cargo test -p outbox crash` runs more of them.

mod faults;
mod simulated_disk;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::{Strategy, any, prop_oneof};
use proptest::test_runner::{Config, TestRunner};

use crate::commit_queue::Linger;
use crate::{EntryId, NewEntry, OpenReport, Outbox, OutboxCommit, OutboxEntry, SinkHandle, SinkSpec};
use simulated_disk::SimulatedDisk;

/// Delays after which nothing is written in a test: only flushes and urgent commits start a batch.
const LINGER: Linger = Linger { commits: Duration::from_secs(3_600), acks: Duration::from_secs(3_600) };
const RETRY: (Duration, Duration) = (Duration::ZERO, Duration::ZERO);
const SOURCES: [&str; 3] = ["door", "gate", "yard"];

fn spec(name: &str, required: bool, quota_bytes: u64, takes_attachments: bool) -> SinkSpec {
    SinkSpec { name: name.into(), required, quota_bytes, takes_attachments }
}

/// One required sink without attachments, one with.
fn sinks() -> Vec<SinkSpec> {
    vec![spec("kds", true, u64::MAX, false), spec("local", true, u64::MAX, true)]
}

fn open(disk: &SimulatedDisk, sinks: Vec<SinkSpec>) -> (Outbox, OpenReport) {
    Outbox::start(Arc::new(disk.clone()), sinks, LINGER, RETRY).unwrap()
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
}

fn pending(outbox: &Outbox, sink: usize) -> Vec<OutboxEntry> {
    outbox.pending(SinkHandle(sink), None, usize::MAX, u64::MAX).unwrap()
}

/// One step of a history.
#[derive(Clone, Debug)]
enum HistoryStep {
    /// A source commits. Each entry is payload bytes, number of attachments, and its sinks as bits.
    Commit { source: usize, moves: bool, entries: Vec<(u16, u8, u8)> },
    /// A sink acknowledges some of its pending entries: the one at index `first`, then every `every`th.
    Ack { sink: usize, first: usize, every: usize },
    /// Everything becomes durable.
    Flush,
    /// After `good` successful writes, `errors` of them fail.
    Fail { good: u64, errors: u64 },
    /// The power fails after `good` writes; `fates` say what is left of each unsynced one.
    Crash { good: u64, fates: Vec<u16> },
    /// The process ends cleanly.
    Close,
}

fn step() -> impl Strategy<Value = HistoryStep> {
    let entry = (0..9_000_u16, 0..3_u8, 1..4_u8);
    let commit = (0..3_usize, any::<bool>(), vec(entry, 0..4))
        .prop_map(|(source, moves, entries)| HistoryStep::Commit { source, moves, entries });
    let ack = (0..2_usize, 0..4_usize, 1..4_usize).prop_map(|(sink, first, every)| HistoryStep::Ack {
        sink,
        first,
        every,
    });
    let crash =
        (0..40_u64, vec(any::<u16>(), 1..12)).prop_map(|(good, fates)| HistoryStep::Crash { good, fates });
    prop_oneof![
        8 => commit,
        4 => ack,
        4 => proptest::strategy::Just(HistoryStep::Flush),
        2 => (0..30_u64, 1..6_u64).prop_map(|(good, errors)| HistoryStep::Fail { good, errors }),
        2 => crash,
        1 => proptest::strategy::Just(HistoryStep::Close),
    ]
}

/// An entry as a sink must get it: source, payload, attachments.
type Expected = (String, Bytes, Vec<Bytes>);

/// The calls to the outbox, in order.
#[derive(Debug, Default)]
struct OutboxModel {
    commits: Vec<OutboxCommit>,
    /// Number of the commits reported as durable.
    flushed: usize,
    /// Numbers of the acknowledged payloads, by sink.
    acked: [BTreeSet<u32>; 2],
    flushed_acks: [BTreeSet<u32>; 2],
    payloads: u32,
}

fn number(payload: &[u8]) -> u32 {
    u32::from_le_bytes(payload[..4].try_into().unwrap())
}

impl OutboxModel {
    fn commit(&mut self, source: usize, moves: bool, entries: &[(u16, u8, u8)]) -> OutboxCommit {
        let position = self.commits.len() as u32;
        let checkpoint = moves.then(|| Bytes::copy_from_slice(&position.to_le_bytes()));
        let entries = entries.iter().map(|entry| self.entry(*entry)).collect();
        let commit = OutboxCommit { source: SOURCES[source].into(), checkpoint, entries, urgent: false };
        self.commits.push(commit.clone());
        commit
    }

    fn entry(&mut self, (len, attachments, sinks): (u16, u8, u8)) -> NewEntry {
        self.payloads += 1;
        let payload = [self.payloads.to_le_bytes().to_vec(), vec![self.payloads as u8; len.into()]].concat();
        let attachments = (0..attachments).map(|at| Bytes::from(vec![at; usize::from(len) * 2])).collect();
        let sinks = [0, 1].into_iter().filter(|at| sinks & (1 << at) != 0).map(SinkHandle).collect();
        NewEntry { payload: payload.into(), attachments, sinks }
    }

    /// Returns the entries of the first commits for a sink, acknowledged or not, by number.
    fn given(&self, commits: usize, sink: usize) -> Vec<(u32, Expected)> {
        let mut given = Vec::new();
        for commit in &self.commits[..commits] {
            for entry in commit.entries.iter().filter(|entry| entry.sinks.contains(&SinkHandle(sink))) {
                let attachments = if sink == 1 { entry.attachments.clone() } else { Vec::new() };
                given.push((
                    number(&entry.payload),
                    (commit.source.clone(), entry.payload.clone(), attachments),
                ));
            }
        }
        given
    }

    fn checkpoints(&self, commits: usize) -> BTreeMap<String, Bytes> {
        let moved = self.commits[..commits].iter();
        moved.filter_map(|commit| Some((commit.source.clone(), commit.checkpoint.clone()?))).collect()
    }

    /// Returns `true` if `found` is the result of the first `commits` commits: without each entry whose acknowledgement is durable, with
    /// or without the others that were acknowledged.
    fn explains(&self, commits: usize, found: &DiskContents) -> bool {
        let queues = [0, 1].iter().all(|sink| self.explains_queue(commits, *sink, &found.queues[*sink]));
        found.checkpoints == self.checkpoints(commits) && queues
    }

    fn explains_queue(&self, commits: usize, sink: usize, found: &[Expected]) -> bool {
        let mut left = found.iter().peekable();
        let whole = self.given(commits, sink).into_iter().all(|(number, expected)| {
            match left.next_if(|entry| **entry == expected) {
                Some(_) => !self.flushed_acks[sink].contains(&number),
                None => self.acked[sink].contains(&number),
            }
        });
        whole && left.next().is_none()
    }

    /// Checks the contents after a crash: the commits up to some point are there, including all those reported as durable.
    fn recover(&mut self, found: &DiskContents) {
        let explained =
            // From the longest: commits that were not reported as durable may be so all the same.
            (self.flushed..=self.commits.len()).rev().find(|commits| self.explains(*commits, found));
        let Some(commits) = explained else {
            panic!("no prefix of the commits in {self:#?} explains {found:#?}")
        };
        self.commits.truncate(commits);
        self.flushed = commits;
        for sink in 0..2 {
            let left: BTreeSet<u32> =
                found.queues[sink].iter().map(|(_, payload, _)| number(payload)).collect();
            self.acked[sink].retain(|number| !left.contains(number));
            self.flushed_acks[sink] = self.acked[sink].clone();
        }
    }

    fn flush(&mut self) {
        self.flushed = self.commits.len();
        self.flushed_acks = self.acked.clone();
    }
}

/// The contents of an outbox on a disk.
#[derive(Debug, PartialEq)]
struct DiskContents {
    checkpoints: BTreeMap<String, Bytes>,
    queues: [Vec<Expected>; 2],
}

impl DiskContents {
    fn on(outbox: &Outbox) -> Self {
        let checkpoint = |source: &&str| Some(((*source).to_owned(), outbox.checkpoint(source).unwrap()?));
        let queue = |sink| {
            let entries = pending(outbox, sink);
            assert!(entries.windows(2).all(|two| two[0].id < two[1].id), "ids rise");
            let queued = outbox.queue_status(SinkHandle(sink));
            assert!(queued.entries >= entries.len() as u64);
            entries.into_iter().map(|entry| (entry.source, entry.payload, entry.attachments)).collect()
        };
        Self { checkpoints: SOURCES.iter().filter_map(checkpoint).collect(), queues: [queue(0), queue(1)] }
    }
}

/// A disk, an outbox on it, and the model of both.
struct History {
    disk: SimulatedDisk,
    outbox: Outbox,
    model: OutboxModel,
}

impl History {
    fn new() -> Self {
        let disk = SimulatedDisk::default();
        let (outbox, _) = open(&disk, sinks());
        Self { disk, outbox, model: OutboxModel::default() }
    }

    async fn take(&mut self, step: &HistoryStep) {
        match step {
            HistoryStep::Commit { source, moves, entries } => {
                let commit = self.model.commit(*source, *moves, entries);
                self.outbox.commit(commit).await.unwrap();
            }
            HistoryStep::Ack { sink, first, every } => self.ack(*sink, *first, *every),
            HistoryStep::Flush => self.flush().await,
            HistoryStep::Fail { good, errors } => self.disk.fail_after(*good, *errors),
            HistoryStep::Crash { good, fates } => self.crash(*good, fates).await,
            HistoryStep::Close => self.close(),
        }
    }

    fn ack(&mut self, sink: usize, first: usize, every: usize) {
        let entries = self.outbox.pending(SinkHandle(sink), None, usize::MAX, u64::MAX).unwrap_or_default();
        let taken: Vec<&OutboxEntry> = entries.iter().skip(first).step_by(every).collect();
        let ids: Vec<EntryId> = taken.iter().map(|entry| entry.id).collect();
        self.outbox.ack(SinkHandle(sink), &ids);
        self.model.acked[sink].extend(taken.iter().map(|entry| number(&entry.payload)));
        // While the disk fails, the database is closed between two retries, and a read is an error.
        let left = self.outbox.pending(SinkHandle(sink), None, usize::MAX, u64::MAX).unwrap_or_default();
        assert!(left.iter().all(|entry| !ids.contains(&entry.id)), "an acknowledged entry came again");
    }

    async fn flush(&mut self) {
        self.outbox.flush().await;
        self.model.flush();
        let found = DiskContents::on(&self.outbox);
        assert!(
            self.model.explains(self.model.commits.len(), &found),
            "{:#?} does not explain {found:#?}",
            self.model
        );
        for sink in 0..2 {
            let of = |(_, payload, attachments): &Expected| {
                payload.len() + attachments.iter().map(Bytes::len).sum::<usize>()
            };
            let queue = &found.queues[sink];
            let queued = self.outbox.queue_status(SinkHandle(sink));
            let bytes: usize = queue.iter().map(of).sum();
            assert_eq!((queued.entries, queued.bytes), (queue.len() as u64, bytes as u64));
            assert_eq!(queued.oldest.is_some(), !queue.is_empty());
            assert!(
                self.outbox.0.queue.acked(SinkHandle(sink), None).is_empty(),
                "an acknowledgement is kept whose entry is off the disk"
            );
        }
    }

    async fn crash(&mut self, good: u64, fates: &[u16]) {
        self.disk.cut_after(good);
        let mut health = self.outbox.health();
        let power_cut = async {
            while !self.disk.has_no_power() {
                health.changed().await.unwrap();
            }
        };
        tokio::select! {
            // Without power the writer retries for ever, and the flush does not end.
            () = self.outbox.flush() => self.model.flush(),
            () = power_cut => {}
        }
        self.disk = SimulatedDisk::holding(self.disk.after_crash(fates));
        self.reopen();
    }

    fn close(&mut self) {
        if self.outbox.close().is_ok() {
            self.model.flush();
        }
        // Fate 0 drops all that is not synced: a clean end must not depend on it.
        self.disk = SimulatedDisk::holding(self.disk.after_crash(&[0]));
        self.reopen();
    }

    fn reopen(&mut self) {
        (self.outbox, _) = open(&self.disk, sinks());
        self.model.recover(&DiskContents::on(&self.outbox));
    }
}

fn cases() -> u32 {
    std::env::var("OUTBOX_CASES").map_or(500, |cases| cases.parse().unwrap())
}

#[test]
fn no_history_breaks_a_guarantee() {
    let mut runner =
        TestRunner::new(Config { cases: cases(), failure_persistence: None, ..Config::default() });
    let histories = vec(step(), 1..40);
    let outcome = runner.run(&histories, |steps| {
        run(async {
            let mut history = History::new();
            for step in &steps {
                history.take(step).await;
            }
            history.flush().await;
        });
        Ok(())
    });
    outcome.unwrap();
}
