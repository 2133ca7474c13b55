//! Errors of a Matroska stream.

use crate::element_id::ElementId;

/// The reason why a stream cannot be read, with the offset in the stream at which the error was found.
///
/// A reader that returned one of these is unusable: request a new connection and create a new reader.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MkvError {
    /// The bytes where an element must begin are not an element id.
    #[error(
        "byte {offset}: 0x{first_byte:02X} does not begin an element id; the stream is not Matroska or lost bytes \
         before this offset"
    )]
    InvalidId {
        /// Offset of the id.
        offset: u64,
        /// First byte of the id.
        first_byte: u8,
    },
    /// A variable-size integer begins with a zero byte.
    #[error("byte {offset}: {element} holds an integer of more than 8 bytes; the stream is damaged")]
    InvalidVint {
        /// Offset of the integer.
        offset: u64,
        /// The element whose size or content the integer is.
        element: ElementId,
    },
    /// An element other than Segment and Cluster has an unknown size.
    #[error("byte {offset}: {element} has an unknown size, which is allowed for Segment and Cluster only")]
    UnknownSize {
        /// Offset of the element.
        offset: u64,
        /// The element.
        element: ElementId,
    },
    /// An element is in a place where Matroska does not allow it.
    #[error("byte {offset}: found {element}, expected {expected}")]
    Unexpected {
        /// Offset of the element.
        offset: u64,
        /// The element.
        element: ElementId,
        /// Description of the elements that are allowed there.
        expected: &'static str,
    },
    /// An element holds a value that Matroska does not allow.
    #[error("byte {offset}: {element} must hold {expected}")]
    Invalid {
        /// Offset of the element.
        offset: u64,
        /// The element.
        element: ElementId,
        /// Description of the allowed content.
        expected: &'static str,
    },
    /// An element lacks a mandatory child.
    #[error("byte {offset}: {element} has no {child}")]
    Missing {
        /// Offset of the element, or of its end if its size is unknown.
        offset: u64,
        /// The element.
        element: ElementId,
        /// The missing child.
        child: ElementId,
    },
    /// An element ends beyond its parent.
    #[error("byte {offset}: {element} ends at byte {end}, beyond its parent's end at byte {parent_end}")]
    Overrun {
        /// Offset of the element.
        offset: u64,
        /// The element.
        element: ElementId,
        /// Offset of the element's end.
        end: u64,
        /// Offset of its parent's end.
        parent_end: u64,
    },
    /// An element exceeds one of the [`MkvLimits`](crate::MkvLimits) in bytes.
    #[error(
        "byte {offset}: with {element} there are {bytes} bytes, over the limit {limit} of {limit_bytes} bytes"
    )]
    TooLarge {
        /// Offset of the element.
        offset: u64,
        /// The element.
        element: ElementId,
        /// Number of bytes with this element.
        bytes: u64,
        /// Name of the exceeded limit.
        limit: &'static str,
        /// Value of the exceeded limit.
        limit_bytes: usize,
    },
    /// There are more elements than one of the [`MkvLimits`](crate::MkvLimits) allows.
    #[error("byte {offset}: {element} exceeds the limit {limit} of {count}")]
    TooMany {
        /// Offset of the element.
        offset: u64,
        /// The element.
        element: ElementId,
        /// Name of the exceeded limit.
        limit: &'static str,
        /// Value of the exceeded limit.
        count: usize,
    },
    /// A Cluster came before the tag with its fragment number.
    #[error(
        "byte {offset}: a Cluster without AWS_KINESISVIDEO_FRAGMENT_NUMBER before it; this is not GetMedia output"
    )]
    NoFragmentNumber {
        /// Offset that the reader has reached in the stream.
        offset: u64,
    },
    /// The stream ended inside an element.
    #[error("the stream ends at byte {offset}, inside {element}; the rest was never received")]
    Truncated {
        /// Length of the stream.
        offset: u64,
        /// The innermost incomplete element.
        element: ElementId,
    },
}
