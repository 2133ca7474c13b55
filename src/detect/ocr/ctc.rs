//! Greedy CTC decoding of a recognition model's output: the likeliest class per step, repeats merged, blanks left out.
//!
//! Source: Graves et al., Connectionist Temporal Classification, 2006, section 3.2 (best path decoding).

/// The class that stands for nothing.
pub(super) const BLANK: usize = 0;

/// A class that was read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CtcStep {
    /// Its index, never that of the blank, 0.
    pub class: usize,
    /// Its probability at the first step of its run, 0..=1.
    pub conf: f32,
}

/// Returns the classes that the steps stand for, in their order.
///
/// `scores` has `classes` numbers per step: probabilities, or logits where `logits` says so. Of equals the first counts; what is
/// no number never does.
#[must_use]
pub fn steps(scores: &[f32], classes: usize, logits: bool) -> Vec<CtcStep> {
    let mut read = Vec::new();
    let mut last = BLANK;
    for step in scores.chunks_exact(classes.max(1)) {
        let class = likeliest(step);
        if class != BLANK && class != last {
            read.push(CtcStep { class, conf: probability(step, class, logits) });
        }
        // The blank, too: it separates two equal characters, which would merge otherwise.
        last = class;
    }
    read
}

/// Returns whether each step is already a distribution: nothing below 0 or above 1, sum 1. `f16` may be a hundredth off.
pub(super) fn are_probabilities(scores: &[f32], classes: usize) -> bool {
    const OFF: f32 = 0.02;
    let is_one = |step: &[f32]| {
        let within = step.iter().all(|score| (-OFF..=1.0 + OFF).contains(score));
        within && (step.iter().sum::<f32>() - 1.0).abs() <= OFF
    };
    scores.chunks_exact(classes.max(1)).all(is_one)
}

fn likeliest(step: &[f32]) -> usize {
    let mut best = (BLANK, f32::NEG_INFINITY);
    for (class, score) in step.iter().enumerate() {
        if *score > best.1 {
            best = (class, *score);
        }
    }
    best.0
}

fn probability(step: &[f32], class: usize, logits: bool) -> f32 {
    let score = step[class];
    // `class` has the best score, so no exponent is positive and nothing overflows.
    let conf = if logits { 1.0 / step.iter().map(|other| (other - score).exp()).sum::<f32>() } else { score };
    if conf.is_nan() { 0.0 } else { conf.clamp(0.0, 1.0) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{ProptestConfig, prop, prop_assert, prop_assert_eq, proptest};

    use super::{CtcStep, are_probabilities, steps};

    /// Of `classes` probabilities, `conf` for `class` and the rest shared by the others.
    fn one(class: usize, conf: f32, classes: usize) -> Vec<f32> {
        let rest = (1.0 - conf) / (classes - 1) as f32;
        (0..classes).map(|other| if other == class { conf } else { rest }).collect()
    }

    /// Classes and their confidence.
    type Path = &'static [(usize, f32)];

    fn read(path: Path) -> Vec<(usize, f32)> {
        let scores: Vec<f32> = path.iter().flat_map(|&(class, conf)| one(class, conf, 4)).collect();
        steps(&scores, 4, false).iter().map(|step| (step.class, step.conf)).collect()
    }

    #[test]
    fn runs_are_one_and_blanks_divide() {
        let cases: [(&str, Path, Path); 7] = [
            ("nothing", &[], &[]),
            ("blanks", &[(0, 0.9), (0, 0.8)], &[]),
            ("a run", &[(2, 0.6), (2, 0.9), (2, 0.7)], &[(2, 0.6)]),
            ("twice", &[(2, 0.6), (0, 0.9), (2, 0.7)], &[(2, 0.6), (2, 0.7)]),
            ("neighbours", &[(1, 0.6), (2, 0.9), (1, 0.7)], &[(1, 0.6), (2, 0.9), (1, 0.7)]),
            ("blanks around", &[(0, 0.5), (3, 0.9), (0, 0.5)], &[(3, 0.9)]),
            ("the last class", &[(3, 0.9), (3, 0.9)], &[(3, 0.9)]),
        ];
        for (name, path, wanted) in cases {
            assert_eq!(read(path), wanted, "{name}");
        }
    }

    #[test]
    fn odd_numbers_are_no_text() {
        let cases: [(&str, [f32; 3], bool, Vec<CtcStep>); 6] = [
            ("none", [f32::NAN; 3], false, vec![]),
            ("one", [f32::NAN, 0.4, f32::NAN], false, vec![CtcStep { class: 1, conf: 0.4 }]),
            ("one of logits", [f32::NAN, 0.4, 0.1], true, vec![CtcStep { class: 1, conf: 0.0 }]),
            ("endless", [0.0, f32::INFINITY, 0.0], true, vec![CtcStep { class: 1, conf: 0.0 }]),
            ("too much", [0.0, 1.5, 0.0], false, vec![CtcStep { class: 1, conf: 1.0 }]),
            ("equals", [0.1, 0.4, 0.4], false, vec![CtcStep { class: 1, conf: 0.4 }]),
        ];
        for (name, scores, logits, wanted) in cases {
            assert_eq!(steps(&scores, 3, logits), wanted, "{name}");
        }
        assert_eq!(steps(&[1.0], 0, false), vec![], "no classes");
        assert_eq!(steps(&[0.1, 0.2], 3, false), vec![], "no whole step");
    }

    #[test]
    fn probabilities_are_distinguished_from_logits() {
        let cases = [
            ("probabilities", vec![0.2, 0.3, 0.5, 1.0, 0.0, 0.0], true),
            ("rounded", vec![0.205, 0.3, 0.5, 0.99, 0.0, 0.0], true),
            ("logits", vec![0.2, 0.3, 0.5, 3.0, -2.0, 0.0], false),
            ("small logits", vec![0.2, 0.3, 0.5, 0.1, 0.1, 0.1], false),
            ("logits that make one", vec![-1.0, 1.5, 0.5], false),
            ("no numbers", vec![f32::NAN; 3], false),
        ];
        for (name, scores, wanted) in cases {
            assert_eq!(are_probabilities(&scores, 3), wanted, "{name}");
        }
    }

    /// The definition, slowly: the path of the likeliest classes; out of it runs, then blanks.
    fn obvious(scores: &[f32], classes: usize, logits: bool) -> Vec<(usize, f64)> {
        let rows: Vec<Vec<f64>> =
            scores.chunks(classes).map(|row| row.iter().map(|x| f64::from(*x)).collect()).collect();
        let shares = |row: &Vec<f64>| {
            let all: f64 = row.iter().map(|x| x.exp()).sum();
            row.iter().map(|x| if logits { x.exp() / all } else { *x }).collect::<Vec<f64>>()
        };
        let highest = |row: &Vec<f64>| row.iter().copied().fold(f64::MIN, f64::max);
        let mut path: Vec<(usize, f64)> = rows
            .iter()
            .map(|row| {
                let class = row.iter().position(|x| *x == highest(row)).unwrap();
                (class, shares(row)[class])
            })
            .collect();
        path.dedup_by_key(|(class, _)| *class);
        path.retain(|(class, _)| *class != 0);
        path
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn as_the_obvious_twin(
            classes in 1_usize..6, coarse in prop::collection::vec(0_u8..6, 0..60), logits in prop::bool::ANY,
        ) {
            let whole = coarse.len() / classes * classes;
            let scores: Vec<f32> = coarse[..whole].iter().map(|level| f32::from(*level) / 5.0).collect();
            let (fast, slow) = (steps(&scores, classes, logits), obvious(&scores, classes, logits));
            prop_assert_eq!(fast.len(), slow.len());
            for (step, (class, conf)) in fast.iter().zip(slow) {
                prop_assert_eq!(step.class, class);
                prop_assert!((f64::from(step.conf) - conf).abs() < 1e-5, "{step:?}, {conf}");
            }
        }
    }
}
