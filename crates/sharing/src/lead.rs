//! The lead of a pool: one worker at a time plans for all, and which one it is never decides who owns a camera.
//!
//! The leader's row has a term and a beat. An observer that has seen both unchanged for [`LEADER_SILENCE_MS`] of its own clock
//! replaces the row if they still are, and the term rises. Two leaders at once do no harm: their grants compete on the cameras'
//! items, and one of them wins each.
//!
//! The leader names two deputies in its row. They read all members as the leader does, so that a new leader knows at once who else
//! is silent. The other workers read only the leader's row, and take the lead [`NON_DEPUTY_DELAY_MS`] later.

use crate::ids::WorkerId;
use crate::limits::{
    LEADER_BEAT_MS, LEADER_SILENCE_MS, NON_DEPUTY_DELAY_MS, OBSERVATION_GAP_MS, RETRY_MIN_MS,
};
use crate::members::LeaderRow;
use crate::table::{TableAnswer, TableCall};

/// One worker's view of the lead, and its own lead.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PoolLead {
    me: WorkerId,
    /// The row as last seen, and the time at which it was first seen so; `None` before the first read.
    seen: Option<(Option<LeaderRow>, u64)>,
    observed_ms: u64,
    own: Option<OwnLead>,
    is_claiming: bool,
}

/// The lead of this worker.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct OwnLead {
    term: u64,
    beat: u64,
    next_beat_ms: u64,
    /// The time at which the beat under way was sent.
    sent_ms: Option<u64>,
    /// The time at which the last acknowledged beat was sent.
    written_ms: Option<u64>,
    deputies: Vec<WorkerId>,
    is_resigning: bool,
}

/// A change of the lead, as one worker sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LeadChange {
    /// This worker leads. The former leader was silent for this long if it left without a word.
    Won {
        /// The leader before, if its beat stood still.
        silent: Option<WorkerId>,
    },
    /// This worker leads no more.
    Lost,
}

impl PoolLead {
    pub(crate) fn new(me: WorkerId) -> Self {
        Self { me, seen: None, observed_ms: 0, own: None, is_claiming: false }
    }

    /// Returns the term if this worker leads.
    pub(crate) fn term(&self) -> Option<u64> {
        self.own.as_ref().filter(|own| !own.is_resigning).map(|own| own.term)
    }

    /// Returns the sending time of the last acknowledged beat of the leader, if this worker leads.
    pub(crate) fn written_ms(&self) -> Option<u64> {
        self.own.as_ref().and_then(|own| own.written_ms)
    }

    /// Returns `true` if the leader's row names this worker as a deputy.
    pub(crate) fn is_deputy(&self) -> bool {
        matches!(&self.seen, Some((Some(row), _)) if row.deputies.contains(&self.me))
    }

    /// Returns `true` if no leader has beaten for `for_ms`, or none is there.
    pub(crate) fn is_leaderless(&self, now_ms: u64, for_ms: u64) -> bool {
        self.own.is_none() && self.seen.as_ref().is_some_and(|(_, since_ms)| now_ms >= since_ms + for_ms)
    }

    /// Takes the leader's row as a read has returned it.
    pub(crate) fn observe(&mut self, now_ms: u64, row: Option<&LeaderRow>) -> Option<LeadChange> {
        let is_new = self.seen.as_ref().is_none_or(|(seen, _)| seen.as_ref() != row);
        if is_new && !self.is_older(row) {
            self.seen = Some((row.cloned(), now_ms));
        }
        if let Some((_, since_ms)) = &mut self.seen
            && now_ms > self.observed_ms + OBSERVATION_GAP_MS
        {
            // The table was away, or this process slept: the leader has had no chance to be seen.
            *since_ms = now_ms;
        }
        self.observed_ms = now_ms;
        let own_term = self.own.as_ref().map(|own| own.term);
        match row {
            Some(row) if own_term.is_some_and(|term| row.term > term) => self.lose(),
            // The answer to the claim was lost.
            Some(row) if self.is_mine(row) && own_term.is_none() && !self.is_claiming => {
                self.win(now_ms, row.term, row.beat);
                Some(LeadChange::Won { silent: None })
            }
            _ => None,
        }
    }

    /// A stale read may return an older row.
    fn is_older(&self, row: Option<&LeaderRow>) -> bool {
        let key = |row: Option<&LeaderRow>| row.map_or((0, 0), |row| (row.term, row.beat));
        self.seen.as_ref().is_some_and(|(seen, _)| key(row) < key(seen.as_ref()))
    }

    fn is_mine(&self, row: &LeaderRow) -> bool {
        row.worker.as_ref() == Some(&self.me)
    }

    /// Returns the claim of the lead if the lead is vacant and no claim is under way.
    pub(crate) fn claim(&mut self, now_ms: u64) -> Option<TableCall> {
        if self.own.is_some() || self.is_claiming || now_ms < self.vacant_at()? {
            return None;
        }
        let (row, _) = self.seen.as_ref()?;
        self.is_claiming = true;
        Some(TableCall::Lead { worker: self.me.clone(), seen: row.as_ref().map(|row| (row.term, row.beat)) })
    }

    /// Returns the time from which the lead counts as vacant; `None` before the first read.
    pub(crate) fn vacant_at(&self) -> Option<u64> {
        let (row, since_ms) = self.seen.as_ref()?;
        let delay_ms = match row {
            Some(row) if row.worker.is_some() && self.is_deputy() => LEADER_SILENCE_MS,
            Some(row) if row.worker.is_some() => LEADER_SILENCE_MS + NON_DEPUTY_DELAY_MS,
            _ => 0,
        };
        Some(since_ms + delay_ms)
    }

    /// Takes the answer to a claim.
    pub(crate) fn claimed(
        &mut self,
        now_ms: u64,
        seen: Option<(u64, u64)>,
        answer: &TableAnswer,
    ) -> Option<LeadChange> {
        self.is_claiming = false;
        if *answer != TableAnswer::Done {
            // Whoever won has changed the row. Wait for the next read of it before another claim.
            self.seen = None;
            return None;
        }
        let silent = match self.seen.take() {
            Some((Some(row), _)) => row.worker.filter(|worker| *worker != self.me),
            _ => None,
        };
        self.win(now_ms, seen.map_or(0, |(term, _)| term) + 1, 0);
        Some(LeadChange::Won { silent })
    }

    fn win(&mut self, now_ms: u64, term: u64, beat: u64) {
        let row = LeaderRow { worker: Some(self.me.clone()), term, beat, deputies: Vec::new() };
        self.seen = Some((Some(row), now_ms));
        self.own = Some(OwnLead {
            term,
            beat,
            next_beat_ms: now_ms,
            sent_ms: None,
            written_ms: None,
            deputies: Vec::new(),
            is_resigning: false,
        });
    }

    fn lose(&mut self) -> Option<LeadChange> {
        self.own.take().map(|_| LeadChange::Lost)
    }

    /// Sets the deputies, which the next beat writes.
    pub(crate) fn set_deputies(&mut self, deputies: Vec<WorkerId>) {
        if let Some(own) = &mut self.own {
            own.deputies = deputies;
        }
    }

    /// Starts to give the lead up in order.
    pub(crate) fn resign(&mut self, now_ms: u64) {
        if let Some(own) = &mut self.own {
            own.is_resigning = true;
            own.next_beat_ms = now_ms;
        }
    }

    /// Returns the beat of the leader, or its resignation, if one is due and none is under way.
    pub(crate) fn beat(&mut self, now_ms: u64) -> Option<TableCall> {
        let own = self.own.as_mut().filter(|own| own.sent_ms.is_none() && now_ms >= own.next_beat_ms)?;
        own.sent_ms = Some(now_ms);
        own.next_beat_ms = now_ms + LEADER_BEAT_MS;
        let (worker, term) = (self.me.clone(), own.term);
        if own.is_resigning {
            return Some(TableCall::Resign { worker, term });
        }
        own.beat += 1;
        Some(TableCall::LeaderBeat { worker, term, beat: own.beat, deputies: own.deputies.clone() })
    }

    /// Takes the answer to a beat of the leader.
    pub(crate) fn beaten(&mut self, now_ms: u64, term: u64, answer: &TableAnswer) -> Option<LeadChange> {
        let own = self.own.as_mut().filter(|own| own.term == term)?;
        let sent_ms = own.sent_ms.take();
        match answer {
            TableAnswer::Done => {
                own.written_ms = sent_ms;
                if own.is_resigning {
                    own.next_beat_ms = now_ms;
                }
                let row = LeaderRow {
                    worker: Some(self.me.clone()),
                    term,
                    beat: own.beat,
                    deputies: own.deputies.clone(),
                };
                self.seen = Some((Some(row), now_ms));
                None
            }
            TableAnswer::Failed => {
                own.next_beat_ms = now_ms + RETRY_MIN_MS * 2;
                None
            }
            _ => {
                self.seen = None;
                self.lose()
            }
        }
    }

    /// Takes the answer to a resignation.
    pub(crate) fn resigned(&mut self, now_ms: u64, term: u64, answer: &TableAnswer) -> Option<LeadChange> {
        let own = self.own.as_mut().filter(|own| own.term == term)?;
        own.sent_ms = None;
        if *answer == TableAnswer::Failed {
            own.next_beat_ms = now_ms + RETRY_MIN_MS * 2;
            return None;
        }
        self.seen = None;
        self.lose()
    }

    /// Returns `true` if this worker leads, or is about to give the lead up.
    pub(crate) fn is_active(&self) -> bool {
        self.own.is_some()
    }

    /// Returns the time at which a beat or a claim is due.
    pub(crate) fn wake_at(&self) -> Option<u64> {
        match &self.own {
            Some(own) => own.sent_ms.is_none().then_some(own.next_beat_ms),
            None => self.vacant_at().filter(|_| !self.is_claiming),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::MemoryTable;

    /// A worker's lead on a table that answers at once.
    struct Fixture {
        lead: PoolLead,
    }

    impl Fixture {
        fn new(name: &str) -> Self {
            Self { lead: PoolLead::new(WorkerId::new(name)) }
        }

        fn read(&mut self, now_ms: u64, table: &MemoryTable) -> Option<LeadChange> {
            self.lead.observe(now_ms, table.members().leader.as_ref())
        }

        /// Makes the calls that are due, and returns the changes.
        fn run(&mut self, now_ms: u64, table: &mut MemoryTable) -> Vec<LeadChange> {
            let calls: Vec<_> = self.lead.beat(now_ms).into_iter().chain(self.lead.claim(now_ms)).collect();
            calls.iter().filter_map(|call| self.answer(now_ms, call, &table.apply(call))).collect()
        }

        fn answer(&mut self, now_ms: u64, call: &TableCall, answer: &TableAnswer) -> Option<LeadChange> {
            match call {
                TableCall::Lead { seen, .. } => self.lead.claimed(now_ms, *seen, answer),
                TableCall::LeaderBeat { term, .. } => self.lead.beaten(now_ms, *term, answer),
                TableCall::Resign { term, .. } => self.lead.resigned(now_ms, *term, answer),
                other => panic!("{other:?}"),
            }
        }
    }

    /// A table on which `a` leads since 0, with `b` as its deputy.
    fn led_by_a() -> (MemoryTable, Fixture) {
        let (mut table, mut a) = (MemoryTable::default(), Fixture::new("a"));
        a.read(0, &table);
        assert_eq!(a.run(0, &mut table), [LeadChange::Won { silent: None }]);
        a.lead.set_deputies(vec![WorkerId::new("b")]);
        assert!(a.run(0, &mut table).is_empty());
        assert_eq!(a.lead.term(), Some(1));
        (table, a)
    }

    #[test]
    fn a_worker_claims_nothing_before_it_has_read_the_leaders_row() {
        let mut a = Fixture::new("a");
        assert!(a.run(60_000, &mut MemoryTable::default()).is_empty());
    }

    #[test]
    fn a_deputy_takes_the_lead_after_five_seconds_of_silence_and_the_others_later() {
        let (mut table, _) = led_by_a();
        let (mut deputy, mut other) = (Fixture::new("b"), Fixture::new("c"));
        deputy.read(100, &table);
        other.read(100, &table);
        assert!(deputy.run(5_099, &mut table).is_empty() && other.run(7_099, &mut table).is_empty());
        let silent = Some(WorkerId::new("a"));
        assert_eq!(deputy.run(5_100, &mut table), [LeadChange::Won { silent }]);
        assert_eq!(deputy.lead.term(), Some(2));
        assert!(other.run(7_100, &mut table).is_empty(), "the row has changed");
        assert_eq!(other.lead.term(), None);
    }

    #[test]
    fn a_leader_that_beats_stays_the_leader() {
        let (mut table, mut a) = led_by_a();
        let mut deputy = Fixture::new("b");
        for second in 1..30 {
            assert!(a.run(second * 1_000, &mut table).is_empty());
            deputy.read(second * 1_000 + 500, &table);
            assert!(deputy.run(second * 1_000 + 500, &mut table).is_empty());
        }
        assert_eq!(a.lead.written_ms(), Some(29_000));
    }

    #[test]
    fn a_replaced_leader_steps_down_at_its_next_beat_or_read() {
        for by_read in [true, false] {
            let (mut table, mut a) = led_by_a();
            let mut deputy = Fixture::new("b");
            deputy.read(0, &table);
            assert_eq!(deputy.run(5_000, &mut table).len(), 1);
            let change = if by_read { a.read(6_000, &table) } else { a.run(6_000, &mut table).pop() };
            assert_eq!((change, a.lead.term()), (Some(LeadChange::Lost), None));
        }
    }

    #[test]
    fn a_claim_whose_answer_was_lost_is_found_by_the_next_read() {
        let (mut table, mut a) = (MemoryTable::default(), Fixture::new("a"));
        a.read(0, &table);
        let call = a.lead.claim(0).unwrap();
        table.apply(&call);
        assert_eq!(a.answer(1_000, &call, &TableAnswer::Failed), None);
        assert_eq!(a.read(1_100, &table), Some(LeadChange::Won { silent: None }));
        assert_eq!(a.lead.term(), Some(1));
    }

    #[test]
    fn a_leader_that_resigns_leaves_a_vacancy_that_needs_no_silence() {
        let (mut table, mut a) = led_by_a();
        a.lead.resign(500);
        assert_eq!(a.lead.term(), None, "it plans no more");
        assert_eq!(a.run(500, &mut table), [LeadChange::Lost]);
        let mut other = Fixture::new("c");
        other.read(600, &table);
        assert_eq!(other.run(600, &mut table), [LeadChange::Won { silent: None }]);
    }

    #[test]
    fn a_beat_under_way_does_not_swallow_the_resignation() {
        let (mut table, mut a) = led_by_a();
        let beat = a.lead.beat(1_000).unwrap();
        a.lead.resign(1_001);
        assert!(a.run(1_001, &mut table).is_empty());
        let answer = table.apply(&beat);
        assert_eq!(a.answer(1_010, &beat, &answer), None);
        assert_eq!(a.run(1_010, &mut table), [LeadChange::Lost]);
        assert_eq!(table.members().leader.as_ref().and_then(|row| row.worker.clone()), None);
    }

    #[test]
    fn a_stale_read_neither_starts_nor_ends_a_silence() {
        let (mut table, mut a) = led_by_a();
        let old = table.members().leader.clone();
        a.run(1_000, &mut table);
        let mut deputy = Fixture::new("b");
        deputy.read(1_000, &table);
        deputy.lead.observe(2_500, old.as_ref());
        assert_eq!(deputy.lead.vacant_at(), Some(6_000));
    }
}
