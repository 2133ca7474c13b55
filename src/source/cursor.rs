//! Where in a stream to read on.

use std::fmt;
use std::sync::Arc;

use crate::media::{Fragment, Position, fragment_order};

/// Where GetMedia is to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartAt {
    /// At the newest footage.
    Now,
    /// At the oldest footage.
    Earliest,
    /// With the fragment after this place.
    After(Position),
    /// With the first fragment at or after this server time, ms since the epoch.
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

/// What has been read of a stream, and so where the next connection starts.
#[derive(Clone, Debug)]
pub struct Cursor {
    first: StartAt,
    complete: Option<Position>,
    open: Option<Arc<Fragment>>,
    /// Whether the stream has open GOPs: one was begun since this cursor started, or it started behind one.
    has_open_gops: bool,
    failures: u32,
}

/// What follows from a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failed {
    /// The same place is read again.
    Again,
    /// The fragment failed three times and is left out.
    PassedOver,
    /// The bytes failed three times before any fragment began, so there is none to leave out.
    Nameless,
}

/// Failures inside one fragment after which it is left out.
const MOST_FAILURES_A_FRAGMENT: u32 = 3;

impl Cursor {
    /// A cursor that starts at `first`.
    #[must_use]
    pub fn new(first: StartAt) -> Self {
        let complete = match &first {
            StartAt::After(position) => Some(position.clone()),
            StartAt::Now | StartAt::Earliest | StartAt::ServerTime(_) => None,
        };
        let has_open_gops = complete.as_ref().is_some_and(|position| position.primer.is_some());
        Self { first, complete, open: None, has_open_gops, failures: 0 }
    }

    /// Where the next connection starts: after the last complete fragment; where none was completed, with the one
    /// that was begun; else where this cursor was told to.
    #[must_use]
    pub fn start(&self) -> StartAt {
        if let Some(position) = &self.complete {
            return StartAt::After(position.clone());
        }
        let begun_ms = self.open.as_ref().and_then(|fragment| fragment.server_ms);
        match (&self.first, begun_ms) {
            (StartAt::Now, Some(server_ms)) => StartAt::ServerTime(server_ms),
            (first, _) => first.clone(),
        }
    }

    /// Whether `number` was read already.
    #[must_use]
    pub fn has(&self, number: &str) -> bool {
        self.complete.as_ref().is_some_and(|last| fragment_order(number, &last.fragment).is_le())
    }

    /// A fragment begins.
    pub fn begin(&mut self, fragment: Arc<Fragment>) {
        let same = self.open.as_ref().is_some_and(|open| open.number == fragment.number);
        if !same {
            self.failures = 0;
        }
        self.open = Some(fragment);
    }

    /// The fragment that was begun is of open GOPs: from here on each fragment may be referred to by its successor.
    pub fn is_open_gop(&mut self) {
        self.has_open_gops = true;
    }

    /// Whether `number` is the last complete fragment, and read again to prime the decoder for the next one.
    #[must_use]
    pub fn primes(&self, number: &str) -> bool {
        self.complete.as_ref().is_some_and(|last| last.primer.is_some() && *last.fragment == *number)
    }

    /// Its trailing tags arrived; returns the place after it.
    pub fn complete(&mut self, fragment: &Fragment) -> Position {
        let before = self.complete.take().map(|last| last.fragment);
        let primer = before.filter(|_| self.has_open_gops);
        let position = Position { primer, ..Position::after(fragment) };
        self.complete = Some(position.clone());
        self.open = None;
        self.failures = 0;
        position
    }

    /// Reads without a primer from here on, because that is not kept any more; returns whether there was one.
    pub fn drop_primer(&mut self) -> bool {
        self.complete.as_mut().is_some_and(|last| last.primer.take().is_some())
    }

    /// The bytes since the last complete fragment make no sense, or end too early. After three times the fragment that
    /// was begun is passed over.
    pub fn fail(&mut self) -> Failed {
        self.failures += 1;
        if self.failures < MOST_FAILURES_A_FRAGMENT {
            return Failed::Again;
        }
        self.failures = 0;
        match self.open.take() {
            Some(fragment) => {
                self.complete = Some(Position::after(&fragment));
                self.has_open_gops = false;
                Failed::PassedOver
            }
            None => Failed::Nameless,
        }
    }

    /// Forgets what was read and starts at `first`.
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
    fn a_new_cursor_starts_where_it_was_told() {
        for first in [StartAt::Now, StartAt::Earliest, StartAt::After(after("7")), StartAt::ServerTime(5)] {
            assert_eq!(Cursor::new(first.clone()).start(), first);
        }
    }

    #[test]
    fn it_goes_on_after_the_last_complete_fragment() {
        let mut cursor = Cursor::new(StartAt::Earliest);
        cursor.begin(fragment("11", 1));
        assert_eq!(cursor.start(), StartAt::Earliest, "the first one broke off: read it again");
        cursor.complete(&fragment("11", 1));
        cursor.begin(fragment("12", 2));
        assert_eq!(cursor.start(), StartAt::After(after("11")));
    }

    #[test]
    fn a_first_fragment_that_broke_off_is_read_again_also_when_started_at_now() {
        let mut cursor = Cursor::new(StartAt::Now);
        cursor.begin(fragment("11", 1234));
        assert_eq!(cursor.start(), StartAt::ServerTime(1234));
    }

    #[test]
    fn behind_an_open_gop_its_fragment_is_read_again_as_a_primer() {
        let mut cursor = Cursor::new(StartAt::After(after("10")));
        cursor.begin(fragment("11", 1));
        assert_eq!(cursor.complete(&fragment("11", 1)), after("11"), "closed: nothing refers to it");
        cursor.begin(fragment("12", 2));
        cursor.is_open_gop();
        let position = cursor.complete(&fragment("12", 2));
        assert_eq!((position.fragment.as_ref(), position.read_after().as_ref()), ("12", "11"));
        assert_eq!(cursor.start(), StartAt::After(position.clone()));
        assert!(cursor.has("12") && cursor.primes("12") && !cursor.primes("11"));
        cursor.begin(fragment("13", 3));
        assert!(
            cursor.complete(&fragment("13", 3)).primer.is_some(),
            "of a stream with open GOPs, also behind an IDR"
        );
        let mut resumed = Cursor::new(StartAt::After(position));
        assert!(resumed.primes("12"));
        assert!(resumed.drop_primer() && !resumed.primes("12") && !resumed.drop_primer());
        assert_eq!(resumed.start(), StartAt::After(Position::after(&fragment("12", 2))));
    }

    #[test]
    fn the_first_fragment_of_a_reading_has_no_primer() {
        let mut cursor = Cursor::new(StartAt::Now);
        cursor.begin(fragment("11", 1));
        cursor.is_open_gop();
        assert_eq!(cursor.complete(&fragment("11", 1)), after("11"));
    }

    #[test]
    fn it_knows_what_was_read() {
        let cursor = Cursor::new(StartAt::After(after("12")));
        assert!(cursor.has("11") && cursor.has("12") && cursor.has("9"));
        assert!(!cursor.has("13") && !cursor.has("100"));
    }

    #[test]
    fn a_fragment_that_fails_three_times_is_passed_over() {
        let mut cursor = Cursor::new(StartAt::Earliest);
        for _ in 0..2 {
            cursor.begin(fragment("11", 1));
            assert_eq!(cursor.fail(), Failed::Again);
        }
        cursor.begin(fragment("11", 1));
        assert_eq!(cursor.fail(), Failed::PassedOver);
        assert_eq!(cursor.start(), StartAt::After(after("11")));
    }

    #[test]
    fn failures_of_different_fragments_do_not_add_up() {
        let mut cursor = Cursor::new(StartAt::Earliest);
        for number in ["11", "12", "13"] {
            cursor.begin(fragment(number, 1));
            assert_eq!(cursor.fail(), Failed::Again);
        }
    }

    #[test]
    fn rubbish_before_any_fragment_has_no_name_to_pass_over() {
        let mut cursor = Cursor::new(StartAt::After(after("10")));
        let failed: Vec<Failed> = (0..4).map(|_| cursor.fail()).collect();
        assert_eq!(failed, [Failed::Again, Failed::Again, Failed::Nameless, Failed::Again]);
        assert_eq!(cursor.start(), StartAt::After(after("10")));
    }
}
