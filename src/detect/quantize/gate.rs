//! The gate: a quantised model is accepted only if it finds on frames the boxes of the float32 model, and no others.

use crate::media::{BBox, Detection};

/// The margin above the threshold: boxes below `threshold + margin` may come and go with a change of the last digits.
pub const GATE_MARGIN: f32 = 0.1;

/// The IoU from which two boxes of one label are one object.
pub const GATE_IOU: f32 = 0.5;

/// The number of boxes of the float32 model, of confidence from threshold + margin, below which the footage proves nothing.
pub const MIN_GATE_BOXES: usize = 10;

/// Compares the boxes of two models, frame by frame.
///
/// A box of one model whose confidence is at least threshold + [`GATE_MARGIN`] must have a partner among the other's boxes above the
/// threshold: of the same label, with an IoU of at least [`GATE_IOU`], each box being the partner of one.
#[derive(Debug)]
pub struct BoxGate {
    threshold: f32,
    report: GateReport,
}

/// The differences between two models.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GateReport {
    /// Frames that were compared.
    pub frames: usize,
    /// Boxes of the float32 model with confidence from threshold + margin.
    pub boxes: usize,
    /// Those of them that the quantised model does not find.
    pub missing: Vec<BoxDifference>,
    /// Boxes of the quantised model with confidence from threshold + margin that the float32 model does not find.
    pub new: Vec<BoxDifference>,
    /// Sum of the differences of confidence of the boxes that both find.
    conf_difference: f32,
    paired: usize,
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

impl BoxDifference {
    fn new(frame: &str, one: &Detection) -> Self {
        Self { frame: frame.to_owned(), label: one.label.to_string(), conf: one.conf, bbox: one.bbox }
    }
}

impl BoxGate {
    /// Returns a gate for the confidence threshold of an event rule.
    #[must_use]
    pub fn new(threshold: f32) -> Self {
        Self { threshold, report: GateReport::default() }
    }

    /// Compares the boxes of both models on a frame, all of them of confidence above the threshold.
    pub fn compare(&mut self, frame: &str, float: &[Detection], quantized: &[Detection]) {
        let floor = self.threshold + GATE_MARGIN;
        let report = &mut self.report;
        report.frames += 1;
        report.boxes += float.iter().filter(|one| one.conf >= floor).count();
        let difference = |one: &Detection| BoxDifference::new(frame, one);
        for (partner, one) in partners(float, quantized).iter().zip(float) {
            match partner {
                Some(other) => {
                    report.conf_difference += (one.conf - quantized[*other].conf).abs();
                    report.paired += 1;
                }
                None if one.conf >= floor => report.missing.push(difference(one)),
                None => {}
            }
        }
        let unpaired =
            partners(quantized, float).into_iter().zip(quantized).filter(|(partner, _)| partner.is_none());
        report.new.extend(unpaired.filter(|(_, one)| one.conf >= floor).map(|(_, one)| difference(one)));
    }

    /// Returns the differences so far.
    #[must_use]
    pub fn report(&self) -> &GateReport {
        &self.report
    }
}

impl GateReport {
    /// Returns `true` if the footage had enough boxes, and no box is missing or new.
    #[must_use]
    pub fn passes(&self) -> bool {
        self.boxes >= MIN_GATE_BOXES && self.missing.is_empty() && self.new.is_empty()
    }

    /// Returns the mean difference of confidence of the boxes that both models find.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a mean of at most some thousands")]
    pub fn mean_conf_difference(&self) -> f32 {
        self.conf_difference / self.paired.max(1) as f32
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
            free.map(|(at, other)| (at, one.bbox.iou(&other.bbox))).filter(|(_, iou)| *iou >= GATE_IOU);
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
            let mut gate = BoxGate::new(0.4);
            gate.compare("clip, 1.0 s", &float, &quantized);
            assert_eq!([gate.report().missing.len(), gate.report().new.len()], want, "{name}");
        }
    }

    #[test]
    fn footage_with_few_boxes_does_not_pass() {
        let (mut gate, boxes) = (BoxGate::new(0.4), [seen("car", 0.9, 0.0)]);
        for frame in 0..MIN_GATE_BOXES {
            assert!(!gate.report().passes(), "{frame} boxes");
            gate.compare("clip", &boxes, &boxes);
        }
        assert!(gate.report().passes());
        gate.compare("clip", &boxes, &[]);
        assert!(!gate.report().passes());
    }
}
