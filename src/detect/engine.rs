//! A loaded detector and its steps: letterbox, inference, decoding of boxes, suppression.

use std::cell::LazyCell;
use std::sync::Arc;
use std::time::Instant;

use gpu::FoundBox;

use super::batch_limit::BatchLimit;
use super::batching::{BatchHandler, DetectJob, JobDetections, JobResult};
use super::boxes::{self, Outputs, candidates_of};
use super::claims::MetadataClaims;
use super::classes::class_names;
use super::cuda::{DevicePath, ProvedGpu};
use super::device::Device;
use super::error::{DetectError, ModelFault};
use super::identify::{LayoutEvidence, LayoutSource, identify};
use super::inference_path::{HostPath, InferencePath};
use super::inference_proof::{ProofOutput, compare, is_comparable, proof_outputs};
use super::layout::Head;
use super::letterbox::Letterbox;
use super::model::{InputShape, ModelInfo, read_input};
use super::net_outputs::NetOutputs;
use super::nms::{Candidate, suppress};
use super::node_placement::NodePlacement;
use super::onnx::{Net, SessionStream};
use super::opening::{LoadCandidate, Opening};
use super::painted_input::PaintedInput;
use super::plausibility::{LayoutVerdict, Plausibility};
use super::spec::{BoxUnits, EngineInfo, GpuLevel, ModelSpec, Thresholds};
use super::steps::{StepMeter, Steps};
use crate::base::{Stopwatch, Took};
use crate::media::{Detection, ModelId};
use crate::telemetry::detect::BatchInferred;

/// A loaded model with everything that an inference needs, so that a frame allocates little.
pub(super) struct Engine {
    info: ModelInfo,
    path: InferencePath,
    head: Head,
    units: BoxUnits,
    /// Other layouts with outputs of the same shape, for the remedy in an error.
    others: String,
    plausibility: Plausibility,
    limit: BatchLimit,
    /// Buffers for `f16` outputs converted to `f32`: boxes, scores.
    scratch: [Vec<f32>; 2],
    meter: StepMeter,
}

impl Engine {
    /// Loads the model for batches of up to `slots` frames (or as many as it fixes) and runs inferences on grey: of each size, the largest
    /// first, and two of the smallest.
    ///
    /// # Errors
    /// The file, the model or the device cannot be used; see [`DetectError`].
    pub(super) fn load(
        spec: &ModelSpec,
        device: Device,
        threads: usize,
        slots: impl Fn(&InputShape, Device) -> usize,
    ) -> Result<Self, DetectError> {
        let opening = Opening::new(spec, threads)?;
        let (mut loaded, engine, fallback) = opening.on(device, |candidate| Self::on(candidate, &slots))?;
        loaded.info.engine = loaded.info.engine.with(engine);
        loaded.info.fallback = fallback;
        Ok(loaded)
    }

    fn on(
        candidate: &LoadCandidate<'_>,
        slots: impl Fn(&InputShape, Device) -> usize,
    ) -> Result<Self, DetectError> {
        let Device::Cuda(index) = candidate.device() else { return Self::on_host(candidate, &slots) };
        // Made once CUDA works: on a host without a GPU it would be for nothing.
        let cpu = LazyCell::new(|| CpuReference::of(candidate));
        let mut reasons = Vec::new();
        match ProvedGpu::open(index) {
            Ok(gpu) => {
                for (graphs, level) in [(true, GpuLevel::Graphs), (false, GpuLevel::Painting)] {
                    let loaded = Self::on_gpu(candidate, &gpu, graphs, &slots);
                    match loaded.and_then(|engine| cpu.prove(engine, candidate)) {
                        Ok(engine) => return Ok(engine.at_level(level, &reasons)),
                        Err(error) => reasons.push(level_fault(error)?),
                    }
                }
            }
            Err(reason) => reasons.push(reason),
        }
        let loaded = Self::on_host(candidate, &slots)?;
        Ok(cpu.prove(loaded, candidate)?.at_level(GpuLevel::Inference, &reasons))
    }

    /// Loads the model with its input in host memory.
    fn on_host(
        candidate: &LoadCandidate<'_>,
        slots: &impl Fn(&InputShape, Device) -> usize,
    ) -> Result<Self, DetectError> {
        let path = |net, input, painted| Ok(InferencePath::Host(Box::new(HostPath { net, input, painted })));
        Self::with_path(candidate, candidate.net()?, slots, path)
    }

    /// Loads the model with its input and outputs in the memory of a GPU.
    fn on_gpu(
        candidate: &LoadCandidate<'_>,
        gpu: &ProvedGpu,
        graphs: bool,
        slots: &impl Fn(&InputShape, Device) -> usize,
    ) -> Result<Self, DetectError> {
        let stream = SessionStream::Given { address: gpu.stream_address(), graphs };
        let path = |net, input: InputShape, painted: PaintedInput| {
            let shape = (input, candidate.spec.input);
            let batches = (painted.slots(), graphs);
            Ok(InferencePath::Device(Box::new(DevicePath::new(net, gpu, shape, batches, painted.tensor())?)))
        };
        Self::with_path(candidate, candidate.net_on(stream)?, slots, path)
    }

    fn with_path(
        candidate: &LoadCandidate<'_>,
        net: Net,
        slots: &impl Fn(&InputShape, Device) -> usize,
        path: impl FnOnce(Net, InputShape, PaintedInput) -> Result<InferencePath, String>,
    ) -> Result<Self, DetectError> {
        let (spec, device) = (candidate.spec, candidate.device());
        let faulty = |fault| candidate.faulty(fault);
        // The cheap checks come before the warm-up, which runs the model twice.
        let input = read_input(&net.inputs(), net.metadata("imgsz").as_deref()).map_err(faulty)?;
        let named = net.metadata("names");
        let classes = class_names(spec.classes.as_deref(), named.as_deref()).map_err(faulty)?;
        let mut limit = BatchLimit::new(&spec.name, device, input.batch, slots(&input, device));
        // The warm-up runs on the padding's grey, which also fills the padding of the first pictures.
        let painted = PaintedInput::new(input, limit.sizes().max(), spec.input);
        let mut path = path(net, input, painted).map_err(|reason| faulty(ModelFault::WarmUp(reason)))?;
        let began = Instant::now();
        limit.warm_up(|batch| path.run(batch).map(drop));
        let warm_up = warm_up(spec, &mut path, input, classes.len(), began).map_err(faulty)?;
        let info = warm_up.info(candidate, input, classes, path.net().nodes().cloned());
        let WarmUp { head, plausibility, others, .. } = warm_up;
        let (scratch, meter, units) = ([Vec::new(), Vec::new()], StepMeter::default(), spec.box_units);
        Ok(Self { info, path, head, units, others, plausibility, limit, scratch, meter })
    }

    /// Returns the engine with the part of its work that the GPU does, and the reasons if that is not all of it.
    fn at_level(mut self, level: GpuLevel, reasons: &[String]) -> Self {
        let missing = match level {
            GpuLevel::Inference => "the CPU paints the pictures",
            GpuLevel::Painting | GpuLevel::Graphs => "there are no CUDA graphs",
        };
        self.info.engine.gpu = Some(level);
        let lower = (!reasons.is_empty()).then(|| format!("{missing}: {}", reasons.join("; ")));
        let notes: Vec<String> = lower.into_iter().chain(self.info.engine.note.take()).collect();
        self.info.engine.note = (!notes.is_empty()).then(|| notes.join("; "));
        self
    }

    /// Returns the outputs for the built-in picture.
    fn proof_outputs(&mut self) -> Result<Vec<ProofOutput>, String> {
        proof_outputs(&mut self.path, self.limit.sizes().slots(1))
    }

    pub(super) fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// Returns the meter of the steps; clones share it.
    pub(super) fn meter(&self) -> &StepMeter {
        &self.meter
    }

    /// Writes the pictures of the jobs into the slots and returns the letterbox of each.
    ///
    /// A picture that cannot be read takes no slot, so that the used slots are the first ones.
    fn fill(&mut self, jobs: &[DetectJob]) -> Vec<Result<Letterbox, DetectError>> {
        let mut slot = 0;
        let paint = |job: &DetectJob| {
            let place =
                self.path.paint(slot, &job.frame).map_err(|fault| DetectError::picture(&job.frame, fault));
            slot += usize::from(place.is_ok());
            place
        };
        jobs.iter().map(paint).collect()
    }

    /// Runs the model on the first `used` slots; returns one result per slot, and the time of inference and postprocessing.
    fn infer(
        &mut self,
        used: usize,
        seen: &[(&[Thresholds], Letterbox)],
        watch: &mut Stopwatch,
    ) -> (Result<Vec<JobResult>, String>, [Took; 2]) {
        match self.find_boxes(used, seen) {
            Ok(Some(found)) => {
                let inference = watch.lap();
                let answers =
                    found.iter().zip(seen).map(|(boxes, (by, place))| self.answer(boxes, by, place));
                (Ok(answers.collect()), [inference, watch.lap()])
            }
            Ok(None) => self.infer_whole(used, seen, watch),
            Err(reason) => (Err(reason), [watch.lap(), watch.lap()]),
        }
    }

    /// Runs the model and returns the boxes of each slot that reach its lowest threshold, where the path finds them without the whole
    /// outputs. That is once the numbers have shown that the layout is right.
    fn find_boxes(
        &mut self,
        used: usize,
        seen: &[(&[Thresholds], Letterbox)],
    ) -> Result<Option<Vec<Vec<FoundBox>>>, String> {
        let all = seen.iter().flat_map(|(thresholds, _)| *thresholds);
        let lowest = all.map(|by| by.conf).min_by(f32::total_cmp).filter(|conf| *conf > 0.0);
        match lowest {
            Some(conf) if self.plausibility.is_settled() => {
                let batch = self.limit.sizes().slots(used);
                self.path.find(batch, (self.head, self.info.classes.len()), conf)
            }
            _ => Ok(None),
        }
    }

    /// Returns the detections of the boxes in a slot, one list per threshold.
    fn answer(&self, boxes: &[FoundBox], thresholds: &[Thresholds], place: &Letterbox) -> JobResult {
        let by = |by: &Thresholds| {
            let sure: Vec<FoundBox> = boxes.iter().filter(|found| found.conf >= by.conf).copied().collect();
            let candidates = candidates_of(&sure, self.head.layout, self.units, place);
            detections(candidates, by.nms_iou, &self.info.classes)
        };
        let lists = thresholds.iter().map(by).collect::<Result<JobDetections, String>>();
        lists.map_err(|reason| contradiction(&self.info, &self.others, reason))
    }

    /// As [`Self::infer`], by the whole outputs.
    fn infer_whole(
        &mut self,
        used: usize,
        seen: &[(&[Thresholds], Letterbox)],
        watch: &mut Stopwatch,
    ) -> (Result<Vec<JobResult>, String>, [Took; 2]) {
        let Self { info, path, head, units, others, plausibility, limit, scratch, .. } = self;
        // Unused slots hold old pictures, and their results are dropped.
        let batch = limit.sizes().slots(used);
        let outputs = path.run(batch);
        let inference = watch.lap();
        let found = outputs.and_then(|outputs| {
            let all = BatchOutputs::read(&outputs, *head, info.classes.len(), batch, scratch)?;
            let mut answer = |slot: usize, thresholds: &[Thresholds], place: &Letterbox| {
                let outputs = all.of(slot, *units);
                // Before the boxes: numbers that are read by a wrong layout make boxes that seem right.
                plausibility.inspect(&outputs, longer_px(info.input))?;
                // Entries of one camera share the inference, and differ in their thresholds only.
                let by = |by: &Thresholds| {
                    detections(boxes::candidates(&outputs, place, by.conf), by.nms_iou, &info.classes)
                };
                thresholds.iter().map(by).collect::<Result<JobDetections, String>>()
            };
            let answers = seen.iter().enumerate().map(|(slot, (by, place))| {
                answer(slot, by, place).map_err(|reason| contradiction(info, others, reason))
            });
            Ok(answers.collect())
        });
        (found, [inference, watch.lap()])
    }
}

/// The outputs of a model on the CPU for the built-in picture.
enum CpuReference {
    Outputs(Vec<ProofOutput>),
    /// Those of its layout cannot be compared.
    Incomparable,
    /// The model does not run on the CPU, for this reason.
    None(String),
}

impl CpuReference {
    /// Loads the model on the CPU for one inference.
    fn of(candidate: &LoadCandidate<'_>) -> Self {
        let of_cpu = Engine::on_host(&candidate.on_cpu(), &|_, _| 1).map_err(|error| error.to_string());
        match of_cpu {
            Ok(engine) if !is_comparable(engine.head.layout) => Self::Incomparable,
            Ok(mut engine) => engine.proof_outputs().map_or_else(Self::None, Self::Outputs),
            Err(reason) => Self::None(reason),
        }
    }

    /// Returns the engine, whose outputs on a GPU are those of the CPU.
    ///
    /// # Errors
    /// [`ModelFault::Differs`], or the inference failed.
    fn prove(&self, mut engine: Engine, candidate: &LoadCandidate<'_>) -> Result<Engine, DetectError> {
        match self {
            Self::Outputs(expected) => {
                let outputs = engine.proof_outputs();
                let outputs = outputs.map_err(|reason| candidate.faulty(ModelFault::WarmUp(reason)))?;
                let compared = compare(&outputs, expected);
                compared.map_err(|difference| candidate.faulty(ModelFault::Differs(difference)))?;
            }
            Self::Incomparable => {}
            Self::None(reason) => {
                engine.info.engine.note =
                    Some(format!("its outputs are not compared with those of the CPU: {reason}"));
            }
        }
        Ok(engine)
    }
}

/// Returns the reason for which a model cannot use a part of the GPU's work.
///
/// # Errors
/// The error itself, where it does not concern that part: the model runs in no way.
fn level_fault(error: DetectError) -> Result<String, DetectError> {
    match error {
        DetectError::Model { fault, .. }
            if matches!(*fault, ModelFault::Load(_) | ModelFault::WarmUp(_) | ModelFault::Differs(_)) =>
        {
            Ok(fault.to_string())
        }
        other => Err(other),
    }
}

/// Returns the error about numbers that the layout does not allow; `others` are the layouts with outputs of the same shape.
fn contradiction(info: &ModelInfo, others: &str, reason: String) -> DetectError {
    let (model, layout) = (info.id.name.clone(), info.layout.as_str());
    DetectError::Contradiction { model, layout, reason, others: others.to_owned() }
}

impl BatchHandler for Engine {
    type Job = DetectJob;
    type Output = JobDetections;

    fn taken(&self, waiting: usize) -> usize {
        self.limit.sizes().taken(waiting)
    }

    fn infer_batch(&mut self, jobs: &[DetectJob]) -> Vec<JobResult> {
        let mut answers = Vec::with_capacity(jobs.len());
        while answers.len() < jobs.len() {
            let rest = &jobs[answers.len()..];
            // A batch that runs out of memory is inferred again in smaller ones: the limit is lower then, and at least one.
            answers.extend(self.try_batch(&rest[..self.taken(rest.len())]).unwrap_or_default());
        }
        answers
    }
}

impl Engine {
    /// Returns one result per job, or `None` if the memory was too small and the limit of the batch is lower now.
    fn try_batch(&mut self, jobs: &[DetectJob]) -> Option<Vec<JobResult>> {
        let mut watch = Stopwatch::of_this_thread();
        let places = self.fill(jobs);
        let preprocess = watch.lap();
        let seen: Vec<_> = jobs
            .iter()
            .zip(&places)
            .filter_map(|(job, place)| Some((&*job.thresholds, *place.as_ref().ok()?)))
            .collect();
        // Every picture was unreadable: there is nothing to infer.
        if seen.is_empty() {
            return Some(places.into_iter().map(|place| place.map(|_| Vec::new())).collect());
        }
        let (found, [inference, postprocess]) = self.infer(seen.len(), &seen, &mut watch);
        if found
            .as_ref()
            .is_err_and(|reason| self.limit.lowers_after(self.limit.sizes().slots(seen.len()), reason))
        {
            return None;
        }
        let steps = Steps { preprocess, inference, postprocess };
        self.meter.add(&steps);
        let model = &self.info.id.name;
        BatchInferred { model, frames: seen.len(), steps: steps.durations() }.emit();
        Some(answers(places, found, (model, self.info.device)))
    }
}

/// Merges the results of the slots with the errors of pictures that took no slot, in the order of the jobs.
fn answers(
    places: Vec<Result<Letterbox, DetectError>>,
    found: Result<Vec<JobResult>, String>,
    (model, device): (&str, Device),
) -> Vec<JobResult> {
    let failed = |reason: &String| DetectError::inference(model, device, reason);
    let mut found = found.map(Vec::into_iter);
    let mut answers = Vec::with_capacity(places.len());
    for place in places {
        answers.push(match (place, &mut found) {
            (Err(unreadable), _) => Err(unreadable),
            // There is one result per used slot, so the default is never taken.
            (Ok(_), Ok(found)) => found.next().unwrap_or_else(|| Ok(Vec::new())),
            (Ok(_), Err(reason)) => Err(failed(reason)),
        });
    }
    answers
}

/// The outputs of a batch.
struct BatchOutputs<'a> {
    head: Head,
    batch: usize,
    boxes: &'a [f32],
    scores: &'a [f32],
    columns: usize,
    classes: usize,
}

impl<'a> BatchOutputs<'a> {
    fn read(
        outputs: &'a NetOutputs<'_>,
        head: Head,
        classes: usize,
        batch: usize,
        [boxes, scores]: &'a mut [Vec<f32>; 2],
    ) -> Result<Self, String> {
        // On each inference: a graph with open dimensions may return other shapes for another batch.
        let columns = head.columns(&outputs.shapes(), batch, classes)?;
        let boxes = outputs.floats(head.boxes, boxes)?;
        let scores = if head.scores == head.boxes { boxes } else { outputs.floats(head.scores, scores)? };
        Ok(Self { head, batch, boxes, scores, columns, classes })
    }

    fn of(&self, slot: usize, units: BoxUnits) -> Outputs<'a> {
        let part = |whole: &'a [f32]| {
            let length = whole.len() / self.batch;
            &whole[slot * length..][..length]
        };
        Outputs {
            layout: self.head.layout,
            units,
            boxes: part(self.boxes),
            scores: part(self.scores),
            columns: self.columns,
            classes: self.classes,
        }
    }
}

/// Returns the detections of candidates, highest confidence first.
///
/// # Errors
/// A confidence is impossible for the layout; the text is the reason.
fn detections(
    candidates: Vec<Candidate>,
    nms_iou: f32,
    classes: &[Arc<str>],
) -> Result<Vec<Detection>, String> {
    // Before the suppression, in which an impossible confidence would win.
    candidates.iter().try_for_each(|candidate| Plausibility::inspect_confidence(candidate.conf))?;
    let kept = suppress(candidates, nms_iou);
    let detection = |kept: Candidate| {
        Some(Detection {
            label: Arc::clone(classes.get(kept.class)?),
            conf: kept.conf,
            bbox: kept.bbox,
            reading: None,
        })
    };
    Ok(kept.into_iter().filter_map(detection).collect())
}

/// The result of warming a model up.
struct WarmUp {
    head: Head,
    layout_source: LayoutSource,
    plausibility: Plausibility,
    others: String,
    warmup_ms: f64,
    infer_ms: f64,
}

impl WarmUp {
    /// Returns the facts about the model; its engine and fallback are known only once it is open.
    fn info(
        &self,
        candidate: &LoadCandidate<'_>,
        input: InputShape,
        classes: Vec<Arc<str>>,
        nodes: Option<NodePlacement>,
    ) -> ModelInfo {
        ModelInfo {
            id: ModelId { name: candidate.spec.name.clone(), sha256: candidate.sha256().to_owned() },
            layout: self.head.layout,
            layout_source: self.layout_source,
            input,
            classes,
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

/// Two inferences of the smallest batch, after a warm-up of larger ones since `began`; the first shows the shapes of the outputs, also
/// where the graph leaves them open, and their numbers.
fn warm_up(
    spec: &ModelSpec,
    path: &mut InferencePath,
    input: InputShape,
    classes: usize,
    began: Instant,
) -> Result<WarmUp, ModelFault> {
    let batch = input.batch.unwrap_or(1);
    let claims = MetadataClaims::read(|key| path.net().metadata(key));
    let (made, _) = timed_run(path, batch)?;
    let warmup_ms = began.elapsed().as_secs_f64() * 1e3;
    let judged = |head: Head| {
        let (mut plausibility, mut scratch) = (Plausibility::default(), [Vec::new(), Vec::new()]);
        let verdict = match BatchOutputs::read(&made, head, classes, batch, &mut scratch) {
            Ok(all) => plausibility.judge(&all.of(0, spec.box_units), longer_px(input)),
            Err(why) => LayoutVerdict::Impossible(why),
        };
        (verdict, plausibility)
    };
    let values = |head: Head| judged(head).0;
    let (side_px, outputs) = (input.side_px(), &*made.shapes());
    let evidence = LayoutEvidence { outputs, classes, claims: &claims, side_px, values: &values };
    let (head, layout_source) = identify(spec.layout, &evidence)?;
    let (plausibility, others) = (judged(head).1, evidence.others(head.layout));
    // The outputs borrow the session, which the second inference needs.
    drop(made);
    // Timed without the first inferences, which allocate, and on a GPU choose kernels.
    let (_, infer_ms) = timed_run(path, batch)?;
    Ok(WarmUp { head, layout_source, plausibility, others, warmup_ms, infer_ms })
}

/// Runs one inference; returns its outputs and its time, ms.
fn timed_run(path: &mut InferencePath, batch: usize) -> Result<(NetOutputs<'_>, f64), ModelFault> {
    let started = Instant::now();
    let made = path.run(batch).map_err(ModelFault::WarmUp)?;
    Ok((made, started.elapsed().as_secs_f64() * 1e3))
}

#[expect(clippy::cast_precision_loss, reason = "sides are at most 4096")]
fn longer_px(input: InputShape) -> f32 {
    input.width_px.max(input.height_px) as f32
}
