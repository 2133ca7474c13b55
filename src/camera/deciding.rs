//! The deciding half of a camera: has each frame looked at, decides, offers the events, commits at a fragment's end.

use std::sync::Arc;

use futures_util::future::join_all;

use crate::decide::{self, FrameFacts, Look, Rules, Sighting};
use crate::decode::{FrameReceiver, Mode, ModeCell, SamplerState};
use crate::detect::Detector;
use crate::frame::{CameraId, Decoded, Detection, Event, FragmentEnd, Frame};
use crate::publish::picture::Label;
use crate::publish::{Accepted, Checkpoint, FragmentCommit, Outbox, PendingEvent, Route};
use crate::telemetry::CameraBoard;
use crate::telemetry::camera::{CaughtUp, EventMade, LookFailed, Looked, OfferFailed};
use crate::telemetry::decide::FrameDecided;

/// One entry of the camera's pipeline, with its model loaded.
pub(super) struct Entry {
    pub(super) rules: Rules,
    pub(super) detector: Detector,
}

/// Decides for one camera until its frames end.
pub(super) struct Deciding {
    pub(super) camera: CameraId,
    pub(super) stream: String,
    pub(super) entries: Vec<Entry>,
    pub(super) state: decide::State,
    pub(super) committed: decide::State,
    pub(super) outbox: Arc<Outbox>,
    pub(super) route: Arc<Route>,
    pub(super) mode: Arc<ModeCell>,
    pub(super) board: CameraBoard,
}

impl Deciding {
    /// Takes frames and markers in the order of the stream, until there are no more.
    pub(super) async fn run(mut self, frames: FrameReceiver) {
        while let Some(item) = frames.next().await {
            match item {
                Decoded::Frame(frame) => self.frame(frame).await,
                Decoded::FragmentEnd { end, sampler } => self.fragment_end(&end, sampler),
                Decoded::Discontinuity => self.state = self.committed.clone(),
            }
        }
    }

    async fn frame(&mut self, frame: Arc<Frame>) {
        let seen = self.look(&frame).await;
        let looks: Vec<Look<'_>> =
            self.entries.iter().zip(&seen).filter_map(|(entry, seen)| entry.as_look(seen)).collect();
        let outcome = decide::decide(&mut self.state, &FrameFacts::of(&frame, &self.stream), &looks);
        let boxes = looks.iter().map(|look| look.detections.len()).sum();
        FrameDecided { camera: &self.camera, boxes, kept: outcome.sightings.len() }.emit();
        let labels: Vec<Label> = outcome.sightings.iter().map(label).collect();
        for event in outcome.events {
            self.offer(&frame, event, &labels).await;
        }
        Looked { camera: &self.board, frame, labels }.emit();
    }

    /// What each entry's detector saw; `None` where it failed. All look at once: each has its own worker.
    async fn look(&self, frame: &Arc<Frame>) -> Vec<Option<Vec<Detection>>> {
        let looks =
            self.entries.iter().map(|entry| entry.detector.detect(Arc::clone(frame), entry.rules.thresholds));
        let seen = join_all(looks).await;
        seen.into_iter()
            .map(|seen| seen.map_err(|error| LookFailed { camera: &self.board, error }.emit()).ok())
            .collect()
    }

    async fn offer(&self, frame: &Arc<Frame>, event: Event, labels: &[Label]) {
        let pending = PendingEvent {
            event,
            route: Arc::clone(&self.route),
            frame: Some(Arc::clone(frame)),
            others: labels.to_vec(),
            arrived: frame.arrived,
        };
        match self.outbox.offer(pending).await {
            Ok(Accepted::New(event)) => {
                EventMade { camera: &self.board, event: &event, latency: frame.arrived.elapsed() }.emit();
            }
            Ok(Accepted::Known) => {}
            Err(error) => OfferFailed { camera: &self.board, error }.emit(),
        }
    }

    fn fragment_end(&mut self, end: &FragmentEnd, sampler: SamplerState) {
        self.committed = self.state.clone();
        let checkpoint =
            Checkpoint { position: end.fragment.number.clone(), decide: self.state.clone(), sampler };
        self.outbox.commit(FragmentCommit { camera: self.camera.clone(), checkpoint });
        if end.caught_up && self.mode.get() == Mode::CatchUp {
            self.mode.set(Mode::Live);
            CaughtUp { camera: &self.board }.emit();
        }
    }
}

impl Entry {
    fn as_look<'a>(&'a self, seen: &'a Option<Vec<Detection>>) -> Option<Look<'a>> {
        let detections = seen.as_deref()?;
        Some(Look { rules: &self.rules, model: &self.detector.info().id, detections })
    }
}

fn label(sighting: &Sighting) -> Label {
    Label::of(&sighting.label, sighting.conf, sighting.bbox)
}
