//! The analysis task of a camera: detects, decides and offers events frame by frame, and commits per fragment.

use std::cmp::Ordering;
use std::pin::pin;
use std::sync::Arc;

use futures_util::{StreamExt, stream};
use tokio_util::sync::CancellationToken;

use super::analysis_end::AnalysisEnd;
use super::frame_models::{EntryDetections, FrameModels};
use crate::checkpoint::{Checkpoint, FramePosition};
use crate::decide::{self, DecidedEvent, FrameFacts, Inference, Sighting};
use crate::decode::FrameReceiver;
use crate::delivery::{CameraCommit, EventOutbox, FrameEvents, FrameRecords, NewRecord, OfferError, Route};
use crate::detect::{DetectError, MotionRules, SceneObject, SceneView};
use crate::media::{
    CameraId, Decoded, Detection, Event, FragmentEnd, Frame, MediaMs, Mode, ModeCell, SamplerState,
    fragment_order,
};
use crate::render::Label;
use crate::status::{CameraStatus, RecentBox};
use crate::telemetry::camera::{
    CaughtUp, EventRecorded, FellBehind, FrameInferred, FrameSkipped, OfferFailed, WakeInferred,
};
use crate::telemetry::decide::FrameDecided;
use crate::telemetry::sharing::{CameraHalted, FirstFrame};

/// A frame that was inferred and decided, before its events are offered.
pub(super) struct DecidedFrame {
    events: Vec<DecidedEvent>,
    /// The boxes of its picture.
    labels: Vec<Label>,
    /// True if no detector failed.
    is_complete: bool,
}

/// The pace of the analysis of a camera's frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnalysisPace {
    /// Frame by frame, with a commit of the position at the end of each fragment: a camera of `run`.
    Committed,
    /// Without commits of positions, and with the inferences of several frames under way at once: a camera of `replay`.
    Ahead {
        /// The maximum number of frames whose inferences are under way.
        frames: usize,
    },
}

/// An item of the frame queue, inferred if it is a frame.
enum InferredItem {
    Frame(Arc<Frame>, Vec<EntryDetections>),
    Marker(Decoded),
}

/// Analyzes the frames of one camera until the frame queue closes.
pub(super) struct AnalysisTask {
    pub(super) camera: CameraId,
    pub(super) stream: String,
    pub(super) models: Arc<FrameModels>,
    /// The pace of the analysis.
    pub(super) pace: AnalysisPace,
    /// The rules of the motion gate; `None` to analyze every frame.
    pub(super) motion: Option<MotionRules>,
    /// True from the end of idle decode until the next frame is inferred.
    pub(super) has_woken: bool,
    /// The camera's state after the last frame that was analyzed.
    pub(super) checkpoint: Checkpoint,
    pub(super) outbox: Arc<EventOutbox>,
    /// The epoch under which this worker owns a shared camera; `None` in single mode.
    pub(super) epoch: Option<u64>,
    /// Cancelled to end after the current frame.
    pub(super) halt: CancellationToken,
    /// True until a shared camera has its first frame here.
    pub(super) is_new_here: bool,
    pub(super) route: Arc<Route>,
    pub(super) mode: Arc<ModeCell>,
    pub(super) status: CameraStatus,
}

impl AnalysisTask {
    /// Takes frames and markers in stream order until the queue closes or the outbox refuses a commit.
    pub(super) async fn run(self, frames: FrameReceiver) {
        // The motion gate decides by what the frames before have shown, so frames behind it are not inferred ahead.
        match self.pace {
            AnalysisPace::Ahead { frames: ahead } if self.motion.is_none() => {
                self.run_ahead(frames, ahead).await;
            }
            AnalysisPace::Ahead { .. } | AnalysisPace::Committed => self.run_in_order(frames).await,
        }
    }

    async fn run_in_order(mut self, frames: FrameReceiver) {
        while let Some(Some(item)) = self.halt.run_until_cancelled(frames.next()).await {
            let outcome = match item {
                // Decided before the restart or the discontinuity: its effect is part of the state already.
                Decoded::Frame(frame) if self.checkpoint.has_seen(&frame) => {
                    self.outbox.picture_adopted(&self.camera, &frame).await.map_err(AnalysisEnd::from)
                }
                Decoded::Frame(frame) => self.look_at(frame).await,
                Decoded::IdleQuery(query) => self.answer(query).await,
                Decoded::FragmentEnd { end, sampler } => self.end_fragment(&end, *sampler).await,
                // The state is kept: the fragment is read again, and its frames that were decided are left out then.
                Decoded::Discontinuity => Ok(()),
            };
            if !self.continues_after(outcome) {
                return;
            }
        }
        self.commit_halted().await;
    }

    /// Does the same as [`Self::run_in_order`], with the inferences of up to `ahead` frames under way at once.
    async fn run_ahead(mut self, frames: FrameReceiver, ahead: usize) {
        let models = Arc::clone(&self.models);
        let items = stream::unfold(frames, next_item);
        let inferred = items.map(move |item| infer_ahead(Arc::clone(&models), item)).buffered(ahead.max(1));
        let (mut inferred, halt) = (pin!(inferred), self.halt.clone());
        while let Some(Some(item)) = halt.run_until_cancelled(inferred.next()).await {
            let outcome = match item {
                // A fragment is read again after a broken connection.
                InferredItem::Frame(frame, _) if self.checkpoint.has_seen(&frame) => Ok(()),
                InferredItem::Frame(_, detections) if is_device_lost(&detections) => {
                    Err(AnalysisEnd::DeviceLost)
                }
                InferredItem::Frame(frame, detections) => {
                    let decided = self.decide(&frame, &detections);
                    self.publish(frame, decided).await
                }
                InferredItem::Marker(Decoded::IdleQuery(query)) => self.answer(query).await,
                InferredItem::Marker(Decoded::FragmentEnd { end, sampler }) => {
                    self.end_fragment(&end, *sampler).await
                }
                InferredItem::Marker(Decoded::Frame(_) | Decoded::Discontinuity) => Ok(()),
            };
            if !self.continues_after(outcome) {
                return;
            }
        }
    }

    /// Returns whether the analysis continues after an item; reports an error.
    fn continues_after(&self, outcome: Result<(), AnalysisEnd>) -> bool {
        match outcome {
            Ok(()) => true,
            // Each was logged where it was detected. The new owner, or the next process, reads this footage.
            Err(
                AnalysisEnd::Offer(OfferError::TakenOver { .. } | OfferError::Moved { .. })
                | AnalysisEnd::DeviceLost,
            ) => false,
            Err(AnalysisEnd::Offer(error)) => {
                OfferFailed { camera: &self.status, error: &error }.emit();
                false
            }
        }
    }

    /// Commits the state after the last frame of a camera that was halted, so that the next owner need not decide its frames again.
    async fn commit_halted(&self) {
        if !self.halt.is_cancelled() {
            return;
        }
        CameraHalted { camera: &self.camera }.emit();
        match self.commit(Vec::new()).await {
            Ok(()) | Err(OfferError::TakenOver { .. } | OfferError::Moved { .. }) => {}
            Err(error) => OfferFailed { camera: &self.status, error: &error }.emit(),
        }
    }

    /// Analyzes a frame unless the motion gate leaves it out.
    async fn look_at(&mut self, frame: Arc<Frame>) -> Result<(), AnalysisEnd> {
        if let Some(epoch) = self.epoch.filter(|_| std::mem::take(&mut self.is_new_here)) {
            FirstFrame { camera: &self.camera, epoch }.emit();
        }
        // The frames of adopted records come before.
        self.outbox.give_up_pictures(&self.camera).await?;
        if self.is_still(&frame) { Ok(()) } else { self.analyze(frame).await }
    }

    /// Returns true if the motion gate leaves the frame out.
    fn is_still(&mut self, frame: &Frame) -> bool {
        let Some(rules) = self.motion else { return false };
        let scene = SceneView::of(&frame.surface);
        let passes = self.checkpoint.motion.needs_inference(rules, scene, frame.media);
        if !passes {
            FrameSkipped { camera: &self.status }.emit();
        }
        !passes
    }

    /// Detects and decides one frame, and offers its events.
    async fn analyze(&mut self, frame: Arc<Frame>) -> Result<(), AnalysisEnd> {
        let decided = self.infer(&frame).await?;
        if std::mem::take(&mut self.has_woken) {
            WakeInferred { camera: &self.status, delay: frame.arrived.elapsed() }.emit();
        }
        self.publish(frame, decided).await
    }

    /// Detects and decides one frame, unless the GPU is lost.
    pub(super) async fn infer(&mut self, frame: &Arc<Frame>) -> Result<DecidedFrame, AnalysisEnd> {
        let detections = self.models.detect(frame).await;
        if is_device_lost(&detections) {
            return Err(AnalysisEnd::DeviceLost);
        }
        Ok(self.decide(frame, &detections))
    }

    /// Decides one frame from the detections of each entry.
    fn decide(&mut self, frame: &Arc<Frame>, detections: &[EntryDetections]) -> DecidedFrame {
        let models = Arc::clone(&self.models);
        let inferences = models.decide_inputs(detections);
        let needs_picture = inferences.iter().any(|inference| !inference.detections.is_empty());
        let facts = FrameFacts::of(frame, &self.stream, needs_picture);
        let outcome = decide::decide(&mut self.checkpoint.decide, &facts, &inferences);
        let boxes = inferences.iter().map(|inference| inference.detections.len()).sum();
        FrameDecided { camera: &self.camera, boxes, kept: outcome.sightings.len() }.emit();
        // Two frames per second are enough to draw zones by; for the others this is one lock.
        if self.status.wants_boxes(frame.media) {
            let boxes = recent_boxes(&inferences, &outcome.sightings);
            self.status.add_boxes(frame.media, frame.surface.size_px(), boxes);
        }
        self.checkpoint.seen = Some(FramePosition::of(frame));
        let labels: Vec<Label> = outcome.sightings.iter().map(picture_label).collect();
        let is_complete = detections.iter().all(Result::is_ok);
        self.record_motion(&outcome.sightings, frame.media, is_complete);
        DecidedFrame { events: outcome.events, labels, is_complete }
    }

    /// Records the objects of an inferred frame in the motion gate.
    fn record_motion(&mut self, sightings: &[Sighting], media: MediaMs, is_complete: bool) {
        match self.motion {
            // Without the result of each entry the gate must not take the scene for known, so it opens again.
            Some(rules) if is_complete => {
                if self.checkpoint.motion.record(rules, sightings.iter().map(known_object)) {
                    self.note_found(media);
                }
            }
            _ => self.checkpoint.motion.forget(),
        }
    }

    /// Offers the events of a frame, and shows it.
    pub(super) async fn publish(
        &mut self,
        frame: Arc<Frame>,
        decided: DecidedFrame,
    ) -> Result<(), AnalysisEnd> {
        let DecidedFrame { events, labels, is_complete } = decided;
        self.offer(&frame, events, &labels).await?;
        if is_complete {
            FrameInferred { camera: &self.status, frame, labels }.emit();
        }
        Ok(())
    }

    /// Commits the events of a frame together with the state after it.
    async fn offer(
        &mut self,
        frame: &Arc<Frame>,
        events: Vec<DecidedEvent>,
        labels: &[Label],
    ) -> Result<(), OfferError> {
        // Events are not kept back for the end of the fragment, which may be seconds away.
        if events.is_empty() {
            return Ok(());
        }
        let pending = FrameEvents {
            events,
            route: Arc::clone(&self.route),
            frame: Some(Arc::clone(frame)),
            boxes: labels.to_vec(),
            arrived: frame.arrived,
            epoch: self.epoch,
        };
        let FrameRecords { events, unpictured, shown_by } = self.outbox.pack(pending).await?;
        self.checkpoint.decide.show_by(&unpictured, shown_by.as_ref());
        let committed: Vec<Event> = events.iter().map(|packed| packed.event().clone()).collect();
        self.commit(events).await?;
        for event in &committed {
            EventRecorded { camera: &self.status, event, latency: frame.arrived.elapsed() }.emit();
        }
        Ok(())
    }

    /// Commits the checkpoint and `events`; waits while a required sink is full.
    async fn commit(&self, events: Vec<NewRecord>) -> Result<(), OfferError> {
        let commit = CameraCommit {
            camera: self.camera.clone(),
            epoch: self.epoch,
            checkpoint: self.checkpoint.clone(),
            events,
        };
        // In catch-up no frame is dropped meanwhile: ingest waits too, and KVS keeps the footage.
        let on_full = || {
            if self.mode.get() == Mode::Live {
                self.mode.set(Mode::CatchUp);
                FellBehind { camera: &self.status }.emit();
            }
        };
        // Boxed: the compiler's limit on nested futures.
        Box::pin(self.outbox.commit(commit, on_full)).await
    }

    /// Moves the checkpoint after the fragment and commits it.
    async fn end_fragment(&mut self, end: &FragmentEnd, sampler: SamplerState) -> Result<(), AnalysisEnd> {
        let mut idle = std::mem::take(&mut self.checkpoint.sampler.idle);
        idle.pass(end);
        // Only frames after the position are to be recognized when they are read again. An idle camera ends a fragment
        // after the verdict on the next keyframe, which may have been inferred.
        let is_ahead =
            |seen: &FramePosition| fragment_order(&seen.fragment, &end.fragment.number) == Ordering::Greater;
        self.checkpoint = Checkpoint {
            stream: Arc::clone(&self.checkpoint.stream),
            position: Some(end.position.clone()),
            seen: self.checkpoint.seen.take().filter(is_ahead),
            decide: std::mem::take(&mut self.checkpoint.decide),
            sampler: SamplerState { idle, ..sampler },
            motion: std::mem::take(&mut self.checkpoint.motion),
        };
        // A replay resumes nowhere, and a commit would wait for the disk at each fragment.
        if self.pace == AnalysisPace::Committed {
            self.commit(Vec::new()).await?;
        }
        // After the commit, so that no frame of this fragment was dropped when its position was stored.
        if end.caught_up && self.mode.get() == Mode::CatchUp {
            self.mode.set(Mode::Live);
            CaughtUp { camera: &self.status }.emit();
        }
        Ok(())
    }
}

/// Returns the next item of the queue, and the queue.
async fn next_item(frames: FrameReceiver) -> Option<(Decoded, FrameReceiver)> {
    let item = frames.next().await?;
    Some((item, frames))
}

/// Runs the models on the item if it is a frame.
async fn infer_ahead(models: Arc<FrameModels>, item: Decoded) -> InferredItem {
    match item {
        Decoded::Frame(frame) => {
            let detections = models.detect(&frame).await;
            InferredItem::Frame(frame, detections)
        }
        marker => InferredItem::Marker(marker),
    }
}

/// Returns whether a detector has lost its GPU.
fn is_device_lost(detections: &[EntryDetections]) -> bool {
    detections.iter().any(|detections| detections.as_ref().is_err_and(DetectError::is_device_lost))
}

/// Returns every detection of a frame, and whether it is among the sightings.
fn recent_boxes(inferences: &[Inference<'_>], sightings: &[Sighting]) -> Vec<RecentBox> {
    let mut boxes = Vec::new();
    for inference in inferences {
        let entry: Arc<str> = inference.rules.detector.as_str().into();
        for Detection { label, conf, bbox, .. } in inference.detections {
            let is_it = |sighting: &Sighting| {
                *sighting.detector == *entry && sighting.bbox == *bbox && sighting.label == *label
            };
            let is_kept = sightings.iter().any(is_it);
            boxes.push(RecentBox {
                entry: Arc::clone(&entry),
                label: Arc::clone(label),
                conf: *conf,
                bbox: *bbox,
                is_kept,
            });
        }
    }
    boxes
}

fn known_object(sighting: &Sighting) -> SceneObject {
    SceneObject { label: sighting.label.to_string(), bbox: sighting.bbox }
}

fn picture_label(sighting: &Sighting) -> Label {
    Label::of(&sighting.label, sighting.conf, sighting.bbox)
}
