//! Matches records with visits.

use std::collections::BTreeMap;

use super::record::{Record, SightingTime};
use super::truth::{Truth, Visit};

/// Time step in the search for the time of a box, ms.
const SEARCH_STEP_MS: i64 = 100;

/// Returns the index of each record's visit; `None` where its box matches no visit.
///
/// At one time an incident matches at most one visit, and a visit one incident; the pair with the highest IoU is matched first.
pub(super) fn match_records(
    truth: &Truth,
    records: &[Record],
    sighted: &[Option<SightingTime>],
    min_iou: f32,
) -> Vec<Option<usize>> {
    let mut matches = vec![None; records.len()];
    let mut at_times = BTreeMap::<i64, Vec<usize>>::new();
    for (i, time) in sighted.iter().enumerate() {
        match *time {
            Some(SightingTime::At(ts_ms)) => at_times.entry(ts_ms).or_default().push(i),
            Some(SightingTime::Between(from_ms, to_ms)) => {
                matches[i] = best_within(truth, &records[i], (from_ms, to_ms), min_iou);
            }
            None => {}
        }
    }
    for (ts_ms, at_once) in at_times {
        match_at(truth, records, &at_once, (ts_ms, min_iou), &mut matches);
    }
    matches
}

/// Returns the visit whose box has the highest IoU with the record's at any time within `span_ms`.
fn best_within(truth: &Truth, record: &Record, span_ms: (i64, i64), min_iou: f32) -> Option<usize> {
    // From the end, because `max_by` returns the last of equal values: the earliest time wins a tie.
    let times = (span_ms.0..=span_ms.1).rev().step_by(SEARCH_STEP_MS as usize);
    let pairs = times.flat_map(|ts_ms| overlaps(truth, record, ts_ms, min_iou));
    pairs.max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, visit)| visit)
}

/// Returns the visits whose boxes overlap the record's at a time, each with its IoU.
fn overlaps(truth: &Truth, record: &Record, ts_ms: i64, min_iou: f32) -> Vec<(f32, usize)> {
    let visits = truth.visits.iter().enumerate();
    let overlap = |(i, visit): (usize, &Visit)| {
        let iou = visit.bbox_at(ts_ms - truth.start_ms)?.iou(&record.bbox);
        (iou >= min_iou).then_some((iou, i))
    };
    visits.filter_map(overlap).collect()
}

/// Matches the records of one time. Records of one incident are one sighting: they get the match of the first.
fn match_at(
    truth: &Truth,
    records: &[Record],
    at_once: &[usize],
    (ts_ms, min_iou): (i64, f32),
    matches: &mut [Option<usize>],
) {
    let incidents = incidents_of(records, at_once);
    let mut pairs = Vec::new();
    for (incident, (_, i)) in incidents.iter().enumerate() {
        let of_it = overlaps(truth, &records[*i], ts_ms, min_iou);
        pairs.extend(of_it.into_iter().map(|(iou, visit)| (iou, incident, visit)));
    }
    let visit_of = assign_greedily(pairs, incidents.len());
    for &i in at_once {
        let id = records[i].incident_id.as_str();
        let incident = incidents.iter().position(|(known, _)| *known == id);
        matches[i] = incident.and_then(|incident| visit_of[incident]);
    }
}

/// Returns the incidents of the records, each with its first record.
fn incidents_of<'a>(records: &'a [Record], at_once: &[usize]) -> Vec<(&'a str, usize)> {
    let mut incidents: Vec<(&str, usize)> = Vec::new();
    for &i in at_once {
        let id = records[i].incident_id.as_str();
        if !incidents.iter().any(|(known, _)| *known == id) {
            incidents.push((id, i));
        }
    }
    incidents
}

/// Returns the visit of each incident; a pair is the IoU of an incident with a visit.
fn assign_greedily(mut pairs: Vec<(f32, usize, usize)>, incidents: usize) -> Vec<Option<usize>> {
    // Greedy by IoU. The sort is stable, so ties are decided by the order of the records.
    pairs.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut visit_of = vec![None; incidents];
    for (_, incident, visit) in pairs {
        if visit_of[incident].is_none() && !visit_of.contains(&Some(visit)) {
            visit_of[incident] = Some(visit);
        }
    }
    visit_of
}
