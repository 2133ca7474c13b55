//! Things over time: temporal confirmation and dedup of one entry of the pipeline.

use serde::{Deserialize, Serialize};

use super::{Confirm, Rules, Sighting};
use crate::frame::{BBox, MediaMs};

/// Things remembered an entry. Beyond it go candidates first, then reported things, the longest out of sight first.
const MOST_TRACKS: usize = 256;
/// Between looks that are further apart than this, or when time goes back further, nothing carries over but the cool-down.
const LOOK_GAP_MS: i64 = 10_000;

/// The things that one entry of the pipeline follows.
///
/// Media time that goes back by more than [`LOOK_GAP_MS`] is new footage: everything is forgotten. By less: it counts as standing still.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tracks {
    last_look: Option<MediaMs>,
    tracks: Vec<Track>,
}

/// One thing: a candidate until it is reported.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Track {
    label: String,
    /// Where it was last seen, frame px.
    bbox: BBox,
    /// In which looks it was seen; the lowest bit is the last look.
    seen: u64,
    last_seen: MediaMs,
    reported: bool,
}

impl Tracks {
    /// Takes in a look, and tells the indices of the sightings to report now.
    pub(super) fn look(&mut self, rules: &Rules, media: MediaMs, sightings: &[Sighting]) -> Vec<usize> {
        self.begin(rules.cooldown_ms, media);
        let track_of = self.assign(rules.confirm.iou_threshold, media, sightings);
        let mut confirmed = Vec::new();
        for (index, &track) in track_of.iter().enumerate() {
            if self.confirms(track, rules, media) {
                confirmed.push(index);
            }
        }
        self.tracks.retain(|track| track.reported || track.sightings(rules.confirm) > 0);
        self.shed();
        confirmed
    }

    /// Forgets what is over at `media`, and opens a look in which nothing has been seen yet.
    fn begin(&mut self, cooldown_ms: i64, media: MediaMs) {
        let since_ms = self.last_look.map_or(0, |last| media.0.saturating_sub(last.0));
        if since_ms < -LOOK_GAP_MS {
            self.tracks.clear();
        }
        let apart = since_ms > LOOK_GAP_MS;
        self.tracks.retain(|track| {
            let over = (apart || track.seen & 1 == 0) && track.out_of_sight_ms(media) >= cooldown_ms;
            if track.reported { !over } else { !apart }
        });
        for track in &mut self.tracks {
            track.seen <<= 1;
            track.last_seen = track.last_seen.min(media);
        }
        self.last_look = Some(media);
    }

    /// Gives each sighting its track, an old one where the boxes overlap enough, else a new one; tells the track of each.
    fn assign(&mut self, least_iou: f32, media: MediaMs, sightings: &[Sighting]) -> Vec<usize> {
        let mut track_of = vec![None; sightings.len()];
        let mut taken = vec![false; self.tracks.len()];
        for (track, sighting) in self.pairs(least_iou, sightings) {
            if !taken[track] && track_of[sighting].is_none() {
                taken[track] = true;
                track_of[sighting] = Some(track);
                self.tracks[track].sight(sightings[sighting].bbox, media);
            }
        }
        let mut place = |(found, sighting): (Option<usize>, &Sighting)| {
            found.unwrap_or_else(|| self.add(sighting, media))
        };
        track_of.into_iter().zip(sightings).map(&mut place).collect()
    }

    /// Tracks and sightings of one label that overlap enough, best first; ties by age of the track, then rank.
    fn pairs(&self, least_iou: f32, sightings: &[Sighting]) -> Vec<(usize, usize)> {
        let mut pairs = Vec::new();
        for (t, track) in self.tracks.iter().enumerate() {
            for (s, sighting) in sightings.iter().enumerate() {
                let iou = track.bbox.iou(&sighting.bbox);
                let same = *track.label == *sighting.label && iou > 0.0 && iou >= least_iou;
                pairs.extend(same.then_some((iou, t, s)));
            }
        }
        pairs.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
        pairs.into_iter().map(|(_, t, s)| (t, s)).collect()
    }

    fn add(&mut self, sighting: &Sighting, media: MediaMs) -> usize {
        self.tracks.push(Track {
            label: sighting.label.to_string(),
            bbox: sighting.bbox,
            seen: 1,
            last_seen: media,
            reported: false,
        });
        self.tracks.len() - 1
    }

    /// Whether the track is to be reported now; afterwards it counts as reported.
    ///
    /// A candidate that is confirmed near a reported thing of its label that has just gone out of sight takes its place
    /// silently: it is taken for the same thing, which jumped.
    fn confirms(&mut self, track: usize, rules: &Rules, media: MediaMs) -> bool {
        let candidate = &self.tracks[track];
        if candidate.reported || candidate.sightings(rules.confirm) < rules.confirm.frames {
            return false;
        }
        let jumped = self.jumped_from(track, rules.cooldown_ms, media);
        self.tracks[track].reported = true;
        if let Some(old) = jumped {
            (self.tracks[old].reported, self.tracks[old].seen) = (false, 0);
        }
        jumped.is_none()
    }

    /// The nearest reported thing of the same label, out of sight for less than the cool-down, that the track may be.
    fn jumped_from(&self, track: usize, cooldown_ms: i64, media: MediaMs) -> Option<usize> {
        let new = &self.tracks[track];
        let lost = |old: &Track| {
            old.reported
                && old.seen & 1 == 0
                && old.label == new.label
                && old.out_of_sight_ms(media) < cooldown_ms
        };
        let distances = self.tracks.iter().enumerate().filter(|(_, old)| lost(old));
        distances
            .filter_map(|(index, old)| Some((jump(&old.bbox, &new.bbox)?, index)))
            .min_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)))
            .map(|(_, index)| index)
    }

    /// Keeps the state bounded.
    fn shed(&mut self) {
        while self.tracks.len() > MOST_TRACKS {
            let least =
                (0..self.tracks.len()).min_by_key(|&i| (self.tracks[i].reported, self.tracks[i].last_seen));
            self.tracks.remove(least.unwrap_or(0));
        }
    }
}

impl Track {
    fn sight(&mut self, bbox: BBox, media: MediaMs) {
        self.bbox = bbox;
        self.seen |= 1;
        self.last_seen = media;
    }

    /// Sightings within the window.
    fn sightings(&self, confirm: Confirm) -> u32 {
        let window = confirm.window.clamp(1, u64::BITS);
        (self.seen << (u64::BITS - window)).count_ones()
    }

    fn out_of_sight_ms(&self, media: MediaMs) -> i64 {
        media.0.saturating_sub(self.last_seen.0).max(0)
    }
}

/// The squared distance of the centres, px; `None` where `to`'s centre is further off than the size of `from`.
fn jump(from: &BBox, to: &BBox) -> Option<f32> {
    let ((x1, y1), (x2, y2)) = (from.centre(), to.centre());
    let (dx, dy) = ((x2 - x1).abs(), (y2 - y1).abs());
    let near = dx <= 1.5 * (from.x2 - from.x1) && dy <= 1.5 * (from.y2 - from.y1);
    near.then_some(dx * dx + dy * dy)
}
