//! Documents: the incremental reader of live Matroska below the fragments.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};

use crate::block::read_block;
use crate::ebml::{EbmlElement, ElementHeader, read_header, read_id};
use crate::tags::read_tags;
use crate::track::read_tracks;
use crate::{Block, ElementId, MkvError, MkvLimits, Tag, TrackEntry};

/// An event in a stream of documents, in stream order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MkvEvent {
    /// An EBML header: a document begins.
    DocumentStart,
    /// The Info element.
    Info {
        /// TimestampScale: nanoseconds per unit of each timestamp in this document.
        timestamp_scale_ns: u64,
        /// The complete element as it was received, header included.
        raw: Bytes,
    },
    /// The Tracks element.
    Tracks(Arc<[TrackEntry]>),
    /// The simple tags of a Tags element in order, before or after a Cluster.
    Tags(Vec<Tag>),
    /// A Cluster with its Timestamp.
    ClusterStart {
        /// Timestamp in units of the timestamp scale.
        timestamp: u64,
    },
    /// A frame of the current Cluster.
    Block(Block),
    /// The end of the current Cluster.
    ClusterEnd,
}

/// TimestampScale of a document that has none (RFC 9559, 5.1.2.9).
pub(crate) const DEFAULT_TIMESTAMP_SCALE_NS: u64 = 1_000_000;

/// An incremental reader of consecutive documents.
///
/// An event is available as soon as its last byte is pushed; the end of a Cluster of unknown size with the id
/// of the element after it. Memory holds at most one element and the bytes pushed last, if
/// [`next`](Self::next) is called until it returns `None` before each push.
#[derive(Debug)]
pub struct MkvReader {
    limits: MkvLimits,
    unread: BytesMut,
    /// Offset of `unread` in the stream.
    offset: u64,
    parent: ParentElement,
    /// End of the current Segment if its size is known.
    segment_end: Option<u64>,
    /// End of the current Cluster if its size is known.
    cluster_end: Option<u64>,
    /// Start of the stretch to which [`MkvLimits::fragment_bytes`] applies.
    stretch_start: u64,
    /// Id of the element that is being skipped, and its remaining bytes.
    skip: Option<(ElementId, u64)>,
    ready: VecDeque<MkvEvent>,
    failed: Option<MkvError>,
}

/// The element whose child comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ParentElement {
    Root { after_header: bool },
    Segment,
    Cluster { after_timestamp: bool },
}

impl ParentElement {
    /// Returns the id of the element; outside a Segment that of the EBML header.
    fn id(self) -> ElementId {
        match self {
            Self::Root { .. } => ElementId::EBML,
            Self::Segment => ElementId::SEGMENT,
            Self::Cluster { .. } => ElementId::CLUSTER,
        }
    }
}

/// The way in which an element is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ElementAction {
    /// Read its children one by one.
    Enter,
    /// Buffer it until it is complete, within a limit.
    Buffer { limit: &'static str, limit_bytes: usize },
    /// Discard its bytes as they arrive.
    Skip,
}

impl MkvReader {
    /// Returns a reader at the start of a stream.
    pub fn new(limits: MkvLimits) -> Self {
        Self {
            limits,
            unread: BytesMut::new(),
            offset: 0,
            parent: ParentElement::Root { after_header: false },
            segment_end: None,
            cluster_end: None,
            stretch_start: 0,
            skip: None,
            ready: VecDeque::new(),
            failed: None,
        }
    }

    /// Appends the next bytes of the stream. Call [`next`](Self::next) until it returns `None` before each
    /// push.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.failed.is_none() {
            self.unread.extend_from_slice(bytes);
        }
    }

    /// Returns the next event, or `None` if more bytes are needed.
    ///
    /// # Errors
    ///
    /// The stream is invalid or exceeds a limit; each later call returns the same error.
    #[expect(clippy::should_implement_trait, reason = "None asks for more bytes, it is not the end")]
    pub fn next(&mut self) -> Result<Option<MkvEvent>, MkvError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let event = self.advance();
        if let Err(error) = &event {
            self.failed = Some(error.clone());
            self.unread = BytesMut::new();
        }
        event
    }

    /// Returns the offset in the stream of the first byte that is not consumed, where the current element
    /// begins.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Checks that the stream may end here. A Segment or Cluster of unknown size may end between any two
    /// elements.
    ///
    /// # Errors
    ///
    /// [`MkvError::Truncated`] inside an element, or the error that `next` returned.
    pub fn finish(&mut self) -> Result<(), MkvError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let offset = self.offset + self.unread.len() as u64;
        let truncated = self.incomplete_element().map(|element| MkvError::Truncated { offset, element });
        truncated.map_or(Ok(()), Err)
    }

    /// Returns the innermost element that is incomplete if the stream ends here.
    fn incomplete_element(&self) -> Option<ElementId> {
        if let Some((id, _)) = self.skip {
            return Some(id);
        }
        if !self.unread.is_empty() {
            let id = read_id(&self.unread, self.offset).ok().flatten();
            return Some(id.map_or(self.parent.id(), |(id, _)| id));
        }
        let in_cluster = matches!(self.parent, ParentElement::Cluster { .. });
        if in_cluster && self.cluster_end.is_some_and(|end| end > self.offset) {
            return Some(ElementId::CLUSTER);
        }
        let in_segment = !matches!(self.parent, ParentElement::Root { .. });
        (in_segment && self.segment_end.is_some_and(|end| end > self.offset)).then_some(ElementId::SEGMENT)
    }

    fn advance(&mut self) -> Result<Option<MkvEvent>, MkvError> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            if !self.step()? {
                return Ok(None);
            }
        }
    }

    /// Leaves a parent, or reads or skips one element; returns false if it needs more bytes.
    fn step(&mut self) -> Result<bool, MkvError> {
        if let Some((id, left)) = self.skip {
            return Ok(self.skip_available(id, left));
        }
        if self.leave_sized_parent()? {
            return Ok(true);
        }
        // The id alone decides whether a parent of unknown size ends. It is not consumed: a Cluster ends
        // before the size of the next element arrives.
        let Some((id, _)) = read_id(&self.unread, self.offset)? else { return Ok(false) };
        if self.leave_unsized_parent(id)? {
            return Ok(true);
        }
        let Some(header) = read_header(&self.unread, self.offset)? else { return Ok(false) };
        let action = self.choose_action(id)?;
        // Limits are checked with the header, before the body costs memory or time.
        self.check_extent(&header, action)?;
        match (action, header.size) {
            (ElementAction::Enter, size) => self.enter(&header, size),
            (ElementAction::Skip, Some(size)) => self.begin_skip(&header, size),
            (ElementAction::Buffer { .. }, Some(size)) => return self.read_buffered(&header, size),
            (_, None) => return Err(MkvError::UnknownSize { offset: self.offset, element: id }),
        }
        Ok(true)
    }

    /// Skips the pushed bytes of an element with `left` remaining bytes; returns false if more must come.
    fn skip_available(&mut self, id: ElementId, left: u64) -> bool {
        let available = usize::try_from(left).unwrap_or(usize::MAX).min(self.unread.len());
        self.consume(available);
        let left = left - available as u64;
        self.skip = (left > 0).then_some((id, left));
        left == 0
    }

    fn consume(&mut self, len: usize) {
        self.unread.advance(len);
        self.offset += len as u64;
    }

    /// Leaves a Cluster or Segment of known size at its end; returns true if there was one to leave.
    fn leave_sized_parent(&mut self) -> Result<bool, MkvError> {
        let here = Some(self.offset);
        match self.parent {
            // A Cluster of unknown size also ends with a Segment of known size.
            ParentElement::Cluster { .. } if here == self.cluster_end || here == self.segment_end => {
                self.leave_cluster()?;
            }
            ParentElement::Segment if here == self.segment_end => self.leave_segment(),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Leaves a Cluster or Segment of unknown size if `next` cannot be its child; returns true if it did.
    ///
    /// RFC 8794, section 6: an element of unknown size ends before the first element that is not its
    /// descendant.
    fn leave_unsized_parent(&mut self, next: ElementId) -> Result<bool, MkvError> {
        match self.parent {
            ParentElement::Cluster { .. }
                if self.cluster_end.is_none() && (next.is_root_level() || next.is_segment_child()) =>
            {
                self.leave_cluster()?;
            }
            ParentElement::Segment if self.segment_end.is_none() && next.is_root_level() => {
                self.leave_segment();
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn leave_cluster(&mut self) -> Result<(), MkvError> {
        if self.parent != (ParentElement::Cluster { after_timestamp: true }) {
            return Err(self.no_timestamp());
        }
        self.parent = ParentElement::Segment;
        self.cluster_end = None;
        self.ready.push_back(MkvEvent::ClusterEnd);
        Ok(())
    }

    fn leave_segment(&mut self) {
        self.parent = ParentElement::Root { after_header: false };
        self.segment_end = None;
    }

    fn no_timestamp(&self) -> MkvError {
        MkvError::Missing { offset: self.offset, element: ElementId::CLUSTER, child: ElementId::TIMESTAMP }
    }

    /// Returns the way in which an element with this id is read as a child of the current parent.
    fn choose_action(&self, id: ElementId) -> Result<ElementAction, MkvError> {
        use ParentElement::{Cluster, Root, Segment};
        let header = ElementAction::Buffer { limit: "header_bytes", limit_bytes: self.limits.header_bytes };
        let action = match (self.parent, id) {
            // RFC 8794, section 11.3: the global elements, allowed inside each parent.
            (_, ElementId::VOID | ElementId::CRC32) => ElementAction::Skip,
            (Root { .. }, ElementId::EBML) => header,
            (Root { after_header: true }, ElementId::SEGMENT) => ElementAction::Enter,
            (Root { after_header: true }, _) => return Err(self.unexpected(id, "a Segment")),
            (Root { .. }, _) => return Err(self.unexpected(id, "an EBML header")),
            (Segment, ElementId::INFO | ElementId::TRACKS | ElementId::TAGS) => header,
            (Segment, ElementId::CLUSTER) => ElementAction::Enter,
            (Segment, _) if id.is_root_level() || id.is_cluster_child() => {
                return Err(self.unexpected(id, "a child of the Segment"));
            }
            (Cluster { after_timestamp: false }, ElementId::TIMESTAMP) => header,
            (Cluster { after_timestamp }, _) => return self.choose_cluster_action(id, after_timestamp),
            // Skipped: SeekHead, Cues, Chapters and Attachments, and unknown elements, which RFC 8794 lets a
            // reader ignore.
            (Segment, _) => ElementAction::Skip,
        };
        Ok(action)
    }

    /// Returns the way in which a child of a Cluster is read, other than its first Timestamp.
    fn choose_cluster_action(&self, id: ElementId, after_timestamp: bool) -> Result<ElementAction, MkvError> {
        match id {
            ElementId::TIMESTAMP => Err(self.unexpected(id, "one Timestamp in a Cluster")),
            ElementId::SIMPLE_BLOCK | ElementId::BLOCK_GROUP if !after_timestamp => Err(self.no_timestamp()),
            ElementId::SIMPLE_BLOCK | ElementId::BLOCK_GROUP => {
                let limit_bytes = self.limits.element_bytes;
                Ok(ElementAction::Buffer { limit: "element_bytes", limit_bytes })
            }
            _ if id.is_root_level() || id.is_segment_child() => {
                Err(self.unexpected(id, "a child of the Cluster, which has not reached its size"))
            }
            // Skipped: Position and PrevSize, and unknown elements, which RFC 8794 lets a reader ignore.
            _ => Ok(ElementAction::Skip),
        }
    }

    fn unexpected(&self, element: ElementId, expected: &'static str) -> MkvError {
        MkvError::Unexpected { offset: self.offset, element, expected }
    }

    /// Checks that an element ends inside its parent and within the limits.
    fn check_extent(&self, header: &ElementHeader, action: ElementAction) -> Result<(), MkvError> {
        let (offset, element) = (self.offset, header.id);
        let end = offset.saturating_add(header.len as u64).saturating_add(header.size.unwrap_or(0));
        if let Some(parent_end) = self.cluster_end.or(self.segment_end).filter(|&limit| end > limit) {
            return Err(MkvError::Overrun { offset, element, end, parent_end });
        }
        let too_large =
            |bytes, limit, limit_bytes| MkvError::TooLarge { offset, element, bytes, limit, limit_bytes };
        if let ElementAction::Buffer { limit, limit_bytes } = action
            && end - offset > limit_bytes as u64
        {
            return Err(too_large(end - offset, limit, limit_bytes));
        }
        // A PutMedia stream is one document of many Clusters, so each Cluster begins a stretch of its own. A
        // Segment is exempt: its known size covers all fragments of a document.
        let begins_stretch = matches!(element, ElementId::EBML | ElementId::CLUSTER);
        let start = if begins_stretch { offset } else { self.stretch_start };
        let limit_bytes = self.limits.fragment_bytes;
        if element != ElementId::SEGMENT && end - start > limit_bytes as u64 {
            return Err(too_large(end - start, "fragment_bytes", limit_bytes));
        }
        Ok(())
    }

    /// Enters a Segment or a Cluster.
    fn enter(&mut self, header: &ElementHeader, size: Option<u64>) {
        if header.id == ElementId::CLUSTER {
            self.stretch_start = self.offset;
        }
        self.consume(header.len);
        let end = size.map(|size| self.offset.saturating_add(size));
        if header.id == ElementId::CLUSTER {
            self.parent = ParentElement::Cluster { after_timestamp: false };
            self.cluster_end = end;
        } else {
            self.parent = ParentElement::Segment;
            self.segment_end = end;
        }
    }

    fn begin_skip(&mut self, header: &ElementHeader, size: u64) {
        self.consume(header.len);
        self.skip = (size > 0).then_some((header.id, size));
    }

    /// Reads an element that is needed as a whole; returns false if it is still incomplete.
    fn read_buffered(&mut self, header: &ElementHeader, size: u64) -> Result<bool, MkvError> {
        let whole = usize::try_from(size).unwrap_or(usize::MAX).saturating_add(header.len);
        if self.unread.len() < whole {
            return Ok(false);
        }
        let (offset, id, header_len) = (self.offset, header.id, header.len);
        let raw = self.unread.split_to(whole).freeze();
        self.offset += whole as u64;
        self.read_element(&EbmlElement { id, offset, raw: &raw, header_len }, &raw)?;
        Ok(true)
    }

    fn read_element(&mut self, element: &EbmlElement<'_>, raw: &Bytes) -> Result<(), MkvError> {
        let event = match element.id {
            ElementId::EBML => self.begin_document(element)?,
            ElementId::INFO => read_info(element)?,
            ElementId::TRACKS => MkvEvent::Tracks(read_tracks(element, &self.limits)?),
            ElementId::TAGS => MkvEvent::Tags(read_tags(element, &self.limits)?),
            ElementId::TIMESTAMP => {
                self.parent = ParentElement::Cluster { after_timestamp: true };
                MkvEvent::ClusterStart { timestamp: element.uint(0)? }
            }
            _ => return read_block(element, raw, &mut |block| self.ready.push_back(MkvEvent::Block(block))),
        };
        self.ready.push_back(event);
        Ok(())
    }

    fn begin_document(&mut self, header: &EbmlElement<'_>) -> Result<MkvEvent, MkvError> {
        check_ebml_header(header)?;
        self.stretch_start = header.offset;
        self.parent = ParentElement::Root { after_header: true };
        Ok(MkvEvent::DocumentStart)
    }
}

/// Checks the children of an EBML header (RFC 8794, section 11.2) on which reading depends.
fn check_ebml_header(header: &EbmlElement<'_>) -> Result<(), MkvError> {
    for child in header.children() {
        let child = child?;
        match child.id {
            ElementId::DOC_TYPE if !matches!(child.text().as_str(), "matroska" | "webm") => {
                return Err(child.invalid("matroska or webm"));
            }
            ElementId::MAX_ID_LENGTH if child.uint(4)? > 4 => return Err(child.invalid("at most 4")),
            ElementId::MAX_SIZE_LENGTH if child.uint(8)? > 8 => return Err(child.invalid("at most 8")),
            // Ignored: EBMLVersion, EBMLReadVersion, DocTypeVersion, DocTypeReadVersion. Producers set them
            // freely, and elements of a later version are skipped like unknown ones.
            _ => {}
        }
    }
    Ok(())
}

fn read_info(info: &EbmlElement<'_>) -> Result<MkvEvent, MkvError> {
    let mut timestamp_scale_ns = DEFAULT_TIMESTAMP_SCALE_NS;
    for child in info.children() {
        let child = child?;
        // Ignored: SegmentUUID, Duration, DateUTC, Title, MuxingApp, WritingApp. They stay in `raw`.
        if child.id == ElementId::TIMESTAMP_SCALE {
            timestamp_scale_ns = child.uint(DEFAULT_TIMESTAMP_SCALE_NS)?;
            if timestamp_scale_ns == 0 {
                return Err(child.invalid("nanoseconds above 0"));
            }
        }
    }
    Ok(MkvEvent::Info { timestamp_scale_ns, raw: Bytes::copy_from_slice(info.raw) })
}
