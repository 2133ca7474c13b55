//! The number of calls that a sink makes at once.

/// Calls at once before anything is known of a service.
const START: usize = 8;

/// Limit on the calls that are under way at once. It rises while the service accepts them, up to a maximum, and is halved when the
/// service refuses one. A service that is far away so reaches as many calls per second as a near one.
///
/// As in TCP, it doubles within the time of a call up to the threshold, which is the limit after the last reduction, and rises by
/// one beyond. Source: RFC 5681, section 3.1 (slow start and congestion avoidance).
#[derive(Debug)]
pub(super) struct ConcurrencyLimit {
    limit: usize,
    max: usize,
    threshold: usize,
    /// Calls that were accepted beyond the threshold since the limit last changed.
    accepted: usize,
    /// True while more calls wait than the limit allows. Otherwise an answer says nothing about the limit.
    is_reached: bool,
    /// Number of reductions.
    reductions: u64,
}

/// The number of reductions of the limit when a call was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CallStart(u64);

impl ConcurrencyLimit {
    /// Returns a limit that never exceeds `max` calls.
    pub(super) fn new(max: usize) -> Self {
        Self { limit: START.min(max), max, threshold: max, accepted: 0, is_reached: false, reductions: 0 }
    }

    /// Returns true if another call may start beside `under_way` calls.
    pub(super) fn admits(&self, under_way: usize) -> bool {
        under_way < self.limit
    }

    /// Returns the start of a call.
    pub(super) fn start(&self) -> CallStart {
        CallStart(self.reductions)
    }

    /// Records whether more calls wait than the limit allows.
    pub(super) fn set_reached(&mut self, is_reached: bool) {
        self.is_reached = is_reached;
    }

    /// Counts an accepted call.
    pub(super) fn accepted(&mut self, start: CallStart) {
        if !self.counts(start) {
            return;
        }
        self.accepted += 1;
        if self.limit < self.threshold || self.accepted >= self.limit {
            self.limit = (self.limit + 1).min(self.max);
            self.accepted = 0;
        }
    }

    /// Counts a refused call. Calls that were started before the last reduction do not count again, since a service that is
    /// overloaded refuses all of them.
    pub(super) fn refused(&mut self, start: CallStart) {
        if self.counts(start) {
            self.limit = (self.limit / 2).max(1);
            self.threshold = self.limit;
            self.accepted = 0;
            self.reductions += 1;
        }
    }

    fn counts(&self, start: CallStart) -> bool {
        self.is_reached && start == self.start()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Starts calls up to the limit while more wait, and ends each of them.
    fn round(limit: &mut ConcurrencyLimit, end: fn(&mut ConcurrencyLimit, CallStart)) -> usize {
        let count = (0..).take_while(|&under_way| limit.admits(under_way)).count();
        limit.set_reached(true);
        let start = limit.start();
        for _ in 0..count {
            end(limit, start);
        }
        count
    }

    fn rounds<const N: usize>(
        limit: &mut ConcurrencyLimit,
        end: fn(&mut ConcurrencyLimit, CallStart),
    ) -> [usize; N] {
        std::array::from_fn(|_| round(limit, end))
    }

    #[test]
    fn a_service_that_accepts_gets_twice_the_calls_up_to_the_maximum() {
        assert_eq!(rounds(&mut ConcurrencyLimit::new(32), ConcurrencyLimit::accepted), [8, 16, 32, 32]);
        assert_eq!(rounds(&mut ConcurrencyLimit::new(2), ConcurrencyLimit::accepted), [2, 2]);
    }

    #[test]
    fn a_refused_round_halves_the_limit_once_and_never_to_nothing() {
        assert_eq!(rounds(&mut ConcurrencyLimit::new(32), ConcurrencyLimit::refused), [8, 4, 2, 1, 1]);
    }

    #[test]
    fn after_a_refusal_the_limit_rises_by_one() {
        let mut limit = ConcurrencyLimit::new(32);
        assert_eq!(round(&mut limit, ConcurrencyLimit::refused), 8);
        assert_eq!(rounds(&mut limit, ConcurrencyLimit::accepted), [4, 5, 6]);
    }

    #[test]
    fn answers_below_the_limit_and_of_before_a_reduction_change_nothing() {
        let mut limit = ConcurrencyLimit::new(32);
        let before = limit.start();
        for _ in 0..20 {
            limit.refused(before);
            limit.accepted(before);
        }
        assert_eq!(round(&mut limit, ConcurrencyLimit::refused), 8, "nothing waited");
        for _ in 0..20 {
            limit.accepted(before);
        }
        assert_eq!(round(&mut limit, ConcurrencyLimit::refused), 4);
    }
}
