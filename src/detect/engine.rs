//! A loaded detector and its steps: letterbox, inference, decoding of boxes, suppression.

use std::sync::Arc;
use std::time::Instant;

use ort::session::SessionOutputs;

use super::batch_limit::BatchLimit;
use super::batching::{BatchHandler, DetectJob, JobDetections, JobResult};
use super::boxes::{self, Outputs};
use super::claims::MetadataClaims;
use super::classes::class_names;
use super::error::{DetectError, ModelFault};
use super::identify::{LayoutEvidence, LayoutSource, identify};
use super::layout::Head;
use super::letterbox::Letterbox;
use super::model::{InputShape, ModelInfo, read_input};
use super::nms::suppress;
use super::node_placement::NodePlacement;
use super::onnx::{Net, Tensor, floats, shapes};
use super::opening::{LoadCandidate, Opening};
use super::painted_input::PaintedInput;
use super::plausibility::{LayoutVerdict, Plausibility};
use super::spec::{BoxUnits, Device, EngineInfo, ModelSpec, Thresholds};
use super::steps::{StepMeter, Steps};
use crate::base::{Stopwatch, Took};
use crate::media::{Detection, ModelId};
use crate::telemetry::detect::BatchInferred;

/// A loaded model with everything that an inference needs, so that a frame allocates little.
pub(super) struct Engine {
    info: ModelInfo,
    net: Net,
    head: Head,
    units: BoxUnits,
    /// Other layouts with outputs of the same shape, for the remedy in an error.
    others: String,
    plausibility: Plausibility,
    painted: PaintedInput,
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
        loaded.info.engine = engine;
        loaded.info.fallback = fallback;
        Ok(loaded)
    }

    fn on(
        candidate: &LoadCandidate<'_>,
        slots: impl Fn(&InputShape, Device) -> usize,
    ) -> Result<Self, DetectError> {
        let (mut net, spec) = (candidate.net()?, candidate.spec);
        let faulty = |fault| candidate.faulty(fault);
        // The cheap checks come before the warm-up, which runs the model twice.
        let input = read_input(&net.inputs(), net.metadata("imgsz").as_deref()).map_err(faulty)?;
        let named = net.metadata("names");
        let classes = class_names(spec.classes.as_deref(), named.as_deref()).map_err(faulty)?;
        let device = candidate.device();
        let mut limit = BatchLimit::new(&spec.name, device, input.batch, slots(&input, device));
        // The warm-up runs on the padding's grey, which also fills the padding of the first pictures.
        let painted = PaintedInput::new(input, limit.sizes().max(), spec.input);
        let began = Instant::now();
        limit.warm_up(|batch| net.run(painted.tensor(), input, batch).map(drop));
        let warm_up =
            warm_up(spec, &mut net, (painted.tensor(), input), classes.len(), began).map_err(faulty)?;
        let info = warm_up.info(candidate, input, classes, net.nodes().cloned());
        let WarmUp { head, plausibility, others, .. } = warm_up;
        let (scratch, meter, units) = ([Vec::new(), Vec::new()], StepMeter::default(), spec.box_units);
        Ok(Self { info, net, head, units, others, plausibility, painted, limit, scratch, meter })
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
                self.painted.paint(slot, &job.frame).map_err(|fault| DetectError::picture(&job.frame, fault));
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
        let Self { info, net, head, units, others, plausibility, painted, limit, scratch, .. } = self;
        // Unused slots hold old pictures, and their results are dropped.
        let batch = limit.sizes().slots(used);
        let outputs = net.run(painted.tensor(), info.input, batch);
        let inference = watch.lap();
        let found = outputs.and_then(|outputs| {
            let all = BatchOutputs::read(&outputs, *head, info.classes.len(), batch, scratch)?;
            let mut answer = |slot: usize, thresholds: &[Thresholds], place: &Letterbox| {
                let outputs = all.of(slot, *units);
                // Before the boxes: numbers that are read by a wrong layout make boxes that seem right.
                plausibility.inspect(&outputs, longer_px(info.input))?;
                // Entries of one camera share the inference, and differ in their thresholds only.
                let by = |by: &Thresholds| detections(&outputs, place, *by, &info.classes);
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
        outputs: &'a SessionOutputs<'_>,
        head: Head,
        classes: usize,
        batch: usize,
        [boxes, scores]: &'a mut [Vec<f32>; 2],
    ) -> Result<Self, String> {
        // On each inference: a graph with open dimensions may return other shapes for another batch.
        let columns = head.columns(&shapes(outputs), batch, classes)?;
        let boxes = floats(&outputs[head.boxes], boxes)?;
        let scores = if head.scores == head.boxes { boxes } else { floats(&outputs[head.scores], scores)? };
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

/// Returns the detections above the thresholds, highest confidence first.
///
/// # Errors
/// A confidence is impossible for the layout; the text is the reason.
fn detections(
    outputs: &Outputs<'_>,
    place: &Letterbox,
    thresholds: Thresholds,
    classes: &[Arc<str>],
) -> Result<Vec<Detection>, String> {
    let candidates = boxes::candidates(outputs, place, thresholds.conf);
    // Before the suppression, in which an impossible confidence would win.
    candidates.iter().try_for_each(|candidate| Plausibility::inspect_confidence(candidate.conf))?;
    let kept = suppress(candidates, thresholds.nms_iou);
    let detection = |kept: super::nms::Candidate| {
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
    net: &mut Net,
    (tensor, input): (&Tensor, InputShape),
    classes: usize,
    began: Instant,
) -> Result<WarmUp, ModelFault> {
    let batch = input.batch.unwrap_or(1);
    let claims = MetadataClaims::read(|key| net.metadata(key));
    let (made, _) = timed_run(net, tensor, input, batch)?;
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
    let (side_px, outputs) = (input.side_px(), &*shapes(&made));
    let evidence = LayoutEvidence { outputs, classes, claims: &claims, side_px, values: &values };
    let (head, layout_source) = identify(spec.layout, &evidence)?;
    let (plausibility, others) = (judged(head).1, evidence.others(head.layout));
    // The outputs borrow the session, which the second inference needs.
    drop(made);
    // Timed without the first inferences, which allocate, and on a GPU choose kernels.
    let (_, infer_ms) = timed_run(net, tensor, input, batch)?;
    Ok(WarmUp { head, layout_source, plausibility, others, warmup_ms, infer_ms })
}

/// Runs one inference; returns its outputs and its time, ms.
fn timed_run<'a>(
    net: &'a mut Net,
    tensor: &Tensor,
    input: InputShape,
    batch: usize,
) -> Result<(SessionOutputs<'a>, f64), ModelFault> {
    let started = Instant::now();
    let made = net.run(tensor, input, batch).map_err(ModelFault::WarmUp)?;
    Ok((made, started.elapsed().as_secs_f64() * 1e3))
}

#[expect(clippy::cast_precision_loss, reason = "sides are at most 4096")]
fn longer_px(input: InputShape) -> f32 {
    input.width_px.max(input.height_px) as f32
}
