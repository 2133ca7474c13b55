//! Compares the incidents of a replay with those of an earlier run: which are new, gone or changed.
//!
//! An incident with the id of an earlier one is the same incident, since the same footage gives the same ids. The others are matched one to
//! one by camera, type, overlap in time, and box; of equal labels first. A result does not depend on the order of the incidents.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};

use serde::Serialize;

use super::coverage::FootageCoverage;
use super::incident_facts::{IncidentFacts, sort};
use super::span::{ReplaySpan, rfc3339};
use crate::media::ActivityCounts;

/// The time between two incidents up to which they may be one that both runs have seen, ms.
const MAX_APART_MS: i64 = 2_000;
/// The minimum mean IoU of two incidents of one label that are the same object.
const MIN_IOU: f32 = 0.2;
/// The same for different labels: a new model may name an object differently, and objects of different classes may stand close together.
const MIN_IOU_OTHER_LABEL: f32 = 0.5;
/// The difference from which a confidence counts as changed: half a percent, to which the report rounds.
const MIN_CONF_DIFFERENCE: f32 = 0.005;
/// The shortest time within the replayed footage of an incident at its edge that is missed, ms. It takes some time to confirm an object.
const MIN_SEEN_MS: i64 = 3_000;
/// Maximum number of times at which the boxes of two incidents are compared.
const MAX_SAMPLES: usize = 24;

/// The result for an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum IncidentChange {
    /// Both runs have it, with differences.
    Changed,
    /// Only the replay has it.
    New,
    /// Only the earlier run has it.
    Gone,
    /// Both runs have it, without a difference.
    Same,
}

/// An incident of one or both runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ComparedIncident {
    /// The result.
    pub change: IncidentChange,
    /// The incident in the replay.
    pub now: Option<IncidentFacts>,
    /// The incident in the earlier run.
    pub before: Option<IncidentFacts>,
    /// The differences between the two.
    pub differences: Vec<IncidentDifference>,
    /// `true` where it lasts beyond the replayed footage, so that its times there are not compared.
    pub is_cut: bool,
}

/// A property that both runs have with different values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct IncidentDifference {
    /// The property.
    pub field: DifferenceField,
    /// The value in the earlier run.
    pub before: String,
    /// The value in the replay.
    pub now: String,
}

/// A property of an incident that is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DifferenceField {
    /// The class name.
    Label,
    /// The plate's text.
    Text,
    /// The zones of all records.
    Zones,
    /// The time of the first record.
    Start,
    /// The time of the end record.
    End,
    /// The highest confidence.
    Confidence,
    /// The counts of an activity.
    Counts,
}

/// The footage that a replay has read.
#[derive(Clone, Copy, Debug)]
pub struct ReplayedFootage<'a> {
    /// The span of the replay.
    pub span: ReplaySpan,
    /// The coverage by camera.
    pub cameras: &'a BTreeMap<String, FootageCoverage>,
}

/// The comparison of two runs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Comparison {
    /// The incidents by time and camera.
    pub incidents: Vec<ComparedIncident>,
    /// Number of earlier incidents of the span whose footage was not replayed.
    pub not_replayed: u64,
}

impl IncidentChange {
    /// All results, the most interesting first.
    pub const ALL: [Self; 4] = [Self::Changed, Self::New, Self::Gone, Self::Same];
}

impl ComparedIncident {
    /// Returns the incident of the replay, or else that of the earlier run.
    #[must_use]
    pub fn shown(&self) -> Option<&IncidentFacts> {
        self.now.as_ref().or(self.before.as_ref())
    }

    fn start_ms(&self) -> i64 {
        self.shown().map_or(0, |facts| facts.start_ms)
    }
}

impl ReplayedFootage<'_> {
    /// Returns whether the incident is in the span, and its footage was replayed.
    fn has(&self, facts: &IncidentFacts) -> bool {
        let coverage = self.cameras.get(&facts.camera_id);
        coverage
            .is_some_and(|coverage| coverage.has_footage(facts.start_ms, facts.last_ms.max(facts.start_ms)))
    }

    /// Returns the start and the end of the camera's replayed footage, ms since the epoch.
    fn edges(&self, camera: &str) -> (i64, i64) {
        let coverage = self.cameras.get(camera);
        let edges = coverage.and_then(|coverage| coverage.first_ms.zip(coverage.last_ms));
        edges.unwrap_or((self.span.from_ms, self.span.to_ms))
    }

    /// Returns whether the incident begins before the replayed footage, and whether it may last beyond it.
    fn cuts(&self, facts: &IncidentFacts) -> (bool, bool) {
        let (first_ms, last_ms) = self.edges(&facts.camera_id);
        (facts.start_ms < first_ms, facts.end_ms.is_none_or(|end_ms| end_ms > last_ms))
    }

    /// Returns whether the replay could not but miss the incident, because too little of it is in the footage.
    fn is_barely_in(&self, facts: &IncidentFacts) -> bool {
        let (first_ms, last_ms) = self.edges(&facts.camera_id);
        let is_at_edge = facts.start_ms < first_ms || facts.last_ms > last_ms;
        let seen_ms = facts.last_ms.min(last_ms).saturating_sub(facts.start_ms.max(first_ms));
        is_at_edge && seen_ms < MIN_SEEN_MS
    }
}

/// Compares the incidents of an earlier run with those of the replay.
#[must_use]
pub fn compare(
    mut before: Vec<IncidentFacts>,
    mut now: Vec<IncidentFacts>,
    footage: &ReplayedFootage<'_>,
) -> Comparison {
    before.retain(|facts| {
        footage.cameras.contains_key(&facts.camera_id)
            && footage.span.overlaps(facts.start_ms, facts.last_ms.max(facts.start_ms))
    });
    sort(&mut before);
    sort(&mut now);
    let pairs = matched(&before, &now);
    let mut pair_of: HashMap<usize, usize> = pairs.iter().map(|&(old, new)| (new, old)).collect();
    let taken: HashSet<usize> = pairs.into_iter().map(|(old, _)| old).collect();
    let mut comparison = Comparison::default();
    let (mut left, mut olds) = (Vec::new(), HashMap::new());
    for (index, facts) in before.into_iter().enumerate() {
        if taken.contains(&index) {
            olds.insert(index, facts);
        } else {
            left.push(facts);
        }
    }
    for (index, facts) in now.into_iter().enumerate() {
        let old = pair_of.remove(&index).and_then(|old| olds.remove(&old));
        comparison.incidents.push(match old {
            Some(old) => compared(old, facts, footage),
            None => new_incident(facts),
        });
    }
    for facts in left {
        if footage.has(&facts) && !footage.is_barely_in(&facts) {
            comparison.incidents.push(gone(facts, footage));
        } else {
            comparison.not_replayed += 1;
        }
    }
    // Stable: of equal times, the order of cameras and ids holds.
    comparison.incidents.sort_by_key(ComparedIncident::start_ms);
    comparison
}

/// Returns the incident as one of a replay that is compared with nothing.
pub(super) fn new_incident(facts: IncidentFacts) -> ComparedIncident {
    let (now, before) = (Some(facts), None);
    ComparedIncident { change: IncidentChange::New, now, before, differences: Vec::new(), is_cut: false }
}

fn gone(facts: IncidentFacts, footage: &ReplayedFootage<'_>) -> ComparedIncident {
    let (cut_start, cut_end) = footage.cuts(&facts);
    ComparedIncident {
        change: IncidentChange::Gone,
        now: None,
        before: Some(facts),
        differences: Vec::new(),
        is_cut: cut_start || cut_end,
    }
}

fn compared(before: IncidentFacts, now: IncidentFacts, footage: &ReplayedFootage<'_>) -> ComparedIncident {
    let (cut_start, _) = footage.cuts(&before);
    // An incident that is open in both runs has no end to compare.
    let cut_end = footage.cuts(&before).1 && now.end_ms.is_none();
    let differences = differences(&before, &now, (cut_start, cut_end));
    let change = if differences.is_empty() { IncidentChange::Same } else { IncidentChange::Changed };
    ComparedIncident {
        change,
        now: Some(now),
        before: Some(before),
        differences,
        is_cut: cut_start || cut_end,
    }
}

/// Returns the differences of two matched incidents. Of one that is cut, the times at the cut and what sums up all records are left out.
fn differences(
    before: &IncidentFacts,
    now: &IncidentFacts,
    (cut_start, cut_end): (bool, bool),
) -> Vec<IncidentDifference> {
    let is_whole = !cut_start && !cut_end;
    let optional = |text: &Option<String>| text.clone().unwrap_or_else(|| "none".to_owned());
    let zones = |facts: &IncidentFacts| {
        let names: Vec<&str> = facts.zones.iter().map(String::as_str).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    };
    let end = |facts: &IncidentFacts| facts.end_ms.map_or_else(|| "open".to_owned(), rfc3339);
    let percent = |facts: &IncidentFacts| format!("{:.1} %", facts.conf * 100.0);
    let counts = |facts: &IncidentFacts| facts.activity.as_ref().map_or_else(String::new, counts_text);
    let has_other_conf = (before.conf - now.conf).abs() > MIN_CONF_DIFFERENCE;
    let found = [
        (DifferenceField::Label, before.label != now.label, before.label.clone(), now.label.clone()),
        (DifferenceField::Text, before.text != now.text, optional(&before.text), optional(&now.text)),
        (DifferenceField::Zones, is_whole && before.zones != now.zones, zones(before), zones(now)),
        (
            DifferenceField::Start,
            !cut_start && before.start_ms != now.start_ms,
            rfc3339(before.start_ms),
            rfc3339(now.start_ms),
        ),
        (DifferenceField::End, !cut_end && before.end_ms != now.end_ms, end(before), end(now)),
        (DifferenceField::Confidence, is_whole && has_other_conf, percent(before), percent(now)),
        (DifferenceField::Counts, is_whole && before.activity != now.activity, counts(before), counts(now)),
    ];
    let different = found.into_iter().filter(|(_, differs, _, _)| *differs);
    different.map(|(field, _, before, now)| IncidentDifference { field, before, now }).collect()
}

fn counts_text(counts: &ActivityCounts) -> String {
    let by_label: Vec<String> =
        counts.by_label.iter().map(|(label, count)| format!("{count} {label}")).collect();
    format!("{} ({}), at most {} at once", counts.incidents, by_label.join(", "), counts.peak)
}

/// Returns the pairs of indices (before, now) that are the same incident; each index is in one pair at most.
fn matched(before: &[IncidentFacts], now: &[IncidentFacts]) -> Vec<(usize, usize)> {
    let by_id: HashMap<(&str, &str), usize> =
        before.iter().enumerate().map(|(index, facts)| (key(facts), index)).collect();
    let mut pairs: Vec<(usize, usize)> = now
        .iter()
        .enumerate()
        .filter_map(|(new, facts)| by_id.get(&key(facts)).map(|old| (*old, new)))
        .collect();
    let mut old_taken: HashSet<usize> = pairs.iter().map(|(old, _)| *old).collect();
    let mut new_taken: HashSet<usize> = pairs.iter().map(|(_, new)| *new).collect();
    let mut possible = candidates(before, now, &old_taken, &new_taken);
    // Indices are in the order of camera, time and id, so equal candidates have one order, too.
    possible
        .sort_by_key(|pair| (!pair.has_same_label, Reverse(pair.score), pair.apart_ms, pair.old, pair.new));
    for MatchCandidate { old, new, .. } in possible {
        if !old_taken.contains(&old) && !new_taken.contains(&new) {
            old_taken.insert(old);
            new_taken.insert(new);
            pairs.push((old, new));
        }
    }
    pairs
}

fn key(facts: &IncidentFacts) -> (&str, &str) {
    (&facts.camera_id, &facts.incident_id)
}

/// Two incidents that may be the same.
struct MatchCandidate {
    old: usize,
    new: usize,
    has_same_label: bool,
    /// Mean IoU in thousandths.
    score: u32,
    /// Difference of the starts, ms.
    apart_ms: i64,
}

fn candidates(
    before: &[IncidentFacts],
    now: &[IncidentFacts],
    old_taken: &HashSet<usize>,
    new_taken: &HashSet<usize>,
) -> Vec<MatchCandidate> {
    let lasts = latest_ends(before);
    let mut found = Vec::new();
    for (new, facts) in now.iter().enumerate().filter(|(new, _)| !new_taken.contains(new)) {
        let start_ms = facts.start_ms.saturating_sub(MAX_APART_MS);
        let end_ms = facts.last_ms.saturating_add(MAX_APART_MS);
        let begins_by = |old: &IncidentFacts| {
            (old.camera_id.as_str(), old.start_ms) <= (facts.camera_id.as_str(), end_ms)
        };
        let behind = before.partition_point(begins_by);
        // Backwards in time, until all earlier incidents of the camera have ended before.
        for old in (0..behind).rev() {
            let other = &before[old];
            if other.camera_id != facts.camera_id || lasts[old] < start_ms {
                break;
            }
            if !old_taken.contains(&old) && other.last_ms >= start_ms {
                found.extend(candidate((old, other), (new, facts)));
            }
        }
    }
    found
}

/// Returns, for each incident, the latest last sighting among those of its camera up to it.
fn latest_ends(incidents: &[IncidentFacts]) -> Vec<i64> {
    let mut ends: Vec<i64> = Vec::with_capacity(incidents.len());
    for (index, facts) in incidents.iter().enumerate() {
        let before = index.checked_sub(1).filter(|before| incidents[*before].camera_id == facts.camera_id);
        ends.push(before.map_or(facts.last_ms, |before| ends[before].max(facts.last_ms)));
    }
    ends
}

fn candidate(
    (old, before): (usize, &IncidentFacts),
    (new, now): (usize, &IncidentFacts),
) -> Option<MatchCandidate> {
    if before.kind != now.kind || before.is_activity() != now.is_activity() {
        return None;
    }
    let has_same_label = before.label == now.label;
    let iou = match now.is_activity() {
        // The box of an activity is that of one of its incidents.
        true => f32::from(u8::from(before.zones == now.zones)),
        false => mean_iou(before, now),
    };
    let min_iou = if has_same_label { MIN_IOU } else { MIN_IOU_OTHER_LABEL };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0..=1000")]
    let score = (iou * 1000.0).round() as u32;
    let apart_ms = before.start_ms.saturating_sub(now.start_ms).saturating_abs();
    (iou >= min_iou).then_some(MatchCandidate { old, new, has_same_label, score, apart_ms })
}

/// Returns the mean IoU of two incidents over the time that they share.
fn mean_iou(a: &IncidentFacts, b: &IncidentFacts) -> f32 {
    let (later_start_ms, first_end_ms) = (a.start_ms.max(b.start_ms), a.last_ms.min(b.last_ms));
    // Incidents that follow each other are compared from the end of the one to the start of the other.
    let (from_ms, to_ms) = (later_start_ms.min(first_end_ms), later_start_ms.max(first_end_ms));
    let shared = |ms: &i64| (from_ms..=to_ms).contains(ms);
    let recorded = a.sighting_times().chain(b.sighting_times()).filter(shared);
    let times = [from_ms, to_ms].into_iter().chain(recorded).take(MAX_SAMPLES);
    let overlap = |ms: i64| a.box_at(ms).zip(b.box_at(ms)).map(|(a, b)| a.iou(&b));
    let (sum, count) =
        times.filter_map(overlap).fold((0.0_f32, 0.0_f32), |(sum, count), iou| (sum + iou, count + 1.0));
    if count > 0.0 { sum / count } else { 0.0 }
}

#[cfg(test)]
mod tests;
