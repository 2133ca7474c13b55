//! Activities: one summary of the incidents of a pipeline entry per zone, or for the whole frame if no zones are configured.
//!
//! An activity begins when an object with an incident is seen in its zone and no activity is open there. It counts each incident
//! that is seen there once, and ends when none was seen there for [`Rules::quiet_ms`]. Only sightings in the zone keep it open:
//! an object that walked on, or stands elsewhere, does not.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::id::{IdParts, event_id};
use super::incident::{BestRecord, Incident};
use super::track::ObjectTrack;
use super::{DecidedEvent, FrameFacts, Inference, Rules, SnapshotSource, roi};
use crate::media::{ActivityCounts, BBox, Event, MediaMs, Phase};

/// Label of an activity's events; the incidents of an activity may have several classes.
pub(super) const LABEL: &str = "activity";

/// The open activities of one pipeline entry, by zone; without zones there is one, for the zone "".
///
/// It is bounded by the numbers of zones, classes and tracks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Activities(BTreeMap<String, OpenActivity>);

/// An activity that has started and not ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OpenActivity {
    /// Id of the start event.
    pub(super) id: String,
    /// Media time of the start event.
    began: MediaMs,
    /// Media time of the last frame in which an incident was seen in the zone.
    last_seen: MediaMs,
    /// Number of counted incidents by label.
    by_label: BTreeMap<String, u64>,
    /// Maximum number of incidents in one frame.
    peak: u64,
    /// Ids of the counted tracks that still exist.
    counted: BTreeSet<u64>,
    #[serde(rename = "shown")]
    snapshot: ActivitySnapshot,
}

/// The event of an incident whose snapshot represents the activity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ActivitySnapshot {
    record: BestRecord,
    conf: f32,
    /// Frame px.
    bbox: BBox,
}

/// An incident whose object is seen in the frame.
struct VisibleIncident<'a> {
    track: &'a ObjectTrack,
    incident: &'a Incident,
    /// Its event in this frame, if it has one.
    record: Option<&'a Event>,
}

impl Activities {
    /// Returns whether no activity is open.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the records whose snapshots represent the activities.
    pub(super) fn best_records(&mut self) -> impl Iterator<Item = &mut BestRecord> {
        self.0.values_mut().map(|activity| &mut activity.snapshot.record)
    }

    /// Removes the activities that are over at `media`, and returns them by zone; `is_new_footage` ends all of them.
    pub(super) fn begin(
        &mut self,
        rules: &Rules,
        media: MediaMs,
        is_new_footage: bool,
    ) -> BTreeMap<String, OpenActivity> {
        let is_over = |activity: &OpenActivity| is_new_footage || activity.is_over(rules, media);
        let (over, open) = std::mem::take(&mut self.0).into_iter().partition(|(_, open)| is_over(open));
        self.0 = open;
        // Media time that goes back a little must not give negative durations.
        for open in self.0.values_mut() {
            open.began = open.began.min(media);
            open.last_seen = open.last_seen.min(media);
        }
        over
    }

    /// Counts the visible incidents, and returns the activities that begin, by zone; `events` are those of this frame's sightings.
    pub(super) fn update(
        &mut self,
        tracks: &[ObjectTrack],
        events: &[DecidedEvent],
        (frame, inference): (&FrameFacts<'_>, &Inference<'_>),
    ) -> BTreeMap<String, OpenActivity> {
        let mut begun = BTreeMap::new();
        if inference.rules.quiet_ms.is_none() {
            return begun;
        }
        for (zone, visible) in visible_by_zone(tracks, events, frame, inference.rules) {
            if let Some(open) = self.0.get_mut(&zone) {
                open.count(&visible, frame.media);
            } else if let Some(snapshot) = ActivitySnapshot::first(&visible, frame.media) {
                let id = activity_id(frame, inference, &zone, Phase::Start);
                let mut open = OpenActivity::new(id, snapshot, frame.media);
                open.count(&visible, frame.media);
                begun.insert(zone, open);
            }
        }
        self.0.extend(begun.clone());
        self.forget_removed(tracks);
        begun
    }

    /// Forgets the counted tracks that are not among `tracks`.
    fn forget_removed(&mut self, tracks: &[ObjectTrack]) {
        // Ids of tracks are never used again, so those of removed tracks are dropped: the set stays as small as the tracker.
        let tracked: BTreeSet<u64> = tracks.iter().map(|track| track.id).collect();
        for open in self.0.values_mut() {
            open.counted.retain(|id| tracked.contains(id));
        }
    }
}

impl OpenActivity {
    fn new(id: String, snapshot: ActivitySnapshot, media: MediaMs) -> Self {
        let (by_label, counted) = (BTreeMap::new(), BTreeSet::new());
        Self { id, began: media, last_seen: media, by_label, peak: 0, counted, snapshot }
    }

    /// Returns the counts so far.
    pub(super) fn counts(&self) -> ActivityCounts {
        let incidents = self.by_label.values().sum();
        ActivityCounts { incidents, by_label: self.by_label.clone(), peak: self.peak }
    }

    /// Returns the time from the start to the last sighting, ms of media time.
    pub(super) fn lasted_ms(&self) -> i64 {
        self.last_seen.0.saturating_sub(self.began.0)
    }

    /// Returns the confidence and the box of the event whose snapshot represents the activity.
    pub(super) fn best_view(&self) -> (f32, &BBox) {
        (self.snapshot.conf, &self.snapshot.bbox)
    }

    /// Returns the event whose snapshot represents the activity.
    pub(super) fn pictured_by(&self) -> SnapshotSource {
        self.snapshot.record.clone().into()
    }

    fn is_over(&self, rules: &Rules, media: MediaMs) -> bool {
        let quiet_for_ms = media.0.saturating_sub(self.last_seen.0);
        // Without `quiet_ms` the key was removed from the configuration, which ends what it had opened.
        rules.quiet_ms.is_none_or(|quiet_ms| quiet_for_ms >= quiet_ms)
    }

    fn count(&mut self, visible: &[VisibleIncident<'_>], media: MediaMs) {
        self.last_seen = media;
        self.peak = self.peak.max(visible.len() as u64);
        for one in visible.iter().filter(|one| self.counted.insert(one.track.id)) {
            *self.by_label.entry(one.track.label.clone()).or_default() += 1;
        }
        let newest = ActivitySnapshot::best(visible.iter().filter_map(|one| one.snapshot_now(media)));
        if let Some(newest) = newest.filter(|newest| newest.record.is_better_than(&self.snapshot.record)) {
            self.snapshot = newest;
        }
    }
}

impl ActivitySnapshot {
    /// Returns the snapshot of an activity that begins: the best event of this frame, otherwise the best earlier event of the
    /// incidents in it.
    fn first(visible: &[VisibleIncident<'_>], media: MediaMs) -> Option<Self> {
        let now = Self::best(visible.iter().filter_map(|one| one.snapshot_now(media)));
        // An incident that walks into the zone has no event in this frame. No picture is made for the activity alone.
        now.or_else(|| Self::best(visible.iter().map(VisibleIncident::snapshot_before)))
    }

    /// Returns the best snapshot; the first of equals, so that the result does not depend on more than the order of tracks.
    fn best(all: impl Iterator<Item = Self>) -> Option<Self> {
        all.reduce(|best, other| if other.record.is_better_than(&best.record) { other } else { best })
    }
}

impl VisibleIncident<'_> {
    fn snapshot_now(&self, media: MediaMs) -> Option<ActivitySnapshot> {
        let (event, bbox) = (self.record?, self.track.bbox);
        let conf = event.payload.conf;
        Some(ActivitySnapshot { record: BestRecord::of(&event.event_id, media, conf, &bbox), conf, bbox })
    }

    fn snapshot_before(&self) -> ActivitySnapshot {
        let record = self.incident.best.clone();
        ActivitySnapshot { record, conf: self.track.conf, bbox: self.track.bbox }
    }
}

/// Returns the id of an activity's event.
pub(super) fn activity_id(
    frame: &FrameFacts<'_>,
    inference: &Inference<'_>,
    zone: &str,
    phase: Phase,
) -> String {
    event_id(&IdParts {
        stream: frame.stream,
        fragment: &frame.fragment.number,
        index: frame.index,
        // No pipeline entry has a slash in its name, so no incident's event has the same id, whatever the zone is called.
        detector: &format!("{}/activity", inference.rules.detector),
        label: zone,
        phase,
        rank: 0,
    })
}

/// Returns the incidents that are seen in the frame, by zone; an object may be in several zones.
fn visible_by_zone<'a>(
    tracks: &'a [ObjectTrack],
    events: &'a [DecidedEvent],
    frame: &FrameFacts<'_>,
    rules: &Rules,
) -> BTreeMap<String, Vec<VisibleIncident<'a>>> {
    let mut visible: BTreeMap<String, Vec<VisibleIncident<'a>>> = BTreeMap::new();
    for track in tracks.iter().filter(|track| track.is_seen()) {
        let Some(incident) = &track.incident else { continue };
        let mut records = events.iter().map(|decided| &decided.event);
        let record = records.find(|event| event.payload.extras.incident_id == incident.id);
        let zones = match &rules.roi {
            Some(roi) => roi::zones_of(roi, &track.bbox, frame.size_px),
            None => vec![String::new()],
        };
        for zone in zones {
            visible.entry(zone).or_default().push(VisibleIncident { track, incident, record });
        }
    }
    visible
}
