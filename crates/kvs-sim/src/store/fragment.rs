//! A stored fragment, and the Matroska document that a reader gets of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kvs_mkv::{Tag, TrackEntry, writer};

use crate::clock::decimal_seconds;
use crate::identifiers::fragment_number::FragmentNumber;

/// The start of a producer's documents up to the first Cluster: EBML header, Segment, Info, Tracks.
#[derive(Debug, Clone)]
pub struct MediaHeader {
    bytes: Bytes,
    /// TimestampScale of Info: nanoseconds per unit of time.
    timecode_scale_ns: u64,
}

impl MediaHeader {
    /// Returns a header whose unit of time is the millisecond.
    pub fn new(tracks: &[TrackEntry]) -> Self {
        let mut info = Vec::new();
        writer::info(&mut info, 1_000_000, "kvs-infer sim");
        Self::with_info(&info, 1_000_000, tracks)
    }

    /// Returns a header with the producer's own Info element.
    pub fn with_info(info: &[u8], timecode_scale_ns: u64, tracks: &[TrackEntry]) -> Self {
        let mut bytes = Vec::new();
        writer::document_header(&mut bytes);
        bytes.extend_from_slice(info);
        writer::tracks(&mut bytes, tracks);
        Self { bytes: bytes.into(), timecode_scale_ns }
    }

    /// Converts a timecode of this header to milliseconds.
    pub fn timecode_ms(&self, timecode: i64) -> i64 {
        // The scale is up to 2^64: the product needs more than 64 bits.
        let ns = i128::from(timecode) * i128::from(self.timecode_scale_ns);
        i64::try_from(ns / 1_000_000).unwrap_or(i64::MAX)
    }

    /// Converts milliseconds to timecodes of this header.
    fn timecodes(&self, ms: u64) -> u64 {
        let timecodes = u128::from(ms) * 1_000_000 / u128::from(self.timecode_scale_ns.max(1));
        u64::try_from(timecodes).unwrap_or(u64::MAX)
    }
}

/// The part of a fragment that is known when its first byte arrives.
#[derive(Debug, Clone)]
pub struct FragmentHead {
    /// The producer's header, which many fragments share.
    pub header: Arc<MediaHeader>,
    /// Timestamp of the Cluster, in units of the header's timecode scale.
    pub cluster_timestamp: u64,
    /// Milliseconds since 1970 by the producer's clock.
    pub producer_ms: i64,
}

impl FragmentHead {
    /// Returns the head with both of the producer's times moved back.
    pub(crate) fn moved_back(self, by: Duration) -> Self {
        let ms = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        Self {
            cluster_timestamp: self.cluster_timestamp.saturating_sub(self.header.timecodes(ms)),
            producer_ms: self.producer_ms.saturating_sub_unsigned(ms),
            header: self.header,
        }
    }
}

/// One of a fragment's two time lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeLine {
    /// The time at which KVS received the fragment.
    Server,
    /// The time at which the producer made the fragment.
    Producer,
}

#[derive(Debug)]
pub(crate) struct StoredFragment {
    pub(crate) number: FragmentNumber,
    pub(crate) server_ms: i64,
    /// True once all blocks and tags have arrived.
    pub(crate) complete: bool,
    pub(crate) content: FragmentContent,
}

#[derive(Debug)]
pub(crate) enum FragmentContent {
    Media(FragmentMedia),
    /// Bytes that readers get unchanged: a camera that sends invalid data.
    Raw(Bytes),
}

#[derive(Debug)]
pub(crate) struct FragmentMedia {
    pub(crate) head: FragmentHead,
    /// SimpleBlock elements in the order of arrival.
    pub(crate) blocks: Vec<Bytes>,
    pub(crate) block_bytes: u64,
    /// The producer's tags.
    pub(crate) tags: Vec<Tag>,
    latest_relative: i16,
}

/// A fragment's number and times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FragmentTimes {
    pub(crate) number: FragmentNumber,
    pub(crate) server_ms: i64,
    pub(crate) producer_ms: i64,
}

impl FragmentTimes {
    /// Returns the times of a fragment; None if it is not media.
    pub(crate) fn of(fragment: &StoredFragment) -> Option<Self> {
        let FragmentContent::Media(media) = &fragment.content else { return None };
        let StoredFragment { number, server_ms, .. } = *fragment;
        Some(Self { number, server_ms, producer_ms: media.head.producer_ms })
    }

    /// Returns the fragment's start on a time line, in ms since 1970.
    pub(crate) fn on(&self, line: TimeLine) -> i64 {
        match line {
            TimeLine::Server => self.server_ms,
            TimeLine::Producer => self.producer_ms,
        }
    }
}

/// Returns the fragments that begin in a range, both ends included. Of several that begin at the same time the newest counts.
///
/// Source: AWS, HLSTimestampRange, 2026: where fragments have the same start, only the newer one is in the playlist.
pub(crate) fn begun_within(
    mut fragments: Vec<FragmentTimes>,
    line: TimeLine,
    (from_ms, to_ms): (i64, i64),
) -> Vec<FragmentTimes> {
    fragments.retain(|times| (from_ms..=to_ms).contains(&times.on(line)));
    // The fragments come in the order of their numbers, so the newest of a time replaces the others in the map.
    let newest: BTreeMap<i64, FragmentNumber> =
        fragments.iter().map(|times| (times.on(line), times.number)).collect();
    fragments.retain(|times| newest.get(&times.on(line)) == Some(&times.number));
    fragments
}

/// The EBML id of Cluster.
const CLUSTER_ID: [u8; 4] = [0x1F, 0x43, 0xB6, 0x75];

impl FragmentMedia {
    pub(crate) fn new(head: FragmentHead) -> Self {
        Self { head, blocks: Vec::new(), block_bytes: 0, tags: Vec::new(), latest_relative: 0 }
    }

    pub(crate) fn push(&mut self, element: Bytes, relative: i16) {
        self.block_bytes += element.len() as u64;
        self.blocks.push(element);
        // With B-frames the last block is not the latest frame.
        self.latest_relative = self.latest_relative.max(relative);
    }

    /// Returns the fragment's length. The last frame, whose length is not known, counts as long as the average of the others.
    pub(crate) fn length_ms(&self) -> i64 {
        let last_ms = self.head.header.timecode_ms(i64::from(self.latest_relative));
        let gaps = i64::try_from(self.blocks.len()).unwrap_or(i64::MAX).saturating_sub(1).max(1);
        last_ms + (last_ms / gaps).max(1)
    }
}

impl StoredFragment {
    pub(crate) fn bytes(&self) -> u64 {
        match &self.content {
            FragmentContent::Media(media) => media.block_bytes,
            FragmentContent::Raw(bytes) => bytes.len() as u64,
        }
    }

    /// Returns the fragment's end on a time line, in ms since 1970.
    pub(crate) fn end_ms(&self, line: TimeLine) -> i64 {
        match (&self.content, line) {
            (FragmentContent::Raw(_), _) => self.server_ms.saturating_add(1),
            (FragmentContent::Media(media), TimeLine::Server) => {
                self.server_ms.saturating_add(media.length_ms())
            }
            (FragmentContent::Media(media), TimeLine::Producer) => {
                media.head.producer_ms.saturating_add(media.length_ms())
            }
        }
    }

    /// Returns the document up to the first block: header, the first AWS tags, start of the Cluster.
    pub(crate) fn opening(&self, media: &FragmentMedia) -> Bytes {
        let mut out = media.head.header.bytes.to_vec();
        let tags = [
            // Before the media, so that a reader can identify the fragment from its first frame on.
            Tag::new("AWS_KINESISVIDEO_FRAGMENT_NUMBER", self.number.to_string()),
            Tag::new("AWS_KINESISVIDEO_SERVER_TIMESTAMP", decimal_seconds(self.server_ms)),
            Tag::new("AWS_KINESISVIDEO_PRODUCER_TIMESTAMP", decimal_seconds(media.head.producer_ms)),
        ];
        writer::tags(&mut out, &tags);
        // The size of a fragment that is still arriving is not known; Matroska then allows an unknown size.
        if self.complete {
            write_sized_cluster_start(&mut out, media.head.cluster_timestamp, media.block_bytes);
        } else {
            writer::cluster_start(&mut out, media.head.cluster_timestamp);
        }
        out.into()
    }

    /// Returns the document after the last block: the producer's tags and the second AWS tags.
    ///
    /// `millis_behind_now` is for GetMedia; answers from the archive do not have it.
    pub(crate) fn closing(&self, media: &FragmentMedia, millis_behind_now: Option<i64>) -> Bytes {
        let mut out = Vec::new();
        if !media.tags.is_empty() {
            writer::tags(&mut out, &media.tags);
        }
        // CONTINUATION_TOKEN is the last tag: a document without it is incomplete.
        let behind =
            millis_behind_now.map(|ms| Tag::new("AWS_KINESISVIDEO_MILLIS_BEHIND_NOW", ms.to_string()));
        let token = Tag::new("AWS_KINESISVIDEO_CONTINUATION_TOKEN", self.number.to_string());
        let tags: Vec<Tag> = behind.into_iter().chain([token]).collect();
        writer::tags(&mut out, &tags);
        out.into()
    }

    /// Returns the document of GetMediaForFragmentList in parts: the opening, the blocks, the closing.
    pub(crate) fn archived_document(&self, media: &FragmentMedia) -> Vec<Bytes> {
        let blocks = media.blocks.iter().cloned();
        let opening = std::iter::once(self.opening(media));
        opening.chain(blocks).chain([self.closing(media, None)]).collect()
    }
}

/// Writes the head of a Cluster of known size, and its Timestamp.
fn write_sized_cluster_start(out: &mut Vec<u8>, timestamp: u64, block_bytes: u64) {
    let mut unknown_size = Vec::new();
    writer::cluster_start(&mut unknown_size, timestamp);
    // The unknown size is one byte, 0xFF, after the id; the Timestamp element follows.
    let timestamp_element = &unknown_size[CLUSTER_ID.len() + 1..];
    let size = (timestamp_element.len() as u64).saturating_add(block_bytes);
    out.extend_from_slice(&CLUSTER_ID);
    // A size in 8 bytes: bit 56 is the length marker of an EBML variable-size integer (RFC 8794, 4).
    out.extend_from_slice(&(size | 1 << 56).to_be_bytes());
    out.extend_from_slice(timestamp_element);
}
