//! EBML: element ids, variable-size integers, and the children of an element that is in memory.
//!
//! Source: RFC 8794 (EBML) and RFC 9559 (Matroska).

use crate::element_id::ElementId;
use crate::error::MkvError;

/// Reads the element id at the start of `bytes` and returns it with its length, or `None` if more bytes are
/// needed.
pub(crate) fn read_id(bytes: &[u8], offset: u64) -> Result<Option<(ElementId, usize)>, MkvError> {
    let Some(&first_byte) = bytes.first() else { return Ok(None) };
    // RFC 8794, section 4: the number of leading zero bits is the number of bytes that follow. Matroska keeps
    // EBMLMaxIDLength at 4.
    let len = first_byte.leading_zeros() as usize + 1;
    if len > 4 {
        return Err(MkvError::InvalidId { offset, first_byte });
    }
    let Some(coded) = bytes.get(..len) else { return Ok(None) };
    let value = coded.iter().fold(0, |value, &byte| value << 8 | u32::from(byte));
    let ones = (1 << (7 * len)) - 1;
    match value & ones {
        // RFC 8794, section 5: the VINT_DATA of an id is neither all zeros nor all ones.
        data if data == 0 || data == ones => Err(MkvError::InvalidId { offset, first_byte }),
        _ => Ok(Some((ElementId(value), len))),
    }
}

/// A variable-size integer (RFC 8794, section 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Vint {
    /// VINT_DATA: the value without the length marker.
    pub(crate) value: u64,
    /// Length in bytes, 1 to 8.
    pub(crate) len: usize,
}

impl Vint {
    /// Returns true if all data bits are ones, which as an Element Data Size means unknown (RFC 8794, section
    /// 6).
    pub(crate) fn is_unknown(self) -> bool {
        self.value == (1 << (7 * self.len)) - 1
    }
}

/// Reads the integer at the start of `bytes`, or returns `None` if more bytes are needed; `element` is for
/// errors.
pub(crate) fn read_vint(bytes: &[u8], offset: u64, element: ElementId) -> Result<Option<Vint>, MkvError> {
    let Some(&first) = bytes.first() else { return Ok(None) };
    let len = first.leading_zeros() as usize + 1;
    if len > 8 {
        return Err(MkvError::InvalidVint { offset, element });
    }
    let Some(coded) = bytes.get(..len) else { return Ok(None) };
    let coded = coded.iter().fold(0, |value, &byte| value << 8 | u64::from(byte));
    Ok(Some(Vint { value: coded & ((1 << (7 * len)) - 1), len }))
}

/// The Element ID and Element Data Size before an element's body.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ElementHeader {
    pub(crate) id: ElementId,
    /// Length of the header itself, 2 to 12 bytes.
    pub(crate) len: usize,
    /// Length of the body in bytes, or `None` if unknown.
    pub(crate) size: Option<u64>,
}

/// Reads the element header at the start of `bytes`, or returns `None` if more bytes are needed.
pub(crate) fn read_header(bytes: &[u8], offset: u64) -> Result<Option<ElementHeader>, MkvError> {
    let Some((id, id_len)) = read_id(bytes, offset)? else { return Ok(None) };
    let at = offset + id_len as u64;
    let Some(size) = read_vint(&bytes[id_len..], at, id)? else { return Ok(None) };
    let known = (!size.is_unknown()).then_some(size.value);
    Ok(Some(ElementHeader { id, len: id_len + size.len, size: known }))
}

/// An element that is completely in memory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EbmlElement<'a> {
    pub(crate) id: ElementId,
    /// Offset of the header in the stream.
    pub(crate) offset: u64,
    /// Header and body.
    pub(crate) raw: &'a [u8],
    pub(crate) header_len: usize,
}

impl<'a> EbmlElement<'a> {
    /// Returns the bytes after the header.
    pub(crate) fn body(&self) -> &'a [u8] {
        &self.raw[self.header_len..]
    }

    /// Returns the offset of the body in the stream.
    pub(crate) fn body_offset(&self) -> u64 {
        self.offset + self.header_len as u64
    }

    /// Returns the elements in the body in order; the first error ends the iteration.
    pub(crate) fn children(&self) -> ChildElements<'a> {
        ChildElements { parent: self.id, rest: self.body(), offset: self.body_offset() }
    }

    /// Reads the body as an unsigned integer; an empty body stands for `default`.
    pub(crate) fn uint(&self, default: u64) -> Result<u64, MkvError> {
        match self.body() {
            [] => Ok(default),
            body if body.len() > 8 => Err(self.invalid("an integer of at most 8 bytes")),
            body => Ok(body.iter().fold(0, |value, &byte| value << 8 | u64::from(byte))),
        }
    }

    /// Reads the body as text up to the first NUL; invalid UTF-8 becomes U+FFFD.
    pub(crate) fn text(&self) -> String {
        // RFC 8794, section 13: a writer may pad a string with NULs, and some producers do.
        let body = self.body();
        let end = body.iter().position(|&byte| byte == 0).unwrap_or(body.len());
        String::from_utf8_lossy(&body[..end]).into_owned()
    }

    /// Returns the error that this element must hold `expected`.
    pub(crate) fn invalid(&self, expected: &'static str) -> MkvError {
        MkvError::Invalid { offset: self.offset, element: self.id, expected }
    }

    /// Returns the error that this element lacks `child`.
    pub(crate) fn missing(&self, child: ElementId) -> MkvError {
        MkvError::Missing { offset: self.offset, element: self.id, child }
    }
}

/// Iterator over the elements of a body.
#[derive(Debug)]
pub(crate) struct ChildElements<'a> {
    parent: ElementId,
    rest: &'a [u8],
    offset: u64,
}

impl<'a> ChildElements<'a> {
    fn split_first(&mut self) -> Result<EbmlElement<'a>, MkvError> {
        let offset = self.offset;
        let short = || MkvError::Invalid { offset, element: self.parent, expected: "whole elements" };
        let ElementHeader { id, len, size } = read_header(self.rest, offset)?.ok_or_else(short)?;
        // RFC 9559 allows an unknown size for Segment and Cluster only, and neither is ever a child here.
        let size = size.ok_or(MkvError::UnknownSize { offset, element: id })?;
        let end = size.saturating_add(len as u64);
        let parent_len = self.rest.len();
        let Some(whole) = usize::try_from(end).ok().filter(|&whole| whole <= parent_len) else {
            let (end, parent_end) = (offset.saturating_add(end), offset + parent_len as u64);
            return Err(MkvError::Overrun { offset, element: id, end, parent_end });
        };
        let (raw, rest) = self.rest.split_at(whole);
        self.rest = rest;
        self.offset += whole as u64;
        Ok(EbmlElement { id, offset, raw, header_len: len })
    }
}

impl<'a> Iterator for ChildElements<'a> {
    type Item = Result<EbmlElement<'a>, MkvError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let child = self.split_first();
        if child.is_err() {
            // Where the next child begins is unknown after an error.
            self.rest = &[];
        }
        Some(child)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variable_size_integers_are_read() {
        let read = |bytes: &[u8]| {
            let vint = read_vint(bytes, 0, ElementId::VOID).unwrap();
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
        assert_eq!(
            read_vint(&[0], 7, ElementId::VOID),
            Err(MkvError::InvalidVint { offset: 7, element: ElementId::VOID })
        );
    }

    #[test]
    fn ids_are_read_and_reserved_ones_rejected() {
        assert_eq!(read_id(&[0x1A, 0x45, 0xDF], 0), Ok(None));
        assert_eq!(read_id(&[0x1A, 0x45, 0xDF, 0xA3, 1], 0), Ok(Some((ElementId::EBML, 4))));
        assert_eq!(read_id(&[0xEC], 0), Ok(Some((ElementId::VOID, 1))));
        for bad in [&[0x08, 1, 1, 1, 1][..], &[0x00], &[0x80], &[0xFF], &[0x7F, 0xFF], &[0x40, 0x00]] {
            let error = MkvError::InvalidId { offset: 3, first_byte: bad[0] };
            assert_eq!(read_id(bad, 3), Err(error), "{bad:?}");
        }
    }

    #[test]
    fn ids_are_displayed_with_their_names() {
        assert_eq!(ElementId::SIMPLE_BLOCK.to_string(), "SimpleBlock (0xA3)");
        assert_eq!(ElementId(0x4444).to_string(), "an element (0x4444)");
    }
}
