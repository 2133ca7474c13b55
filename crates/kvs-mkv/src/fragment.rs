//! Fragments: the output of GetMedia and GetMediaForFragmentList.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::aws_tags::{AwsTags, seconds_to_ms};
use crate::reader::DEFAULT_TIMESTAMP_SCALE_NS;
use crate::{Block, ElementId, MkvError, MkvEvent, MkvLimits, MkvReader, Tag, TrackEntry, TrackKind};

/// An event in the output of GetMedia, in stream order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FragmentEvent {
    /// A fragment begins.
    Start(FragmentStart),
    /// A frame of the current fragment.
    Block(FragmentBlock),
    /// The current fragment ends.
    End(FragmentSummary),
    /// KVS reports an error inside a response with status 200.
    Error(StreamError),
}

/// The properties of a fragment that are known when its Cluster begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FragmentStart {
    /// Fragment number: 47 decimal digits, opaque, ordered by arrival at KVS.
    pub number: String,
    /// Arrival at KVS in ms since 1970; `None` if the tag is absent or not a decimal number.
    pub server_ms: Option<i64>,
    /// Producer's timestamp in ms since 1970 or since its own start; `None` as for `server_ms`.
    pub producer_ms: Option<i64>,
    /// The tracks of the fragment's document.
    pub tracks: Arc<[TrackEntry]>,
    /// The producer's tags before the Cluster.
    pub tags: Vec<Tag>,
    /// The Cluster's Timestamp in units of the timestamp scale; `None` if the document has no Cluster.
    pub cluster_timestamp: Option<u64>,
}

/// One frame of a fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FragmentBlock {
    /// 0-based index among all frames of the fragment, of all tracks.
    pub index: u32,
    /// Time since the Timestamp of the fragment's (first) Cluster.
    pub relative_ms: i64,
    /// The frame.
    pub block: Block,
}

/// The properties of a fragment that are known when it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FragmentSummary {
    /// Fragment number, the same as in [`FragmentStart`].
    pub number: String,
    /// True if the trailing AWS tags arrived, which is the only proof that no frame is missing.
    pub complete: bool,
    /// Delay of this connection behind the newest fragment of the stream, in ms.
    pub millis_behind_now: Option<u64>,
    /// Token with which another connection continues after this fragment.
    pub continuation_token: Option<String>,
    /// The producer's tags after the start of the Cluster.
    pub tags: Vec<Tag>,
    /// Number of frames of all tracks.
    pub frames: u32,
    /// Number of keyframes of all tracks that are not audio.
    pub keyframes: u32,
    /// Payload bytes of all frames, without Matroska's own.
    pub bytes: u64,
}

/// An error record of KVS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamError {
    /// Error id, for example 4000: fragment not found.
    pub id: Option<u32>,
    /// Error code, with the message if KVS sends one.
    pub code: Option<String>,
    /// Number of the fragment that the error is about.
    pub fragment: Option<String>,
}

/// An incremental reader of GetMedia's output.
///
/// A frame is available when its last byte is pushed, and the end of a fragment with the last byte of its
/// trailing tags.
#[derive(Debug)]
pub struct FragmentReader {
    reader: MkvReader,
    max_tags: usize,
    tracks: Arc<[TrackEntry]>,
    timestamp_scale_ns: u64,
    leading: LeadingTags,
    current: Option<FragmentProgress>,
    ready: VecDeque<FragmentEvent>,
    failed: Option<MkvError>,
    /// True if the end of the response cut a fragment; `None` before that end.
    cut: Option<bool>,
}

/// The tags before a Cluster, which describe the fragment that begins with it.
#[derive(Debug, Default)]
struct LeadingTags {
    number: Option<String>,
    server_ms: Option<i64>,
    producer_ms: Option<i64>,
    producer_tags: Vec<Tag>,
}

/// The fragment that has begun and not ended.
#[derive(Debug, Default)]
struct FragmentProgress {
    number: String,
    /// Timestamp of the fragment's first Cluster.
    first_timestamp: u64,
    /// Timestamp of its current Cluster.
    timestamp: u64,
    producer_tags: Vec<Tag>,
    frames: u32,
    keyframes: u32,
    bytes: u64,
}

impl FragmentReader {
    /// Returns a reader at the start of a response.
    pub fn new(limits: MkvLimits) -> Self {
        Self {
            max_tags: limits.tags,
            reader: MkvReader::new(limits),
            tracks: Arc::new([]),
            timestamp_scale_ns: DEFAULT_TIMESTAMP_SCALE_NS,
            leading: LeadingTags::default(),
            current: None,
            ready: VecDeque::new(),
            failed: None,
            cut: None,
        }
    }

    /// Appends the next bytes of the response. Call [`next`](Self::next) until it returns `None` before each
    /// push.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.failed.is_none() {
            self.reader.push(bytes);
        }
    }

    /// Returns the next event, or `None` if more bytes are needed.
    ///
    /// # Errors
    ///
    /// The response is invalid or exceeds a limit; each later call returns the same error.
    #[expect(clippy::should_implement_trait, reason = "None asks for more bytes, it is not the end")]
    pub fn next(&mut self) -> Result<Option<FragmentEvent>, MkvError> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            if let Some(error) = &self.failed {
                return Err(error.clone());
            }
            let Some(event) = self.reader.next()? else { return Ok(None) };
            self.failed = self.handle(event).err();
        }
    }

    /// Returns the offset in the response of the first byte that is not consumed.
    pub fn offset(&self) -> u64 {
        self.reader.offset()
    }

    /// Returns the events of the end of the response, after `next` returned `None` or an error. Call it until
    /// it returns `None`.
    ///
    /// A fragment that has not ended ends as incomplete; one that never had a Cluster begins and ends.
    ///
    /// # Errors
    ///
    /// After the events, the error that `next` returned, or [`MkvError::Truncated`] if the response ended
    /// inside an element while no fragment was there to end as incomplete.
    pub fn finish(&mut self) -> Result<Option<FragmentEvent>, MkvError> {
        if self.cut.is_none() {
            self.cut = Some(self.end_document());
        }
        if let Some(event) = self.ready.pop_front() {
            return Ok(Some(event));
        }
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        match self.reader.finish() {
            // The incomplete fragment already reports the cut.
            Err(MkvError::Truncated { .. }) if self.cut == Some(true) => Ok(None),
            result => result.map(|()| None),
        }
    }

    fn handle(&mut self, event: MkvEvent) -> Result<(), MkvError> {
        match event {
            MkvEvent::DocumentStart => {
                self.end_document();
                // Tracks and Info hold for their own document only.
                self.tracks = Arc::new([]);
                self.timestamp_scale_ns = DEFAULT_TIMESTAMP_SCALE_NS;
            }
            MkvEvent::Info { timestamp_scale_ns, .. } => self.timestamp_scale_ns = timestamp_scale_ns,
            MkvEvent::Tracks(tracks) => self.tracks = tracks,
            MkvEvent::Tags(tags) => return self.handle_tags(tags),
            MkvEvent::ClusterStart { timestamp } => return self.begin_cluster(timestamp),
            MkvEvent::Block(block) => self.emit_block(block),
            // A fragment ends with its trailing tags, which come after its Cluster.
            MkvEvent::ClusterEnd => {}
        }
        Ok(())
    }

    /// Ends the fragment of a document that ends, as incomplete; returns true if there was one.
    fn end_document(&mut self) -> bool {
        if self.current.is_none() && self.leading.number.is_some() {
            self.start_fragment(None);
        }
        self.leading = LeadingTags::default();
        self.end_fragment(false, AwsTags::default())
    }

    fn start_fragment(&mut self, cluster_timestamp: Option<u64>) {
        let LeadingTags { number, server_ms, producer_ms, producer_tags } = std::mem::take(&mut self.leading);
        let number = number.unwrap_or_default();
        let timestamp = cluster_timestamp.unwrap_or(0);
        self.current = Some(FragmentProgress {
            number: number.clone(),
            first_timestamp: timestamp,
            timestamp,
            ..FragmentProgress::default()
        });
        self.ready.push_back(FragmentEvent::Start(FragmentStart {
            number,
            server_ms,
            producer_ms,
            tracks: Arc::clone(&self.tracks),
            tags: producer_tags,
            cluster_timestamp,
        }));
    }

    /// Ends the current fragment; returns true if there was one.
    fn end_fragment(&mut self, complete: bool, aws: AwsTags) -> bool {
        let Some(current) = self.current.take() else { return false };
        self.ready.push_back(FragmentEvent::End(FragmentSummary {
            number: current.number,
            complete,
            millis_behind_now: aws.millis_behind_now,
            continuation_token: aws.continuation_token,
            tags: current.producer_tags,
            frames: current.frames,
            keyframes: current.keyframes,
            bytes: current.bytes,
        }));
        true
    }

    fn begin_cluster(&mut self, timestamp: u64) -> Result<(), MkvError> {
        match &mut self.current {
            Some(current) => current.timestamp = timestamp,
            None if self.leading.number.is_some() => self.start_fragment(Some(timestamp)),
            None => return Err(MkvError::NoFragmentNumber { offset: self.reader.offset() }),
        }
        Ok(())
    }

    fn emit_block(&mut self, block: Block) {
        let Some(current) = &mut self.current else { return };
        // A timestamp has 64 bits, so the difference and its product with the scale need more.
        let units =
            i128::from(current.timestamp) - i128::from(current.first_timestamp) + i128::from(block.relative);
        // Each audio frame is a keyframe, which says nothing about the video.
        let is_audio =
            self.tracks.iter().any(|track| track.number == block.track && track.kind == TrackKind::Audio);
        let index = current.frames;
        current.frames = current.frames.saturating_add(1);
        current.keyframes = current.keyframes.saturating_add(u32::from(block.key && !is_audio));
        current.bytes = current.bytes.saturating_add(block.data.len() as u64);
        let relative_ms = units_to_ms(units, self.timestamp_scale_ns);
        self.ready.push_back(FragmentEvent::Block(FragmentBlock { index, relative_ms, block }));
    }

    fn handle_tags(&mut self, tags: Vec<Tag>) -> Result<(), MkvError> {
        let (aws, producer_tags) = AwsTags::split(tags);
        self.keep_producer_tags(producer_tags)?;
        if aws.is_error(self.current.is_some()) {
            self.emit_error(aws);
        } else if self.current.is_some() {
            if aws.is_trailing() {
                self.end_fragment(true, aws);
            }
        } else if aws.fragment_number.is_some() {
            self.leading.number = aws.fragment_number;
            self.leading.server_ms = aws.server_timestamp.and_then(|text| seconds_to_ms(&text));
            self.leading.producer_ms = aws.producer_timestamp.and_then(|text| seconds_to_ms(&text));
        }
        Ok(())
    }

    /// Keeps a producer's tags for the start of the next fragment, or for the end of the current one.
    fn keep_producer_tags(&mut self, tags: Vec<Tag>) -> Result<(), MkvError> {
        let kept = match &mut self.current {
            Some(current) => &mut current.producer_tags,
            None => &mut self.leading.producer_tags,
        };
        // The reader below limits one Tags element; a fragment may have any number of them.
        if kept.len() + tags.len() > self.max_tags {
            let offset = self.reader.offset();
            let element = ElementId::TAGS;
            return Err(MkvError::TooMany { offset, element, limit: "tags", count: self.max_tags });
        }
        kept.extend(tags);
        Ok(())
    }

    /// Ends the current fragment as incomplete and emits an error record.
    fn emit_error(&mut self, aws: AwsTags) {
        let current = self.current.as_ref().map(|current| current.number.clone());
        let leading = self.leading.number.take();
        self.end_fragment(false, AwsTags::default());
        self.ready.push_back(FragmentEvent::Error(StreamError {
            id: aws.error_id,
            code: aws.error_code,
            fragment: aws.fragment_number.or(current).or(leading),
        }));
    }
}

/// Converts units of the timestamp scale to the nearest ms.
fn units_to_ms(units: i128, scale_ns: u64) -> i64 {
    let ns = units.saturating_mul(i128::from(scale_ns)).saturating_add(500_000);
    // Euclidean division rounds down for negative times too; `/` would round them towards 0.
    let ms = ns.div_euclid(1_000_000);
    i64::try_from(ms).unwrap_or(if ms < 0 { i64::MIN } else { i64::MAX })
}
