//! The deciding half of a camera: has each frame looked at, decides, offers the events, commits at a fragment's end.

use std::sync::Arc;

use futures_util::future::{join_all, poll_immediate};

use crate::decide::{self, FrameFacts, Look, Rules, Sighting};
use crate::decode::{FrameReceiver, Mode, ModeCell, SamplerState};
use crate::detect::{DetectError, Detector};
use crate::frame::{CameraId, Decoded, Detection, Event, FragmentEnd, Frame};
use crate::publish::picture::Label;
use crate::publish::{Accepted, Checkpoint, FragmentCommit, OfferError, Outbox, PendingEvent, Route};
use crate::telemetry::CameraBoard;
use crate::telemetry::camera::{CaughtUp, EventMade, FellBehind, LookResult, Looked, OfferFailed};
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
    /// The frame that was looked at last.
    pub(super) last: Option<Arc<Frame>>,
    /// The same when the connection broke in live: up to it, its fragment was looked at.
    pub(super) seen_to: Option<Arc<Frame>>,
    /// Whether an event of the fragment at hand was refused: the fragment is not dealt with then.
    pub(super) refused: bool,
}

impl Deciding {
    /// Takes frames and markers in the order of the stream, until there are no more.
    pub(super) async fn run(mut self, frames: FrameReceiver) {
        while let Some(item) = frames.next().await {
            match item {
                Decoded::Frame(frame) if self.has_looked_at(&frame) => {}
                Decoded::Frame(frame) => self.frame(frame).await,
                Decoded::FragmentEnd { end, sampler } => self.fragment_end(&end, sampler),
                Decoded::Discontinuity => self.discontinuity(),
            }
        }
    }

    /// The fragment at hand will be read again. In catch-up all its frames are looked at again, from the state before
    /// it, and give the same events. In live other frames of it might be dropped the second time, and an event that
    /// was told come again under another id: so the state stays, and only frames that are new are looked at.
    fn discontinuity(&mut self) {
        self.refused = false;
        match self.mode.get() {
            Mode::CatchUp => {
                self.state = self.committed.clone();
                self.seen_to = None;
            }
            Mode::Live => self.seen_to = self.last.clone(),
        }
    }

    fn has_looked_at(&self, frame: &Frame) -> bool {
        let seen_to = self.seen_to.as_ref().filter(|seen| seen.fragment.number == frame.fragment.number);
        seen_to.is_some_and(|seen| frame.media <= seen.media)
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
        self.last = Some(Arc::clone(&frame));
        if seen.iter().all(Result::is_ok) {
            Looked { camera: &self.board, frame, labels }.emit();
        }
    }

    /// What each entry's detector saw. All look at once: each model has its own worker.
    async fn look(&self, frame: &Arc<Frame>) -> Vec<Result<Vec<Detection>, DetectError>> {
        let looks =
            self.entries.iter().map(|entry| entry.detector.detect(Arc::clone(frame), entry.rules.thresholds));
        let seen = join_all(looks).await;
        let failed = seen.iter().find_map(|seen| seen.as_ref().err());
        LookResult { camera: &self.board, error: failed }.emit();
        seen
    }

    async fn offer(&mut self, frame: &Arc<Frame>, event: Event, labels: &[Label]) {
        let pending = PendingEvent {
            event,
            route: Arc::clone(&self.route),
            frame: Some(Arc::clone(frame)),
            others: labels.to_vec(),
            arrived: frame.arrived,
        };
        match self.taken_in(pending).await {
            Ok(Accepted::New(event)) => {
                EventMade { camera: &self.board, event: &event, latency: frame.arrived.elapsed() }.emit();
            }
            Ok(Accepted::Known) => {}
            Err(error) => {
                self.refused = true;
                OfferFailed { camera: &self.board, error }.emit();
            }
        }
    }

    /// Waits while a required sink is full. Then the camera falls behind rather than drop what it cannot tell of: reading
    /// waits with it, and the service keeps the footage.
    async fn taken_in(&self, pending: PendingEvent) -> Result<Accepted, OfferError> {
        let mut offer = std::pin::pin!(self.outbox.offer(pending));
        if let Some(taken) = poll_immediate(&mut offer).await {
            return taken;
        }
        self.mode.set(Mode::CatchUp);
        FellBehind { camera: &self.board }.emit();
        offer.await
    }

    fn fragment_end(&mut self, end: &FragmentEnd, sampler: SamplerState) {
        if self.refused {
            return;
        }
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
    fn as_look<'a>(&'a self, seen: &'a Result<Vec<Detection>, DetectError>) -> Option<Look<'a>> {
        let detections = seen.as_deref().ok()?;
        Some(Look { rules: &self.rules, model: &self.detector.info().id, detections })
    }
}

fn label(sighting: &Sighting) -> Label {
    Label::of(&sighting.label, sighting.conf, sighting.bbox)
}
