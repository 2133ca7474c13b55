//! The footage of a camera that a replay has read, and what is missing in it.

use serde::Serialize;

use super::span::ReplaySpan;

/// The time without footage that counts as a gap, ms. A fragment's length does not contain the time that its last frame is shown, which is
/// a second for a camera of one frame per second.
const MIN_GAP_MS: i64 = 2_000;
/// Maximum number of gaps and of unreadable fragments that are kept, each; the others are counted.
const MAX_KEPT: usize = 200;

/// The footage of a camera that was replayed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FootageCoverage {
    /// Number of fragments.
    pub fragments: u64,
    /// Length of the footage, ms.
    pub footage_ms: i64,
    /// Start of the first fragment, ms since the epoch.
    pub first_ms: Option<i64>,
    /// End of the last fragment, ms since the epoch.
    pub last_ms: Option<i64>,
    /// Times of the span without footage.
    pub gaps: Vec<FootageGap>,
    /// Number of gaps that are not in `gaps`.
    pub more_gaps: u64,
    /// Fragments that could not be read.
    pub unreadable: Vec<UnreadableFragment>,
    /// Number of fragments that are not in `unreadable`.
    pub more_unreadable: u64,
    /// The reason why reading ended before the end of the span; `None` at its end.
    pub fault: Option<String>,
    /// `true` where reading ended early because the replay was stopped.
    pub stopped: bool,
}

/// A time without footage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FootageGap {
    /// Start, ms since the epoch.
    pub from_ms: i64,
    /// End, ms since the epoch.
    pub to_ms: i64,
    /// The reason, where the archive names one.
    pub reason: Option<String>,
}

/// A fragment that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UnreadableFragment {
    /// The fragment's number.
    pub number: String,
    /// Its start, ms since the epoch.
    pub start_ms: i64,
    /// The reason.
    pub reason: String,
}

impl FootageCoverage {
    /// Adds a fragment that was replayed. Returns the gap before it, if there is one.
    pub(super) fn add(&mut self, span: ReplaySpan, start_ms: i64, end_ms: i64) -> Option<FootageGap> {
        let gap = self.gap_until(span, start_ms);
        self.fragments += 1;
        self.footage_ms = self.footage_ms.saturating_add(end_ms.saturating_sub(start_ms).max(0));
        self.first_ms = Some(self.first_ms.map_or(start_ms, |first_ms| first_ms.min(start_ms)));
        self.last_ms = Some(self.last_ms.map_or(end_ms, |last_ms| last_ms.max(end_ms)));
        gap
    }

    /// Returns the gap from the end of the footage so far to `until_ms`, if that is long enough.
    pub(super) fn gap_until(&self, span: ReplaySpan, until_ms: i64) -> Option<FootageGap> {
        let from_ms = self.last_ms.unwrap_or(span.from_ms);
        let to_ms = until_ms.min(span.to_ms);
        let gap = FootageGap { from_ms, to_ms, reason: None };
        (to_ms.saturating_sub(from_ms) >= MIN_GAP_MS).then_some(gap)
    }

    /// Adds a gap.
    pub(super) fn add_gap(&mut self, gap: FootageGap) {
        if self.gaps.len() < MAX_KEPT {
            self.gaps.push(gap);
        } else {
            self.more_gaps += 1;
        }
    }

    /// Adds a fragment that could not be read.
    pub(super) fn add_unreadable(&mut self, fragment: UnreadableFragment) {
        if self.unreadable.len() < MAX_KEPT {
            self.unreadable.push(fragment);
        } else {
            self.more_unreadable += 1;
        }
    }

    /// Returns whether the camera was replayed to the end of the span; gaps in the footage do not matter.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.fault.is_none() && !self.stopped && self.unreadable.is_empty()
    }

    /// Returns the time up to which the camera was replayed.
    #[must_use]
    pub fn done_ms(&self, span: ReplaySpan) -> i64 {
        let ended_early = self.fault.is_some() || self.stopped;
        if ended_early { self.last_ms.unwrap_or(span.from_ms).min(span.to_ms) } else { span.to_ms }
    }

    /// Returns whether footage from `start_ms` to `end_ms` was replayed, at least in part.
    #[must_use]
    pub fn has_footage(&self, start_ms: i64, end_ms: i64) -> bool {
        let Some((first_ms, last_ms)) = self.first_ms.zip(self.last_ms) else { return false };
        let (start_ms, end_ms) = (start_ms.max(first_ms), end_ms.min(last_ms));
        let is_in = |gap: &FootageGap| gap.from_ms <= start_ms && end_ms <= gap.to_ms;
        start_ms <= end_ms && !self.gaps.iter().any(is_in)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPAN: ReplaySpan = ReplaySpan { from_ms: 100_000, to_ms: 200_000 };

    /// Returns the coverage of fragments of two seconds that start at these seconds of the span.
    fn covered(starts_s: &[i64]) -> FootageCoverage {
        let mut coverage = FootageCoverage::default();
        for start_s in starts_s {
            let start_ms = SPAN.from_ms + start_s * 1000;
            if let Some(gap) = coverage.add(SPAN, start_ms, start_ms + 1_900) {
                coverage.add_gap(gap);
            }
        }
        if let Some(gap) = coverage.gap_until(SPAN, SPAN.to_ms) {
            coverage.add_gap(gap);
        }
        coverage
    }

    fn gaps_s(coverage: &FootageCoverage) -> Vec<(i64, i64)> {
        let seconds = |ms: i64| (ms - SPAN.from_ms) / 100;
        coverage.gaps.iter().map(|gap| (seconds(gap.from_ms), seconds(gap.to_ms))).collect()
    }

    #[test]
    fn gaps_are_at_the_start_between_and_at_the_end() {
        for (name, starts_s, gaps) in [
            ("none", &[0, 2, 4, 96, 98][..], &[(59, 960)][..]),
            ("late start", &[10, 12, 97], &[(0, 100), (139, 970)]),
            ("early end", &[0, 94], &[(19, 940), (959, 1000)]),
            ("before the span", &[-1, 1, 98], &[(29, 980)]),
            ("nothing", &[], &[(0, 1000)]),
        ] {
            assert_eq!(gaps_s(&covered(starts_s)), gaps, "{name}");
        }
    }

    #[test]
    fn footage_is_there_outside_gaps() {
        let coverage = covered(&[10, 12, 50, 52]);
        let at = |from_s: i64, to_s: i64| {
            coverage.has_footage(SPAN.from_ms + from_s * 1000, SPAN.from_ms + to_s * 1000)
        };
        assert!(at(11, 12) && at(0, 11) && at(13, 60) && at(53, 80));
        assert!(!at(0, 9) && !at(20, 40) && !at(60, 80), "before, in the gap, after");
        assert!(!FootageCoverage::default().has_footage(0, i64::MAX));
    }

    #[test]
    fn the_end_is_that_of_the_span_unless_reading_ended_early() {
        let coverage = covered(&[0, 2]);
        assert!(coverage.is_complete());
        assert_eq!(coverage.done_ms(SPAN), SPAN.to_ms);
        let stopped = FootageCoverage { stopped: true, ..coverage };
        assert_eq!((stopped.is_complete(), stopped.done_ms(SPAN)), (false, SPAN.from_ms + 3_900));
        let failed = FootageCoverage { fault: Some("no access".to_owned()), ..FootageCoverage::default() };
        assert_eq!((failed.is_complete(), failed.done_ms(SPAN)), (false, SPAN.from_ms));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut coverage = FootageCoverage::default();
        for number in 0..500 {
            coverage.add_gap(FootageGap { from_ms: number, to_ms: number + 1, reason: None });
            let (number, reason) = (number.to_string(), "expired".to_owned());
            coverage.add_unreadable(UnreadableFragment { number, start_ms: 0, reason });
        }
        assert_eq!((coverage.gaps.len(), coverage.more_gaps), (200, 300));
        assert_eq!((coverage.unreadable.len(), coverage.more_unreadable), (200, 300));
    }
}
