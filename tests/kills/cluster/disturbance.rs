//! The faults of a pool, by a seed.

use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;

/// A fault, as it is drawn; its worker is drawn when it begins.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Disturbance {
    /// SIGKILL; the worker is started again after a time.
    Kill { away: Duration },
    /// The same, of the worker that leads.
    KillLeader { away: Duration },
    /// SIGSTOP, and SIGCONT after a time.
    Pause { time: Duration },
    /// SIGTERM; the worker is started again a time after its end.
    Stop { away: Duration },
    /// DynamoDB is unreachable for one worker.
    TableAway { time: Duration, outage: Outage },
    /// Kinesis is unreachable for one worker.
    StreamAway { time: Duration, outage: Outage },
    /// Another configuration, which the workers read one after the other within this time.
    Reload { within: Duration },
    /// A worker more, or one fewer.
    Resize,
}

/// The answer of a service that is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outage {
    /// Connections are refused.
    Refused,
    /// Each request is answered with an error.
    Errors,
}

impl Disturbance {
    /// A kill or a pause in about half of all cases.
    pub(crate) fn draw(random: &mut StdRng) -> Self {
        let outage = if random.random() { Outage::Refused } else { Outage::Errors };
        let mut within = |from_ms, to_ms| Duration::from_millis(random.random_range(from_ms..to_ms));
        let (away, outage_time) = (within(100, 6_000), within(1_000, 12_000));
        let (pause, reload) = (within(7_000, 20_000), within(500, 6_000));
        match random.random_range(0..24) {
            0..5 => Self::Kill { away },
            5..8 => Self::KillLeader { away },
            8..12 => Self::Pause { time: pause },
            12..16 => Self::Stop { away },
            16..19 => Self::TableAway { time: outage_time, outage },
            19..21 => Self::StreamAway { time: outage_time, outage },
            21..23 => Self::Reload { within: reload },
            _ => Self::Resize,
        }
    }

    /// Returns whether the cameras of the worker may get another owner because it seems dead.
    pub(crate) fn may_end_in_a_takeover(self) -> bool {
        matches!(
            self,
            Self::Kill { .. } | Self::KillLeader { .. } | Self::Pause { .. } | Self::TableAway { .. }
        )
    }

    /// The time until the next one.
    pub(crate) fn draw_gap(random: &mut StdRng) -> Duration {
        Duration::from_millis(random.random_range(1_000..9_000))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::SeedableRng;

    use super::*;

    #[test]
    fn every_kind_comes_and_a_seed_repeats_them() {
        let draw = || {
            let mut random = StdRng::seed_from_u64(1);
            (0..200).map(|_| Disturbance::draw(&mut random)).collect::<Vec<_>>()
        };
        let kind = |drawn: &Disturbance| format!("{drawn:?}").split(' ').next().map(str::to_owned);
        assert_eq!(draw().iter().map(kind).collect::<BTreeSet<_>>().len(), 8);
        assert_eq!(draw(), draw());
    }
}
