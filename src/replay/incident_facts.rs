//! An incident as its records describe it, and the table that collects incidents from records.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::hash::{Hash, Hasher};

use serde::Serialize;

use crate::media::{ActivityCounts, BBox, Event, Phase};

/// Maximum number of boxes that are kept per incident, evenly spread over its time.
const MAX_SIGHTINGS: usize = 32;

/// An incident or an activity, from all its records.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct IncidentFacts {
    /// The incident's id.
    pub incident_id: String,
    /// The camera's id.
    pub camera_id: String,
    /// The detector's type.
    #[serde(rename = "type")]
    pub kind: String,
    /// The class name.
    pub label: String,
    /// The zones of all records.
    pub zones: BTreeSet<String>,
    /// The text of the newest record that has one.
    pub text: Option<String>,
    /// The highest confidence, 0..=1.
    pub conf: f32,
    /// Time of the first record, ms since the epoch.
    pub start_ms: i64,
    /// Time of the last sighting, ms since the epoch.
    pub last_ms: i64,
    /// Time of the end record, ms since the epoch; `None` while the incident is open.
    pub end_ms: Option<i64>,
    /// Number of records.
    pub records: u64,
    /// The counts of an activity, from its newest record.
    pub activity: Option<ActivityCounts>,
    /// Place of the incident's picture: that of the first record that has one of its own.
    pub snapshot: Option<String>,
    /// The boxes by time, as shares of the frame's sides.
    #[serde(skip)]
    sightings: Vec<BoxSighting>,
    /// Time of the first sighting, as far as the records say.
    #[serde(skip)]
    first_seen_ms: i64,
}

/// A box at a time.
#[derive(Clone, Copy, Debug, PartialEq)]
struct BoxSighting {
    ms: i64,
    bbox: BBox,
}

/// Collects incidents from records in any order of cameras; those of an incident come in their order.
#[derive(Debug, Default)]
pub(super) struct IncidentTable {
    /// By camera and incident id: two cameras on one stream have the same ids.
    incidents: BTreeMap<(String, String), IncidentFacts>,
    /// Hashes of the records so far: delivery is at least once.
    seen: HashSet<u64>,
}

impl IncidentTable {
    /// Adds a record; one that was added before changes nothing.
    pub(super) fn add(&mut self, event: &Event) {
        let mut hasher = DefaultHasher::new();
        (&event.camera_id, &event.event_id).hash(&mut hasher);
        if !self.seen.insert(hasher.finish()) {
            return;
        }
        let key = (event.camera_id.clone(), event.payload.extras.incident_id.clone());
        self.incidents.entry(key).or_insert_with(|| IncidentFacts::new(event)).add(event);
    }

    /// Returns the incidents by camera and time.
    pub(super) fn into_incidents(self) -> Vec<IncidentFacts> {
        let mut incidents: Vec<IncidentFacts> = self.incidents.into_values().collect();
        sort(&mut incidents);
        incidents
    }
}

/// Sorts incidents by camera and time, in an order that does not depend on the order before.
pub(super) fn sort(incidents: &mut [IncidentFacts]) {
    incidents.sort_by(|a, b| {
        (&a.camera_id, a.start_ms, &a.incident_id).cmp(&(&b.camera_id, b.start_ms, &b.incident_id))
    });
}

impl IncidentFacts {
    fn new(event: &Event) -> Self {
        let payload = &event.payload;
        Self {
            incident_id: payload.extras.incident_id.clone(),
            camera_id: event.camera_id.clone(),
            kind: payload.kind.clone(),
            label: payload.label.clone(),
            zones: BTreeSet::new(),
            text: None,
            conf: 0.0,
            start_ms: payload.ts_ms,
            last_ms: payload.ts_ms,
            end_ms: None,
            records: 0,
            activity: None,
            snapshot: None,
            sightings: Vec::new(),
            first_seen_ms: payload.ts_ms,
        }
    }

    fn add(&mut self, event: &Event) {
        let (payload, extras) = (&event.payload, &event.payload.extras);
        self.records += 1;
        self.conf = self.conf.max(payload.conf);
        self.start_ms = self.start_ms.min(payload.ts_ms);
        self.zones.extend(extras.zones.iter().cloned());
        self.text = extras.text.clone().or(self.text.take());
        self.activity = extras.activity.clone().or(self.activity.take());
        self.snapshot = self.snapshot.take().or_else(|| extras.snapshot.clone());
        let lasted_ms = extras.duration_ms.unwrap_or(0);
        match extras.phase {
            Phase::Start | Phase::Update => {
                self.first_seen_ms = self.first_seen_ms.min(payload.ts_ms.saturating_sub(lasted_ms));
                self.last_ms = self.last_ms.max(payload.ts_ms);
                self.add_sighting(event);
            }
            Phase::End => {
                // The record is made after the last sighting, whose time follows from the duration.
                let last_ms = self.first_seen_ms.saturating_add(lasted_ms).min(payload.ts_ms);
                self.last_ms = self.last_ms.max(last_ms);
                self.end_ms = Some(payload.ts_ms);
            }
        }
    }

    fn add_sighting(&mut self, event: &Event) {
        let extras = &event.payload.extras;
        let [x1, y1, x2, y2] = event.payload.bbox;
        #[expect(clippy::cast_precision_loss, reason = "sides of frames are far below 2^24 px")]
        let (width_px, height_px) = (extras.frame_width.max(1) as f32, extras.frame_height.max(1) as f32);
        let bbox = BBox { x1: x1 / width_px, y1: y1 / height_px, x2: x2 / width_px, y2: y2 / height_px };
        if self.sightings.len() == MAX_SIGHTINGS {
            // Every other one, but the first stays.
            let mut at = 0;
            self.sightings.retain(|_| {
                at += 1;
                at % 2 == 1
            });
        }
        self.sightings.push(BoxSighting { ms: event.payload.ts_ms, bbox });
    }

    /// Returns whether this is an activity of a zone and not an object's incident.
    #[must_use]
    pub fn is_activity(&self) -> bool {
        self.activity.is_some()
    }

    /// Returns the times of the boxes.
    pub(super) fn sighting_times(&self) -> impl Iterator<Item = i64> {
        self.sightings.iter().map(|sighting| sighting.ms)
    }

    /// Returns the box at a time, as shares of the frame's sides: between two records on the line from one to the other.
    pub(super) fn box_at(&self, ms: i64) -> Option<BBox> {
        let after = self.sightings.partition_point(|sighting| sighting.ms <= ms);
        let next = self.sightings.get(after);
        let Some(before) = after.checked_sub(1).and_then(|before| self.sightings.get(before)) else {
            return next.map(|next| next.bbox);
        };
        let Some(next) = next else { return Some(before.bbox) };
        #[expect(clippy::cast_precision_loss, reason = "the error is far below a pixel")]
        let share = (ms - before.ms) as f32 / (next.ms - before.ms).max(1) as f32;
        let between = |from: f32, to: f32| from + (to - from) * share;
        let (a, b) = (before.bbox, next.bbox);
        Some(BBox {
            x1: between(a.x1, b.x1),
            y1: between(a.y1, b.y1),
            x2: between(a.x2, b.x2),
            y2: between(a.y2, b.y2),
        })
    }
}

#[cfg(test)]
pub(super) mod testing {
    use super::*;
    use crate::status::testing::event;

    /// Returns the record of an incident of camera `front` at this time.
    pub(in crate::replay) fn record(incident: &str, phase: Phase, ts_ms: i64) -> Event {
        let mut record: Event = event(&format!("{incident}-{}-{ts_ms}", phase.as_str()));
        record.camera_id = "front".to_owned();
        record.payload.camera_id = "front".to_owned();
        record.payload.ts_ms = ts_ms;
        record.payload.extras.phase = phase;
        record.payload.extras.incident_id = incident.to_owned();
        record
    }

    /// Returns the incident of these records.
    pub(in crate::replay) fn incident(records: &[Event]) -> IncidentFacts {
        let mut table = IncidentTable::default();
        records.iter().for_each(|record| table.add(record));
        table.into_incidents().pop().unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{incident, record};
    use super::*;

    #[test]
    fn an_incident_has_the_facts_of_all_its_records() {
        let mut start = record("a", Phase::Start, 1_000);
        start.payload.conf = 0.9;
        start.payload.extras.snapshot = Some("snapshots/front/1.jpg".to_owned());
        let mut update = record("a", Phase::Update, 3_000);
        update.payload.extras.zones = vec!["yard".to_owned()];
        update.payload.extras.text = Some("AB123".to_owned());
        update.payload.extras.duration_ms = Some(2_400);
        update.payload.extras.snapshot = Some("snapshots/front/2.jpg".to_owned());
        let mut end = record("a", Phase::End, 9_000);
        end.payload.extras.zones = Vec::new();
        end.payload.extras.duration_ms = Some(4_000);
        let facts = incident(&[start, update, end]);
        assert_eq!((facts.start_ms, facts.last_ms, facts.end_ms), (1_000, 4_600, Some(9_000)));
        assert_eq!((facts.records, facts.conf, facts.text.as_deref()), (3, 0.9, Some("AB123")));
        assert_eq!(facts.zones.iter().collect::<Vec<_>>(), ["door", "yard"]);
        assert_eq!(facts.snapshot.as_deref(), Some("snapshots/front/1.jpg"));
    }

    #[test]
    fn a_record_counts_once_and_cameras_are_apart() {
        let start = record("a", Phase::Start, 1_000);
        let other = Event { camera_id: "back".to_owned(), ..start.clone() };
        let mut table = IncidentTable::default();
        [&start, &other, &start].into_iter().for_each(|record| table.add(record));
        let incidents = table.into_incidents();
        let counts: Vec<_> =
            incidents.iter().map(|facts| (facts.camera_id.as_str(), facts.records)).collect();
        assert_eq!(counts, [("back", 1), ("front", 1)]);
    }

    #[test]
    fn boxes_are_on_the_line_between_records() {
        let at = |ts_ms: i64, x1: f32| {
            let mut record = record("a", Phase::Update, ts_ms);
            record.payload.bbox = [x1, 0.0, x1 + 32.0, 18.0];
            record
        };
        let facts = incident(&[at(1_000, 0.0), at(2_000, 160.0)]);
        let left = |ms: i64| facts.box_at(ms).unwrap().x1;
        assert_eq!([0, 1_000, 1_500, 2_000, 9_000].map(left), [0.0, 0.0, 0.25, 0.5, 0.5]);
    }

    #[test]
    fn the_kept_boxes_are_bounded_and_spread_over_the_time() {
        let records: Vec<Event> = (0..500).map(|second| record("a", Phase::Update, second * 1_000)).collect();
        let times: Vec<i64> = incident(&records).sighting_times().collect();
        assert!(times.len() <= MAX_SIGHTINGS && times.len() >= MAX_SIGHTINGS / 2, "{}", times.len());
        assert!(times[0] == 0 && *times.last().unwrap() == 499_000 && times.is_sorted());
    }
}
