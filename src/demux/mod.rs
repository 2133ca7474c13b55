//! bytes -> packets: GetMedia's Matroska, taken apart as it comes; segments of HLS in `segment`.

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
use crate::frame::{ArrivalLag, Codec, Fragment, MediaMs, Packet, VideoTrack};

/// Bytes that are not what the service sends. The connection is useless from here on: connect again.
#[derive(Debug, Error)]
pub enum DemuxError {
    /// Of GetMedia.
    #[error("no GetMedia output: {0}")]
    Matroska(#[from] kvs_mkv::MkvError),
    /// Of HLS.
    #[error("no segment of HLS: {0}")]
    Segment(#[from] kvs_hls::HlsError),
}

/// Codecs of a fragment without video that are named.
const MAX_CODECS: usize = 8;

/// What the bytes turned out to be, in the order of the stream.
#[derive(Debug)]
pub enum Step {
    /// A fragment begins.
    Begin(Arc<Fragment>),
    /// An access unit.
    Packet(Packet),
    /// The trailing tags arrived: the fragment is complete.
    End {
        /// The fragment.
        fragment: Arc<Fragment>,
        /// How far the reader is behind the live edge, ms.
        behind_ms: Option<u64>,
    },
    /// A fragment ended without its trailing tags.
    Incomplete(Arc<Fragment>),
    /// A fragment begins that holds no video that can be decoded.
    NoVideo {
        /// The fragment.
        fragment: Arc<Fragment>,
        /// The codecs that it holds.
        codecs: String,
    },
    /// The service ended the stream with an error record.
    StreamError(StreamError),
}

/// Takes one connection's bytes apart. Sans-I/O.
#[derive(Debug)]
pub struct Demuxer {
    reader: FragmentReader,
    open: Option<Open>,
    video: Option<(Arc<[TrackEntry]>, Option<Video>)>,
    /// The producer's time of the fragment, where it is none.
    refused_ms: Option<i64>,
}

#[derive(Debug)]
struct Open {
    fragment: Arc<Fragment>,
    video: Option<Video>,
    /// Blocks of its video so far.
    blocks: u32,
}

#[derive(Clone, Debug)]
struct Video {
    number: u64,
    track: Arc<VideoTrack>,
}

impl Default for Demuxer {
    fn default() -> Self {
        Self { reader: FragmentReader::new(MkvLimits::default()), open: None, video: None, refused_ms: None }
    }
}

impl Demuxer {
    /// Takes the next bytes of the connection.
    pub fn push(&mut self, bytes: &[u8]) {
        self.reader.push(bytes);
    }

    /// The producer's timestamp of the last fragment that began, ms, where it is out of the calendar: the fragment goes by the server's
    /// then.
    #[must_use]
    pub fn refused_ms(&self) -> Option<i64> {
        self.refused_ms
    }

    /// The next step that the bytes so far hold; `arrived` is when they were read.
    ///
    /// # Errors
    /// The bytes are not GetMedia output, or exceed a limit; every further call gives the same error.
    pub fn next(&mut self, arrived: Instant) -> Result<Option<Step>, DemuxError> {
        while let Some(event) = self.reader.next()? {
            let step = match event {
                FragmentEvent::Start(start) => Some(self.begin(&start)),
                FragmentEvent::Block(block) => self.packet(block, arrived).map(Step::Packet),
                FragmentEvent::End(end) => self.end(&end),
                FragmentEvent::Error(error) => Some(Step::StreamError(cleaned(error))),
            };
            if step.is_some() {
                return Ok(step);
            }
        }
        Ok(None)
    }

    fn begin(&mut self, start: &FragmentStart) -> Step {
        let fragment = Arc::new(Fragment {
            number: start.number.as_str().into(),
            producer_ms: start.producer_ms.filter(|ms| *ms != 0 && is_in_calendar(*ms)),
            server_ms: start.server_ms.filter(|ms| is_in_calendar(*ms)),
        });
        self.refused_ms = start.producer_ms.filter(|ms| !is_in_calendar(*ms));
        let video = self.video_of(&start.tracks);
        let nothing = video.is_none();
        self.open = Some(Open { fragment: fragment.clone(), video, blocks: 0 });
        if nothing {
            Step::NoVideo { fragment, codecs: codecs(&start.tracks) }
        } else {
            Step::Begin(fragment)
        }
    }

    /// The track to decode. While the tracks stay the same it stays the same `Arc`, so that comparing is cheap.
    fn video_of(&mut self, tracks: &Arc<[TrackEntry]>) -> Option<Video> {
        let known = self.video.as_ref().filter(|(seen, _)| seen == tracks);
        if let Some((_, video)) = known {
            return video.clone();
        }
        let video = tracks.iter().find_map(video_track);
        self.video = Some((tracks.clone(), video.clone()));
        video
    }

    fn packet(&mut self, block: FragmentBlock, arrived: Instant) -> Option<Packet> {
        let open = self.open.as_mut()?;
        let video = open.video.as_ref().filter(|video| video.number == block.block.track)?;
        let (start, _) = open.fragment.media_start();
        let index = open.blocks;
        open.blocks = index.saturating_add(1);
        Some(Packet {
            fragment: open.fragment.clone(),
            track: video.track.clone(),
            index,
            media: within_calendar(start, block.relative_ms),
            key: block.block.key,
            unit: block.block.data,
            arrived,
            lag: ArrivalLag::default(),
        })
    }

    fn end(&mut self, end: &kvs_mkv::FragmentSummary) -> Option<Step> {
        let Open { fragment, .. } = self.open.take()?;
        if !end.complete {
            return Some(Step::Incomplete(fragment));
        }
        Some(Step::End { fragment, behind_ms: end.millis_behind_now })
    }
}

/// The last millisecond of the year 9999, ms since the epoch: later times have no common form.
const CALENDAR_END_MS: i64 = 253_402_300_799_999;

/// Returns whether a timestamp is one of the years 1970 to 9999.
fn is_in_calendar(ms: i64) -> bool {
    (0..=CALENDAR_END_MS).contains(&ms)
}

/// The media time at this distance from the fragment's start.
fn within_calendar(start: MediaMs, relative_ms: i64) -> MediaMs {
    MediaMs(start.0.saturating_add(relative_ms).clamp(0, CALENDAR_END_MS))
}

fn video_track(track: &TrackEntry) -> Option<Video> {
    let codec = match track.codec_id.as_str() {
        "V_MPEG4/ISO/AVC" => Codec::H264,
        "V_MPEGH/ISO/HEVC" => Codec::H265,
        _ => return None,
    };
    let readable = track.kind == TrackKind::Video && !track.is_encoded();
    readable.then(|| Video {
        number: track.number,
        track: Arc::new(VideoTrack {
            codec,
            codec_private: track.codec_private.clone(),
            width_px: track.width_px,
            height_px: track.height_px,
        }),
    })
}

fn codecs(tracks: &[TrackEntry]) -> String {
    if tracks.is_empty() {
        return "no tracks".to_owned();
    }
    let names: Vec<String> =
        tracks.iter().take(MAX_CODECS).map(|track| clean_text(&track.codec_id, MAX_NAME_CHARS)).collect();
    clean_text(&names.join(", "), MAX_NAME_CHARS)
}

/// The error record without control characters, and with texts that a log line can hold.
fn cleaned(error: StreamError) -> StreamError {
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

    fn steps(bytes: &[u8]) -> Vec<String> {
        let mut demuxer = Demuxer::default();
        demuxer.push(bytes);
        let mut told = Vec::new();
        while let Some(step) = demuxer.next(Instant::now()).unwrap() {
            told.push(tell(&step));
        }
        told
    }

    fn tell(step: &Step) -> String {
        match step {
            Step::Begin(fragment) => format!("begin {:?}", fragment.media_start()),
            Step::Packet(p) => format!("packet {} at {} key {} {:?}", p.index, p.media.0, p.key, p.unit),
            Step::End { behind_ms, .. } => format!("end {behind_ms:?}"),
            Step::Incomplete(_) => "incomplete".to_owned(),
            Step::NoVideo { codecs, .. } => format!("no video: {codecs}"),
            Step::StreamError(error) => format!("error {:?}", error.id),
        }
    }

    #[test]
    fn a_fragment_comes_apart_into_packets_of_its_video_track_with_media_time() {
        assert_eq!(
            steps(&document("V_MPEG4/ISO/AVC", "1599.000", true)),
            [
                "begin (MediaMs(1599000), Producer)",
                "packet 0 at 1599000 key true b\"first\"",
                "packet 1 at 1599040 key false b\"second\"",
                "end Some(1250)",
            ]
        );
    }

    #[test]
    fn a_producer_that_sends_no_time_gets_the_servers() {
        let told = steps(&document("V_MPEG4/ISO/AVC", "0.000", true));
        assert_eq!(told[0], "begin (MediaMs(1600500), Server)");
        assert_eq!(told[1], "packet 0 at 1600500 key true b\"first\"");
    }

    #[test]
    fn a_producer_whose_time_is_out_of_the_calendar_gets_the_servers() {
        for (producer, refused) in [("9000000000000.000", 9_000_000_000_000_000), ("-1.000", -1_000)] {
            let mut demuxer = Demuxer::default();
            demuxer.push(&document("V_MPEG4/ISO/AVC", producer, true));
            let step = demuxer.next(Instant::now()).unwrap().unwrap();
            assert_eq!(tell(&step), "begin (MediaMs(1600500), Server)", "{producer}");
            assert_eq!(demuxer.refused_ms(), Some(refused));
        }
        let end = MediaMs(CALENDAR_END_MS);
        assert_eq!(within_calendar(MediaMs(5), i64::MAX), end);
        assert_eq!(within_calendar(MediaMs(5), i64::MIN), MediaMs(0));
    }

    #[test]
    fn texts_of_producer_and_service_are_cut() {
        let codec = "V_\u{1b}".repeat(300_000);
        let told = steps(&document(&codec, "1599.000", true));
        assert_eq!(told[0].chars().count(), "no video: ".len() + MAX_NAME_CHARS + 1, "{}", told[0]);
        assert!(!told[0].contains('\u{1b}'));
        let error = StreamError { id: Some(1), code: Some("x".repeat(9_999)), fragment: None };
        assert_eq!(cleaned(error).code.map(|code| code.chars().count()), Some(MAX_NAME_CHARS + 1));
    }

    #[test]
    fn an_unknown_codec_is_told_by_name_and_gives_no_packets() {
        assert_eq!(steps(&document("V_VP9", "1599.000", true)), ["no video: V_VP9", "end Some(1250)"]);
    }

    #[test]
    fn a_fragment_without_its_trailing_tags_is_incomplete() {
        let mut bytes = document("V_MPEG4/ISO/AVC", "1599.000", false);
        bytes.extend(document("V_MPEG4/ISO/AVC", "1600.000", true));
        let told = steps(&bytes);
        assert_eq!(told[3], "incomplete");
        assert_eq!(told[4], "begin (MediaMs(1600000), Producer)");
    }

    #[test]
    fn the_same_tracks_are_the_same_arc() {
        let mut bytes = document("V_MPEG4/ISO/AVC", "1599.000", true);
        bytes.extend(document("V_MPEG4/ISO/AVC", "1600.000", true));
        let mut demuxer = Demuxer::default();
        demuxer.push(&bytes);
        let mut tracks = Vec::new();
        while let Some(step) = demuxer.next(Instant::now()).unwrap() {
            if let Step::Packet(packet) = step {
                tracks.push(packet.track);
            }
        }
        assert_eq!(tracks.len(), 4);
        assert!(tracks.iter().all(|track| Arc::ptr_eq(track, &tracks[0])));
    }

    #[test]
    fn rubbish_is_an_error_and_stays_one() {
        let mut demuxer = Demuxer::default();
        demuxer.push(b"HTTP/1.1 500 this is no Matroska at all");
        assert!(demuxer.next(Instant::now()).is_err());
        assert!(demuxer.next(Instant::now()).is_err());
    }
}
