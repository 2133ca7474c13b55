//! Boxes, and the fields in them.

use crate::Error;

pub(crate) type Kind = [u8; 4];

/// One box.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mp4Box<'a> {
    pub(crate) kind: Kind,
    /// Of its head, in the segment.
    pub(crate) offset: usize,
    pub(crate) body: &'a [u8],
    /// Of its body, in the segment.
    pub(crate) body_offset: usize,
}

impl<'a> Mp4Box<'a> {
    pub(crate) fn children(&self) -> Boxes<'a> {
        Boxes { bytes: self.body, base: self.body_offset, at: 0 }
    }

    /// What follows the first `skip` bytes of its body, as boxes.
    pub(crate) fn children_after(&self, skip: usize, part: &'static str) -> Result<Boxes<'a>, Error> {
        let bytes = self.body.get(skip..).ok_or(Error::Truncated { offset: self.offset, part })?;
        Ok(Boxes { bytes, base: self.body_offset + skip, at: 0 })
    }

    pub(crate) fn fields(&self, part: &'static str) -> Fields<'a> {
        Fields { bytes: self.body, at: 0, base: self.body_offset, part }
    }
}

/// The boxes in a piece of a segment, in their order; the first error ends them.
#[derive(Debug, Clone)]
pub(crate) struct Boxes<'a> {
    bytes: &'a [u8],
    base: usize,
    at: usize,
}

impl<'a> Boxes<'a> {
    pub(crate) fn of_segment(bytes: &'a [u8]) -> Self {
        Self { bytes, base: 0, at: 0 }
    }

    /// The first of a kind.
    pub(crate) fn find(self, kind: &Kind) -> Result<Option<Mp4Box<'a>>, Error> {
        for found in self {
            let found = found?;
            if found.kind == *kind {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    pub(crate) fn need(self, kind: &Kind, part: &'static str) -> Result<Mp4Box<'a>, Error> {
        self.find(kind)?.ok_or(Error::Missing { whole: "segment", part })
    }

    fn read(&mut self) -> Result<Mp4Box<'a>, Error> {
        let offset = self.base + self.at;
        let cut = Error::Truncated { offset, part: "a box" };
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let mut fields = Fields { bytes: rest, at: 0, base: offset, part: "a box" };
        let (short, kind) = (fields.u32()?, fields.array::<4>()?);
        let size = match short {
            0 => rest.len(),
            1 => usize::try_from(fields.u64()?).map_err(|_| cut.clone())?,
            size => size as usize,
        };
        if size < fields.at {
            return Err(Error::Invalid { offset, part: "a box", expected: "a size that includes its head" });
        }
        let body = rest.get(fields.at..size).ok_or(cut)?;
        self.at += size;
        Ok(Mp4Box { kind, offset, body, body_offset: offset + fields.at })
    }
}

impl<'a> Iterator for Boxes<'a> {
    type Item = Result<Mp4Box<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.bytes.len() {
            return None;
        }
        let read = self.read();
        if read.is_err() {
            self.at = self.bytes.len();
        }
        Some(read)
    }
}

/// Big-endian fields, one after another.
#[derive(Debug)]
pub(crate) struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
    base: usize,
    part: &'static str,
}

impl Fields<'_> {
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let cut = Error::Truncated { offset: self.base + self.at, part: self.part };
        let bytes = self.bytes.get(self.at..).and_then(|rest| rest.first_chunk::<N>()).ok_or(cut)?;
        self.at += N;
        Ok(*bytes)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Error> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Error> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Error> {
        self.array().map(u64::from_be_bytes)
    }

    /// 64 bits where the box has version 1, else 32.
    pub(crate) fn by_version(&mut self, version: u8) -> Result<u64, Error> {
        if version == 1 { self.u64() } else { self.u32().map(u64::from) }
    }

    pub(crate) fn skip(&mut self, bytes: usize) -> Result<(), Error> {
        self.at += bytes;
        let ended = self.at > self.bytes.len();
        if ended { Err(Error::Truncated { offset: self.base, part: self.part }) } else { Ok(()) }
    }

    /// Version and flags of a full box.
    pub(crate) fn version_and_flags(&mut self) -> Result<(u8, u32), Error> {
        let word = self.u32()?;
        Ok(((word >> 24) as u8, word & 0xFF_FFFF))
    }

    pub(crate) fn error(&self, expected: &'static str) -> Error {
        Error::Invalid { offset: self.base, part: self.part, expected }
    }
}
