//! IDF1: whether each incident is one visit, and each visit one incident.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use super::EvalRules;
use super::assignment::largest_sum;
use super::record::{Record, SightingTime};
use super::truth::{Truth, Visit};

/// The counts of IDF1, in time steps.
///
/// Source: Ristani et al., "Performance Measures and a Data Set for Multi-Target, Multi-Camera Tracking", 2016,
/// <https://arxiv.org/abs/1609.01775>.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct IdentityCounts {
    /// Steps in which an incident has a record on the visit that it is assigned to.
    pub idtp: u64,
    /// All other steps in which an incident has a record.
    pub idfp: u64,
    /// All other steps in which a visit is in view.
    pub idfn: u64,
}

impl IdentityCounts {
    /// `2 idtp / (2 idtp + idfp + idfn)`; `None` where all are 0.
    #[must_use]
    pub fn idf1(&self) -> Option<f64> {
        share(2 * self.idtp, 2 * self.idtp + self.idfp + self.idfn)
    }

    /// Identification precision: lower where incidents have records of several visits, or of none.
    #[must_use]
    pub fn idp(&self) -> Option<f64> {
        share(self.idtp, self.idtp + self.idfp)
    }

    /// Identification recall: lower where visits are split between incidents, or have no records.
    #[must_use]
    pub fn idr(&self) -> Option<f64> {
        share(self.idtp, self.idtp + self.idfn)
    }
}

/// Returns `part / whole`; `None` where `whole` is 0.
pub(super) fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// Counts the steps of matched records.
///
/// An incident's first record in a step stands for the step. A visit has a step if it is in view for at least half of it; a record
/// that matches a visit in another step is not counted.
pub(super) fn identity_counts(
    truth: &Truth,
    records: &[Record],
    sighted: &[Option<SightingTime>],
    matches: &[Option<usize>],
    rules: &EvalRules,
) -> IdentityCounts {
    let firsts = first_in_steps(truth, records, sighted, matches, rules);
    let (gain, predicted) = count_steps(truth, firsts, rules);
    // IDTP is the largest sum over one-to-one assignments of incidents to visits (Ristani et al., 2016, section 3).
    let (idtp, actual) = (largest_sum(&gain), steps_in_view(truth, rules));
    IdentityCounts { idtp, idfp: predicted - idtp, idfn: actual - idtp }
}

/// By incident and step, the first record: its media time, and the visit that it matches.
type StepFirsts<'a> = BTreeMap<(&'a str, i64), (i64, Option<usize>)>;

/// Returns the first record of each incident in each step.
fn first_in_steps<'a>(
    truth: &Truth,
    records: &'a [Record],
    sighted: &[Option<SightingTime>],
    matches: &[Option<usize>],
    rules: &EvalRules,
) -> StepFirsts<'a> {
    let mut firsts = StepFirsts::new();
    for ((record, time), visit) in records.iter().zip(sighted).zip(matches) {
        // An end without an exact time cannot be assigned to a step.
        let Some(SightingTime::At(ts_ms)) = *time else { continue };
        let step = (ts_ms - truth.start_ms).div_euclid(rules.step_ms);
        let first = firsts.entry((&record.incident_id, step)).or_insert((ts_ms, *visit));
        if ts_ms < first.0 {
            *first = (ts_ms, *visit);
        }
    }
    firsts
}

/// Returns the number of steps of each incident (row) on each visit (column), and the number of all steps that count.
fn count_steps(truth: &Truth, firsts: StepFirsts<'_>, rules: &EvalRules) -> (Vec<Vec<u64>>, u64) {
    let (mut incidents, mut gain, mut predicted) = (HashMap::new(), Vec::new(), 0);
    for ((incident, step), (_, visit)) in firsts {
        // A record at the edge of a visit would count as a mistake although the truth has no step there.
        if visit.is_some_and(|visit| !has_step(truth, visit, step, rules)) {
            continue;
        }
        predicted += 1;
        let Some(visit) = visit else { continue };
        let row = *incidents.entry(incident).or_insert_with(|| {
            gain.push(vec![0_u64; truth.visits.len()]);
            gain.len() - 1
        });
        gain[row][visit] += 1;
    }
    (gain, predicted)
}

/// Returns whether the visit is in view for at least half of the step.
fn has_step(truth: &Truth, visit: usize, step: i64, rules: &EvalRules) -> bool {
    let from_ms = step * rules.step_ms;
    2 * truth.visits[visit].overlap_ms(from_ms, from_ms + rules.step_ms) >= rules.step_ms
}

fn steps_in_view(truth: &Truth, rules: &EvalRules) -> u64 {
    let of_visit = |(i, visit): (usize, &Visit)| {
        let steps = visit.from_ms.div_euclid(rules.step_ms)..=visit.to_ms.div_euclid(rules.step_ms);
        steps.filter(|step| has_step(truth, i, *step, rules)).count() as u64
    };
    truth.visits.iter().enumerate().map(of_visit).sum()
}
