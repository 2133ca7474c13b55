//! Documents: the incremental reader on which the others stand.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};

use crate::ebml::{Element, Header, read_header, read_id};
use crate::{Block, Error, Id, Limits, Tag, Track, block, tags, track};

/// One thing found in a stream of documents, in the order of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// An EBML header: a new document begins.
    Document,
    /// The Info element.
    Info {
        /// Nanoseconds of one unit of every timecode in this document.
        timecode_scale_ns: u64,
        /// The whole element as it came, head included.
        raw: Bytes,
    },
    /// The Tracks element.
    Tracks(Arc<[Track]>),
    /// A Tags element, wherever it stands: simple tags in order.
    Tags(Vec<Tag>),
    /// A Cluster and its Timestamp.
    ClusterStart {
        /// In units of the timecode scale.
        timestamp: u64,
    },
    /// A frame of the Cluster.
    Block(Block),
    /// The Cluster is over.
    ClusterEnd,
}

/// Timecode scale of a document that does not name one.
pub(crate) const DEFAULT_TIMECODE_SCALE_NS: u64 = 1_000_000;

/// Reads documents, one after another, from bytes that come in pieces.
///
/// An item comes out as soon as its last byte is in, the end of a Cluster of unknown size with the id of the
/// element that follows it. At most one element and what was last pushed are in memory, if `next` is called
/// until it gives `None` before more is pushed.
#[derive(Debug)]
pub struct Reader {
    limits: Limits,
    unread: BytesMut,
    offset: u64,
    place: Place,
    segment_end: Option<u64>,
    cluster_end: Option<u64>,
    stretch_start: u64,
    skip: Option<(Id, u64)>,
    ready: VecDeque<Item>,
    failed: Option<Error>,
}

/// What the next element is a child of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Top { after_header: bool },
    Segment,
    Cluster { after_timestamp: bool },
}

/// What to do with an element of known size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Treatment {
    Enter,
    Hold { limit: &'static str, limit_bytes: usize },
    Skip,
}

impl Reader {
    /// A reader at the beginning of a stream.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            unread: BytesMut::new(),
            offset: 0,
            place: Place::Top { after_header: false },
            segment_end: None,
            cluster_end: None,
            stretch_start: 0,
            skip: None,
            ready: VecDeque::new(),
            failed: None,
        }
    }

    /// Takes the next bytes of the stream. Call [`next`](Self::next) until it gives `None` before the next push.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.failed.is_none() {
            self.unread.extend_from_slice(bytes);
        }
    }

    /// The next item, or `None` where more bytes are needed.
    ///
    /// Errors: what the bytes break; from then on always the same error.
    #[expect(clippy::should_implement_trait, reason = "None asks for more bytes, it is not the end")]
    pub fn next(&mut self) -> Result<Option<Item>, Error> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let found = self.advance();
        if let Err(error) = &found {
            self.failed = Some(error.clone());
            self.unread = BytesMut::new();
        }
        found
    }

    /// Bytes of the stream that lie behind; the element at hand begins here.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Says whether the stream may end here. A Segment or Cluster of unknown size may end anywhere between elements.
    ///
    /// Errors: [`Error::Truncated`] inside an element, or the error that `next` gave.
    pub fn finish(&mut self) -> Result<(), Error> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let offset = self.offset + self.unread.len() as u64;
        let truncated = self.open_element().map(|element| Error::Truncated { offset, element });
        truncated.map_or(Ok(()), Err)
    }

    fn open_element(&self) -> Option<Id> {
        let in_cluster = matches!(self.place, Place::Cluster { .. });
        let parent = match self.place {
            Place::Top { .. } => Id::EBML,
            Place::Segment => Id::SEGMENT,
            Place::Cluster { .. } => Id::CLUSTER,
        };
        if let Some((id, _)) = self.skip {
            return Some(id);
        }
        if !self.unread.is_empty() {
            let id = read_id(&self.unread, self.offset).ok().flatten();
            return Some(id.map_or(parent, |(id, _)| id));
        }
        if in_cluster && self.cluster_end.is_some_and(|end| end > self.offset) {
            return Some(Id::CLUSTER);
        }
        let inside = !matches!(self.place, Place::Top { .. });
        (inside && self.segment_end.is_some_and(|end| end > self.offset)).then_some(Id::SEGMENT)
    }

    fn advance(&mut self) -> Result<Option<Item>, Error> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Ok(Some(item));
            }
            if !self.step()? {
                return Ok(None);
            }
        }
    }

    /// Does the next small thing; `false` where more bytes are needed for it.
    fn step(&mut self) -> Result<bool, Error> {
        if let Some((id, left)) = self.skip {
            return Ok(self.skip_some(id, left));
        }
        if self.leave_sized()? {
            return Ok(true);
        }
        let Some((id, _)) = read_id(&self.unread, self.offset)? else { return Ok(false) };
        if self.leave_unsized(id)? {
            return Ok(true);
        }
        let Some(header) = read_header(&self.unread, self.offset)? else { return Ok(false) };
        let treatment = self.treatment(id)?;
        self.check_extent(&header, treatment)?;
        match (treatment, header.size) {
            (Treatment::Enter, size) => self.enter(&header, size),
            (Treatment::Skip, Some(size)) => self.begin_skip(&header, size),
            (Treatment::Hold { .. }, Some(size)) => return self.hold(&header, size),
            (_, None) => return Err(Error::UnknownSize { offset: self.offset, element: id }),
        }
        Ok(true)
    }

    fn skip_some(&mut self, id: Id, left: u64) -> bool {
        let here = usize::try_from(left).unwrap_or(usize::MAX).min(self.unread.len());
        self.consume(here);
        let left = left - here as u64;
        self.skip = (left > 0).then_some((id, left));
        left == 0
    }

    fn consume(&mut self, len: usize) {
        self.unread.advance(len);
        self.offset += len as u64;
    }

    /// Leaves a Cluster or Segment whose known end is here.
    fn leave_sized(&mut self) -> Result<bool, Error> {
        let here = Some(self.offset);
        match self.place {
            Place::Cluster { .. } if here == self.cluster_end || here == self.segment_end => {
                self.leave_cluster()?;
            }
            Place::Segment if here == self.segment_end => self.leave_segment(),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Leaves a Cluster or Segment of unknown size where `next` cannot be inside it.
    fn leave_unsized(&mut self, next: Id) -> Result<bool, Error> {
        match self.place {
            Place::Cluster { .. } if self.cluster_end.is_none() && (next.is_top() || next.is_level_1()) => {
                self.leave_cluster()?;
            }
            Place::Segment if self.segment_end.is_none() && next.is_top() => self.leave_segment(),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn leave_cluster(&mut self) -> Result<(), Error> {
        if self.place != (Place::Cluster { after_timestamp: true }) {
            return Err(self.no_timestamp());
        }
        self.place = Place::Segment;
        self.cluster_end = None;
        self.ready.push_back(Item::ClusterEnd);
        Ok(())
    }

    fn leave_segment(&mut self) {
        self.place = Place::Top { after_header: false };
        self.segment_end = None;
    }

    fn no_timestamp(&self) -> Error {
        Error::Missing { offset: self.offset, element: Id::CLUSTER, child: Id::TIMESTAMP }
    }

    /// What to do with an element of that id here.
    fn treatment(&self, id: Id) -> Result<Treatment, Error> {
        let header = Treatment::Hold { limit: "header_bytes", limit_bytes: self.limits.header_bytes };
        let block = Treatment::Hold { limit: "element_bytes", limit_bytes: self.limits.element_bytes };
        let treatment = match (self.place, id) {
            (_, Id::VOID | Id::CRC32) => Treatment::Skip,
            (Place::Top { .. }, Id::EBML) => header,
            (Place::Top { after_header: true }, Id::SEGMENT) => Treatment::Enter,
            (Place::Top { after_header: true }, _) => return Err(self.unexpected(id, "a Segment")),
            (Place::Top { .. }, _) => return Err(self.unexpected(id, "an EBML header")),
            (Place::Segment, Id::INFO | Id::TRACKS | Id::TAGS) => header,
            (Place::Segment, Id::CLUSTER) => Treatment::Enter,
            (Place::Segment, _) if id.is_top() || id.is_in_cluster() => {
                return Err(self.unexpected(id, "a child of the Segment"));
            }
            (Place::Cluster { after_timestamp: false }, Id::TIMESTAMP) => header,
            (Place::Cluster { after_timestamp: true }, Id::TIMESTAMP) => {
                return Err(self.unexpected(id, "one Timestamp in a Cluster"));
            }
            (Place::Cluster { after_timestamp: true }, Id::SIMPLE_BLOCK | Id::BLOCK_GROUP) => block,
            (Place::Cluster { .. }, Id::SIMPLE_BLOCK | Id::BLOCK_GROUP) => return Err(self.no_timestamp()),
            (Place::Cluster { .. }, _) if id.is_top() || id.is_level_1() => {
                return Err(self.unexpected(id, "a child of the Cluster, whose size says that it goes on"));
            }
            _ => Treatment::Skip,
        };
        Ok(treatment)
    }

    fn unexpected(&self, element: Id, expected: &'static str) -> Error {
        Error::Unexpected { offset: self.offset, element, expected }
    }

    /// Checks that the element stays inside its parent and the limits.
    fn check_extent(&self, header: &Header, treatment: Treatment) -> Result<(), Error> {
        let (offset, element) = (self.offset, header.id);
        let end = offset.saturating_add(header.len as u64).saturating_add(header.size.unwrap_or(0));
        if let Some(parent_end) = self.cluster_end.or(self.segment_end).filter(|&limit| end > limit) {
            return Err(Error::Overrun { offset, element, end, parent_end });
        }
        let too_large =
            |bytes, limit, limit_bytes| Error::TooLarge { offset, element, bytes, limit, limit_bytes };
        if let Treatment::Hold { limit, limit_bytes } = treatment
            && end - offset > limit_bytes as u64
        {
            return Err(too_large(end - offset, limit, limit_bytes));
        }
        let start = if matches!(element, Id::EBML | Id::CLUSTER) { offset } else { self.stretch_start };
        let limit_bytes = self.limits.fragment_bytes;
        if element != Id::SEGMENT && end - start > limit_bytes as u64 {
            return Err(too_large(end - start, "fragment_bytes", limit_bytes));
        }
        Ok(())
    }

    /// Goes into a Segment or a Cluster.
    fn enter(&mut self, header: &Header, size: Option<u64>) {
        if header.id == Id::CLUSTER {
            self.stretch_start = self.offset;
        }
        self.consume(header.len);
        let end = size.map(|size| self.offset.saturating_add(size));
        if header.id == Id::CLUSTER {
            self.place = Place::Cluster { after_timestamp: false };
            self.cluster_end = end;
        } else {
            self.place = Place::Segment;
            self.segment_end = end;
        }
    }

    fn begin_skip(&mut self, header: &Header, size: u64) {
        self.consume(header.len);
        self.skip = (size > 0).then_some((header.id, size));
    }

    /// Reads an element that must be whole; `false` where it is not yet.
    fn hold(&mut self, header: &Header, size: u64) -> Result<bool, Error> {
        let whole = usize::try_from(size).unwrap_or(usize::MAX).saturating_add(header.len);
        if self.unread.len() < whole {
            return Ok(false);
        }
        let (offset, id, head_len) = (self.offset, header.id, header.len);
        let raw = self.unread.split_to(whole).freeze();
        self.offset += whole as u64;
        self.read_whole(&Element { id, offset, raw: &raw, head_len }, &raw)?;
        Ok(true)
    }

    fn read_whole(&mut self, element: &Element<'_>, raw: &Bytes) -> Result<(), Error> {
        let item = match element.id {
            Id::EBML => {
                check_document(element)?;
                self.stretch_start = element.offset;
                self.place = Place::Top { after_header: true };
                Item::Document
            }
            Id::INFO => read_info(element)?,
            Id::TRACKS => Item::Tracks(track::read(element, &self.limits)?),
            Id::TAGS => Item::Tags(tags::read(element, &self.limits)?),
            Id::TIMESTAMP => {
                self.place = Place::Cluster { after_timestamp: true };
                Item::ClusterStart { timestamp: element.uint(0)? }
            }
            _ => {
                let ready = &mut self.ready;
                return block::read(element, raw, &mut |block| ready.push_back(Item::Block(block)));
            }
        };
        self.ready.push_back(item);
        Ok(())
    }
}

fn check_document(header: &Element<'_>) -> Result<(), Error> {
    for child in header.children() {
        let child = child?;
        match child.id {
            Id::DOC_TYPE if !matches!(child.text().as_str(), "matroska" | "webm") => {
                return Err(child.invalid("matroska or webm"));
            }
            Id::MAX_ID_LENGTH if child.uint(4)? > 4 => return Err(child.invalid("at most 4")),
            Id::MAX_SIZE_LENGTH if child.uint(8)? > 8 => return Err(child.invalid("at most 8")),
            _ => {}
        }
    }
    Ok(())
}

fn read_info(info: &Element<'_>) -> Result<Item, Error> {
    let mut timecode_scale_ns = DEFAULT_TIMECODE_SCALE_NS;
    for child in info.children() {
        let child = child?;
        if child.id == Id::TIMECODE_SCALE {
            timecode_scale_ns = child.uint(DEFAULT_TIMECODE_SCALE_NS)?;
            if timecode_scale_ns == 0 {
                return Err(child.invalid("nanoseconds above 0"));
            }
        }
    }
    Ok(Item::Info { timecode_scale_ns, raw: Bytes::copy_from_slice(info.raw) })
}
