//! The read cursor of a stream: the place where the next connection starts.

use std::fmt;
use std::sync::Arc;

use crate::media::{Fragment, Position, fragment_order};

/// The place in a stream at which a connection starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartAt {
    /// The newest footage.
    Now,
    /// The oldest stored footage.
    Earliest,
    /// The fragment after this position.
    After(Position),
    /// The first fragment at or after this server time, ms since the epoch.
    ServerTime(i64),
}

impl fmt::Display for StartAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Now => write!(f, "NOW"),
            Self::Earliest => write!(f, "EARLIEST"),
            Self::After(position) => write!(f, "after fragment {}", position.read_after()),
            Self::ServerTime(ms) => write!(f, "server time {ms} ms"),
        }
    }
}

/// Tracks the fragments of a stream that were read, and so where the next connection starts.
#[derive(Clone, Debug)]
pub struct ReadCursor {
    first: StartAt,
    /// The position after the last complete fragment.
    complete: Option<Position>,
    /// The fragment that has begun and is not complete.
    open: Option<Arc<Fragment>>,
    /// True if the stream has open GOPs: the cursor started at a primer, or a fragment since then began with one.
    has_open_gops: bool,
    failures: u32,
}

/// The cursor's reaction to unreadable bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureOutcome {
    /// The next connection reads the same place again.
    ReadAgain,
    /// The fragment failed too often, and the next connection starts after it.
    FragmentSkipped,
    /// The bytes failed too often before any fragment began, so there is no fragment to skip.
    NoFragment,
}

/// The number of failures inside one fragment after which it is skipped.
const MAX_FRAGMENT_FAILURES: u32 = 3;

impl ReadCursor {
    /// Creates a cursor whose first connection starts at `first`.
    #[must_use]
    pub fn new(first: StartAt) -> Self {
        let complete = match &first {
            StartAt::After(position) => Some(position.clone()),
            StartAt::Now | StartAt::Earliest | StartAt::ServerTime(_) => None,
        };
        let has_open_gops = complete.as_ref().is_some_and(|position| position.primer.is_some());
        Self { first, complete, open: None, has_open_gops, failures: 0 }
    }

    /// Returns the start of the next connection.
    ///
    /// It is the place after the last complete fragment; without one, the fragment that has begun; without that, the
    /// start given to [`Self::new`].
    #[must_use]
    pub fn start(&self) -> StartAt {
        if let Some(position) = &self.complete {
            return StartAt::After(position.clone());
        }
        let begun_ms = self.open.as_ref().and_then(|fragment| fragment.server_ms);
        match (&self.first, begun_ms) {
            // NOW is later by the next attempt: a start there would lose the rest of the fragment that broke off.
            (StartAt::Now, Some(server_ms)) => StartAt::ServerTime(server_ms),
            (first, _) => first.clone(),
        }
    }

    /// Returns true if fragment `number` was read before.
    #[must_use]
    pub fn has(&self, number: &str) -> bool {
        self.complete.as_ref().is_some_and(|last| fragment_order(number, &last.fragment).is_le())
    }

    /// Records that `fragment` has begun.
    pub fn begin(&mut self, fragment: Arc<Fragment>) {
        let same = self.open.as_ref().is_some_and(|open| open.number == fragment.number);
        if !same {
            self.failures = 0;
        }
        self.open = Some(fragment);
    }

    /// Records that the stream has open GOPs: from here on, each fragment may be referenced by the next one.
    pub fn set_open_gops(&mut self) {
        self.has_open_gops = true;
    }

    /// Returns true if `number` is the last complete fragment, read again only to prime the decoder for the next one.
    #[must_use]
    pub fn primes(&self, number: &str) -> bool {
        self.complete.as_ref().is_some_and(|last| last.primer.is_some() && *last.fragment == *number)
    }

    /// Records that `fragment` is complete, and returns the position after it.
    pub fn complete(&mut self, fragment: &Fragment) -> Position {
        let before = self.complete.take().map(|last| last.fragment);
        // GetMedia and HLS start after a fragment number. To read this fragment again as a primer, the next
        // connection therefore starts after the one before it.
        let primer = before.filter(|_| self.has_open_gops);
        let position = Position { primer, ..Position::after(fragment) };
        self.complete = Some(position.clone());
        self.open = None;
        self.failures = 0;
        position
    }

    /// Removes the primer from the start, because its footage has expired; returns true if there was one.
    pub fn drop_primer(&mut self) -> bool {
        self.complete.as_mut().is_some_and(|last| last.primer.take().is_some())
    }

    /// Records that the bytes since the last complete fragment are unreadable or end too early.
    ///
    /// The fragment that has begun is skipped when it fails for the third time.
    pub fn fail(&mut self) -> FailureOutcome {
        self.failures += 1;
        if self.failures < MAX_FRAGMENT_FAILURES {
            return FailureOutcome::ReadAgain;
        }
        self.failures = 0;
        match self.open.take() {
            Some(fragment) => {
                self.complete = Some(Position::after(&fragment));
                // A damaged fragment cannot prime a decoder; open GOPs are detected again from the next one on.
                self.has_open_gops = false;
                FailureOutcome::FragmentSkipped
            }
            None => FailureOutcome::NoFragment,
        }
    }

    /// Discards the position: the next connection starts at `first`.
    pub fn jump(&mut self, first: StartAt) {
        *self = Self::new(first);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fragment(number: &str, server_ms: i64) -> Arc<Fragment> {
        Arc::new(Fragment { number: number.into(), producer_ms: None, server_ms: Some(server_ms) })
    }

    fn after(number: &str) -> Position {
        Position::after(&fragment(number, 1))
    }

    #[test]
    fn a_new_cursor_starts_at_the_given_place() {
        for first in [StartAt::Now, StartAt::Earliest, StartAt::After(after("7")), StartAt::ServerTime(5)] {
            assert_eq!(ReadCursor::new(first.clone()).start(), first);
        }
    }

    #[test]
    fn it_resumes_after_the_last_complete_fragment() {
        let mut cursor = ReadCursor::new(StartAt::Earliest);
        cursor.begin(fragment("11", 1));
        assert_eq!(cursor.start(), StartAt::Earliest, "the first one broke off: read it again");
        cursor.complete(&fragment("11", 1));
        cursor.begin(fragment("12", 2));
        assert_eq!(cursor.start(), StartAt::After(after("11")));
    }

    #[test]
    fn a_first_fragment_that_broke_off_is_read_again_even_after_a_start_at_now() {
        let mut cursor = ReadCursor::new(StartAt::Now);
        cursor.begin(fragment("11", 1234));
        assert_eq!(cursor.start(), StartAt::ServerTime(1234));
    }

    #[test]
    fn a_fragment_with_an_open_gop_is_read_again_as_a_primer() {
        let mut cursor = ReadCursor::new(StartAt::After(after("10")));
        cursor.begin(fragment("11", 1));
        assert_eq!(cursor.complete(&fragment("11", 1)), after("11"), "closed: nothing refers to it");
        cursor.begin(fragment("12", 2));
        cursor.set_open_gops();
        let position = cursor.complete(&fragment("12", 2));
        assert_eq!((position.fragment.as_ref(), position.read_after().as_ref()), ("12", "11"));
        assert_eq!(cursor.start(), StartAt::After(position.clone()));
        assert!(cursor.has("12") && cursor.primes("12") && !cursor.primes("11"));
        cursor.begin(fragment("13", 3));
        assert!(
            cursor.complete(&fragment("13", 3)).primer.is_some(),
            "in a stream with open GOPs, after an IDR too"
        );
        let mut resumed = ReadCursor::new(StartAt::After(position));
        assert!(resumed.primes("12"));
        assert!(resumed.drop_primer() && !resumed.primes("12") && !resumed.drop_primer());
        assert_eq!(resumed.start(), StartAt::After(Position::after(&fragment("12", 2))));
    }

    #[test]
    fn the_first_fragment_that_is_read_has_no_primer() {
        let mut cursor = ReadCursor::new(StartAt::Now);
        cursor.begin(fragment("11", 1));
        cursor.set_open_gops();
        assert_eq!(cursor.complete(&fragment("11", 1)), after("11"));
    }

    #[test]
    fn it_knows_the_fragments_that_were_read() {
        let cursor = ReadCursor::new(StartAt::After(after("12")));
        assert!(cursor.has("11") && cursor.has("12") && cursor.has("9"));
        assert!(!cursor.has("13") && !cursor.has("100"));
    }

    #[test]
    fn a_fragment_that_fails_three_times_is_skipped() {
        let mut cursor = ReadCursor::new(StartAt::Earliest);
        for _ in 0..2 {
            cursor.begin(fragment("11", 1));
            assert_eq!(cursor.fail(), FailureOutcome::ReadAgain);
        }
        cursor.begin(fragment("11", 1));
        assert_eq!(cursor.fail(), FailureOutcome::FragmentSkipped);
        assert_eq!(cursor.start(), StartAt::After(after("11")));
    }

    #[test]
    fn failures_of_different_fragments_do_not_add_up() {
        let mut cursor = ReadCursor::new(StartAt::Earliest);
        for number in ["11", "12", "13"] {
            cursor.begin(fragment(number, 1));
            assert_eq!(cursor.fail(), FailureOutcome::ReadAgain);
        }
    }

    #[test]
    fn malformed_bytes_before_any_fragment_skip_nothing() {
        let mut cursor = ReadCursor::new(StartAt::After(after("10")));
        let outcomes: Vec<FailureOutcome> = (0..4).map(|_| cursor.fail()).collect();
        assert_eq!(
            outcomes,
            [
                FailureOutcome::ReadAgain,
                FailureOutcome::ReadAgain,
                FailureOutcome::NoFragment,
                FailureOutcome::ReadAgain
            ]
        );
        assert_eq!(cursor.start(), StartAt::After(after("10")));
    }
}
