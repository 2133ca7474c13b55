//! The deciding half of a camera: has each frame looked at, decides, offers the events, commits at a fragment's end.

use std::sync::Arc;

use futures_util::future::{join_all, poll_immediate};

use super::EntryReader;
use crate::checkpoint::{Checkpoint, Seen};
use crate::decide::{self, FrameFacts, Look, Made, Rules, Sighting};
use crate::decode::FrameReceiver;
use crate::delivery::{CameraCommit, EventOutbox, FrameEvents, FrameRecords, NewRecord, OfferError, Route};
use crate::detect::{DetectError, Detector, MotionRules, Thing};
use crate::media::{
    CameraId, Decoded, Detection, Event, FragmentEnd, Frame, Mode, ModeCell, SamplerState, Surface,
};
use crate::render::Label;
use crate::status::CameraStatus;
use crate::telemetry::camera::{
    CaughtUp, EventMade, FellBehind, FrameSkipped, LookResult, Looked, OfferFailed,
};
use crate::telemetry::decide::FrameDecided;

/// One entry of the camera's pipeline, with its model loaded.
pub(super) struct Entry {
    pub(super) rules: Rules,
    pub(super) detector: Detector,
    pub(super) reading: Option<EntryReader>,
}

/// Boxes below this height have no text that can be read, px.
const LEAST_TEXT_PX: f32 = 8.0;

/// What an entry saw in a frame.
type Sight = Result<Vec<Detection>, DetectError>;

/// Decides for one camera until its frames end.
pub(super) struct Deciding {
    pub(super) camera: CameraId,
    pub(super) stream: String,
    pub(super) entries: Vec<Entry>,
    /// Those of the entries.
    pub(super) models: Vec<SharedModel>,
    /// Which frames are worth a look; `None`: all.
    pub(super) motion: Option<MotionRules>,
    /// Where the camera stands: after the last frame that was looked at.
    pub(super) at: Checkpoint,
    pub(super) outbox: Arc<EventOutbox>,
    pub(super) route: Arc<Route>,
    pub(super) mode: Arc<ModeCell>,
    pub(super) board: CameraStatus,
}

impl Deciding {
    /// Takes frames and markers in the order of the stream, until there are no more, or the outbox takes nothing in.
    pub(super) async fn run(mut self, frames: FrameReceiver) {
        while let Some(item) = frames.next().await {
            let taken = match item {
                Decoded::Frame(frame) if self.at.has_seen(&frame) => Ok(()),
                Decoded::Frame(frame) if self.is_still(&frame) => Ok(()),
                Decoded::Frame(frame) => self.frame(frame).await,
                Decoded::FragmentEnd { end, sampler } => self.fragment_end(&end, sampler).await,
                // The fragment at hand comes again: what was seen of it is in the state, and is left out then.
                Decoded::Discontinuity => Ok(()),
            };
            match taken {
                Ok(()) => {}
                // Logged where it was noticed. The new owner reads this footage.
                Err(OfferError::TakenOver { .. }) => return,
                Err(error) => return OfferFailed { camera: &self.board, error }.emit(),
            }
        }
    }

    /// Whether the motion gate spares the frame a look.
    fn is_still(&mut self, frame: &Frame) -> bool {
        let Some(rules) = self.motion else { return false };
        let Surface::Host(picture) = &frame.surface;
        let looks = self.at.motion.looks(rules, &picture.view(), frame.media);
        if !looks {
            FrameSkipped { camera: &self.board }.emit();
        }
        !looks
    }

    async fn frame(&mut self, frame: Arc<Frame>) -> Result<(), OfferError> {
        let seen = self.look(&frame).await;
        let looks: Vec<Look<'_>> =
            self.entries.iter().zip(&seen).filter_map(|(entry, seen)| entry.as_look(seen)).collect();
        let outcome = decide::decide(&mut self.at.decide, &FrameFacts::of(&frame, &self.stream), &looks);
        let boxes = looks.iter().map(|look| look.detections.len()).sum();
        FrameDecided { camera: &self.camera, boxes, kept: outcome.sightings.len() }.emit();
        self.at.seen = Some(Seen::of(&frame));
        let labels: Vec<Label> = outcome.sightings.iter().map(label).collect();
        let is_well = seen.iter().all(Result::is_ok);
        match self.motion {
            Some(rules) if is_well => self.at.motion.saw(rules, outcome.sightings.iter().map(thing)),
            _ => self.at.motion.forget(),
        }
        self.offer(&frame, outcome.events, &labels).await?;
        if is_well {
            Looked { camera: &self.board, frame, labels }.emit();
        }
        Ok(())
    }

    /// What each entry's detector saw. All models look at once, each with its own worker; entries with one model share its look.
    async fn look(&self, frame: &Arc<Frame>) -> Vec<Sight> {
        let looks = self.models.iter().map(|model| model.look(frame, &self.entries));
        let mut seen: Vec<_> = join_all(looks).await.into_iter().flatten().collect();
        seen.sort_by_key(|(entry, _)| *entry);
        let reading = seen.into_iter().map(|(entry, seen)| self.entries[entry].read(frame, seen));
        let seen = join_all(reading).await;
        let failed = seen.iter().find_map(|seen| seen.as_ref().err());
        LookResult { camera: &self.board, error: failed }.emit();
        seen
    }

    /// Events are taken in at once, with the state that they left, so that none waits for the end of its fragment.
    async fn offer(
        &mut self,
        frame: &Arc<Frame>,
        events: Vec<Made>,
        labels: &[Label],
    ) -> Result<(), OfferError> {
        if events.is_empty() {
            return Ok(());
        }
        let pending = FrameEvents {
            events,
            route: Arc::clone(&self.route),
            frame: Some(Arc::clone(frame)),
            boxes: labels.to_vec(),
            arrived: frame.arrived,
        };
        let FrameRecords { events, unpictured, shown_by } = self.outbox.pack(pending).await?;
        self.at.decide.show_by(&unpictured, shown_by.as_ref());
        let made: Vec<Event> = events.iter().map(|packed| packed.event().clone()).collect();
        self.commit(events).await?;
        for event in &made {
            EventMade { camera: &self.board, event, latency: frame.arrived.elapsed() }.emit();
        }
        Ok(())
    }

    /// Waits while a required sink is full. Then the camera falls behind rather than drop what it cannot tell of: reading
    /// waits with it, and the service keeps the footage.
    async fn commit(&self, events: Vec<NewRecord>) -> Result<(), OfferError> {
        let commit = CameraCommit { camera: self.camera.clone(), checkpoint: self.at.clone(), events };
        let mut taking = std::pin::pin!(self.outbox.commit(commit));
        if let Some(taken) = poll_immediate(&mut taking).await {
            return taken;
        }
        if self.mode.get() == Mode::Live {
            self.mode.set(Mode::CatchUp);
            FellBehind { camera: &self.board }.emit();
        }
        taking.await
    }

    async fn fragment_end(&mut self, end: &FragmentEnd, sampler: SamplerState) -> Result<(), OfferError> {
        self.at = Checkpoint {
            stream: Arc::clone(&self.at.stream),
            position: Some(end.position.clone()),
            seen: None,
            decide: std::mem::take(&mut self.at.decide),
            sampler,
            motion: std::mem::take(&mut self.at.motion),
        };
        self.commit(Vec::new()).await?;
        if end.caught_up && self.mode.get() == Mode::CatchUp {
            self.mode.set(Mode::Live);
            CaughtUp { camera: &self.board }.emit();
        }
        Ok(())
    }
}

/// A model, and the entries of the pipeline that look through it.
pub(super) struct SharedModel {
    detector: Detector,
    /// Their indices.
    entries: Vec<usize>,
}

impl SharedModel {
    /// The models of the entries, each once.
    pub(super) fn of(entries: &[Entry]) -> Vec<Self> {
        let mut models: Vec<Self> = Vec::new();
        for (index, entry) in entries.iter().enumerate() {
            match models.iter_mut().find(|model| model.detector.is(&entry.detector)) {
                Some(model) => model.entries.push(index),
                None => models.push(Self { detector: entry.detector.clone(), entries: vec![index] }),
            }
        }
        models
    }

    /// What each of its entries sees in the frame, by one inference.
    async fn look(&self, frame: &Arc<Frame>, entries: &[Entry]) -> Vec<(usize, Sight)> {
        let asked = self.entries.iter().map(|index| entries[*index].rules.asked()).collect();
        let entries = self.entries.iter().copied();
        match self.detector.detect_each(Arc::clone(frame), asked).await {
            Ok(seen) => entries.zip(seen.into_iter().map(Ok)).collect(),
            Err(error) => entries.map(|entry| (entry, Err(error.clone()))).collect(),
        }
    }
}

impl Entry {
    /// With the text of each box that is sure enough and large enough to be read.
    async fn read(&self, frame: &Arc<Frame>, seen: Sight) -> Sight {
        let Some(EntryReader { reader, crop_expand }) = &self.reading else { return seen };
        let mut seen = seen?;
        let readable = |seen: &&mut Detection| {
            seen.conf >= self.rules.thresholds.conf && seen.bbox.y2 - seen.bbox.y1 >= LEAST_TEXT_PX
        };
        let boxes: Vec<&mut Detection> = seen.iter_mut().filter(readable).collect();
        let corners = boxes.iter().map(|seen| seen.bbox).collect();
        let readings = reader.read(Arc::clone(frame), corners, *crop_expand).await?;
        boxes.into_iter().zip(readings).for_each(|(seen, reading)| seen.reading = reading);
        Ok(seen)
    }

    fn as_look<'a>(&'a self, seen: &'a Sight) -> Option<Look<'a>> {
        let detections = seen.as_deref().ok()?;
        Some(Look { rules: &self.rules, model: &self.detector.info().id, detections })
    }
}

fn thing(sighting: &Sighting) -> Thing {
    Thing { label: sighting.label.to_string(), bbox: sighting.bbox }
}

fn label(sighting: &Sighting) -> Label {
    Label::of(&sighting.label, sighting.conf, sighting.bbox)
}
