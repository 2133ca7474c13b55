//! One object over time: its last box, motion, appearance, text and incident.

use serde::{Deserialize, Serialize};

use super::appearance::{self, Appearance};
use super::confirmation::Scores;
use super::incident::Incident;
use super::motion::MotionEstimate;
use super::text_votes::TextVotes;
use super::{FrameContext, Rules, Sighting, SnapshotSource};
use crate::media::{BBox, MediaMs};

/// Maximum time for which an object in view is missed: most are, while another one passes in front of them.
pub(super) const IN_VIEW_MS: i64 = 700;
/// Maximum time out of sight of a confirmed object that has not completed its dwell time.
const DWELL_GAP_MS: i64 = 2_000;
/// Difference in appearance from which an object is typically another one; see [`Appearance::difference`].
const OTHER_APPEARANCE: f32 = 0.65;
/// Maximum difference in appearance of an object that returns, as a share of [`OTHER_APPEARANCE`].
///
/// It is stricter than for other matches, because the time is much longer and more people could have come.
const RETURNING_DIFFERENCE: f32 = 0.6;
/// Maximum time for which one object has two boxes.
const SECOND_BOX_MS: i64 = 300;

/// The track of one object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ObjectTrack {
    /// Number of the track among those of its pipeline entry, from 1.
    pub(super) id: u64,
    pub(super) label: String,
    /// Last box, frame px.
    pub(super) bbox: BBox,
    motion: MotionEstimate,
    #[serde(rename = "looks", default, deserialize_with = "appearance::stored")]
    pub(super) appearance: Option<Appearance>,
    /// The inferences that saw it with the configured confidence; the lowest bit is the latest inference.
    pub(super) seen: u64,
    /// Number of inferences since the last sighting, faint ones included.
    pub(super) missed: u32,
    /// The part of the time since the last sighting in which no inference ran before the first one that missed it, ms.
    #[serde(default)]
    pub(super) unwatched_ms: i64,
    pub(super) first_seen: MediaMs,
    pub(super) last_seen: MediaMs,
    /// Time of the last inference in which it lay upon a visible incident; `None` if it never did, or has an incident itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) upon: Option<MediaMs>,
    /// Highest confidence so far.
    pub(super) conf: f32,
    #[serde(rename = "readings")]
    pub(super) text_votes: TextVotes,
    /// It has enough sightings; its dwell time may be incomplete.
    pub(super) confirmed: bool,
    /// Confidences until it is confirmed.
    #[serde(default)]
    pub(super) scores: Scores,
    pub(super) incident: Option<Incident>,
}

impl ObjectTrack {
    /// Returns the track that a sighting begins.
    pub(super) fn new(id: u64, rules: &Rules, media: MediaMs, sighting: &Sighting) -> Self {
        let mut track = Self {
            id,
            label: sighting.label.to_string(),
            bbox: sighting.bbox,
            motion: MotionEstimate::new(&sighting.bbox),
            appearance: sighting.appearance,
            seen: 0,
            missed: 1,
            unwatched_ms: 0,
            first_seen: media,
            last_seen: media,
            upon: None,
            conf: 0.0,
            text_votes: TextVotes::default(),
            confirmed: false,
            scores: Scores::default(),
            incident: None,
        };
        track.add_sighting(rules, media, sighting);
        track
    }

    /// Marks the track as missed by an inference that begins at `media`, until a sighting is added.
    pub(super) fn begin_inference(&mut self, media: MediaMs, unwatched_ms: i64) {
        self.seen <<= 1;
        // Only the pause before the first miss: during later ones the object was looked for and not found.
        if self.missed == 0 {
            self.unwatched_ms = unwatched_ms;
        }
        self.missed = self.missed.saturating_add(1);
        // Media time that goes back a little counts as standing still, so no time of the track lies in the future.
        self.last_seen = self.last_seen.min(media);
        self.first_seen = self.first_seen.min(media);
    }

    /// Stores that the event `event_id` has reported a sighting: it starts the incident, or updates it.
    pub(super) fn store_report(&mut self, event_id: &str, media: MediaMs, sighting: &Sighting) {
        let text = self.text_votes.best().map(|(text, _)| text);
        match &mut self.incident {
            Some(incident) => incident.store_report(event_id, media, sighting, text),
            None => self.incident = Some(Incident::start(event_id, media, sighting, text)),
        }
        self.upon = None;
    }

    /// Returns the event with the best snapshot of the incident.
    pub(super) fn pictured_by(&self) -> Option<SnapshotSource> {
        self.incident.as_ref().map(|incident| incident.best.clone().into())
    }

    /// Adds a sighting with the configured confidence.
    pub(super) fn add_sighting(&mut self, rules: &Rules, media: MediaMs, sighting: &Sighting) {
        self.add_faint(media, sighting);
        self.seen |= 1;
        self.conf = self.conf.max(sighting.conf);
        if !self.confirmed {
            self.scores.add(sighting.conf);
        }
        let counts = |reading: &&_| rules.reading.as_ref().is_some_and(|rules| rules.admits(reading));
        if let Some(reading) = sighting.plate_text.as_ref().filter(counts) {
            self.text_votes.add(reading);
        }
    }

    /// Adds a sighting of any confidence: it moves the track, and confirms nothing.
    pub(super) fn add_faint(&mut self, media: MediaMs, sighting: &Sighting) {
        let elapsed_s = seconds(self.out_of_sight_ms(media));
        self.motion.update(&self.bbox, &sighting.bbox, elapsed_s);
        match (&mut self.appearance, &sighting.appearance) {
            // The box of a covered object shows the colours of the object in front of it.
            (Some(_), Some(_)) if sighting.is_covered => {}
            (Some(mean), Some(seen)) => mean.update(seen, elapsed_s),
            (mean, seen) => *mean = seen.or(*mean),
        }
        self.bbox = sighting.bbox;
        self.last_seen = media;
        (self.missed, self.unwatched_ms) = (0, 0);
    }

    /// Continues the lost track `old`, whose object this one is.
    pub(super) fn continue_track(&mut self, old: Self) {
        // Motion, box and appearance are the newer ones: those of `old` end where it vanished.
        self.id = old.id;
        self.first_seen = old.first_seen;
        self.conf = self.conf.max(old.conf);
        self.text_votes.prepend(old.text_votes);
        self.incident = old.incident;
        self.upon = None;
    }

    /// Returns the box that is expected from one inference to the next, if the last one was `last`.
    pub(super) fn predicted(&self, last: &BBox, media: MediaMs) -> BBox {
        self.motion.predict(last, seconds(self.out_of_sight_ms(media)))
    }

    /// Returns the box that is expected where a hidden object emerges, if the last one was `last`.
    pub(super) fn followed(&self, last: &BBox, media: MediaMs) -> BBox {
        self.motion.follow(last, seconds(self.out_of_sight_ms(media)))
    }

    /// Returns whether the object appeared soon enough after `old` vanished to be the same one: within the cool-down, or before the
    /// incident ends if `old` was half hidden last and this one looks alike.
    pub(super) fn came_within(&self, context: &FrameContext<'_>, old: &Self) -> bool {
        let rules = context.rules;
        let is_known = old.appearance.is_some() && self.appearance.is_some();
        // Two objects that were seen side by side are different, so the newcomer's first sighting counts. Boxes that lay upon each
        // other are the exception: they may have changed owners then, so the time of the overlap counts (tests/identity.rs; the
        // yard has fewer repeated starts with this rule, docs/evaluation.md). It applies only once `old` is out of view.
        let is_gone = old.out_of_sight_ms(context.media) > IN_VIEW_MS;
        let came = self.upon.filter(|_| is_known && is_gone).unwrap_or(self.first_seen);
        let away_ms = came.0.saturating_sub(old.last_seen.0);
        // Somebody who turns back behind a wall emerges where he went in, later than the cool-down (tests/scenes.rs). The colours
        // must be known and similar: by place and time alone it could as well be a newcomer.
        let may_return = is_known
            && old.appearance_difference(self.appearance.as_ref()) < RETURNING_DIFFERENCE
            && old.motion.is_half_hidden(&old.bbox);
        let limit_ms =
            if may_return { rules.cooldown_ms.max(rules.max_disappeared_ms) } else { rules.cooldown_ms };
        // An object that vanishes may have a second box just before, so a short overlap in time is allowed.
        away_ms > -SECOND_BOX_MS && away_ms - old.unwatched_ms < limit_ms
    }

    /// Returns the difference in appearance as a share of [`OTHER_APPEARANCE`]; 0 if one of the two is not known.
    pub(super) fn appearance_difference(&self, seen: Option<&Appearance>) -> f32 {
        let known = self.appearance.as_ref().zip(seen);
        known.map_or(0.0, |(mean, seen)| mean.difference(seen) / OTHER_APPEARANCE)
    }

    /// Returns whether the lost track `old` may be this object by its appearance.
    pub(super) fn looks_like(&self, old: &Self, latest: &Sighting) -> bool {
        // The mean of an object that emerges contains the obstacle, which its first sightings show. The latest one shows more of
        // the object itself.
        let appearances = [self.appearance.as_ref(), latest.appearance.as_ref()];
        appearances.iter().any(|seen| old.appearance_difference(*seen) <= 1.0)
    }

    /// Returns the usual height, px; 0 if it is not known.
    pub(super) fn usual_height(&self) -> f32 {
        self.motion.usual_height()
    }

    /// Returns whether the object stood when it was last seen.
    pub(super) fn is_standing(&self) -> bool {
        self.motion.is_standing(&self.bbox)
    }

    /// Returns whether the course is not known yet.
    pub(super) fn is_new(&self) -> bool {
        self.motion.is_new()
    }

    /// Returns whether the latest inference saw the object, with any confidence.
    pub(super) fn is_seen(&self) -> bool {
        self.missed == 0
    }

    /// Returns whether the object was seen by the inference before this one, or has been missed for `limit_ms` at most.
    pub(super) fn is_in_view(&self, media: MediaMs, limit_ms: i64) -> bool {
        // By number as well: at one inference per second, a single miss is longer than any limit in ms.
        self.missed <= 1 || self.missed_for_ms(media) <= limit_ms
    }

    /// Returns whether the track is over; `after_gap`: no inference ran for long, so nothing but incidents carries over.
    pub(super) fn is_over(&self, rules: &Rules, media: MediaMs, after_gap: bool) -> bool {
        let limit_ms = match (&self.incident, self.confirmed) {
            (Some(_), _) => rules.max_disappeared_ms,
            (None, true) => DWELL_GAP_MS,
            // Candidates leave by their window of inferences, see `Tracker::shed`.
            (None, false) => return after_gap,
        };
        // An object that the latest inference saw is in sight, however rarely inferences run.
        (after_gap || self.missed > 0) && self.missed_for_ms(media) >= limit_ms
    }

    /// Returns the time for which inferences have missed the object.
    pub(super) fn missed_for_ms(&self, media: MediaMs) -> i64 {
        self.out_of_sight_ms(media).saturating_sub(self.unwatched_ms)
    }

    /// Returns the time since the last sighting, whether or not inferences ran.
    pub(super) fn out_of_sight_ms(&self, media: MediaMs) -> i64 {
        media.0.saturating_sub(self.last_seen.0).max(0)
    }
}

#[expect(clippy::cast_precision_loss, reason = "more than two seconds count as two")]
fn seconds(ms: i64) -> f32 {
    ms as f32 / 1000.0
}
