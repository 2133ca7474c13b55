//! The gate: a twin is accepted only if it finds on frames the boxes of the float32 model, and no others.

use std::fmt;

use crate::media::{BBox, Detection};

/// The IoU from which two boxes of one label are one object.
const PARTNER_IOU: f32 = 0.5;

/// The number of boxes of the float32 model, of confidence from threshold + margin, below which the footage proves nothing.
pub const MIN_GATE_BOXES: usize = 10;

/// The differences that a gate accepts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GateTolerance {
    /// The margin above the threshold: boxes below `threshold + margin` may come and go with a change of the last digits.
    pub margin: f32,
    /// The smallest IoU of a box and its partner.
    pub min_iou: f32,
    /// The largest difference of confidence of a box and its partner.
    pub max_conf_difference: f32,
}

impl GateTolerance {
    /// The tolerance for int8: each box has a partner, whose place and confidence are free.
    pub const INT8: Self = Self { margin: 0.1, min_iou: PARTNER_IOU, max_conf_difference: f32::INFINITY };

    /// The tolerance for float16: each box has a partner, or at least a candidate, in its place and with its confidence.
    pub const HALF: Self = Self { margin: 0.02, min_iou: 0.98, max_conf_difference: 0.02 };
}

impl GateTolerance {
    fn admits(&self, one: &Detection, other: &Detection) -> bool {
        one.bbox.iou(&other.bbox) >= self.min_iou && (one.conf - other.conf).abs() <= self.max_conf_difference
    }

    fn admits_any(&self, one: &Detection, candidates: &[Detection]) -> bool {
        candidates.iter().any(|other| other.label == one.label && self.admits(one, other))
    }
}

/// The boxes of a model on a frame, all of them of confidence above the threshold.
#[derive(Clone, Copy, Debug, Default)]
pub struct GateBoxes<'a> {
    /// Those that the non-maximum suppression keeps.
    pub kept: &'a [Detection],
    /// All of them, if the suppression's choice between equals is to be ignored.
    pub candidates: &'a [Detection],
}

/// Compares the boxes of two models, frame by frame.
///
/// A box of one model whose confidence is at least threshold + margin must have a partner among the other's boxes above the threshold: of
/// the same label, with an IoU of at least 0.5, each box being the partner of one. The pair must be within the tolerance. Where it is not,
/// or there is none, the boxes are ties if the other model has a candidate within the tolerance: the suppression keeps one of two boxes
/// of almost the same confidence, and a change of the last digits makes it keep the other one.
#[derive(Debug)]
pub struct BoxGate {
    threshold: f32,
    tolerance: GateTolerance,
    report: GateReport,
}

/// The differences between two models.
#[derive(Clone, Debug, PartialEq)]
pub struct GateReport {
    /// Frames that were compared.
    pub frames: usize,
    /// Boxes of the float32 model with confidence from threshold + margin.
    pub boxes: usize,
    /// Those of them that the twin does not find.
    pub missing: Vec<BoxDifference>,
    /// Boxes of the twin with confidence from threshold + margin that the float32 model does not find.
    pub new: Vec<BoxDifference>,
    /// Pairs beyond the tolerance.
    pub changed: Vec<BoxChange>,
    /// Boxes and pairs that differ only in the choice of the suppression.
    pub ties: usize,
    /// The smallest IoU of a pair of which one box is of confidence from threshold + margin.
    pub min_iou: f32,
    /// The largest difference of confidence of such a pair.
    pub max_conf_difference: f32,
    /// Sum of the differences of confidence of all pairs.
    conf_difference: f32,
    pairs: usize,
}

/// A box that only one of the models finds.
#[derive(Clone, Debug, PartialEq)]
pub struct BoxDifference {
    /// The frame, in words.
    pub frame: String,
    /// The label.
    pub label: String,
    /// The confidence.
    pub conf: f32,
    /// The box, frame px.
    pub bbox: BBox,
}

/// A box of the float32 model whose partner is beyond the tolerance.
#[derive(Clone, Debug, PartialEq)]
pub struct BoxChange {
    /// The box of the float32 model.
    pub float: BoxDifference,
    /// The confidence of its partner.
    pub conf: f32,
    /// The IoU with its partner.
    pub iou: f32,
}

impl BoxDifference {
    fn new(frame: &str, one: &Detection) -> Self {
        Self { frame: frame.to_owned(), label: one.label.to_string(), conf: one.conf, bbox: one.bbox }
    }
}

/// Writes `street.mp4 at 3.0 s: car 0.51 [0, 20, 40, 60]`.
impl fmt::Display for BoxDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { frame, label, conf, bbox } = self;
        let corners = [bbox.x1, bbox.y1, bbox.x2, bbox.y2].map(|px| format!("{px:.0}")).join(", ");
        write!(f, "{frame}: {label} {conf:.2} [{corners}]")
    }
}

/// Writes the box of the float32 model, with the confidence of its partner and their IoU.
impl fmt::Display for BoxChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, now {:.3}, IoU {:.3}", self.float, self.conf, self.iou)
    }
}

impl Default for GateReport {
    fn default() -> Self {
        Self {
            frames: 0,
            boxes: 0,
            missing: Vec::new(),
            new: Vec::new(),
            changed: Vec::new(),
            ties: 0,
            min_iou: 1.0,
            max_conf_difference: 0.0,
            conf_difference: 0.0,
            pairs: 0,
        }
    }
}

impl BoxGate {
    /// Returns a gate for the confidence threshold of an event rule.
    #[must_use]
    pub fn new(threshold: f32, tolerance: GateTolerance) -> Self {
        Self { threshold, tolerance, report: GateReport::default() }
    }

    /// Compares the boxes of both models on a frame.
    pub fn compare(&mut self, frame: &str, float: GateBoxes<'_>, twin: GateBoxes<'_>) {
        let floor = self.threshold + self.tolerance.margin;
        self.report.frames += 1;
        self.report.boxes += float.kept.iter().filter(|one| one.conf >= floor).count();
        for (partner, one) in partners(float.kept, twin.kept).into_iter().zip(float.kept) {
            let partner = partner.map(|at| &twin.kept[at]);
            if let Some(other) = partner {
                self.report.conf_difference += (one.conf - other.conf).abs();
                self.report.pairs += 1;
            }
            // The threshold decides on boxes below the margin.
            if partner.map_or(one.conf, |other| one.conf.max(other.conf)) >= floor {
                self.compare_box(frame, one, partner, [float.candidates, twin.candidates]);
            }
        }
        for (partner, one) in partners(twin.kept, float.kept).into_iter().zip(twin.kept) {
            if partner.is_some() || one.conf < floor {
                continue;
            }
            if self.tolerance.admits_any(one, float.candidates) {
                self.report.ties += 1;
            } else {
                self.report.new.push(BoxDifference::new(frame, one));
            }
        }
    }

    /// Compares a box of the float32 model with its partner, else with the candidates: of the float32 model, of the twin.
    fn compare_box(
        &mut self,
        frame: &str,
        one: &Detection,
        partner: Option<&Detection>,
        [of_float, of_twin]: [&[Detection]; 2],
    ) {
        let Self { tolerance, report, .. } = self;
        let is_tie = tolerance.admits_any(one, of_twin)
            && partner.is_none_or(|other| tolerance.admits_any(other, of_float));
        let is_within = partner.is_some_and(|other| tolerance.admits(one, other));
        if is_tie && !is_within {
            report.ties += 1;
            return;
        }
        let float = BoxDifference::new(frame, one);
        let Some(other) = partner else {
            report.missing.push(float);
            return;
        };
        let (iou, difference) = (one.bbox.iou(&other.bbox), (one.conf - other.conf).abs());
        report.min_iou = report.min_iou.min(iou);
        report.max_conf_difference = report.max_conf_difference.max(difference);
        if !is_within {
            report.changed.push(BoxChange { float, conf: other.conf, iou });
        }
    }

    /// Returns the differences so far.
    #[must_use]
    pub fn report(&self) -> &GateReport {
        &self.report
    }
}

impl GateReport {
    /// Returns `true` if the footage had enough boxes, none is missing or new, and all pairs are within the tolerance.
    #[must_use]
    pub fn passes(&self) -> bool {
        let differences = self.missing.len() + self.new.len() + self.changed.len();
        self.boxes >= MIN_GATE_BOXES && differences == 0
    }

    /// Returns the mean difference of confidence of the boxes that both models find.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a mean of at most some thousands")]
    pub fn mean_conf_difference(&self) -> f32 {
        self.conf_difference / self.pairs.max(1) as f32
    }
}

/// Returns the index of the partner of each of `ones` among `others`; the most confident of `ones` chooses first.
fn partners(ones: &[Detection], others: &[Detection]) -> Vec<Option<usize>> {
    let mut order: Vec<usize> = (0..ones.len()).collect();
    order.sort_by(|a, b| ones[*b].conf.total_cmp(&ones[*a].conf));
    let (mut taken, mut chosen) = (vec![false; others.len()], vec![None; ones.len()]);
    for index in order {
        let one = &ones[index];
        let free = others.iter().enumerate().filter(|(at, other)| !taken[*at] && other.label == one.label);
        let overlaps =
            free.map(|(at, other)| (at, one.bbox.iou(&other.bbox))).filter(|(_, iou)| *iou >= PARTNER_IOU);
        if let Some((at, _)) = overlaps.max_by(|a, b| a.1.total_cmp(&b.1)) {
            taken[at] = true;
            chosen[index] = Some(at);
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn seen(label: &str, conf: f32, x: f32) -> Detection {
        let bbox = BBox { x1: x, y1: 0.0, x2: x + 100.0, y2: 100.0 };
        Detection { label: Arc::from(label), conf, bbox, reading: None }
    }

    fn kept(boxes: &[Detection]) -> GateBoxes<'_> {
        GateBoxes { kept: boxes, candidates: &[] }
    }

    /// A name, the boxes of both models, and the numbers of missing and new ones.
    type GateCase = (&'static str, Vec<Detection>, Vec<Detection>, [usize; 2]);

    #[test]
    fn boxes_that_only_one_model_finds_are_reported_from_the_margin_on() {
        let cases: [GateCase; 9] = [
            ("equal", vec![seen("car", 0.9, 0.0)], vec![seen("car", 0.9, 0.0)], [0, 0]),
            ("moved a little", vec![seen("car", 0.9, 0.0)], vec![seen("car", 0.7, 20.0)], [0, 0]),
            ("down to the threshold", vec![seen("car", 0.9, 0.0)], vec![seen("car", 0.41, 0.0)], [0, 0]),
            ("missing", vec![seen("car", 0.5, 0.0)], vec![], [1, 0]),
            ("missing below the margin", vec![seen("car", 0.49, 0.0)], vec![], [0, 0]),
            ("new", vec![], vec![seen("car", 0.5, 0.0)], [0, 1]),
            ("new below the margin", vec![], vec![seen("car", 0.49, 0.0)], [0, 0]),
            ("another label", vec![seen("car", 0.9, 0.0)], vec![seen("van", 0.9, 0.0)], [1, 1]),
            (
                "one box for two",
                vec![seen("car", 0.9, 0.0), seen("car", 0.8, 10.0)],
                vec![seen("car", 0.9, 5.0)],
                [1, 0],
            ),
        ];
        for (name, float, quantized, want) in cases {
            let mut gate = BoxGate::new(0.4, GateTolerance::INT8);
            gate.compare("clip, 1.0 s", kept(&float), kept(&quantized));
            assert_eq!([gate.report().missing.len(), gate.report().new.len()], want, "{name}");
        }
    }

    #[test]
    fn footage_with_few_boxes_does_not_pass() {
        let (mut gate, boxes) = (BoxGate::new(0.4, GateTolerance::INT8), [seen("car", 0.9, 0.0)]);
        for frame in 0..MIN_GATE_BOXES {
            assert!(!gate.report().passes(), "{frame} boxes");
            gate.compare("clip", kept(&boxes), kept(&boxes));
        }
        assert!(gate.report().passes());
        gate.compare("clip", kept(&boxes), kept(&[]));
        assert!(!gate.report().passes());
    }

    #[test]
    fn pairs_beyond_the_tolerance_of_float16_are_reported() {
        let car = |conf, x| vec![seen("car", conf, x)];
        // Boxes of 100 px: moved by 1 px, their IoU is 99 / 101, 0.9802; by 1.1 px, 0.978.
        for (name, float, twin, want) in [
            ("equal", car(0.9, 0.0), car(0.9, 0.0), [0, 0, 0]),
            ("within", car(0.9, 0.0), car(0.885, 1.0), [0, 0, 0]),
            ("moved", car(0.9, 0.0), car(0.9, 1.1), [0, 0, 1]),
            ("less confident", car(0.9, 0.0), car(0.875, 0.0), [0, 0, 1]),
            ("more confident", car(0.41, 0.0), car(0.5, 0.0), [0, 0, 1]),
            ("below the margin", car(0.405, 0.0), car(0.415, 30.0), [0, 0, 0]),
            ("missing", car(0.43, 0.0), vec![], [1, 0, 0]),
            ("new", vec![], car(0.43, 0.0), [0, 1, 0]),
            ("missing below the margin", car(0.41, 0.0), vec![], [0, 0, 0]),
        ] {
            let mut gate = BoxGate::new(0.4, GateTolerance::HALF);
            gate.compare("clip, 1.0 s", kept(&float), kept(&twin));
            let report = gate.report();
            let have = [report.missing.len(), report.new.len(), report.changed.len()];
            assert_eq!(have, want, "{name}: {report:?}");
            if let [BoxChange { float: changed, conf, .. }] = &report.changed[..] {
                assert_eq!((changed.conf, *conf), (float[0].conf, twin[0].conf), "{name}");
            }
        }
    }

    #[test]
    fn a_choice_between_equals_is_a_tie_if_both_models_had_both() {
        let [left, right] = [seen("car", 0.8, 0.0), seen("car", 0.799, 30.0)];
        let (both, weak) = (&[left.clone(), right.clone()][..], &[seen("car", 0.7, 30.0)][..]);
        let (left, right, none) = (&[left][..], &[right][..], &[][..]);
        for (name, [float, float_all], [twin, twin_all], want) in [
            ("the other one", [left, both], [right, both], [0, 0, 0, 1]),
            ("the twin lacks one", [left, both], [right, right], [0, 0, 1, 0]),
            ("float32 lacks one", [left, left], [right, both], [0, 0, 1, 0]),
            ("less confident", [left, both], [weak, both], [0, 0, 1, 0]),
            ("no longer suppressed", [left, both], [both, both], [0, 0, 0, 1]),
            ("suppressed", [both, both], [left, both], [0, 0, 0, 1]),
            ("new", [left, left], [both, both], [0, 1, 0, 0]),
            ("missing", [left, left], [none, none], [1, 0, 0, 0]),
        ] {
            let mut gate = BoxGate::new(0.4, GateTolerance::HALF);
            let boxes = |kept, candidates| GateBoxes { kept, candidates };
            gate.compare("clip, 1.0 s", boxes(float, float_all), boxes(twin, twin_all));
            let GateReport { missing, new, changed, ties, .. } = gate.report();
            assert_eq!([missing.len(), new.len(), changed.len(), *ties], want, "{name}: {:?}", gate.report());
        }
    }
}
