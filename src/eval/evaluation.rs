//! The figures of an evaluation.

use std::collections::{BTreeSet, HashMap};

use serde::Serialize;

use super::EvalRules;
use super::idf1::{IdentityCounts, identity_counts, share};
use super::matching::match_records;
use super::record::{Record, SightingTime, sighting_times};
use super::truth::{Truth, Visit};
use crate::media::Phase;

/// The figures of an evaluation. Times are ms from the footage's start.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evaluation {
    /// Each visit of the truth with its starts, in the order of the truth.
    pub visits: Vec<VisitFigures>,
    /// Number of people.
    pub people: usize,
    /// Number of starts.
    pub starts: usize,
    /// `starts` divided by the number of visits; ideally 1.
    pub starts_per_visit: Option<f64>,
    /// `starts` divided by `people`.
    pub starts_per_person: Option<f64>,
    /// Ids of the visits without a start.
    pub missed: Vec<String>,
    /// Ids of the visits whose first start is late.
    pub late: Vec<String>,
    /// Ids of the visits with more than one start.
    pub repeated: Vec<String>,
    /// Starts that match no visit.
    pub false_starts: Vec<FalseStart>,
    /// Incidents with records of more than one person.
    pub mixed: Vec<MixedIncident>,
    /// Number of records.
    pub records: usize,
    /// Number of records that match no visit.
    pub unmatched: usize,
    /// Share of the matched records that are on the main person of their incident, 0..=1.
    pub purity: Option<f64>,
    /// IDF1, 0..=1.
    pub idf1: Option<f64>,
    /// The counts of IDF1.
    pub identity: IdentityCounts,
}

/// A visit and its starts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct VisitFigures {
    /// The visit's id.
    pub id: String,
    /// The visiting person.
    pub person: String,
    /// Start of the visit, ms from the footage's start.
    pub from_ms: i64,
    /// End of the visit, ms from the footage's start.
    pub to_ms: i64,
    /// Starts that match the visit, by time.
    pub starts: Vec<VisitStart>,
}

impl VisitFigures {
    /// Returns the time from the visit's beginning to its first start, ms; `None` if it was missed.
    #[must_use]
    pub fn delay_ms(&self) -> Option<i64> {
        self.starts.first().map(|start| start.at_ms - self.from_ms)
    }
}

/// A start that matches a visit.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct VisitStart {
    /// The incident's id.
    pub incident_id: String,
    /// The incident's track.
    pub track_id: u64,
    /// Media time of the start, ms from the footage's start.
    pub at_ms: i64,
}

/// A start that matches no visit.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FalseStart {
    /// The incident's id.
    pub incident_id: String,
    /// The incident's track.
    pub track_id: u64,
    /// Media time of the start, ms from the footage's start.
    pub at_ms: i64,
    /// Left, top, right, bottom, frame px.
    pub bbox: [f32; 4],
}

/// An incident with records of more than one person.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MixedIncident {
    /// The incident's id.
    pub incident_id: String,
    /// The incident's track.
    pub track_id: u64,
    /// Its people, the one with the most records first.
    pub people: Vec<PersonShare>,
}

/// The records of an incident that are on one person.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PersonShare {
    /// The person.
    pub person: String,
    /// Number of records.
    pub records: u64,
    /// Time of the first sighting among them.
    pub from_ms: i64,
    /// Time of the last sighting among them.
    pub to_ms: i64,
}

/// Returns the figures of `records`, which are those of the truth's camera and label, without duplicates.
#[must_use]
pub fn evaluate(truth: &Truth, records: &[Record], rules: &EvalRules) -> Evaluation {
    let sighted = sighting_times(records);
    let matches = match_records(truth, records, &sighted, rules.min_iou);
    let visits = visit_figures(truth, records, &matches);
    let people = truth.visits.iter().map(|visit| &visit.person).collect::<BTreeSet<_>>().len();
    let starts = records.iter().filter(|record| record.phase == Phase::Start).count();
    let incidents = shares(truth, records, &sighted, &matches);
    let identity = identity_counts(truth, records, &sighted, &matches, rules);
    Evaluation {
        people,
        starts,
        starts_per_visit: share(starts as u64, visits.len() as u64),
        starts_per_person: share(starts as u64, people as u64),
        missed: ids_where(&visits, |visit| visit.starts.is_empty()),
        late: ids_where(&visits, |visit| visit.delay_ms().is_some_and(|delay_ms| delay_ms > rules.late_ms)),
        repeated: ids_where(&visits, |visit| visit.starts.len() > 1),
        false_starts: false_starts(truth, records, &matches),
        purity: purity(&incidents),
        mixed: incidents.into_iter().filter(|incident| incident.people.len() > 1).collect(),
        records: records.len(),
        unmatched: matches.iter().filter(|visit| visit.is_none()).count(),
        idf1: identity.idf1(),
        identity,
        visits,
    }
}

/// Returns the figures of each visit, in the order of the truth.
fn visit_figures(truth: &Truth, records: &[Record], matches: &[Option<usize>]) -> Vec<VisitFigures> {
    let visits = truth.visits.iter().enumerate();
    visits.map(|(i, visit)| figures(truth, visit, records, &records_of(matches, i))).collect()
}

/// Returns the indices of the records that match a visit.
fn records_of(matches: &[Option<usize>], visit: usize) -> Vec<usize> {
    (0..matches.len()).filter(|i| matches[*i] == Some(visit)).collect()
}

/// Returns the ids of the visits that `is_chosen` selects.
fn ids_where(visits: &[VisitFigures], is_chosen: impl Fn(&VisitFigures) -> bool) -> Vec<String> {
    visits.iter().filter(|visit| is_chosen(visit)).map(|visit| visit.id.clone()).collect()
}

/// Returns the share of the matched records that are on the main person of their incident.
fn purity(incidents: &[MixedIncident]) -> Option<f64> {
    // `shares` sorts people by records, so the first is the main person.
    let on_main: u64 = incidents.iter().map(|incident| incident.people[0].records).sum();
    let matched: u64 =
        incidents.iter().flat_map(|incident| &incident.people).map(|share| share.records).sum();
    share(on_main, matched)
}

fn figures(truth: &Truth, visit: &Visit, records: &[Record], owned: &[usize]) -> VisitFigures {
    let starts = owned.iter().map(|i| &records[*i]).filter(|record| record.phase == Phase::Start);
    let mut starts: Vec<VisitStart> = starts
        .map(|record| VisitStart {
            incident_id: record.incident_id.clone(),
            track_id: record.track_id,
            at_ms: record.ts_ms - truth.start_ms,
        })
        .collect();
    // Records of a stream may arrive out of order.
    starts.sort_by_key(|start| start.at_ms);
    let Visit { id, person, from_ms, to_ms, .. } = visit;
    VisitFigures { id: id.clone(), person: person.clone(), from_ms: *from_ms, to_ms: *to_ms, starts }
}

fn false_starts(truth: &Truth, records: &[Record], matches: &[Option<usize>]) -> Vec<FalseStart> {
    let starts = records.iter().zip(matches).filter(|(record, _)| record.phase == Phase::Start);
    let unmatched = starts.filter(|(_, visit)| visit.is_none());
    unmatched
        .map(|(record, _)| FalseStart {
            incident_id: record.incident_id.clone(),
            track_id: record.track_id,
            at_ms: record.ts_ms - truth.start_ms,
            bbox: [record.bbox.x1, record.bbox.y1, record.bbox.x2, record.bbox.y2],
        })
        .collect()
}

/// Returns each incident with matched records and their people, in the order of the records.
fn shares(
    truth: &Truth,
    records: &[Record],
    sighted: &[Option<SightingTime>],
    matches: &[Option<usize>],
) -> Vec<MixedIncident> {
    let mut places = HashMap::new();
    let mut incidents: Vec<MixedIncident> = Vec::new();
    for ((record, time), visit) in records.iter().zip(sighted).zip(matches) {
        let (Some(visit), Some(time)) = (*visit, *time) else { continue };
        // Of an inexact time, the latest one: the box is of the last sighting.
        let (SightingTime::At(ts_ms) | SightingTime::Between(_, ts_ms)) = time;
        let place = *places.entry(&record.incident_id).or_insert_with(|| {
            let (incident_id, track_id) = (record.incident_id.clone(), record.track_id);
            incidents.push(MixedIncident { incident_id, track_id, people: Vec::new() });
            incidents.len() - 1
        });
        count(&mut incidents[place].people, &truth.visits[visit].person, ts_ms - truth.start_ms);
    }
    for incident in &mut incidents {
        incident.people.sort_by_key(|share| std::cmp::Reverse(share.records));
    }
    incidents
}

fn count(people: &mut Vec<PersonShare>, person: &str, at_ms: i64) {
    match people.iter_mut().find(|share| share.person == person) {
        Some(share) => {
            share.records += 1;
            share.from_ms = share.from_ms.min(at_ms);
            share.to_ms = share.to_ms.max(at_ms);
        }
        None => {
            people.push(PersonShare { person: person.to_owned(), records: 1, from_ms: at_ms, to_ms: at_ms });
        }
    }
}
