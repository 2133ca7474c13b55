//! Reads an mp4 or Matroska file through libavformat: its H.264 or H.265 packets unchanged, in fragments cut at keyframes.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use ffmpeg_next::codec::Id;
use ffmpeg_next::format::context::Input;
use ffmpeg_next::media::Type;
use ffmpeg_next::{Packet, Rational};
use kvs_mkv::{Block, BlockKind, TrackEntry, writer};

use crate::playback::error::{ClipError, unreadable};
use crate::playback::event::{ClipEvent, ClipEventKind, OnClipEvent, PassEnd};
use crate::playback::parameters;
use crate::store::fragment::MediaHeader;

const TRACK: u64 = 1;
/// A keyframe starts a fragment if the current one is at least this long.
const MIN_FRAGMENT_MS: i64 = 900;
/// A fragment of this length ends even without a keyframe.
///
/// Source: AWS, Kinesis Video Streams quotas, 2026: fragments last 1 to 20 s.
const MAX_FRAGMENT_MS: i64 = 20_000;

/// Runs through the clip once. Its times begin at `start_ms` since the start of the playback.
pub(crate) fn run_pass(
    path: &Path,
    start_ms: i64,
    on_event: &mut OnClipEvent<'_>,
) -> Result<PassEnd, ClipError> {
    init_ffmpeg().map_err(|error| unreadable(path, &error))?;
    let mut input = ffmpeg_next::format::input(path).map_err(|error| unreadable(path, &error))?;
    let video = ContainerVideo::find(path, &input)?;
    let mut segmenter = ContainerSegmenter::new(&video, start_ms);
    for (stream, packet) in input.packets() {
        if stream.index() == video.index && !segmenter.push(&packet, on_event) {
            return Ok(PassEnd::Stopped);
        }
    }
    if segmenter.fragment_ms.is_none() {
        return Err(unreadable(path, &"no frame of its video can be read; check that the file is complete"));
    }
    if !segmenter.finish(on_event) {
        return Ok(PassEnd::Stopped);
    }
    Ok(PassEnd::Finished { end_ms: segmenter.end_ms })
}

/// Initializes FFmpeg once: its error texts, and no log of its own, since our errors report what is wrong with a clip.
fn init_ffmpeg() -> Result<(), ffmpeg_next::Error> {
    static DONE: OnceLock<Result<(), ffmpeg_next::Error>> = OnceLock::new();
    *DONE.get_or_init(|| {
        ffmpeg_next::log::set_level(ffmpeg_next::log::Level::Quiet);
        ffmpeg_next::init()
    })
}

/// The video track of a clip.
struct ContainerVideo {
    index: usize,
    time_base: Rational,
    /// Length of a frame.
    frame_ms: i64,
    header: Arc<MediaHeader>,
}

impl ContainerVideo {
    fn find(path: &Path, input: &Input) -> Result<Self, ClipError> {
        let no_video = || ClipError::NoVideo { path: path.to_owned() };
        // A file can have several video tracks, such as cover art; libavformat ranks them.
        let stream = input.streams().best(Type::Video).ok_or_else(no_video)?;
        let parameters = stream.parameters();
        let video = parameters::read(&parameters);
        let codec_id = matroska_codec_id(parameters.id(), &video.private);
        let codec = || format!("{:?} without avcC or hvcC", parameters.id()).to_lowercase();
        let codec_id = codec_id.ok_or_else(|| ClipError::Codec { path: path.to_owned(), codec: codec() })?;
        let track: TrackEntry =
            writer::video_track(TRACK, codec_id, &video.private, video.width_px, video.height_px);
        Ok(Self {
            index: stream.index(),
            time_base: stream.time_base(),
            frame_ms: frame_ms(stream.avg_frame_rate()),
            header: Arc::new(MediaHeader::new(&[track])),
        })
    }
}

/// Returns the CodecID of Matroska; None if the private data is not in the form that Matroska demands.
fn matroska_codec_id(codec: Id, private: &[u8]) -> Option<&'static str> {
    // configurationVersion, the first byte of avcC and hvcC, is 1 (ISO/IEC 14496-15). Annex B data begins with 0.
    let is_configuration_record = private.first() == Some(&1);
    match codec {
        Id::H264 if is_configuration_record => Some("V_MPEG4/ISO/AVC"),
        Id::HEVC if is_configuration_record => Some("V_MPEGH/ISO/HEVC"),
        _ => None,
    }
}

/// Returns the length of a frame at a rate; 40 ms if the rate is not known.
fn frame_ms(rate: Rational) -> i64 {
    let (frames, seconds) = (i64::from(rate.numerator()), i64::from(rate.denominator()));
    if frames > 0 { (seconds * 1000 / frames).max(1) } else { 40 }
}

/// Cuts the packets of one pass into fragments.
struct ContainerSegmenter<'a> {
    video: &'a ContainerVideo,
    start_ms: i64,
    /// Presentation and decoding time of the first packet, which are the zero of both.
    origin: Option<(i64, i64)>,
    /// Time of the open fragment's Cluster.
    fragment_ms: Option<i64>,
    due_ms: i64,
    end_ms: i64,
}

impl<'a> ContainerSegmenter<'a> {
    fn new(video: &'a ContainerVideo, start_ms: i64) -> Self {
        Self { video, start_ms, origin: None, fragment_ms: None, due_ms: start_ms, end_ms: start_ms }
    }

    /// Emits a packet as a frame. Returns false if the receiver wants no more.
    fn push(&mut self, packet: &Packet, on_event: &mut OnClipEvent<'_>) -> bool {
        let Some(data) = packet.data() else { return true };
        // A packet without any time cannot be placed in a fragment.
        let Some(pts) = packet.pts().or(packet.dts()) else { return true };
        let dts = packet.dts().unwrap_or(pts);
        let (first_pts, first_dts) = *self.origin.get_or_insert((pts, dts));
        let media_ms = self.start_ms + self.millis(pts - first_pts);
        // A camera sends in decoding order: decoding times set the pace, presentation times go into the blocks.
        self.due_ms = self.due_ms.max(self.start_ms + self.millis(dts - first_dts));
        self.end_ms = self.end_ms.max(media_ms + self.video.frame_ms);
        let Some(fragment_ms) = self.fragment_for(media_ms, packet.is_key(), on_event) else { return false };
        let block = Block {
            track: TRACK,
            // Leading pictures of an open GOP come before their keyframe in time: the value can be negative.
            relative: i16::try_from(media_ms - fragment_ms).unwrap_or(0),
            key: packet.is_key(),
            flags: 0,
            kind: BlockKind::Simple,
            data: Bytes::copy_from_slice(data),
        };
        on_event(ClipEvent { due_ms: self.due_ms, kind: ClipEventKind::Frame(block) })
    }

    /// Returns the time of the fragment that a frame belongs to, which the frame can start. None if the receiver wants no more.
    fn fragment_for(&mut self, media_ms: i64, key: bool, on_event: &mut OnClipEvent<'_>) -> Option<i64> {
        if let Some(fragment_ms) = self.fragment_ms {
            let length_ms = media_ms - fragment_ms;
            let is_full = (key && length_ms >= MIN_FRAGMENT_MS) || length_ms >= MAX_FRAGMENT_MS;
            if !is_full {
                return Some(fragment_ms);
            }
            if !self.end_fragment(self.due_ms, on_event) {
                return None;
            }
        }
        self.fragment_ms = Some(media_ms);
        let kind = ClipEventKind::FragmentStart { header: Arc::clone(&self.video.header), media_ms };
        on_event(ClipEvent { due_ms: self.due_ms, kind }).then_some(media_ms)
    }

    fn finish(&mut self, on_event: &mut OnClipEvent<'_>) -> bool {
        self.fragment_ms.is_none() || self.end_fragment(self.end_ms, on_event)
    }

    fn end_fragment(&mut self, due_ms: i64, on_event: &mut OnClipEvent<'_>) -> bool {
        // Tags of the file are about the whole file, so its fragments have none.
        on_event(ClipEvent { due_ms, kind: ClipEventKind::FragmentEnd(Vec::new()) })
    }

    fn millis(&self, ticks: i64) -> i64 {
        let (numerator, denominator) = (self.video.time_base.numerator(), self.video.time_base.denominator());
        let ms = i128::from(ticks) * i128::from(numerator) * 1000 / i128::from(denominator.max(1));
        i64::try_from(ms).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ffmpeg_does_not_log_what_our_error_reports() {
        assert!(run_pass(Path::new("no such clip"), 0, &mut |_| true).is_err());
        assert!(ffmpeg_next::log::get_level().is_ok_and(|level| level == ffmpeg_next::log::Level::Quiet));
    }
}
