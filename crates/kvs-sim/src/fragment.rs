//! A fragment as it is stored, and the Matroska that a GetMedia reader gets of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kvs_mkv::{Tag, TrackEntry, writer};

use crate::clock::decimal_seconds;
use crate::fragment_number::FragmentNumber;

/// What stands before the clusters of a producer's stream: its Info and its Tracks.
#[derive(Debug, Clone)]
pub struct MediaHeader {
    /// The start of a document: EBML header, Segment, Info, Tracks.
    bytes: Bytes,
    timecode_scale_ns: u64,
}

impl MediaHeader {
    /// A header with timecodes in milliseconds.
    pub fn new(tracks: &[TrackEntry]) -> Self {
        let mut info = Vec::new();
        writer::info(&mut info, 1_000_000, "kvs-infer sim");
        Self::with_info(&info, 1_000_000, tracks)
    }

    /// A header with the producer's own Info element.
    pub fn with_info(info: &[u8], timecode_scale_ns: u64, tracks: &[TrackEntry]) -> Self {
        let mut bytes = Vec::new();
        writer::document_header(&mut bytes);
        bytes.extend_from_slice(info);
        writer::tracks(&mut bytes, tracks);
        Self { bytes: bytes.into(), timecode_scale_ns }
    }

    /// A timecode of this stream in milliseconds.
    pub fn timecode_ms(&self, timecode: i64) -> i64 {
        let ns = i128::from(timecode) * i128::from(self.timecode_scale_ns);
        i64::try_from(ns / 1_000_000).unwrap_or(i64::MAX)
    }

    /// Milliseconds in timecodes of this stream.
    fn timecodes(&self, ms: u64) -> u64 {
        let timecodes = u128::from(ms) * 1_000_000 / u128::from(self.timecode_scale_ns.max(1));
        u64::try_from(timecodes).unwrap_or(u64::MAX)
    }
}

/// What is known of a fragment when its first byte arrives.
#[derive(Debug, Clone)]
pub struct FragmentHead {
    /// The producer's header, the same for many fragments.
    pub header: Arc<MediaHeader>,
    /// Timestamp of the Cluster, in units of the header's timecode scale.
    pub cluster_timestamp: u64,
    /// Milliseconds since 1970 by the producer's clock.
    pub producer_ms: i64,
}

impl FragmentHead {
    /// The head with both of the producer's times so much earlier.
    pub(crate) fn back_by(self, by: Duration) -> Self {
        let ms = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        Self {
            cluster_timestamp: self.cluster_timestamp.saturating_sub(self.header.timecodes(ms)),
            producer_ms: self.producer_ms.saturating_sub_unsigned(ms),
            header: self.header,
        }
    }
}

/// Which of a fragment's two times is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeLine {
    /// When the KVS received it.
    Server,
    /// When the producer made it.
    Producer,
}

#[derive(Debug)]
pub(crate) struct Fragment {
    pub(crate) number: FragmentNumber,
    pub(crate) server_ms: i64,
    pub(crate) complete: bool,
    pub(crate) content: Content,
}

#[derive(Debug)]
pub(crate) enum Content {
    Media(Media),
    /// Bytes sent to readers as they are: a camera that sends rubbish.
    Raw(Bytes),
}

#[derive(Debug)]
pub(crate) struct Media {
    pub(crate) head: FragmentHead,
    /// SimpleBlock elements in the order of arrival.
    pub(crate) blocks: Vec<Bytes>,
    pub(crate) block_bytes: u64,
    pub(crate) tags: Vec<Tag>,
    latest_relative: i16,
}

/// A fragment's number and times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Dated {
    pub(crate) number: FragmentNumber,
    pub(crate) server_ms: i64,
    pub(crate) producer_ms: i64,
}

impl Dated {
    /// None for bytes that are no media.
    pub(crate) fn of(fragment: &Fragment) -> Option<Self> {
        let Content::Media(media) = &fragment.content else { return None };
        let Fragment { number, server_ms, .. } = *fragment;
        Some(Self { number, server_ms, producer_ms: media.head.producer_ms })
    }

    pub(crate) fn on(&self, line: TimeLine) -> i64 {
        match line {
            TimeLine::Server => self.server_ms,
            TimeLine::Producer => self.producer_ms,
        }
    }
}

/// Those that begin in a range, both ends included; of several at one time the newest.
pub(crate) fn begun_within(
    mut fragments: Vec<Dated>,
    line: TimeLine,
    (from_ms, to_ms): (i64, i64),
) -> Vec<Dated> {
    fragments.retain(|dated| (from_ms..=to_ms).contains(&dated.on(line)));
    let newest: BTreeMap<i64, FragmentNumber> =
        fragments.iter().map(|dated| (dated.on(line), dated.number)).collect();
    fragments.retain(|dated| newest.get(&dated.on(line)) == Some(&dated.number));
    fragments
}

const CLUSTER_ID: [u8; 4] = [0x1F, 0x43, 0xB6, 0x75];

impl Media {
    pub(crate) fn new(head: FragmentHead) -> Self {
        Self { head, blocks: Vec::new(), block_bytes: 0, tags: Vec::new(), latest_relative: 0 }
    }

    pub(crate) fn push(&mut self, element: Bytes, relative: i16) {
        self.block_bytes += element.len() as u64;
        self.blocks.push(element);
        self.latest_relative = self.latest_relative.max(relative);
    }

    /// How long the fragment lasts, its last frame as long as the others on average.
    pub(crate) fn length_ms(&self) -> i64 {
        let last_ms = self.head.header.timecode_ms(i64::from(self.latest_relative));
        let gaps = i64::try_from(self.blocks.len()).unwrap_or(i64::MAX).saturating_sub(1).max(1);
        last_ms + (last_ms / gaps).max(1)
    }
}

impl Fragment {
    pub(crate) fn bytes(&self) -> u64 {
        match &self.content {
            Content::Media(media) => media.block_bytes,
            Content::Raw(bytes) => bytes.len() as u64,
        }
    }

    /// Milliseconds since 1970 at which it ends, on one of its two time lines.
    pub(crate) fn end_ms(&self, line: TimeLine) -> i64 {
        match (&self.content, line) {
            (Content::Raw(_), _) => self.server_ms.saturating_add(1),
            (Content::Media(media), TimeLine::Server) => self.server_ms.saturating_add(media.length_ms()),
            (Content::Media(media), TimeLine::Producer) => {
                media.head.producer_ms.saturating_add(media.length_ms())
            }
        }
    }

    /// What a reader gets before the blocks: the document's start, the first AWS tags, the Cluster's start.
    pub(crate) fn opening(&self, media: &Media) -> Bytes {
        let mut out = media.head.header.bytes.to_vec();
        let tags = [
            Tag::new("AWS_KINESISVIDEO_FRAGMENT_NUMBER", self.number.to_string()),
            Tag::new("AWS_KINESISVIDEO_SERVER_TIMESTAMP", decimal_seconds(self.server_ms)),
            Tag::new("AWS_KINESISVIDEO_PRODUCER_TIMESTAMP", decimal_seconds(media.head.producer_ms)),
        ];
        writer::tags(&mut out, &tags);
        if self.complete {
            whole_cluster_start(&mut out, media.head.cluster_timestamp, media.block_bytes);
        } else {
            writer::cluster_start(&mut out, media.head.cluster_timestamp);
        }
        out.into()
    }

    /// What a reader gets after the blocks: the producer's tags and the second AWS tags. Only GetMedia says how far
    /// behind a reader is.
    pub(crate) fn closing(&self, media: &Media, millis_behind_now: Option<i64>) -> Bytes {
        let mut out = Vec::new();
        if !media.tags.is_empty() {
            writer::tags(&mut out, &media.tags);
        }
        let behind =
            millis_behind_now.map(|ms| Tag::new("AWS_KINESISVIDEO_MILLIS_BEHIND_NOW", ms.to_string()));
        let token = Tag::new("AWS_KINESISVIDEO_CONTINUATION_TOKEN", self.number.to_string());
        let tags: Vec<Tag> = behind.into_iter().chain([token]).collect();
        writer::tags(&mut out, &tags);
        out.into()
    }

    /// The document that GetMediaForFragmentList sends, in pieces: the opening, the blocks, the closing.
    pub(crate) fn archived(&self, media: &Media) -> Vec<Bytes> {
        let blocks = media.blocks.iter().cloned();
        let opening = std::iter::once(self.opening(media));
        opening.chain(blocks).chain([self.closing(media, None)]).collect()
    }
}

/// The head of a Cluster of known size, and its Timestamp.
fn whole_cluster_start(out: &mut Vec<u8>, timestamp: u64, block_bytes: u64) {
    let mut unknown = Vec::new();
    writer::cluster_start(&mut unknown, timestamp);
    let timestamp_element = &unknown[CLUSTER_ID.len() + 1..];
    let size = (timestamp_element.len() as u64).saturating_add(block_bytes);
    out.extend_from_slice(&CLUSTER_ID);
    out.extend_from_slice(&(size | 1 << 56).to_be_bytes());
    out.extend_from_slice(timestamp_element);
}

/// A document that says why GetMedia stops, inside an answer that began with 200.
pub(crate) fn error_document(fragment: &str, id: u32, code: &str) -> Bytes {
    let mut out = Vec::new();
    writer::document_header(&mut out);
    let tags = [
        Tag::new("AWS_KINESISVIDEO_FRAGMENT_NUMBER", fragment),
        Tag::new("AWS_KINESISVIDEO_ERROR_CODE", code),
        Tag::new("AWS_KINESISVIDEO_ERROR_ID", id.to_string()),
    ];
    writer::tags(&mut out, &tags);
    out.into()
}

/// A document that says why GetMediaForFragmentList stops.
///
/// Source: the documentation of its Payload, which names other tags than that of GetMedia.
pub(crate) fn exception_document(fragment: &str, id: u32, message: &str) -> Bytes {
    let mut out = Vec::new();
    writer::document_header(&mut out);
    let tags = [
        Tag::new("AWS_KINESISVIDEO_FRAGMENT_NUMBER", fragment),
        Tag::new("AWS_KINESISVIDEO_EXCEPTION_ERROR_CODE", id.to_string()),
        Tag::new("AWS_KINESISVIDEO_EXCEPTION_MESSAGE", message),
    ];
    writer::tags(&mut out, &tags);
    out.into()
}
