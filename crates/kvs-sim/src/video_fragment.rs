//! A stored fragment as it is played: its video track and that track's frames.

use std::sync::Arc;

use h26x::{Codec, DecoderConfig, picture_size};
use kvs_hls::{AccessUnit, HlsTrack};
use kvs_mkv::{FragmentEvent, FragmentReader, FragmentStart, MkvLimits, TrackEntry, TrackKind};

use crate::fragment_number::FragmentNumber;
use crate::media_refusal::MediaRefusal;
use crate::stream::Stream;

/// A fragment's video.
#[derive(Debug, Clone)]
pub(crate) struct VideoFragment {
    pub(crate) track: HlsTrack,
    /// The codecs of all tracks of the fragment, in their order.
    pub(crate) codecs: Vec<String>,
    /// In the order of their blocks, relative to the fragment's time; one at least.
    pub(crate) units: Vec<AccessUnit>,
    /// From the first frame shown to the end of the last one.
    pub(crate) length_ms: i64,
}

/// How long the only frame of a fragment lasts whose track does not say it.
const LONE_FRAME_MS: i64 = 1000;

impl VideoFragment {
    /// None where the fragment has no frames of video, or is not kept.
    ///
    /// Errors: its tracks cannot be played.
    pub(crate) fn read(stream: &Arc<Stream>, number: FragmentNumber) -> Result<Option<Self>, MediaRefusal> {
        let Some(document) = stream.document(number) else { return Ok(None) };
        let mut reader = FragmentReader::new(MkvLimits::default());
        let mut video: Option<(u64, HlsTrack, Option<i64>)> = None;
        let (mut codecs, mut units) = (Vec::new(), Vec::new());
        for piece in document {
            reader.push(&piece);
            while let Ok(Some(event)) = reader.next() {
                match event {
                    FragmentEvent::Start(start) => {
                        codecs = start.tracks.iter().map(|track| track.codec_id.clone()).collect();
                        video = Some(playable(&start, &stream.identity().name)?);
                    }
                    FragmentEvent::Block(frame)
                        if video.as_ref().is_some_and(|(n, ..)| *n == frame.block.track) =>
                    {
                        units.push(AccessUnit {
                            index: u32::try_from(units.len()).unwrap_or(u32::MAX),
                            relative_ms: frame.relative_ms,
                            key: frame.block.key,
                            data: frame.block.data,
                        });
                    }
                    FragmentEvent::Block(_) | FragmentEvent::End(_) | FragmentEvent::Error(_) => {}
                }
            }
        }
        let Some((_, track, frame_ms)) = video.filter(|_| !units.is_empty()) else { return Ok(None) };
        let length_ms = length_ms(&units, frame_ms);
        Ok(Some(Self { track, codecs, units, length_ms }))
    }

    /// Time of the first frame in decoding order, after the fragment's own.
    pub(crate) fn first_ms(&self) -> i64 {
        self.units.first().map_or(0, |unit| unit.relative_ms)
    }

    /// The place of the frame that is shown at a time after the fragment's own: the last that began, else the first of all.
    pub(crate) fn shown_at(&self, ms: i64) -> usize {
        let times = || self.units.iter().map(|unit| unit.relative_ms).enumerate();
        let begun = times().filter(|(_, begins_ms)| *begins_ms <= ms).max_by_key(|(_, begins_ms)| *begins_ms);
        begun.or_else(|| times().min_by_key(|(_, begins_ms)| *begins_ms)).map_or(0, |(place, _)| place)
    }

    /// What is wrong with the first frame that is not made of NAL units.
    pub(crate) fn flaw(&self) -> Option<String> {
        let config = DecoderConfig::read(self.track.codec, &self.track.codec_private).ok()?;
        let mut nal_units = self.units.iter().flat_map(|unit| config.nal_units(&unit.data));
        nal_units.find_map(|nal_unit| nal_unit.err()).map(|error| error.to_string())
    }

    /// Bytes of all frames.
    pub(crate) fn bytes(&self) -> usize {
        self.units.iter().map(|unit| unit.data.len()).sum()
    }
}

/// The frames' span, the last frame as long as the others on average.
fn length_ms(units: &[AccessUnit], frame_ms: Option<i64>) -> i64 {
    let times = || units.iter().map(|unit| unit.relative_ms);
    let span = times().max().unwrap_or(0) - times().min().unwrap_or(0);
    match i64::try_from(units.len()).unwrap_or(i64::MAX) {
        0 | 1 => frame_ms.unwrap_or(LONE_FRAME_MS),
        frames => span + (span / (frames - 1)).max(1),
    }
}

/// Number and description of the track to play, and how long its frames last where it says so.
fn playable(start: &FragmentStart, stream: &str) -> Result<(u64, HlsTrack, Option<i64>), MediaRefusal> {
    let found = start.tracks.iter().find_map(|track| Some((track, codec(track)?)));
    let codecs = || start.tracks.iter().map(|track| track.codec_id.as_str()).collect::<Vec<_>>().join(", ");
    let unsupported = || MediaRefusal::UnsupportedMedia { stream: stream.to_owned(), codecs: codecs() };
    let (track, codec) = found.ok_or_else(unsupported)?;
    if track.codec_private.is_empty() {
        return Err(MediaRefusal::MissingCodecPrivateData { stream: stream.to_owned() });
    }
    let invalid = |error: h26x::H26xError| MediaRefusal::InvalidCodecPrivateData {
        stream: stream.to_owned(),
        reason: error.to_string(),
    };
    DecoderConfig::read(codec, &track.codec_private).map_err(invalid)?;
    let told = (track.width_px, track.height_px);
    let (width_px, height_px) = match told {
        (0, _) | (_, 0) => picture_size(codec, &track.codec_private).unwrap_or(told),
        _ => told,
    };
    let video = HlsTrack { codec, codec_private: track.codec_private.clone(), width_px, height_px };
    let frame_ms = track.default_duration_ns.and_then(|ns| i64::try_from(ns / 1_000_000).ok());
    Ok((track.number, video, frame_ms.filter(|&ms| ms > 0)))
}

fn codec(track: &TrackEntry) -> Option<Codec> {
    if track.kind != TrackKind::Video || track.is_encoded() {
        return None;
    }
    match track.codec_id.as_str() {
        "V_MPEG4/ISO/AVC" => Some(Codec::H264),
        "V_MPEGH/ISO/HEVC" => Some(Codec::H265),
        _ => None,
    }
}
