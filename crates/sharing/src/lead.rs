//! The lead of a pool: one worker at a time plans for all, and which one it is never decides who owns a camera.
//!
//! The leader's row has a term and a beat. An observer that has seen both unchanged for [`LEADER_SILENCE_MS`] of its own clock
//! replaces the row if they still are, and the term rises. Two leaders at once do no harm: their grants compete on the cameras'
//! items, and one of them wins each.
//!
//! The leader names two deputies in its row. They read all members as the leader does, so that a new leader knows at once who else
//! is silent. The other workers read only the leader's row, and take the lead [`NON_DEPUTY_DELAY_MS`] later.

use crate::ids::WorkerId;
use crate::limits::{LEADER_BEAT_MS, LEADER_SILENCE_MS, NON_DEPUTY_DELAY_MS, RETRY_MIN_MS};
use crate::members::LeaderRow;
use crate::table::{TableAnswer, TableCall};

/// One worker's view of the lead, and its own lead.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PoolLead {
    me: WorkerId,
    /// The row as last seen, and the time at which it was first seen so; `None` before the first read.
    seen: Option<(Option<LeaderRow>, u64)>,
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
        Self { me, seen: None, own: None, is_claiming: false }
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
