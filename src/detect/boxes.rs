//! A model's outputs as boxes.

use gpu::{FoundBox, HeadLayout};

use super::layout::Layout;
use super::letterbox::Letterbox;
use super::nms::Candidate;
use super::spec::BoxUnits;

/// The outputs for one picture.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outputs<'a> {
    pub(super) layout: Layout,
    /// The units of boxes of a layout in px.
    pub(super) units: BoxUnits,
    /// The output with the boxes, row-major, without the batch.
    pub(super) boxes: &'a [f32],
    /// The output with the scores; that of the boxes where a layout has one output.
    pub(super) scores: &'a [f32],
    /// Columns of `scores`.
    pub(super) columns: usize,
    pub(super) classes: usize,
}

impl Outputs<'_> {
    /// Returns `true` where the boxes are shares of the input.
    pub(super) fn has_shares(&self) -> bool {
        has_shares(self.layout, self.units)
    }
}

fn has_shares(layout: Layout, units: BoxUnits) -> bool {
    match layout {
        Layout::Rtdetr | Layout::Detr | Layout::DetrSoftmax => true,
        Layout::Yolox => false,
        Layout::Yolov8 | Layout::Yolov5 | Layout::Nms | Layout::Yolonas => units == BoxUnits::Normalized,
    }
}

/// The boxes with at least `conf`, in frame px, clipped to the frame. Without those that are not finite or outside.
///
/// Each anchor gives at most one, of its best class; of equal classes the first.
pub(super) fn candidates(outputs: &Outputs<'_>, letterbox: &Letterbox, conf: f32) -> Vec<Candidate> {
    let boxes = model_boxes(outputs, letterbox, conf).into_iter();
    boxes.filter_map(|found| in_frame(&found, outputs.layout, outputs.units, letterbox)).collect()
}

/// Returns a box in frame px, clipped to the frame, unless it is not finite or outside.
fn in_frame(found: &ModelBox, layout: Layout, units: BoxUnits, letterbox: &Letterbox) -> Option<Candidate> {
    // The DETR family is converted by its own reader; only layouts in px have a unit to choose.
    let in_shares = layout.has_boxes_in_px() && has_shares(layout, units);
    let corners = if in_shares { shares_in_px(&found.corners, letterbox) } else { found.corners };
    let bbox = found.conf.is_finite().then(|| letterbox.box_to_frame(corners)).flatten()?;
    Some(Candidate { anchor: found.anchor, class: found.class, conf: found.conf, bbox })
}

/// Returns the boxes that the GPU found in an output, as `candidates` returns those of the same output in host memory.
pub(super) fn candidates_of(
    found: &[FoundBox],
    layout: Layout,
    units: BoxUnits,
    letterbox: &Letterbox,
) -> Vec<Candidate> {
    let one = |hit: &FoundBox| {
        let FoundBox { anchor, class, conf, numbers } = *hit;
        let converted = match layout {
            Layout::Yolov8 | Layout::Yolov5 => found_at(anchor, class, conf, numbers),
            Layout::Nms | Layout::Yolonas => ModelBox { anchor, class, conf, corners: numbers },
            Layout::Rtdetr | Layout::Detr | Layout::DetrSoftmax => {
                found_at(anchor, class, conf, shares_in_px(&numbers, letterbox))
            }
            Layout::Yolox => {
                ModelBox { anchor, class, conf, corners: grid_corners(anchor, numbers, letterbox)? }
            }
        };
        in_frame(&converted, layout, units, letterbox)
    };
    found.iter().filter_map(one).collect()
}

/// Returns the arrangement by which the GPU searches an output; `None` for layouts whose outputs are small and are read as a whole.
pub(super) fn head_layout(layout: Layout) -> Option<HeadLayout> {
    match layout {
        Layout::Yolov8 => Some(HeadLayout::ChannelRows),
        Layout::Yolov5 | Layout::Yolox => Some(HeadLayout::ObjectnessRows),
        Layout::Rtdetr => Some(HeadLayout::AnchorRows),
        Layout::Yolonas => Some(HeadLayout::SeparateScores),
        Layout::Nms | Layout::Detr | Layout::DetrSoftmax => None,
    }
}

/// The boxes with at least `conf`, as the layout has them.
fn model_boxes(outputs: &Outputs<'_>, letterbox: &Letterbox, conf: f32) -> Vec<ModelBox> {
    match outputs.layout {
        Layout::Yolov8 => yolov8(outputs, conf),
        Layout::Yolov5 => yolov5(outputs, conf),
        Layout::Nms => nms(outputs, conf),
        Layout::Rtdetr => rtdetr(outputs, letterbox, conf),
        Layout::Detr => detr(outputs, letterbox, conf, sigmoid_of_best),
        Layout::DetrSoftmax => detr(outputs, letterbox, conf, softmax_of_best),
        Layout::Yolonas => yolonas(outputs, conf),
        Layout::Yolox => yolox(outputs, letterbox, conf),
    }
}

/// Returns the number of boxes of an output, with those below the threshold.
pub(super) fn rows(outputs: &Outputs<'_>) -> usize {
    match outputs.layout {
        Layout::Yolov8 => outputs.columns,
        Layout::Detr | Layout::DetrSoftmax | Layout::Yolonas => outputs.boxes.len() / 4,
        Layout::Yolov5 | Layout::Nms | Layout::Rtdetr | Layout::Yolox => {
            outputs.boxes.len() / outputs.columns.max(1)
        }
    }
}

/// The four numbers of a box as the output has them.
pub(super) fn coordinates(outputs: &Outputs<'_>, row: usize) -> [f32; 4] {
    // YOLOv8 has one row per coordinate and one column per anchor; all other layouts have one row per box.
    let (first, step) = match outputs.layout {
        Layout::Yolov8 => (row, outputs.columns),
        Layout::Detr | Layout::DetrSoftmax | Layout::Yolonas => (4 * row, 1),
        Layout::Yolov5 | Layout::Nms | Layout::Rtdetr | Layout::Yolox => (row * outputs.columns, 1),
    };
    [0, 1, 2, 3].map(|i| outputs.boxes[first + i * step])
}

/// A box in px of the model's input, before the letterbox is undone.
struct ModelBox {
    anchor: usize,
    class: usize,
    conf: f32,
    corners: [f32; 4],
}

/// Anchors per block: one vectorised comparison shows that none of a block is above the threshold, as is usual.
const BLOCK: usize = 32;

fn yolov8(outputs: &Outputs<'_>, conf: f32) -> Vec<ModelBox> {
    let anchors = outputs.columns;
    // Shape [4 + classes, anchors]: four rows of coordinates, then one row of scores per class.
    let (boxes, scores) = outputs.boxes.split_at(4 * anchors);
    let mut hits = Vec::new();
    for (class, plane) in scores.chunks_exact(anchors.max(1)).enumerate() {
        for (i, block) in plane.chunks(BLOCK).enumerate() {
            // `fold` with `|` has no early exit, so the compiler vectorises it; `any` would stop it.
            if block.iter().fold(false, |any, score| any | (*score >= conf)) {
                let above = block.iter().enumerate().filter(|(_, score)| **score >= conf);
                hits.extend(above.map(|(at, score)| (i * BLOCK + at, class, *score)));
            }
        }
    }
    let coordinates = |anchor: usize| [0, 1, 2, 3].map(|row| boxes[row * anchors + anchor]);
    best_of_each(hits)
        .map(|(anchor, class, conf)| found_at(anchor, class, conf, coordinates(anchor)))
        .collect()
}

/// The best class of each anchor; of equal ones the first.
fn best_of_each(mut hits: Vec<(usize, usize, f32)>) -> impl Iterator<Item = (usize, usize, f32)> {
    // A total order without ties: an unstable sort gives the same result for the same hits.
    hits.sort_unstable_by(|a, b| a.0.cmp(&b.0).then(b.2.total_cmp(&a.2)).then(a.1.cmp(&b.1)));
    hits.dedup_by_key(|hit| hit.0);
    hits.into_iter()
}

/// A box given by its centre and size.
fn found_at(anchor: usize, class: usize, conf: f32, [x, y, w, h]: [f32; 4]) -> ModelBox {
    let corners = [x - w / 2.0, y - h / 2.0, x + w / 2.0, y + h / 2.0];
    ModelBox { anchor, class, conf, corners }
}

fn yolov5(outputs: &Outputs<'_>, conf: f32) -> Vec<ModelBox> {
    let one = |(anchor, row): (usize, &[f32])| {
        // The confidence is objectness times class score, so an objectness below the threshold decides alone.
        let objectness = row[4];
        if objectness.is_nan() || objectness < conf {
            return None;
        }
        let (class, score) = best(&row[5..])?;
        let conf_here = objectness * score;
        (conf_here >= conf).then(|| found_at(anchor, class, conf_here, [row[0], row[1], row[2], row[3]]))
    };
    outputs.boxes.chunks_exact(outputs.columns).enumerate().filter_map(one).collect()
}

/// The highest score and its index; the first of equal ones. `None` where there is no number.
fn best(scores: &[f32]) -> Option<(usize, f32)> {
    // A NaN compares false with everything: kept, it would win or lose by its position.
    let numbers = scores.iter().copied().enumerate().filter(|(_, score)| !score.is_nan());
    numbers.reduce(|best, next| if next.1 > best.1 { next } else { best })
}

fn nms(outputs: &Outputs<'_>, conf: f32) -> Vec<ModelBox> {
    let one = |(anchor, row): (usize, &[f32])| {
        let class = class_of(row[5], outputs.classes)?;
        let corners = [row[0], row[1], row[2], row[3]];
        (row[4] >= conf).then_some(ModelBox { anchor, class, conf: row[4], corners })
    };
    outputs.boxes.chunks_exact(outputs.columns).enumerate().filter_map(one).collect()
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked to lie within the classes"
)]
#[expect(clippy::cast_precision_loss, reason = "class counts are small")]
fn class_of(value: f32, classes: usize) -> Option<usize> {
    // Exporters write the class index as a float; f16 may be off by a fraction.
    let rounded = value.round();
    (rounded >= 0.0 && rounded < classes as f32).then_some(rounded as usize)
}

/// A class and its probability from the logits of a query.
type BestOf = fn(&[f32]) -> Option<(usize, f32)>;

fn detr(outputs: &Outputs<'_>, letterbox: &Letterbox, conf: f32, best_of: BestOf) -> Vec<ModelBox> {
    let one = |(anchor, (row, logits)): (usize, (&[f32], &[f32]))| {
        let (class, score) = best_of(logits)?;
        (score >= conf).then(|| found_at(anchor, class, score, shares_in_px(row, letterbox)))
    };
    let rows = outputs.boxes.chunks_exact(4).zip(outputs.scores.chunks_exact(outputs.columns));
    rows.enumerate().filter_map(one).collect()
}

fn sigmoid_of_best(logits: &[f32]) -> Option<(usize, f32)> {
    // The sigmoid is monotonic, so the best logit is the best probability.
    let (class, logit) = best(logits)?;
    Some((class, 1.0 / (1.0 + (-logit).exp())))
}

/// The last column stands for "no object", which is never the answer.
fn softmax_of_best(logits: &[f32]) -> Option<(usize, f32)> {
    let (class, logit) = best(logits.split_last()?.1)?;
    // Softmax relative to the best logit: no exponent of the classes is positive, so nothing overflows.
    Some((class, 1.0 / logits.iter().map(|other| (other - logit).exp()).sum::<f32>()))
}

/// Centre and size, or corners, as shares of the input, in px of it.
#[expect(clippy::cast_precision_loss, reason = "sides are at most 4096")]
fn shares_in_px(shares: &[f32], letterbox: &Letterbox) -> [f32; 4] {
    let (width, height) = (letterbox.side_px.0 as f32, letterbox.side_px.1 as f32);
    [shares[0] * width, shares[1] * height, shares[2] * width, shares[3] * height]
}

fn rtdetr(outputs: &Outputs<'_>, letterbox: &Letterbox, conf: f32) -> Vec<ModelBox> {
    let one = |(anchor, row): (usize, &[f32])| {
        let (class, score) = best(&row[4..])?;
        (score >= conf).then(|| found_at(anchor, class, score, shares_in_px(row, letterbox)))
    };
    outputs.boxes.chunks_exact(outputs.columns).enumerate().filter_map(one).collect()
}

fn yolonas(outputs: &Outputs<'_>, conf: f32) -> Vec<ModelBox> {
    let one = |(anchor, (row, scores)): (usize, (&[f32], &[f32]))| {
        let (class, score) = best(scores)?;
        let corners = [row[0], row[1], row[2], row[3]];
        (score >= conf).then_some(ModelBox { anchor, class, conf: score, corners })
    };
    let rows = outputs.boxes.chunks_exact(4).zip(outputs.scores.chunks_exact(outputs.columns));
    rows.enumerate().filter_map(one).collect()
}

/// Centres are offsets from the upper left of a cell in cells, sizes their logarithms in cells.
///
/// Source: `YOLOXHead.decode_outputs` of YOLOX 0.3.0.
fn yolox(outputs: &Outputs<'_>, letterbox: &Letterbox, conf: f32) -> Vec<ModelBox> {
    let one = |found: ModelBox| {
        let corners = grid_corners(found.anchor, coordinates(outputs, found.anchor), letterbox)?;
        Some(ModelBox { corners, ..found })
    };
    // Rows are as in YOLOv5, and only the coordinates differ: they are decoded for boxes above the threshold alone.
    yolov5(outputs, conf).into_iter().filter_map(one).collect()
}

/// Corners in px, from the numbers of YOLOX.
fn grid_corners(anchor: usize, [x, y, w, h]: [f32; 4], letterbox: &Letterbox) -> Option<[f32; 4]> {
    let (left, top, stride) = cell(anchor, letterbox.side_px)?;
    let (x, y) = ((x + left) * stride, (y + top) * stride);
    let (w, h) = (w.exp() * stride, h.exp() * stride);
    Some([x - w / 2.0, y - h / 2.0, x + w / 2.0, y + h / 2.0])
}

/// Column, row and stride of an anchor's cell in the grids of the strides 8, 16, 32 and 64, one after the other.
#[expect(clippy::cast_precision_loss, reason = "cells are fewer than 2^24")]
fn cell(anchor: usize, side_px: (u32, u32)) -> Option<(f32, f32, f32)> {
    // The grids stand one after the other, the finest first; `first` is the first anchor of the current one.
    let mut first = 0;
    for stride in [8_u32, 16, 32, 64] {
        let (columns, lines) = ((side_px.0 / stride) as usize, (side_px.1 / stride) as usize);
        let at = anchor.checked_sub(first)?;
        if at < columns * lines {
            return Some(((at % columns) as f32, (at / columns) as f32, stride as f32));
        }
        first += columns * lines;
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{ProptestConfig, prop_assert_eq, proptest};

    use super::super::layout::Layout;
    use super::super::letterbox::Letterbox;
    use super::super::nms::Candidate;
    use super::{BoxUnits, Outputs, candidates};

    /// A frame twice as large as the model's input, without padding.
    fn twice() -> Letterbox {
        Letterbox::fit((128, 128), (64, 64)).unwrap()
    }

    fn read(layout: Layout, boxes: &[f32], scores: &[f32], columns: usize, conf: f32) -> Vec<Candidate> {
        let units = BoxUnits::Pixels;
        candidates(&Outputs { layout, units, boxes, scores, columns, classes: 2 }, &twice(), conf)
    }

    fn parts_of(candidates: &[Candidate]) -> Vec<(usize, usize, f32, [f32; 4])> {
        let parts = |c: &Candidate| (c.anchor, c.class, c.conf, [c.bbox.x1, c.bbox.y1, c.bbox.x2, c.bbox.y2]);
        candidates.iter().map(parts).collect()
    }

    const NAN: f32 = f32::NAN;
    const INF: f32 = f32::INFINITY;

    #[test]
    fn boxes_in_shares_are_those_in_px() {
        let side = 64.0;
        let one_row = |shares: [f32; 4], rest: &[f32]| [&shares[..], rest].concat();
        let (centre, corners) = ([0.5, 0.5, 0.25, 0.125], [0.375, 0.4375, 0.625, 0.5625]);
        let cases = [
            (Layout::Yolov8, one_row(centre, &[0.9, 0.0]), 1),
            (Layout::Yolov5, one_row(centre, &[1.0, 0.9, 0.0]), 7),
            (Layout::Nms, one_row(corners, &[0.9, 0.0]), 6),
            (Layout::Yolonas, corners.to_vec(), 2),
        ];
        for (layout, shares, columns) in cases {
            let px: Vec<f32> =
                shares.iter().enumerate().map(|(i, n)| if i < 4 { n * side } else { *n }).collect();
            let by = |units, boxes: &[f32]| {
                let scores = if layout == Layout::Yolonas { &[0.9, 0.0] } else { boxes };
                let outputs = Outputs { layout, units, boxes, scores, columns, classes: 2 };
                parts_of(&candidates(&outputs, &twice(), 0.5))
            };
            let found = by(BoxUnits::Normalized, &shares);
            assert_eq!(found, [(0, 0, 0.9, [48.0, 56.0, 80.0, 72.0])], "{layout}");
            assert_eq!(found, by(BoxUnits::Pixels, &px), "{layout}");
        }
    }

    #[test]
    fn yolov8_gives_the_best_class_of_each_anchor() {
        #[rustfmt::skip]
        let output = [
            10.0, 20.0, 30.0, 40.0, NAN,  // cx
            10.0, 20.0, 30.0, 40.0, 10.0, // cy
             4.0,  4.0,  4.0,  4.0,  4.0, // w
             8.0,  8.0,  8.0,  8.0,  8.0, // h
             0.9,  0.3,  0.6,  NAN,  0.9, // class 0
             0.5,  0.4,  0.6,  INF,  0.1, // class 1
        ];
        let seen = read(Layout::Yolov8, &output, &output, 5, 0.4);
        let want = [
            (0, 0, 0.9, [16.0, 12.0, 24.0, 28.0]),
            (1, 1, 0.4, [36.0, 32.0, 44.0, 48.0]),
            (2, 0, 0.6, [56.0, 52.0, 64.0, 68.0]),
        ];
        assert_eq!(parts_of(&seen), want);
        assert_eq!(parts_of(&read(Layout::Yolov8, &output, &output, 5, 0.7)), want[..1]);
    }

    #[test]
    fn yolov5_multiplies_by_objectness() {
        #[rustfmt::skip]
        let output = [
            10.0, 10.0, 4.0, 8.0, 1.0, 0.5, 0.9,
            20.0, 20.0, 4.0, 8.0, 0.5, 0.5, 0.9, // 0.45
            20.0, 20.0, 4.0, 8.0, 0.5, 0.7, 0.7, // 0.35
            20.0, 20.0, 4.0, 8.0, NAN, 0.9, 0.9,
            20.0, 20.0, 4.0, 8.0, 1.0, NAN, 0.8,
            20.0, 20.0, INF, 8.0, 1.0, 0.9, 0.9,
        ];
        let seen = read(Layout::Yolov5, &output, &output, 7, 0.4);
        let at = [36.0, 32.0, 44.0, 48.0];
        let want = [(0, 1, 0.9, [16.0, 12.0, 24.0, 28.0]), (1, 1, 0.45, at), (4, 1, 0.8, at)];
        assert_eq!(parts_of(&seen), want);
    }

    #[test]
    fn nms_gives_corners_and_drops_classes_that_are_not_there() {
        #[rustfmt::skip]
        let output = [
             8.0, 6.0, 12.0, 14.0, 0.9, 1.0,
            -8.0, 6.0, 99.0, 14.0, 0.5, 0.0, // over the edges
             8.0, 6.0, 12.0, 14.0, 0.3, 0.0, // weak
             8.0, 6.0, 12.0, 14.0, 0.9, 2.0,
             8.0, 6.0, 12.0, 14.0, 0.9, -1.0,
             8.0, 6.0, 12.0, 14.0, 0.9, NAN,
             8.0, 6.0, 12.0, 14.0, NAN, 0.0,
        ];
        let seen = read(Layout::Nms, &output, &output, 6, 0.4);
        assert_eq!(
            parts_of(&seen),
            [(0, 1, 0.9, [16.0, 12.0, 24.0, 28.0]), (1, 0, 0.5, [0.0, 12.0, 128.0, 28.0])]
        );
        assert_eq!(read(Layout::Nms, &[], &[], 6, 0.4), []);
    }

    #[test]
    fn detr_takes_the_sigmoid_and_fractions_of_the_input() {
        #[rustfmt::skip]
        let boxes = [
            0.5, 0.25, 0.125, 0.25,
            0.5, 0.25, 0.125, 0.25,
            NAN, 0.25, 0.125, 0.25,
        ];
        let logits = [0.0, -9.0, -9.0, -8.0, 0.0, 0.0];
        let seen = read(Layout::Detr, &boxes, &logits, 2, 0.5);
        assert_eq!(parts_of(&seen), [(0, 0, 0.5, [56.0, 16.0, 72.0, 48.0])]);
    }

    #[test]
    fn detr_of_no_object_takes_the_softmax() {
        let boxes = [0.5, 0.25, 0.125, 0.25, 0.5, 0.25, 0.125, 0.25];
        let nothing = f32::NEG_INFINITY;
        let logits = [1.0, nothing, 0.0, 0.0, 0.0, 9.0];
        let seen = read(Layout::DetrSoftmax, &boxes, &logits, 3, 0.5);
        assert_eq!(parts_of(&seen), [(0, 0, 1.0 / (1.0 + (-1.0_f32).exp()), [56.0, 16.0, 72.0, 48.0])]);
    }

    #[test]
    fn rtdetr_has_probabilities_and_fractions_of_the_input() {
        #[rustfmt::skip]
        let output = [
            0.5, 0.25, 0.125, 0.25, 0.2, 0.9,
            0.5, 0.25, 0.125, 0.25, 0.2, 0.3,
            NAN, 0.25, 0.125, 0.25, 0.9, 0.1,
        ];
        let seen = read(Layout::Rtdetr, &output, &output, 6, 0.4);
        assert_eq!(parts_of(&seen), [(0, 1, 0.9, [56.0, 16.0, 72.0, 48.0])]);
    }

    #[test]
    fn yolonas_has_corners_and_probabilities() {
        let boxes = [8.0, 6.0, 12.0, 14.0, 8.0, 6.0, 12.0, 14.0];
        let seen = read(Layout::Yolonas, &boxes, &[0.1, 0.6, 0.3, 0.2], 2, 0.4);
        assert_eq!(parts_of(&seen), [(0, 1, 0.6, [16.0, 12.0, 24.0, 28.0])]);
        assert_eq!(read(Layout::Yolonas, &boxes, &[0.001; 4], 2, 0.4), [], "no sigmoid of a probability");
    }

    #[test]
    fn yolox_adds_the_grid() {
        // An input of 64 px has 8 x 8, 4 x 4 and 2 x 2 cells.
        let mut output = vec![0.0; 84 * 7];
        let mut put = |anchor: usize, row: [f32; 7]| output[anchor * 7..][..7].copy_from_slice(&row);
        put(8 + 2, [0.5, 0.5, 0.0, (2.0_f32).ln(), 1.0, 0.9, 0.1]);
        put(64 + 4 + 1, [0.0, 0.5, 0.0, 0.0, 0.5, 0.1, 1.0]);
        put(83, [0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.7]);
        let seen = read(Layout::Yolox, &output, &output, 7, 0.4);
        let want = [
            (10, 0, 0.9, [32.0, 8.0, 48.0, 40.0]),
            (69, 1, 0.5, [16.0, 32.0, 48.0, 64.0]),
            (83, 1, 0.7, [32.0, 32.0, 96.0, 96.0]),
        ];
        assert_eq!(parts_of(&seen), want);
    }

    /// Anchor by anchor, class by class.
    fn naive_yolov8(output: &[f32], anchors: usize, classes: usize, conf: f32) -> Vec<(usize, usize, f32)> {
        let mut seen = Vec::new();
        for anchor in 0..anchors {
            let mut best = (0, output[4 * anchors + anchor]);
            for class in 1..classes {
                let score = output[(4 + class) * anchors + anchor];
                if score > best.1 {
                    best = (class, score);
                }
            }
            if best.1 >= conf {
                seen.push((anchor, best.0, best.1));
            }
        }
        seen
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn yolov8_is_as_anchor_by_anchor(
            anchors in 1usize..100, classes in 1usize..6, seed in proptest::collection::vec(0u8..8, 600), conf in 0.1f32..0.9,
        ) {
            let scores = seed.iter().map(|level| f32::from(*level) / 8.0);
            let output: Vec<f32> =
                (0..4).flat_map(|_| vec![10.0; anchors]).chain(scores.take(classes * anchors)).collect();
            let outputs = Outputs { layout: Layout::Yolov8, units: BoxUnits::Pixels, boxes: &output, scores: &output, columns: anchors, classes };
            let seen: Vec<_> =
                candidates(&outputs, &twice(), conf).iter().map(|c| (c.anchor, c.class, c.conf)).collect();
            prop_assert_eq!(seen, naive_yolov8(&output, anchors, classes, conf));
        }
    }
}
