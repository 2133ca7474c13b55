//! The position of a GetMedia reader in a stream.

use bytes::Bytes;

use crate::identifiers::fragment_number::FragmentNumber;
use crate::store::fragment::TimeLine;

/// A place between fragments, from which a reader begins or continues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seek {
    /// The newest fragment, or the first that comes.
    Newest,
    /// The oldest fragment that is kept.
    Earliest,
    /// The fragment after this one.
    After(FragmentNumber),
    /// The first fragment that ends after a time.
    Time {
        /// The time line of `ms`.
        line: TimeLine,
        /// Milliseconds since 1970.
        ms: i64,
    },
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum CursorPosition {
    Between(Seek),
    Inside { number: FragmentNumber, sent_blocks: usize },
}

/// A reader's position, which `KvsStream::step` moves.
#[derive(Debug, Clone, Copy)]
pub struct StreamCursor {
    pub(crate) position: CursorPosition,
}

impl StreamCursor {
    /// Returns the cursor of a reader that has read nothing yet.
    pub fn new(seek: Seek) -> Self {
        Self { position: CursorPosition::Between(seek) }
    }

    /// Returns whether the next bytes begin a fragment.
    pub fn is_between_fragments(&self) -> bool {
        matches!(self.position, CursorPosition::Between(_))
    }

    /// Returns the fragment that the cursor is in, or the one before it.
    pub(crate) fn number(&self) -> Option<FragmentNumber> {
        match self.position {
            CursorPosition::Inside { number, .. } | CursorPosition::Between(Seek::After(number)) => {
                Some(number)
            }
            CursorPosition::Between(_) => None,
        }
    }

    /// Moves to the end of a fragment.
    pub(crate) fn move_after(&mut self, number: FragmentNumber) {
        self.position = CursorPosition::Between(Seek::After(number));
    }
}

/// The result of a reader's step.
#[derive(Debug, PartialEq, Eq)]
pub enum ReadStep {
    /// The next bytes.
    Bytes(Bytes),
    /// There is nothing to read until the stream changes.
    Wait,
    /// The connection is over: the stream was deleted, or the producer gave up the fragment that the reader is in.
    End,
}
