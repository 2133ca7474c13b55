//! A recognition model that reads boxes: crops, inference, texts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use half::f16;
use half::slice::HalfFloatSliceExt;

use super::alphabet::{Alphabet, characters};
use super::ctc::{are_probabilities, steps};
use super::line::{LineShape, crop, halves};
use super::two_lines::{Part, Parts};
use crate::base::{Stopwatch, Took};
use crate::detect::error::{DetectError, ModelFault};
use crate::detect::layout::{OutputShape, listed};
use crate::detect::onnx::{Net, Tensor, floats, shapes};
use crate::detect::opening::Opening;
use crate::detect::spec::{Device, ModelSpec};
use crate::detect::steps::Steps;
use crate::detect::worker::{Answer, Look, OfFrame};
use crate::media::{BBox, Frame, ModelId, Reading, Surface, Yuv420};
use crate::telemetry::detect::TextsRead;

/// Lines of an inference at most, where the model takes any number.
const LINES: usize = 16;

/// A loaded recognition model, as it runs.
#[derive(Clone, Debug, PartialEq)]
pub struct ReaderInfo {
    /// Its name and content.
    pub id: ModelId,
    /// Its input.
    pub input: LineShape,
    /// How many characters it writes.
    pub characters: usize,
    /// Where it runs: never [`Device::Auto`].
    pub device: Device,
    /// Why it runs on the CPU though CUDA was tried; ONNX Runtime's words.
    pub fallback: Option<String>,
    /// Threads of an inference on the CPU.
    pub threads: usize,
    /// The first inference, ms.
    pub warmup_ms: f64,
    /// A later inference, ms: of one line, or of as many as the model fixes.
    pub infer_ms: f64,
}

/// A frame of which boxes are to be read.
pub(super) struct ReadJob {
    pub(super) frame: Arc<Frame>,
    /// Frame px.
    pub(super) boxes: Vec<BBox>,
    /// Share of a box's sides that is read beyond each of its edges, 0..=0.5.
    pub(super) expand: f32,
}

impl OfFrame for ReadJob {
    fn frame(&self) -> &Frame {
        &self.frame
    }
}

/// What was read of each box.
pub(super) type Readings = Vec<Option<Reading>>;

/// A loaded recognition model with what an inference needs.
pub(super) struct ReadEngine {
    info: ReaderInfo,
    net: Net,
    alphabet: Alphabet,
    /// Whether its scores are logits, else probabilities.
    logits: bool,
    tensor: Tensor,
    line: Vec<f32>,
    /// An `f16` output as `f32`.
    scratch: Vec<f32>,
}

/// A box of a job or a half of it, and its widths as a line.
struct Line<'a> {
    /// Indices of the job and of the box in it.
    at: (usize, usize),
    part: Part,
    crop: Yuv420<'a>,
    content_px: u32,
}

impl ReadEngine {
    /// Loads the model and makes two inferences on nothing.
    ///
    /// Errors: the file, the model or the device; see [`DetectError`].
    pub(super) fn load(spec: &ModelSpec, device: Device, threads: usize) -> Result<Self, DetectError> {
        let opening = Opening::new(spec, threads)?;
        let (mut engine, fallback) = opening.on(device, Self::on)?;
        engine.info.fallback = fallback;
        Ok(engine)
    }

    fn on(opening: &Opening<'_>, cuda: Option<u32>) -> Result<Self, DetectError> {
        let mut net = opening.net(cuda)?;
        let faulty = |fault| opening.faulty(fault);
        let input = LineShape::read(&net.inputs()).map_err(faulty)?;
        let given = opening.spec.classes.as_deref();
        let characters = characters(given, net.metadata("character").as_deref()).map_err(faulty)?;
        let WarmUp { classes, logits, warmup_ms, infer_ms } = warm_up(&mut net, input).map_err(faulty)?;
        let alphabet = Alphabet::fit(&characters, classes).map_err(faulty)?;
        let info = ReaderInfo {
            id: ModelId { name: opening.spec.name.clone(), sha256: opening.sha256.clone() },
            input,
            characters: characters.len(),
            device: cuda.map_or(Device::Cpu, Device::Cuda),
            fallback: None,
            threads: opening.threads,
            warmup_ms,
            infer_ms,
        };
        let tensor = empty(input, 0);
        Ok(Self { info, net, alphabet, logits, tensor, line: Vec::new(), scratch: Vec::new() })
    }

    pub(super) fn info(&self) -> &ReaderInfo {
        &self.info
    }

    /// Reads lines of one width, into `answers`.
    fn read(
        &mut self,
        width_px: u32,
        lines: &[Line<'_>],
        jobs: &[ReadJob],
        answers: &mut [Answer<Vec<Parts>>],
    ) {
        let mut watch = Stopwatch::of_this_thread();
        let batch = self.info.input.batch.unwrap_or(lines.len());
        let elements = self.info.input.elements(width_px);
        resize(&mut self.tensor, batch * elements);
        self.line.resize(elements, 0.0);
        for (slot, line) in lines.iter().enumerate() {
            match self.info.input.paint(&line.crop, (width_px, line.content_px), &mut self.line) {
                Ok(()) => place(&mut self.tensor, slot, &self.line),
                Err(fault) => answers[line.at.0] = Err(DetectError::picture(&jobs[line.at.0].frame, fault)),
            }
        }
        let preprocess = watch.lap();
        let (read, [inference, postprocess]) = self.infer(batch, lines.len(), width_px, &mut watch);
        let took = Steps { preprocess, inference, postprocess };
        let model = &self.info.id.name;
        let boxes = lines.iter().filter(|line| line.part == Part::Whole).count();
        TextsRead { model, boxes, steps: took.durations() }.emit();
        for (slot, line) in lines.iter().enumerate() {
            let (job, index) = line.at;
            match (&mut answers[job], &read) {
                (Ok(boxes), Ok(read)) => boxes[index].put(line.part, read[slot].clone()),
                (answer @ Ok(_), Err(reason)) => {
                    *answer = Err(DetectError::Inference { model: model.clone(), reason: reason.clone() });
                }
                (Err(_), _) => {}
            }
        }
    }

    /// The texts of the first `used` of `batch` lines, and what inference and reading took.
    fn infer(
        &mut self,
        batch: usize,
        used: usize,
        width_px: u32,
        watch: &mut Stopwatch,
    ) -> (Result<Readings, String>, [Took; 2]) {
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

impl Look for ReadEngine {
    type Job = ReadJob;
    type Found = Readings;

    fn look(&mut self, jobs: &[ReadJob]) -> Vec<Answer<Readings>> {
        let mut answers: Vec<Answer<Vec<Parts>>> =
            jobs.iter().map(|job| Ok(vec![Parts::default(); job.boxes.len()])).collect();
        let most = self.info.input.batch.unwrap_or(LINES);
        for (width_px, lines) in lines(jobs, self.info.input) {
            for lines in lines.chunks(most) {
                self.read(width_px, lines, jobs, &mut answers);
            }
        }
        let text = |boxes: Vec<Parts>| boxes.into_iter().map(Parts::text).collect();
        answers.into_iter().map(|answer| answer.map(text)).collect()
    }
}

/// The boxes of all jobs as lines, by the width of their lines, those that may have two lines also by halves. What lies
/// outside of its frame is none.
fn lines<'a>(jobs: &'a [ReadJob], input: LineShape) -> BTreeMap<u32, Vec<Line<'a>>> {
    let mut lines: BTreeMap<u32, Vec<Line<'a>>> = BTreeMap::new();
    for (i, job) in jobs.iter().enumerate() {
        let Surface::Host(picture) = &job.frame.surface;
        let view = picture.view();
        for (j, bbox) in job.boxes.iter().enumerate() {
            let Some(crop) = crop(&view, bbox, job.expand) else { continue };
            let mut add = |part, crop: Yuv420<'a>| {
                let (width_px, content_px) = input.widths_px((crop.width_px, crop.height_px));
                lines.entry(width_px).or_default().push(Line { at: (i, j), part, crop, content_px });
            };
            if let Some([upper, lower]) = halves(&crop) {
                add(Part::Upper, upper);
                add(Part::Lower, lower);
            }
            add(Part::Whole, crop);
        }
    }
    lines
}

struct WarmUp {
    classes: usize,
    logits: bool,
    warmup_ms: f64,
    infer_ms: f64,
}

/// Two inferences on nothing; what they say of the output.
fn warm_up(net: &mut Net, input: LineShape) -> Result<WarmUp, ModelFault> {
    let (batch, width_px) = (input.batch.unwrap_or(1), input.usual_width_px());
    let tensor = empty(input, batch * input.elements(width_px));
    let dims = [batch, 3, input.height_px as usize, width_px as usize];
    let mut run = || {
        let started = Instant::now();
        let outputs = net.run_dims(&tensor, dims).map_err(ModelFault::WarmUp)?;
        let took_ms = started.elapsed().as_secs_f64() * 1e3;
        let shapes = shapes(&outputs);
        let (output, classes) =
            text_output(&shapes, batch).ok_or_else(|| ModelFault::TextOutput { outputs: listed(&shapes) })?;
        let mut scratch = Vec::new();
        let scores = floats(&outputs[output], &mut scratch).map_err(ModelFault::WarmUp)?;
        Ok((classes, !are_probabilities(scores, classes), took_ms))
    };
    let (classes, logits, warmup_ms) = run()?;
    Ok(WarmUp { classes, logits, warmup_ms, infer_ms: run()?.2 })
}

/// The only output of shape `[batch, steps, classes]`, and its classes.
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
