//! The comparison of a model's numbers with its layout.
//!
//! A shape can fit two layouts, and a wrong reading of it gives no boxes or false ones without any error. The numbers show
//! it: a class is whole, a probability lies within 0..=1, a share of the input is not hundreds of pixels. All numbers are
//! compared from the first inference until they have shown the scale of boxes and scores; an empty picture may show
//! neither. From then on only the boxes that count are compared.

use std::fmt;

use super::boxes::{Outputs, coordinates, rows};
use super::layout::Layout;
use super::spec::BoxUnits;

/// The most that rounding to `f16` adds to a probability.
const SLACK: f32 = 0.01;
/// Coordinates up to this may be shares of the input: a box may reach beyond its edges.
const MAX_SHARE: f32 = 2.0;
/// An anchor lies in the far part of the input, so boxes in pixels reach beyond this part of its longer side.
const NEAR_PART: f32 = 0.25;
/// The share of anchors with a box from which an output is one of all anchors.
const FULL: f32 = 0.9;
/// The share of boxes whose second corner comes before the first that no output of corners has.
const MANY_INVERTED: f32 = 0.25;
/// Boxes of NMS that are this sure have two corners in order.
const SURE: f32 = 0.25;
/// The least number of boxes by which a share of them is judged.
const MANY: usize = 8;
/// The most by which a class of NMS differs from a whole number.
const CLASS_SLACK: f32 = 0.001;

/// The comparison of the numbers of one picture with a layout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum LayoutVerdict {
    /// They are such as only this layout has.
    Shown,
    /// They contradict nothing and show nothing, as those of an empty picture.
    Open,
    /// They are of this layout, but their scale is another, or they have none.
    OtherScale(ScaleFault),
    /// They cannot be of this layout, with the reason.
    Impossible(String),
}

/// A scale that is not that of the layout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ScaleFault {
    pub(super) why: String,
    /// `true` if they fit as shares of the input.
    pub(super) as_shares: bool,
}

/// A reason for which numbers are not of a layout.
enum Mismatch {
    Scale(ScaleFault),
    Numbers(String),
}

impl Mismatch {
    fn scale(why: String) -> Self {
        Self::Scale(ScaleFault { why, as_shares: false })
    }

    fn into_reason(self) -> String {
        match self {
            Self::Scale(fault) => fault.to_string(),
            Self::Numbers(why) => why,
        }
    }
}

impl fmt::Display for ScaleFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)?;
        if self.as_shares {
            f.write_str(" (`box_units: normalized` reads them as shares of it, 0..1)")?;
        }
        Ok(())
    }
}

/// The knowledge of the scale of a model's numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Plausibility {
    boxes_known: bool,
    scores_known: bool,
    /// The contradiction that came before the scale was known: the layout was never the right one, so it stays.
    contradiction: Option<String>,
}

/// The numbers of a picture's outputs.
#[derive(Clone, Copy, Debug)]
struct Summary {
    /// Boxes; of a model with NMS inside those with a score.
    boxes: usize,
    /// Boxes that are not all 0.
    filled: usize,
    /// The largest coordinate, without its sign.
    reach: f32,
    /// Boxes whose second corner comes before the first.
    inverted: usize,
    /// Those of them that are sure.
    sure_inverted: usize,
    /// The least and the largest score.
    low: f32,
    high: f32,
    scores: usize,
    /// Scores that are numbers.
    numbers: usize,
}

impl Plausibility {
    /// Returns `true` where only boxes that count are compared from now on.
    pub(super) fn is_settled(&self) -> bool {
        self.boxes_known && self.scores_known
    }

    /// Compares the numbers for a picture with the layout; `longer_px` is the longer side of the input.
    ///
    /// # Errors
    /// They cannot be of this layout, with the reason; or those of an earlier picture could not, before any showed that they can.
    pub(super) fn inspect(&mut self, outputs: &Outputs<'_>, longer_px: f32) -> Result<(), String> {
        // A layout that was contradicted once is wrong for good: later pictures may look plausible by chance.
        if let Some(why) = &self.contradiction {
            return Err(why.clone());
        }
        let inspected = self.inspect_picture(outputs, longer_px).map_err(Mismatch::into_reason);
        // Once the scale is known the layout is right, and a contradiction concerns one frame only.
        if !self.is_settled() {
            self.contradiction = inspected.clone().err();
        }
        inspected
    }

    /// As [`Self::inspect`] for the first picture, where other layouts may have the same shape.
    pub(super) fn judge(&mut self, outputs: &Outputs<'_>, longer_px: f32) -> LayoutVerdict {
        match self.inspect_picture(outputs, longer_px) {
            Ok(()) if self.is_settled() && are_of_no_other(outputs) => LayoutVerdict::Shown,
            Ok(()) => LayoutVerdict::Open,
            Err(Mismatch::Scale(fault)) => LayoutVerdict::OtherScale(fault),
            Err(Mismatch::Numbers(why)) => LayoutVerdict::Impossible(why),
        }
    }

    fn inspect_picture(&mut self, outputs: &Outputs<'_>, longer_px: f32) -> Result<(), Mismatch> {
        // The class column distinguishes NMS output from other rows of six numbers, so it is checked on every picture.
        if outputs.layout == Layout::Nms {
            classes_are_whole(outputs).map_err(Mismatch::Numbers)?;
        }
        if self.is_settled() {
            return Ok(());
        }
        let summary = Summary::of(outputs);
        self.scores_known |= summary.judge_scores(outputs.layout)?;
        summary.judge_corners(outputs.layout).map_err(Mismatch::Numbers)?;
        let judged = if outputs.has_shares() {
            summary.judge_shares(outputs)
        } else {
            summary.judge_px(outputs.layout, longer_px, self.boxes_known)
        };
        self.boxes_known |= judged.map_err(|fault| as_shares(fault, outputs, longer_px))?;
        Ok(())
    }

    /// Compares the confidence of a box that counts with the layout.
    ///
    /// # Errors
    /// It is no probability.
    pub(super) fn inspect_confidence(conf: f32) -> Result<(), String> {
        if conf > 1.0 + SLACK { Err(format!("a score is {conf:.2}, above 1")) } else { Ok(()) }
    }
}

impl Summary {
    fn of(outputs: &Outputs<'_>) -> Self {
        let mut summary = Self::empty();
        for row in 0..rows(outputs) {
            let corners = coordinates(outputs, row);
            let score = (outputs.layout == Layout::Nms).then(|| outputs.boxes[row * outputs.columns + 4]);
            match score {
                Some(score) if is_padding(score) => {}
                Some(score) => summary.add_box(outputs, corners, score >= SURE),
                None => summary.add_box(outputs, corners, true),
            }
        }
        summary.add_scores(outputs);
        summary
    }

    fn empty() -> Self {
        Self {
            boxes: 0,
            filled: 0,
            reach: 0.0,
            inverted: 0,
            sure_inverted: 0,
            low: f32::INFINITY,
            high: f32::NEG_INFINITY,
            scores: 0,
            numbers: 0,
        }
    }

    fn add_box(&mut self, outputs: &Outputs<'_>, [x1, y1, x2, y2]: [f32; 4], sure: bool) {
        let corners = [x1, y1, x2, y2];
        if !corners.iter().all(|coordinate| coordinate.is_finite()) {
            return;
        }
        self.boxes += 1;
        self.filled += usize::from(corners != [0.0; 4]);
        // `f16` has steps of half a pixel beyond 512 px, so the corners of a thin box may cross.
        let slack = if outputs.has_shares() { SLACK } else { 1.0 };
        let is_inverted = x2 < x1 - slack || y2 < y1 - slack;
        self.inverted += usize::from(is_inverted);
        self.sure_inverted += usize::from(is_inverted && sure);
        self.reach = corners.iter().fold(self.reach, |reach, coordinate| reach.max(coordinate.abs()));
    }

    fn add_scores(&mut self, outputs: &Outputs<'_>) {
        match outputs.layout {
            Layout::Yolov8 => self.add_all(&outputs.boxes[4 * outputs.columns..]),
            Layout::Yolov5 | Layout::Yolox | Layout::Rtdetr => {
                outputs.boxes.chunks_exact(outputs.columns).for_each(|row| self.add_all(&row[4..]));
            }
            Layout::Nms => {
                for row in outputs.boxes.chunks_exact(outputs.columns).filter(|row| !is_padding(row[4])) {
                    self.add_all(&row[4..5]);
                }
            }
            Layout::Detr | Layout::DetrSoftmax | Layout::Yolonas => self.add_all(outputs.scores),
        }
    }

    fn add_all(&mut self, scores: &[f32]) {
        self.scores += scores.len();
        for score in scores.iter().filter(|score| !score.is_nan()) {
            self.numbers += 1;
            self.low = self.low.min(*score);
            self.high = self.high.max(*score);
        }
    }

    /// Returns `true` where the scores have shown that they are of the layout.
    fn judge_scores(&self, layout: Layout) -> Result<bool, Mismatch> {
        if self.scores > 0 && self.numbers == 0 {
            return Err(Mismatch::Numbers("no score is a number: export it in float32".to_owned()));
        }
        if self.numbers == 0 {
            return Ok(false);
        }
        let Self { low, high, .. } = self;
        let are_probabilities = *low >= -SLACK && *high <= 1.0 + SLACK;
        match (layout, are_probabilities) {
            (Layout::Detr | Layout::DetrSoftmax, true) => {
                let why =
                    format!("all scores lie within 0..1 ({low:.3} to {high:.3}), and its scores are logits");
                // An output of zeros has no scale that speaks for another layout.
                Err(if *low == 0.0 && *high == 0.0 { Mismatch::scale(why) } else { Mismatch::Numbers(why) })
            }
            (Layout::Detr | Layout::DetrSoftmax, false) => Ok(true),
            (_, true) => Ok(*high > 0.0),
            (_, false) => Err(Mismatch::Numbers(format!(
                "scores reach from {low:.2} to {high:.2}, and its scores lie within 0..1"
            ))),
        }
    }

    /// Compares the order of the corners with the layout, where its boxes are corners.
    #[expect(clippy::cast_precision_loss, reason = "rows are far below 2^24")]
    fn judge_corners(&self, layout: Layout) -> Result<(), String> {
        let many = self.filled >= MANY && self.inverted as f32 > self.filled as f32 * MANY_INVERTED;
        let inverted = match layout {
            Layout::Nms if self.sure_inverted > 0 && !many => self.sure_inverted,
            Layout::Nms | Layout::Yolonas if many => self.inverted,
            _ => return Ok(()),
        };
        let filled = self.filled;
        Err(format!("{inverted} of {filled} boxes end before they begin, so they are not corners"))
    }

    /// Returns `true` where boxes that are shares of the input have shown that they are.
    fn judge_shares(&self, outputs: &Outputs<'_>) -> Result<bool, ScaleFault> {
        if self.reach <= MAX_SHARE {
            return Ok(self.filled > 0);
        }
        let whose = if outputs.layout.has_boxes_in_px() {
            "`box_units: normalized` says that they are"
        } else {
            "its boxes are"
        };
        let why = format!("boxes reach to {:.0}, and {whose} shares of the input, 0..1", self.reach);
        Err(ScaleFault { why, as_shares: false })
    }

    /// Returns `true` where boxes in px have shown that they are; `known` where they have before.
    #[expect(clippy::cast_precision_loss, reason = "rows are far below 2^24")]
    fn judge_px(&self, layout: Layout, longer_px: f32, known: bool) -> Result<bool, ScaleFault> {
        let reach = self.reach;
        let near = longer_px * NEAR_PART;
        let fault = |why| Err(ScaleFault { why, as_shares: false });
        match layout {
            // YOLOX puts out offsets within cells: px mean that the export has decoded them.
            Layout::Yolox if reach > near.max(MAX_SHARE) => {
                fault(format!("boxes reach to {reach:.0} px: the grid is in them already"))
            }
            Layout::Yolox => Ok(self.filled >= MANY),
            _ if known => Ok(true),
            _ if self.filled > 0 && reach <= MAX_SHARE => {
                let why = format!("no box reaches beyond {reach:.2}, and its boxes are in px of the input");
                Err(ScaleFault { why, as_shares: true })
            }
            Layout::Yolov8 | Layout::Yolov5 | Layout::Yolonas
                if reach <= near && self.filled >= MANY && self.filled as f32 >= self.boxes as f32 * FULL =>
            {
                fault(format!(
                    "no box reaches beyond {reach:.1} of {longer_px:.0} px: the grid is not in them"
                ))
            }
            _ => Ok(reach > near),
        }
    }
}

/// The mismatch of boxes that are not in px: only one of scale where the numbers fit as shares of the input.
fn as_shares(fault: ScaleFault, outputs: &Outputs<'_>, longer_px: f32) -> Mismatch {
    let shares = Outputs { units: BoxUnits::Normalized, ..*outputs };
    // The setting is proposed only where the numbers would pass with it.
    if fault.as_shares && Plausibility::default().inspect_picture(&shares, longer_px).is_err() {
        return Mismatch::Numbers(fault.why);
    }
    Mismatch::Scale(fault)
}

/// Returns `true` where the numbers, which fit, are such as another layout of the same shape does not have. A column of
/// whole numbers is that of the classes of NMS, or that of a class of which nothing is found.
#[expect(clippy::float_cmp, reason = "classes are exact")]
fn are_of_no_other(outputs: &Outputs<'_>) -> bool {
    match outputs.layout {
        Layout::Rtdetr => {
            let last = outputs.boxes.chunks_exact(outputs.columns).filter_map(<[f32]>::last);
            last.filter(|score| score.is_finite()).any(|score| *score != score.round())
        }
        Layout::Nms => Summary::of(outputs).inverted == 0,
        _ => true,
    }
}

/// Returns `true` for a row of a model with NMS inside that has no box: exporters fill with 0 or -1.
#[expect(clippy::float_cmp, reason = "fillings are exact")]
fn is_padding(score: f32) -> bool {
    score == 0.0 || score == -1.0 || score.is_nan()
}

/// Compares the classes of a model with NMS inside with its class names.
///
/// # Errors
/// A class is not whole, also in a row without a score, or has no name.
#[expect(clippy::cast_precision_loss, reason = "class counts are small")]
fn classes_are_whole(outputs: &Outputs<'_>) -> Result<(), String> {
    for row in outputs.boxes.chunks_exact(outputs.columns) {
        let class = row[5];
        if (class - class.round()).abs() > CLASS_SLACK {
            return Err(format!("the sixth column has {class:.3}, which is no class"));
        }
        if !is_padding(row[4]) && (class.round() < 0.0 || class.round() >= outputs.classes as f32) {
            return Err(format!("it found class {class:.0}, and has {} class names", outputs.classes));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{BoxUnits, Layout, LayoutVerdict, Outputs, Plausibility};

    /// `true` where the numbers are settled, or a word of the error.
    type Inspected = Result<bool, &'static str>;

    const SETTLED: Inspected = Ok(true);
    const OPEN: Inspected = Ok(false);

    /// The boxes and scores of a picture, of an input of 64 px and two classes, and the verdict on them.
    fn assert_inspected(
        name: &str,
        layout: Layout,
        (boxes, scores): (&[f32], &[f32]),
        columns: usize,
        want: Inspected,
    ) {
        let (mut plausibility, units) = (Plausibility::default(), BoxUnits::Pixels);
        let outputs = Outputs { layout, units, boxes, scores, columns, classes: 2 };
        let have = plausibility.inspect(&outputs, 64.0).map(|()| plausibility.is_settled());
        match (&have, want) {
            (Ok(settled), Ok(want)) => assert_eq!(*settled, want, "{name}"),
            (Err(why), Err(word)) => assert!(why.contains(word), "{name}: {why}"),
            _ => panic!("{name}: {have:?}"),
        }
    }

    fn rows<const N: usize>(row: impl Fn(f32) -> [f32; N]) -> Vec<f32> {
        (0..10).flat_map(|i| row(i as f32)).collect()
    }

    #[test]
    fn numbers_of_anchors_are_compared_with_the_layout() {
        use Layout::{Yolov5, Yolov8, Yolox};
        #[rustfmt::skip]
        let cases: [(&str, Layout, Vec<f32>, usize, Inspected); 12] = [
            ("all 0", Yolov5, vec![0.0; 70], 7, OPEN),
            ("px", Yolov5, rows(|i| [6.0 * i, 30.0, 9.0, 9.0, 0.1, 0.5, 0.1]), 7, SETTLED),
            ("px, nothing found", Yolov5, rows(|i| [6.0 * i, 30.0, 9.0, 9.0, 0.0, 0.0, 0.0]), 7, OPEN),
            ("grid left out", Yolov5, rows(|i| [0.1 * i, 1.2, -1.5, 2.5, 0.1, 0.5, 0.1]), 7, Err("grid is not in")),
            ("shares", Yolov5, rows(|i| [0.1 * i, 0.5, 0.2, 0.2, 0.1, 0.5, 0.1]), 7, Err("in px of the input")),
            ("before the sigmoid", Yolov5, rows(|_| [30.0, 30.0, 9.0, 9.0, -4.0, 1.5, 0.0]), 7, Err("from -4.00 to 1.50")),
            ("no numbers", Yolov5, vec![f32::NAN; 14], 7, Err("no score is a number")),
            ("some are no numbers", Yolov5, vec![f32::NAN, 9.0, 9.0, 9.0, 0.5, f32::NAN, 0.5], 7, OPEN),
            ("a box in a corner", Yolov8, vec![8.0, 0.0, 8.0, 0.0, 6.0, 0.0, 6.0, 0.0, 0.9, 0.0, 0.0, 0.0], 2, OPEN),
            ("px by planes", Yolov8, vec![8.0, 40.0, 8.0, 40.0, 6.0, 6.0, 6.0, 6.0, 0.9, 0.0, 0.0, 0.0], 2, SETTLED),
            ("shares by planes", Yolov8, vec![0.1, 0.6, 0.1, 0.6, 0.1, 0.1, 0.1, 0.1, 0.9, 0.0, 0.0, 0.0], 2, Err("in px")),
            ("grid in them already", Yolox, rows(|i| [6.0 * i, 30.0, 9.0, 9.0, 0.1, 0.5, 0.1]), 7, Err("already")),
        ];
        for (name, layout, numbers, columns, want) in cases {
            assert_inspected(name, layout, (&numbers, &numbers), columns, want);
        }
    }

    #[test]
    fn numbers_of_finished_boxes_are_compared_with_the_layout() {
        use Layout::{Nms, Rtdetr};
        #[rustfmt::skip]
        let cases: [(&str, Layout, &[f32], Inspected); 9] = [
            ("NMS", Nms, &[8.0, 6.0, 40.0, 40.0, 0.5, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0], SETTLED),
            ("filled with -1", Nms, &[-1.0; 12], OPEN),
            ("scores as classes", Nms, &[8.0, 6.0, 40.0, 40.0, 0.01, 0.3], Err("sixth column has 0.300")),
            ("class and score turned", Nms, &[8.0, 6.0, 40.0, 40.0, 0.0, 0.9], Err("sixth column has 0.900")),
            ("shares", Nms, &[0.5, 0.5, 0.5, 0.4, 0.9, 0.0], Err("in px of the input")),
            ("class without a name", Nms, &[8.0, 6.0, 40.0, 40.0, 0.1, 2.0], Err("class 2, and has 2 class names")),
            ("centre and size", Nms, &[40.0, 40.0, 9.0, 9.0, 0.9, 0.0], Err("not corners")),
            ("queries", Rtdetr, &[0.5, 0.5, 0.5, 0.4, 0.9, 0.0], SETTLED),
            ("queries in px", Rtdetr, &[30.0, 30.0, 20.0, 20.0, 0.9, 0.0], Err("shares of the input")),
        ];
        for (name, layout, numbers, want) in cases {
            assert_inspected(name, layout, (numbers, numbers), 6, want);
        }
    }

    #[test]
    fn numbers_of_two_outputs_are_compared_with_the_layout() {
        use Layout::{Detr, DetrSoftmax, Yolonas};
        let shares = rows(|i| [0.1 * i, 0.5, 0.2, 0.2]);
        let corners = rows(|i| [5.0 * i, 30.0, 5.0 * i + 9.0, 39.0]);
        let centres = rows(|i| [5.0 * i + 9.0, 30.0, 4.0, 4.0]);
        let (logits, probabilities) = (rows(|i| [-4.0, 0.1 * i]), rows(|i| [0.001, 0.05 * i]));
        #[rustfmt::skip]
        let cases: [(&str, Layout, [&[f32]; 2], Inspected); 9] = [
            ("detr", Detr, [&shares, &logits], SETTLED),
            ("no object", DetrSoftmax, [&shares, &logits], SETTLED),
            ("probabilities as logits", Detr, [&shares, &probabilities], Err("all scores lie within 0..1")),
            ("probabilities for a softmax", DetrSoftmax, [&shares, &probabilities], Err("all scores lie within 0..1")),
            ("detr in px", Detr, [&corners, &logits], Err("shares of the input")),
            ("yolonas", Yolonas, [&corners, &probabilities], SETTLED),
            ("yolonas with logits", Yolonas, [&corners, &logits], Err("lie within 0..1")),
            ("yolonas with shares", Yolonas, [&shares, &probabilities], Err("in px of the input")),
            ("yolonas with centres", Yolonas, [&centres, &probabilities], Err("not corners")),
        ];
        for (name, layout, [boxes, scores], want) in cases {
            assert_inspected(name, layout, (boxes, scores), 2, want);
        }
    }

    /// Boxes and scores.
    type Numbers<'a> = [&'a [f32]; 2];

    /// The verdict in a word: of a scale, whether the numbers fit as shares.
    fn judged(layout: Layout, units: BoxUnits, [boxes, scores]: Numbers<'_>, columns: usize) -> &'static str {
        let outputs = Outputs { layout, units, boxes, scores, columns, classes: 2 };
        match Plausibility::default().judge(&outputs, 64.0) {
            LayoutVerdict::Shown => "shown",
            LayoutVerdict::Open => "open",
            LayoutVerdict::OtherScale(fault) if fault.as_shares => "shares",
            LayoutVerdict::OtherScale(_) => "scale",
            LayoutVerdict::Impossible(_) => "no",
        }
    }

    #[test]
    fn numbers_of_two_layouts_of_one_shape_are_judged() {
        use BoxUnits::{Normalized, Pixels};
        use Layout::{Nms, Rtdetr};
        let zeros = [0.0; 12];
        let then_zeros = |row: [f32; 6]| [&row[..], &zeros].concat();
        let corners_in_shares = then_zeros([0.25, 0.1, 0.75, 0.47, 0.9, 0.0]);
        let query = then_zeros([0.5, 0.5, 0.5, 0.375, 0.9, 0.02]);
        let query_of_first = then_zeros([0.5, 0.5, 0.5, 0.375, 0.9, 0.0]);
        let corners = then_zeros([16.0, 20.0, 48.0, 44.0, 0.9, 1.0]);
        let turned = rows(|i| [6.0 * i, 30.0, 9.0, 9.0, 0.000_02, 0.000_01]);
        let near = then_zeros([3.0, 3.0, 9.0, 9.0, 0.9, 0.0]);
        let faint = then_zeros([0.5, 0.5, 0.5, 0.375, 0.0005, 0.0002]);
        #[rustfmt::skip]
        let cases: [(&str, &[f32], [&str; 3]); 8] = [
            ("corners in shares", &corners_in_shares, ["shares", "shown", "open"]),
            ("a query", &query, ["no", "no", "shown"]),
            ("a query of the first class", &query_of_first, ["no", "no", "open"]),
            ("corners", &corners, ["shown", "scale", "scale"]),
            ("yolov8, turned", &turned, ["no", "no", "scale"]),
            ("a box in a corner", &near, ["open", "scale", "scale"]),
            ("a faint query", &faint, ["shares", "open", "shown"]),
            ("nothing", &zeros, ["open", "open", "open"]),
        ];
        for (name, numbers, want) in cases {
            let both = [numbers, numbers];
            let readings = [(Nms, Pixels), (Nms, Normalized), (Rtdetr, Pixels)];
            assert_eq!(readings.map(|(layout, units)| judged(layout, units, both, 6)), want, "{name}");
        }
    }

    #[test]
    fn numbers_of_two_outputs_are_judged() {
        use BoxUnits::{Normalized, Pixels};
        use Layout::{Detr, Yolonas};
        let corners = rows(|i| [5.0 * i, 30.0, 5.0 * i + 9.0, 39.0]);
        let shares = rows(|i| [0.09 * i, 0.5, 0.09 * i + 0.1, 0.7]);
        let (logits, probabilities) = (rows(|i| [-4.0, 0.1 * i]), rows(|i| [0.001, 0.05 * i]));
        let (no_boxes, no_scores) = ([0.0; 40], [0.0; 20]);
        #[rustfmt::skip]
        let cases: [(&str, Numbers<'_>, [&str; 3]); 6] = [
            ("yolonas", [&corners, &probabilities], ["shown", "scale", "no"]),
            ("yolonas of shares", [&shares, &probabilities], ["shares", "shown", "no"]),
            ("detr", [&shares, &logits], ["no", "no", "shown"]),
            ("detr in px", [&corners, &logits], ["no", "no", "scale"]),
            ("no scores", [&corners, &no_scores], ["open", "scale", "scale"]),
            ("nothing", [&no_boxes, &no_scores], ["open", "open", "scale"]),
        ];
        for (name, numbers, want) in cases {
            let readings = [(Yolonas, Pixels), (Yolonas, Normalized), (Detr, Pixels)];
            assert_eq!(readings.map(|(layout, units)| judged(layout, units, numbers, 2)), want, "{name}");
        }
    }

    #[test]
    fn what_an_empty_picture_leaves_open_is_compared_later() {
        let inspect = |plausibility: &mut Plausibility, numbers: &[f32]| {
            let (layout, units) = (Layout::Yolov5, BoxUnits::Pixels);
            let outputs = Outputs { layout, units, boxes: numbers, scores: numbers, columns: 7, classes: 2 };
            plausibility.inspect(&outputs, 64.0).map(|()| plausibility.is_settled())
        };
        let [nothing, corner] = [[0.0; 7], [3.0, 3.0, 2.0, 2.0, 0.9, 0.9, 0.0]];
        let [shares, px] = [[0.5, 0.5, 0.5, 0.5, 0.9, 0.9, 0.0], [30.0, 30.0, 9.0, 9.0, 0.9, 0.9, 0.0]];
        let mut open = Plausibility::default();
        assert_eq!(inspect(&mut open, &nothing), Ok(false));
        assert_eq!(inspect(&mut open, &corner), Ok(false), "a box that may be either");
        let mut settled = open.clone();
        let why = inspect(&mut open, &shares).unwrap_err();
        assert_eq!(inspect(&mut open, &nothing), Err(why), "it stays");
        assert_eq!(inspect(&mut settled, &px), Ok(true));
        assert_eq!(inspect(&mut settled, &shares), Ok(true), "px are known: a tiny box");
        assert!(Plausibility::inspect_confidence(1.005).is_ok());
        assert!(Plausibility::inspect_confidence(1.2).is_err());
    }
}
