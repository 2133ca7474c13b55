//! The moments of a pool's cameras and of its faults, and the times between them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::{Duration, Instant};

/// A process: the number of its worker, and how often that one was started before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Life {
    pub(crate) worker: usize,
    pub(crate) number: usize,
}

/// A moment in the life of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Moment {
    pub(crate) at: Instant,
    pub(crate) life: Life,
    pub(crate) what: Happening,
}

/// The kind of a moment. Those with a camera are lines of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Happening {
    Gained(String),
    FirstFrame(String),
    LastFrame(String),
    Left(String),
    /// SIGKILL was sent.
    Killed,
    /// SIGSTOP was sent, and SIGCONT is due after this time.
    Paused(Duration),
    /// SIGTERM was sent.
    Terminated,
}

/// Durations of which quantiles are printed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Durations(Vec<Duration>);

/// The figures of a pool.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct PoolFigures {
    /// From the death or pause of a camera's owner to the first frame at another process.
    pub(crate) takeovers: Durations,
    /// From the last frame at an owner that was asked to end to the first frame at its successor.
    pub(crate) hand_overs: Durations,
}

impl Happening {
    /// Returns what a line of the log says; `None`: nothing of interest here.
    pub(crate) fn of_line(message: &str, camera: &str) -> Option<Self> {
        let kind = match message {
            "camera gained" => Self::Gained,
            "first frame of the camera here" => Self::FirstFrame,
            "last frame of the camera here" => Self::LastFrame,
            "camera left" => Self::Left,
            _ => return None,
        };
        Some(kind(camera.to_owned()))
    }

    /// Returns the camera of a line of the log.
    fn camera(&self) -> Option<&str> {
        match self {
            Self::Gained(camera)
            | Self::FirstFrame(camera)
            | Self::LastFrame(camera)
            | Self::Left(camera) => Some(camera),
            Self::Killed | Self::Paused(_) | Self::Terminated => None,
        }
    }

    fn is_first_frame_of(&self, wanted: &str) -> bool {
        matches!(self, Self::FirstFrame(camera) if camera == wanted)
    }
}

impl PoolFigures {
    /// Measures the moments of a round, which are in order.
    pub(crate) fn of(moments: &[Moment]) -> Self {
        let mut figures = Self::default();
        for (index, moment) in moments.iter().enumerate() {
            let later = &moments[index + 1..];
            let longest = match moment.what {
                Happening::Killed => Duration::MAX,
                // A process that resumes before it is expelled keeps its cameras.
                Happening::Paused(time) => time,
                Happening::Terminated => {
                    figures.hand_overs.0.extend(hand_overs(moment.life, later));
                    continue;
                }
                _ => continue,
            };
            let cameras = owned(moment.life, &moments[..index]);
            let firsts = cameras.into_iter().filter_map(|camera| first_elsewhere(camera, moment.life, later));
            let times = firsts.map(|at| at - moment.at).filter(|time| *time <= longest);
            figures.takeovers.0.extend(times);
        }
        figures
    }

    /// Returns whether there were takeovers and hand-overs.
    pub(crate) fn has_both(&self) -> bool {
        !self.takeovers.0.is_empty() && !self.hand_overs.0.is_empty()
    }

    /// Adds those of another round.
    pub(crate) fn add(&mut self, other: Self) {
        self.takeovers.0.extend(other.takeovers.0);
        self.hand_overs.0.extend(other.hand_overs.0);
    }
}

impl fmt::Display for PoolFigures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "takeover {}; hand-over {}", self.takeovers, self.hand_overs)
    }
}

impl Durations {
    /// Returns the smallest duration that this share of them, in percent, do not exceed.
    fn percentile(&self, percent: usize) -> Option<Duration> {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        sorted.get((sorted.len() * percent).div_ceil(100).saturating_sub(1)).copied()
    }
}

impl fmt::Display for Durations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, percent) in [("p50", 50), ("p99", 99), ("max", 100)] {
            match self.percentile(percent) {
                Some(time) => write!(f, "{name} {:.2} s ", time.as_secs_f64())?,
                None => write!(f, "{name} - ")?,
            }
        }
        write!(f, "of {}", self.0.len())
    }
}

/// Returns whether a process shows a camera after these moments: it has had a frame, and has not given it away.
pub(crate) fn is_shown(camera: &str, life: Life, moments: &[Moment]) -> bool {
    let of_camera = |moment: &&Moment| moment.life == life && moment.what.camera() == Some(camera);
    moments.iter().rfind(of_camera).is_some_and(|last| last.what.is_first_frame_of(camera))
}

/// Returns the cameras that a process owns after these moments.
fn owned(life: Life, moments: &[Moment]) -> BTreeSet<&str> {
    let mut cameras = BTreeSet::new();
    for moment in moments.iter().filter(|moment| moment.life == life) {
        match &moment.what {
            Happening::Gained(camera) => {
                cameras.insert(camera.as_str());
            }
            // It is handed over from its last frame on.
            Happening::LastFrame(camera) | Happening::Left(camera) => {
                cameras.remove(camera.as_str());
            }
            _ => {}
        }
    }
    cameras
}

/// Returns the time of the first of these moments at which another process has the first frame of a camera.
fn first_elsewhere(camera: &str, life: Life, moments: &[Moment]) -> Option<Instant> {
    let mut firsts = moments.iter().filter(|moment| moment.what.is_first_frame_of(camera));
    firsts.find(|moment| moment.life != life).map(|moment| moment.at)
}

/// Returns the gaps of the cameras that a process hands over in these moments.
fn hand_overs(life: Life, moments: &[Moment]) -> Vec<Duration> {
    let mut last = BTreeMap::new();
    for (index, moment) in moments.iter().enumerate().filter(|(_, moment)| moment.life == life) {
        if let Happening::LastFrame(camera) = &moment.what {
            last.insert(camera.as_str(), (moment.at, index));
        }
    }
    let gap = |(camera, (at, index)): (&str, (Instant, usize))| {
        first_elsewhere(camera, life, &moments[index..]).map(|first| first - at)
    };
    last.into_iter().filter_map(gap).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Moments of processes: ms, worker, what.
    fn moments(of: &[(u64, usize, &str)]) -> Vec<Moment> {
        let begun = Instant::now();
        let moment = |(at_ms, worker, text): &(u64, usize, &str)| {
            let (word, camera) = text.split_once(' ').unwrap_or((text, ""));
            let camera = camera.to_owned();
            let what = match word {
                "gained" => Happening::Gained(camera),
                "first" => Happening::FirstFrame(camera),
                "last" => Happening::LastFrame(camera),
                "left" => Happening::Left(camera),
                "killed" => Happening::Killed,
                "paused" => Happening::Paused(Duration::from_secs(7)),
                _ => Happening::Terminated,
            };
            let life = Life { worker: *worker, number: 0 };
            Moment { at: begun + Duration::from_millis(*at_ms), life, what }
        };
        of.iter().map(moment).collect()
    }

    fn millis(durations: &Durations) -> Vec<u128> {
        durations.0.iter().map(Duration::as_millis).collect()
    }

    #[test]
    fn a_takeover_lasts_from_the_kill_to_the_first_frame_elsewhere() {
        let figures = PoolFigures::of(&moments(&[
            (0, 1, "gained a"),
            (1, 1, "first a"),
            (2, 1, "gained b"),
            (3, 1, "gained c"),
            (4, 1, "left c"),
            (5, 2, "gained d"),
            (10, 1, "killed"),
            (20, 2, "first c"),
            (7_010, 2, "first a"),
            (8_010, 3, "first b"),
            (9_000, 1, "first a"),
        ]));
        assert_eq!((millis(&figures.takeovers), millis(&figures.hand_overs)), (vec![7_000, 8_000], vec![]));
    }

    #[test]
    fn a_paused_process_that_goes_on_first_was_not_taken_over() {
        for (first_ms, wanted) in [(6_500, vec![6_500]), (7_500, vec![])] {
            let all = [(0, 1, "gained a"), (0, 1, "paused"), (first_ms, 2, "first a")];
            assert_eq!(millis(&PoolFigures::of(&moments(&all)).takeovers), wanted);
        }
    }

    #[test]
    fn a_hand_over_lasts_from_the_last_frame_to_the_first_elsewhere() {
        let figures = PoolFigures::of(&moments(&[
            (0, 1, "gained a"),
            (0, 1, "gained b"),
            (0, 1, "last b"),
            (5, 2, "first b"),
            (10, 1, "terminated"),
            (300, 1, "last a"),
            (310, 1, "left a"),
            (450, 2, "first a"),
        ]));
        assert_eq!(millis(&figures.hand_overs), [150], "b was handed over before");
        assert_eq!(
            figures.to_string(),
            "takeover p50 - p99 - max - of 0; hand-over p50 0.15 s p99 0.15 s max 0.15 s of 1"
        );
    }

    #[test]
    fn a_camera_is_shown_from_its_first_frame_until_its_last() {
        let all = moments(&[
            (0, 1, "gained a"),
            (1, 1, "first a"),
            (2, 2, "gained b"),
            (3, 1, "last a"),
            (4, 2, "gained a"),
            (5, 2, "first a"),
        ]);
        let shown =
            |worker, until| ["a", "b"].map(|of| is_shown(of, Life { worker, number: 0 }, &all[..until]));
        assert_eq!([1, 2, 3, 4].map(|until| shown(1, until)), [false, true, true, false].map(|a| [a, false]));
        assert_eq!(shown(2, 6), [true, false]);
    }

    #[test]
    fn a_percentile_is_one_of_the_durations() {
        let durations = Durations((1..=200).map(Duration::from_secs).collect());
        assert_eq!([50, 99, 100].map(|of| durations.percentile(of).unwrap().as_secs()), [100, 198, 200]);
        assert_eq!(Durations::default().percentile(50), None);
    }
}
