//! The video of a stored fragment: one track and its frames, as HLS, GetClip and GetImages play it.

use std::sync::Arc;

use h26x::{Codec, DecoderConfig, picture_size};
use kvs_hls::{AccessUnit, HlsTrack};
use kvs_mkv::{Block, FragmentEvent, FragmentReader, FragmentStart, MkvLimits, TrackEntry, TrackKind};

use crate::identifiers::fragment_number::FragmentNumber;
use crate::media_error::MediaError;
use crate::store::stream::KvsStream;

/// The video track of a fragment, and its frames.
#[derive(Debug, Clone)]
pub(crate) struct VideoFragment {
    pub(crate) track: HlsTrack,
    /// The codecs of all tracks of the fragment, in the order of the tracks.
    pub(crate) codecs: Vec<String>,
    /// The frames in the order of their blocks, with times relative to the fragment's. There is at least one.
    pub(crate) units: Vec<AccessUnit>,
    /// Length from the first frame in presentation order to the end of the last one.
    pub(crate) length_ms: i64,
}

/// Length of a fragment's only frame, if its track has no DefaultDuration.
const LONE_FRAME_MS: i64 = 1000;

impl VideoFragment {
    /// Reads the video of a fragment; None if it has no video frames, or if it has expired.
    ///
    /// Fails if its tracks cannot be played.
    pub(crate) fn read(stream: &Arc<KvsStream>, number: FragmentNumber) -> Result<Option<Self>, MediaError> {
        let Some(document) = stream.document(number) else { return Ok(None) };
        let mut reader = FragmentReader::new(MkvLimits::default());
        let mut builder = VideoBuilder::default();
        for piece in document {
            reader.push(&piece);
            while let Ok(Some(event)) = reader.next() {
                builder.push(event, &stream.identity().name)?;
            }
        }
        Ok(builder.finish())
    }

    /// Returns the time of the first frame in decoding order, relative to the fragment's.
    pub(crate) fn first_ms(&self) -> i64 {
        self.units.first().map_or(0, |unit| unit.relative_ms)
    }

    /// Returns the index of the frame that is on screen at a time relative to the fragment's: the last that began by then,
    /// else the first of all.
    pub(crate) fn unit_at(&self, ms: i64) -> usize {
        // By presentation time: with B-frames it is not the order of the units.
        let times = || self.units.iter().map(|unit| unit.relative_ms).enumerate();
        let begun = times().filter(|(_, begins_ms)| *begins_ms <= ms).max_by_key(|(_, begins_ms)| *begins_ms);
        begun.or_else(|| times().min_by_key(|(_, begins_ms)| *begins_ms)).map_or(0, |(index, _)| index)
    }

    /// Returns the error of the first frame that is not made of NAL units.
    pub(crate) fn invalid_frame(&self) -> Option<String> {
        let config = DecoderConfig::read(self.track.codec, &self.track.codec_private).ok()?;
        // Lengths are checked, and no payload is parsed: a slice that does not decode is for the decoder.
        let mut nal_units = self.units.iter().flat_map(|unit| config.nal_units(&unit.data));
        nal_units.find_map(|nal_unit| nal_unit.err()).map(|error| error.to_string())
    }

    /// Returns the bytes of all frames.
    pub(crate) fn bytes(&self) -> usize {
        self.units.iter().map(|unit| unit.data.len()).sum()
    }
}

/// The video of a fragment that is being read.
#[derive(Default)]
struct VideoBuilder {
    /// The number and the description of the track to play, and the length of its frames if the track states it.
    video: Option<(u64, HlsTrack, Option<i64>)>,
    codecs: Vec<String>,
    units: Vec<AccessUnit>,
}

impl VideoBuilder {
    fn push(&mut self, event: FragmentEvent, stream: &str) -> Result<(), MediaError> {
        match event {
            FragmentEvent::Start(start) => {
                self.codecs = start.tracks.iter().map(|track| track.codec_id.clone()).collect();
                self.video = Some(find_video(&start, stream)?);
            }
            FragmentEvent::Block(frame) => self.push_block(frame.relative_ms, frame.block),
            // The tags are not played.
            FragmentEvent::End(_) | FragmentEvent::Error(_) => {}
        }
        Ok(())
    }

    fn push_block(&mut self, relative_ms: i64, Block { track, key, data, .. }: Block) {
        // Other tracks, such as audio, are not played.
        if self.video.as_ref().is_some_and(|(number, ..)| *number == track) {
            // Counted per track, so that a frame has the same index by GetMedia and by HLS.
            let index = u32::try_from(self.units.len()).unwrap_or(u32::MAX);
            self.units.push(AccessUnit { index, relative_ms, key, data });
        }
    }

    /// Returns the video; None if there is no frame of it.
    fn finish(self) -> Option<VideoFragment> {
        let Self { video, codecs, units } = self;
        let (_, track, frame_ms) = video.filter(|_| !units.is_empty())?;
        let length_ms = length_ms(&units, frame_ms);
        Some(VideoFragment { track, codecs, units, length_ms })
    }
}

/// Returns the length of the frames. The last one counts as long as the average of the others.
fn length_ms(units: &[AccessUnit], frame_ms: Option<i64>) -> i64 {
    let times = || units.iter().map(|unit| unit.relative_ms);
    let span = times().max().unwrap_or(0) - times().min().unwrap_or(0);
    match i64::try_from(units.len()).unwrap_or(i64::MAX) {
        0 | 1 => frame_ms.unwrap_or(LONE_FRAME_MS),
        frames => span + (span / (frames - 1)).max(1),
    }
}

/// Returns the number and the description of the track to play, and the length of its frames if the track states it.
fn find_video(start: &FragmentStart, stream: &str) -> Result<(u64, HlsTrack, Option<i64>), MediaError> {
    let playable = start.tracks.iter().find_map(|track| Some((track, playable_codec(track)?)));
    let codecs = || start.tracks.iter().map(|track| track.codec_id.as_str()).collect::<Vec<_>>().join(", ");
    let unsupported = || MediaError::UnsupportedMedia { stream: stream.to_owned(), codecs: codecs() };
    let (track, codec) = playable.ok_or_else(unsupported)?;
    if track.codec_private.is_empty() {
        return Err(MediaError::MissingCodecPrivateData { stream: stream.to_owned() });
    }
    let invalid = |error: h26x::H26xError| MediaError::InvalidCodecPrivateData {
        stream: stream.to_owned(),
        reason: error.to_string(),
    };
    DecoderConfig::read(codec, &track.codec_private).map_err(invalid)?;
    let (width_px, height_px) = track_size_px(codec, track);
    let video = HlsTrack { codec, codec_private: track.codec_private.clone(), width_px, height_px };
    let frame_ms = track.default_duration_ns.and_then(|ns| i64::try_from(ns / 1_000_000).ok());
    Ok((track.number, video, frame_ms.filter(|&ms| ms > 0)))
}

fn track_size_px(codec: Codec, track: &TrackEntry) -> (u32, u32) {
    let stated = (track.width_px, track.height_px);
    // PixelWidth and PixelHeight are mandatory in Matroska, but some producers leave them out; the SPS has the size as well.
    match stated {
        (0, _) | (_, 0) => picture_size(codec, &track.codec_private).unwrap_or(stated),
        _ => stated,
    }
}

fn playable_codec(track: &TrackEntry) -> Option<Codec> {
    // A track with ContentEncodings is compressed or encrypted.
    if track.kind != TrackKind::Video || track.is_encoded() {
        return None;
    }
    match track.codec_id.as_str() {
        "V_MPEG4/ISO/AVC" => Some(Codec::H264),
        "V_MPEGH/ISO/HEVC" => Some(Codec::H265),
        _ => None,
    }
}
