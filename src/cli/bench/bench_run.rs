//! The measurements of one pass over the clip, and statistics over several passes.

use std::time::Duration;

use crate::base::Took;

/// Measurements of one pass of one side over the clip.
#[derive(Clone, Debug, Default)]
pub(super) struct BenchRun {
    /// Frames that were decoded, or needed no decoding.
    pub(super) frames: usize,
    pub(super) inferences: usize,
    /// Boxes, or `None` for the baseline, which does not decode the model's output.
    pub(super) detections: Option<usize>,
    /// CPU time by stage, in the order of the pipeline.
    pub(super) stages: Vec<(&'static str, Duration)>,
    /// Time of the whole process, including the work between the stages.
    pub(super) total: Took,
}

/// The median of each measurement over the passes of one side.
#[derive(Clone, Debug)]
pub(super) struct Medians {
    pub(super) frames: usize,
    pub(super) inferences: usize,
    pub(super) detections: Option<usize>,
    /// CPU ms per pass by stage; the last entry is the time between the stages.
    pub(super) stages: Vec<(&'static str, f64)>,
    /// CPU ms per pass.
    pub(super) cpu_ms: f64,
    /// Wall-clock ms per pass.
    pub(super) wall_ms: f64,
}

impl BenchRun {
    fn stage_ms(&self) -> impl Iterator<Item = (&'static str, f64)> {
        let stages = self.stages.iter().map(|(name, cpu)| (*name, ms(*cpu)));
        // Stages are measured per thread and the total per process. The difference is the work between the stages.
        let all: Duration = self.stages.iter().map(|(_, cpu)| cpu).sum();
        stages.chain([("between them", ms(self.total.cpu.saturating_sub(all)))])
    }
}

impl Medians {
    /// Returns the medians, or `None` without a run.
    pub(super) fn of(runs: &[BenchRun]) -> Option<Self> {
        let first = runs.first()?;
        let median_of = |number: &dyn Fn(&BenchRun) -> f64| median(runs.iter().map(number).collect());
        let stage = |(at, (name, _)): (usize, (&'static str, f64))| {
            (name, median_of(&|run| run.stage_ms().nth(at).map_or(0.0, |(_, cpu)| cpu)))
        };
        Some(Self {
            frames: first.frames,
            inferences: first.inferences,
            detections: first.detections,
            stages: first.stage_ms().enumerate().map(stage).collect(),
            cpu_ms: median_of(&|run| ms(run.total.cpu)),
            wall_ms: median_of(&|run| ms(run.total.wall)),
        })
    }
}

/// Returns the minimum, median and maximum of the CPU time ratios of adjacent runs of the pipeline and the baseline.
pub(super) fn ratios(pipeline: &[BenchRun], baseline: &[BenchRun]) -> Option<[f64; 3]> {
    let ratio = |(ours, theirs): (&BenchRun, &BenchRun)| {
        ours.total.cpu.as_secs_f64() / theirs.total.cpu.as_secs_f64()
    };
    // Adjacent runs are compared, because other load on the machine affects both alike.
    let mut ratios: Vec<f64> = pipeline.iter().zip(baseline).map(ratio).collect();
    ratios.sort_by(f64::total_cmp);
    Some([*ratios.first()?, median(ratios.clone()), *ratios.last()?])
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// Returns the median: of an even number of values the mean of the middle two, of none 0.
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

    fn run(decode_ms: u64, infer_ms: u64, total_ms: u64) -> BenchRun {
        let cpu = Duration::from_millis;
        BenchRun {
            frames: 50,
            inferences: 10,
            detections: Some(3),
            stages: vec![("decode", cpu(decode_ms)), ("infer", cpu(infer_ms))],
            total: Took { wall: cpu(2 * total_ms), cpu: cpu(total_ms) },
        }
    }

    #[test]
    fn medians_by_table() {
        for (values, wanted) in
            [(vec![], 0.0), (vec![4.0], 4.0), (vec![9.0, 1.0], 5.0), (vec![7.0, 1.0, 2.0], 2.0)]
        {
            assert_eq!(median(values.clone()), wanted, "{values:?}");
        }
    }

    #[test]
    fn time_of_no_stage_is_between_them() {
        let medians = Medians::of(&[run(10, 20, 35), run(12, 20, 40), run(11, 90, 101)]).unwrap();
        assert_eq!(medians.stages, [("decode", 11.0), ("infer", 20.0), ("between them", 5.0)]);
        assert_eq!((medians.cpu_ms, medians.wall_ms), (40.0, 80.0));
        assert!(Medians::of(&[]).is_none());
    }

    #[test]
    fn adjacent_runs_are_compared() {
        let (pipeline, baseline) =
            ([run(0, 0, 105), run(0, 0, 220), run(0, 0, 408)], [100, 200, 400].map(|ms| run(0, 0, ms)));
        let percent = ratios(&pipeline, &baseline).map(|ratios| ratios.map(|ratio| (ratio * 100.0).round()));
        assert_eq!(percent, Some([102.0, 105.0, 110.0]));
        assert_eq!(ratios(&[], &[]), None);
    }
}
