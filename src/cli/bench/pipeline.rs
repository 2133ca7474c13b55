//! The pipeline of `run` from the bytes of a stream to boxes, on one thread and the model's thread.

use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::runtime::Runtime;

use super::bench_run::BenchRun;
use super::clip::BenchClip;
use crate::base::Stopwatch;
use crate::decode::{Decoder, Sampler};
use crate::demux::{DemuxEvent, Demuxer};
use crate::detect::{Detector, Thresholds};
use crate::media::{CameraId, Decoded, FragmentEnd, Position, SamplerState};
use crate::status::CameraStatus;

/// The stages of `run` that cost CPU time on each frame: demux, decode, detect.
pub(super) struct PipelineBench<'a> {
    pub(super) clip: &'a BenchClip,
    pub(super) detector: Detector,
    pub(super) thresholds: Thresholds,
    pub(super) fps: f64,
    pub(super) runtime: &'a Runtime,
}

/// One pass over the clip.
struct PipelinePass<'a> {
    bench: &'a PipelineBench<'a>,
    watch: Stopwatch,
    demuxer: Demuxer,
    decoder: Decoder,
    decoded: Vec<Decoded>,
    demux: Duration,
    decode: Duration,
    inferences: usize,
    detections: usize,
}

impl PipelineBench<'_> {
    /// Passes the clip through the stages once.
    ///
    /// Errors: a frame cannot be decoded, or the model fails.
    pub(super) fn run(&self) -> anyhow::Result<BenchRun> {
        let before = self.detector.steps();
        let board = CameraStatus::alone(&CameraId::new("bench"));
        let mut total = Stopwatch::of_the_process();
        let mut pass = PipelinePass::new(self, board.clone());
        for chunk in &self.clip.chunks {
            pass.push(chunk)?;
        }
        let PipelinePass { demux, decode, inferences, detections, .. } = pass;
        let total = total.lap();
        let after = self.detector.steps();
        // A frame that needed no decoding has cost nothing, and counts as one of the clip.
        let counts = board.row().frames;
        let frames = usize::try_from(counts.decoded + counts.undecoded).unwrap_or(usize::MAX);
        // The detector's counters run since it started, so the pass is the difference.
        let stages = vec![
            ("demux", demux),
            ("decode", decode),
            ("preprocess", after.preprocess.cpu.saturating_sub(before.preprocess.cpu)),
            ("infer", after.inference.cpu.saturating_sub(before.inference.cpu)),
            ("post-process", after.postprocess.cpu.saturating_sub(before.postprocess.cpu)),
        ];
        Ok(BenchRun { frames, inferences, detections: Some(detections), stages, total })
    }
}

impl<'a> PipelinePass<'a> {
    fn new(bench: &'a PipelineBench<'a>, board: CameraStatus) -> Self {
        Self {
            bench,
            watch: Stopwatch::of_this_thread(),
            demuxer: Demuxer::default(),
            decoder: Decoder::new(board, Sampler::new(Some(bench.fps), SamplerState::default())),
            decoded: Vec::new(),
            demux: Duration::ZERO,
            decode: Duration::ZERO,
            inferences: 0,
            detections: 0,
        }
    }

    fn push(&mut self, chunk: &[u8]) -> anyhow::Result<()> {
        // A lap without a use discards the time since the last stage.
        self.watch.lap();
        self.demuxer.push(chunk);
        loop {
            let step =
                self.demuxer.next(Instant::now()).context("the demuxer rejects what the local KVS wrote")?;
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
            // The clip has no gaps and one track, so the other steps need no action.
            _ => Ok(()),
        };
        self.decode += self.watch.lap().cpu;
        decoded?;
        for item in std::mem::take(&mut self.decoded) {
            let Decoded::Frame(frame) = item else { continue };
            self.inferences += 1;
            let PipelineBench { detector, thresholds, runtime, .. } = self.bench;
            self.detections += runtime.block_on(detector.detect(frame, *thresholds))?.len();
        }
        // The detector has measured its own stages.
        self.watch.lap();
        Ok(())
    }
}
