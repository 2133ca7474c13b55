//! Fragments: what GetMedia and GetMediaForFragmentList send.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::aws::{AwsTags, seconds_to_ms};
use crate::reader::DEFAULT_TIMECODE_SCALE_NS;
use crate::{Block, Error, Id, Item, Limits, Reader, Tag, Track, TrackKind};

/// One thing found in the output of GetMedia, in the order of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A fragment begins.
    Start(FragmentStart),
    /// A frame of the fragment that began last.
    Block(FragmentBlock),
    /// That fragment is over.
    End(FragmentEnd),
    /// KVS says that something is wrong, inside a 200.
    Error(StreamError),
}

/// What is known of a fragment when its Cluster begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FragmentStart {
    /// 47 decimal digits: opaque text, whose order is the order of arrival at KVS.
    pub number: String,
    /// When KVS got it, in ms since 1970; `None` where the tag is absent or is no decimal number.
    pub server_ms: Option<i64>,
    /// When the producer made it, in ms since 1970 or since its own start; `None` as for `server_ms`.
    pub producer_ms: Option<i64>,
    /// The tracks of its document.
    pub tracks: Arc<[Track]>,
    /// The producer's own tags before the Cluster.
    pub tags: Vec<Tag>,
    /// The Cluster's timestamp in units of the timecode scale; `None` where the document has no Cluster.
    pub cluster_timestamp: Option<u64>,
}

/// One frame of a fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FragmentBlock {
    /// 0-based, among all frames of the fragment, of all tracks.
    pub index: u32,
    /// Time since the fragment's (first) Cluster timestamp.
    pub relative_ms: i64,
    /// The frame.
    pub block: Block,
}

/// What is known of a fragment when it is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FragmentEnd {
    /// The number that its start had.
    pub number: String,
    /// Whether the trailing AWS tags arrived: the only proof that no frame is missing.
    pub complete: bool,
    /// How far this connection is behind the newest fragment.
    pub millis_behind_now: Option<u64>,
    /// Where another connection may go on.
    pub continuation_token: Option<String>,
    /// The producer's own tags after the Cluster's beginning.
    pub tags: Vec<Tag>,
    /// Frames of all tracks.
    pub frames: u32,
    /// Key frames of all tracks that are not sound.
    pub keyframes: u32,
    /// Bytes of all frames, without any of Matroska's.
    pub bytes: u64,
}

/// An error record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamError {
    /// For example 4000: fragment not found.
    pub id: Option<u32>,
    /// What KVS calls it, with its message where it sends one.
    pub code: Option<String>,
    /// The fragment it is about.
    pub fragment: Option<String>,
}

/// Reads GetMedia's output from bytes that come in pieces.
///
/// A frame comes out when its last byte is in, a fragment's end with the last byte of its trailing tags.
#[derive(Debug)]
pub struct FragmentReader {
    reader: Reader,
    tags_limit: usize,
    tracks: Arc<[Track]>,
    scale_ns: u64,
    coming: Coming,
    open: Option<Open>,
    ready: VecDeque<Event>,
    failed: Option<Error>,
    /// Whether the end of the response cut a fragment; `None` before that end.
    cut: Option<bool>,
}

/// What is known of the next fragment before its Cluster.
#[derive(Debug, Default)]
struct Coming {
    number: Option<String>,
    server_ms: Option<i64>,
    producer_ms: Option<i64>,
    tags: Vec<Tag>,
}

/// The fragment whose frames are coming.
#[derive(Debug, Default)]
struct Open {
    number: String,
    first_timestamp: u64,
    timestamp: u64,
    tags: Vec<Tag>,
    frames: u32,
    keyframes: u32,
    bytes: u64,
}

impl FragmentReader {
    /// A reader at the beginning of a response.
    pub fn new(limits: Limits) -> Self {
        Self {
            tags_limit: limits.tags,
            reader: Reader::new(limits),
            tracks: Arc::new([]),
            scale_ns: DEFAULT_TIMECODE_SCALE_NS,
            coming: Coming::default(),
            open: None,
            ready: VecDeque::new(),
            failed: None,
            cut: None,
        }
    }

    /// Takes the next bytes of the response. Call [`next`](Self::next) until it gives `None` before the next push.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.failed.is_none() {
            self.reader.push(bytes);
        }
    }

    /// The next event, or `None` where more bytes are needed.
    ///
    /// Errors: what the bytes break; from then on always the same error.
    #[expect(clippy::should_implement_trait, reason = "None asks for more bytes, it is not the end")]
    pub fn next(&mut self) -> Result<Option<Event>, Error> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            if let Some(error) = &self.failed {
                return Err(error.clone());
            }
            let Some(item) = self.reader.next()? else { return Ok(None) };
            self.failed = self.take(item).err();
        }
    }

    /// Bytes of the response that lie behind.
    pub fn offset(&self) -> u64 {
        self.reader.offset()
    }

    /// What the end of the response brings, once `next` gave `None` or an error: a fragment still open ends as not
    /// complete, one that never had a Cluster begins and ends. Call it until it gives `None`.
    ///
    /// Errors: the error that `next` gave, after the events; [`Error::Truncated`] where the response ended inside an
    /// element and no fragment was open to say so.
    pub fn finish(&mut self) -> Result<Option<Event>, Error> {
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
            Err(Error::Truncated { .. }) if self.cut == Some(true) => Ok(None),
            result => result.map(|()| None),
        }
    }

    fn take(&mut self, item: Item) -> Result<(), Error> {
        match item {
            Item::Document => {
                self.end_document();
                self.tracks = Arc::new([]);
                self.scale_ns = DEFAULT_TIMECODE_SCALE_NS;
            }
            Item::Info { timecode_scale_ns, .. } => self.scale_ns = timecode_scale_ns,
            Item::Tracks(tracks) => self.tracks = tracks,
            Item::Tags(tags) => return self.take_tags(tags),
            Item::ClusterStart { timestamp } => return self.begin_cluster(timestamp),
            Item::Block(block) => self.take_block(block),
            Item::ClusterEnd => {}
        }
        Ok(())
    }

    /// Ends what the document left open; says whether that was a fragment.
    fn end_document(&mut self) -> bool {
        if self.open.is_none() && self.coming.number.is_some() {
            self.start(None);
        }
        self.coming = Coming::default();
        self.end(false, AwsTags::default())
    }

    fn start(&mut self, cluster_timestamp: Option<u64>) {
        let Coming { number, server_ms, producer_ms, tags } = std::mem::take(&mut self.coming);
        let number = number.unwrap_or_default();
        let timestamp = cluster_timestamp.unwrap_or(0);
        self.open =
            Some(Open { number: number.clone(), first_timestamp: timestamp, timestamp, ..Open::default() });
        let tracks = Arc::clone(&self.tracks);
        let start = FragmentStart { number, server_ms, producer_ms, tracks, tags, cluster_timestamp };
        self.ready.push_back(Event::Start(start));
    }

    fn end(&mut self, complete: bool, aws: AwsTags) -> bool {
        let Some(open) = self.open.take() else { return false };
        self.ready.push_back(Event::End(FragmentEnd {
            number: open.number,
            complete,
            millis_behind_now: aws.millis_behind_now,
            continuation_token: aws.continuation_token,
            tags: open.tags,
            frames: open.frames,
            keyframes: open.keyframes,
            bytes: open.bytes,
        }));
        true
    }

    fn begin_cluster(&mut self, timestamp: u64) -> Result<(), Error> {
        match &mut self.open {
            Some(open) => open.timestamp = timestamp,
            None if self.coming.number.is_some() => self.start(Some(timestamp)),
            None => return Err(Error::NoFragmentNumber { offset: self.reader.offset() }),
        }
        Ok(())
    }

    fn take_block(&mut self, block: Block) {
        let Some(open) = &mut self.open else { return };
        let units =
            i128::from(open.timestamp) - i128::from(open.first_timestamp) + i128::from(block.relative);
        let sound =
            self.tracks.iter().any(|track| track.number == block.track && track.kind == TrackKind::Audio);
        let index = open.frames;
        open.frames = open.frames.saturating_add(1);
        open.keyframes = open.keyframes.saturating_add(u32::from(block.key && !sound));
        open.bytes = open.bytes.saturating_add(block.data.len() as u64);
        let relative_ms = units_to_ms(units, self.scale_ns);
        self.ready.push_back(Event::Block(FragmentBlock { index, relative_ms, block }));
    }

    fn take_tags(&mut self, tags: Vec<Tag>) -> Result<(), Error> {
        let (aws, users) = AwsTags::split(tags);
        self.keep(users)?;
        if aws.is_error(self.open.is_some()) {
            self.refuse(aws);
        } else if self.open.is_some() {
            if aws.is_trailing() {
                self.end(true, aws);
            }
        } else if aws.fragment_number.is_some() {
            self.coming.number = aws.fragment_number;
            self.coming.server_ms = aws.server.and_then(|text| seconds_to_ms(&text));
            self.coming.producer_ms = aws.producer.and_then(|text| seconds_to_ms(&text));
        }
        Ok(())
    }

    /// Keeps a producer's tags for the start or the end of the fragment.
    fn keep(&mut self, users: Vec<Tag>) -> Result<(), Error> {
        let kept = match &mut self.open {
            Some(open) => &mut open.tags,
            None => &mut self.coming.tags,
        };
        if kept.len() + users.len() > self.tags_limit {
            let offset = self.reader.offset();
            return Err(Error::TooMany { offset, element: Id::TAGS, limit: "tags", count: self.tags_limit });
        }
        kept.extend(users);
        Ok(())
    }

    fn refuse(&mut self, aws: AwsTags) {
        let open = self.open.as_ref().map(|open| open.number.clone());
        let coming = self.coming.number.take();
        self.end(false, AwsTags::default());
        self.ready.push_back(Event::Error(StreamError {
            id: aws.error_id,
            code: aws.error_code,
            fragment: aws.fragment_number.or(open).or(coming),
        }));
    }
}

/// Rounds to the nearest ms.
fn units_to_ms(units: i128, scale_ns: u64) -> i64 {
    let ns = units.saturating_mul(i128::from(scale_ns)).saturating_add(500_000);
    let ms = ns.div_euclid(1_000_000);
    i64::try_from(ms).unwrap_or(if ms < 0 { i64::MIN } else { i64::MAX })
}
