//! What one run through the clip took.

use std::time::Duration;

use crate::base::Took;

/// One run of one side.
#[derive(Clone, Debug, Default)]
pub(super) struct Account {
    /// Frames that came out of the decoder.
    pub(super) frames: usize,
    /// Inferences.
    pub(super) inferences: usize,
    /// Boxes; `None` on the side that makes none.
    pub(super) detections: Option<usize>,
    /// CPU time by stage, in the order of the way.
    pub(super) stages: Vec<(&'static str, Duration)>,
    /// All threads, the stages and what lies between them.
    pub(super) total: Took,
}

/// The median of each number over the runs of one side.
#[derive(Clone, Debug)]
pub(super) struct Medians {
    pub(super) frames: usize,
    pub(super) inferences: usize,
    pub(super) detections: Option<usize>,
    /// CPU ms of a whole run by stage; last what lies between the stages.
    pub(super) stages: Vec<(&'static str, f64)>,
    /// CPU ms of a whole run.
    pub(super) cpu_ms: f64,
    /// Wall-clock ms of a whole run.
    pub(super) wall_ms: f64,
}

impl Account {
    fn stage_ms(&self) -> impl Iterator<Item = (&'static str, f64)> {
        let stages = self.stages.iter().map(|(name, cpu)| (*name, ms(*cpu)));
        let all: Duration = self.stages.iter().map(|(_, cpu)| cpu).sum();
        stages.chain([("between them", ms(self.total.cpu.saturating_sub(all)))])
    }
}

impl Medians {
    /// `None` where there was no run.
    pub(super) fn of(runs: &[Account]) -> Option<Self> {
        let first = runs.first()?;
        let over = |number: &dyn Fn(&Account) -> f64| median(runs.iter().map(number).collect());
        let stage = |(at, (name, _)): (usize, (&'static str, f64))| {
            (name, over(&|run| run.stage_ms().nth(at).map_or(0.0, |(_, cpu)| cpu)))
        };
        Some(Self {
            frames: first.frames,
            inferences: first.inferences,
            detections: first.detections,
            stages: first.stage_ms().enumerate().map(stage).collect(),
            cpu_ms: over(&|run| ms(run.total.cpu)),
            wall_ms: over(&|run| ms(run.total.wall)),
        })
    }
}

/// The ratios of runs that went beside each other: the smallest, the median, the largest.
pub(super) fn ratios(ours: &[Account], alone: &[Account]) -> Option<[f64; 3]> {
    let ratio =
        |(ours, alone): (&Account, &Account)| ours.total.cpu.as_secs_f64() / alone.total.cpu.as_secs_f64();
    let mut ratios: Vec<f64> = ours.iter().zip(alone).map(ratio).collect();
    ratios.sort_by(f64::total_cmp);
    Some([*ratios.first()?, median(ratios.clone()), *ratios.last()?])
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// The middle one, of an even number the mean of the two; 0 of none.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match (values.get(values.len().saturating_sub(1) / 2), values.get(values.len() / 2)) {
        (Some(lower), Some(upper)) => f64::midpoint(*lower, *upper),
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(decode_ms: u64, infer_ms: u64, total_ms: u64) -> Account {
        let cpu = Duration::from_millis;
        Account {
            frames: 50,
            inferences: 10,
            detections: Some(3),
            stages: vec![("decode", cpu(decode_ms)), ("infer", cpu(infer_ms))],
            total: Took { wall: cpu(2 * total_ms), cpu: cpu(total_ms) },
        }
    }

    #[test]
    fn the_middle_counts() {
        for (values, wanted) in
            [(vec![], 0.0), (vec![4.0], 4.0), (vec![9.0, 1.0], 5.0), (vec![7.0, 1.0, 2.0], 2.0)]
        {
            assert_eq!(median(values.clone()), wanted, "{values:?}");
        }
    }

    #[test]
    fn what_no_stage_took_lies_between_them() {
        let medians = Medians::of(&[run(10, 20, 35), run(12, 20, 40), run(11, 90, 101)]).unwrap();
        assert_eq!(medians.stages, [("decode", 11.0), ("infer", 20.0), ("between them", 5.0)]);
        assert_eq!((medians.cpu_ms, medians.wall_ms), (40.0, 80.0));
        assert!(Medians::of(&[]).is_none());
    }

    #[test]
    fn runs_are_compared_with_those_beside_them() {
        let (ours, alone) =
            ([run(0, 0, 105), run(0, 0, 220), run(0, 0, 408)], [100, 200, 400].map(|ms| run(0, 0, ms)));
        let found = ratios(&ours, &alone).unwrap();
        let wanted = [1.02, 1.05, 1.1];
        assert!(found.iter().zip(wanted).all(|(found, wanted)| (found - wanted).abs() < 1e-9), "{found:?}");
        assert_eq!(ratios(&[], &[]), None);
    }
}
