//! The baseline of `bench`: FFmpeg's decoder and ONNX Runtime alone, the lower bound for any pipeline on them.
//!
//! The same packets are decoded with the same settings. For each frame that the sampler picks, the model runs once with
//! the same session options on a constant input. No code of the stages decode and detect takes part.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use ffmpeg_next::codec::{self, Parameters, threading};
use ffmpeg_next::{Packet, decoder, frame, media};
use half::f16;
use ort::environment::Environment;
use ort::session::Session;
use ort::session::builder::SessionBuilder;
use ort::value::{DynTensor, Tensor, TensorElementType};

use super::bench_run::BenchRun;
use super::clip::BenchClip;
use crate::base::Stopwatch;
use crate::detect::environment;

/// FFmpeg's decoder and ONNX Runtime without the pipeline.
pub(super) struct Baseline {
    parameters: Parameters,
    packets: Vec<Packet>,
    session: Session,
    input: DynTensor,
    inferences: usize,
}

impl Baseline {
    /// Reads the packets of `clip` from the file, loads the model and warms it up.
    pub(super) fn open(path: &Path, clip: &BenchClip, model: &Path, threads: usize) -> anyhow::Result<Self> {
        let (parameters, packets) =
            packets(path, clip.packets).with_context(|| format!("cannot read {}", path.display()))?;
        let unusable = || format!("cannot use {}", model.display());
        let mut session = session(model, threads).with_context(unusable)?;
        let input = input(&session).with_context(unusable)?;
        // The first inferences allocate memory and are slower.
        for _warm_up in 0..2 {
            session.run(ort::inputs![&input]).with_context(unusable)?;
        }
        Ok(Self { parameters, packets, session, input, inferences: clip.picks })
    }

    /// Decodes the clip once and makes its inferences.
    ///
    /// Errors: FFmpeg or ONNX Runtime fails.
    pub(super) fn run(&mut self) -> anyhow::Result<BenchRun> {
        let mut total = Stopwatch::of_the_process();
        let (mut decode, mut infer) = (Duration::ZERO, Duration::ZERO);
        let (mut frames, mut inferences) = (0, 0);
        let mut watch = Stopwatch::of_this_thread();
        let mut decoder = open_decoder(&self.parameters)?;
        for (sent, packet) in self.packets.iter().enumerate() {
            decoder.send_packet(packet)?;
            frames += receive_all(&mut decoder);
            decode += watch.lap().cpu;
            // Inferences are spread over the packets as evenly as the sampler's picks, for the same effect on the caches.
            while inferences * self.packets.len() <= sent * self.inferences && inferences < self.inferences {
                self.session.run(ort::inputs![&self.input])?;
                inferences += 1;
                infer += watch.lap().cpu;
            }
        }
        // Frames that the decoder holds back for B-frames.
        decoder.send_eof()?;
        frames += receive_all(&mut decoder);
        decode += watch.lap().cpu;
        drop(decoder);
        let stages = vec![("decode", decode), ("infer", infer)];
        Ok(BenchRun { frames, inferences, detections: None, stages, total: total.lap() })
    }
}

fn packets(path: &Path, count: usize) -> Result<(Parameters, Vec<Packet>), ffmpeg_next::Error> {
    ffmpeg_next::init()?;
    let mut input = ffmpeg_next::format::input(path)?;
    let stream = input.streams().best(media::Type::Video).ok_or(ffmpeg_next::Error::StreamNotFound)?;
    let (index, parameters) = (stream.index(), stream.parameters());
    let video = input.packets().filter(|(stream, _)| stream.index() == index);
    Ok((parameters, video.map(|(_, packet)| packet).take(count).collect()))
}

fn open_decoder(parameters: &Parameters) -> Result<decoder::Video, ffmpeg_next::Error> {
    let mut context = codec::Context::from_parameters(parameters.clone())?;
    // The settings of the stage decode.
    context.set_threading(threading::Config::count(1));
    context.set_flags(codec::Flags::LOW_DELAY);
    context.decoder().video()
}

fn receive_all(decoder: &mut decoder::Video) -> usize {
    let mut frame = frame::Video::empty();
    let mut frames = 0;
    while decoder.receive_frame(&mut frame).is_ok() {
        frames += 1;
    }
    frames
}

fn session(model: &Path, threads: usize) -> anyhow::Result<Session> {
    let environment = environment()?;
    Ok(options(&environment, threads)?.commit_from_file(model)?)
}

fn options(environment: &Environment, threads: usize) -> ort::Result<SessionBuilder> {
    let builder = Session::builder(environment)?.with_intra_threads(threads)?.with_inter_threads(1)?;
    // As in the stage detect: threads that spin would count as CPU time.
    Ok(builder.with_intra_op_spinning(false)?.with_inter_op_spinning(false)?)
}

/// Returns a constant input with the grey of the letterbox, of one frame if the batch size is open.
fn input(session: &Session) -> anyhow::Result<DynTensor> {
    let input = session.inputs().first().context("it has no input")?;
    let dims = input.dtype().tensor_shape().context("its input is not a tensor")?;
    let mut dims = dims.to_vec();
    if let Some(batch) = dims.first_mut() {
        // ONNX Runtime reports an open dimension as -1.
        *batch = (*batch).max(1);
    }
    let elements: i64 = dims.iter().product();
    let elements = usize::try_from(elements).context("the size of its input is open; fix it to compare")?;
    match input.dtype().tensor_type() {
        Some(TensorElementType::Float32) => {
            Ok(Tensor::from_array((dims, vec![0.447_f32; elements]))?.upcast())
        }
        Some(TensorElementType::Float16) => {
            Ok(Tensor::from_array((dims, vec![f16::from_f32_const(0.447); elements]))?.upcast())
        }
        _ => bail!("its input is neither f32 nor f16"),
    }
}
