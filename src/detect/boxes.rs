//! A model's outputs as boxes.

use super::layout::Layout;
use super::letterbox::Letterbox;
use super::nms::Candidate;

/// The outputs for one picture.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outputs<'a> {
    pub(super) layout: Layout,
    /// The output with the boxes, row-major, without the batch.
    pub(super) boxes: &'a [f32],
    /// The output with the scores; that of the boxes except for [`Layout::Detr`].
    pub(super) scores: &'a [f32],
    /// Columns of `scores`.
    pub(super) columns: usize,
    pub(super) classes: usize,
}

/// The boxes with at least `conf`, in frame px, clipped to the frame. Without those that are not finite or outside.
///
/// Each anchor gives at most one, of its best class; of equal classes the first.
pub(super) fn candidates(outputs: &Outputs<'_>, letterbox: &Letterbox, conf: f32) -> Vec<Candidate> {
    let found = match outputs.layout {
        Layout::Yolov8 => yolov8(outputs, conf),
        Layout::Yolov5 => yolov5(outputs, conf),
        Layout::Nms => nms(outputs, conf),
        Layout::Detr => detr(outputs, letterbox, conf),
    };
    let in_frame = |found: Found| {
        let bbox = found.conf.is_finite().then(|| letterbox.box_to_frame(found.corners)).flatten()?;
        Some(Candidate { anchor: found.anchor, class: found.class, conf: found.conf, bbox })
    };
    found.into_iter().filter_map(in_frame).collect()
}

/// A box in model px: x1, y1, x2, y2.
struct Found {
    anchor: usize,
    class: usize,
    conf: f32,
    corners: [f32; 4],
}

/// Anchors that are looked at together: one vectorised comparison tells that none of them counts, which is the rule.
const BLOCK: usize = 32;

fn yolov8(outputs: &Outputs<'_>, conf: f32) -> Vec<Found> {
    let anchors = outputs.columns;
    let (boxes, scores) = outputs.boxes.split_at(4 * anchors);
    let mut hits = Vec::new();
    for (class, plane) in scores.chunks_exact(anchors.max(1)).enumerate() {
        for (i, block) in plane.chunks(BLOCK).enumerate() {
            if block.iter().fold(false, |any, score| any | (*score >= conf)) {
                let above = block.iter().enumerate().filter(|(_, score)| **score >= conf);
                hits.extend(above.map(|(at, score)| (i * BLOCK + at, class, *score)));
            }
        }
    }
    let coordinates = |anchor: usize| [0, 1, 2, 3].map(|row| boxes[row * anchors + anchor]);
    best_of_each(hits).map(|(anchor, class, conf)| found(anchor, class, conf, coordinates(anchor))).collect()
}

/// The best class of each anchor; of equal ones the first.
fn best_of_each(mut hits: Vec<(usize, usize, f32)>) -> impl Iterator<Item = (usize, usize, f32)> {
    hits.sort_unstable_by(|a, b| a.0.cmp(&b.0).then(b.2.total_cmp(&a.2)).then(a.1.cmp(&b.1)));
    hits.dedup_by_key(|hit| hit.0);
    hits.into_iter()
}

/// A box given by its centre and size.
fn found(anchor: usize, class: usize, conf: f32, [x, y, w, h]: [f32; 4]) -> Found {
    let corners = [x - w / 2.0, y - h / 2.0, x + w / 2.0, y + h / 2.0];
    Found { anchor, class, conf, corners }
}

fn yolov5(outputs: &Outputs<'_>, conf: f32) -> Vec<Found> {
    let one = |(anchor, row): (usize, &[f32])| {
        let objectness = row[4];
        if objectness.is_nan() || objectness < conf {
            return None;
        }
        let (class, score) = best(&row[5..])?;
        let conf_here = objectness * score;
        (conf_here >= conf).then(|| found(anchor, class, conf_here, [row[0], row[1], row[2], row[3]]))
    };
    outputs.boxes.chunks_exact(outputs.columns).enumerate().filter_map(one).collect()
}

/// The highest score and its index; the first of equal ones. `None` where there is no number.
fn best(scores: &[f32]) -> Option<(usize, f32)> {
    let numbers = scores.iter().copied().enumerate().filter(|(_, score)| !score.is_nan());
    numbers.reduce(|best, next| if next.1 > best.1 { next } else { best })
}

fn nms(outputs: &Outputs<'_>, conf: f32) -> Vec<Found> {
    let one = |(anchor, row): (usize, &[f32])| {
        let class = class_of(row[5], outputs.classes)?;
        let corners = [row[0], row[1], row[2], row[3]];
        (row[4] >= conf).then_some(Found { anchor, class, conf: row[4], corners })
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
    let rounded = value.round();
    (rounded >= 0.0 && rounded < classes as f32).then_some(rounded as usize)
}

#[expect(clippy::cast_precision_loss, reason = "sides are at most 4096")]
fn detr(outputs: &Outputs<'_>, letterbox: &Letterbox, conf: f32) -> Vec<Found> {
    let (width, height) = (letterbox.side_px.0 as f32, letterbox.side_px.1 as f32);
    let one = |(anchor, (row, logits)): (usize, (&[f32], &[f32]))| {
        let (class, logit) = best(logits)?;
        let score = 1.0 / (1.0 + (-logit).exp());
        let centred = [row[0] * width, row[1] * height, row[2] * width, row[3] * height];
        (score >= conf).then(|| found(anchor, class, score, centred))
    };
    let rows = outputs.boxes.chunks_exact(4).zip(outputs.scores.chunks_exact(outputs.columns));
    rows.enumerate().filter_map(one).collect()
}
