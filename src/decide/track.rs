//! Things over time: which box of this look is which thing of the last one, and what is to be told of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::activity::{Activities, OpenActivity};
use super::association::{self, IN_VIEW_MS, is_upon, jump, walk};
use super::confirmation::{Pace, Scores, is_candidate, is_confirmed};
use super::incident::{Best, Incident};
use super::looks::{self, Looks};
use super::motion::Motion;
use super::reading::Readings;
use super::{FrameFacts, Look, Made, Moment, Pictured, Rules, Sighting};
use crate::media::{BBox, MediaMs, Phase};

/// Limit on the objects of a camera, all entries of its pipeline together: its state must fit into an item of the table of
/// positions. See [`Tracks::end`] for which of them go.
pub(super) const MAX_OBJECTS: usize = 256;
/// Between looks that are further apart than this, or when time goes back further, nothing carries over but incidents.
const LOOK_GAP_MS: i64 = 10_000;
/// A thing that is yet to stay long enough may be out of sight for less than this.
const STAY_GAP_MS: i64 = 2_000;
/// Looks further apart than this say nothing of the time between them, which does not count as out of sight.
const WATCH_GAP_MS: i64 = 1_000;
/// Minimum difference in looks of another object, mostly; see [`Looks::difference`].
const OTHER_LOOKS: f32 = 0.65;
/// Maximum difference in looks of an object that returns, as a share of [`OTHER_LOOKS`].
const ALIKE: f32 = 0.6;
/// Time from its first sighting in which a newcomer that appears where another has just vanished, or upon another, may turn out to be
/// that one: while it comes out of what hid it, its first sightings show that, too; and a second box of one object is soon gone.
const EMERGES_MS: i64 = 500;
/// Maximum time for which one object has two boxes.
const SECOND_BOX_MS: i64 = 300;
/// A faint box must overlap so much with where its thing is thought to be.
const FAINT_IOU: f32 = 0.5;

/// The things that one entry of the pipeline follows.
///
/// Media time that goes back by more than [`LOOK_GAP_MS`] is new footage: everything ends. By less: it counts as standing still.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tracks {
    last_look: Option<MediaMs>,
    #[serde(default)]
    pace: Pace,
    /// The id of the last new thing.
    last_id: u64,
    tracks: Vec<Track>,
    #[serde(default, skip_serializing_if = "Activities::is_empty")]
    activities: Activities,
}

/// One thing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Track {
    /// Its number among the things of this entry, from 1.
    pub(super) id: u64,
    pub(super) label: String,
    /// Where it was last seen, frame px.
    pub(super) bbox: BBox,
    motion: Motion,
    #[serde(default, deserialize_with = "looks::stored")]
    looks: Option<Looks>,
    /// In which looks it was seen surely; the lowest bit is the last look.
    seen: u64,
    /// Looks since it was seen, surely or faintly.
    missed: u32,
    /// Of the time since it was last seen, how long nobody looked before the first look that missed it, ms.
    #[serde(default)]
    unwatched_ms: i64,
    pub(super) first_seen: MediaMs,
    pub(super) last_seen: MediaMs,
    /// The time of the last look in which it lay upon an incident in sight; `None` if it never did, or has an incident itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    upon: Option<MediaMs>,
    /// The highest confidence so far.
    pub(super) conf: f32,
    pub(super) readings: Readings,
    /// It was seen often enough, and may have yet to stay long enough.
    confirmed: bool,
    /// Until it is confirmed.
    #[serde(default)]
    scores: Scores,
    pub(super) incident: Option<Incident>,
}

/// A sighting that is to be told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Due {
    /// Its index.
    pub(super) sighting: usize,
    /// Of which thing.
    pub(super) track: usize,
    pub(super) phase: Phase,
}

impl Tracks {
    /// Forgets what is over at `media`, and opens a look in which nothing has been seen yet; gives the things whose incidents
    /// have ended, by label and place, and the activities that have, by zone.
    pub(super) fn begin(
        &mut self,
        rules: &Rules,
        media: MediaMs,
    ) -> (Vec<Track>, BTreeMap<String, OpenActivity>) {
        let since_ms = self.last_look.map_or(0, |last| media.0.saturating_sub(last.0));
        let (apart, anew) = (since_ms > LOOK_GAP_MS, since_ms < -LOOK_GAP_MS);
        let (kept, over) = std::mem::take(&mut self.tracks)
            .into_iter()
            .partition(|track: &Track| !anew && !track.is_over(rules, media, apart));
        self.tracks = kept;
        for track in &mut self.tracks {
            track.seen <<= 1;
            if track.missed == 0 {
                track.unwatched_ms = (since_ms - WATCH_GAP_MS).max(0);
            }
            track.missed = track.missed.saturating_add(1);
            track.last_seen = track.last_seen.min(media);
            track.first_seen = track.first_seen.min(media);
        }
        self.pace.look(since_ms);
        self.last_look = Some(media);
        (ended(over), self.activities.begin(rules, media, anew))
    }

    /// The confirmed objects with the box in which each was last seen.
    pub(super) fn known(&self) -> Vec<(String, BBox)> {
        let confirmed = self.tracks.iter().filter(|track| track.confirmed);
        confirmed.map(|track| (track.label.clone(), track.bbox)).collect()
    }

    /// Gives each sighting its thing, and tells what is due; then `faint` boxes keep things in sight that would have got lost.
    pub(super) fn look(&mut self, moment: &Moment<'_>, sure: &[Sighting], faint: &[Sighting]) -> Vec<Due> {
        let track_of = self.assign(moment, sure);
        self.keep_in_sight(moment, faint);
        self.mark_upon(moment.media);
        let due = track_of.iter().enumerate().filter_map(|(sighting, &track)| {
            let phase = self.phase(track, moment, &sure[sighting])?;
            Some(Due { sighting, track, phase })
        });
        due.collect()
    }

    /// Counts what is seen in activities, and gives those that begin, by zone; `made`: the records of this look's sightings.
    pub(super) fn active(
        &mut self,
        frame: &FrameFacts<'_>,
        look: &Look<'_>,
        made: &[Made],
    ) -> BTreeMap<String, OpenActivity> {
        self.activities.look(&self.tracks, made, (frame, look))
    }

    /// The thing of a [`Due`].
    pub(super) fn track(&mut self, due: Due) -> &mut Track {
        &mut self.tracks[due.track]
    }

    /// The number of objects.
    pub(super) fn len(&self) -> usize {
        self.tracks.len()
    }

    /// The records whose pictures show incidents and activities.
    pub(super) fn best_records(&mut self) -> impl Iterator<Item = &mut Best> {
        let incidents = self.tracks.iter_mut().filter_map(|track| track.incident.as_mut());
        incidents.map(|incident| &mut incident.best).chain(self.activities.best_records())
    }

    /// Removes objects beyond `limit`, and returns those whose incidents end by that. Candidates go first, then incidents,
    /// those that are the longest out of sight first.
    pub(super) fn end(&mut self, rules: &Rules, limit: usize) -> Vec<Track> {
        let pace = self.pace;
        self.tracks.retain(|track| track.confirmed || is_candidate(track.seen, rules.confirm, pace));
        let mut shed = Vec::new();
        while self.tracks.len() > limit {
            let least = (0..self.tracks.len())
                .min_by_key(|&i| (self.tracks[i].incident.is_some(), self.tracks[i].last_seen));
            shed.push(self.tracks.remove(least.unwrap_or(0)));
        }
        ended(shed)
    }

    /// The thing of each sighting: one in view, else a hidden one, else a new one.
    fn assign(&mut self, moment: &Moment<'_>, sightings: &[Sighting]) -> Vec<usize> {
        let mut track_of = vec![None; sightings.len()];
        let least_iou = moment.rules.confirm.iou_threshold;
        for (track, sighting) in association::in_view(&self.tracks, moment, sightings, least_iou) {
            self.take(track, sighting, moment, sightings, &mut track_of);
        }
        for (track, sighting) in association::hidden(&self.tracks, moment, sightings) {
            self.take(track, sighting, moment, sightings, &mut track_of);
        }
        for (track, sighting) in association::new(&self.tracks, moment, sightings) {
            self.take(track, sighting, moment, sightings, &mut track_of);
        }
        let mut place = |(found, sighting): (Option<usize>, &Sighting)| {
            found.unwrap_or_else(|| self.add(moment.rules, moment.media, sighting))
        };
        track_of.into_iter().zip(sightings).map(&mut place).collect()
    }

    /// Lets the thing have the sighting, where neither has another.
    fn take(
        &mut self,
        track: usize,
        sighting: usize,
        moment: &Moment<'_>,
        sightings: &[Sighting],
        track_of: &mut [Option<usize>],
    ) {
        if self.tracks[track].missed > 0 && track_of[sighting].is_none() {
            track_of[sighting] = Some(track);
            self.tracks[track].sight(moment.rules, moment.media, &sightings[sighting]);
        }
    }

    /// Things that were in sight at the last look and are not surely in this one.
    fn keep_in_sight(&mut self, moment: &Moment<'_>, faint: &[Sighting]) {
        let mut taken = vec![false; faint.len()];
        for (track, sighting) in association::in_view(&self.tracks, moment, faint, FAINT_IOU) {
            let track = &mut self.tracks[track];
            if track.missed == 1 && track.confirmed && !taken[sighting] {
                taken[sighting] = true;
                track.glimpse(moment.media, &faint[sighting]);
            }
        }
    }

    /// Marks the objects that lie upon an incident of their label in this look.
    ///
    /// Either may be a second box of the other. Or the incident has the box of two, or a box of somebody else, and what lies upon it
    /// is the object that the incident is about.
    fn mark_upon(&mut self, media: MediaMs) {
        let (incidents, others): (Vec<&mut Track>, Vec<&mut Track>) = self
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
        let mut track = Track {
            id: self.last_id,
            label: sighting.label.to_string(),
            bbox: sighting.bbox,
            motion: Motion::new(&sighting.bbox),
            looks: sighting.looks,
            seen: 0,
            missed: 1,
            unwatched_ms: 0,
            first_seen: media,
            last_seen: media,
            upon: None,
            conf: 0.0,
            readings: Readings::default(),
            confirmed: false,
            scores: Scores::default(),
            incident: None,
        };
        track.sight(rules, media, sighting);
        self.tracks.push(track);
        self.tracks.len() - 1
    }

    /// What a sighting of this thing is told as, if at all.
    ///
    /// A candidate that is confirmed near a thing of its label that has just gone out of sight and looks alike takes its place
    /// silently: it is taken for the same thing, which jumped. If it looks otherwise, or lay upon another, it is given [`EMERGES_MS`].
    fn phase(&mut self, track: usize, moment: &Moment<'_>, sighting: &Sighting) -> Option<Phase> {
        let (rules, media, pace) = (moment.rules, moment.media, self.pace);
        let candidate = &mut self.tracks[track];
        if let Some(incident) = &candidate.incident {
            let text = candidate.readings.best().map(|(text, _)| text);
            return incident.tells(rules, media, sighting, text).then_some(Phase::Update);
        }
        candidate.confirmed |= is_confirmed(candidate.seen, &candidate.scores, rules.confirm, pace);
        if !candidate.confirmed {
            return None;
        }
        candidate.scores.clear();
        let lost_near = self.lost_near(track, moment);
        let candidate = &self.tracks[track];
        if let Some(old) = lost_near.iter().find(|&&old| candidate.looks_like(&self.tracks[old], sighting)) {
            self.take_place_of(track, *old);
            return None;
        }
        let stayed_ms = media.0.saturating_sub(candidate.first_seen.0);
        if (!lost_near.is_empty() || candidate.upon.is_some()) && stayed_ms < EMERGES_MS {
            return None;
        }
        let is_read = rules.reading.is_none() || candidate.readings.best().is_some();
        (stayed_ms >= rules.dwell_ms && is_read).then_some(Phase::Start)
    }

    fn take_place_of(&mut self, track: usize, old: usize) {
        let gone = self.tracks[old].clone();
        let left = &mut self.tracks[old];
        (left.confirmed, left.seen, left.incident) = (false, 0, None);
        self.tracks[track].follow(gone);
    }

    /// Returns the incidents of the same label, out of sight, that the thing may be by its place, nearest first.
    fn lost_near(&self, track: usize, moment: &Moment<'_>) -> Vec<usize> {
        let new = &self.tracks[track];
        let lost = |old: &Track| {
            let is_lost = old.incident.is_some() && old.missed > 0 && old.label == new.label;
            is_lost && new.came_within(moment, old)
        };
        let lost = self.tracks.iter().enumerate().filter(|(_, old)| lost(old));
        let way = |old: &Track| {
            let walked = || walk(old, moment, &new.bbox).filter(|_| self.looks_most_like(new, old));
            jump(old, moment, &new.bbox).or_else(walked)
        };
        let mut near: Vec<(f32, usize)> = lost.filter_map(|(index, old)| Some((way(old)?, index))).collect();
        near.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        near.into_iter().map(|(_, index)| index).collect()
    }

    /// Returns whether `new` looks as much like `old` as like any other incident of its label, in sight or not; `false` if looks
    /// are not known.
    fn looks_most_like(&self, new: &Track, old: &Track) -> bool {
        let rivals = self.tracks.iter().filter(|track| track.incident.is_some() && track.label == new.label);
        let rivals = rivals.filter(|rival| rival.looks.is_some());
        let difference = |track: &Track| track.looks_otherwise(new.looks.as_ref());
        let is_known = new.looks.is_some() && old.looks.is_some();
        is_known && rivals.map(difference).all(|rival| difference(old) <= rival)
    }
}

impl Track {
    /// A record of a sighting was made.
    pub(super) fn told(&mut self, event_id: &str, media: MediaMs, sighting: &Sighting) {
        let text = self.readings.best().map(|(text, _)| text);
        match &mut self.incident {
            Some(incident) => incident.told(event_id, media, sighting, text),
            None => self.incident = Some(Incident::start(event_id, media, sighting, text)),
        }
        self.upon = None;
    }

    /// The record that shows it best.
    pub(super) fn pictured_by(&self) -> Option<Pictured> {
        self.incident.as_ref().map(|incident| incident.best.clone().into())
    }

    /// It was surely seen.
    fn sight(&mut self, rules: &Rules, media: MediaMs, sighting: &Sighting) {
        self.glimpse(media, sighting);
        self.seen |= 1;
        self.conf = self.conf.max(sighting.conf);
        if !self.confirmed {
            self.scores.add(sighting.conf);
        }
        let counts = |reading: &&_| rules.reading.as_ref().is_some_and(|rules| rules.admits(reading));
        if let Some(reading) = sighting.reading.as_ref().filter(counts) {
            self.readings.add(reading);
        }
    }

    /// It was seen, if only faintly.
    fn glimpse(&mut self, media: MediaMs, sighting: &Sighting) {
        let elapsed_s = seconds(self.out_of_sight_ms(media));
        self.motion.sight(&self.bbox, &sighting.bbox, elapsed_s);
        match (&mut self.looks, &sighting.looks) {
            // What is covered looks like what covers it.
            (Some(_), Some(_)) if sighting.is_covered => {}
            (Some(looks), Some(seen)) => looks.follow(seen, elapsed_s),
            (looks, seen) => *looks = seen.or(*looks),
        }
        self.bbox = sighting.bbox;
        self.last_seen = media;
        (self.missed, self.unwatched_ms) = (0, 0);
    }

    /// It is what `old` was, which jumped.
    fn follow(&mut self, old: Self) {
        self.id = old.id;
        self.first_seen = old.first_seen;
        self.conf = self.conf.max(old.conf);
        self.readings.follow(old.readings);
        self.incident = old.incident;
        self.upon = None;
    }

    /// Returns the place where it is expected from one look to the next, if it was last seen at `last`.
    pub(super) fn expected(&self, last: &BBox, media: MediaMs) -> BBox {
        self.motion.predict(last, seconds(self.out_of_sight_ms(media)))
    }

    /// Returns the place where it is expected after it was hidden, if it was last seen at `last`.
    pub(super) fn followed(&self, last: &BBox, media: MediaMs) -> BBox {
        self.motion.follow(last, seconds(self.out_of_sight_ms(media)))
    }

    /// Returns whether it came into sight soon enough after `old` vanished to be it: within the cool-down, or before the incident
    /// ends if `old` went behind something and this one looks alike. An object that was seen beside `old` is another one,
    /// except for a second box of it, and except where it lay upon an incident since: boxes may have changed owners then, which shows
    /// once `old` is no longer in view.
    fn came_within(&self, moment: &Moment<'_>, old: &Self) -> bool {
        let rules = moment.rules;
        let known = old.looks.is_some() && self.looks.is_some();
        let is_gone = old.out_of_sight_ms(moment.media) > IN_VIEW_MS;
        let came = self.upon.filter(|_| known && is_gone).unwrap_or(self.first_seen);
        let away_ms = came.0.saturating_sub(old.last_seen.0);
        let may_return =
            known && old.looks_otherwise(self.looks.as_ref()) < ALIKE && old.motion.is_half_hidden(&old.bbox);
        let limit_ms =
            if may_return { rules.cooldown_ms.max(rules.max_disappeared_ms) } else { rules.cooldown_ms };
        away_ms > -SECOND_BOX_MS && away_ms - old.unwatched_ms < limit_ms
    }

    /// Returns its difference in looks from `seen` as a share of [`OTHER_LOOKS`]; 0 if nothing is known.
    pub(super) fn looks_otherwise(&self, seen: Option<&Looks>) -> f32 {
        let known = self.looks.as_ref().zip(seen);
        known.map_or(0.0, |(looks, seen)| looks.difference(seen) / OTHER_LOOKS)
    }

    /// Returns whether `old` may be this object by its looks: those so far, or those of its latest sighting, which shows more
    /// of an object that comes out of what hid it.
    fn looks_like(&self, old: &Self, latest: &Sighting) -> bool {
        [self.looks.as_ref(), latest.looks.as_ref()].iter().any(|looks| old.looks_otherwise(*looks) <= 1.0)
    }

    /// Returns its usual height, px; 0 if it is not known.
    pub(super) fn usual_height(&self) -> f32 {
        self.motion.usual_height()
    }

    /// Returns whether it stood when it was last seen.
    pub(super) fn stands(&self) -> bool {
        self.motion.stands(&self.bbox)
    }

    /// Returns whether little is known of its way.
    pub(super) fn is_new(&self) -> bool {
        self.motion.is_new()
    }

    /// Whether it is seen in this look, surely or faintly.
    pub(super) fn is_seen(&self) -> bool {
        self.missed == 0
    }

    /// Returns whether it was seen at the last look, or was missed for `limit_ms` at most.
    pub(super) fn is_in_view(&self, media: MediaMs, limit_ms: i64) -> bool {
        self.missed <= 1 || self.looked_for_ms(media) <= limit_ms
    }

    /// Whether it is out of sight for too long; `apart`: nobody looked for long.
    fn is_over(&self, rules: &Rules, media: MediaMs, apart: bool) -> bool {
        let patience_ms = match (&self.incident, self.confirmed) {
            (Some(_), _) => rules.max_disappeared_ms,
            (None, true) => STAY_GAP_MS,
            (None, false) => return apart,
        };
        (apart || self.missed > 0) && self.looked_for_ms(media) >= patience_ms
    }

    /// How long it was looked for in vain.
    pub(super) fn looked_for_ms(&self, media: MediaMs) -> i64 {
        self.out_of_sight_ms(media).saturating_sub(self.unwatched_ms)
    }

    pub(super) fn out_of_sight_ms(&self, media: MediaMs) -> i64 {
        media.0.saturating_sub(self.last_seen.0).max(0)
    }
}

/// Of things that are over, the incidents; by label and place.
fn ended(mut over: Vec<Track>) -> Vec<Track> {
    over.retain(|track| track.incident.is_some());
    let edges = |track: &Track| [track.bbox.x1, track.bbox.y1, track.bbox.x2, track.bbox.y2];
    over.sort_by(|a, b| {
        let places = edges(a).into_iter().zip(edges(b)).map(|(a, b)| a.total_cmp(&b));
        let by_place = places.fold(std::cmp::Ordering::Equal, std::cmp::Ordering::then);
        a.label.cmp(&b.label).then(by_place).then(a.id.cmp(&b.id))
    });
    over
}

/// Of media time.
#[expect(clippy::cast_precision_loss, reason = "more than two seconds count as two")]
fn seconds(ms: i64) -> f32 {
    ms as f32 / 1000.0
}
