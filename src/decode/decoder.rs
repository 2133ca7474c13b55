//! One camera's decoder: packets in, sampled frames out.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use ffmpeg_next::frame::Video;
use h26x::for_decoder;

use super::mask::Masks;
use super::picture::PictureMaker;
use super::sampler::{Sampler, SamplerState};
use super::{Surface, avcodec};
use crate::frame::{CameraId, Codec, Fragment, Frame, MediaMs, Packet, VideoTrack};
use crate::telemetry::CameraBoard;
use crate::telemetry::decode::{DecoderOpened, DropReason, FrameDecoded, FrameSampled, FramesDropped};

/// The largest access unit that is decoded; a KVS fragment has 50 MB at most.
const UNIT_BYTES_MAX: usize = 64 << 20;

/// How many packets may wait for their frames; H.264 and H.265 hold back 16 at most.
const IN_DECODER_MAX: usize = 20;

/// What went wrong in a camera's decoder. In each case the decoder goes on at the next key frame by itself.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The codec private data is unusable: packets are skipped until the track changes.
    #[error(
        "camera {camera}: cannot decode {codec:?} {width_px}x{height_px}: {reason} (codec private data of {bytes} bytes); \
         let the producer send a whole {wanted} as its codec private data"
    )]
    Track {
        /// The camera.
        camera: CameraId,
        /// The codec.
        codec: Codec,
        /// Width by the container, px.
        width_px: u32,
        /// Height by the container, px.
        height_px: u32,
        /// Length of the codec private data.
        bytes: usize,
        /// What is wrong.
        reason: String,
        /// What the codec wants: avcC or hvcC.
        wanted: &'static str,
    },
    /// An access unit is damaged: packets are skipped until the next key frame.
    #[error(
        "camera {camera}: fragment {fragment}, block {index}: damaged access unit ({reason}); \
         going on at the next key frame"
    )]
    Unit {
        /// The camera.
        camera: CameraId,
        /// The fragment's number.
        fragment: Arc<str>,
        /// The block's index in its fragment.
        index: u32,
        /// What FFmpeg says.
        reason: String,
    },
    /// A picture could not be converted to 8-bit 4:2:0: this frame is skipped.
    #[error(
        "camera {camera}: fragment {fragment}, block {index}: cannot convert the picture to 8-bit 4:2:0: {reason}"
    )]
    Picture {
        /// The camera.
        camera: CameraId,
        /// The fragment's number.
        fragment: Arc<str>,
        /// The block's index in its fragment.
        index: u32,
        /// What FFmpeg says.
        reason: String,
    },
}

/// Decodes one camera's packets and gives out the frames that its sampler picks.
///
/// Invariant: a frame is given out at most once, in order of presentation, and none that rests on a damaged one.
pub struct Decoder {
    camera: CameraBoard,
    sampler: Sampler,
    /// The sampler's state after the last fragment.
    committed: SamplerState,
    track: Option<Arc<VideoTrack>>,
    /// `None` where nothing was decoded yet, or the track is unusable.
    opened: Option<ffmpeg_next::decoder::Video>,
    pictures: PictureMaker,
    /// Packets whose frames are still to come, in order of decoding.
    in_decoder: VecDeque<Origin>,
    /// Frames in order of presentation, the first of which may rest on a packet whose frame is still to come.
    held: VecDeque<(Origin, Video)>,
    /// The number of the next packet: FFmpeg carries it to the frame as its pts.
    next_number: i64,
    /// The number of the last key frame's packet.
    key_number: i64,
    awaits_key: bool,
    /// Packets from a damaged one to the next key frame.
    damaged: Range<i64>,
}

/// Where a frame comes from.
#[derive(Clone)]
struct Origin {
    number: i64,
    fragment: Arc<Fragment>,
    index: u32,
    media: MediaMs,
    arrived: Instant,
}

impl Decoder {
    /// A decoder that opens with the first packet.
    #[must_use]
    pub fn new(camera: CameraBoard, sampler: Sampler) -> Self {
        Self {
            camera,
            committed: sampler.state(),
            sampler,
            track: None,
            opened: None,
            pictures: PictureMaker::default(),
            in_decoder: VecDeque::new(),
            held: VecDeque::new(),
            next_number: 0,
            key_number: 0,
            awaits_key: true,
            damaged: 0..0,
        }
    }

    /// The same decoder, with `masks` black in every frame that it gives out.
    #[must_use]
    pub fn masked(mut self, masks: Option<Masks>) -> Self {
        self.pictures.mask(masks);
        self
    }

    /// Decodes `packet` and appends the sampled frames that came out of it to `out`.
    ///
    /// # Errors
    /// See [`DecodeError`]; `out` may have got frames nevertheless, and the next packet may be pushed.
    pub fn push(&mut self, packet: Packet, out: &mut Vec<Arc<Frame>>) -> Result<(), DecodeError> {
        let followed = self.follow_track(&packet.track, out);
        let skipped = match self.opened {
            None => Some(DropReason::Track),
            Some(_) if self.awaits_key && !packet.key => Some(DropReason::NoKeyFrame),
            Some(_) => None,
        };
        if let Some(reason) = skipped {
            self.count_dropped(1, reason);
            return followed;
        }
        let decoded = self.send(packet).and_then(|()| self.receive(out));
        followed.and(decoded.map_err(|error| self.recover(error, out)))
    }

    /// Ends a fragment: appends the frames that the decoder held back to `out`. [`Self::committed`] is then the state to
    /// go on with after it.
    ///
    /// # Errors
    /// See [`DecodeError`]; the fragment is ended nevertheless.
    pub fn end_fragment(&mut self, out: &mut Vec<Arc<Frame>>) -> Result<(), DecodeError> {
        let drained = self.drain(out);
        self.committed = self.sampler.state();
        drained
    }

    /// The sampler's state after the last fragment that was ended.
    #[must_use]
    pub fn committed(&self) -> SamplerState {
        self.committed
    }

    /// Forgets what came since the last fragment's end; goes on at the next key frame.
    pub fn discontinuity(&mut self) {
        self.count_dropped(self.in_decoder.len() + self.held.len(), DropReason::Discontinuity);
        self.flush();
        self.sampler.rewind(self.committed);
    }

    /// Appends the frames that the decoder held back to `out`, and decodes nothing more before the next key frame.
    ///
    /// # Errors
    /// See [`DecodeError`]; the next packet may be pushed nevertheless.
    pub fn skip_to_key_frame(&mut self, out: &mut Vec<Arc<Frame>>) -> Result<(), DecodeError> {
        let drained = self.drain(out);
        self.flush();
        drained
    }

    /// Opens a decoder for `track` where it is another than before, when all of the old one is out.
    fn follow_track(
        &mut self,
        track: &Arc<VideoTrack>,
        out: &mut Vec<Arc<Frame>>,
    ) -> Result<(), DecodeError> {
        let same = |now: &Arc<VideoTrack>| Arc::ptr_eq(now, track) || now == track;
        if self.track.as_ref().is_some_and(same) {
            return Ok(());
        }
        let drained = self.drain(out);
        self.flush();
        self.track = Some(Arc::clone(track));
        self.opened = None;
        self.opened = Some(open(self.camera.id(), track)?);
        DecoderOpened { camera: &self.camera, track }.emit();
        drained
    }

    fn send(&mut self, packet: Packet) -> Result<(), DecodeError> {
        let number = self.next_number;
        self.next_number += 1;
        if packet.key {
            self.key_number = number;
            self.awaits_key = false;
        }
        let Packet { fragment, track, index, media, key, unit, arrived, lag: _ } = packet;
        let origin = Origin { number, fragment, index, media, arrived };
        if self.in_decoder.len() == IN_DECODER_MAX {
            self.in_decoder.pop_front();
        }
        self.in_decoder.push_back(origin.clone());
        let sent = match &mut self.opened {
            Some(decoder) => {
                send_unit(decoder, number, key, &for_decoder(track.codec, &track.codec_private, &unit))
            }
            None => Ok(()),
        };
        sent.map_err(|reason| self.damaged(&origin, reason))
    }

    /// Takes all that the decoder has ready.
    fn receive(&mut self, out: &mut Vec<Arc<Frame>>) -> Result<(), DecodeError> {
        let mut outcome = Ok(());
        let mut frame = Video::empty();
        while let Some(decoder) = &mut self.opened {
            let taken = match decoder.receive_frame(&mut frame) {
                Ok(()) => self.take(&mut frame, out),
                Err(error) => return outcome.and(self.no_more(error)),
            };
            outcome = outcome.and(taken);
        }
        outcome
    }

    /// The decoder gives nothing more: it wants packets, it is drained, or the last packet is damaged.
    fn no_more(&mut self, error: ffmpeg_next::Error) -> Result<(), DecodeError> {
        match error {
            ffmpeg_next::Error::Eof | WANTS_PACKETS => Ok(()),
            error => match self.in_decoder.back().cloned() {
                Some(origin) => Err(self.damaged(&origin, error.to_string())),
                None => Ok(()),
            },
        }
    }

    /// Takes the frame for giving out, leaving an empty one, unless it is damaged.
    fn take(&mut self, frame: &mut Video, out: &mut Vec<Arc<Frame>>) -> Result<(), DecodeError> {
        let Some(origin) = self.origin_of(frame) else { return Ok(()) };
        if frame.is_corrupt() || frame.has_decode_errors() {
            return Err(self.damaged(&origin, "parts of its picture are missing".to_owned()));
        }
        self.held.push_back((origin, std::mem::replace(frame, Video::empty())));
        self.release(out)
    }

    /// Gives out the held frames that rest on nothing that is still to come: that might turn out damaged.
    fn release(&mut self, out: &mut Vec<Arc<Frame>>) -> Result<(), DecodeError> {
        let mut outcome = Ok(());
        let to_come = self.in_decoder.front().map_or(i64::MAX, |origin| origin.number);
        while let Some((origin, picture)) = self.held.pop_front_if(|(origin, _)| origin.number < to_come) {
            outcome = outcome.and(self.give_out(origin, picture, out));
        }
        outcome
    }

    fn give_out(
        &mut self,
        origin: Origin,
        picture: Video,
        out: &mut Vec<Arc<Frame>>,
    ) -> Result<(), DecodeError> {
        if self.damaged.contains(&origin.number) {
            self.count_dropped(1, DropReason::Damaged);
            return Ok(());
        }
        FrameDecoded { camera: &self.camera }.emit();
        if self.sampler.picks(origin.media) {
            out.push(self.make_frame(picture, origin)?);
        }
        Ok(())
    }

    fn origin_of(&mut self, frame: &Video) -> Option<Origin> {
        let number = frame.pts()?;
        let at = self.in_decoder.iter().position(|origin| origin.number == number)?;
        self.in_decoder.remove(at)
    }

    fn make_frame(&mut self, picture: Video, origin: Origin) -> Result<Arc<Frame>, DecodeError> {
        let Origin { fragment, index, media, arrived, .. } = origin;
        let camera = self.camera.id().clone();
        match self.pictures.make(picture) {
            Ok(picture) => {
                FrameSampled { camera: &self.camera }.emit();
                Ok(Arc::new(Frame {
                    camera,
                    fragment,
                    index,
                    media,
                    arrived,
                    surface: Surface::Host(picture),
                }))
            }
            Err(error) => {
                self.count_dropped(1, DropReason::Damaged);
                Err(DecodeError::Picture {
                    camera,
                    fragment: Arc::clone(&fragment.number),
                    index,
                    reason: error.to_string(),
                })
            }
        }
    }

    /// Marks what rests on the packet of `origin`: all from there to the next key frame.
    fn damaged(&mut self, origin: &Origin, reason: String) -> DecodeError {
        let sound_again = if self.key_number > origin.number { self.key_number } else { i64::MAX };
        if !self.damaged.contains(&origin.number) {
            self.damaged = origin.number..sound_again;
        }
        self.count_dropped(1, DropReason::Damaged);
        let (camera, fragment) = (self.camera.id().clone(), Arc::clone(&origin.fragment.number));
        DecodeError::Unit { camera, fragment, index: origin.index, reason }
    }

    /// After `error`, saves the sound frames that the decoder holds and readies it for the next key frame, unless that has
    /// come already.
    fn recover(&mut self, error: DecodeError, out: &mut Vec<Arc<Frame>>) -> DecodeError {
        if self.damaged.end == i64::MAX {
            // A further error here has the same cause; the first one is told.
            let _same_cause = self.drain(out);
            self.flush();
        }
        error
    }

    /// Takes out what is held back; the decoder is flushed if anything was.
    fn drain(&mut self, out: &mut Vec<Arc<Frame>>) -> Result<(), DecodeError> {
        if self.in_decoder.is_empty() && self.held.is_empty() {
            return Ok(());
        }
        let sent = match &mut self.opened {
            Some(decoder) => decoder.send_eof(),
            None => Ok(()),
        };
        let received = self.receive(out).and(sent.or_else(|error| self.no_more(error)));
        self.in_decoder.clear();
        let released = self.release(out);
        self.flush();
        received.and(released)
    }

    fn flush(&mut self) {
        if let Some(decoder) = &mut self.opened {
            decoder.flush();
        }
        self.in_decoder.clear();
        self.held.clear();
        self.damaged = 0..0;
        self.awaits_key = true;
    }

    fn count_dropped(&self, frames: usize, reason: DropReason) {
        FramesDropped { camera: &self.camera, frames, reason }.emit();
    }
}

const WANTS_PACKETS: ffmpeg_next::Error = ffmpeg_next::Error::Other { errno: ffmpeg_next::error::EAGAIN };

fn open(camera: &CameraId, track: &VideoTrack) -> Result<ffmpeg_next::decoder::Video, DecodeError> {
    let opened = match h26x::check(track.codec, &track.codec_private) {
        Ok(()) => avcodec::open(track).map_err(|error| error.to_string()),
        Err(flaw) => Err(flaw.to_string()),
    };
    opened.map_err(|reason| DecodeError::Track {
        camera: camera.clone(),
        codec: track.codec,
        width_px: track.width_px,
        height_px: track.height_px,
        bytes: track.codec_private.len(),
        reason,
        wanted: track.codec.private_name(),
    })
}

fn send_unit(
    decoder: &mut ffmpeg_next::decoder::Video,
    number: i64,
    key: bool,
    unit: &[u8],
) -> Result<(), String> {
    if unit.is_empty() || unit.len() > UNIT_BYTES_MAX {
        return Err(format!("it has {} bytes; 1 to {UNIT_BYTES_MAX} are decoded", unit.len()));
    }
    let mut packet = ffmpeg_next::Packet::copy(unit);
    packet.set_pts(Some(number));
    if key {
        packet.set_flags(ffmpeg_next::packet::Flags::KEY);
    }
    decoder.send_packet(&packet).map_err(|error| error.to_string())
}
