//! The promises of the outbox, on a disk that crashes, tears writes and fails: random histories against a model.
//!
//! `OUTBOX_CASES=5000 cargo test -p outbox crash` runs more of them.

mod platter;
mod trouble;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::{Strategy, any, prop_oneof};
use proptest::test_runner::{Config, TestRunner};

use crate::intake::Linger;
use crate::{Commit, Entry, EntryId, NewEntry, Opened, Outbox, Sink, SinkSpec};
use platter::Platter;

/// No waiting: what is taken in goes when it is asked to.
const LINGER: Linger = Linger { commits: Duration::from_secs(3_600), acks: Duration::from_secs(3_600) };
const RETRY: (Duration, Duration) = (Duration::ZERO, Duration::ZERO);
const SOURCES: [&str; 3] = ["door", "gate", "yard"];

fn spec(name: &str, required: bool, share_bytes: u64, takes_attachments: bool) -> SinkSpec {
    SinkSpec { name: name.into(), required, share_bytes, takes_attachments }
}

/// One required sink without attachments, one with.
fn sinks() -> Vec<SinkSpec> {
    vec![spec("kds", true, u64::MAX, false), spec("local", true, u64::MAX, true)]
}

fn open(platter: &Platter, sinks: Vec<SinkSpec>) -> (Outbox, Opened) {
    Outbox::start(Arc::new(platter.clone()), sinks, LINGER, RETRY).unwrap()
}

fn run<T>(what: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(what)
}

fn pending(outbox: &Outbox, sink: usize) -> Vec<Entry> {
    outbox.pending(Sink(sink), None, usize::MAX, u64::MAX).unwrap()
}

/// What happens next.
#[derive(Clone, Debug)]
enum Step {
    /// A source commits; each entry has bytes, attachments, and its sinks as bits.
    Commit { source: usize, moves: bool, entries: Vec<(u16, u8, u8)> },
    /// A sink has some of what waits for it, the first one at this place, then every so manyth.
    Ack { sink: usize, first: usize, every: usize },
    /// All becomes durable.
    Settle,
    /// So many errors after so many good writes.
    Fail { good: u64, errors: u64 },
    /// The power goes after so many writes, and takes what the fates say.
    Crash { good: u64, fates: Vec<u16> },
    /// The process ends as it should.
    Close,
}

fn step() -> impl Strategy<Value = Step> {
    let entry = (0..9_000_u16, 0..3_u8, 1..4_u8);
    let commit = (0..3_usize, any::<bool>(), vec(entry, 0..4))
        .prop_map(|(source, moves, entries)| Step::Commit { source, moves, entries });
    let ack = (0..2_usize, 0..4_usize, 1..4_usize).prop_map(|(sink, first, every)| Step::Ack {
        sink,
        first,
        every,
    });
    let crash = (0..40_u64, vec(any::<u16>(), 1..12)).prop_map(|(good, fates)| Step::Crash { good, fates });
    prop_oneof![
        8 => commit,
        4 => ack,
        4 => proptest::strategy::Just(Step::Settle),
        2 => (0..30_u64, 1..6_u64).prop_map(|(good, errors)| Step::Fail { good, errors }),
        2 => crash,
        1 => proptest::strategy::Just(Step::Close),
    ]
}

/// What a sink is to get of one entry: source, payload, attachments.
type Expected = (String, Bytes, Vec<Bytes>);

/// What the outbox was told, in order.
#[derive(Debug, Default)]
struct Model {
    commits: Vec<Commit>,
    /// How many of the commits were reported as durable.
    settled: usize,
    /// By sink, by number of the payload.
    acked: [BTreeSet<u32>; 2],
    settled_acks: [BTreeSet<u32>; 2],
    payloads: u32,
}

fn number(payload: &[u8]) -> u32 {
    u32::from_le_bytes(payload[..4].try_into().unwrap())
}

impl Model {
    fn commit(&mut self, source: usize, moves: bool, entries: &[(u16, u8, u8)]) -> Commit {
        let position = self.commits.len() as u32;
        let checkpoint = moves.then(|| Bytes::copy_from_slice(&position.to_le_bytes()));
        let entries = entries.iter().map(|entry| self.entry(*entry)).collect();
        let commit = Commit { source: SOURCES[source].into(), checkpoint, entries, urgent: false };
        self.commits.push(commit.clone());
        commit
    }

    fn entry(&mut self, (len, attachments, sinks): (u16, u8, u8)) -> NewEntry {
        self.payloads += 1;
        let payload = [self.payloads.to_le_bytes().to_vec(), vec![self.payloads as u8; len.into()]].concat();
        let attachments = (0..attachments).map(|at| Bytes::from(vec![at; usize::from(len) * 2])).collect();
        let sinks = [0, 1].into_iter().filter(|at| sinks & (1 << at) != 0).map(Sink).collect();
        NewEntry { payload: payload.into(), attachments, sinks }
    }

    /// What a sink was to get of the first commits, acknowledged or not, by number.
    fn given(&self, commits: usize, sink: usize) -> Vec<(u32, Expected)> {
        let mut given = Vec::new();
        for commit in &self.commits[..commits] {
            for entry in commit.entries.iter().filter(|entry| entry.sinks.contains(&Sink(sink))) {
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

    /// Whether this is what the first commits come to, less acknowledged entries: all of those that are durable, any of the others.
    fn explains(&self, commits: usize, found: &Found) -> bool {
        let queues = [0, 1].iter().all(|sink| self.explains_queue(commits, *sink, &found.queues[*sink]));
        found.checkpoints == self.checkpoints(commits) && queues
    }

    fn explains_queue(&self, commits: usize, sink: usize, found: &[Expected]) -> bool {
        let mut left = found.iter().peekable();
        let whole = self.given(commits, sink).into_iter().all(|(number, expected)| {
            match left.next_if(|entry| **entry == expected) {
                Some(_) => !self.settled_acks[sink].contains(&number),
                None => self.acked[sink].contains(&number),
            }
        });
        whole && left.next().is_none()
    }

    /// After a crash: the commits up to some point are there, those reported as durable among them.
    fn recover(&mut self, found: &Found) {
        let explained =
            (self.settled..=self.commits.len()).rev().find(|commits| self.explains(*commits, found));
        let Some(commits) = explained else { panic!("no point in {self:#?} explains {found:#?}") };
        self.commits.truncate(commits);
        self.settled = commits;
        for sink in 0..2 {
            let left: BTreeSet<u32> =
                found.queues[sink].iter().map(|(_, payload, _)| number(payload)).collect();
            self.acked[sink].retain(|number| !left.contains(number));
            self.settled_acks[sink] = self.acked[sink].clone();
        }
    }

    fn settle(&mut self) {
        self.settled = self.commits.len();
        self.settled_acks = self.acked.clone();
    }
}

/// What a disk holds.
#[derive(Debug, PartialEq)]
struct Found {
    checkpoints: BTreeMap<String, Bytes>,
    queues: [Vec<Expected>; 2],
}

impl Found {
    fn on(outbox: &Outbox) -> Self {
        let checkpoint = |source: &&str| Some(((*source).to_owned(), outbox.checkpoint(source).unwrap()?));
        let queue = |sink| {
            let entries = pending(outbox, sink);
            assert!(entries.windows(2).all(|two| two[0].id < two[1].id), "ids rise");
            let queued = outbox.queued(Sink(sink));
            assert!(queued.entries >= entries.len() as u64);
            entries.into_iter().map(|entry| (entry.source, entry.payload, entry.attachments)).collect()
        };
        Self { checkpoints: SOURCES.iter().filter_map(checkpoint).collect(), queues: [queue(0), queue(1)] }
    }
}

/// A disk, an outbox on it, and what it was told.
struct History {
    platter: Platter,
    outbox: Outbox,
    model: Model,
}

impl History {
    fn new() -> Self {
        let platter = Platter::default();
        let (outbox, _) = open(&platter, sinks());
        Self { platter, outbox, model: Model::default() }
    }

    async fn take(&mut self, step: &Step) {
        match step {
            Step::Commit { source, moves, entries } => {
                let commit = self.model.commit(*source, *moves, entries);
                self.outbox.commit(commit).await.unwrap();
            }
            Step::Ack { sink, first, every } => self.ack(*sink, *first, *every),
            Step::Settle => self.settle().await,
            Step::Fail { good, errors } => self.platter.fail_after(*good, *errors),
            Step::Crash { good, fates } => self.crash(*good, fates).await,
            Step::Close => self.close(),
        }
    }

    fn ack(&mut self, sink: usize, first: usize, every: usize) {
        let entries = self.outbox.pending(Sink(sink), None, usize::MAX, u64::MAX).unwrap_or_default();
        let taken: Vec<&Entry> = entries.iter().skip(first).step_by(every).collect();
        let ids: Vec<EntryId> = taken.iter().map(|entry| entry.id).collect();
        self.outbox.ack(Sink(sink), &ids);
        self.model.acked[sink].extend(taken.iter().map(|entry| number(&entry.payload)));
        let left = self.outbox.pending(Sink(sink), None, usize::MAX, u64::MAX).unwrap_or_default();
        assert!(left.iter().all(|entry| !ids.contains(&entry.id)), "an acknowledged entry came again");
    }

    async fn settle(&mut self) {
        self.outbox.settled().await;
        self.model.settle();
        let found = Found::on(&self.outbox);
        assert!(self.model.explains(self.model.commits.len(), &found), "{:#?} is not {found:#?}", self.model);
        for sink in 0..2 {
            let of = |(_, payload, attachments): &Expected| {
                payload.len() + attachments.iter().map(Bytes::len).sum::<usize>()
            };
            let queue = &found.queues[sink];
            let queued = self.outbox.queued(Sink(sink));
            let bytes: usize = queue.iter().map(of).sum();
            assert_eq!((queued.entries, queued.bytes), (queue.len() as u64, bytes as u64));
            assert_eq!(queued.oldest.is_some(), !queue.is_empty());
            assert!(
                self.outbox.0.intake.acked(Sink(sink), None).is_empty(),
                "what is off the disk is remembered"
            );
        }
    }

    async fn crash(&mut self, good: u64, fates: &[u16]) {
        self.platter.cut_after(good);
        let mut health = self.outbox.health();
        let dark = async {
            while !self.platter.is_dark() {
                health.changed().await.unwrap();
            }
        };
        tokio::select! {
            () = self.outbox.settled() => self.model.settle(),
            () = dark => {}
        }
        self.platter = Platter::holding(self.platter.after_crash(fates));
        self.open_again();
    }

    fn close(&mut self) {
        if self.outbox.close().is_ok() {
            self.model.settle();
        }
        self.platter = Platter::holding(self.platter.after_crash(&[0]));
        self.open_again();
    }

    fn open_again(&mut self) {
        (self.outbox, _) = open(&self.platter, sinks());
        self.model.recover(&Found::on(&self.outbox));
    }
}

fn cases() -> u32 {
    std::env::var("OUTBOX_CASES").map_or(500, |cases| cases.parse().unwrap())
}

#[test]
fn no_history_breaks_a_promise() {
    let mut runner =
        TestRunner::new(Config { cases: cases(), failure_persistence: None, ..Config::default() });
    let histories = vec(step(), 1..40);
    let outcome = runner.run(&histories, |steps| {
        run(async {
            let mut history = History::new();
            for step in &steps {
                history.take(step).await;
            }
            history.settle().await;
        });
        Ok(())
    });
    outcome.unwrap();
}
