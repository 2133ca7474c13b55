//! EBML: element ids, variable-length integers, and the children of an element that is in memory.
//!
//! Source: RFC 8794 (EBML) and RFC 9559 (Matroska).

use std::fmt;

use crate::Error;

/// An element id, with its length marker, as it stands in the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Id(pub u32);

/// Declares the ids we know and their names.
macro_rules! ids {
    ($($constant:ident $value:literal $name:literal)*) => {
        impl Id {
            $(pub(crate) const $constant: Id = Id($value);)*

            fn name(self) -> &'static str {
                match self {
                    $(Self::$constant => $name,)*
                    _ => "an element",
                }
            }
        }
    };
}

ids! {
    EBML 0x1A45_DFA3 "the EBML header"
    DOC_TYPE 0x4282 "DocType"
    MAX_ID_LENGTH 0x42F2 "EBMLMaxIDLength"
    MAX_SIZE_LENGTH 0x42F3 "EBMLMaxSizeLength"
    VOID 0xEC "Void"
    CRC32 0xBF "CRC-32"
    SEGMENT 0x1853_8067 "Segment"
    SEEK_HEAD 0x114D_9B74 "SeekHead"
    INFO 0x1549_A966 "Info"
    TIMECODE_SCALE 0x2A_D7B1 "TimestampScale"
    MUXING_APP 0x4D80 "MuxingApp"
    WRITING_APP 0x5741 "WritingApp"
    TRACKS 0x1654_AE6B "Tracks"
    TRACK_ENTRY 0xAE "TrackEntry"
    TRACK_NUMBER 0xD7 "TrackNumber"
    TRACK_UID 0x73C5 "TrackUID"
    TRACK_TYPE 0x83 "TrackType"
    CODEC_ID 0x86 "CodecID"
    CODEC_PRIVATE 0x63A2 "CodecPrivate"
    DEFAULT_DURATION 0x23_E383 "DefaultDuration"
    CONTENT_ENCODINGS 0x6D80 "ContentEncodings"
    VIDEO 0xE0 "Video"
    PIXEL_WIDTH 0xB0 "PixelWidth"
    PIXEL_HEIGHT 0xBA "PixelHeight"
    TAGS 0x1254_C367 "Tags"
    TAG 0x7373 "Tag"
    SIMPLE_TAG 0x67C8 "SimpleTag"
    TAG_NAME 0x45A3 "TagName"
    TAG_STRING 0x4487 "TagString"
    CLUSTER 0x1F43_B675 "Cluster"
    TIMESTAMP 0xE7 "Timestamp"
    SIMPLE_BLOCK 0xA3 "SimpleBlock"
    BLOCK_GROUP 0xA0 "BlockGroup"
    BLOCK 0xA1 "Block"
    REFERENCE_BLOCK 0xFB "ReferenceBlock"
    CUES 0x1C53_BB6B "Cues"
    CHAPTERS 0x1043_A770 "Chapters"
    ATTACHMENTS 0x1941_A469 "Attachments"
}

impl Id {
    /// Whether it begins a new document.
    pub(crate) fn is_top(self) -> bool {
        matches!(self, Self::EBML | Self::SEGMENT)
    }

    /// Whether it belongs right under the Segment, and so ends a Cluster of unknown size.
    pub(crate) fn is_level_1(self) -> bool {
        matches!(
            self,
            Self::SEEK_HEAD
                | Self::INFO
                | Self::TRACKS
                | Self::TAGS
                | Self::CLUSTER
                | Self::CUES
                | Self::CHAPTERS
                | Self::ATTACHMENTS
        )
    }

    /// Whether it belongs right under a Cluster.
    pub(crate) fn is_in_cluster(self) -> bool {
        matches!(self, Self::TIMESTAMP | Self::SIMPLE_BLOCK | Self::BLOCK_GROUP)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (0x{:X})", self.name(), self.0)
    }
}

/// The id that the bytes begin with and its length, or `None` where more bytes are needed.
pub(crate) fn read_id(bytes: &[u8], offset: u64) -> Result<Option<(Id, usize)>, Error> {
    let Some(&first_byte) = bytes.first() else { return Ok(None) };
    let len = first_byte.leading_zeros() as usize + 1;
    if len > 4 {
        return Err(Error::InvalidId { offset, first_byte });
    }
    let Some(coded) = bytes.get(..len) else { return Ok(None) };
    let value = coded.iter().fold(0, |value, &byte| value << 8 | u32::from(byte));
    let ones = (1 << (7 * len)) - 1;
    match value & ones {
        bits if bits == 0 || bits == ones => Err(Error::InvalidId { offset, first_byte }),
        _ => Ok(Some((Id(value), len))),
    }
}

/// A variable-length integer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Vint {
    /// Its value without the length marker.
    pub(crate) value: u64,
    /// Bytes it takes, 1 to 8.
    pub(crate) len: usize,
}

impl Vint {
    /// Whether all bits are ones, which as a size means unknown.
    pub(crate) fn is_unknown(self) -> bool {
        self.value == (1 << (7 * self.len)) - 1
    }
}

/// The integer that the bytes begin with, or `None` where more bytes are needed.
pub(crate) fn read_vint(bytes: &[u8], offset: u64, element: Id) -> Result<Option<Vint>, Error> {
    let Some(&first) = bytes.first() else { return Ok(None) };
    let len = first.leading_zeros() as usize + 1;
    if len > 8 {
        return Err(Error::InvalidVint { offset, element });
    }
    let Some(coded) = bytes.get(..len) else { return Ok(None) };
    let coded = coded.iter().fold(0, |value, &byte| value << 8 | u64::from(byte));
    Ok(Some(Vint { value: coded & ((1 << (7 * len)) - 1), len }))
}

/// The head of an element.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Header {
    pub(crate) id: Id,
    /// Bytes of the head itself, 2 to 12.
    pub(crate) len: usize,
    /// Bytes of the body, or `None` where unknown.
    pub(crate) size: Option<u64>,
}

/// The element head that the bytes begin with, or `None` where more bytes are needed.
pub(crate) fn read_header(bytes: &[u8], offset: u64) -> Result<Option<Header>, Error> {
    let Some((id, id_len)) = read_id(bytes, offset)? else { return Ok(None) };
    let at = offset + id_len as u64;
    let Some(size) = read_vint(&bytes[id_len..], at, id)? else { return Ok(None) };
    let known = (!size.is_unknown()).then_some(size.value);
    Ok(Some(Header { id, len: id_len + size.len, size: known }))
}

/// An element that is wholly in memory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Element<'a> {
    pub(crate) id: Id,
    /// Offset of its first byte in the stream.
    pub(crate) offset: u64,
    /// Its bytes, head included.
    pub(crate) raw: &'a [u8],
    /// Bytes of its head.
    pub(crate) head_len: usize,
}

impl<'a> Element<'a> {
    /// Its bytes without the head.
    pub(crate) fn body(&self) -> &'a [u8] {
        &self.raw[self.head_len..]
    }

    /// Offset of its body in the stream.
    pub(crate) fn body_offset(&self) -> u64 {
        self.offset + self.head_len as u64
    }

    /// The elements in its body, in order; the first bad one ends them.
    pub(crate) fn children(&self) -> Children<'a> {
        Children { parent: self.id, rest: self.body(), offset: self.body_offset() }
    }

    /// Its body as an unsigned integer; `default` where the body is empty.
    pub(crate) fn uint(&self, default: u64) -> Result<u64, Error> {
        match self.body() {
            [] => Ok(default),
            body if body.len() > 8 => Err(self.invalid("an integer of at most 8 bytes")),
            body => Ok(body.iter().fold(0, |value, &byte| value << 8 | u64::from(byte))),
        }
    }

    /// Its body as text up to the first NUL; bytes that are no UTF-8 become U+FFFD.
    pub(crate) fn text(&self) -> String {
        let body = self.body();
        let end = body.iter().position(|&byte| byte == 0).unwrap_or(body.len());
        String::from_utf8_lossy(&body[..end]).into_owned()
    }

    /// The error that says what it must hold.
    pub(crate) fn invalid(&self, expected: &'static str) -> Error {
        Error::Invalid { offset: self.offset, element: self.id, expected }
    }

    /// The error that says which child it lacks.
    pub(crate) fn missing(&self, child: Id) -> Error {
        Error::Missing { offset: self.offset, element: self.id, child }
    }
}

/// The elements of a body.
#[derive(Debug)]
pub(crate) struct Children<'a> {
    parent: Id,
    rest: &'a [u8],
    offset: u64,
}

impl<'a> Children<'a> {
    fn split_first(&mut self) -> Result<Element<'a>, Error> {
        let offset = self.offset;
        let short = || Error::Invalid { offset, element: self.parent, expected: "whole elements" };
        let Header { id, len, size } = read_header(self.rest, offset)?.ok_or_else(short)?;
        let size = size.ok_or(Error::UnknownSize { offset, element: id })?;
        let end = size.saturating_add(len as u64);
        let parent_len = self.rest.len();
        let Some(whole) = usize::try_from(end).ok().filter(|&whole| whole <= parent_len) else {
            let (end, parent_end) = (offset.saturating_add(end), offset + parent_len as u64);
            return Err(Error::Overrun { offset, element: id, end, parent_end });
        };
        let (raw, rest) = self.rest.split_at(whole);
        self.rest = rest;
        self.offset += whole as u64;
        Ok(Element { id, offset, raw, head_len: len })
    }
}

impl<'a> Iterator for Children<'a> {
    type Item = Result<Element<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let child = self.split_first();
        if child.is_err() {
            self.rest = &[];
        }
        Some(child)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vints() {
        let read = |bytes: &[u8]| {
            let vint = read_vint(bytes, 0, Id::VOID).unwrap();
            vint.map(|vint| (vint.value, vint.len, vint.is_unknown()))
        };
        assert_eq!(read(&[]), None, "nothing");
        assert_eq!(read(&[0x81]), Some((1, 1, false)), "one byte");
        assert_eq!(read(&[0x80]), Some((0, 1, false)), "zero");
        assert_eq!(read(&[0xFF]), Some((127, 1, true)), "one byte, unknown");
        assert_eq!(read(&[0x10, 0, 0, 5]), Some((5, 4, false)), "four bytes");
        assert_eq!(read(&[0x10, 0, 0]), None, "one byte short");
        assert_eq!(read(&[1, 0, 0, 0, 0, 0, 1, 0]), Some((256, 8, false)), "eight bytes");
        let unknown = [1, 255, 255, 255, 255, 255, 255, 255];
        assert_eq!(read(&unknown), Some(((1 << 56) - 1, 8, true)), "eight bytes, unknown");
        assert_eq!(read(&[0x40, 2, 9]), Some((2, 2, false)), "more follows");
        assert_eq!(read_vint(&[0], 7, Id::VOID), Err(Error::InvalidVint { offset: 7, element: Id::VOID }));
    }

    #[test]
    fn ids() {
        assert_eq!(read_id(&[0x1A, 0x45, 0xDF], 0), Ok(None));
        assert_eq!(read_id(&[0x1A, 0x45, 0xDF, 0xA3, 1], 0), Ok(Some((Id::EBML, 4))));
        assert_eq!(read_id(&[0xEC], 0), Ok(Some((Id::VOID, 1))));
        for bad in [&[0x08, 1, 1, 1, 1][..], &[0x00], &[0x80], &[0xFF], &[0x7F, 0xFF], &[0x40, 0x00]] {
            let error = Error::InvalidId { offset: 3, first_byte: bad[0] };
            assert_eq!(read_id(bad, 3), Err(error), "{bad:?}");
        }
    }

    #[test]
    fn ids_have_names() {
        assert_eq!(Id::SIMPLE_BLOCK.to_string(), "SimpleBlock (0xA3)");
        assert_eq!(Id(0x4444).to_string(), "an element (0x4444)");
    }
}
