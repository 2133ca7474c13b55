//! The tracker of one pipeline entry: assigns sightings to tracks, and decides which of them are reported.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::activity::{Activities, OpenActivity};
use super::association::{is_upon, jump, match_hidden, match_in_view, match_new, walk};
use super::confirmation::{InferenceInterval, is_candidate, is_confirmed};
use super::filter::KnownObject;
use super::incident::BestRecord;
use super::track::ObjectTrack;
use super::{DecidedEvent, FrameContext, FrameFacts, Inference, Rules, Sighting};
use crate::media::{MediaMs, Phase};

/// Maximum number of tracks of a camera, all pipeline entries together: its state must fit into an item of the table of positions.
pub(super) const MAX_OBJECTS: usize = 256;
/// Interval between inferences, or step back in media time, after which only incidents carry over.
const INFERENCE_GAP_MS: i64 = 10_000;
/// Interval between inferences that counts as watched.
///
/// The motion gate runs inference on still scenes only now and then. An object that the next inference misses may have left just
/// before it, so the rest of a longer interval is not time out of sight.
const WATCHED_GAP_MS: i64 = 1_000;
/// Time from its first sighting in which a newcomer near a lost object, or upon another one, is not reported yet.
///
/// While an object emerges, its first sightings show the colours of the obstacle, too; and a second box of one object soon goes.
const EMERGING_MS: i64 = 500;
/// Minimum IoU of a faint box with the predicted box of its track: more than for a sure one, as it is more often wrong.
const FAINT_IOU: f32 = 0.5;

/// The tracks and activities of one pipeline entry.
///
/// A step back of media time by more than [`INFERENCE_GAP_MS`] is new footage, and ends everything. By less, time stands still.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tracker {
    #[serde(rename = "last_look")]
    last_inference: Option<MediaMs>,
    #[serde(rename = "pace", default)]
    interval: InferenceInterval,
    /// Id of the newest track.
    last_id: u64,
    tracks: Vec<ObjectTrack>,
    #[serde(default, skip_serializing_if = "Activities::is_empty")]
    activities: Activities,
}

/// A sighting that becomes an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DueRecord {
    /// Index of the sighting.
    pub(super) sighting: usize,
    /// Index of its track.
    pub(super) track: usize,
    pub(super) phase: Phase,
}

impl Tracker {
    /// Begins an inference at `media` in which nothing has been seen yet, and removes what is over. Returns the tracks whose
    /// incidents have ended, by label and position, and the activities that have, by zone.
    pub(super) fn begin(
        &mut self,
        rules: &Rules,
        media: MediaMs,
    ) -> (Vec<ObjectTrack>, BTreeMap<String, OpenActivity>) {
        let since_ms = self.last_inference.map_or(0, |last| media.0.saturating_sub(last.0));
        let (after_gap, is_new_footage) = (since_ms > INFERENCE_GAP_MS, since_ms < -INFERENCE_GAP_MS);
        let (kept, over) = std::mem::take(&mut self.tracks)
            .into_iter()
            .partition(|track: &ObjectTrack| !is_new_footage && !track.is_over(rules, media, after_gap));
        self.tracks = kept;
        for track in &mut self.tracks {
            track.begin_inference(media, (since_ms - WATCHED_GAP_MS).max(0));
        }
        self.interval.add(since_ms);
        self.last_inference = Some(media);
        (incidents_of(over), self.activities.begin(rules, media, is_new_footage))
    }

    /// Returns the confirmed objects with the box of each one's last sighting.
    pub(super) fn known(&self) -> Vec<KnownObject> {
        let confirmed = self.tracks.iter().filter(|track| track.confirmed);
        confirmed.map(|track| (track.label.clone(), track.bbox)).collect()
    }

    /// Assigns the sightings to tracks, and returns those that become events.
    pub(super) fn update(
        &mut self,
        context: &FrameContext<'_>,
        sure: &[Sighting],
        faint: &[Sighting],
    ) -> Vec<DueRecord> {
        let track_of = self.assign(context, sure);
        // Faint boxes come second, so that none takes a track from a sure one.
        self.keep_in_view(context, faint);
        self.mark_upon(context.media);
        let mut due = Vec::new();
        for (sighting, track) in track_of.into_iter().enumerate() {
            let phase = self.phase(track, context, &sure[sighting]);
            due.extend(phase.map(|phase| DueRecord { sighting, track, phase }));
        }
        due
    }

    /// Counts the visible incidents in activities, and returns the activities that begin, by zone; `events` are those of this
    /// inference's sightings.
    pub(super) fn update_activities(
        &mut self,
        frame: &FrameFacts<'_>,
        inference: &Inference<'_>,
        events: &[DecidedEvent],
    ) -> BTreeMap<String, OpenActivity> {
        self.activities.update(&self.tracks, events, (frame, inference))
    }

    /// Returns the track of a [`DueRecord`].
    pub(super) fn track(&mut self, due: DueRecord) -> &mut ObjectTrack {
        &mut self.tracks[due.track]
    }

    /// Returns the number of tracks.
    pub(super) fn len(&self) -> usize {
        self.tracks.len()
    }

    /// Returns the records whose snapshots represent incidents and activities.
    pub(super) fn best_records(&mut self) -> impl Iterator<Item = &mut BestRecord> {
        let incidents = self.tracks.iter_mut().filter_map(|track| track.incident.as_mut());
        incidents.map(|incident| &mut incident.best).chain(self.activities.best_records())
    }

    /// Removes candidates whose window has no sighting left, and tracks beyond `limit`. Returns those with an incident, which ends.
    pub(super) fn shed(&mut self, rules: &Rules, limit: usize) -> Vec<ObjectTrack> {
        let interval = self.interval;
        self.tracks.retain(|track| track.confirmed || is_candidate(track.seen, rules.confirm, interval));
        let mut shed = Vec::new();
        while self.tracks.len() > limit {
            // Candidates go before incidents, which have been reported; of each, the one that is the longest out of sight.
            let oldest = (0..self.tracks.len())
                .min_by_key(|&i| (self.tracks[i].incident.is_some(), self.tracks[i].last_seen));
            shed.push(self.tracks.remove(oldest.unwrap_or(0)));
        }
        incidents_of(shed)
    }

    /// Returns the index of each sighting's track: one in view, otherwise a hidden one, otherwise a new one.
    fn assign(&mut self, context: &FrameContext<'_>, sightings: &[Sighting]) -> Vec<usize> {
        let mut track_of = vec![None; sightings.len()];
        // Tracks in view first: where two people cross, the visible one would otherwise lose its box to the hidden one.
        let min_iou = context.rules.confirm.iou_threshold;
        for (track, sighting) in match_in_view(&self.tracks, context, sightings, min_iou) {
            self.assign_pair(track, sighting, context, sightings, &mut track_of);
        }
        for (track, sighting) in match_hidden(&self.tracks, context, sightings) {
            self.assign_pair(track, sighting, context, sightings, &mut track_of);
        }
        for (track, sighting) in match_new(&self.tracks, context, sightings) {
            self.assign_pair(track, sighting, context, sightings, &mut track_of);
        }
        let mut assigned = Vec::with_capacity(sightings.len());
        for (track, sighting) in track_of.into_iter().zip(sightings) {
            assigned.push(track.unwrap_or_else(|| self.add(context.rules, context.media, sighting)));
        }
        assigned
    }

    /// Assigns a sighting to a track, if neither has a partner yet. Pairs come best first, so this is a greedy assignment.
    fn assign_pair(
        &mut self,
        track: usize,
        sighting: usize,
        context: &FrameContext<'_>,
        sightings: &[Sighting],
        track_of: &mut [Option<usize>],
    ) {
        if self.tracks[track].missed > 0 && track_of[sighting].is_none() {
            track_of[sighting] = Some(track);
            self.tracks[track].add_sighting(context.rules, context.media, &sightings[sighting]);
        }
    }

    /// Assigns faint boxes to confirmed tracks that were in sight until this inference.
    fn keep_in_view(&mut self, context: &FrameContext<'_>, faint: &[Sighting]) {
        let mut is_taken = vec![false; faint.len()];
        for (track, sighting) in match_in_view(&self.tracks, context, faint, FAINT_IOU) {
            let track = &mut self.tracks[track];
            // Only after the first miss: a faint box where an object was lost before is as likely to be background.
            if track.missed == 1 && track.confirmed && !is_taken[sighting] {
                is_taken[sighting] = true;
                track.add_faint(context.media, &faint[sighting]);
            }
        }
    }

    /// Marks the visible objects without incident that lie upon a visible incident of their label.
    fn mark_upon(&mut self, media: MediaMs) {
        // Either box may be a second box of the other object. Or the incident has the joint box of two people, or by now that of
        // somebody else, and the object upon it is the one that the incident is about.
        let (incidents, others): (Vec<&mut ObjectTrack>, Vec<&mut ObjectTrack>) = self
            .tracks
            .iter_mut()
            .filter(|track| track.is_seen())
            .partition(|track| track.incident.is_some());
        for new in others {
            if incidents.iter().any(|old| old.label == new.label && is_upon(&old.bbox, &new.bbox)) {
                new.upon = Some(media);
            }
        }
    }

    fn add(&mut self, rules: &Rules, media: MediaMs, sighting: &Sighting) -> usize {
        self.last_id += 1;
        self.tracks.push(ObjectTrack::new(self.last_id, rules, media, sighting));
        self.tracks.len() - 1
    }

    /// Returns the phase of the event that a sighting of this track becomes, if any. A candidate that is confirmed near a lost
    /// incident and looks alike continues it without an event.
    fn phase(&mut self, track: usize, context: &FrameContext<'_>, sighting: &Sighting) -> Option<Phase> {
        let (rules, media, interval) = (context.rules, context.media, self.interval);
        let candidate = &mut self.tracks[track];
        if let Some(incident) = &candidate.incident {
            let text = candidate.text_votes.best().map(|(text, _)| text);
            return incident.needs_update(rules, media, sighting, text).then_some(Phase::Update);
        }
        candidate.confirmed |= is_confirmed(candidate.seen, &candidate.scores, rules.confirm, interval);
        if !candidate.confirmed {
            return None;
        }
        candidate.scores.clear();
        let lost_near = self.lost_near(track, context);
        let candidate = &self.tracks[track];
        if let Some(old) = lost_near.iter().find(|&&old| candidate.looks_like(&self.tracks[old], sighting)) {
            self.continue_incident(track, *old);
            return None;
        }
        // A repeated start is worse than one that is half a second late, so a doubtful newcomer waits. It does not wait longer: a
        // missing start is worse still.
        let stayed_ms = media.0.saturating_sub(candidate.first_seen.0);
        if (!lost_near.is_empty() || candidate.upon.is_some()) && stayed_ms < EMERGING_MS {
            return None;
        }
        let has_text = rules.reading.is_none() || candidate.text_votes.best().is_some();
        (stayed_ms >= rules.dwell_ms && has_text).then_some(Phase::Start)
    }

    /// Moves the incident of the lost track `old` to `track`, and leaves `old` as an unconfirmed track that is shed.
    fn continue_incident(&mut self, track: usize, old: usize) {
        // Not removed at once: the indices of the other sightings' tracks are still in use.
        let gone = self.tracks[old].clone();
        let left = &mut self.tracks[old];
        (left.confirmed, left.seen, left.incident) = (false, 0, None);
        self.tracks[track].continue_track(gone);
    }

    /// Returns the lost incidents of the same label that the object may belong to by its place and time, nearest first.
    fn lost_near(&self, track: usize, context: &FrameContext<'_>) -> Vec<usize> {
        let new = &self.tracks[track];
        let mut near: Vec<(f32, usize)> = Vec::new();
        for (index, old) in self.tracks.iter().enumerate() {
            let is_lost = old.incident.is_some() && old.missed > 0 && old.label == new.label;
            if !is_lost || !new.came_within(context, old) {
                continue;
            }
            // A person who turned while hidden is farther away than a jump and off the predicted course. So many places are within
            // a walk that the appearance must speak for this incident more than for any other.
            let walked = || walk(old, context, &new.bbox).filter(|_| self.is_closest_in_appearance(new, old));
            near.extend(jump(old, context, &new.bbox).or_else(walked).map(|distance| (distance, index)));
        }
        near.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        near.into_iter().map(|(_, index)| index).collect()
    }

    /// Returns whether `new` looks as much like `old` as like any other incident of its label; `false` if the appearance of one is
    /// not known.
    fn is_closest_in_appearance(&self, new: &ObjectTrack, old: &ObjectTrack) -> bool {
        // Visible incidents are rivals, too: if people are dressed alike, appearance is no evidence, and the newcomer is new.
        let rivals = self.tracks.iter().filter(|track| track.incident.is_some() && track.label == new.label);
        let rivals = rivals.filter(|rival| rival.appearance.is_some());
        let difference = |track: &ObjectTrack| track.appearance_difference(new.appearance.as_ref());
        let is_known = new.appearance.is_some() && old.appearance.is_some();
        is_known && rivals.map(difference).all(|rival| difference(old) <= rival)
    }
}

/// Returns the tracks that have an incident, by label and position.
fn incidents_of(mut over: Vec<ObjectTrack>) -> Vec<ObjectTrack> {
    over.retain(|track| track.incident.is_some());
    // The rank among them is a part of the id of the end, so the order must not depend on that of the tracks.
    let edges = |track: &ObjectTrack| [track.bbox.x1, track.bbox.y1, track.bbox.x2, track.bbox.y2];
    over.sort_by(|a, b| {
        let edges = edges(a).into_iter().zip(edges(b)).map(|(a, b)| a.total_cmp(&b));
        let by_position = edges.fold(std::cmp::Ordering::Equal, std::cmp::Ordering::then);
        a.label.cmp(&b.label).then(by_position).then(a.id.cmp(&b.id))
    });
    over
}
