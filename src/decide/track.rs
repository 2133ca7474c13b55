//! Things over time: which box of this look is which thing of the last one, and what is to be told of it.

use serde::{Deserialize, Serialize};

use super::incident::Incident;
use super::motion::Motion;
use super::reading::Readings;
use super::{Confirm, Pictured, Rules, Sighting};
use crate::frame::{BBox, MediaMs, Phase};

/// Limit on the objects of a camera, all entries of its pipeline together: its state must fit into an item of the table of
/// positions. See [`Tracks::end`] for which of them go.
pub(super) const MAX_OBJECTS: usize = 256;
/// Between looks that are further apart than this, or when time goes back further, nothing carries over but incidents.
const LOOK_GAP_MS: i64 = 10_000;
/// A thing that is yet to stay long enough may be out of sight for less than this.
const STAY_GAP_MS: i64 = 2_000;
/// Looks further apart than this say nothing of the time between them, which does not count as out of sight.
const WATCH_GAP_MS: i64 = 1_000;
/// A faint box must overlap so much with where its thing is thought to be.
const FAINT_IOU: f32 = 0.5;

/// The things that one entry of the pipeline follows.
///
/// Media time that goes back by more than [`LOOK_GAP_MS`] is new footage: everything ends. By less: it counts as standing still.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tracks {
    last_look: Option<MediaMs>,
    /// The id of the last new thing.
    last_id: u64,
    tracks: Vec<Track>,
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
    /// In which looks it was seen surely; the lowest bit is the last look.
    seen: u64,
    /// Looks since it was seen, surely or faintly.
    missed: u32,
    /// Of the time since it was last seen, how long nobody looked before the first look that missed it, ms.
    #[serde(default)]
    unwatched_ms: i64,
    pub(super) first_seen: MediaMs,
    pub(super) last_seen: MediaMs,
    /// The highest confidence so far.
    pub(super) conf: f32,
    pub(super) readings: Readings,
    /// It was seen often enough, and may have yet to stay long enough.
    confirmed: bool,
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
    /// have ended, by label and place.
    pub(super) fn begin(&mut self, rules: &Rules, media: MediaMs) -> Vec<Track> {
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
        self.last_look = Some(media);
        ended(over)
    }

    /// The confirmed objects with the box in which each was last seen.
    pub(super) fn known(&self) -> Vec<(String, BBox)> {
        let confirmed = self.tracks.iter().filter(|track| track.confirmed);
        confirmed.map(|track| (track.label.clone(), track.bbox)).collect()
    }

    /// Gives each sighting its thing, and tells what is due; then `faint` boxes keep things in sight that would have got lost.
    pub(super) fn look(
        &mut self,
        rules: &Rules,
        media: MediaMs,
        sure: &[Sighting],
        faint: &[Sighting],
    ) -> Vec<Due> {
        let track_of = self.assign(rules, media, sure);
        self.keep_in_sight(media, faint);
        let due = track_of.iter().enumerate().filter_map(|(sighting, &track)| {
            let phase = self.phase(track, rules, media, &sure[sighting])?;
            Some(Due { sighting, track, phase })
        });
        due.collect()
    }

    /// The thing of a [`Due`].
    pub(super) fn track(&mut self, due: Due) -> &mut Track {
        &mut self.tracks[due.track]
    }

    /// The number of objects.
    pub(super) fn len(&self) -> usize {
        self.tracks.len()
    }

    /// Removes objects beyond `limit`, and returns those whose incidents end by that. Candidates go first, then incidents,
    /// those that are the longest out of sight first.
    pub(super) fn end(&mut self, rules: &Rules, limit: usize) -> Vec<Track> {
        self.tracks.retain(|track| track.confirmed || track.sightings(rules.confirm) > 0);
        let mut shed = Vec::new();
        while self.tracks.len() > limit {
            let least = (0..self.tracks.len())
                .min_by_key(|&i| (self.tracks[i].incident.is_some(), self.tracks[i].last_seen));
            shed.push(self.tracks.remove(least.unwrap_or(0)));
        }
        ended(shed)
    }

    /// The thing of each sighting: an old one where the boxes overlap enough, else a new one.
    fn assign(&mut self, rules: &Rules, media: MediaMs, sightings: &[Sighting]) -> Vec<usize> {
        let mut track_of = vec![None; sightings.len()];
        for (track, sighting) in self.pairs(media, sightings, rules.confirm.iou_threshold) {
            if self.tracks[track].missed > 0 && track_of[sighting].is_none() {
                track_of[sighting] = Some(track);
                self.tracks[track].sight(rules, media, &sightings[sighting]);
            }
        }
        let mut place = |(found, sighting): (Option<usize>, &Sighting)| {
            found.unwrap_or_else(|| self.add(rules, media, sighting))
        };
        track_of.into_iter().zip(sightings).map(&mut place).collect()
    }

    /// Things that were in sight at the last look and are not surely in this one.
    fn keep_in_sight(&mut self, media: MediaMs, faint: &[Sighting]) {
        let mut taken = vec![false; faint.len()];
        for (track, sighting) in self.pairs(media, faint, FAINT_IOU) {
            let track = &mut self.tracks[track];
            if track.missed == 1 && track.confirmed && !taken[sighting] {
                taken[sighting] = true;
                track.glimpse(media, &faint[sighting]);
            }
        }
    }

    /// Things and sightings of one label that overlap enough, best first; ties by age of the thing, then rank.
    fn pairs(&self, media: MediaMs, sightings: &[Sighting], least_iou: f32) -> Vec<(usize, usize)> {
        let mut pairs = Vec::new();
        for (t, track) in self.tracks.iter().enumerate() {
            let expected = track.expected(media);
            for (s, sighting) in sightings.iter().enumerate() {
                let iou = expected.iou(&sighting.bbox).max(track.bbox.iou(&sighting.bbox));
                let same = *track.label == *sighting.label && iou > 0.0 && iou >= least_iou;
                pairs.extend(same.then_some((iou, t, s)));
            }
        }
        pairs.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
        pairs.into_iter().map(|(_, t, s)| (t, s)).collect()
    }

    fn add(&mut self, rules: &Rules, media: MediaMs, sighting: &Sighting) -> usize {
        self.last_id += 1;
        let mut track = Track {
            id: self.last_id,
            label: sighting.label.to_string(),
            bbox: sighting.bbox,
            motion: Motion::new(&sighting.bbox),
            seen: 0,
            missed: 1,
            unwatched_ms: 0,
            first_seen: media,
            last_seen: media,
            conf: 0.0,
            readings: Readings::default(),
            confirmed: false,
            incident: None,
        };
        track.sight(rules, media, sighting);
        self.tracks.push(track);
        self.tracks.len() - 1
    }

    /// What a sighting of this thing is told as, if at all.
    ///
    /// A candidate that is confirmed near a thing of its label that has just gone out of sight takes its place silently: it is
    /// taken for the same thing, which jumped.
    fn phase(&mut self, track: usize, rules: &Rules, media: MediaMs, sighting: &Sighting) -> Option<Phase> {
        let candidate = &mut self.tracks[track];
        if let Some(incident) = &candidate.incident {
            let text = candidate.readings.best().map(|(text, _)| text);
            return incident.tells(rules, media, sighting, text).then_some(Phase::Update);
        }
        candidate.confirmed |= candidate.sightings(rules.confirm) >= rules.confirm.frames;
        if !candidate.confirmed {
            return None;
        }
        if let Some(old) = self.jumped_from(track, rules.cooldown_ms, media) {
            self.take_place_of(track, old);
            return None;
        }
        let candidate = &self.tracks[track];
        let stayed_ms = media.0.saturating_sub(candidate.first_seen.0);
        let is_read = rules.reading.is_none() || candidate.readings.best().is_some();
        (stayed_ms >= rules.dwell_ms && is_read).then_some(Phase::Start)
    }

    fn take_place_of(&mut self, track: usize, old: usize) {
        let gone = self.tracks[old].clone();
        let left = &mut self.tracks[old];
        (left.confirmed, left.seen, left.incident) = (false, 0, None);
        self.tracks[track].follow(gone);
    }

    /// The nearest incident of the same label, out of sight for less than the cool-down, that the thing may be.
    fn jumped_from(&self, track: usize, cooldown_ms: i64, media: MediaMs) -> Option<usize> {
        let new = &self.tracks[track];
        let lost = |old: &Track| {
            let is_lost = old.incident.is_some() && old.missed > 0 && old.label == new.label;
            is_lost && old.looked_for_ms(media) < cooldown_ms
        };
        let distances = self.tracks.iter().enumerate().filter(|(_, old)| lost(old));
        distances
            .filter_map(|(index, old)| Some((old.jump_to(&new.bbox, media)?, index)))
            .min_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)))
            .map(|(_, index)| index)
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
        let counts = |reading: &&_| rules.reading.as_ref().is_some_and(|rules| rules.admits(reading));
        if let Some(reading) = sighting.reading.as_ref().filter(counts) {
            self.readings.add(reading);
        }
    }

    /// It was seen, if only faintly.
    fn glimpse(&mut self, media: MediaMs, sighting: &Sighting) {
        self.motion.sight(&sighting.bbox, seconds(self.out_of_sight_ms(media)));
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
    }

    fn expected(&self, media: MediaMs) -> BBox {
        self.motion.predict(&self.bbox, seconds(self.out_of_sight_ms(media)))
    }

    /// Whether it is out of sight for too long; `apart`: nobody looked for long.
    fn is_over(&self, rules: &Rules, media: MediaMs, apart: bool) -> bool {
        let patience_ms = match (&self.incident, self.confirmed) {
            (Some(_), _) => rules.cooldown_ms,
            (None, true) => STAY_GAP_MS,
            (None, false) => return apart,
        };
        (apart || self.missed > 0) && self.looked_for_ms(media) >= patience_ms
    }

    /// Sightings within the window.
    fn sightings(&self, confirm: Confirm) -> u32 {
        let window = confirm.window.clamp(1, u64::BITS);
        (self.seen << (u64::BITS - window)).count_ones()
    }

    /// The shorter of the ways from where it was and from where it is thought to be, as [`jump`] gives them.
    fn jump_to(&self, place: &BBox, media: MediaMs) -> Option<f32> {
        let ways = [self.bbox, self.expected(media)].into_iter().filter_map(|from| jump(&from, place));
        ways.min_by(f32::total_cmp)
    }

    /// How long it was looked for in vain.
    fn looked_for_ms(&self, media: MediaMs) -> i64 {
        self.out_of_sight_ms(media).saturating_sub(self.unwatched_ms)
    }

    fn out_of_sight_ms(&self, media: MediaMs) -> i64 {
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

/// The squared distance of the centres, px; `None` where `to`'s centre is further off than the size of `from`.
fn jump(from: &BBox, to: &BBox) -> Option<f32> {
    let ((x1, y1), (x2, y2)) = (from.centre(), to.centre());
    let (dx, dy) = ((x2 - x1).abs(), (y2 - y1).abs());
    let near = dx <= 1.5 * (from.x2 - from.x1) && dy <= 1.5 * (from.y2 - from.y1);
    near.then_some(dx * dx + dy * dy)
}

/// Of media time.
#[expect(clippy::cast_precision_loss, reason = "more than two seconds count as two")]
fn seconds(ms: i64) -> f32 {
    ms as f32 / 1000.0
}
