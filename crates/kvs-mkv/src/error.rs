//! What can be wrong with a stream of Matroska.

use crate::Id;

/// Why the bytes could not be read, with the offset in the whole stream at which it went wrong.
///
/// After any of them the reader is of no further use: ask for a new connection and begin a new reader.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The bytes where an element must begin cannot be an element id.
    #[error(
        "byte {offset}: 0x{first_byte:02X} does not begin an element id; the stream is no Matroska or lost bytes before here"
    )]
    InvalidId {
        /// Offset of the id.
        offset: u64,
        /// First byte of the id.
        first_byte: u8,
    },
    /// A variable-length integer begins with a zero byte.
    #[error("byte {offset}: {element} holds an integer of more than 8 bytes; the stream is damaged")]
    InvalidVint {
        /// Offset of the integer.
        offset: u64,
        /// The element it sizes or belongs to.
        element: Id,
    },
    /// An element other than Segment and Cluster has no size.
    #[error("byte {offset}: {element} has an unknown size; only Segment and Cluster may")]
    UnknownSize {
        /// Offset of the element.
        offset: u64,
        /// The element.
        element: Id,
    },
    /// An element is where it may not be.
    #[error("byte {offset}: found {element}, expected {expected}")]
    Unexpected {
        /// Offset of the element.
        offset: u64,
        /// The element.
        element: Id,
        /// What may stand there.
        expected: &'static str,
    },
    /// An element says something that it may not say.
    #[error("byte {offset}: {element} must hold {expected}")]
    Invalid {
        /// Offset of the element.
        offset: u64,
        /// The element.
        element: Id,
        /// What it must hold.
        expected: &'static str,
    },
    /// An element lacks a child that it must have.
    #[error("byte {offset}: {element} has no {child}")]
    Missing {
        /// Offset of the element, or of its end where it is of unknown size.
        offset: u64,
        /// The element.
        element: Id,
        /// The child.
        child: Id,
    },
    /// An element goes on beyond its parent.
    #[error("byte {offset}: {element} ends at byte {end}, beyond its parent's end at byte {parent_end}")]
    Overrun {
        /// Offset of the element.
        offset: u64,
        /// The element.
        element: Id,
        /// Where it would end.
        end: u64,
        /// Where its parent ends.
        parent_end: u64,
    },
    /// An element would take the reader over one of its [`Limits`](crate::Limits) in bytes.
    #[error(
        "byte {offset}: with {element} there are {bytes} bytes, over the limit {limit} of {limit_bytes} bytes"
    )]
    TooLarge {
        /// Offset of the element.
        offset: u64,
        /// The element.
        element: Id,
        /// Bytes there would be.
        bytes: u64,
        /// Name of the limit.
        limit: &'static str,
        /// The limit.
        limit_bytes: usize,
    },
    /// There are more things than one of the [`Limits`](crate::Limits) allows.
    #[error("byte {offset}: {element} goes over the limit {limit} of {count}")]
    TooMany {
        /// Offset of the element.
        offset: u64,
        /// The element.
        element: Id,
        /// Name of the limit.
        limit: &'static str,
        /// The limit.
        count: usize,
    },
    /// A Cluster came before the tag that names its fragment.
    #[error(
        "byte {offset}: a Cluster without AWS_KINESISVIDEO_FRAGMENT_NUMBER before it; this is no GetMedia output"
    )]
    NoFragmentNumber {
        /// Offset reached in the stream.
        offset: u64,
    },
    /// The stream ended inside an element.
    #[error("the stream ends at byte {offset}, inside {element}; the rest was never received")]
    Truncated {
        /// Length of the stream.
        offset: u64,
        /// The innermost element that was not whole.
        element: Id,
    },
}
