//! Whether a camera keeps up with its stream.

use std::time::Duration;

/// Behind the live edge by no more than this is at the live edge, ms: about two fragments.
const AT_THE_EDGE_MS: u64 = 2_000;

/// Judges each complete fragment by how far behind the reader was, and by how long it had to wait for it.
#[derive(Clone, Debug)]
pub struct Pace {
    most_behind_ms: u64,
    allowed_ms: Option<u64>,
    started_at_now: bool,
}

/// What a fragment tells of the reader's pace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Stored footage, or not enough to say.
    Behind,
    /// At the live edge, and the footage came no faster than it was made.
    CaughtUp,
    /// Further behind than the limit.
    TooFarBehind,
}

impl Pace {
    /// A judge that allows `most_behind`.
    #[must_use]
    pub fn new(most_behind: Duration) -> Self {
        let most_behind_ms = u64::try_from(most_behind.as_millis()).unwrap_or(u64::MAX);
        Self { most_behind_ms, allowed_ms: None, started_at_now: false }
    }

    /// A connection begins; whether it started at NOW. There, what the first fragment is behind cannot be helped by
    /// starting at NOW again, so it is allowed.
    pub fn connected(&mut self, at_now: bool) {
        self.started_at_now = at_now;
        self.allowed_ms = None;
    }

    /// Judges a complete fragment of `length` media time for which `waited` was spent waiting for bytes.
    ///
    /// The server's figure counts from the fragment's first instant (real captures show it), so at the live edge it is as large
    /// as the fragment is long.
    pub fn fragment(&mut self, behind_ms: Option<u64>, waited: Duration, length: Duration) -> Verdict {
        let behind_ms = behind_ms.unwrap_or(0);
        let unavoidable_ms = if self.started_at_now { behind_ms } else { 0 };
        let allowed_ms = *self.allowed_ms.get_or_insert(unavoidable_ms.saturating_add(self.most_behind_ms));
        if behind_ms > allowed_ms {
            return Verdict::TooFarBehind;
        }
        let came_in_real_time = waited >= length * 3 / 4;
        let end_behind_ms = behind_ms.saturating_sub(u64::try_from(length.as_millis()).unwrap_or(u64::MAX));
        if end_behind_ms <= AT_THE_EDGE_MS && came_in_real_time { Verdict::CaughtUp } else { Verdict::Behind }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn judge(at_now: bool, behind_ms: &[u64], waited: Duration) -> Vec<Verdict> {
        let mut pace = Pace::new(Duration::from_secs(60));
        pace.connected(at_now);
        behind_ms.iter().map(|ms| pace.fragment(Some(*ms), waited, SECOND)).collect()
    }

    #[test]
    fn footage_that_comes_as_it_is_made_at_the_live_edge_is_caught_up() {
        assert_eq!(
            judge(false, &[0, 1500, 3000, 3001], SECOND),
            [Verdict::CaughtUp, Verdict::CaughtUp, Verdict::CaughtUp, Verdict::Behind]
        );
    }

    #[test]
    fn the_last_stored_fragments_are_not_caught_up_though_nothing_is_newer() {
        assert_eq!(judge(false, &[1000, 0], SECOND / 5), [Verdict::Behind, Verdict::Behind]);
    }

    #[test]
    fn further_behind_than_the_limit_is_too_far() {
        assert_eq!(judge(false, &[60_000, 60_001], SECOND), [Verdict::Behind, Verdict::TooFarBehind]);
    }

    #[test]
    fn what_the_first_fragment_after_now_is_behind_is_borne() {
        assert_eq!(
            judge(true, &[3_600_000, 3_660_000, 3_660_001], SECOND),
            [Verdict::Behind, Verdict::Behind, Verdict::TooFarBehind]
        );
    }
}
