//! Non-maximum suppression: of boxes of one class that overlap, the most confident stays.

use std::cmp::Ordering;

use crate::media::BBox;

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
    /// The bounding box, frame px.
    pub bbox: BBox,
}

/// Keeps, class by class, the boxes that overlap no better one by `iou` or more; best first, ties by anchor.
///
/// Of more than [`MAX_CANDIDATES`] only the best are compared. The order of `candidates` does not matter.
#[must_use]
pub fn suppress(mut candidates: Vec<Candidate>, iou: f32) -> Vec<Candidate> {
    // Suppression is quadratic: the bound keeps a hostile or untrained model from blocking its worker.
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
    // Equal confidences are ordered by anchor and class, so that the order of the input makes no difference.
    b.conf.total_cmp(&a.conf).then(a.anchor.cmp(&b.anchor)).then(a.class.cmp(&b.class))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{ProptestConfig, Strategy, prop_assert_eq, proptest};

    use super::{Candidate, MAX_CANDIDATES, suppress};
    use crate::media::BBox;

    fn candidate(anchor: usize, class: usize, conf: f32, [x1, y1, x2, y2]: [f32; 4]) -> Candidate {
        Candidate { anchor, class, conf, bbox: BBox { x1, y1, x2, y2 } }
    }

    const AT: [f32; 4] = [0.0, 0.0, 10.0, 10.0];
    /// IoU with `AT`: 1/3.
    const ASIDE: [f32; 4] = [5.0, 0.0, 15.0, 10.0];
    const AWAY: [f32; 4] = [50.0, 50.0, 60.0, 60.0];

    #[test]
    fn the_best_of_what_overlaps_stays() {
        let cases: [(&str, Vec<Candidate>, f32, &[usize]); 8] = [
            ("nothing", vec![], 0.5, &[]),
            ("twice the same", vec![candidate(0, 0, 0.8, AT), candidate(1, 0, 0.9, AT)], 0.5, &[1]),
            ("other class", vec![candidate(0, 0, 0.8, AT), candidate(1, 1, 0.9, AT)], 0.5, &[1, 0]),
            ("away", vec![candidate(0, 0, 0.8, AT), candidate(1, 0, 0.9, AWAY)], 0.5, &[1, 0]),
            ("overlap below", vec![candidate(0, 0, 0.9, AT), candidate(1, 0, 0.8, ASIDE)], 0.34, &[0, 1]),
            (
                "overlap just reached",
                vec![candidate(0, 0, 0.9, AT), candidate(1, 0, 0.8, ASIDE)],
                1.0 / 3.0,
                &[0],
            ),
            (
                "tie goes to the first anchor",
                vec![candidate(7, 0, 0.9, AT), candidate(3, 0, 0.9, AT)],
                0.5,
                &[3],
            ),
            (
                "what is gone removes nothing",
                vec![
                    candidate(0, 0, 0.9, AT),
                    candidate(1, 0, 0.8, ASIDE),
                    candidate(2, 0, 0.7, [10.0, 0.0, 20.0, 10.0]),
                ],
                0.3,
                &[0, 2],
            ),
        ];
        for (name, candidates, iou, want) in cases {
            let kept: Vec<_> = suppress(candidates, iou).iter().map(|kept| kept.anchor).collect();
            assert_eq!(kept, want, "{name}");
        }
    }

    #[test]
    fn of_too_many_the_best_are_looked_at() {
        let apart = |i: usize| {
            let x = 20.0 * i as f32;
            candidate(i, 0, 0.3 + 0.5 * (i % 7) as f32 / 7.0, [x, 0.0, x + 10.0, 10.0])
        };
        let kept = suppress((0..3 * MAX_CANDIDATES).map(apart).collect(), 0.5);
        assert_eq!(kept.len(), MAX_CANDIDATES);
        let mut all: Vec<_> = (0..3 * MAX_CANDIDATES).map(apart).collect();
        all.sort_by(|a, b| b.conf.total_cmp(&a.conf).then(a.anchor.cmp(&b.anchor)));
        assert_eq!(kept, all[..MAX_CANDIDATES]);
    }

    /// The definition: again and again, the best of what is left stays and takes what overlaps it.
    fn naive(mut left: Vec<Candidate>, iou: f32) -> Vec<Candidate> {
        let mut kept = Vec::new();
        while !left.is_empty() {
            let mut best = left[0];
            for other in &left {
                let ahead = (other.conf, std::cmp::Reverse((other.anchor, other.class)));
                if ahead > (best.conf, std::cmp::Reverse((best.anchor, best.class))) {
                    best = *other;
                }
            }
            kept.push(best);
            left.retain(|other| {
                *other != best && (other.class != best.class || best.bbox.iou(&other.bbox) < iou)
            });
        }
        kept
    }

    fn candidates() -> impl Strategy<Value = Vec<Candidate>> {
        let one = (0usize..3, 1u8..6, [0u8..20, 0u8..20], [1u8..12, 1u8..12]);
        proptest::collection::vec(one, 0..40).prop_map(|all| {
            let make = |(anchor, (class, conf, [x, y], [w, h])): (usize, (usize, u8, [u8; 2], [u8; 2]))| {
                let corners = [x, y, x + w, y + h].map(f32::from);
                candidate(anchor, class, f32::from(conf) / 8.0, corners)
            };
            all.into_iter().enumerate().map(make).collect()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn is_as_the_definition(candidates in candidates(), iou in 0.05f32..=1.0) {
            prop_assert_eq!(suppress(candidates.clone(), iou), naive(candidates, iou));
        }

        #[test]
        fn the_order_of_what_comes_does_not_matter(candidates in candidates(), turn in 0usize..40) {
            let mut turned = candidates.clone();
            if !turned.is_empty() {
                let by = turn % turned.len();
                turned.rotate_left(by);
            }
            prop_assert_eq!(suppress(candidates, 0.4), suppress(turned, 0.4));
        }
    }
}
