//! The stage `decide`: turns detections into events. A pure, serialisable, versioned state machine without clock and I/O.
//!
//! The boxes of a frame pass these steps, for each entry of the pipeline:
//! 1. the rules ([`Rules`]): confidence, class list, minimum size, zones (`filter`, `roi`);
//! 2. the rank of each box among those of its label, by position, which becomes part of the event's id;
//! 3. tracking (`tracker`, `track`): each box is assigned to a track of its label, or begins one (`association`). Tracks in view are
//!    matched first, by `IoU` with their predicted box (`motion`, a Kalman filter) and by appearance (`appearance`, colour histograms).
//!    Hidden tracks are matched next: one that moved along its course, one that stood still at its place, and none beyond the edge of
//!    the frame. Boxes of lower confidence then keep known objects in view, as in `ByteTrack` (Zhang et al., 2022);
//! 4. confirmation (`confirmation`): an object is reported after `frames` sightings in the last `window` inferences (counted at five
//!    inferences per second) with a sufficient median confidence, after the dwell time and, for plates, once a text was recognized
//!    (`text_votes`);
//! 5. incidents (`incident`): a start, updates, an end. An object that stays in view is one incident, and the incident ends when the
//!    object has been out of sight for `max_disappeared_seconds`. A new object may be one that was lost within the cool-down:
//!    - near the place where that one was lost, it continues its incident if the colours become similar within half a second;
//!    - farther away, but within walking distance, it does so only if no other incident has more similar colours;
//!    - where its box lies on the box of a known object, it may be a second box of that object, and starts no incident in its first
//!      half second;
//! 6. activities (`activity`), where configured: a start and an end that summarize the incidents of each zone.
//!
//! The same state, frame and detections give the same events, also if the state was serialized and restored in between.

mod activity;
mod appearance;
mod association;
mod confirmation;
mod filter;
mod id;
mod incident;
mod motion;
mod record;
mod roi;
mod rules;
mod state;
mod text_votes;
mod track;
mod tracker;

pub use filter::Sighting;
pub use rules::{Confirm, ReadingRules, Roi, RoiFilter, Rules, TextPattern, Zone};
pub use state::DecideState;
pub(crate) use state::VERSION as STATE_VERSION;

use std::collections::BTreeMap;

use crate::media::{CameraId, Detection, Event, Fragment, Frame, MediaMs, ModelId, Phase, Yuv420};
use activity::OpenActivity;
use record::RecordSubject;
use track::ObjectTrack;

/// The properties of a frame that decide uses.
#[derive(Clone, Copy, Debug)]
pub struct FrameFacts<'a> {
    /// The camera that recorded the frame.
    pub camera: &'a CameraId,
    /// Name of the Kinesis video stream.
    pub stream: &'a str,
    /// The fragment that contains the frame.
    pub fragment: &'a Fragment,
    /// Index of the block in its fragment, from 0.
    pub index: u32,
    /// Media time of presentation.
    pub media: MediaMs,
    /// Width and height of the decoded frame, px.
    pub size_px: (u32, u32),
    /// Pixels of the frame; `None` if only the boxes are known, and appearance is not compared.
    pub picture: Option<Yuv420<'a>>,
}

impl<'a> FrameFacts<'a> {
    /// Returns the properties of a frame of `stream`, with its pixels if `needs_picture`: they may be on a GPU, which takes time to
    /// copy them.
    #[must_use]
    pub fn of(frame: &'a Frame, stream: &'a str, needs_picture: bool) -> Self {
        Self {
            camera: &frame.camera,
            stream,
            fragment: &frame.fragment,
            index: frame.index,
            media: frame.media,
            size_px: frame.surface.size_px(),
            // It was copied before, or the frame is not decided.
            picture: needs_picture.then(|| frame.surface.view().ok()).flatten(),
        }
    }
}

/// The detections of one pipeline entry in a frame.
#[derive(Clone, Copy, Debug)]
pub struct Inference<'a> {
    /// Rules of the entry.
    pub rules: &'a Rules,
    /// The model that ran.
    pub model: &'a ModelId,
    /// Detections of the model, in any order.
    pub detections: &'a [Detection],
}

/// The rules, the time and the frame size of an inference, for the steps that need nothing else of it.
#[derive(Clone, Copy, Debug)]
struct FrameContext<'a> {
    rules: &'a Rules,
    media: MediaMs,
    /// Width and height of the decoded frame, px.
    frame_px: (u32, u32),
}

/// The events and sightings of one frame.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// New events by pipeline entry: those of sightings by label and rank, then the ends of incidents by label and position,
    /// then the ends of activities by zone name, then the starts of activities by zone name.
    pub events: Vec<DecidedEvent>,
    /// Every box that passed the rules, by entry, label and rank.
    pub sightings: Vec<Sighting>,
}

/// A new event, whose `extras.snapshot` is still empty.
#[derive(Clone, Debug, PartialEq)]
pub struct DecidedEvent {
    /// The event.
    pub event: Event,
    /// The earlier event whose snapshot this event shares; `None` if it shows the current frame.
    pub pictured_by: Option<SnapshotSource>,
    /// For the end of an incident: media times of the first and the last sighting.
    pub sighted: Option<(MediaMs, MediaMs)>,
}

/// A reference to the event whose snapshot other events share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotSource {
    /// Id of the event; empty if no snapshot of its frame was kept.
    pub event_id: String,
    /// Media time of the event, ms.
    pub ts_ms: i64,
}

impl SnapshotSource {
    /// Returns whether the snapshot was kept.
    #[must_use]
    pub fn has_picture(&self) -> bool {
        !self.event_id.is_empty()
    }
}

/// Applies the inferences of a frame to the state, and returns the events.
///
/// An entry whose inference failed or was skipped is left out of `inferences`, and its tracks do not change. An entry whose
/// inference found nothing is included without detections, and its tracks count as missed.
#[must_use]
pub fn decide(state: &mut DecideState, frame: &FrameFacts<'_>, inferences: &[Inference<'_>]) -> Outcome {
    let mut outcome = Outcome::default();
    for inference in inferences {
        let rules = inference.rules;
        let known = if rules.agnostic_nms { state.of(&rules.detector).0.known() } else { Vec::new() };
        let (mut sure, faint) = filter::filter_detections(inference, frame, &known);
        outcome.events.append(&mut decide_entry(state, frame, inference, &sure, &faint));
        outcome.sightings.append(&mut sure);
    }
    outcome
}

/// Returns the new events of one pipeline entry.
fn decide_entry(
    state: &mut DecideState,
    frame: &FrameFacts<'_>,
    inference: &Inference<'_>,
    sure: &[Sighting],
    faint: &[Sighting],
) -> Vec<DecidedEvent> {
    let rules = inference.rules;
    let limit = state.object_limit(&rules.detector);
    let (tracker, seq) = state.of(&rules.detector);
    let (mut ended, ended_activities) = tracker.begin(rules, frame.media);
    let context = FrameContext { rules, media: frame.media, frame_px: frame.size_px };
    let mut events = Vec::new();
    for due in tracker.update(&context, sure, faint) {
        let (track, sighting) = (tracker.track(due), &sure[due.sighting]);
        events.push(report_sighting(track, due.phase, sighting, (frame, inference), seq));
    }
    // Activities refer to the records of this frame's sightings, so these are made first.
    let started_activities = tracker.update_activities(frame, inference, &events);
    ended.append(&mut tracker.shed(rules, limit));
    events.extend(end_events(&ended, (frame, inference), seq));
    // An incident that starts in the frame that ends an activity belongs to the next activity: ends come before starts.
    events.extend(activity_events(Phase::End, &ended_activities, (frame, inference), seq));
    events.extend(activity_events(Phase::Start, &started_activities, (frame, inference), seq));
    events
}

/// Returns the event of a sighting, and stores in the track that it was reported.
fn report_sighting(
    track: &mut ObjectTrack,
    phase: Phase,
    sighting: &Sighting,
    (frame, inference): (&FrameFacts<'_>, &Inference<'_>),
    seq: &mut u64,
) -> DecidedEvent {
    *seq += 1;
    let event = RecordSubject::sighting(phase, sighting, track).record(frame, inference, *seq);
    track.store_report(&event.event_id, frame.media, sighting);
    DecidedEvent { event, pictured_by: None, sighted: None }
}

/// Returns the end events of incidents, by label and position.
fn end_events<'a>(
    ended: &'a [ObjectTrack],
    (frame, inference): (&'a FrameFacts<'a>, &'a Inference<'a>),
    seq: &'a mut u64,
) -> impl Iterator<Item = DecidedEvent> + 'a {
    ended.iter().enumerate().map(move |(index, track)| {
        *seq += 1;
        // The id of an end contains its rank among the ends of its label in this frame, as the tracks have no sighting here.
        let rank = ended[..index].iter().filter(|other| other.label == track.label).zip(1..).last();
        let subject = RecordSubject::end(track, rank.map_or(0, |(_, rank)| rank));
        let event = subject.record(frame, inference, *seq);
        let sighted = Some((track.first_seen, track.last_seen));
        DecidedEvent { event, pictured_by: track.pictured_by(), sighted }
    })
}

/// Returns the start or end events of activities, by zone.
fn activity_events<'a>(
    phase: Phase,
    activities: &'a BTreeMap<String, OpenActivity>,
    (frame, inference): (&'a FrameFacts<'a>, &'a Inference<'a>),
    seq: &'a mut u64,
) -> impl Iterator<Item = DecidedEvent> + 'a {
    activities.iter().map(move |(zone, activity)| {
        *seq += 1;
        let event = RecordSubject::activity(phase, zone, activity).record(frame, inference, *seq);
        DecidedEvent { event, pictured_by: Some(activity.pictured_by()), sighted: None }
    })
}

#[cfg(test)]
mod tests;
