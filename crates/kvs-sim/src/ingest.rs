//! Bytes of a PutMedia request -> fragments of a stream and acknowledgements; no socket, no waiting but for the disk.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use kvs_mkv::{Block, MkvEvent, MkvLimits, MkvReader, Tag, TrackEntry};

use crate::acks::{self, Acknowledged, Fault};
use crate::errors::ApiError;
use crate::fragment::{FragmentHead, MediaHeader};
use crate::fragment_writer::FragmentWriter;
use crate::stream::Stream;

/// How the producer counts time, from the request's headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Timecodes {
    /// Since 1970.
    Absolute,
    /// Since the producer started, which was at this time.
    Relative { started_ms: i64 },
}

/// One PutMedia request being read.
pub(crate) struct Ingest {
    stream: Arc<Stream>,
    timecodes: Timecodes,
    reader: MkvReader,
    info: Option<(u64, Bytes)>,
    tracks: Option<Arc<[TrackEntry]>>,
    header: Option<Arc<MediaHeader>>,
    open: Option<Open>,
    /// Tags before the first Cluster go with it.
    early_tags: Vec<Tag>,
    latest_timecode: Option<u64>,
    acks: VecDeque<Bytes>,
}

/// The fragment being written.
struct Open {
    writer: FragmentWriter,
    acknowledged: Acknowledged,
    tags: Vec<Tag>,
}

const END_OF_FRAGMENT: &str = "AWS_KINESISVIDEO_END_OF_FRAGMENT";
const LONGEST_FRAGMENT_MS: i64 = 20_000;
const LARGEST_FRAGMENT_BYTES: u64 = 50 * 1024 * 1024;
const MOST_TRACKS: usize = 3;
const MOST_TAGS: usize = 10;
const LONGEST_TAG_NAME: usize = 128;
const LONGEST_TAG_VALUE: usize = 256;

impl Ingest {
    pub(crate) fn new(stream: Arc<Stream>, timecodes: Timecodes) -> Self {
        Self {
            stream,
            timecodes,
            reader: MkvReader::new(MkvLimits::default()),
            info: None,
            tracks: None,
            header: None,
            open: None,
            early_tags: Vec::new(),
            latest_timecode: None,
            acks: VecDeque::new(),
        }
    }

    /// The next acknowledgement to send.
    pub(crate) fn next_ack(&mut self) -> Option<Bytes> {
        self.acks.pop_front()
    }

    /// Takes bytes. False: an ERROR was acknowledged and the request is over.
    pub(crate) async fn push(&mut self, bytes: &[u8]) -> bool {
        self.reader.push(bytes);
        let read = self.read().await;
        self.accept(read)
    }

    /// The request ended as it should: its last fragment is whole.
    pub(crate) async fn end(&mut self) {
        let whole = self.reader.finish().map_err(|_| Fault::InvalidMkv);
        let ended = match whole {
            Ok(()) => self.finish_fragment().await,
            Err(fault) => Err(fault),
        };
        self.accept(ended);
    }

    /// The request broke off: its last fragment is not kept.
    pub(crate) fn break_off(&mut self) {
        self.accept(Err(Fault::StreamRead));
    }

    /// False where a fault ends the request; it is acknowledged, and the fragment taken back.
    fn accept(&mut self, outcome: Result<(), Fault>) -> bool {
        let Err(fault) = outcome else { return true };
        let fragment = self.open.take().map(|open| open.acknowledged);
        self.acks.push_back(acks::error(fragment, fault));
        false
    }

    async fn read(&mut self) -> Result<(), Fault> {
        loop {
            match self.reader.next() {
                Ok(Some(item)) => self.take(item).await?,
                Ok(None) => return Ok(()),
                Err(_) => return Err(Fault::InvalidMkv),
            }
        }
    }

    async fn take(&mut self, item: MkvEvent) -> Result<(), Fault> {
        match item {
            MkvEvent::DocumentStart => {
                self.finish_fragment().await?;
                (self.info, self.tracks, self.header) = (None, None, None);
            }
            MkvEvent::Info { timestamp_scale_ns, raw } => self.info = Some((timestamp_scale_ns, raw)),
            MkvEvent::Tracks(tracks) if tracks.len() > MOST_TRACKS => return Err(Fault::TooManyTracks),
            MkvEvent::Tracks(tracks) => self.tracks = Some(tracks),
            MkvEvent::ClusterStart { timestamp } => {
                self.finish_fragment().await?;
                self.begin_fragment(timestamp)?;
            }
            MkvEvent::Block(block) => self.push_block(&block)?,
            MkvEvent::Tags(tags) => self.take_tags(tags).await?,
            MkvEvent::ClusterEnd => {}
        }
        Ok(())
    }

    fn begin_fragment(&mut self, timestamp: u64) -> Result<(), Fault> {
        if self.latest_timecode.is_some_and(|latest| timestamp < latest) {
            return Err(Fault::TimecodeLesserThanPrevious);
        }
        self.latest_timecode = Some(timestamp);
        let header = self.header()?;
        let timecode_ms = header.timecode_ms(i64::try_from(timestamp).map_err(|_| Fault::InvalidMkv)?);
        let producer_ms = match self.timecodes {
            Timecodes::Absolute => timecode_ms,
            Timecodes::Relative { started_ms } => started_ms.saturating_add(timecode_ms),
        };
        let head = FragmentHead { header, cluster_timestamp: timestamp, producer_ms };
        let writer = FragmentWriter::begin(&self.stream, head).map_err(|_| Fault::StreamNotActive)?;
        let acknowledged = Acknowledged { timecode_ms, number: writer.number() };
        self.acks.push_back(acks::buffering(acknowledged));
        self.open = Some(Open { writer, acknowledged, tags: std::mem::take(&mut self.early_tags) });
        Ok(())
    }

    /// The header of the document being read, made once for all its fragments.
    fn header(&mut self) -> Result<Arc<MediaHeader>, Fault> {
        if let Some(header) = &self.header {
            return Ok(Arc::clone(header));
        }
        let tracks = self.tracks.as_ref().ok_or(Fault::InvalidMkv)?;
        let header = match &self.info {
            Some((timecode_scale_ns, raw)) => MediaHeader::with_info(raw, *timecode_scale_ns, tracks),
            None => MediaHeader::new(tracks),
        };
        Ok(Arc::clone(self.header.insert(Arc::new(header))))
    }

    fn push_block(&mut self, block: &Block) -> Result<(), Fault> {
        let (Some(open), Some(header)) = (&mut self.open, &self.header) else {
            return Err(Fault::InvalidMkv);
        };
        let known = |tracks: &Arc<[TrackEntry]>| tracks.iter().any(|track| track.number == block.track);
        if !self.tracks.as_ref().is_some_and(known) {
            return Err(Fault::TrackNumberMismatch);
        }
        if header.timecode_ms(i64::from(block.relative)) > LONGEST_FRAGMENT_MS {
            return Err(Fault::FragmentDuration);
        }
        if open.writer.bytes() + block.data.len() as u64 > LARGEST_FRAGMENT_BYTES {
            return Err(Fault::FragmentSize);
        }
        open.writer.push(block).map_err(|_| Fault::StreamNotActive)
    }

    async fn take_tags(&mut self, tags: Vec<Tag>) -> Result<(), Fault> {
        let ends = tags.iter().any(|tag| tag.name == END_OF_FRAGMENT);
        let kept = match &mut self.open {
            Some(open) => &mut open.tags,
            None => &mut self.early_tags,
        };
        kept.extend(tags.into_iter().filter(|tag| tag.name != END_OF_FRAGMENT));
        let too_long = |tag: &Tag| tag.name.len() > LONGEST_TAG_NAME || tag.value.len() > LONGEST_TAG_VALUE;
        if kept.len() > MOST_TAGS || kept.iter().any(too_long) {
            return Err(Fault::FragmentMetadata);
        }
        if ends { self.finish_fragment().await } else { Ok(()) }
    }

    async fn finish_fragment(&mut self) -> Result<(), Fault> {
        let Some(Open { writer, acknowledged, tags }) = self.open.take() else { return Ok(()) };
        let finished = writer.finish(tags).await;
        finished.map_err(|error| match error {
            ApiError::ResourceNotFound { .. } => Fault::StreamNotActive,
            _ => Fault::Internal,
        })?;
        self.acks.push_back(acks::received(acknowledged));
        if self.stream.identity().settings.retention_hours > 0 {
            self.acks.push_back(acks::persisted(acknowledged));
        }
        Ok(())
    }
}
