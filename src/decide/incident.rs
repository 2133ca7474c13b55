//! An incident: the reported part of a track, and the rules for its updates.

use serde::{Deserialize, Serialize};

use super::{Rules, Sighting, SnapshotSource};
use crate::media::{BBox, MediaMs};

/// Minimum ratio of a frame's score to the best reported score for an update with a better snapshot.
///
/// An object that walks towards the camera grows steadily, and a smaller ratio would report each step of it.
const BETTER_RATIO: f32 = 1.5;
/// Minimum time between two updates that only bring a better snapshot, ms of media time.
const BETTER_AFTER_MS: i64 = 1_000;

/// An incident that has started and not ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Incident {
    /// Id of the start event.
    pub(super) id: String,
    /// Media time of the last event.
    #[serde(rename = "told")]
    last_reported: MediaMs,
    /// Every zone that an event has named.
    zones: Vec<String>,
    /// The last reported text.
    text: Option<String>,
    /// The event with the highest score.
    pub(super) best: BestRecord,
}

/// A reported event and the score of its snapshot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BestRecord {
    pub(super) event_id: String,
    pub(super) ts_ms: i64,
    score: f32,
}

impl Incident {
    /// Returns the incident that the event `event_id` starts.
    pub(super) fn start(event_id: &str, media: MediaMs, sighting: &Sighting, text: Option<&str>) -> Self {
        Self {
            id: event_id.to_owned(),
            last_reported: media,
            zones: sighting.zones.clone(),
            text: text.map(str::to_owned),
            best: BestRecord::of(event_id, media, sighting.conf, &sighting.bbox),
        }
    }

    /// Returns whether a sighting gives an update: it entered a zone, its text changed, it has a better snapshot, or an update is
    /// due.
    pub(super) fn needs_update(
        &self,
        rules: &Rules,
        media: MediaMs,
        sighting: &Sighting,
        text: Option<&str>,
    ) -> bool {
        let since_ms = media.0.saturating_sub(self.last_reported.0);
        // A zone counts once: an object that stands on a border would otherwise report each jitter of its box.
        let has_entered = sighting.zones.iter().any(|zone| !self.zones.contains(zone));
        let has_other_text = text.is_some() && text != self.text.as_deref();
        let is_better = since_ms >= BETTER_AFTER_MS
            && score(sighting.conf, &sighting.bbox) >= BETTER_RATIO * self.best.score;
        let is_due = rules.update_ms.is_some_and(|update_ms| since_ms >= update_ms);
        has_entered || has_other_text || is_better || is_due
    }

    /// Stores that the event `event_id` has reported a sighting.
    pub(super) fn store_report(
        &mut self,
        event_id: &str,
        media: MediaMs,
        sighting: &Sighting,
        text: Option<&str>,
    ) {
        self.last_reported = media;
        for zone in &sighting.zones {
            if !self.zones.contains(zone) {
                self.zones.push(zone.clone());
            }
        }
        self.text = text.map(str::to_owned).or(self.text.take());
        let newest = BestRecord::of(event_id, media, sighting.conf, &sighting.bbox);
        if newest.is_better_than(&self.best) {
            self.best = newest;
        }
    }
}

impl BestRecord {
    /// Returns the record of an event with this confidence and box.
    pub(super) fn of(event_id: &str, media: MediaMs, conf: f32, bbox: &BBox) -> Self {
        Self { event_id: event_id.to_owned(), ts_ms: media.0, score: score(conf, bbox) }
    }

    /// Returns whether the score is higher than that of `other`.
    pub(super) fn is_better_than(&self, other: &Self) -> bool {
        self.score > other.score
    }
}

impl From<BestRecord> for SnapshotSource {
    fn from(BestRecord { event_id, ts_ms, .. }: BestRecord) -> Self {
        Self { event_id, ts_ms }
    }
}

/// Returns the score of a snapshot: confidence times the side of a square of the box's area, px.
fn score(conf: f32, bbox: &BBox) -> f32 {
    // The area would let size outweigh confidence: a large faint box is often two people.
    conf * bbox.area().sqrt()
}
