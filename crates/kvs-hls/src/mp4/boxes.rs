//! Boxes (ISO/IEC 14496-12, 4.2) and the fields inside them.

use crate::HlsError;

/// The four-character code of a box.
pub(crate) type BoxType = [u8; 4];

/// One box.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mp4Box<'a> {
    pub(crate) kind: BoxType,
    /// Offset of the box header in the segment.
    pub(crate) offset: usize,
    pub(crate) body: &'a [u8],
    /// Offset of the body in the segment.
    pub(crate) body_offset: usize,
}

impl<'a> Mp4Box<'a> {
    /// Returns the boxes in the body.
    pub(crate) fn children(&self) -> Boxes<'a> {
        Boxes { bytes: self.body, base: self.body_offset, at: 0 }
    }

    /// Returns the boxes in the body after its first `skip` bytes; `part` is for errors.
    pub(crate) fn children_after(&self, skip: usize, part: &'static str) -> Result<Boxes<'a>, HlsError> {
        let bytes = self.body.get(skip..).ok_or(HlsError::Truncated { offset: self.offset, part })?;
        Ok(Boxes { bytes, base: self.body_offset + skip, at: 0 })
    }

    /// Returns a reader of the body's fields; `part` is for errors.
    pub(crate) fn fields(&self, part: &'static str) -> BoxFields<'a> {
        BoxFields { bytes: self.body, at: 0, base: self.body_offset, part }
    }
}

/// Iterator over consecutive boxes; the first error ends it.
#[derive(Debug, Clone)]
pub(crate) struct Boxes<'a> {
    bytes: &'a [u8],
    /// Offset of `bytes` in the segment.
    base: usize,
    at: usize,
}

impl<'a> Boxes<'a> {
    /// Returns the top-level boxes of a segment.
    pub(crate) fn of_segment(bytes: &'a [u8]) -> Self {
        Self { bytes, base: 0, at: 0 }
    }

    /// Returns the first box of a type, or `None` if there is none.
    pub(crate) fn find(self, kind: &BoxType) -> Result<Option<Mp4Box<'a>>, HlsError> {
        for child in self {
            let child = child?;
            if child.kind == *kind {
                return Ok(Some(child));
            }
        }
        Ok(None)
    }

    /// Returns the first box of a type, or an error that names `part` if there is none.
    pub(crate) fn require(self, kind: &BoxType, part: &'static str) -> Result<Mp4Box<'a>, HlsError> {
        self.find(kind)?.ok_or(HlsError::Missing { whole: "segment", part })
    }

    fn read_box(&mut self) -> Result<Mp4Box<'a>, HlsError> {
        let offset = self.base + self.at;
        let cut = HlsError::Truncated { offset, part: "a box" };
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let mut fields = BoxFields { bytes: rest, at: 0, base: offset, part: "a box" };
        let (size, kind) = (fields.u32()?, fields.array::<4>()?);
        // 4.2: size 0 means up to the end of the file, size 1 that a 64-bit largesize follows.
        let size = match size {
            0 => rest.len(),
            1 => usize::try_from(fields.u64()?).map_err(|_| cut.clone())?,
            size => size as usize,
        };
        // A smaller size would move backwards and never end.
        if size < fields.at {
            let expected = "a size that includes its head";
            return Err(HlsError::Invalid { offset, part: "a box", expected });
        }
        let body = rest.get(fields.at..size).ok_or(cut)?;
        self.at += size;
        Ok(Mp4Box { kind, offset, body, body_offset: offset + fields.at })
    }
}

impl<'a> Iterator for Boxes<'a> {
    type Item = Result<Mp4Box<'a>, HlsError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.bytes.len() {
            return None;
        }
        let next = self.read_box();
        if next.is_err() {
            self.at = self.bytes.len();
        }
        Some(next)
    }
}

/// Reader of consecutive big-endian fields.
#[derive(Debug)]
pub(crate) struct BoxFields<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Offset of `bytes` in the segment.
    base: usize,
    part: &'static str,
}

impl BoxFields<'_> {
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], HlsError> {
        let cut = HlsError::Truncated { offset: self.base + self.at, part: self.part };
        let bytes = self.bytes.get(self.at..).and_then(|rest| rest.first_chunk::<N>()).ok_or(cut)?;
        self.at += N;
        Ok(*bytes)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, HlsError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, HlsError> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, HlsError> {
        self.array().map(u64::from_be_bytes)
    }

    /// Reads a field of 64 bits in a box of version 1, and of 32 bits in one of version 0.
    pub(crate) fn by_version(&mut self, version: u8) -> Result<u64, HlsError> {
        if version == 1 { self.u64() } else { self.u32().map(u64::from) }
    }

    pub(crate) fn skip(&mut self, bytes: usize) -> Result<(), HlsError> {
        self.at += bytes;
        let is_beyond = self.at > self.bytes.len();
        if is_beyond { Err(HlsError::Truncated { offset: self.base, part: self.part }) } else { Ok(()) }
    }

    /// Reads the version and flags at the start of a full box.
    pub(crate) fn version_and_flags(&mut self) -> Result<(u8, u32), HlsError> {
        let word = self.u32()?;
        Ok(((word >> 24) as u8, word & 0xFF_FFFF))
    }

    /// Returns the error that the box must hold `expected`.
    pub(crate) fn invalid(&self, expected: &'static str) -> HlsError {
        HlsError::Invalid { offset: self.base, part: self.part, expected }
    }
}
