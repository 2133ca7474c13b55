//! detections -> events: a pure, serialisable, versioned state machine. No clock, no I/O.
//!
//! A frame's boxes go through each entry of the pipeline in this order:
//! 1. what counts ([`Rules`]): confidence, class list, least size, zones;
//! 2. the rank of each box among those of its label, by position (it becomes part of the event's id);
//! 3. temporal confirmation: `frames` sightings within the last `window` looks, matched greedily by `IoU`, label by label;
//! 4. dedup: a confirmed thing is reported once, until it was out of sight for the cool-down.
//!
//! The same state, frame and detections give the same events, and a state that was written and read back goes on as if it had not been.

mod filter;
mod id;
mod record;
mod roi;
mod rules;
mod state;
mod track;

pub use filter::Sighting;
pub use rules::{Confirm, Roi, RoiFilter, Rules, Zone};
pub use state::State;

use crate::frame::{CameraId, Detection, Event, Fragment, Frame, MediaMs, ModelId};

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

/// What came of a frame.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// New records, by entry of the pipeline, label and rank; their `extras.snapshot` is still empty.
    pub events: Vec<Event>,
    /// Every box that the rules let through, in the same order.
    pub sightings: Vec<Sighting>,
}

/// Takes in what the detectors saw in a frame.
///
/// An entry that has not looked at the frame is left out of `looks`, and nothing changes for it; an entry that looked
/// and saw nothing is there, without detections.
#[must_use]
pub fn decide(state: &mut State, frame: &FrameFacts<'_>, looks: &[Look<'_>]) -> Outcome {
    let mut outcome = Outcome::default();
    for look in looks {
        let mut sightings = filter::sightings(look, frame.size_px);
        let confirmed = state.tracks_of(&look.rules.detector).look(look.rules, frame.media, &sightings);
        for index in confirmed {
            let seq = state.next_seq();
            outcome.events.push(record::start(frame, look, &sightings[index], seq));
        }
        outcome.sightings.append(&mut sightings);
    }
    outcome
}

#[cfg(test)]
mod tests;
