//! Our way from the bytes of a stream to boxes, as `run` goes it, on one thread and the model's.

use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::runtime::Runtime;

use super::account::Account;
use super::clip::Clip;
use crate::base::Stopwatch;
use crate::decode::{Decoder, Sampler};
use crate::demux::{DemuxEvent, Demuxer};
use crate::detect::{Detector, Thresholds};
use crate::media::{CameraId, Decoded, FragmentEnd, Position, SamplerState};
use crate::status::CameraStatus;

/// The stages of `run` that cost CPU time on each frame.
pub(super) struct Ours<'a> {
    pub(super) clip: &'a Clip,
    pub(super) detector: Detector,
    pub(super) thresholds: Thresholds,
    pub(super) fps: f64,
    pub(super) runtime: &'a Runtime,
}

/// One run through the clip.
struct Way<'a> {
    ours: &'a Ours<'a>,
    watch: Stopwatch,
    demuxer: Demuxer,
    decoder: Decoder,
    decoded: Vec<Decoded>,
    demux: Duration,
    decode: Duration,
    inferences: usize,
    detections: usize,
}

impl Ours<'_> {
    /// Errors: a frame could not be decoded or looked at.
    pub(super) fn run(&self) -> anyhow::Result<Account> {
        let before = self.detector.steps();
        let board = CameraStatus::alone(&CameraId::new("bench"));
        let mut total = Stopwatch::of_the_process();
        let mut way = Way::new(self, board.clone());
        for piece in &self.clip.pieces {
            way.take(piece)?;
        }
        let Way { demux, decode, inferences, detections, .. } = way;
        let total = total.lap();
        let after = self.detector.steps();
        let frames = usize::try_from(board.row().frames.decoded).unwrap_or(usize::MAX);
        let stages = vec![
            ("demux", demux),
            ("decode", decode),
            ("preprocess", after.preprocess.cpu.saturating_sub(before.preprocess.cpu)),
            ("infer", after.inference.cpu.saturating_sub(before.inference.cpu)),
            ("post-process", after.postprocess.cpu.saturating_sub(before.postprocess.cpu)),
        ];
        Ok(Account { frames, inferences, detections: Some(detections), stages, total })
    }
}

impl<'a> Way<'a> {
    fn new(ours: &'a Ours<'a>, board: CameraStatus) -> Self {
        Self {
            ours,
            watch: Stopwatch::of_this_thread(),
            demuxer: Demuxer::default(),
            decoder: Decoder::new(board, Sampler::new(Some(ours.fps), SamplerState::default())),
            decoded: Vec::new(),
            demux: Duration::ZERO,
            decode: Duration::ZERO,
            inferences: 0,
            detections: 0,
        }
    }

    fn take(&mut self, piece: &[u8]) -> anyhow::Result<()> {
        self.watch.lap();
        self.demuxer.push(piece);
        loop {
            let step = self.demuxer.next(Instant::now()).context("the local KVS wrote it")?;
            self.demux += self.watch.lap().cpu;
            let Some(step) = step else { return Ok(()) };
            self.step(step)?;
        }
    }

    fn step(&mut self, step: DemuxEvent) -> anyhow::Result<()> {
        let decoded = match step {
            DemuxEvent::Packet(packet) => self.decoder.push(packet, &mut self.decoded),
            DemuxEvent::End { fragment, behind_ms } => {
                let position = Position::after(&fragment);
                let end = FragmentEnd { fragment, position, behind_ms, caught_up: false };
                self.decoder.end_fragment(end, &mut self.decoded)
            }
            _ => Ok(()),
        };
        self.decode += self.watch.lap().cpu;
        decoded?;
        for item in std::mem::take(&mut self.decoded) {
            let Decoded::Frame(frame) = item else { continue };
            self.inferences += 1;
            let Ours { detector, thresholds, runtime, .. } = self.ours;
            self.detections += runtime.block_on(detector.detect(frame, *thresholds))?.len();
        }
        self.watch.lap();
        Ok(())
    }
}
