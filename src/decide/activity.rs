//! Activities: one summary of the incidents of an entry of the pipeline in a zone, or in the whole frame where no zones are drawn.
//!
//! An activity begins when an object with an incident is seen in its zone and none is going on there. It counts each incident
//! that is seen there once, and ends when none was for [`Rules::quiet_ms`]. Only what is seen in the zone keeps it going: who
//! walked on, or stands elsewhere, does not.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::id::{IdParts, event_id};
use super::incident::{Best, Incident};
use super::track::Track;
use super::{FrameFacts, Look, Made, Pictured, Rules, roi};
use crate::media::{ActivityCounts, BBox, Event, MediaMs, Phase};

/// The label of an activity's records, which has incidents of all classes.
pub(super) const LABEL: &str = "activity";

/// The activities of one entry of the pipeline that go on, by zone; without zones there is one, of the zone "".
///
/// Bounded: by zones, classes and objects.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Activities(BTreeMap<String, OpenActivity>);

/// One activity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OpenActivity {
    /// The id of its start record.
    pub(super) id: String,
    /// Media time of its start record.
    began: MediaMs,
    /// Media time of the last frame in which an incident was seen in the zone.
    last_seen: MediaMs,
    /// How many incidents were counted, by label.
    by_label: BTreeMap<String, u64>,
    /// The maximum number of incidents in one frame.
    peak: u64,
    /// The tracks that were counted and are still followed, by number.
    counted: BTreeSet<u64>,
    /// The record of its incidents that shows it best.
    shown: Shown,
}

/// A record of an incident, whose picture is the activity's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Shown {
    record: Best,
    conf: f32,
    /// Frame px.
    bbox: BBox,
}

/// An object that is seen in the frame and has an incident.
struct Seen<'a> {
    track: &'a Track,
    incident: &'a Incident,
    /// Its record in this frame.
    record: Option<&'a Event>,
}

impl Activities {
    /// Whether none goes on.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The records that show them best.
    pub(super) fn best_records(&mut self) -> impl Iterator<Item = &mut Best> {
        self.0.values_mut().map(|activity| &mut activity.shown.record)
    }

    /// Removes the activities that are over at `media` and returns them by zone; `anew`: the footage is new, which ends all.
    pub(super) fn begin(
        &mut self,
        rules: &Rules,
        media: MediaMs,
        anew: bool,
    ) -> BTreeMap<String, OpenActivity> {
        let is_over = |activity: &OpenActivity| anew || activity.is_over(rules, media);
        let (over, open) = std::mem::take(&mut self.0).into_iter().partition(|(_, open)| is_over(open));
        self.0 = open;
        for open in self.0.values_mut() {
            open.began = open.began.min(media);
            open.last_seen = open.last_seen.min(media);
        }
        over
    }

    /// Takes in what is seen in a frame, of which `made` are the records of sightings, and returns the activities that begin
    /// with it, by zone.
    pub(super) fn look(
        &mut self,
        tracks: &[Track],
        made: &[Made],
        (frame, look): (&FrameFacts<'_>, &Look<'_>),
    ) -> BTreeMap<String, OpenActivity> {
        let mut begun = BTreeMap::new();
        if look.rules.quiet_ms.is_none() {
            return begun;
        }
        for (zone, seen) in by_zone(tracks, made, frame, look.rules) {
            if let Some(open) = self.0.get_mut(&zone) {
                open.take_in(&seen, frame.media);
            } else if let Some(shown) = Shown::first(&seen, frame.media) {
                let id = activity_id(frame, look, &zone, Phase::Start);
                let mut open = OpenActivity::new(id, shown, frame.media);
                open.take_in(&seen, frame.media);
                begun.insert(zone, open);
            }
        }
        self.0.extend(begun.clone());
        let followed: BTreeSet<u64> = tracks.iter().map(|track| track.id).collect();
        for open in self.0.values_mut() {
            open.counted.retain(|id| followed.contains(id));
        }
        begun
    }
}

impl OpenActivity {
    /// One that has counted nothing.
    fn new(id: String, shown: Shown, media: MediaMs) -> Self {
        let (by_label, counted) = (BTreeMap::new(), BTreeSet::new());
        Self { id, began: media, last_seen: media, by_label, peak: 0, counted, shown }
    }

    /// What it has counted so far.
    pub(super) fn counts(&self) -> ActivityCounts {
        let incidents = self.by_label.values().sum();
        ActivityCounts { incidents, by_label: self.by_label.clone(), peak: self.peak }
    }

    /// From its start to the last sighting in it, ms of media time.
    pub(super) fn lasted_ms(&self) -> i64 {
        self.last_seen.0.saturating_sub(self.began.0)
    }

    /// The confidence and the box of the record that shows it best.
    pub(super) fn sight(&self) -> (f32, &BBox) {
        (self.shown.conf, &self.shown.bbox)
    }

    /// The record that shows it best.
    pub(super) fn pictured_by(&self) -> Pictured {
        self.shown.record.clone().into()
    }

    fn is_over(&self, rules: &Rules, media: MediaMs) -> bool {
        let quiet_for_ms = media.0.saturating_sub(self.last_seen.0);
        rules.quiet_ms.is_none_or(|quiet_ms| quiet_for_ms >= quiet_ms)
    }

    fn take_in(&mut self, seen: &[Seen<'_>], media: MediaMs) {
        self.last_seen = media;
        self.peak = self.peak.max(seen.len() as u64);
        for one in seen.iter().filter(|one| self.counted.insert(one.track.id)) {
            *self.by_label.entry(one.track.label.clone()).or_default() += 1;
        }
        let shown = Shown::best(seen.iter().filter_map(|one| one.shown_now(media)));
        if let Some(shown) = shown.filter(|shown| shown.record.is_better_than(&self.shown.record)) {
            self.shown = shown;
        }
    }
}

impl Shown {
    /// What shows an activity that begins: of the records in this frame the best, else of the earlier ones of those in it.
    fn first(seen: &[Seen<'_>], media: MediaMs) -> Option<Self> {
        let now = Self::best(seen.iter().filter_map(|one| one.shown_now(media)));
        now.or_else(|| Self::best(seen.iter().map(Seen::shown_before)))
    }

    /// The best; the first one of equals.
    fn best(all: impl Iterator<Item = Self>) -> Option<Self> {
        all.reduce(|best, other| if other.record.is_better_than(&best.record) { other } else { best })
    }
}

impl Seen<'_> {
    fn shown_now(&self, media: MediaMs) -> Option<Shown> {
        let (event, bbox) = (self.record?, self.track.bbox);
        let conf = event.payload.conf;
        Some(Shown { record: Best::of(&event.event_id, media, conf, &bbox), conf, bbox })
    }

    fn shown_before(&self) -> Shown {
        Shown { record: self.incident.best.clone(), conf: self.track.conf, bbox: self.track.bbox }
    }
}

/// The id of an activity's record. No entry of a pipeline has a name like that, so it is none of an incident's record.
pub(super) fn activity_id(frame: &FrameFacts<'_>, look: &Look<'_>, zone: &str, phase: Phase) -> String {
    event_id(&IdParts {
        stream: frame.stream,
        fragment: &frame.fragment.number,
        index: frame.index,
        detector: &format!("{}/activity", look.rules.detector),
        label: zone,
        phase,
        rank: 0,
    })
}

/// What is seen in the frame, by zone; an object may be in several.
fn by_zone<'a>(
    tracks: &'a [Track],
    made: &'a [Made],
    frame: &FrameFacts<'_>,
    rules: &Rules,
) -> BTreeMap<String, Vec<Seen<'a>>> {
    let mut seen: BTreeMap<String, Vec<Seen<'a>>> = BTreeMap::new();
    for track in tracks.iter().filter(|track| track.is_seen()) {
        let Some(incident) = &track.incident else { continue };
        let mut records = made.iter().map(|made| &made.event);
        let record = records.find(|event| event.payload.extras.incident_id == incident.id);
        let zones = match &rules.roi {
            Some(roi) => roi::zones_of(roi, &track.bbox, frame.size_px),
            None => vec![String::new()],
        };
        for zone in zones {
            seen.entry(zone).or_default().push(Seen { track, incident, record });
        }
    }
    seen
}
