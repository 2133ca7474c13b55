//! A loaded text recognition model and its steps: crops, inference, texts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use half::f16;
use half::slice::HalfFloatSliceExt;
use ort::session::SessionOutputs;

use super::alphabet::{Alphabet, characters};
use super::ctc::{are_probabilities, steps};
use super::line::{LineShape, crop, halves};
use super::two_lines::{Part, Parts};
use crate::base::{Stopwatch, Took};
use crate::detect::batch_limit::BatchLimit;
use crate::detect::batching::{BatchHandler, HasFrame, JobResult};
use crate::detect::cpu_fallback::CpuFallback;
use crate::detect::device::Device;
use crate::detect::error::{DetectError, ModelFault};
use crate::detect::layout::{OutputShape, listed};
use crate::detect::node_placement::NodePlacement;
use crate::detect::onnx::{Net, Tensor, floats, shapes};
use crate::detect::opening::{LoadCandidate, Opening};
use crate::detect::spec::{EngineInfo, ModelSpec};
use crate::detect::steps::Steps;
use crate::media::{BBox, Frame, ModelId, PlateText, Yuv420};
use crate::telemetry::detect::TextsRead;

/// The maximum number of lines per inference, if the model does not fix the number.
const MAX_LINES: usize = 16;

/// Frames whose boxes are read in one batch on a GPU: only those that wait already, because few frames have boxes.
const GPU_FRAMES: usize = 16;

/// A loaded recognition model, as it runs.
#[derive(Clone, Debug, PartialEq)]
pub struct TextModelInfo {
    /// Its name and content.
    pub id: ModelId,
    /// Its input.
    pub input: LineShape,
    /// The number of characters that it knows.
    pub characters: usize,
    /// The device that it runs on: never [`Device::Auto`].
    pub device: Device,
    /// The execution providers that compute its nodes, if ONNX Runtime says so.
    pub nodes: Option<NodePlacement>,
    /// The reason if CUDA was tried and it runs on the CPU.
    pub fallback: Option<CpuFallback>,
    /// The engine that computes it.
    pub engine: EngineInfo,
    /// Threads per inference on the CPU.
    pub threads: usize,
    /// The time of the first inferences, ms: on a GPU one of each size of a batch.
    pub warmup_ms: f64,
    /// The time of a later inference, ms: of one line, or of as many as the model fixes.
    pub infer_ms: f64,
}

/// A frame and the boxes to read in it.
#[derive(Clone)]
pub(super) struct ReadJob {
    pub(super) frame: Arc<Frame>,
    /// Frame px.
    pub(super) boxes: Vec<BBox>,
    /// Share of a box's sides that is read beyond each of its edges, 0..=0.5.
    pub(super) expand: f32,
}

impl HasFrame for ReadJob {
    fn frame(&self) -> &Frame {
        &self.frame
    }
}

/// The text of each box of a job.
pub(super) type PlateTexts = Vec<Option<PlateText>>;

/// A loaded recognition model with what an inference needs.
pub(super) struct ReadEngine {
    info: TextModelInfo,
    net: Net,
    limit: BatchLimit,
    alphabet: Alphabet,
    /// `true` if its scores are logits, `false` if they are probabilities.
    logits: bool,
    tensor: Tensor,
    line: Vec<f32>,
    /// An `f16` output as `f32`.
    scratch: Vec<f32>,
}

/// A box of a job or a half of it, and its widths as a line.
struct TextLine<'a> {
    /// Indices of the job and of the box in it.
    at: (usize, usize),
    part: Part,
    crop: Yuv420<'a>,
    content_px: u32,
}

impl ReadEngine {
    /// Loads the model and runs inferences on empty lines: of each size, the largest first, and two of the smallest.
    ///
    /// # Errors
    /// The file, the model or the device cannot be used; see [`DetectError`].
    pub(super) fn load(spec: &ModelSpec, device: Device, threads: usize) -> Result<Self, DetectError> {
        let opening = Opening::new(spec, threads)?;
        let (mut loaded, engine, fallback) = opening.on(device, Self::on)?;
        loaded.info.engine = engine;
        loaded.info.fallback = fallback;
        Ok(loaded)
    }

    fn on(candidate: &LoadCandidate<'_>) -> Result<Self, DetectError> {
        let (mut net, spec) = (candidate.net()?, candidate.spec);
        let faulty = |fault| candidate.faulty(fault);
        let input = LineShape::read(&net.inputs()).map_err(faulty)?;
        let given = spec.classes.as_deref();
        let characters = characters(given, net.metadata("character").as_deref()).map_err(faulty)?;
        let mut limit = BatchLimit::new(&spec.name, candidate.device(), input.batch, MAX_LINES);
        let began = Instant::now();
        limit.warm_up(|lines| run_empty(&mut net, input, lines).map(drop));
        let warm_up = warm_up(&mut net, input, began).map_err(faulty)?;
        let alphabet = Alphabet::fit(&characters, warm_up.classes).map_err(faulty)?;
        let info = warm_up.info(candidate, input, characters.len(), net.nodes().cloned());
        let (tensor, logits) = (empty(input, 0), warm_up.logits);
        Ok(Self { info, net, limit, alphabet, logits, tensor, line: Vec::new(), scratch: Vec::new() })
    }

    pub(super) fn info(&self) -> &TextModelInfo {
        &self.info
    }

    /// Reads lines of one width and stores their texts in `answers`; returns `false` if the memory was too small and the limit of the
    /// batch is lower now.
    fn read(
        &mut self,
        width_px: u32,
        lines: &[TextLine<'_>],
        jobs: &[ReadJob],
        answers: &mut [JobResult<Vec<Parts>>],
    ) -> bool {
        let mut watch = Stopwatch::of_this_thread();
        self.paint(width_px, lines, jobs, answers);
        let preprocess = watch.lap();
        let (read, [inference, postprocess]) = self.infer(lines.len(), width_px, &mut watch);
        if read.as_ref().is_err_and(|reason| self.limit.lowers_after(self.batch(lines.len()), reason)) {
            return false;
        }
        let took = Steps { preprocess, inference, postprocess };
        let model = &self.info.id.name;
        // A box counts once, although its halves are lines of their own.
        let boxes = lines.iter().filter(|line| line.part == Part::Whole).count();
        TextsRead { model, boxes, steps: took.durations() }.emit();
        store_texts((model, self.info.device), lines, &read, answers);
        true
    }

    /// Paints the lines into the slots of the tensor; a picture that cannot be read is the answer of its job.
    fn paint(
        &mut self,
        width_px: u32,
        lines: &[TextLine<'_>],
        jobs: &[ReadJob],
        answers: &mut [JobResult<Vec<Parts>>],
    ) {
        let (batch, elements) = (self.batch(lines.len()), self.info.input.elements(width_px));
        resize(&mut self.tensor, batch * elements);
        self.line.resize(elements, 0.0);
        for (slot, line) in lines.iter().enumerate() {
            match self.info.input.paint(&line.crop, (width_px, line.content_px), &mut self.line) {
                Ok(()) => place(&mut self.tensor, slot, &self.line),
                Err(fault) => answers[line.at.0] = Err(DetectError::picture(&jobs[line.at.0].frame, fault)),
            }
        }
    }

    /// Returns the number of slots in the tensor of `used` lines.
    fn batch(&self, used: usize) -> usize {
        // Lines of one width share a tensor; the graph takes any width, but one width per inference.
        self.limit.sizes().slots(used)
    }

    /// Returns the texts of the first `used` lines, and the time of inference and postprocessing.
    fn infer(
        &mut self,
        used: usize,
        width_px: u32,
        watch: &mut Stopwatch,
    ) -> (Result<PlateTexts, String>, [Took; 2]) {
        let batch = self.batch(used);
        let Self { info, net, alphabet, logits, tensor, scratch, .. } = self;
        let dims = [batch, 3, info.input.height_px as usize, width_px as usize];
        let outputs = net.run_dims(tensor, dims);
        let inference = watch.lap();
        let read = outputs.and_then(|outputs| {
            let shapes = shapes(&outputs);
            let (output, classes) = text_output(&shapes, batch)
                .filter(|(_, classes)| *classes == alphabet.classes())
                .ok_or_else(|| format!("its outputs changed to {}", listed(&shapes)))?;
            let scores = floats(&outputs[output], scratch)?;
            let lines = scores.chunks_exact((scores.len() / batch).max(1)).take(used);
            Ok(lines.map(|line| alphabet.reading(&steps(line, classes, *logits))).collect())
        });
        (read, [inference, watch.lap()])
    }
}

impl BatchHandler for ReadEngine {
    type Job = ReadJob;
    type Output = PlateTexts;

    fn taken(&self, waiting: usize) -> usize {
        waiting.min(if self.info.device == Device::Cpu { 1 } else { GPU_FRAMES })
    }

    fn infer_batch(&mut self, jobs: &[ReadJob]) -> Vec<JobResult<PlateTexts>> {
        let mut answers: Vec<JobResult<Vec<Parts>>> =
            jobs.iter().map(|job| Ok(vec![Parts::default(); job.boxes.len()])).collect();
        for (width_px, lines) in lines(jobs, self.info.input, &mut answers) {
            let mut rest = &*lines;
            while !rest.is_empty() {
                let (batch, later) = rest.split_at(self.limit.sizes().taken(rest.len()));
                // Otherwise the same lines are read again, in smaller batches.
                if self.read(width_px, batch, jobs, &mut answers) {
                    rest = later;
                }
            }
        }
        let text = |boxes: Vec<Parts>| boxes.into_iter().map(Parts::text).collect();
        answers.into_iter().map(|answer| answer.map(text)).collect()
    }
}

/// Stores the texts of the lines, or the reason for which their inference failed, in the answers.
fn store_texts(
    (model, device): (&str, Device),
    lines: &[TextLine<'_>],
    read: &Result<PlateTexts, String>,
    answers: &mut [JobResult<Vec<Parts>>],
) {
    for (slot, line) in lines.iter().enumerate() {
        let (job, index) = line.at;
        match (&mut answers[job], read) {
            (Ok(boxes), Ok(read)) => boxes[index].put(line.part, read[slot].clone()),
            (answer @ Ok(_), Err(reason)) => {
                *answer = Err(DetectError::inference(model, device, reason));
            }
            // A picture that could not be read keeps that error.
            (Err(_), _) => {}
        }
    }
}

/// Returns the boxes of all jobs as lines, grouped by line width. Boxes outside of their frame are left out. A picture that cannot be
/// read is the answer of its job.
///
/// A box whose shape allows two lines of text is read as a whole and by halves.
fn lines<'a>(
    jobs: &'a [ReadJob],
    input: LineShape,
    answers: &mut [JobResult<Vec<Parts>>],
) -> BTreeMap<u32, Vec<TextLine<'a>>> {
    let mut lines: BTreeMap<u32, Vec<TextLine<'a>>> = BTreeMap::new();
    for (i, job) in jobs.iter().enumerate() {
        let view = match job.frame.surface.view() {
            Ok(view) => view,
            Err(error) => {
                answers[i] = Err(DetectError::picture(&job.frame, error.into()));
                continue;
            }
        };
        for (j, bbox) in job.boxes.iter().enumerate() {
            let Some(crop) = crop(&view, bbox, job.expand) else { continue };
            let mut add = |part, crop: Yuv420<'a>| {
                let (width_px, content_px) = input.widths_px((crop.width_px, crop.height_px));
                lines.entry(width_px).or_default().push(TextLine { at: (i, j), part, crop, content_px });
            };
            // A plate of two lines cannot be recognised beforehand: both readings are made, and the better one is taken later.
            if let Some([upper, lower]) = halves(&crop) {
                add(Part::Upper, upper);
                add(Part::Lower, lower);
            }
            add(Part::Whole, crop);
        }
    }
    lines
}

struct TextWarmUp {
    classes: usize,
    logits: bool,
    warmup_ms: f64,
    infer_ms: f64,
}

impl TextWarmUp {
    /// Returns the facts about the model; its engine and fallback are known only once it is open.
    fn info(
        &self,
        candidate: &LoadCandidate<'_>,
        input: LineShape,
        characters: usize,
        nodes: Option<NodePlacement>,
    ) -> TextModelInfo {
        TextModelInfo {
            id: ModelId { name: candidate.spec.name.clone(), sha256: candidate.sha256().to_owned() },
            input,
            characters,
            device: candidate.device(),
            nodes,
            fallback: None,
            engine: EngineInfo::default(),
            threads: candidate.threads,
            warmup_ms: self.warmup_ms,
            infer_ms: self.infer_ms,
        }
    }
}

/// Runs two inferences on an empty line, after a warm-up of larger batches since `began`, and returns what their output shows.
fn warm_up(net: &mut Net, input: LineShape, began: Instant) -> Result<TextWarmUp, ModelFault> {
    let batch = input.batch.unwrap_or(1);
    let mut run = || {
        let started = Instant::now();
        let outputs = run_empty(net, input, batch).map_err(ModelFault::WarmUp)?;
        let took_ms = started.elapsed().as_secs_f64() * 1e3;
        let shapes = shapes(&outputs);
        let (output, classes) =
            text_output(&shapes, batch).ok_or_else(|| ModelFault::TextOutput { outputs: listed(&shapes) })?;
        let mut scratch = Vec::new();
        let scores = floats(&outputs[output], &mut scratch).map_err(ModelFault::WarmUp)?;
        // A graph does not say whether it ends with a softmax; its numbers do.
        Ok((classes, !are_probabilities(scores, classes), took_ms))
    };
    let (classes, logits, _) = run()?;
    let warmup_ms = began.elapsed().as_secs_f64() * 1e3;
    Ok(TextWarmUp { classes, logits, warmup_ms, infer_ms: run()?.2 })
}

/// Runs one inference on empty lines of the usual width.
fn run_empty(net: &mut Net, input: LineShape, lines: usize) -> Result<SessionOutputs<'_>, String> {
    let width_px = input.usual_width_px();
    let tensor = empty(input, lines * input.elements(width_px));
    net.run_dims(&tensor, [lines, 3, input.height_px as usize, width_px as usize])
}

/// Returns the index of the only output of shape `[batch, steps, classes]`, and its number of classes.
fn text_output(outputs: &[OutputShape], batch: usize) -> Option<(usize, usize)> {
    match outputs {
        [output] if output.float => match output.dims[..] {
            [lines, steps, classes] if lines == batch && steps > 0 && classes > 1 => Some((0, classes)),
            _ => None,
        },
        _ => None,
    }
}

fn empty(input: LineShape, length: usize) -> Tensor {
    if input.half { Tensor::F16(vec![f16::ZERO; length]) } else { Tensor::F32(vec![0.0; length]) }
}

fn resize(tensor: &mut Tensor, length: usize) {
    match tensor {
        Tensor::F32(all) => all.resize(length, 0.0),
        Tensor::F16(all) => all.resize(length, f16::ZERO),
    }
}

fn place(tensor: &mut Tensor, slot: usize, line: &[f32]) {
    let at = slot * line.len()..(slot + 1) * line.len();
    match tensor {
        Tensor::F32(all) => all[at].copy_from_slice(line),
        Tensor::F16(all) => all[at].convert_from_f32_slice(line),
    }
}
