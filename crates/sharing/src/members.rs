//! Members of a pool: their rows, and the workers whose beat stands still.
//!
//! No clock is compared with another. A worker counts as silent when an observer has seen the same beat for [`SILENCE_MS`] of the
//! observer's own monotonic clock, and has kept reading meanwhile: after a gap of [`OBSERVATION_GAP_MS`] it starts to count again.
//! Otherwise the first read after an outage of the table would find every worker silent. A mistake costs a hand-over of cameras, never a second owner: the camera's item decides.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::ids::WorkerId;
use crate::limits::{OBSERVATION_GAP_MS, SILENCE_MS};
use crate::placement::ResourceAmounts;

/// The phase of a worker's life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MemberPhase {
    /// Models are loading: the worker takes no cameras yet.
    #[default]
    Joining,
    /// The worker takes cameras.
    Ready,
    /// The worker hands its cameras over and ends.
    Draining,
}

/// The row of a worker, which each beat writes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct MemberRow {
    /// Rises with each beat.
    pub beat: u64,
    /// The phase of the worker's life.
    pub phase: MemberPhase,
    /// The number of the worker's plan row. Written by the leader alone: a beat keeps it.
    pub plan: u64,
    /// The usable capacity.
    pub capacity: ResourceAmounts,
    /// Number of cameras that the worker owns.
    pub cameras: u64,
    /// `true` if the worker beats but does not keep up: cameras are moved away.
    pub is_overloaded: bool,
    /// The generation of the worker's configuration.
    pub generation: u64,
    /// The checkpoint formats that the worker reads.
    pub reads: BTreeSet<u32>,
    /// The loaded models.
    pub models: BTreeSet<Arc<str>>,
    /// The availability zone.
    pub zone: Arc<str>,
}

/// The row of the leader.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LeaderRow {
    /// The leader; `None` if the last one has left in order.
    pub worker: Option<WorkerId>,
    /// Rises by one with each leader.
    pub term: u64,
    /// Rises with each beat of the leader.
    pub beat: u64,
    /// The workers that read all members, so as to know who is silent when the leader dies.
    pub deputies: Vec<WorkerId>,
}

/// The row of the newest configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ConfigRow {
    /// Rises by one with each newer configuration.
    pub generation: u64,
    /// The version of the configuration.
    pub version: ConfigVersion,
}

/// The version of a configuration: a later one is the newer one.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConfigVersion {
    /// The time of modification by the clock of the store that holds the file, ms since 1970; never that of a worker's host.
    pub modified_ms: u64,
    /// The digest of the file, which orders two files of the same time.
    pub digest: Arc<str>,
}

/// The rows of a pool, as one consistent read returns them. Bounded by the number of workers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PoolMembers {
    /// The leader's row.
    pub leader: Option<LeaderRow>,
    /// The configuration's row.
    pub config: Option<ConfigRow>,
    /// The workers' rows.
    pub workers: BTreeMap<WorkerId, MemberRow>,
}

/// Beats as one observer has seen them. Bounded by the number of workers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct SilenceWatch {
    /// The last beat of each worker, and the time at which it was first seen.
    beats: BTreeMap<WorkerId, (u64, u64)>,
    observed_ms: u64,
}

/// A guard against taking a table that throttles for the death of most workers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct MassDeathGuard {
    suspected_ms: Option<u64>,
}

impl SilenceWatch {
    /// Notes the beats that a read has returned, and forgets workers without a row.
    pub(crate) fn observe(&mut self, now_ms: u64, workers: &BTreeMap<WorkerId, MemberRow>) {
        self.beats.retain(|worker, _| workers.contains_key(worker));
        if now_ms > self.observed_ms + OBSERVATION_GAP_MS {
            self.beats.values_mut().for_each(|seen| seen.1 = now_ms);
        }
        self.observed_ms = now_ms;
        for (worker, row) in workers {
            let seen = self.beats.entry(worker.clone()).or_insert((row.beat, now_ms));
            if seen.0 != row.beat {
                *seen = (row.beat, now_ms);
            }
        }
    }

    /// Returns a worker's last beat if it has stood still for this long.
    pub(crate) fn unchanged(&self, now_ms: u64, worker: &WorkerId, for_ms: u64) -> Option<u64> {
        self.beats.get(worker).filter(|(_, since_ms)| now_ms >= since_ms + for_ms).map(|(beat, _)| *beat)
    }

    /// Returns the number of workers, some left out, whose beat has stood still for this long.
    pub(crate) fn count_unchanged(&self, now_ms: u64, for_ms: u64, except: &[&WorkerId]) -> usize {
        let others = self.beats.iter().filter(|(worker, _)| !except.contains(worker));
        others.filter(|(_, (_, since_ms))| now_ms >= since_ms + for_ms).count()
    }

    /// Returns the silent workers and their last beats.
    pub(crate) fn silent(&self, now_ms: u64) -> BTreeMap<WorkerId, u64> {
        let is_silent = |since: u64| now_ms >= since + SILENCE_MS;
        let silent = self.beats.iter().filter(|(_, (_, since))| is_silent(*since));
        silent.map(|(worker, (beat, _))| (worker.clone(), *beat)).collect()
    }
}

impl MassDeathGuard {
    /// Returns `true` if the silent workers may be expelled now.
    ///
    /// If more than half of the members, and more than one, are late, the leader first proves its own write path by a beat that was
    /// sent after the suspicion, and waits as long as a silence lasts. Late ones count rather than silent ones: beats are out of
    /// step, so those that die together fall silent one after the other, within the interval of a beat.
    pub(crate) fn allows(
        &mut self,
        now_ms: u64,
        late: usize,
        members: usize,
        last_write_ms: Option<u64>,
    ) -> bool {
        if late < 2 || late * 2 <= members {
            self.suspected_ms = None;
            return true;
        }
        let suspected_ms = *self.suspected_ms.get_or_insert(now_ms);
        now_ms >= suspected_ms + SILENCE_MS && last_write_ms.is_some_and(|sent_ms| sent_ms > suspected_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(beats: &[(&str, u64)]) -> BTreeMap<WorkerId, MemberRow> {
        let row = |beat: &u64| MemberRow { beat: *beat, ..MemberRow::default() };
        beats.iter().map(|(worker, beat)| (WorkerId::new(worker), row(beat))).collect()
    }

    #[test]
    fn an_unchanged_beat_is_silent_after_six_seconds_of_the_observers_clock() {
        let mut watch = SilenceWatch::default();
        watch.observe(100, &rows(&[("a", 7), ("b", 1)]));
        watch.observe(2_100, &rows(&[("a", 7), ("b", 2)]));
        assert!(watch.silent(6_099).is_empty());
        assert_eq!(watch.silent(6_100), BTreeMap::from([(WorkerId::new("a"), 7)]));
        watch.observe(6_100, &rows(&[("a", 8), ("b", 2)]));
        assert!(watch.silent(6_100).is_empty(), "a beat in time wins");
    }

    #[test]
    fn an_observer_that_could_not_read_starts_to_count_again() {
        let mut watch = SilenceWatch::default();
        watch.observe(0, &rows(&[("a", 7)]));
        watch.observe(30_000, &rows(&[("a", 7)]));
        assert!(watch.silent(30_000).is_empty(), "the table was away");
        watch.observe(33_000, &rows(&[("a", 7)]));
        watch.observe(36_000, &rows(&[("a", 7)]));
        assert_eq!(watch.silent(36_000).len(), 1);
    }

    #[test]
    fn a_worker_without_a_row_is_forgotten() {
        let mut watch = SilenceWatch::default();
        watch.observe(0, &rows(&[("a", 7)]));
        watch.observe(1_000, &rows(&[]));
        assert!(watch.silent(60_000).is_empty());
    }

    #[test]
    fn a_beat_that_falls_back_is_a_sign_of_life_too() {
        let mut watch = SilenceWatch::default();
        watch.observe(0, &rows(&[("a", 7)]));
        watch.observe(5_000, &rows(&[("a", 1)]));
        assert!(watch.silent(10_000).is_empty());
    }

    #[test]
    fn one_of_two_may_be_expelled_at_once() {
        assert!(MassDeathGuard::default().allows(0, 1, 2, None));
        assert!(MassDeathGuard::default().allows(0, 2, 4, None), "half is no mass death");
    }

    #[test]
    fn a_majority_is_expelled_only_after_a_write_of_ones_own_and_a_second_wait() {
        let mut guard = MassDeathGuard::default();
        assert!(!guard.allows(1_000, 2, 3, Some(999)));
        assert!(!guard.allows(6_999, 2, 3, Some(2_000)), "too early");
        assert!(!guard.allows(7_000, 2, 3, Some(1_000)), "no write since");
        assert!(guard.allows(7_000, 2, 3, Some(1_001)));
    }

    #[test]
    fn the_guard_starts_again_once_the_members_are_back() {
        let mut guard = MassDeathGuard::default();
        assert!(!guard.allows(0, 3, 4, None));
        assert!(guard.allows(1_000, 1, 4, None));
        assert!(!guard.allows(7_000, 3, 4, Some(6_500)));
    }

    #[test]
    fn configurations_are_ordered_by_time_and_then_by_digest() {
        let version = |modified_ms, digest: &str| ConfigVersion { modified_ms, digest: digest.into() };
        assert!(version(2, "a") > version(1, "z"));
        assert!(version(1, "b") > version(1, "a"));
    }
}
