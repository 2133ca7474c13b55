//! What an incident has told of itself, and when it tells more.

use serde::{Deserialize, Serialize};

use super::{Pictured, Rules, Sighting};
use crate::media::{BBox, MediaMs};

/// By how much a frame must show a thing better than the best that was told of, to be told of too.
const BETTER: f32 = 1.5;
/// Between two records for the sake of a better frame at least, ms of media time.
const BETTER_AFTER_MS: i64 = 1_000;

/// An incident that goes on: something that was confirmed and told of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Incident {
    /// The id of its start record.
    pub(super) id: String,
    /// Media time of its last record.
    told: MediaMs,
    /// Every zone that it was told to be in.
    zones: Vec<String>,
    /// The text that was told.
    text: Option<String>,
    /// Of its records the one that shows it best.
    pub(super) best: Best,
}

/// A record whose picture shows a thing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Best {
    pub(super) event_id: String,
    pub(super) ts_ms: i64,
    score: f32,
}

impl Incident {
    /// It begins with a record.
    pub(super) fn start(event_id: &str, media: MediaMs, sighting: &Sighting, text: Option<&str>) -> Self {
        Self {
            id: event_id.to_owned(),
            told: media,
            zones: sighting.zones.clone(),
            text: text.map(str::to_owned),
            best: Best::of(event_id, media, sighting.conf, &sighting.bbox),
        }
    }

    /// Whether a sighting is worth a record: it entered a zone, reads otherwise, shows better, or there was none for long.
    pub(super) fn tells(
        &self,
        rules: &Rules,
        media: MediaMs,
        sighting: &Sighting,
        text: Option<&str>,
    ) -> bool {
        let since_ms = media.0.saturating_sub(self.told.0);
        let entered = sighting.zones.iter().any(|zone| !self.zones.contains(zone));
        let reads_otherwise = text.is_some() && text != self.text.as_deref();
        let shows_better =
            since_ms >= BETTER_AFTER_MS && score(sighting.conf, &sighting.bbox) >= BETTER * self.best.score;
        let is_due = rules.update_ms.is_some_and(|update_ms| since_ms >= update_ms);
        entered || reads_otherwise || shows_better || is_due
    }

    /// A record of a sighting was made.
    pub(super) fn told(&mut self, event_id: &str, media: MediaMs, sighting: &Sighting, text: Option<&str>) {
        self.told = media;
        for zone in &sighting.zones {
            if !self.zones.contains(zone) {
                self.zones.push(zone.clone());
            }
        }
        self.text = text.map(str::to_owned).or(self.text.take());
        let seen = Best::of(event_id, media, sighting.conf, &sighting.bbox);
        if seen.is_better_than(&self.best) {
            self.best = seen;
        }
    }
}

impl Best {
    /// A record of a box that was seen with this confidence.
    pub(super) fn of(event_id: &str, media: MediaMs, conf: f32, bbox: &BBox) -> Self {
        Self { event_id: event_id.to_owned(), ts_ms: media.0, score: score(conf, bbox) }
    }

    /// Whether it shows more than `other`.
    pub(super) fn is_better_than(&self, other: &Self) -> bool {
        self.score > other.score
    }
}

impl From<Best> for Pictured {
    fn from(Best { event_id, ts_ms, .. }: Best) -> Self {
        Self { event_id, ts_ms }
    }
}

/// How well a frame shows a thing: large and sure.
fn score(conf: f32, bbox: &BBox) -> f32 {
    conf * bbox.area().sqrt()
}
