//! An mp4 or Matroska file through libavformat: its H.264 or H.265 packets as they are, cut at key frames.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use ffmpeg_next::codec::Id;
use ffmpeg_next::format::context::Input;
use ffmpeg_next::media::Type;
use ffmpeg_next::{Packet, Rational};
use kvs_mkv::{Block, BlockKind, TrackEntry, writer};

use crate::clip::{ClipError, Cut, Piece, Reel, Screen, unreadable};
use crate::clip_parameters;
use crate::fragment::MediaHeader;

const TRACK: u64 = 1;
/// A key frame begins a fragment if the one before has lasted this long.
const SHORTEST_FRAGMENT_MS: i64 = 900;
/// A fragment is cut here even without a key frame.
///
/// Source: AWS, Kinesis Video Streams quotas, 2026: fragments last 1 to 20 s.
const LONGEST_FRAGMENT_MS: i64 = 20_000;

/// Runs through the clip once, from `start_ms` after the beginning of the play.
pub(crate) fn run(path: &Path, start_ms: i64, screen: &mut Screen<'_>) -> Result<Reel, ClipError> {
    set_up().map_err(|error| unreadable(path, &error))?;
    let mut input = ffmpeg_next::format::input(path).map_err(|error| unreadable(path, &error))?;
    let video = Video::find(path, &input)?;
    let mut scene = Scene::new(&video, start_ms);
    for (stream, packet) in input.packets() {
        if stream.index() == video.index && !scene.show(&packet, screen) {
            return Ok(Reel::Stopped);
        }
    }
    if scene.fragment_ms.is_none() {
        return Err(unreadable(path, &"not one frame of its video can be read; is the file cut off?"));
    }
    if !scene.close(screen) {
        return Ok(Reel::Stopped);
    }
    Ok(Reel::Ended { end_ms: scene.end_ms })
}

/// Once: the texts of FFmpeg's errors, and the silence of its own log: what is wrong with a clip is in our error.
fn set_up() -> Result<(), ffmpeg_next::Error> {
    static DONE: OnceLock<Result<(), ffmpeg_next::Error>> = OnceLock::new();
    *DONE.get_or_init(|| {
        ffmpeg_next::log::set_level(ffmpeg_next::log::Level::Quiet);
        ffmpeg_next::init()
    })
}

/// The video track of a clip.
struct Video {
    index: usize,
    time_base: Rational,
    frame_ms: i64,
    header: Arc<MediaHeader>,
}

impl Video {
    fn find(path: &Path, input: &Input) -> Result<Self, ClipError> {
        let none = || ClipError::NoVideo { path: path.to_owned() };
        let stream = input.streams().best(Type::Video).ok_or_else(none)?;
        let parameters = stream.parameters();
        let video = clip_parameters::read(&parameters);
        let codec_id = codec_id(parameters.id(), &video.private);
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

/// Matroska's name of a codec whose private data is in the form that Matroska wants.
fn codec_id(codec: Id, private: &[u8]) -> Option<&'static str> {
    let configured = private.first() == Some(&1);
    match codec {
        Id::H264 if configured => Some("V_MPEG4/ISO/AVC"),
        Id::HEVC if configured => Some("V_MPEGH/ISO/HEVC"),
        _ => None,
    }
}

/// How long a frame lasts at a rate; 40 ms where the rate is not known.
fn frame_ms(rate: Rational) -> i64 {
    let (frames, seconds) = (i64::from(rate.numerator()), i64::from(rate.denominator()));
    if frames > 0 { (seconds * 1000 / frames).max(1) } else { 40 }
}

/// One run through the clip.
struct Scene<'a> {
    video: &'a Video,
    start_ms: i64,
    /// Presentation and decoding time of the first packet: the zero of both.
    origin: Option<(i64, i64)>,
    /// Time of the open fragment's Cluster.
    fragment_ms: Option<i64>,
    due_ms: i64,
    end_ms: i64,
}

impl<'a> Scene<'a> {
    fn new(video: &'a Video, start_ms: i64) -> Self {
        Self { video, start_ms, origin: None, fragment_ms: None, due_ms: start_ms, end_ms: start_ms }
    }

    /// False: no more is wanted.
    fn show(&mut self, packet: &Packet, screen: &mut Screen<'_>) -> bool {
        let Some(data) = packet.data() else { return true };
        let Some(pts) = packet.pts().or(packet.dts()) else { return true };
        let dts = packet.dts().unwrap_or(pts);
        let (first_pts, first_dts) = *self.origin.get_or_insert((pts, dts));
        let media_ms = self.start_ms + self.millis(pts - first_pts);
        self.due_ms = self.due_ms.max(self.start_ms + self.millis(dts - first_dts));
        self.end_ms = self.end_ms.max(media_ms + self.video.frame_ms);
        let Some(fragment_ms) = self.place(media_ms, packet.is_key(), screen) else { return false };
        let block = Block {
            track: TRACK,
            relative: i16::try_from(media_ms - fragment_ms).unwrap_or(0),
            key: packet.is_key(),
            flags: 0,
            kind: BlockKind::Simple,
            data: Bytes::copy_from_slice(data),
        };
        screen(Cut { due_ms: self.due_ms, piece: Piece::Frame(block) })
    }

    /// Time of the fragment that a frame goes into, which begins with it where it should. None: no more is wanted.
    fn place(&mut self, media_ms: i64, key: bool, screen: &mut Screen<'_>) -> Option<i64> {
        if let Some(fragment_ms) = self.fragment_ms {
            let lasted_ms = media_ms - fragment_ms;
            let cut = (key && lasted_ms >= SHORTEST_FRAGMENT_MS) || lasted_ms >= LONGEST_FRAGMENT_MS;
            if !cut {
                return Some(fragment_ms);
            }
            if !self.end_fragment(self.due_ms, screen) {
                return None;
            }
        }
        self.fragment_ms = Some(media_ms);
        let piece = Piece::Begin { header: Arc::clone(&self.video.header), media_ms };
        screen(Cut { due_ms: self.due_ms, piece }).then_some(media_ms)
    }

    fn close(&mut self, screen: &mut Screen<'_>) -> bool {
        self.fragment_ms.is_none() || self.end_fragment(self.end_ms, screen)
    }

    fn end_fragment(&mut self, due_ms: i64, screen: &mut Screen<'_>) -> bool {
        screen(Cut { due_ms, piece: Piece::End(Vec::new()) })
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
    fn what_is_wrong_with_a_clip_is_told_by_us_alone() {
        assert!(run(Path::new("no such clip"), 0, &mut |_| true).is_err());
        assert!(ffmpeg_next::log::get_level().is_ok_and(|level| level == ffmpeg_next::log::Level::Quiet));
    }
}
