//! The part of an event that evaluation uses.

use std::collections::HashMap;

use crate::media::{BBox, Event, Phase};

/// Maximum time from an incident's first sighting to its start that is assumed where there is no update, ms.
const MAX_CONFIRMATION_MS: i64 = 1000;

/// The part of an event that evaluation uses.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Id of its incident.
    pub incident_id: String,
    /// Number of its track.
    pub track_id: u64,
    /// Start, update or end of the incident.
    pub phase: Phase,
    /// Media time, ms since the epoch. Of an end: after the cool-down.
    pub ts_ms: i64,
    /// From the first to the last sighting, ms; of a start `None`.
    pub duration_ms: Option<i64>,
    /// The object's box at its last sighting, frame px.
    pub bbox: BBox,
}

impl From<&Event> for Record {
    fn from(event: &Event) -> Self {
        let payload = &event.payload;
        let [x1, y1, x2, y2] = payload.bbox;
        Self {
            incident_id: payload.extras.incident_id.clone(),
            track_id: payload.extras.track_id,
            phase: payload.extras.phase,
            ts_ms: payload.ts_ms,
            duration_ms: payload.extras.duration_ms,
            bbox: BBox { x1, y1, x2, y2 },
        }
    }
}

/// Media time of the sighting that a record's box is from, ms since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SightingTime {
    /// Known exactly.
    At(i64),
    /// Between two times, both included: of an end whose incident has no updates.
    Between(i64, i64),
}

/// Returns the time of each record's sighting; `None` for an end whose incident has no other record.
///
/// An end has the box of the last sighting, the time of the end of the cool-down, and the time in view. An update gives the exact
/// time of the first sighting; without one it is at most a second before the start.
pub(super) fn sighting_times(records: &[Record]) -> Vec<Option<SightingTime>> {
    let mut first_seen = HashMap::new();
    for record in records.iter().filter(|record| record.phase == Phase::Update) {
        let Some(duration_ms) = record.duration_ms else { continue };
        // The duration counts from the first sighting, which is before the confirmed start.
        first_seen.insert(&record.incident_id, record.ts_ms - duration_ms);
    }
    let starts = records.iter().filter(|record| record.phase == Phase::Start);
    let starts: HashMap<_, _> = starts.map(|record| (&record.incident_id, record.ts_ms)).collect();
    // An end carries the time after the cool-down, not that of its box.
    let of_end = |record: &Record| {
        let duration_ms = record.duration_ms?;
        if let Some(first_ms) = first_seen.get(&record.incident_id) {
            return Some(SightingTime::At(first_ms + duration_ms));
        }
        let start_ms = *starts.get(&record.incident_id)?;
        let latest = start_ms + duration_ms;
        Some(SightingTime::Between((latest - MAX_CONFIRMATION_MS).max(start_ms), latest))
    };
    let one = |record: &Record| match record.phase {
        Phase::Start | Phase::Update => Some(SightingTime::At(record.ts_ms)),
        Phase::End => of_end(record),
    };
    records.iter().map(one).collect()
}
