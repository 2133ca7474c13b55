//! The demux stage: takes fragments apart into access units, as their bytes arrive.
//!
//! [`Demuxer`] reads the Matroska of GetMedia, [`SegmentDemuxer`] the segments of HLS. Both return [`DemuxEvent`]s.

mod segment;

use std::sync::Arc;
use std::time::Instant;

use kvs_mkv::{
    FragmentBlock, FragmentEvent, FragmentReader, FragmentStart, MkvLimits, StreamError, TrackEntry,
    TrackKind,
};
use thiserror::Error;

pub use segment::{FetchedSegment, SegmentDemuxer};

use crate::base::{MAX_NAME_CHARS, clean_text};
use crate::media::{ArrivalLag, Codec, Fragment, MediaMs, Packet, VideoTrack};

/// Bytes in another form than the service sends. The connection cannot be read any further.
#[derive(Debug, Error)]
pub enum DemuxError {
    /// The bytes are not the Matroska of GetMedia.
    #[error("not GetMedia output: {0}")]
    Matroska(#[from] kvs_mkv::MkvError),
    /// The bytes are not an HLS segment.
    #[error("not an HLS segment: {0}")]
    Segment(#[from] kvs_hls::HlsError),
}

/// The maximum number of codecs that are named for a fragment without video.
const MAX_CODECS: usize = 8;

/// An element of the stream that the bytes contain, in stream order.
#[derive(Debug)]
pub enum DemuxEvent {
    /// A fragment begins.
    Begin(Arc<Fragment>),
    /// An access unit of the current fragment.
    Packet(Packet),
    /// The current fragment is complete: its trailing tags arrived.
    End {
        /// The complete fragment.
        fragment: Arc<Fragment>,
        /// The reader's lag behind the live edge, ms.
        behind_ms: Option<u64>,
    },
    /// The current fragment ended without its trailing tags.
    Incomplete(Arc<Fragment>),
    /// A fragment begins that has no video that can be decoded.
    NoVideo {
        /// The fragment without video.
        fragment: Arc<Fragment>,
        /// The codecs of its tracks.
        codecs: String,
    },
    /// The service ended the stream with an error record.
    StreamError(StreamError),
}

/// Takes the bytes of one GetMedia connection apart. Sans-I/O.
#[derive(Debug)]
pub struct Demuxer {
    reader: FragmentReader,
    open: Option<FragmentInProgress>,
    /// The tracks of the last fragment, and the one of them that is decoded.
    selected: Option<(Arc<[TrackEntry]>, Option<SelectedTrack>)>,
    /// The producer timestamp of the last fragment, where it was rejected.
    refused_ms: Option<i64>,
}

/// The fragment that has begun and not ended.
#[derive(Debug)]
struct FragmentInProgress {
    fragment: Arc<Fragment>,
    selected: Option<SelectedTrack>,
    /// The number of blocks of the selected track so far.
    blocks: u32,
}

/// The video track that is decoded.
#[derive(Clone, Debug)]
struct SelectedTrack {
    /// TrackNumber, by which blocks name their track.
    number: u64,
    track: Arc<VideoTrack>,
}

impl Default for Demuxer {
    fn default() -> Self {
        Self {
            reader: FragmentReader::new(MkvLimits::default()),
            open: None,
            selected: None,
            refused_ms: None,
        }
    }
}

impl Demuxer {
    /// Appends the next bytes of the connection.
    pub fn push(&mut self, bytes: &[u8]) {
        self.reader.push(bytes);
    }

    /// Returns the number of bytes that were consumed; fewer than were pushed inside an element.
    #[must_use]
    pub fn consumed_bytes(&self) -> u64 {
        self.reader.offset()
    }

    /// Returns the producer timestamp of the last fragment, ms, if it was rejected for the server's.
    #[must_use]
    pub fn refused_ms(&self) -> Option<i64> {
        self.refused_ms
    }

    /// Returns the next event of the bytes so far; `arrived` is the time at which the last of them were read.
    ///
    /// # Errors
    /// The bytes are not GetMedia output, or exceed a limit; each further call returns the same error.
    pub fn next(&mut self, arrived: Instant) -> Result<Option<DemuxEvent>, DemuxError> {
        while let Some(event) = self.reader.next()? {
            let event = match event {
                FragmentEvent::Start(start) => Some(self.begin(&start)),
                FragmentEvent::Block(block) => self.packet(block, arrived).map(DemuxEvent::Packet),
                FragmentEvent::End(end) => self.end(&end),
                FragmentEvent::Error(error) => Some(DemuxEvent::StreamError(clean_error(error))),
            };
            if event.is_some() {
                return Ok(event);
            }
        }
        Ok(None)
    }

    fn begin(&mut self, start: &FragmentStart) -> DemuxEvent {
        let fragment = Arc::new(Fragment {
            number: start.number.as_str().into(),
            // Producers without a clock send 0.
            producer_ms: start.producer_ms.filter(|ms| *ms != 0 && is_in_calendar(*ms)),
            server_ms: start.server_ms.filter(|ms| is_in_calendar(*ms)),
        });
        self.refused_ms = start.producer_ms.filter(|ms| !is_in_calendar(*ms));
        let selected = self.select_track(&start.tracks);
        let has_no_video = selected.is_none();
        self.open = Some(FragmentInProgress { fragment: fragment.clone(), selected, blocks: 0 });
        if has_no_video {
            DemuxEvent::NoVideo { fragment, codecs: name_codecs(&start.tracks) }
        } else {
            DemuxEvent::Begin(fragment)
        }
    }

    /// Returns the track to decode.
    fn select_track(&mut self, tracks: &Arc<[TrackEntry]>) -> Option<SelectedTrack> {
        // Equal tracks return the same `Arc`, so that the decoder compares a pointer per packet.
        let known = self.selected.as_ref().filter(|(seen, _)| seen == tracks);
        if let Some((_, selected)) = known {
            return selected.clone();
        }
        let selected = tracks.iter().find_map(decodable_track);
        self.selected = Some((tracks.clone(), selected.clone()));
        selected
    }

    fn packet(&mut self, block: FragmentBlock, arrived: Instant) -> Option<Packet> {
        let open = self.open.as_mut()?;
        let selected = open.selected.as_ref().filter(|selected| selected.number == block.block.track)?;
        let (start, _) = open.fragment.media_start();
        // Blocks of audio and metadata tracks are not counted: event ids contain this index.
        let index = open.blocks;
        open.blocks = index.saturating_add(1);
        Some(Packet {
            fragment: open.fragment.clone(),
            track: selected.track.clone(),
            index,
            media: add_ms(start, block.relative_ms),
            key: block.block.key,
            unit: block.block.data,
            arrived,
            // The ingest task measures it, by the clock of the connection.
            lag: ArrivalLag::default(),
        })
    }

    fn end(&mut self, end: &kvs_mkv::FragmentSummary) -> Option<DemuxEvent> {
        let FragmentInProgress { fragment, .. } = self.open.take()?;
        // The service sends the trailing tags only after a whole fragment: without them it broke off.
        if !end.complete {
            return Some(DemuxEvent::Incomplete(fragment));
        }
        Some(DemuxEvent::End { fragment, behind_ms: end.millis_behind_now })
    }
}

/// The last millisecond of the year 9999, ms since the epoch: later times have no common text form.
const CALENDAR_END_MS: i64 = 253_402_300_799_999;

/// Returns true if a timestamp is in the years 1970 to 9999.
fn is_in_calendar(ms: i64) -> bool {
    (0..=CALENDAR_END_MS).contains(&ms)
}

/// Returns the media time `relative_ms` after `start`, limited to the calendar.
fn add_ms(start: MediaMs, relative_ms: i64) -> MediaMs {
    MediaMs(start.0.saturating_add(relative_ms).clamp(0, CALENDAR_END_MS))
}

/// Returns `track` if it is video that can be decoded.
fn decodable_track(track: &TrackEntry) -> Option<SelectedTrack> {
    // The codec IDs whose CodecPrivate is avcC or hvcC (ISO/IEC 14496-15), so NAL units are length-prefixed.
    let codec = match track.codec_id.as_str() {
        "V_MPEG4/ISO/AVC" => Codec::H264,
        "V_MPEGH/ISO/HEVC" => Codec::H265,
        _ => return None,
    };
    // ContentEncodings compress or encrypt blocks; the service's tracks have none.
    let is_readable = track.kind == TrackKind::Video && !track.is_encoded();
    is_readable.then(|| SelectedTrack {
        number: track.number,
        track: Arc::new(VideoTrack {
            codec,
            codec_private: track.codec_private.clone(),
            width_px: track.width_px,
            height_px: track.height_px,
        }),
    })
}

/// Returns the codecs of `tracks` as text for a message.
fn name_codecs(tracks: &[TrackEntry]) -> String {
    if tracks.is_empty() {
        return "no tracks".to_owned();
    }
    let names: Vec<String> =
        tracks.iter().take(MAX_CODECS).map(|track| clean_text(&track.codec_id, MAX_NAME_CHARS)).collect();
    clean_text(&names.join(", "), MAX_NAME_CHARS)
}

/// Returns the error record without control characters, its texts short enough for a log line.
fn clean_error(error: StreamError) -> StreamError {
    let clean = |text: Option<String>| text.map(|text| clean_text(&text, MAX_NAME_CHARS));
    StreamError { id: error.id, code: clean(error.code), fragment: clean(error.fragment) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kvs_mkv::{Tag, writer};

    const NUMBER: &str = "91343852333181432392682062607743920146159169392";

    fn document(codec: &str, producer: &str, trailing: bool) -> Vec<u8> {
        let mut out = Vec::new();
        writer::document_header(&mut out);
        writer::tracks(&mut out, &[writer::video_track(1, codec, b"\x01avcC", 64, 48)]);
        writer::tags(
            &mut out,
            &[
                Tag::new("AWS_KINESISVIDEO_FRAGMENT_NUMBER", NUMBER),
                Tag::new("AWS_KINESISVIDEO_SERVER_TIMESTAMP", "1600.500"),
                Tag::new("AWS_KINESISVIDEO_PRODUCER_TIMESTAMP", producer),
            ],
        );
        writer::cluster_start(&mut out, 10_000);
        writer::simple_block(&mut out, 1, 0, true, b"first");
        writer::simple_block(&mut out, 2, 5, true, b"sound");
        writer::simple_block(&mut out, 1, 40, false, b"second");
        if trailing {
            writer::tags(&mut out, &[Tag::new("AWS_KINESISVIDEO_MILLIS_BEHIND_NOW", "1250")]);
        }
        out
    }

    fn events(bytes: &[u8]) -> Vec<String> {
        let mut demuxer = Demuxer::default();
        demuxer.push(bytes);
        let mut described = Vec::new();
        while let Some(event) = demuxer.next(Instant::now()).unwrap() {
            described.push(describe(&event));
        }
        described
    }

    fn describe(event: &DemuxEvent) -> String {
        match event {
            DemuxEvent::Begin(fragment) => format!("begin {:?}", fragment.media_start()),
            DemuxEvent::Packet(p) => {
                format!("packet {} at {} key {} {:?}", p.index, p.media.0, p.key, p.unit)
            }
            DemuxEvent::End { behind_ms, .. } => format!("end {behind_ms:?}"),
            DemuxEvent::Incomplete(_) => "incomplete".to_owned(),
            DemuxEvent::NoVideo { codecs, .. } => format!("no video: {codecs}"),
            DemuxEvent::StreamError(error) => format!("error {:?}", error.id),
        }
    }

    #[test]
    fn a_fragment_is_taken_apart_into_packets_with_media_time() {
        assert_eq!(
            events(&document("V_MPEG4/ISO/AVC", "1599.000", true)),
            [
                "begin (MediaMs(1599000), Producer)",
                "packet 0 at 1599000 key true b\"first\"",
                "packet 1 at 1599040 key false b\"second\"",
                "end Some(1250)",
            ]
        );
    }

    #[test]
    fn a_producer_without_a_timestamp_gets_the_servers() {
        let described = events(&document("V_MPEG4/ISO/AVC", "0.000", true));
        assert_eq!(described[0], "begin (MediaMs(1600500), Server)");
        assert_eq!(described[1], "packet 0 at 1600500 key true b\"first\"");
    }

    #[test]
    fn a_producer_with_a_timestamp_out_of_the_calendar_gets_the_servers() {
        for (producer, refused) in [("9000000000000.000", 9_000_000_000_000_000), ("-1.000", -1_000)] {
            let mut demuxer = Demuxer::default();
            demuxer.push(&document("V_MPEG4/ISO/AVC", producer, true));
            let event = demuxer.next(Instant::now()).unwrap().unwrap();
            assert_eq!(describe(&event), "begin (MediaMs(1600500), Server)", "{producer}");
            assert_eq!(demuxer.refused_ms(), Some(refused));
        }
        let end = MediaMs(CALENDAR_END_MS);
        assert_eq!(add_ms(MediaMs(5), i64::MAX), end);
        assert_eq!(add_ms(MediaMs(5), i64::MIN), MediaMs(0));
    }

    #[test]
    fn texts_of_producer_and_service_are_truncated() {
        let codec = "V_\u{1b}".repeat(300_000);
        let described = events(&document(&codec, "1599.000", true));
        assert_eq!(described[0].chars().count(), "no video: ".len() + MAX_NAME_CHARS + 1, "{}", described[0]);
        assert!(!described[0].contains('\u{1b}'));
        let error = StreamError { id: Some(1), code: Some("x".repeat(9_999)), fragment: None };
        assert_eq!(clean_error(error).code.map(|code| code.chars().count()), Some(MAX_NAME_CHARS + 1));
    }

    #[test]
    fn an_unknown_codec_is_named_and_gives_no_packets() {
        assert_eq!(events(&document("V_VP9", "1599.000", true)), ["no video: V_VP9", "end Some(1250)"]);
    }

    #[test]
    fn a_fragment_without_its_trailing_tags_is_incomplete() {
        let mut bytes = document("V_MPEG4/ISO/AVC", "1599.000", false);
        bytes.extend(document("V_MPEG4/ISO/AVC", "1600.000", true));
        let described = events(&bytes);
        assert_eq!(described[3], "incomplete");
        assert_eq!(described[4], "begin (MediaMs(1600000), Producer)");
    }

    #[test]
    fn equal_tracks_share_an_arc() {
        let mut bytes = document("V_MPEG4/ISO/AVC", "1599.000", true);
        bytes.extend(document("V_MPEG4/ISO/AVC", "1600.000", true));
        let mut demuxer = Demuxer::default();
        demuxer.push(&bytes);
        let mut tracks = Vec::new();
        while let Some(event) = demuxer.next(Instant::now()).unwrap() {
            if let DemuxEvent::Packet(packet) = event {
                tracks.push(packet.track);
            }
        }
        assert_eq!(tracks.len(), 4);
        assert!(tracks.iter().all(|track| Arc::ptr_eq(track, &tracks[0])));
    }

    #[test]
    fn malformed_bytes_are_a_lasting_error() {
        let mut demuxer = Demuxer::default();
        demuxer.push(b"HTTP/1.1 500 this is no Matroska at all");
        assert!(demuxer.next(Instant::now()).is_err());
        assert!(demuxer.next(Instant::now()).is_err());
    }
}
