use super::*;
use crate::item::apply;
use crate::limits::{MAX_CHECKPOINT_BYTES, MAX_COMMIT_RECORDS, MAX_PENDING_RECORDS};

const ME: &str = "worker";

/// An owner on a table of one item.
struct Fixture {
    item: CameraItem,
    owner: Owner,
    /// The writes that wait for an answer.
    writes: Vec<ItemCall>,
    /// The calls of the sink: numbers of the records, and whether they are fenced.
    sent: Vec<(Vec<u64>, bool)>,
    /// Everything else that came out.
    rest: Vec<OwnerOutput>,
}

impl Fixture {
    fn new(when_away: WhenTableIsAway) -> Self {
        let item = claimed(&CameraItem::default());
        Self::resume(item, when_away, 0)
    }

    fn resume(item: CameraItem, when_away: WhenTableIsAway, now_ms: u64) -> Self {
        let settings = OwnerSettings {
            camera: CameraKey::new("door"),
            worker: WorkerId::new(ME),
            spec: "s".into(),
            when_away,
        };
        let owner = Owner::new(settings, &item, now_ms);
        let mut fixture = Self { item, owner, writes: Vec::new(), sent: Vec::new(), rest: Vec::new() };
        fixture.step(now_ms, OwnerInput::Wake);
        fixture.answer_all(now_ms);
        fixture
    }

    fn step(&mut self, now_ms: u64, input: OwnerInput) {
        for output in self.owner.step(now_ms, input) {
            match output {
                OwnerOutput::Write(call) => self.writes.push(call),
                OwnerOutput::Send { records, is_fenced } => {
                    self.sent.push((records.iter().map(|record| record.seq).collect(), is_fenced));
                }
                other => self.rest.push(other),
            }
        }
    }

    fn commit(&mut self, now_ms: u64, seqs: std::ops::RangeInclusive<u64>) {
        let state = CameraResumeState { seq: *seqs.end(), ..CameraResumeState::default() };
        let records = seqs.map(|seq| record(seq, 10)).collect();
        self.step(now_ms, OwnerInput::Commit(OwnerCommit { state, records }));
    }

    /// Moves the position without an event.
    fn move_on(&mut self, now_ms: u64, position: &str) {
        let seq = self.owner.commits_last_seq();
        let state = CameraResumeState { position: position.into(), seq, ..CameraResumeState::default() };
        self.step(now_ms, OwnerInput::Commit(OwnerCommit { state, records: Vec::new() }));
    }

    /// Lets the table apply the first write; its answer is lost.
    fn apply_silently(&mut self) {
        self.item = apply(&self.item, &self.writes.remove(0)).unwrap();
    }

    /// Lets the table answer the first write.
    fn answer(&mut self, now_ms: u64) {
        match apply(&self.item, &self.writes.remove(0)) {
            Ok(after) => {
                self.item = after;
                self.step(now_ms, OwnerInput::Written);
            }
            Err(refusal) => self.step(now_ms, OwnerInput::Refused(refusal.there)),
        }
    }

    fn answer_all(&mut self, now_ms: u64) {
        while !self.writes.is_empty() {
            self.answer(now_ms);
        }
    }

    fn pending(&self) -> Vec<u64> {
        self.item.pending.iter().map(|record| record.seq).collect()
    }
}

fn record(seq: u64, bytes: usize) -> PendingRecord {
    PendingRecord { seq, id: format!("e{seq}").into(), body: vec![0; bytes].into() }
}

fn claimed(item: &CameraItem) -> CameraItem {
    apply(item, &item.claim_for(&WorkerId::new(ME))).unwrap()
}

#[test]
fn a_record_is_sent_only_after_its_write_was_acknowledged() {
    let mut door = Fixture::new(WhenTableIsAway::Hold);
    door.commit(0, 1..=2);
    assert_eq!((door.writes.len(), door.sent.len()), (1, 0));
    door.answer(5);
    assert_eq!(door.sent, [(vec![1, 2], true)]);
    assert_eq!((door.pending(), door.item.state.seq), (vec![1, 2], 2));
}

#[test]
fn events_that_come_while_a_write_is_under_way_go_with_the_next() {
    let mut door = Fixture::new(WhenTableIsAway::Hold);
    door.commit(0, 1..=1);
    door.commit(1, 2..=2);
    door.commit(2, 3..=3);
    assert_eq!(door.writes.len(), 1);
    door.answer(5);
    assert_eq!(door.writes.len(), 1);
    door.answer(9);
    assert_eq!(door.pending(), [1, 2, 3]);
}

#[test]
fn a_record_leaves_the_item_only_after_the_sink_has_accepted_it() {
    let mut door = Fixture::new(WhenTableIsAway::Hold);
    door.commit(0, 1..=2);
    door.answer(5);
    door.step(20_005, OwnerInput::Wake);
    assert!(door.writes.is_empty(), "nothing to write while the sink is silent");
    door.step(20_010, OwnerInput::Sent { up_to: 1 });
    door.answer_all(20_010);
    assert_eq!(door.pending(), [2]);
}

#[test]
fn an_accepted_record_leaves_with_the_next_event_or_after_the_period() {
    let mut door = Fixture::new(WhenTableIsAway::Hold);
    door.commit(0, 1..=1);
    door.answer(5);
    door.step(10, OwnerInput::Sent { up_to: 1 });
    assert!(door.writes.is_empty(), "not worth a write of its own");
    assert_eq!(door.owner.wake_at(), Some(5 + POSITION_MS));
    door.commit(100, 2..=2);
    door.answer(105);
    assert_eq!(door.pending(), [2]);
}

#[test]
fn records_of_the_predecessor_are_sent_first() {
    let mut before = Fixture::new(WhenTableIsAway::Hold);
    before.commit(0, 1..=2);
    before.apply_silently();
    let mut door = Fixture::resume(claimed(&before.item), WhenTableIsAway::Hold, 50_000);
    assert_eq!(door.sent, [(vec![1, 2], true)]);
    door.commit(50_010, 3..=3);
    door.answer_all(50_015);
    assert_eq!(door.sent.len(), 1, "one call of the sink at a time");
    door.step(50_020, OwnerInput::Sent { up_to: 2 });
    assert_eq!(door.sent[1], (vec![3], true));
}

#[test]
fn a_lost_answer_is_distinguished_from_another_owner() {
    let mut door = Fixture::new(WhenTableIsAway::Hold);
    door.commit(0, 1..=1);
    door.apply_silently();
    door.step(1_000, OwnerInput::WriteFailed);
    door.step(door.owner.wake_at().unwrap(), OwnerInput::Wake);
    door.answer(1_300);
    assert_eq!((door.sent.len(), door.owner.end()), (1, None));
    door.commit(2_000, 2..=2);
    door.item = apply(&door.item, &door.item.claim_for(&WorkerId::new("other"))).unwrap();
    door.answer(2_010);
    assert_eq!(door.owner.end(), Some(OwnerEnd::Fenced));
    assert_eq!(door.rest, [OwnerOutput::Over(OwnerEnd::Fenced)]);
}

#[test]
fn a_fenced_owner_sends_nothing_more() {
    let mut door = Fixture::new(WhenTableIsAway::Hold);
    door.commit(0, 1..=1);
    door.item = apply(&door.item, &door.item.claim_for(&WorkerId::new("other"))).unwrap();
    door.answer(5);
    door.commit(10, 1..=1);
    door.step(10_000, OwnerInput::Wake);
    assert!(door.sent.is_empty() && door.writes.is_empty());
    assert_eq!(door.owner.wake_at(), None);
}

#[test]
fn a_failed_write_is_repeated_unchanged_though_more_came_meanwhile() {
    let mut door = Fixture::new(WhenTableIsAway::Hold);
    door.commit(0, 1..=1);
    let first = door.writes.remove(0);
    door.step(1_000, OwnerInput::WriteFailed);
    door.commit(1_001, 2..=2);
    assert!(door.writes.is_empty(), "not before the delay");
    door.step(door.owner.wake_at().unwrap(), OwnerInput::Wake);
    assert_eq!(door.writes, [first]);
}

#[test]
fn the_sink_is_tried_again_from_the_first_record_that_it_did_not_accept() {
    let mut door = Fixture::new(WhenTableIsAway::Hold);
    door.commit(0, 1..=3);
    door.answer(5);
    door.step(10, OwnerInput::Sent { up_to: 1 });
    assert_eq!(door.sent.len(), 1);
    door.step(10 + 60 + 150, OwnerInput::Wake);
    assert_eq!(door.sent[1], (vec![2, 3], true));
}

#[test]
fn a_camera_waits_while_too_much_is_pending_and_loses_nothing() {
    let mut door = Fixture::new(WhenTableIsAway::Hold);
    let full = MAX_PENDING_RECORDS as u64;
    door.commit(0, 1..=full);
    door.answer_all(5);
    door.commit(10, full + 1..=full + 1);
    assert_eq!(door.rest, [OwnerOutput::Hold]);
    assert!(door.owner.is_held() && door.writes.is_empty());
    door.commit(11, full + 2..=full + 2);
    assert_eq!(door.rest[1], OwnerOutput::Rejected(CommitRejection::Held));
    door.step(20, OwnerInput::Sent { up_to: full });
    assert_eq!(door.rest[2], OwnerOutput::Resume);
    door.answer_all(25);
    assert_eq!(door.pending(), [full + 1]);
}

#[test]
fn a_frame_with_more_events_than_the_bound_is_taken_when_nothing_is_pending() {
    let mut door = Fixture::new(WhenTableIsAway::Hold);
    let many = MAX_PENDING_RECORDS as u64 + 8;
    door.commit(0, 1..=many);
    door.answer_all(5);
    assert_eq!(door.pending().len() as u64, many);
}

#[test]
fn what_no_item_could_hold_is_rejected() {
    let mut door = Fixture::new(WhenTableIsAway::Hold);
    door.commit(0, 1..=MAX_COMMIT_RECORDS as u64 + 1);
    let checkpoint = vec![0; MAX_CHECKPOINT_BYTES + 1].into();
    let state = CameraResumeState { checkpoint, ..CameraResumeState::default() };
    door.step(0, OwnerInput::Commit(OwnerCommit { state, records: Vec::new() }));
    door.commit(0, 2..=2);
    let records = [OwnerOutput::Rejected(CommitRejection::Sequence { expected: 1, found: 2 })];
    assert!(matches!(door.rest[0], OwnerOutput::Rejected(CommitRejection::RecordsTooLarge { .. })));
    assert!(matches!(door.rest[1], OwnerOutput::Rejected(CommitRejection::CheckpointTooLarge { .. })));
    assert_eq!(door.rest[2..], records);
    assert!(door.writes.is_empty());
}

#[test]
fn the_position_is_written_once_per_period_and_only_if_it_has_moved() {
    let mut door = Fixture::new(WhenTableIsAway::Hold);
    assert_eq!(door.owner.wake_at(), None, "nothing new");
    let rev = door.item.rev;
    for second in 0..60 {
        door.move_on(second * 1_000, &format!("p{second}"));
        door.answer_all(second * 1_000);
    }
    assert!((2..=3).contains(&(door.item.rev - rev)), "{}", door.item.rev - rev);
}

#[test]
fn the_final_write_waits_for_the_sink_but_not_for_ever() {
    for (is_sink_fast, pending) in [(true, vec![]), (false, vec![1])] {
        let mut door = Fixture::new(WhenTableIsAway::Hold);
        let next = WorkerId::new("next");
        let offer = ItemCall::Offer { owner: WorkerId::new(ME), epoch: 1, next: next.clone() };
        door.item = apply(&door.item, &offer).unwrap();
        door.commit(0, 1..=1);
        door.answer(5);
        door.step(10, OwnerInput::Stop(OwnerAfter::Next(next.clone())));
        assert!(door.writes.is_empty());
        if is_sink_fast {
            door.step(50, OwnerInput::Sent { up_to: 1 });
        } else {
            assert_eq!(door.owner.wake_at(), Some(10 + FINAL_SEND_MS));
            door.step(10 + FINAL_SEND_MS, OwnerInput::Wake);
        }
        door.answer(400);
        assert_eq!((door.pending(), door.item.owner.clone()), (pending, Some(next)));
        assert_eq!(door.rest, [OwnerOutput::Over(OwnerEnd::Released)]);
    }
}

#[test]
fn a_hand_over_that_was_called_off_resumes_the_camera() {
    let mut door = Fixture::new(WhenTableIsAway::Hold);
    door.move_on(0, "p1");
    door.step(10, OwnerInput::Stop(OwnerAfter::Next(WorkerId::new("next"))));
    door.answer(20);
    assert_eq!(door.rest, [OwnerOutput::Kept]);
    door.commit(30, 1..=1);
    door.answer_all(40);
    assert_eq!((door.pending(), door.sent.len()), (vec![1], 1));
}

#[test]
fn a_stopped_camera_takes_no_commit() {
    let mut door = Fixture::new(WhenTableIsAway::Hold);
    door.step(0, OwnerInput::Stop(OwnerAfter::Free));
    door.commit(1, 1..=1);
    assert_eq!(door.rest, [OwnerOutput::Rejected(CommitRejection::Stopped)]);
    door.answer_all(5);
    assert_eq!(door.item.owner, None);
}

#[test]
fn records_wait_while_the_table_is_away_and_hold_is_set() {
    let mut door = Fixture::new(WhenTableIsAway::Hold);
    door.commit(0, 1..=1);
    for second in 1..60 {
        door.writes.clear();
        door.step(second * 1_000, OwnerInput::WriteFailed);
        door.step(second * 1_000 + 900, OwnerInput::Wake);
    }
    assert!(door.sent.is_empty());
}

#[test]
fn records_are_sent_unfenced_while_the_table_is_away_and_publish_is_set() {
    let mut door = Fixture::new(WhenTableIsAway::Publish);
    door.commit(0, 1..=1);
    let first = door.writes.remove(0);
    door.step(1_000, OwnerInput::WriteFailed);
    door.commit(1_500, 2..=2);
    assert!(door.sent.is_empty(), "not yet away");
    door.step(1_000 + TABLE_AWAY_MS, OwnerInput::Wake);
    assert!(door.sent.is_empty(), "a process that was suspended asks the table first");
    assert_eq!(std::mem::take(&mut door.writes), std::slice::from_ref(&first), "repeated unchanged");
    door.step(1_001 + TABLE_AWAY_MS, OwnerInput::WriteFailed);
    assert_eq!(door.sent, [(vec![1, 2], false)]);
    door.step(3_100, OwnerInput::Sent { up_to: 2 });
    door.step(6_000, OwnerInput::Wake);
    assert_eq!(door.writes, [first], "repeated unchanged");
    door.answer_all(5_001);
    assert_eq!((door.sent.len(), door.item.state.seq), (1, 1), "no record twice");
    door.step(door.owner.wake_at().unwrap(), OwnerInput::Wake);
    door.answer_all(30_000);
    assert_eq!((door.pending(), door.item.state.seq), (vec![], 2));
    door.commit(30_001, 3..=3);
    door.answer_all(30_002);
    assert_eq!(door.sent[1], (vec![3], true), "fenced again");
}

#[test]
fn strikes_are_cleared_after_two_minutes_or_by_an_orderly_end() {
    let struck = CameraItem { strikes: 2, ..claimed(&CameraItem::default()) };
    let mut door = Fixture::resume(struck.clone(), WhenTableIsAway::Hold, 7);
    assert_eq!(door.item.strikes, 2);
    assert_eq!(door.owner.wake_at(), Some(7 + STRIKES_CLEAR_MS));
    door.step(7 + STRIKES_CLEAR_MS, OwnerInput::Wake);
    door.answer_all(7 + STRIKES_CLEAR_MS);
    assert_eq!(door.item.strikes, 0);
    let mut door = Fixture::resume(struck, WhenTableIsAway::Hold, 0);
    door.step(0, OwnerInput::Stop(OwnerAfter::Free));
    door.answer_all(5);
    assert_eq!((door.item.strikes, door.item.owner.clone()), (0, None));
}

#[test]
fn changed_settings_are_written_at_once() {
    let mut door = Fixture::new(WhenTableIsAway::Hold);
    assert_eq!(&*door.item.spec, "s");
    door.step(10, OwnerInput::Spec("t".into()));
    door.answer_all(11);
    assert_eq!(&*door.item.spec, "t");
    assert!(door.owner.is_quiet());
}

#[test]
fn the_delay_between_attempts_grows_and_stays_bounded() {
    for (failures, range) in [(1, 50..=199), (2, 100..=249), (6, 1_600..=1_749), (40, 2_000..=2_149)] {
        let delay = retry_delay_ms(7, failures);
        assert!(range.contains(&delay), "{failures} failures: {delay} ms");
    }
}
