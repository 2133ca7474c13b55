//! Blocks: the frames of a Cluster, laced or alone.

use bytes::Bytes;

use crate::ebml::{Element, Vint, read_vint};
use crate::{Error, Id};

/// Which element a frame came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockKind {
    /// A SimpleBlock.
    Simple,
    /// A Block in a BlockGroup.
    Group,
}

/// One frame.
///
/// A laced block gives one for each of its frames; all have the timecode of the block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Number of its track.
    pub track: u64,
    /// Timecode relative to the Cluster's, in units of the timecode scale.
    pub relative: i16,
    /// Whether it can be decoded without another: the flag of a SimpleBlock, no ReferenceBlock in a BlockGroup.
    pub key: bool,
    /// The block's flags as they came.
    pub flags: u8,
    /// Which element it came in.
    pub kind: BlockKind,
    /// The frame itself: a slice of what was pushed, not a copy.
    pub data: Bytes,
}

const KEY: u8 = 0x80;
const LACING: u8 = 0x06;

/// Hands the frames of a SimpleBlock or a BlockGroup to `emit`. `raw` is the element's own memory.
pub(crate) fn read(element: &Element<'_>, raw: &Bytes, emit: &mut dyn FnMut(Block)) -> Result<(), Error> {
    if element.id == Id::SIMPLE_BLOCK {
        return read_frames(element, raw, None, emit);
    }
    let mut block = None;
    let mut key = true;
    for child in element.children() {
        let child = child?;
        match child.id {
            Id::BLOCK if block.is_some() => return Err(element.invalid("one Block")),
            Id::BLOCK => block = Some(child),
            Id::REFERENCE_BLOCK => key = false,
            _ => {}
        }
    }
    let block = block.ok_or_else(|| element.missing(Id::BLOCK))?;
    read_frames(&block, raw, Some(key), emit)
}

/// Reads the block itself; `group_key` is set where it stands in a BlockGroup.
fn read_frames(
    block: &Element<'_>,
    raw: &Bytes,
    group_key: Option<bool>,
    emit: &mut dyn FnMut(Block),
) -> Result<(), Error> {
    let body = block.body();
    let short = || block.invalid("a track number, a timecode and flags");
    let Vint { value: track, len } = read_vint(body, block.body_offset(), block.id)?.ok_or_else(short)?;
    let [high, low, flags, payload @ ..] = &body[len..] else { return Err(short()) };
    let kind = if group_key.is_some() { BlockKind::Group } else { BlockKind::Simple };
    let key = group_key.unwrap_or(flags & KEY != 0);
    let frame = |data| Block {
        track,
        relative: i16::from_be_bytes([*high, *low]),
        key,
        flags: *flags,
        kind,
        data: raw.slice_ref(data),
    };
    if flags & LACING == 0 {
        emit(frame(payload));
        return Ok(());
    }
    let mut lace = Lace { block, rest: payload };
    let sizes = lace.sizes(flags & LACING)?;
    for size in sizes {
        emit(frame(lace.take(size)?));
    }
    Ok(())
}

/// The payload of a laced block: a count, the sizes of all frames but the last, the frames.
struct Lace<'a> {
    block: &'a Element<'a>,
    rest: &'a [u8],
}

impl<'a> Lace<'a> {
    /// Reads the sizes and leaves the frames.
    fn sizes(&mut self, lacing: u8) -> Result<Vec<usize>, Error> {
        let count = usize::from(self.take(1)?[0]) + 1;
        if lacing == 0x04 {
            return self.fixed_sizes(count);
        }
        let mut sizes = Vec::with_capacity(count);
        for _ in 1..count {
            let size = match sizes.last() {
                _ if lacing == 0x02 => self.xiph_size()?,
                None => self.ebml_size()?,
                Some(&previous) => self.ebml_difference(previous)?,
            };
            sizes.push(size);
        }
        let known = sizes.iter().try_fold(0usize, |sum, &size| sum.checked_add(size));
        let last = known.and_then(|known| self.rest.len().checked_sub(known));
        sizes.push(last.ok_or_else(|| self.wrong())?);
        Ok(sizes)
    }

    fn fixed_sizes(&self, count: usize) -> Result<Vec<usize>, Error> {
        let size = self.rest.len() / count;
        if size == 0 || size * count != self.rest.len() {
            return Err(self.wrong());
        }
        Ok(vec![size; count])
    }

    fn xiph_size(&mut self) -> Result<usize, Error> {
        let mut size = 0;
        loop {
            let byte = self.take(1)?[0];
            size += usize::from(byte);
            if byte < 255 {
                return Ok(size);
            }
        }
    }

    fn ebml_size(&mut self) -> Result<usize, Error> {
        usize::try_from(self.vint()?.value).map_err(|_| self.wrong())
    }

    fn ebml_difference(&mut self, previous: usize) -> Result<usize, Error> {
        let Vint { value, len } = self.vint()?;
        let bias = (1i64 << (7 * len - 1)) - 1;
        let size = i64::try_from(value).ok().zip(i64::try_from(previous).ok());
        let size = size.and_then(|(value, previous)| previous.checked_add(value - bias));
        size.and_then(|size| usize::try_from(size).ok()).ok_or_else(|| self.wrong())
    }

    fn vint(&mut self) -> Result<Vint, Error> {
        let read = read_vint(self.rest, self.block.body_offset(), self.block.id)?;
        let vint = read.ok_or_else(|| self.wrong())?;
        self.take(vint.len)?;
        Ok(vint)
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], Error> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or_else(|| self.wrong())?;
        self.rest = rest;
        Ok(taken)
    }

    fn wrong(&self) -> Error {
        self.block.invalid("laced frames whose sizes fill the block")
    }
}
