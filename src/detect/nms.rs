//! Non-maximum suppression: of boxes of one class that overlap, the most confident stays.

use std::cmp::Ordering;

use crate::frame::BBox;

/// Boxes beyond these many, the least confident, are dropped before the suppression, which compares all with all.
pub const MAX_CANDIDATES: usize = 1000;

/// A box that passed the confidence threshold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// Its place in the model's output; breaks ties.
    pub anchor: usize,
    /// Index of its class.
    pub class: usize,
    /// Confidence, 0..=1; finite.
    pub conf: f32,
    /// Where, in frame px.
    pub bbox: BBox,
}

/// Keeps, class by class, the boxes that overlap no better one by `iou` or more; best first, ties by anchor.
///
/// Of more than [`MAX_CANDIDATES`] only the best are looked at. The order of `candidates` does not matter.
#[must_use]
pub fn suppress(mut candidates: Vec<Candidate>, iou: f32) -> Vec<Candidate> {
    if candidates.len() > MAX_CANDIDATES {
        candidates.select_nth_unstable_by(MAX_CANDIDATES, rank);
        candidates.truncate(MAX_CANDIDATES);
    }
    candidates.sort_unstable_by(rank);
    let mut kept: Vec<Candidate> = Vec::new();
    for candidate in candidates {
        let beaten =
            |better: &Candidate| better.class == candidate.class && better.bbox.iou(&candidate.bbox) >= iou;
        if !kept.iter().any(beaten) {
            kept.push(candidate);
        }
    }
    kept
}

fn rank(a: &Candidate, b: &Candidate) -> Ordering {
    b.conf.total_cmp(&a.conf).then(a.anchor.cmp(&b.anchor)).then(a.class.cmp(&b.class))
}
