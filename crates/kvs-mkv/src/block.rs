//! Blocks: the frames of a Cluster, laced or single.

use bytes::Bytes;

use crate::ebml::{EbmlElement, Vint, read_vint};
use crate::{ElementId, MkvError};

/// The element that contained a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockKind {
    /// A SimpleBlock.
    Simple,
    /// A Block in a BlockGroup.
    Group,
}

/// One frame of a SimpleBlock or BlockGroup.
///
/// A laced block yields one value for each of its frames, all with the timestamp of the block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// TrackNumber of its track.
    pub track: u64,
    /// Timestamp relative to the Cluster's, in units of the timestamp scale.
    pub relative: i16,
    /// True for a keyframe: the flag of a SimpleBlock, or a BlockGroup without a ReferenceBlock.
    pub key: bool,
    /// Flags of the block as they were received.
    pub flags: u8,
    /// The element that contained the frame.
    pub kind: BlockKind,
    /// The frame: a slice of the received bytes, not a copy.
    pub data: Bytes,
}

/// Flags of a block header (RFC 9559, section 10).
pub(crate) mod flags {
    /// Keyframe, in a SimpleBlock only.
    pub(crate) const KEY: u8 = 0x80;
    /// The two bits of the lacing mode.
    pub(crate) const LACING: u8 = 0x06;
    pub(super) const XIPH_LACING: u8 = 0x02;
    pub(super) const FIXED_SIZE_LACING: u8 = 0x04;
    // The third mode, both bits set, is EBML lacing. Not used: 0x08 invisible, 0x01 discardable.
}

/// Reads a SimpleBlock or a BlockGroup and passes each frame to `emit`; `raw` is the memory that `element`
/// borrows.
pub(crate) fn read_block(
    element: &EbmlElement<'_>,
    raw: &Bytes,
    emit: &mut dyn FnMut(Block),
) -> Result<(), MkvError> {
    if element.id == ElementId::SIMPLE_BLOCK {
        return read_frames(element, raw, None, emit);
    }
    let (block, key) = read_group(element)?;
    read_frames(&block, raw, Some(key), emit)
}

/// Returns the Block of a BlockGroup, and true if its frame is a keyframe.
fn read_group<'a>(group: &EbmlElement<'a>) -> Result<(EbmlElement<'a>, bool), MkvError> {
    let mut block = None;
    let mut key = true;
    for child in group.children() {
        let child = child?;
        match child.id {
            ElementId::BLOCK if block.is_some() => return Err(group.invalid("one Block")),
            ElementId::BLOCK => block = Some(child),
            // RFC 9559, 5.1.3.5.5: a frame that refers to no other has no ReferenceBlock, and is a keyframe.
            ElementId::REFERENCE_BLOCK => key = false,
            // Ignored: BlockAdditions, BlockDuration, ReferencePriority, CodecState, DiscardPadding.
            _ => {}
        }
    }
    let block = block.ok_or_else(|| group.missing(ElementId::BLOCK))?;
    Ok((block, key))
}

/// Reads the block itself; `group_key` is the keyframe state if the block is in a BlockGroup.
fn read_frames(
    block: &EbmlElement<'_>,
    raw: &Bytes,
    group_key: Option<bool>,
    emit: &mut dyn FnMut(Block),
) -> Result<(), MkvError> {
    let (header, payload) = read_block_header(block, group_key)?;
    let frame = |data| Block { data: raw.slice_ref(data), ..header.clone() };
    let lacing = header.flags & flags::LACING;
    if lacing == 0 {
        emit(frame(payload));
        return Ok(());
    }
    let mut lace = Lace { block, rest: payload };
    let sizes = lace.read_sizes(lacing)?;
    for size in sizes {
        emit(frame(lace.take(size)?));
    }
    Ok(())
}

/// Returns the header of a block as a frame without data, and the payload after it.
fn read_block_header<'a>(
    block: &EbmlElement<'a>,
    group_key: Option<bool>,
) -> Result<(Block, &'a [u8]), MkvError> {
    let body = block.body();
    let short = || block.invalid("a track number, a timestamp and flags");
    let Vint { value: track, len } = read_vint(body, block.body_offset(), block.id)?.ok_or_else(short)?;
    let [high, low, block_flags, payload @ ..] = &body[len..] else { return Err(short()) };
    let header = Block {
        track,
        relative: i16::from_be_bytes([*high, *low]),
        key: group_key.unwrap_or(block_flags & flags::KEY != 0),
        flags: *block_flags,
        kind: if group_key.is_some() { BlockKind::Group } else { BlockKind::Simple },
        data: Bytes::new(),
    };
    Ok((header, payload))
}

/// The payload of a laced block: the number of frames less one, the sizes of all frames but the last, the
/// frames.
///
/// Source: RFC 9559, section 10.3.
struct Lace<'a> {
    block: &'a EbmlElement<'a>,
    rest: &'a [u8],
}

impl<'a> Lace<'a> {
    /// Reads the frame sizes, so that only the frames are left.
    fn read_sizes(&mut self, lacing: u8) -> Result<Vec<usize>, MkvError> {
        let count = usize::from(self.take(1)?[0]) + 1;
        if lacing == flags::FIXED_SIZE_LACING {
            return self.fixed_sizes(count);
        }
        let mut sizes = Vec::with_capacity(count);
        for _ in 1..count {
            let size = match sizes.last() {
                _ if lacing == flags::XIPH_LACING => self.read_xiph_size()?,
                None => self.read_ebml_size()?,
                Some(&previous) => self.read_ebml_difference(previous)?,
            };
            sizes.push(size);
        }
        // The last size is not coded: the last frame has what the others leave.
        let coded = sizes.iter().try_fold(0usize, |sum, &size| sum.checked_add(size));
        let last = coded.and_then(|coded| self.rest.len().checked_sub(coded));
        sizes.push(last.ok_or_else(|| self.invalid_sizes())?);
        Ok(sizes)
    }

    fn fixed_sizes(&self, count: usize) -> Result<Vec<usize>, MkvError> {
        let size = self.rest.len() / count;
        if size == 0 || size * count != self.rest.len() {
            return Err(self.invalid_sizes());
        }
        Ok(vec![size; count])
    }

    /// Reads a size in Xiph lacing: the sum of bytes up to the first that is below 255.
    fn read_xiph_size(&mut self) -> Result<usize, MkvError> {
        let mut size = 0;
        loop {
            let byte = self.take(1)?[0];
            size += usize::from(byte);
            if byte < 255 {
                return Ok(size);
            }
        }
    }

    fn read_ebml_size(&mut self) -> Result<usize, MkvError> {
        usize::try_from(self.read_vint()?.value).map_err(|_| self.invalid_sizes())
    }

    /// Reads the size of a frame after the first in EBML lacing: a signed difference to the size before it.
    fn read_ebml_difference(&mut self, previous: usize) -> Result<usize, MkvError> {
        let Vint { value, len } = self.read_vint()?;
        // A difference is coded with a bias, so that the middle of the vint's range stands for 0.
        let bias = (1i64 << (7 * len - 1)) - 1;
        let size = i64::try_from(value).ok().zip(i64::try_from(previous).ok());
        let size = size.and_then(|(value, previous)| previous.checked_add(value - bias));
        size.and_then(|size| usize::try_from(size).ok()).ok_or_else(|| self.invalid_sizes())
    }

    fn read_vint(&mut self) -> Result<Vint, MkvError> {
        let read = read_vint(self.rest, self.block.body_offset(), self.block.id)?;
        let vint = read.ok_or_else(|| self.invalid_sizes())?;
        self.take(vint.len)?;
        Ok(vint)
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], MkvError> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or_else(|| self.invalid_sizes())?;
        self.rest = rest;
        Ok(taken)
    }

    fn invalid_sizes(&self) -> MkvError {
        self.block.invalid("laced frames whose sizes fill the block")
    }
}
