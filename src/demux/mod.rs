//! bytes -> packets: GetMedia's Matroska, taken apart as it comes.

use std::sync::Arc;
use std::time::Instant;

use kvs_mkv::{Event, FragmentBlock, FragmentReader, FragmentStart, Limits, StreamError, Track, TrackKind};
use thiserror::Error;

use crate::frame::{Codec, Demuxed, Fragment, FragmentEnd, MediaMs, Packet, VideoTrack};

/// Bytes that are not what GetMedia sends. The connection is useless from here on: connect again.
#[derive(Debug, Error)]
#[error("no GetMedia output: {0}")]
pub struct DemuxError(#[from] kvs_mkv::Error);

/// What the bytes turned out to be, in the order of the stream.
#[derive(Debug)]
pub enum Step {
    /// A fragment begins.
    Begin(Arc<Fragment>),
    /// Something for decode: an access unit or the end of a fragment.
    Item(Demuxed),
    /// A fragment ended without its trailing tags.
    Incomplete(Arc<Fragment>),
    /// A fragment holds no video that can be decoded; the text names its codecs.
    NoVideo(String),
    /// The service ended the stream with an error record.
    StreamError(StreamError),
}

/// Takes one connection's bytes apart. Sans-I/O.
#[derive(Debug)]
pub struct Demuxer {
    reader: FragmentReader,
    open: Option<Open>,
    video: Option<(Arc<[Track]>, Option<Video>)>,
}

#[derive(Debug)]
struct Open {
    fragment: Arc<Fragment>,
    video: Option<Video>,
}

#[derive(Clone, Debug)]
struct Video {
    number: u64,
    track: Arc<VideoTrack>,
}

impl Default for Demuxer {
    fn default() -> Self {
        Self { reader: FragmentReader::new(Limits::default()), open: None, video: None }
    }
}

impl Demuxer {
    /// Takes the next bytes of the connection.
    pub fn push(&mut self, bytes: &[u8]) {
        self.reader.push(bytes);
    }

    /// The next step that the bytes so far hold; `arrived` is when they were read.
    ///
    /// # Errors
    /// The bytes are not GetMedia output, or exceed a limit; every further call gives the same error.
    pub fn next(&mut self, arrived: Instant) -> Result<Option<Step>, DemuxError> {
        while let Some(event) = self.reader.next()? {
            let step = match event {
                Event::Start(start) => Some(self.begin(&start)),
                Event::Block(block) => self.packet(block, arrived).map(Step::Item),
                Event::End(end) => self.end(&end),
                Event::Error(error) => Some(Step::StreamError(error)),
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
            producer_ms: start.producer_ms.filter(|ms| *ms != 0),
            server_ms: start.server_ms,
        });
        let video = self.video_of(&start.tracks);
        let nothing = video.is_none();
        self.open = Some(Open { fragment: fragment.clone(), video });
        if nothing { Step::NoVideo(codecs(&start.tracks)) } else { Step::Begin(fragment) }
    }

    /// The track to decode. While the tracks stay the same it stays the same `Arc`, so that comparing is cheap.
    fn video_of(&mut self, tracks: &Arc<[Track]>) -> Option<Video> {
        let known = self.video.as_ref().filter(|(seen, _)| seen == tracks);
        if let Some((_, video)) = known {
            return video.clone();
        }
        let video = tracks.iter().find_map(video_track);
        self.video = Some((tracks.clone(), video.clone()));
        video
    }

    fn packet(&self, block: FragmentBlock, arrived: Instant) -> Option<Demuxed> {
        let open = self.open.as_ref()?;
        let video = open.video.as_ref().filter(|video| video.number == block.block.track)?;
        let (start, _) = open.fragment.media_start();
        Some(Demuxed::Packet(Packet {
            fragment: open.fragment.clone(),
            track: video.track.clone(),
            index: block.index,
            media: MediaMs(start.0.saturating_add(block.relative_ms)),
            key: block.block.key,
            unit: block.block.data,
            arrived,
        }))
    }

    fn end(&mut self, end: &kvs_mkv::FragmentEnd) -> Option<Step> {
        let Open { fragment, .. } = self.open.take()?;
        if !end.complete {
            return Some(Step::Incomplete(fragment));
        }
        Some(Step::Item(Demuxed::FragmentEnd(FragmentEnd { fragment, behind_ms: end.millis_behind_now })))
    }
}

fn video_track(track: &Track) -> Option<Video> {
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

fn codecs(tracks: &[Track]) -> String {
    if tracks.is_empty() {
        return "no tracks".to_owned();
    }
    tracks.iter().map(|track| track.codec_id.as_str()).collect::<Vec<_>>().join(", ")
}
