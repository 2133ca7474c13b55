//! Where a GetMedia reader stands in a stream.

use bytes::Bytes;

use crate::identifiers::fragment_number::FragmentNumber;
use crate::store::fragment::TimeLine;

/// What a GetMedia reader asked to begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seek {
    /// The newest fragment, or the first to come.
    Newest,
    /// The oldest that is kept.
    Earliest,
    /// The one after this.
    After(FragmentNumber),
    /// The first that ends after a time.
    Time {
        /// By which clock.
        line: TimeLine,
        /// Milliseconds since 1970.
        ms: i64,
    },
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Position {
    Between(Seek),
    Inside { number: FragmentNumber, sent_blocks: usize },
}

/// A reader's place, moved by `Stream::step`.
#[derive(Debug, Clone, Copy)]
pub struct Cursor {
    pub(crate) position: Position,
}

impl Cursor {
    /// A reader that has read nothing yet.
    pub fn new(seek: Seek) -> Self {
        Self { position: Position::Between(seek) }
    }

    /// Whether the next bytes begin a fragment.
    pub fn is_between_fragments(&self) -> bool {
        matches!(self.position, Position::Between(_))
    }

    /// The fragment that it is in, or stands after.
    pub(crate) fn number(&self) -> Option<FragmentNumber> {
        match self.position {
            Position::Inside { number, .. } | Position::Between(Seek::After(number)) => Some(number),
            Position::Between(_) => None,
        }
    }

    pub(crate) fn stand_after(&mut self, number: FragmentNumber) {
        self.position = Position::Between(Seek::After(number));
    }
}

/// What there is for a reader now.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// The next bytes.
    Bytes(Bytes),
    /// Nothing until the stream changes.
    Wait,
    /// Nothing ever: the stream was deleted, or the fragment being read was given up by its producer.
    End,
}
