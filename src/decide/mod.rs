//! detections -> events: a pure, serialisable, versioned state machine. No clock, no I/O.
//!
//! A frame's boxes go through each entry of the pipeline in this order:
//! 1. what counts ([`Rules`]): confidence, class list, least size, zones (`filter`, `roi`);
//! 2. the rank of each box among those of its label, by position (it becomes part of the event's id);
//! 3. tracking (`track`): which box is which thing of the last looks, label by label (`association`): first things in view, by `IoU`
//!    with where each is thought to be (`motion`, a Kalman filter) and by what they look like (`looks`, their colours); then
//!    hidden things, where their steady way leads or where they stood, never over the edge of the frame; then boxes that are less sure
//!    keep known things in sight, as in `ByteTrack` (Zhang et al., 2022);
//! 4. confirmation (`confirmation`): a thing is an event when it was seen in `frames` of the last `window` looks, five a second, surely
//!    enough by the median, has stayed for the dwell time and, of things with a text, was read (`reading`);
//! 5. incidents (`incident`): a start, updates, an end; one thing that stays is one incident, however long, and ends when it was out
//!    of sight for `max_disappeared_seconds`. Who comes near where another has just vanished, within the cool-down, is that one if
//!    it looks alike within half a second; as far away as a walk leads, too, if it looks more like that one than like any other.
//!    What lies upon a known thing may be a second box of it, and starts no incident in its first half second;
//! 6. activities (`activity`), where they are asked for: a start and an end that sum up the incidents of each zone.
//!
//! The same state, frame and detections give the same events, and a state that was written and read back goes on as if it had not been.

mod activity;
mod association;
mod confirmation;
mod filter;
mod id;
mod incident;
mod looks;
mod motion;
mod reading;
mod record;
mod roi;
mod rules;
mod state;
mod track;

pub use filter::Sighting;
pub use rules::{Confirm, ReadingRules, Roi, RoiFilter, Rules, TextPattern, Zone};
pub use state::State;

use std::collections::BTreeMap;

use crate::media::{CameraId, Detection, Event, Fragment, Frame, MediaMs, ModelId, Phase, Yuv420};
use activity::OpenActivity;
use record::Subject;
use track::Track;

/// What decide needs to know of a frame.
#[derive(Clone, Copy, Debug)]
pub struct FrameFacts<'a> {
    /// The camera.
    pub camera: &'a CameraId,
    /// The Kinesis video stream's name.
    pub stream: &'a str,
    /// The fragment that the frame came in.
    pub fragment: &'a Fragment,
    /// Index of the block in its fragment, from 0.
    pub index: u32,
    /// Media time of presentation.
    pub media: MediaMs,
    /// Width and height of the decoded frame, px.
    pub size_px: (u32, u32),
    /// What is in it; `None`: boxes are all that is known.
    pub picture: Option<Yuv420<'a>>,
}

impl<'a> FrameFacts<'a> {
    /// The facts of a frame that was read from `stream`.
    #[must_use]
    pub fn of(frame: &'a Frame, stream: &'a str) -> Self {
        Self {
            camera: &frame.camera,
            stream,
            fragment: &frame.fragment,
            index: frame.index,
            media: frame.media,
            size_px: frame.surface.size_px(),
            picture: frame.surface.view(),
        }
    }
}

/// What one entry of the pipeline saw in a frame.
#[derive(Clone, Copy, Debug)]
pub struct Look<'a> {
    /// The entry's rules.
    pub rules: &'a Rules,
    /// The model that looked.
    pub model: &'a ModelId,
    /// What it saw, in any order.
    pub detections: &'a [Detection],
}

/// The circumstances of a look: its rules, its time and the size of its frame.
#[derive(Clone, Copy, Debug)]
struct Moment<'a> {
    rules: &'a Rules,
    media: MediaMs,
    /// Width and height of the decoded frame, px.
    frame_px: (u32, u32),
}

/// What came of a frame.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// New records by entry of the pipeline: those of sightings by label and rank, then the ends of incidents by label and
    /// place, then the ends of activities by the name of their zone, then the starts of activities likewise.
    pub events: Vec<Made>,
    /// Every box that the rules let through, by entry, label and rank.
    pub sightings: Vec<Sighting>,
}

/// A new record; its `extras.snapshot` is still empty.
#[derive(Clone, Debug, PartialEq)]
pub struct Made {
    /// The record.
    pub event: Event,
    /// The earlier record whose picture is its own; `None`: that of this frame.
    pub pictured_by: Option<Pictured>,
}

/// A record with a picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pictured {
    /// Its id; empty: its picture was left out, and none of that frame was kept.
    pub event_id: String,
    /// Its media time.
    pub ts_ms: i64,
}

impl Pictured {
    /// Returns whether there is a picture.
    #[must_use]
    pub fn has_picture(&self) -> bool {
        !self.event_id.is_empty()
    }
}

/// Takes in what the detectors saw in a frame.
///
/// An entry that has not looked at the frame is left out of `looks`, and nothing changes for it; an entry that looked
/// and saw nothing is there, without detections.
#[must_use]
pub fn decide(state: &mut State, frame: &FrameFacts<'_>, looks: &[Look<'_>]) -> Outcome {
    let mut outcome = Outcome::default();
    for look in looks {
        let known =
            if look.rules.agnostic_nms { state.of(&look.rules.detector).0.known() } else { Vec::new() };
        let (mut sure, faint) = filter::sightings(look, frame, &known);
        outcome.events.append(&mut entry(state, frame, look, &sure, &faint));
        outcome.sightings.append(&mut sure);
    }
    outcome
}

/// The records of one entry of the pipeline.
fn entry(
    state: &mut State,
    frame: &FrameFacts<'_>,
    look: &Look<'_>,
    sure: &[Sighting],
    faint: &[Sighting],
) -> Vec<Made> {
    let limit = state.object_limit(&look.rules.detector);
    let (tracks, seq) = state.of(&look.rules.detector);
    let (mut over, quiet) = tracks.begin(look.rules, frame.media);
    let moment = Moment { rules: look.rules, media: frame.media, frame_px: frame.size_px };
    let due = tracks.look(&moment, sure, faint);
    let mut made: Vec<Made> = due
        .into_iter()
        .map(|due| told(tracks.track(due), due.phase, &sure[due.sighting], (frame, look), seq))
        .collect();
    let begun = tracks.active(frame, look, &made);
    over.append(&mut tracks.end(look.rules, limit));
    made.extend(ends(&over, (frame, look), seq));
    made.extend(summaries(Phase::End, &quiet, (frame, look), seq));
    made.extend(summaries(Phase::Start, &begun, (frame, look), seq));
    made
}

/// The record of a sighting, which its thing then knows of.
fn told(
    track: &mut Track,
    phase: Phase,
    sighting: &Sighting,
    (frame, look): (&FrameFacts<'_>, &Look<'_>),
    seq: &mut u64,
) -> Made {
    *seq += 1;
    let event = Subject::sighting(phase, sighting, track).record(frame, look, *seq);
    track.told(&event.event_id, frame.media, sighting);
    Made { event, pictured_by: None }
}

/// The ends of incidents, by label and place.
fn ends<'a>(
    over: &'a [Track],
    (frame, look): (&'a FrameFacts<'a>, &'a Look<'a>),
    seq: &'a mut u64,
) -> impl Iterator<Item = Made> + 'a {
    over.iter().enumerate().map(move |(index, track)| {
        *seq += 1;
        let rank = over[..index].iter().filter(|other| other.label == track.label).zip(1..).last();
        let event = Subject::end(track, rank.map_or(0, |(_, rank)| rank)).record(frame, look, *seq);
        Made { event, pictured_by: track.pictured_by() }
    })
}

/// The records of activities, by zone.
fn summaries<'a>(
    phase: Phase,
    activities: &'a BTreeMap<String, OpenActivity>,
    (frame, look): (&'a FrameFacts<'a>, &'a Look<'a>),
    seq: &'a mut u64,
) -> impl Iterator<Item = Made> + 'a {
    activities.iter().map(move |(zone, activity)| {
        *seq += 1;
        let event = Subject::activity(phase, zone, activity).record(frame, look, *seq);
        Made { event, pictured_by: Some(activity.pictured_by()) }
    })
}

#[cfg(test)]
mod tests;
