//! Model A: the fenced write-ahead of one camera, explored to the end.
//!
//! Any worker may be granted the camera at any moment, and may crash or pause anywhere. Messages to the table and to the sink may
//! be late, lost or applied twice, and their answers may be lost. An event's id is chosen again each time it is decided, as in
//! live mode.
//!
//! # How the states stay few
//!
//! - The id of an event is the number of the start that decided it: ids differ whenever they may differ, which is the worst case.
//! - A message that is lost is one that stays under way for ever. So is one whose answer is lost: its repetition is the next
//!   delivery of the same message.
//! - A pause is a worker whose actions come late, and a crash is one whose actions never come. Only a restart, which forgets
//!   everything, is an action of its own.
//! - The first grant goes to the first worker: the workers are alike.
//!
//! Bounds: 2 workers, 2 grants and 1 restart beyond them, 2 events, and [`MAX_LOG`] records in the sink; three of them where no rule is taken away.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use stateright::{Checker, HasDiscoveries, Model, Property};

use super::promises;
use crate::item::{CameraItem, CameraResumeState, ItemCall, OwnerWrite, PendingRecord, apply_with};
use crate::owner::{Owner, OwnerCommit, OwnerInput, OwnerOutput, OwnerSettings, WhenTableIsAway};
use crate::rules::SafetyRules;
use crate::{CameraKey, WorkerId};

const WORKERS: usize = 2;
const MAX_LOG: usize = 4;

/// The bounds and the rules of one exploration.
#[derive(Clone, Copy, Debug)]
struct WriteAheadModel {
    rules: SafetyRules,
    /// A worker sends only if the item names it as the owner at that moment: a lease in place of rule W.
    looks_at_lease: bool,
    events: u64,
    grants: u64,
    max_log: usize,
}

/// A worker that owns the camera, or believes so.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct ModelOwner {
    owner: Owner,
    /// The number of the start, which is the id of every event that it decides.
    start: u8,
    /// The ids of all events decided so far, which stand for the checkpoint.
    ids: Vec<u8>,
    attempt: Option<OwnerWrite>,
    is_sending: bool,
}

/// A message under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum ModelMessage {
    Write(ModelWrite),
    Send { worker: usize, epoch: u64, records: Vec<ModelRecord> },
}

/// A write, ordered by its text because the calls have no order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct ModelWrite(OwnerWrite);

impl PartialOrd for ModelWrite {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ModelWrite {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let key = |write: &OwnerWrite| {
            (
                write.epoch,
                write.rev,
                write.state.checkpoint.to_vec(),
                write.pending.iter().map(record).collect::<Vec<_>>(),
            )
        };
        key(&self.0).cmp(&key(&other.0))
    }
}

/// A record: its number, its id, the epoch in which it was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct ModelRecord {
    seq: u64,
    id: u8,
    decided: u64,
}

fn record(pending: &PendingRecord) -> ModelRecord {
    let id = pending.id.as_bytes()[0];
    ModelRecord { seq: pending.seq, id, decided: u64::from(pending.body[0]) }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct WriteAheadState {
    item: CameraItem,
    owners: [Option<ModelOwner>; WORKERS],
    messages: BTreeSet<ModelMessage>,
    /// The records in the sink, with the epoch of their sender.
    log: Vec<(ModelRecord, u64)>,
    starts: u8,
}

#[derive(Clone, Debug, PartialEq)]
enum WriteAheadAction {
    Grant(usize),
    Start(usize),
    Decide(usize),
    TableApplies { message: ModelMessage, is_kept: bool, is_answered: bool },
    WriteFails(usize),
    SinkAccepts { message: ModelMessage, records: usize, is_answered: bool },
    SendFails(usize),
    Trim(usize),
}

fn worker_id(worker: usize) -> WorkerId {
    WorkerId::new(["a", "b", "c"][worker])
}

impl WriteAheadModel {
    fn start(self, worker: usize, start: u8, item: &CameraItem) -> ModelOwner {
        let settings = OwnerSettings {
            camera: CameraKey::new("door"),
            worker: worker_id(worker),
            spec: "".into(),
            when_away: WhenTableIsAway::Hold,
        };
        ModelOwner {
            owner: Owner::with_rules(self.rules, settings, item, 0),
            start,
            ids: item.state.checkpoint.to_vec(),
            attempt: None,
            is_sending: false,
        }
    }
}

impl WriteAheadState {
    fn feed(&mut self, model: WriteAheadModel, worker: usize, now_ms: u64, input: OwnerInput) {
        let Some(own) = &mut self.owners[worker] else { return };
        let outputs = own.owner.step(now_ms, input);
        own.owner.settle();
        let epoch = own.owner.epoch();
        for output in outputs {
            match output {
                OwnerOutput::Write(ItemCall::Write(write)) => {
                    own.attempt = Some(write.clone());
                    self.messages.insert(ModelMessage::Write(ModelWrite(write)));
                }
                OwnerOutput::Send { records, .. } => {
                    own.is_sending = true;
                    let has_lease = self.item.owner == Some(worker_id(worker)) && self.item.epoch == epoch;
                    if has_lease || !model.looks_at_lease {
                        let records = records.iter().map(record).collect();
                        self.messages.insert(ModelMessage::Send { worker, epoch, records });
                    }
                }
                OwnerOutput::Over(_) => {
                    self.owners[worker] = None;
                    return;
                }
                other => panic!("unexpected {other:?}"),
            }
        }
    }

    fn decide(&mut self, model: WriteAheadModel, worker: usize) {
        let Some(own) = &mut self.owners[worker] else { return };
        let id = b'0' + own.start;
        own.ids.push(id);
        let seq = own.ids.len() as u64;
        let epoch = u8::try_from(own.owner.epoch()).unwrap();
        let commit = OwnerCommit {
            state: CameraResumeState {
                seq,
                checkpoint: Arc::from(own.ids.as_slice()),
                ..CameraResumeState::default()
            },
            records: vec![PendingRecord {
                seq,
                id: (id as char).to_string().into(),
                body: Arc::from([epoch].as_slice()),
            }],
        };
        self.feed(model, worker, 0, OwnerInput::Commit(commit));
    }

    /// The worker that waits for the answer to this very write.
    fn writer_of(&self, write: &OwnerWrite) -> Option<usize> {
        (0..WORKERS).find(|&worker| {
            let own = self.owners[worker].as_ref();
            write.owner == worker_id(worker) && own.is_some_and(|own| own.attempt.as_ref() == Some(write))
        })
    }

    fn table(
        &mut self,
        model: WriteAheadModel,
        message: &ModelMessage,
        is_kept: bool,
        is_answered: bool,
    ) -> Option<()> {
        let ModelMessage::Write(ModelWrite(write)) = message else { return None };
        let writer = self.writer_of(write);
        let result = apply_with(model.rules, &self.item, &ItemCall::Write(write.clone()));
        if result.is_err() && is_kept {
            return None;
        }
        if !is_kept {
            self.messages.remove(message);
        }
        let input = match result {
            Ok(after) => {
                self.item = after;
                OwnerInput::Written
            }
            Err(refusal) => OwnerInput::Refused(refusal.there),
        };
        if let Some(worker) = writer.filter(|_| is_answered) {
            self.owners[worker].as_mut()?.attempt = None;
            self.feed(model, worker, 0, input);
        }
        Some(())
    }

    fn sink(
        &mut self,
        model: WriteAheadModel,
        message: &ModelMessage,
        count: usize,
        is_answered: bool,
    ) -> Option<()> {
        let ModelMessage::Send { worker, epoch, records } = message else { return None };
        self.log.extend(records.iter().take(count).map(|record| (*record, *epoch)));
        if !is_answered {
            return Some(());
        }
        self.messages.remove(message);
        let own =
            self.owners[*worker].as_mut().filter(|own| own.owner.epoch() == *epoch && own.is_sending)?;
        own.is_sending = false;
        let up_to = records[count - 1].seq;
        self.feed(model, *worker, 0, OwnerInput::Sent { up_to });
        self.feed(model, *worker, 1, OwnerInput::Wake);
        Some(())
    }

    /// The first occurrence of each number in the sink, in the order of the sink.
    fn first_occurrences(&self) -> Vec<(ModelRecord, u64)> {
        let mut seen = BTreeSet::new();
        self.log.iter().filter(|(record, _)| seen.insert(record.seq)).copied().collect()
    }
}

fn has_one_id(_: &WriteAheadModel, state: &WriteAheadState) -> bool {
    let mut ids = BTreeMap::new();
    state.log.iter().all(|(record, _)| *ids.entry(record.seq).or_insert(*record) == *record)
}

/// Each event that the stored state includes is in the sink or in `pending`, under the id that the state has for it.
fn has_lost_nothing(_: &WriteAheadModel, state: &WriteAheadState) -> bool {
    let pending: Vec<_> = state.item.pending.iter().map(record).collect();
    let known: Vec<_> = state.log.iter().map(|(record, _)| *record).chain(pending).collect();
    let stored = state.item.state.checkpoint.iter().zip(1..);
    state.item.state.checkpoint.len() as u64 == state.item.state.seq
        && stored
            .into_iter()
            .all(|(id, seq)| known.iter().any(|record| (record.seq, record.id) == (seq, *id)))
}

fn is_in_order(_: &WriteAheadModel, state: &WriteAheadState) -> bool {
    state.first_occurrences().is_sorted_by_key(|(record, _)| record.seq)
}

/// No record that a replaced worker decided comes for the first time after one that its successor decided.
///
/// The sender of a record does not count: a record in the item may come by a late call of the replaced worker before its successor
/// sends the same bytes.
fn has_no_stale_news(_: &WriteAheadModel, state: &WriteAheadState) -> bool {
    state.first_occurrences().is_sorted_by_key(|(record, _)| record.decided)
}

impl Model for WriteAheadModel {
    type State = WriteAheadState;
    type Action = WriteAheadAction;

    fn init_states(&self) -> Vec<WriteAheadState> {
        vec![WriteAheadState {
            item: CameraItem::default(),
            owners: [const { None }; WORKERS],
            messages: BTreeSet::new(),
            log: Vec::new(),
            starts: 0,
        }]
    }

    fn actions(&self, state: &WriteAheadState, actions: &mut Vec<WriteAheadAction>) {
        for (worker, own) in state.owners.iter().enumerate() {
            let is_owner = state.item.owner == Some(worker_id(worker));
            if state.item.epoch < self.grants && (worker == 0 || state.item.epoch > 0) {
                actions.push(WriteAheadAction::Grant(worker));
            }
            if is_owner && u64::from(state.starts) <= self.grants {
                actions.push(WriteAheadAction::Start(worker));
            }
            let Some(own) = own else { continue };
            if (own.ids.len() as u64) < self.events {
                actions.push(WriteAheadAction::Decide(worker));
            }
            if own.attempt.is_some() {
                actions.push(WriteAheadAction::WriteFails(worker));
            } else {
                actions.push(WriteAheadAction::Trim(worker));
            }
            if own.is_sending {
                actions.push(WriteAheadAction::SendFails(worker));
            }
        }
        for message in &state.messages {
            let message = message.clone();
            match &message {
                ModelMessage::Write(_) => actions.extend([(false, true), (true, true), (true, false)].map(
                    |(is_kept, is_answered)| {
                        let message = message.clone();
                        WriteAheadAction::TableApplies { message, is_kept, is_answered }
                    },
                )),
                ModelMessage::Send { records, .. } => {
                    let room = self.max_log - state.log.len();
                    for (count, is_answered) in
                        (1..=records.len().min(room)).flat_map(|count| [(count, true), (count, false)])
                    {
                        let message = message.clone();
                        actions.push(WriteAheadAction::SinkAccepts { message, records: count, is_answered });
                    }
                }
            }
        }
    }

    fn next_state(&self, last: &WriteAheadState, action: WriteAheadAction) -> Option<WriteAheadState> {
        let mut state = last.clone();
        match action {
            WriteAheadAction::Grant(worker) => {
                let call = state.item.claim_for(&worker_id(worker));
                state.item = apply_with(self.rules, &state.item, &call).ok()?;
            }
            WriteAheadAction::Start(worker) => {
                state.starts += 1;
                state.owners[worker] = Some(self.start(worker, state.starts, &state.item));
                state.feed(*self, worker, 0, OwnerInput::Wake);
            }
            WriteAheadAction::Decide(worker) => state.decide(*self, worker),
            WriteAheadAction::TableApplies { message, is_kept, is_answered } => {
                state.table(*self, &message, is_kept, is_answered)?;
            }
            WriteAheadAction::WriteFails(worker) => {
                state.owners[worker].as_mut()?.attempt = None;
                // The message stays under way: it may have been applied, or be so later.
                state.feed(*self, worker, 0, OwnerInput::WriteFailed);
                state.feed(*self, worker, 1, OwnerInput::Wake);
            }
            WriteAheadAction::SinkAccepts { message, records, is_answered } => {
                state.sink(*self, &message, records, is_answered);
            }
            WriteAheadAction::SendFails(worker) => {
                state.owners[worker].as_mut()?.is_sending = false;
                state.feed(*self, worker, 0, OwnerInput::Sent { up_to: 0 });
                state.feed(*self, worker, 1, OwnerInput::Wake);
            }
            WriteAheadAction::Trim(worker) => state.feed(*self, worker, 3, OwnerInput::Wake),
        }
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        promises(has_one_id, has_lost_nothing, is_in_order, has_no_stale_news)
    }
}

const ALL: WriteAheadModel = WriteAheadModel {
    rules: SafetyRules::ALL,
    looks_at_lease: false,
    events: 2,
    grants: 2,
    max_log: MAX_LOG,
};

#[test]
fn no_property_breaks_while_every_rule_holds() {
    for (name, model) in [
        ("2 events, 2 grants, 3 records", WriteAheadModel { max_log: 3, ..ALL }),
        ("1 event, 3 grants, 2 records", WriteAheadModel { events: 1, grants: 3, max_log: 2, ..ALL }),
    ] {
        let start = Instant::now();
        let checker = model.checker().spawn_bfs().join();
        println!(
            "write-ahead, {name}: {} states, {} generated, depth {}, {:.1} s",
            checker.unique_state_count(),
            checker.state_count(),
            checker.max_depth(),
            start.elapsed().as_secs_f64()
        );
        checker.assert_properties();
        assert!(checker.unique_state_count() > 10_000, "the model explores next to nothing");
    }
}

#[test]
fn each_rule_taken_away_breaks_a_property() {
    let without = |change: fn(&mut SafetyRules)| {
        let mut rules = SafetyRules::ALL;
        change(&mut rules);
        WriteAheadModel { rules, ..ALL }
    };
    let no_write_ahead = without(|rules| rules.write_ahead = false);
    for (name, model, expected) in [
        ("R (revision)", without(|rules| rules.revision = false), "one id"),
        ("F and R", without(|rules| (rules.epoch, rules.revision) = (false, false)), "one id"),
        ("P (pending first)", without(|rules| rules.pending_first = false), "order"),
        ("T (trim after the answer)", without(|rules| rules.trim_after_answer = false), "nothing lost"),
        ("W (publish before the write)", no_write_ahead, "one id"),
        (
            "W, with a check of the lease",
            WriteAheadModel { looks_at_lease: true, ..no_write_ahead },
            "one id",
        ),
    ] {
        let start = Instant::now();
        let found = HasDiscoveries::AnyOf([expected].into());
        let checker = model.checker().finish_when(found).spawn_bfs().join();
        let path =
            checker.discovery(expected).unwrap_or_else(|| panic!("without {name}: {expected} still holds"));
        println!(
            "without {name}: {expected} breaks after {} steps ({} states, {:.1} s)",
            path.clone().into_actions().len(),
            checker.unique_state_count(),
            start.elapsed().as_secs_f64()
        );
    }
}
