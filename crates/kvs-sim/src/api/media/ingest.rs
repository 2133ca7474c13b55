//! Turns the bytes of a PutMedia request into fragments of a stream and acknowledgements. Uses no socket, and waits for
//! nothing but the disk.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use kvs_mkv::{Block, MkvEvent, MkvLimits, MkvReader, Tag, TrackEntry};

use crate::api::media::acks::{self, AckError, AckedFragment};
use crate::error::ApiError;
use crate::store::fragment::{FragmentHead, MediaHeader};
use crate::store::fragment_writer::FragmentWriter;
use crate::store::stream::KvsStream;

/// The origin of the producer's timecodes, which the request's headers state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Timecodes {
    /// Since 1970.
    Absolute,
    /// Since the producer's start.
    Relative { started_ms: i64 },
}

/// A PutMedia request in progress.
pub(crate) struct Ingest {
    stream: Arc<KvsStream>,
    timecodes: Timecodes,
    reader: MkvReader,
    /// Timecode scale and bytes of the document's Info element.
    info: Option<(u64, Bytes)>,
    tracks: Option<Arc<[TrackEntry]>>,
    header: Option<Arc<MediaHeader>>,
    open: Option<OpenFragment>,
    /// Tags that came before the first Cluster; the first fragment gets them.
    early_tags: Vec<Tag>,
    latest_timecode: Option<u64>,
    acks: VecDeque<Bytes>,
}

/// The fragment that is being written.
struct OpenFragment {
    writer: FragmentWriter,
    acked: AckedFragment,
    tags: Vec<Tag>,
}

/// The tag by which a producer ends a fragment without the start of another. Source: AWS, PutMedia, 2026.
const END_OF_FRAGMENT: &str = "AWS_KINESISVIDEO_END_OF_FRAGMENT";

// Source of these limits: AWS, PutMedia and Kinesis Video Streams quotas, 2026.
const MAX_FRAGMENT_MS: i64 = 20_000;
const MAX_FRAGMENT_BYTES: u64 = 50 * 1024 * 1024;
const MAX_TRACKS: usize = 3;
const MAX_TAGS: usize = 10;
const MAX_TAG_NAME_LEN: usize = 128;
const MAX_TAG_VALUE_LEN: usize = 256;

impl Ingest {
    pub(crate) fn new(stream: Arc<KvsStream>, timecodes: Timecodes) -> Self {
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

    /// Takes the next acknowledgement to send.
    pub(crate) fn next_ack(&mut self) -> Option<Bytes> {
        self.acks.pop_front()
    }

    /// Takes bytes of the request. Returns false if they led to an ERROR acknowledgement, which ends the request.
    pub(crate) async fn push(&mut self, bytes: &[u8]) -> bool {
        self.reader.push(bytes);
        let result = self.read_items().await;
        self.acknowledge_error(result)
    }

    /// Ends a request that came to its proper end: its last fragment is whole.
    pub(crate) async fn end(&mut self) {
        let result = match self.reader.finish() {
            Ok(()) => self.finish_fragment().await,
            Err(_) => Err(AckError::InvalidMkv),
        };
        self.acknowledge_error(result);
    }

    /// Ends a request that broke off: its last fragment is discarded.
    pub(crate) fn abort(&mut self) {
        self.acknowledge_error(Err(AckError::StreamRead));
    }

    /// Returns false for an error, after it is acknowledged and the open fragment is discarded.
    fn acknowledge_error(&mut self, result: Result<(), AckError>) -> bool {
        let Err(error) = result else { return true };
        // Dropping the writer takes the fragment back out of the stream.
        let fragment = self.open.take().map(|open| open.acked);
        self.acks.push_back(acks::error(fragment, error));
        false
    }

    async fn read_items(&mut self) -> Result<(), AckError> {
        loop {
            match self.reader.next() {
                Ok(Some(item)) => self.take(item).await?,
                Ok(None) => return Ok(()),
                Err(_) => return Err(AckError::InvalidMkv),
            }
        }
    }

    async fn take(&mut self, item: MkvEvent) -> Result<(), AckError> {
        match item {
            // A producer can send several documents in one request: a new EBML header replaces Info and Tracks.
            MkvEvent::DocumentStart => {
                self.finish_fragment().await?;
                (self.info, self.tracks, self.header) = (None, None, None);
            }
            MkvEvent::Info { timestamp_scale_ns, raw } => self.info = Some((timestamp_scale_ns, raw)),
            MkvEvent::Tracks(tracks) if tracks.len() > MAX_TRACKS => return Err(AckError::TooManyTracks),
            MkvEvent::Tracks(tracks) => self.tracks = Some(tracks),
            // A Cluster is a fragment (AWS, PutMedia).
            MkvEvent::ClusterStart { timestamp } => {
                self.finish_fragment().await?;
                self.begin_fragment(timestamp)?;
            }
            MkvEvent::Block(block) => self.push_block(&block)?,
            MkvEvent::Tags(tags) => self.take_tags(tags).await?,
            // Not the fragment's end: its tags follow the Cluster.
            MkvEvent::ClusterEnd => {}
        }
        Ok(())
    }

    fn begin_fragment(&mut self, timestamp: u64) -> Result<(), AckError> {
        if self.latest_timecode.is_some_and(|latest| timestamp < latest) {
            return Err(AckError::TimecodeLesserThanPrevious);
        }
        // Kept over documents: the order holds for the whole request.
        self.latest_timecode = Some(timestamp);
        let header = self.header()?;
        let timecode_ms = header.timecode_ms(i64::try_from(timestamp).map_err(|_| AckError::InvalidMkv)?);
        let producer_ms = match self.timecodes {
            Timecodes::Absolute => timecode_ms,
            Timecodes::Relative { started_ms } => started_ms.saturating_add(timecode_ms),
        };
        let head = FragmentHead { header, cluster_timestamp: timestamp, producer_ms };
        let writer = FragmentWriter::begin(&self.stream, head).map_err(|_| AckError::StreamNotActive)?;
        let acked = AckedFragment { timecode_ms, number: writer.number() };
        self.acks.push_back(acks::buffering(acked));
        self.open = Some(OpenFragment { writer, acked, tags: std::mem::take(&mut self.early_tags) });
        Ok(())
    }

    /// Returns the header of the current document, which its fragments share.
    fn header(&mut self) -> Result<Arc<MediaHeader>, AckError> {
        if let Some(header) = &self.header {
            return Ok(Arc::clone(header));
        }
        let tracks = self.tracks.as_ref().ok_or(AckError::InvalidMkv)?;
        let header = match &self.info {
            Some((timestamp_scale_ns, raw)) => MediaHeader::with_info(raw, *timestamp_scale_ns, tracks),
            // Matroska makes Info mandatory; without it the default TimestampScale of 1 ms holds.
            None => MediaHeader::new(tracks),
        };
        Ok(Arc::clone(self.header.insert(Arc::new(header))))
    }

    fn push_block(&mut self, block: &Block) -> Result<(), AckError> {
        // A block before any Cluster, or after a fragment that END_OF_FRAGMENT closed.
        let (Some(open), Some(header)) = (&mut self.open, &self.header) else {
            return Err(AckError::InvalidMkv);
        };
        let has_track = |tracks: &Arc<[TrackEntry]>| tracks.iter().any(|track| track.number == block.track);
        if !self.tracks.as_ref().is_some_and(has_track) {
            return Err(AckError::TrackNumberMismatch);
        }
        if header.timecode_ms(i64::from(block.relative)) > MAX_FRAGMENT_MS {
            return Err(AckError::FragmentDuration);
        }
        if open.writer.bytes() + block.data.len() as u64 > MAX_FRAGMENT_BYTES {
            return Err(AckError::FragmentSize);
        }
        open.writer.push(block).map_err(|_| AckError::StreamNotActive)
    }

    async fn take_tags(&mut self, tags: Vec<Tag>) -> Result<(), AckError> {
        // END_OF_FRAGMENT ends a fragment before the next one starts, so that a live viewer gets its last frame without delay.
        let ends = tags.iter().any(|tag| tag.name == END_OF_FRAGMENT);
        let kept = match &mut self.open {
            Some(open) => &mut open.tags,
            None => &mut self.early_tags,
        };
        kept.extend(tags.into_iter().filter(|tag| tag.name != END_OF_FRAGMENT));
        let too_long = |tag: &Tag| tag.name.len() > MAX_TAG_NAME_LEN || tag.value.len() > MAX_TAG_VALUE_LEN;
        if kept.len() > MAX_TAGS || kept.iter().any(too_long) {
            return Err(AckError::FragmentMetadata);
        }
        if ends { self.finish_fragment().await } else { Ok(()) }
    }

    async fn finish_fragment(&mut self) -> Result<(), AckError> {
        let Some(OpenFragment { writer, acked, tags }) = self.open.take() else { return Ok(()) };
        let finished = writer.finish(tags).await;
        finished.map_err(|error| match error {
            // The stream was deleted while the fragment was written.
            ApiError::ResourceNotFound { .. } => AckError::StreamNotActive,
            _ => AckError::Internal,
        })?;
        self.acks.push_back(acks::received(acked));
        // Without retention nothing is archived, and AWS does not acknowledge PERSISTED.
        if self.stream.identity().settings.retention_hours > 0 {
            self.acks.push_back(acks::persisted(acked));
        }
        Ok(())
    }
}
