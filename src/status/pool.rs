//! The pool of workers, as its leader sees it.

use std::time::{Duration, Instant};

use ::sharing::PoolFigures;

/// The time for which cameras have no worker before that is reported: a takeover takes less.
const REPORTED_AFTER: Duration = Duration::from_secs(20);

/// The figures of the pool; none where another worker leads it, or without a pool.
#[derive(Debug, Default)]
pub(super) struct PoolStatus {
    figures: Option<PoolFigures>,
    /// The time since which a camera has no worker.
    lacks_since: Option<Instant>,
}

impl PoolStatus {
    pub(super) fn set(&mut self, at: Instant, figures: Option<PoolFigures>) {
        let lacks = figures.is_some_and(|figures| figures.unassigned > 0);
        self.figures = figures;
        self.lacks_since = lacks.then(|| self.lacks_since.unwrap_or(at));
    }

    pub(super) fn figures(&self) -> Option<PoolFigures> {
        self.figures
    }

    /// Returns the reason for `/healthz` where cameras have had no worker for long.
    pub(super) fn reason(&self, at: Instant) -> Option<String> {
        let lacks_for = at.saturating_duration_since(self.lacks_since?);
        let PoolFigures { unassigned, cameras, workers, load_percent, .. } = self.figures?;
        (lacks_for >= REPORTED_AFTER).then(|| {
            format!(
                "pool: {unassigned} of {cameras} cameras have had no worker for {} s ({workers} workers, load {load_percent} %): \
                 start more workers, or ask `kvs-infer cluster` why",
                lacks_for.as_secs()
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(unassigned: usize) -> Option<PoolFigures> {
        Some(PoolFigures { load_percent: 130, workers: 2, cameras: 40, unassigned, moving: 0 })
    }

    #[test]
    fn cameras_without_a_worker_are_reported_once_that_lasts() {
        let (mut pool, start) = (PoolStatus::default(), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        pool.set(start, figures(3));
        pool.set(after(10), figures(2));
        assert_eq!(pool.reason(after(19)), None, "a takeover");
        let reason = pool.reason(after(20)).unwrap();
        assert!(
            reason.starts_with("pool: 2 of 40 cameras have had no worker for 20 s (2 workers, load 130 %)"),
            "{reason}"
        );
        pool.set(after(30), figures(0));
        assert_eq!((pool.reason(after(90)), pool.figures()), (None, figures(0)));
        pool.set(after(91), figures(1));
        pool.set(after(120), None);
        assert_eq!(pool.reason(after(200)), None, "another worker leads");
    }
}
